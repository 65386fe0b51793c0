"""Numbers and words that a text names without stating them: denied, one of several, a range, a bound, a coordinate."""

from __future__ import annotations

import re
from typing import Literal

from tracedistill.answers.bounds import is_bound
from tracedistill.answers.denials import AHEAD, ASCII_AHEAD, BEHIND
from tracedistill.answers.pairs import JOINERS, joined
from tracedistill.answers.refuted import REFUTED
from tracedistill.answers.words import DOUBT, word_set

Hedge = Literal["", "denied", "choice", "range", "bound", "part"]
"""denied: `not 20`; choice: `15 or 20`; range: `15 to 20`; bound: `less than 20`; part: of a coordinate or formula."""

_WORDS = re.compile(r"[a-z]+")
_DENIALS = word_set(
    "not t never cannot neither nor hardly scarcely nowhere far other rather instead false wrong incorrect impossible "
    "unlikely doubt could might may neq ne too seems anything nothing unsure uncertain unclear wonder whether if "
    + ASCII_AHEAD
)
_REFUTERS = word_set(
    "t not never cannot hardly must would seems wrong incorrect false impossible mistake trap tempting off too what "
    "part "
    "first leaves omits misses ignores overlooks forgets neglects skips excludes disregards fails sounds looks appears "
    "trust distrust only just nowhere far close"
)
_BRACKETS = frozenset("([{⟨〈")
_OPERATORS = frozenset("-+×*/^")
_LETTERS = frozenset(" +-/abcdefghijklnopqrstuvwxyz^²³⁴⁵⁶⁷⁸⁹ⁿ")
_DENIED = re.compile(
    r"(?:\b(?:not|never|cannot|neither|nor|hardly|scarcely|nowhere near|nothing like|a far cry from|far from"
    r"|by no means|(?:could|might|may) be|anything but|other than|rather than|instead of)\b|n't|≠|\\neq?|!="
    rf"|{AHEAD})"
    r"(?:\s{0,12}(?:be|been|possibly|ever|even|quite|also|true that|equal(?:s)?(?: to)?|exactly|about|the|a|an|really"
    r"|actually|necessarily|have|has|had|get|gets"
    r"|of|de"
    r"|igual a|égal à|gleich|cost|costs|take|takes|need|needs|just|simply|:)\b){0,6}[\s$(*€£\"'`\\]{0,12}\Z",
    re.IGNORECASE,
)
_NEGATED_VERB = re.compile(
    r"(?:\b(?:do|does|did|wo|will|would|is|was|has|had|ca|could)(?:n['’]t| not)|\bnever)\s"
    r"(?!(?:only|just|even|yet|exceed|surpass)\b)"
    r"(?:(?!(?:so|then|and|but|thus|because|leaving|making|means|since|than|until|before|after|if|when)\b)[a-z]{1,12}\s)"
    r"{1,3}[$(*€£]{0,3}\Z"
)
"""`She doesn't read 135 pages; ...`"""
_NEGATIVE_ASKED = re.compile(r"\bnot\b|n['’]t\b|\b(?:left|remain|without|un\w{4,})\w*\b", re.IGNORECASE)
"""A question of what is not done, which a negative sentence answers."""
_ONLY = re.compile(r"\bnot\s{1,12}(?:only|just|merely|simply)\b|\bnot\s{1,12}(?:more|less|fewer)\b", re.IGNORECASE)
_DOUBTED = re.compile(
    r"\b(?:do(?:es)?n['’]?t (?:think|believe|have)|do(?:es)? not (?:think|believe|have)|" + DOUBT + r"|unlikely"
    r"|can['’]?t (?:be|have)|cannot be"
    r"|isn['’]?t (?:the case|true)|not (?:the case|true|correct|possible)|false|would be wrong"
    r"|impossible)\b(?: (?:that )?it(?: is| was|['’]s)\b)?(?P<rest>[^.;]{0,60})\Z",
    re.IGNORECASE,
)
_UNSURE = re.compile(
    r"\b(?:not (?:\w{1,12} )?(?:sure|certain|clear)|unsure|uncertain|unclear|wonder|(?:do(?:es)?n['’]?t|do(?:es)? not"
    r"|can['’]?t|cannot) (?:know|say|tell)) (?:whether|if)\b[^,;.]{0,80}\Z",
    re.IGNORECASE,
)
_TURN = re.compile(
    r"\b(?:but|rather|instead|so|therefore|thus|hence|it['’]?s|it is)\b|[;:]|, (?:the"
    r"|it)\b",
    re.IGNORECASE,
)
_REFUSED = re.compile(
    r"[\s*\"'`)$]{0,12}(?:[A-Za-z-]{1,24}\s{1,12}){0,3}?(?:(?:is|are|was|were|would|can|could|does|do)\s{0,12}(?:not"
    r"|n['’]t|never)\b"
    r"\s{0,12}(?:the (?:right|correct|final|answer|total|number|result)|correct|right|possible|valid|what|an? option"
    r"|it\b"
    r"|equal|[.;,!]|\Z)|(?:is|are|was|were|would be|seems)\s{1,12}"
    r"(?:wrong|incorrect|false|impossible|too (?:high|low|big|small|large|much|many|few))"
    rf"|[^\W\d]{{0,8}}?{BEHIND})",
    re.IGNORECASE,
)
_REFUTED = re.compile(
    r"[\s*\"'`)$%]{0,12}(?:(?!which|that|but|and|it|he|she|they|this)[A-Za-z-]{1,24}\s{1,12}){0,3}?" + REFUTED,
    re.IGNORECASE,
)
_AFFIRMED = re.compile(
    r"(?:n['’]?t|\bnot|\bnever|cannot|nothing)\s(?:\w{1,12}\s){0,2}?(?:anything |any |other )?(?:but|other than|except)"
    r"[\s$(*€£\"'`]{0,12}\Z",
    re.IGNORECASE,
)
"""`It can't be anything but 84.` states 84."""
_BOTH_WAYS = re.compile(
    r"\b(?:no|neither|not|nothing|nor) (?:more|less|fewer)(?: than)?,? (?:and|or|nor|but) (?:no |not )?(?:more|less"
    r"|fewer) than"
    r"[\s$(*€£]{0,6}\Z",
    re.IGNORECASE,
)
_CONDITIONAL = re.compile(
    r"\bonly (?:if|when)\b[^.;\n]{0,60}\bwould\b[^.;\n]{0,24}\Z"
    r"|\bwould (?:take|need|require|have to|be needed)\b[^.;\n]{0,50}\bto (?:reach|get|make|be|give|arrive"
    r" at)[\s$(*€£]{0,6}\Z",
    re.IGNORECASE,
)
"""`Only if the parts were free would it be 162.`"""
_TRUSTLESS = re.compile(
    r"\b(?:(?:do(?:es)?n['’]?t|do not|not|never) trust|distrust)\s[$(*€£\"'`]{0,4}\Z", re.IGNORECASE
)
_OPENED = re.compile(r"[(\[⟨〈{]\s{0,12}(?:[-+]?[\w./\\{}]{1,24}\s{0,12},\s{0,12}){0,3}\Z")
_CLOSED = re.compile(r"\s{0,12}(?:,\s{0,12}[-+]?[\w./\\{}]{1,24}\s{0,12}){0,3}[)\]⟩〉}]")
_LISTED = re.compile(r"\s{0,12},\s{0,12}[-+]?[\w\\]")
_LISTED_BEFORE = re.compile(r"[\w}]\s{0,12},\s{0,12}\Z")
_SYMBOLIC_BEFORE = re.compile(
    r"[\w)}]\s?\^[\s(]{0,3}\Z|[a-z]\s?[-+]\s?\d{1,6}\)\s{0,3}[-+×*/]\s{0,3}\Z"
    r"|(?:(?<![A-Za-z\\])\d{0,24}[a-z](?:\^?\d)?\)?|\d[a-z]\))\s{0,12}[-+×*/^]\s{0,12}[$(]?\Z"
)
_SYMBOLIC_AFTER = re.compile(
    r"\s{0,12}[-+]\s{0,12}\d{0,24}[a-z](?![A-Za-z'])(?!(?<=-\sa)\s[a-z]{2})|[xyznkabwijqrv](?![A-Za-z0-9])"
    r"|\s?/\s?[abcknpqrtuvwxyz](?![A-Za-z])|[²³⁴⁵⁶⁷⁸⁹ⁿ]"
    r"|[c-jlo-v]\s{1,3}(?:dollars?|cents?|euros?)\b|\s?\^\s{0,3}[-+(]?\d"
)
_SPOKEN_SUM = re.compile(r"(?:\s[a-z]{1,15}){0,2}\s(?:plus|minus)\s[^.;=]{0,60}?\b[b-hj-np-z]\b(?!['’-])")
"""`18 dollars plus 2 dollars for each of h hours`."""
_RATIO = re.compile(r"(?:\s:\s|:)\d")
_RATIO_BEFORE = re.compile(r"(?<![\w.])\d{1,3}(?:\s:\s|:)\Z")
_FACTOR = re.compile(
    r"\d\s?(?:cm|mm|m|ft|feet|in|inch(?:es)?|km|meters?)?\s?(?:×|(?<=[\s\d])x(?=[\s\d]))\s?\Z"
    r"|\b(?:is|are|was|measures?|an?|exactly)\s\d+(?:\.\d+)?(?:\s(?:cm|mm|m|ft|feet|in|inch(?:es)?|km|meters?|squares?))?"
    r" by \Z"
)
"""The second side of a size: `5 × 6`, `5 by 6`."""
_TIMES = frozenset("×x")
_FACTOR_AFTER = re.compile(r"\s?(?:cm|mm|m|ft|feet|in|inch(?:es)?|km|meters?)?\s?(?:×|x(?=[\s\d]))\s?\d[^=]{0,40}\Z")
_SIZED = re.compile(r"\b(?:is|are|was|measures?|an?|exactly)\s\Z")
_SIDE_AFTER = re.compile(r"\sby\s\d[^=]{0,20}\Z")
_MULTIPLE = re.compile(
    r"[\s*]{1,4}times[\s*]{1,4}(?:as\b|the\b|more\b|that\b|what\b|(?:larg|old|bigg|great|small|tall|long|high|heavi|fast)er\b)"
)
_MULTIPLE_ASKED = re.compile(r"\btimes\b|\bratio\b|\bfactor\b|\bcompare|\A\Z", re.IGNORECASE)
"""`3 times as many` is a number of things only if the question asks for a multiple, or nothing is known of it."""
_SUBSTITUTED = re.compile(
    r"\b(?:with|for|when|if|at|where|since|given|using)\s{1,3}\$?[A-Za-z]\s?=[\s$]{0,3}\Z", re.IGNORECASE
)
_THEN = re.compile(r"[\s,$]{1,4}(?:that|this|it|we|he|she|they|you|the)\b[^.;\n]{0,40}\d")


