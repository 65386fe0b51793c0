"""Choices that a text goes through: a verdict on each (`A: no`, `B: yes`), a denial of several, one taken back."""

from __future__ import annotations

import itertools
import re

_ROW = re.compile(
    r"^[ \t|*_•>(#-]{0,9}(?:(?:option|choice|answer) )?([A-Za-z])\b[).*_]{0,4}(?P<words>[^\n]{0,160}?)"
    r"(?:[|:=–—(-]|->|=>|→|\b(?:is|are))[ \t*_(]{0,6}(?:(?:definitely|clearly|probably) )?"
    r"(?:(?P<yes>yes|true|right|correct|fits|[✓✔✅☑👍])|(?P<no>no|not correct|not right|false|wrong|incorrect"
    r"|[✗✘❌✕×☒👎]))"
    r"\ufe0f?[ \t|*_).!]{0,9}$",
    re.IGNORECASE | re.MULTILINE,
)
_TICK = re.compile(
    r"^[ \t|*_•>(#-]{0,9}(?:(?:option|choice|answer) )?([A-Za-z])\b[).*_:]{0,4}\s?"
    r"(?:(?P<yes>[✓✔✅☑👍]|(?<=[).:]\s)(?:yes|true|right|correct)\b)"
    r"|(?P<no>[✗✘❌✕☒👎]|(?<=[).:]\s)(?:no|false|wrong|incorrect)\b))"
    r"\ufe0f?[ \t|*_).!]{0,9}$",
    re.MULTILINE,
)
"""`A ✗`, `(A) wrong`: nothing but a label and a verdict."""
_HINTS = ("yes", "true", "right", "correct", "fits", "✓", "✔", "✅", "☑", "👍")


def only_right(text: str, labels: frozenset[str]) -> tuple[int, str] | None:
    """Return place and letter of the only choice that a list or table calls right, if it calls the others wrong.

    The rows must be of at least three choices, or of all; None if there is no such list.
    """
    low = text.lower()
    if text.count("\n") < 1 or not any(hint in low for hint in _HINTS):
        return None
    verdicts: dict[str, tuple[int, bool]] = {}
    for pattern in (_ROW, _TICK):
        for row in pattern.finditer(text):
            letter = row[1].upper()
            if letter in labels:
                verdicts[letter] = (row.start(1), row["yes"] is not None)
    right = [(place, letter) for letter, (place, said) in verdicts.items() if said]
    return right[0] if len(verdicts) >= min(3, len(labels)) and len(right) == 1 else None


_LINK = re.compile(
    r"[\s)*_\"'.]{0,6}(?:(?P<comma>,)|(?:,\s?)?(?:/|&|\b(?:and|or|nor|und|oder|noch|y|o|ni|et|ou|e|и|или|ни)\b|和|或|、|と|や))"
    r"[\s(*_\"']{0,6}(?:(?:option|choice|neither|also)\s)?[(*_\"']{0,3}",
    re.IGNORECASE,
)


def spread_denials(text: str, spans: list[tuple[int, int]], denied: list[bool]) -> list[bool]:
    """Return which of several names are denied, where `A, C and D are wrong` and `not A, C or D` deny all three.

    `spans` are their places in order; a comma alone lists nothing (`not A, B is right`).
    """
    if len(spans) < 2 or not any(denied):
        return denied
    links = [_LINK.fullmatch(text, left[1], right[0]) for left, right in itertools.pairwise(spans)]
    result = list(denied)
    first = 0
    while first < len(spans):
        last = first
        while last < len(links) and links[last] is not None:
            last += 1
        stop = last
        while stop > first and (link := links[stop - 1]) is not None and link["comma"]:
            stop -= 1  # what a last comma joins is no item of the list
        if stop > first and (denied[first] or denied[stop]):
            result[first : stop + 1] = [True] * (stop + 1 - first)
        first = last + 1
    return result


_RETRACTED = re.compile(
    r"(?:\.{2,3}|…|[,.;:!?)–—-])[\s*_\"']{0,6}(?:(?:oh|or|hmm+|hm|er|uh|ah|but|and)[,.… ]{1,4})?"
    r"(?:no,? wait|wait,? (?:actually,? )?no|wait|no,? sorry|sorry,? no|sorry|actually,? no|no,? actually|actually|no"
    r"|scratch that|strike that|correction|on (?:second|reflection,? second) thoughts?|on reflection|I mean(?:t)?"
    r"|make that|or rather|let me correct (?:that|myself))[\s,:.!…–—-]{1,6}(?:(?:no|wait|actually|sorry),? ){0,2}"
    r"(?:(?:I mean|I meant|make (?:it|that)|so|it['’]s|it is|it must be|it should be"
    r"|I['’](?:d|ll) (?:say|go with|pick|choose)"
    r"|I (?:pick|choose|say|go with)|(?:the|my) (?:right |correct |final )?answer is|answer:|change (?:it|that) to|to"
    r"|option|choice|rather) ){0,3}[(*_\"'\[]{0,4}(?=\w)",
    re.IGNORECASE,
)
_RETRACTS = (
    "wait",
    "no",
    "actually",
    "sorry",
    "scratch",
    "strike",
    "correct",
    "thought",
    "reflection",
    "mean",
    "make that",
    "rather",
)
_SETTLED = re.compile(
    r"[\s)*_\"'\].]{0,6}(?:\Z|\n|[!,;(–—]|-\s|\.\s|(?:because|since|as|for|instead"
    r"|is (?:right|correct|better|the answer|it))\b)"
)


def retractions(text: str) -> list[int]:
    """Return the places behind what takes a choice back: of `B... no, D` where `D` begins; last first."""
    low = text.lower()
    if not any(hint in low for hint in _RETRACTS):
        return []
    return [match.end() for match in _RETRACTED.finditer(text, max(0, len(text) - 2000))][::-1]


def settled(text: str, end: int) -> bool:
    """Return whether nothing is said of a choice behind its name: `no, D.`, but not `no, D is a rock`."""
    return _SETTLED.match(text, end) is not None


FORMER = re.compile(
    r"\b(?:I(?:['’]d| had| have)?|my)\s(?:first|initially|originally|at first|almost|nearly|previously|earlier)\s"
    r"(?:chose|choose|picked|thought|said|say|guess(?:ed)?|answer(?:ed)?|wrote|selected|considered"
    r"|leaned|believed|went|instinct|choice|pick|idea|impulse)\b[^.,;:!?\n]{0,24}\Z"
    r"|\b(?:[Aa]t first|[Ii]nitially|[Oo]riginally),? I\s(?:\w{1,12}\s){0,2}?(?:chose|picked|thought|said|guessed"
    r"|answered|wrote|selected|leaned|believed|went|had)\b[^.,;:!?\n]{0,24}\Z"
)
"""What a writer says that he took first: `I first chose B, but it's D`."""
