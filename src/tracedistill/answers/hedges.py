"""Numbers and words that a text names without stating them: denied, one of several, a range, a bound, a coordinate."""

from __future__ import annotations

import re
from typing import Literal

from tracedistill.answers.refuted import REFUTED
from tracedistill.answers.words import DOUBT, word_set

Hedge = Literal["", "denied", "choice", "range", "bound", "part"]
"""denied: `not 20`; choice: `15 or 20`; range: `15 to 20`; bound: `less than 20`; part: of a coordinate or formula."""

_WORDS = re.compile(r"[a-z]+")
_DENIALS = word_set(
    "not t never cannot neither nor hardly scarcely nowhere far other rather instead false wrong incorrect impossible "
    "unlikely doubt could might may "
    "nicht kein keine keinen pas non no neq ne too seems anything unsure uncertain unclear wonder whether if"
)
_REFUTERS = word_set(
    "t not never cannot hardly must would seems wrong incorrect false impossible mistake trap tempting off too what "
    "part "
    "first leaves omits misses ignores overlooks forgets neglects skips excludes disregards fails sounds looks appears "
    "trust distrust only just"
)
_BOUNDS = word_set(
    "than als moins plus menos mais meno under over above below le ge lt gt leq geq least most up minimum maximum "
    "many much "
    "mindestens exceed exceeds exceeded exceeding surpass surpasses surpassed surpassing short dan capped "
    "limited go more less fewer higher lower mehr weniger al como au"
)
_PAIRS = word_set("or oder ou o u lub albo eller between zwischen entre tra tussen to through bis and und et y e")
_BRACKETS = frozenset("([{⟨〈")
_OPERATORS = frozenset("-+×*/^")
_LETTERS = frozenset(" +-/abcdefghijklnopqrstuvwxyz^²³⁴⁵⁶⁷⁸⁹ⁿ")
_SIGNS = frozenset("<>≤≥≠=+~-–/")
_DENIED = re.compile(
    r"(?:\b(?:not|never|cannot|neither|nor|hardly|scarcely|nowhere near|far from|by no means|(?:could|might|may) be"
    r"|nicht|kein|keine|keinen|kaum|не|pas|non|não|niet|ikke|inte|no es|no son|no hay)|n't"
    r"|\bn['’]est pas|\banything but|\bother than|\brather than|\binstead of|≠|\\neq?|!="
    r"|不是|并非|而不是|不等于|不为|ではなく)"
    r"(?:\s{0,12}(?:be|been|possibly|ever|even|quite|also|true that|equal(?:s)?(?: to)?|exactly|about|the|a|an|really"
    r"|actually|necessarily|have|has|had|get|gets"
    r"|of|de"
    r"|igual a|égal à|gleich|cost|costs|take|takes|need|needs|just|simply|:)\b){0,6}[\s$(*€£\"'`\\]{0,12}\Z",
    re.IGNORECASE,
)
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
    r"|不是|不对|错误|[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]{0,3}?(?:ではありません|ではない|じゃない|이 아니"
    r"|가 아니))",
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
_TRUSTLESS = re.compile(
    r"\b(?:(?:do(?:es)?n['’]?t|do not|not|never) trust|distrust)\s[$(*€£\"'`]{0,4}\Z", re.IGNORECASE
)
_NOUNS = r"[\s*)%\"'`]{0,12}(?:[A-Za-z'-]{1,24}\s{1,12}){0,3}?"
_OR = re.compile(
    _NOUNS + r",?\s{0,12}(?:\b(?:or|oder|ou|o|u|или|або|lub|albo|eller|e/o|and/or)\s|或(?:者)?|または|か(?=\d)|또는"
    r"|أو\s)\s{0,12}"
    r"(?:(?:about|maybe|possibly|even|perhaps|else|just|else)\s{1,12})?[\s$(*€£]{0,12}\Z",
    re.IGNORECASE,
)
_AND = re.compile(r"[\s*)%$]{0,12}(?:,|;|\band\b|&|和|与|و|y|e|und|et|и)[\s$(*€£]{0,12}\Z", re.IGNORECASE)
_COUNTER = r"\s?(?:[个個枚本人冊匹台元円块岁歳分天日年页頁杯件只条张張颗开名개명원권살]|小时|公里|時間|公斤|시간)\s?"
"""A counter of Chinese, Japanese or Korean, between a number and what ties it to another."""
_TO = re.compile(
    r"[\s*%$]{0,12}(?:[A-Za-z]{1,24}\s{1,12}|"
    + _COUNTER
    + r")?(?:\bto\b|\bthrough\b|\bbis\b|\bà\b|\bto about\b|到|至|から|에서|부터|〜|~|～|-|--"
    r"|…|\.\.\.)[\s$(*€£]{0,12}(?:(?:page|day|chapter|level|floor|week)\s)?\Z",
    re.IGNORECASE,
)
_CHANGE = re.compile(
    r"\b(?:ratio|chang\w{0,24}|increas\w{0,24}|decreas\w{0,24}|go|goes|went|rose|rise\w{0,24}|drop\w{0,24}|fell"
    r"|add\w{0,24}|convert\w{0,24}"
    r"|compar\w{0,24}|"
    r"round\w{0,24}|reduc\w{0,24}|grew|grow\w{0,24}|proportion|odds|equal)\b",
    re.IGNORECASE,
)
_CHANGED = re.compile(r"\W{0,3}[^\W\d]{0,4}?(?:涨|增|升|降|减|変|变|に[^ん]|로\s)")
"""What follows the second number of a change: `15円から20円に`."""
_ANYWHERE = re.compile(r"\b(?:anywhere|somewhere|ranges?|ranging) from[\s$(*€£]{0,12}\Z", re.IGNORECASE)
_BETWEEN = re.compile(r"\b(?:between|zwischen|entre|между|tra|tussen)[\s$(*€£]{0,12}\Z|介于\s{0,12}\Z", re.IGNORECASE)
_BOUND = re.compile(
    r"(?:\b(?:less|fewer|more|greater|larger|smaller|higher|lower|older|younger|longer|shorter|bigger|cheaper|better"
    r"|worse)"
    r" than(?: or equal to)?|\b(?:weniger|mehr) als|\b(?:moins|plus) de|\b(?:menos|más|mais) (?:de|que|do que)"
    r"|\b(?:meno|più) di"
    r"|(?:меньше|больше|менее|более)|少于|多于|小于|大于|超过|超過|不到|不足"
    r"|(?:\b(?:is|are|was|were|be|cost|costs|has|have|pay|pays|spent|earn|earns|just|remain|remains"
    r"|answer)\s{1,12}(?:just\s{1,12})?"
    r"(?:under|over|above|below))"
    r"|(?:(?:\A|[.!?:\n])[\s*_]{0,6}|\b(?:well|just|slightly|a little) )(?:under|over|above|below)"
    r"|\b(?:exceed(?:s|ed|ing)?|surpass(?:es|ed|ing)?|short of|minder dan|meer dan|mindre än|mniej niż|więcej niż"
    r"|ít hơn|nhiều hơn)|(?:أقل من|أكثر من|کمتر از|بیشتر از|น้อยกว่า|มากกว่า|פחות מ|יותר מ)-?"
    r"|(?<![\w\n>])[<>]=?|≤|≥|\\[lg](?:eq?|t)(?![a-z]))"
    r"(?:\s{1,12}(?:the|a|an|about|around|only|just))?[\s$(*€£{]{0,12}\Z",
    re.IGNORECASE,
)
_LIMIT = re.compile(
    r"(?:\b(?:at least|at most|up to|no (?:more|less|fewer) than|not (?:more|less|fewer) than|a (?:minimum"
    r"|maximum) of|as many as|capped at|limited to|(?:does not|doesn['’]t|never|cannot|can['’]t) go (?:above"
    r"|below|beyond)"
    r"|as much as|mindestens|höchstens|al menos|como máximo|au moins|au plus|не менее|не более)|至少|至多|最多)"
    r"(?:\s{1,12}(?:the|a|an|about))?[\s$(*€£]{0,12}\Z",
    re.IGNORECASE,
)
_AFTER_BOUND = re.compile(
    r"[\s*]{0,12}(?:\+(?![\s*$\d(])|(?:[A-Za-z-]{1,24}\s{1,12}){0,2}?at (?:most|least)\b"
    r"|(?:[A-Za-z-]{1,24}\s{1,12}){0,2}?(?:or|oder)\s{1,12}(?:more|less|fewer|mehr"
    r"|weniger|above|below|over"
    r"|under|higher|lower)\b"
    r"|\s?(?:[\u0900-\u097f]{1,9} )?से (?:कम|अधिक|ज़्यादा|ज्यादा|नीचे|ऊपर)|['’]?[dt][ae]n (?:az|fazla|çok|küçük|büyük)\b"
    r"|[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]{0,3}?\s?(?:以上|以下|以内|以內|未満|未满|を超え|より多|より少|미만|이상|이하|초과))",
    re.IGNORECASE,
)
_WANTS_LIMIT = re.compile(
    r"\b(?:least|minimum|fewest|smallest|lowest|most|maximum|largest|greatest|highest|need|needs|needed|must"
    r"|require\w{0,24}"
    r"|should|have to|has to|had to|enough|can|could|able|buy|order|take|takes)\b",
    re.IGNORECASE,
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
    r"\s{0,12}[-+]\s{0,12}\d{0,24}[a-z](?![A-Za-z'])|[xyznkabwijqrv](?![A-Za-z0-9])"
    r"|\s?/\s?[abcknpqrtuvwxyz](?![A-Za-z])|[²³⁴⁵⁶⁷⁸⁹ⁿ]"
    r"|[c-jlo-v]\s{1,3}(?:dollars?|cents?|euros?)\b|\s?\^\s{0,3}[-+(]?\d"
)
_FACTOR = re.compile(
    r"\d\s?(?:cm|mm|m|ft|feet|in|inch(?:es)?|km|meters?)?\s?(?:×|(?<=[\s\d])x(?=[\s\d]))\s?\Z"
    r"|\b(?:is|are|was|measures?|an?|exactly)\s\d+(?:\.\d+)?(?:\s(?:cm|mm|m|ft|feet|in|inch(?:es)?|km|meters?|squares?))?"
    r" by \Z"
)
"""The second side of a size: `5 × 6`, `5 by 6`."""
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
    if single or len(spans) == 1 or not (strict or words is None or words & _PAIRS or "-" in before or "-" in after):
        return single
    for left, right in ((place - 1, place), (place, place + 1)):
        if left < 0 or right >= len(spans):
            continue
        between = text[spans[left][1] : spans[right][0]]
        if len(between) > 48:
            continue
        ahead = text[max(start, spans[left][0] - 40) : spans[left][0]]
        joined = _pair(between, ahead, text[spans[right][1] : min(end, spans[right][1] + 12)], strict)
        if joined:
            return joined
    return ""