def hedge(
    text: str, start: int, end: int, spans: list[tuple[int, int]], place: int, question: str = "", strict: bool = False
) -> Hedge:
    """Classify how the number at `spans[place]` of a statement is named without being stated; empty if it is stated.

    `spans` are the numbers of the statement in order; `strict` for a statement that is marked as the answer, in which
    `15 and 20` or `15, 20` is no single value either. A limit (`at least 20`) is a statement if the question asks for
    one.
    """
    begin, stop = spans[place]
    before, after = text[max(start, begin - 80) : begin], text[stop : min(end, stop + 80)]
    # most numbers have nothing of the kind around them: the words decide which patterns are tried at all
    around = f"{before} {after}"
    words = frozenset(_WORDS.findall(around.lower())) if around.isascii() else None
    single = _alone(before, after, words, question)
    if single or len(spans) == 1 or not (strict or words is None or words & JOINERS or "-" in before or "-" in after):
        return single
    for left, right in ((place - 1, place), (place, place + 1)):
        if left < 0 or right >= len(spans):
            continue
        between = text[spans[left][1] : spans[right][0]]
        if len(between) > 48:
            continue
        ahead = text[max(start, spans[left][0] - 40) : spans[left][0]]
        relation = joined(between, ahead, text[spans[right][1] : min(end, spans[right][1] + 40)], strict)
        if relation:
            return relation
    return ""


