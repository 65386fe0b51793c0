"""Where a text names a choice: by its letter, by its words; and whether a bare letter means one."""

from __future__ import annotations

import re
from functools import lru_cache

from tracedistill.answers.choice_labels import labelled
from tracedistill.answers.choice_patterns import CROSSES, LED, LISTED, NAMED_LETTER, PROVEN, REASONED, SETTLES


@lru_cache(maxsize=512)
def letters_of(closed: tuple[str, ...]) -> re.Pattern[str]:
    """Return the pattern of the labels as words of their own; `a` before a word is an article, not a choice."""
    labels = [known for known, _ in labelled(closed)] or list("ABCDEFGH123456789")
    upper = [re.escape(label) for label in labels if label != "A"]
    article = (
        r"|A(?=[\s)*_\"'.,:;!/\]}]{0,12}(?:\Z|[^\w\s]|[^\x00-\x7f]|\n|[\s)*_.\"']{1,4}(?:is|was|isn|and|or|because"
        r"|since"
        r"|as|not|seems"
        r"|would|can|cannot|must|should"
        r"|fits|nor|rather|instead|but|due|for|doesn)\b))"
        if "A" in labels
        else ""
    )
    lower = "|".join(re.escape(label.lower()) for label in labels if label.isalpha())
    small = rf"|(?<=[(*\"'])(?:{lower})(?=[)*\"'])|\b(?:{lower})(?=\))" if lower else ""
    return re.compile(
        rf"(?<![A-Za-z0-9_'’\\.-])((?:{'|'.join(upper)}){article}{small})(?![A-Za-z0-9_]|['’](?![dt][ıiuü]r)|-\w|\.\d)"
    )


@lru_cache(maxsize=4096)
def words_of(words: str) -> re.Pattern[str]:
    """Compile the pattern of a choice's words."""
    parts = map(re.escape, words.split()[:40])
    return re.compile(r"(?<![\w.])" + r"[^\w]{1,6}".join(parts) + r"(?!\w|\.\d)", re.IGNORECASE)


def ends_alone(text: str, start: int, stop: int, begin: int, end: int) -> bool:
    """Return whether a letter is all that a statement says, or what it says last behind a colon, dash or arrow."""
    if any(char.isalnum() for char in text[stop : min(end, stop + 24)]):
        return False
    statement = text[begin:end]
    if "?" in statement[max(0, start - begin - 1) :] or CROSSES.search(statement):
        return False
    if any(char.isalnum() for char in text[stop:end]):
        return False
    ahead = LISTED.sub("", text[begin:start])
    return not any(char.isalnum() for char in ahead) or LED.search(ahead) is not None


_COPULA = re.compile(r"(?:です|でした|である|だ(?![^。\s])|입니다|이다|이에요|예요)")
_NOUN = re.compile(r"(?:选项|選択肢|선택지)\s?\Z")


def means_choice(text: str, match: re.Match[str], begin: int, end: int) -> bool:
    """Return whether a bare letter means a choice: in brackets, after `option` or `must be`, before `is correct`."""
    start, stop = match.start(1), match.end()
    before, after = text[max(begin, start - 40) : start], text[stop : min(end, stop + 60)]
    word = re.search(r"([A-Za-z]{1,24})[\s:]{0,12}\Z", before)
    if word and word[1].lower() in NAMED_LETTER:
        return False
    if before.endswith(("(", "**", "[", "__", '"', ">")) and after[:1] in tuple(')]*_"<'):
        return True
    if re.match(r"[).:]\s", after) and (
        not before.strip() or before.rstrip()[-1:] in ".!?\n,;:" or before.endswith("(")
    ):
        return True
    if SETTLES.search(before) or _NOUN.search(before):
        return True
    if ends_alone(text, start, stop, begin, end) or (not after[:1].isascii() and _COPULA.match(after)):
        return True
    if not before.strip(" *_>#-\n") and REASONED.match(after):
        return True
    return (not before.strip(" *_>#-") and PROVEN.match(after) is not None) or _proven(after)


def _proven(after: str) -> bool:
    proof = PROVEN.match(after)
    return proof is not None and proof.group().rstrip().lower().endswith(
        (
            "correct",
            "right",
            "best",
            "answer",
            "true",
            "choice",
            "option",
            "sense",
            "appropriate",
            "accurate",
            "one",
            "valid",
        )
    )