def _alone(before: str, after: str, words: frozenset[str] | None, question: str) -> Hedge:
    """Return what the words beside one number say of it; `words` are those of both sides, None if unknown."""
    if words is None or words & _DENIALS or "!=" in before:
        if _AFFIRMED.search(before):
            return ""
        if _DENIED.search(before) and not _ONLY.search(before[-30:]):
            return "denied"
        doubted = _DOUBTED.search(before)
        if doubted and not _TURN.search(doubted["rest"]):
            return "denied"
        if unsure(before) or _REFUSED.match(after):
            return "denied"
    if words is None or not _REFUTERS.isdisjoint(words):
        near = words is None or not _REFUTERS.isdisjoint(_WORDS.findall(after.lower()))
        if (near and _REFUTED.match(after)) or _TRUSTLESS.search(before):
            return "denied"
    if (words is None or words & _BOUNDS or not _SIGNS.isdisjoint(before[-6:])) and _BOUND.search(before):
        return "bound"
    if words is None or words & _BOUNDS or "+" in after[:4]:
        limited = _AFTER_BOUND.match(after) or _LIMIT.search(before)
        if limited and not _WANTS_LIMIT.search(question):
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
    if _FACTOR.search(before) or _FACTOR_AFTER.match(after):
        return "part"
    if after.startswith(" by ") and _SIDE_AFTER.match(after) and _SIZED.search(before):
        return "part"
    if "times" in after[:12] and _MULTIPLE.match(after) and not _MULTIPLE_ASKED.search(question):
        return "part"
    return ""


def unsure(before: str) -> bool:
    """Return whether a text that ends by naming something leaves it open: `I am not sure whether it is`."""
    return _UNSURE.search(before) is not None


def _pair(between: str, ahead: str, behind: str, strict: bool) -> Hedge:
    """Return the relation of two adjacent numbers."""
    between = " ".join(between.replace("{", " ").replace("}", " ").split()).join("  ") if "}" in between else between
    if _OR.match(between):
        return "choice"
    if _AND.match(between) and _BETWEEN.search(ahead):
        return "range"
    if _TO.match(between):
        sign = between.strip(" *$%")
        calculated = behind.lstrip(" )*$}")[:1] in ("=", "≈") and sign.startswith("-")
        if not calculated and (_ANYWHERE.search(ahead) or not (_CHANGE.search(ahead) or _CHANGED.match(behind))):
            return "range"
    if strict and _AND.match(between) and behind.lstrip(" )*$}")[:1] not in ("=", "≈"):
        return "choice"
    return ""