def _alone(before: str, after: str, words: frozenset[str] | None, question: str) -> Hedge:
    """Return what the words beside one number say of it; `words` are those of both sides, None if unknown."""
    if words is None or words & _DENIALS or "!=" in before:
        if _AFFIRMED.search(before) or _BOTH_WAYS.search(before):
            return ""
        if _DENIED.search(before) and not _ONLY.search(before[-30:]):
            return "denied"
        doubted = _DOUBTED.search(before)
        if doubted and not _TURN.search(doubted["rest"]):
            return "denied"
        if unsure(before) or _REFUSED.match(after):
            return "denied"
        if _NEGATED_VERB.search(before) and not _NEGATIVE_ASKED.search(question):
            return "denied"
    if words is None or not _REFUTERS.isdisjoint(words):
        near = words is None or not _REFUTERS.isdisjoint(_WORDS.findall(after.lower()))
        if (near and _REFUTED.match(after)) or _TRUSTLESS.search(before) or _CONDITIONAL.search(before):
            return "denied"
    if is_bound(before, after, words, question):
        return "bound"
    if not _BRACKETS.isdisjoint(before) and ("," in after or "," in before):
        inside = _OPENED.search(before) and _CLOSED.match(after)
        if inside and (_LISTED.match(after) or _LISTED_BEFORE.search(before)):
            return "part"
    if before.rstrip(" $(")[-1:] in _OPERATORS and _SYMBOLIC_BEFORE.search(before[-20:]):
        return "part"
    ahead = before[-24:].rstrip(" $")
    if (
        ahead[-1:] == "="
        and ahead[-2:-1].isalpha() | ahead[-3:-1].strip().isalpha()
        and (_SUBSTITUTED.search(before[-20:]) and _THEN.match(after))
    ):
        return "part"  # `with x = 4 that is 32 dollars`
    if after[:1] in _LETTERS and _SYMBOLIC_AFTER.match(after):
        return "part"
    if (" plus " in after[:40] or " minus " in after[:40]) and _SPOKEN_SUM.match(after):
        return "part"
    if (":" in after[:2] and _RATIO.match(after)) or (":" in before[-3:] and _RATIO_BEFORE.search(before)):
        return "part"
    if _second_side(before) or _first_side(after):
        return "part"
    if after.startswith(" by ") and _SIDE_AFTER.match(after) and _SIZED.search(before):
        return "part"
    if "times" in after[:12] and _MULTIPLE.match(after) and not _MULTIPLE_ASKED.search(question):
        return "part"
    return ""


def _second_side(before: str) -> bool:
    """Return whether a number follows the first side of a size: `5 × 6`, `5 by 6`."""
    return (before[-2:].strip()[-1:] in _TIMES or before.endswith(" by ")) and _FACTOR.search(before) is not None


def _first_side(after: str) -> bool:
    """Return whether a number precedes the second side of a size."""
    return ("x" in after or "×" in after) and _FACTOR_AFTER.match(after) is not None


def unsure(before: str) -> bool:
    """Return whether a text that ends by naming something leaves it open: `I am not sure whether it is`."""
    return _UNSURE.search(before) is not None
