"""Numbers that a text names as a bound: `less than 20`, `20 or more`, `at least 20`, `höchstens 20`, `20以上`."""

from __future__ import annotations

import re

from tracedistill.answers.words import word_set

_WORDS = word_set(
    "than als under over above below past beyond excess le ge lt gt leq geq least most up minimum maximum min max "
    "minimal maximal bound cap limit capped limited tops ceiling floor shy short north south upward upwards exceed "
    "exceeds exceeded exceeding surpass surpasses surpassed surpassing almost nearly quite even close fewer less more "
    "higher lower larger greater much many moins plus menos mais meno oltre presque quase casi quasi bijna fast knapp "
    "mindestens wenigstens unter zu sumo mucho minder meer minstens hoogstens maximaal minimaal minste hoogste minst "
    "paling setidaknya lebih kurang almeno massimo minimo fino hasta jusqu najmniej najwy ponad przynajmniej prawie az "
    "fazla mehr weniger"
)
"""Words one of which every bound in plain letters needs."""
_SIGNS = frozenset("<>≤≥~\\")
_DRESS = r"(?:\s{1,12}(?:the|a|an|about|around|only|just|die|der|den|das|les|los|las|gli|i|os|as))?[\s$(*€£{]{0,12}\Z"
_TIMES = r"(?:day|week|month|year|hour|minute|second|night|trip|round|row|lap|period|course)s?\b"
_BEFORE = re.compile(
    r"(?:\b(?<!no )(?<!not )(?:less|fewer|more|greater|larger|smaller|higher|lower|older|younger|longer|shorter|bigger"
    r"|cheaper|better|worse) than(?: or equal to)?"
    r"|(?<![\d)}%] )\b(?:under|above|below|beyond|past|over)"
    r"|\b(?:upwards? of|north of|south of|shy of|short of|in (?:the )?excess of)"
    r"|\b(?:almost|nearly|not (?:quite|even)|close to)"
    r"|\b(?:exceed(?:s|ed|ing)?|surpass(?:es|ed|ing)?)"
    r"|\b(?:weniger|mehr) als|\b(?:unter|über|knapp|fast)|\b(?:moins|plus) de|\bpresque|\b(?:menos|más|mais) (?:de|que"
    r"|do que)|\b(?:casi|quase)|\b(?:meno|più) di|\b(?:oltre|quasi)|\b(?:minder|meer) dan|\bbijna|\bmindre än"
    r"|\b(?:nästan|över)|\b(?:mniej|więcej) niż|\b(?:ponad|prawie)|\bít hơn|\bnhiều hơn|\b(?:kurang|lebih) dari"
    r"|(?:меньше|больше|менее|более|свыше|почти)|少于|多于|小于|大于|超过|超過|不到|不足|将近"
    r"|(?:أقل من|أكثر من|کمتر از|بیشتر از"
    r"|น้อยกว่า|มากกว่า|פחות מ|יותר מ)-?"
    r"|(?<![\w\n>])[<>]=?|≤|≥|\\[lg](?:eq?|t)(?![a-z]))" + _DRESS,
    re.IGNORECASE,
)
_OVER = re.compile(r"\b(?:over|past|above|beyond)[\s$(*€£]{0,12}\Z", re.IGNORECASE)
_OVER_LED = re.compile(
    r"\b(?:is|are|was|were|be|been|has|have|had|takes?|took|lasts?|lasted|needs?|costs?|cost|pays?|paid|earns?|earned"
    r"|spends?|spent|just|well|slightly|little|far|way|for|answer|reads?|remains?|waits?|waited)\s(?:over|past|above"
    r"|beyond)[\s$(*€£]{0,12}\Z|(?:\A|[.!?:\n])[\s*_]{0,6}(?:over|past|above|beyond)[\s$(*€£]{0,12}\Z",
    re.IGNORECASE,
)
_SPREAD = re.compile(rf"[\s*]{{1,4}}(?:[a-z]{{2,12}}\s)?{_TIMES}", re.IGNORECASE)
"""`over 8 rows`, `over 12 months`: what something is spread over is a bound only behind a verb."""
_LIMIT = re.compile(
    r"(?:\b(?:at (?:the |a )?(?:very |absolute )?(?:least|most|minimum|maximum)|up to|(?:no|not) (?:more|less"
    r"|fewer) than"
    r"|(?:a|the|its|their)?\s?(?:minimum|maximum) of|(?:minimum|maximum|(?:lower|upper) (?:bound|limit)|cap) (?:is|of"
    r"|would be)|as (?:many|much) as|capped at|limited to|(?:does not|doesn['’]t|never|cannot|can['’]t) go (?:above"
    r"|below|beyond|over|under)"
    r"|mindestens|wenigstens|höchstens|maximal|minimal|bis zu|al menos|por lo menos|como (?:máximo|mínimo|mucho)"
    r"|a lo (?:sumo|más)|no (?:más|menos) de|au (?:moins|plus|maximum|minimum)|pas (?:plus|moins) de|jusqu['’]à"
    r"|almeno|al (?:massimo|minimo|più|meno)|fino a|non più di|(?:pelo|ao) menos|no (?:máximo|mínimo)"
    r"|minstens|hoogstens|maximaal|minimaal|ten (?:minste|hoogste)|minst|högst|mindst|højst|co (?:najmniej|najwyżej)"
    r"|przynajmniej|najwyżej|en (?:az|fazla|çok)|setidaknya|paling (?:sedikit|banyak)|ít nhất|nhiều nhất|tối (?:đa"
    r"|thiểu))"
    r"|(?:не (?:менее|более|меньше|больше)|минимум|максимум)|至少|至多|最多|最少|起码|不超过|不少于|少なくとも|多くとも"
    r"|最大で?"
    r"|最低で?|最小で?|적어도|많아야|최소|최대|कम से कम|ज़्यादा से ज़्यादा|अधिकतम|न्यूनतम|อย่างน้อย|อย่างมาก|ไม่เกิน"
    r"|حداقل|حداکثر)"
    r"(?:\s{1,12}(?:the|a|an|about)|[有是为需要共]{1,3})?[\s$(*€£]{0,12}\Z",
    re.IGNORECASE,
)
_NOUNS = r"(?:[^\W\d][\w-]{0,23}\s{1,12}){0,3}?"
_AFTER = re.compile(
    r"\+(?=\s?[A-Za-z]{2}|[.,;!)*]|\Z)"
    rf"|[\s*]{{0,12}}{_NOUNS}(?:at (?:the )?(?:very )?(?:most|least)\b|(?:or|oder|and|und)\s{{1,12}}(?:possibly "
    r"|even |maybe )?"
    r"(?:more|less|fewer|mehr|weniger|above|below|over|under|higher|lower|up|upwards?)\b|(?:ou|o|y) (?:más|menos|plus"
    r"|moins|mais)\b|o più\b|или (?:больше|меньше|более|менее)|(?:minimum|maximum|max|tops)\b(?=[\s*]{0,3}"
    r"(?:[.,;!)]|\Z))"
    r"|(?:is|are|was|would be|being) (?:only |just |merely )?(?:an?|the|its) (?:\w{1,12} )?(?:(?:upper|lower) (?:bound"
    r"|limit)|minimum|maximum|cap|ceiling|floor|at (?:most|least))\b)"
    r"|\s?(?:[\u0900-\u097f]{1,9} )?से (?:कम|अधिक|ज़्यादा|ज्यादा|नीचे|ऊपर)"
    r"|['’]?[dt][ae]n (?:az|fazla|çok|küçük|büyük|daha)\b"
    r"|[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7a3]{0,3}?\s?(?:以上|以下|以内|以內|未満|未满|を超え|より多|より少|미만|이상|이하|초과)",
    re.IGNORECASE,
)
_ASKED = re.compile(
    r"\b(?:least|minimum|fewest|smallest|lowest|most|maximum|largest|greatest|highest|need|needs|needed|must"
    r"|require\w{0,24}|should|have to|has to|had to|enough|can|could|able|buy|order|take|takes"
    r"|mindestens|höchstens|brauch\w{0,4}|benötig\w{0,4}|kann|mínimo|máximo|menos|puede|necesit\w{0,4}|moins|faut"
    r"|peut|almeno|massimo|minimo|serv\w{0,4}|può|precis\w{0,4}|pode|minstens|hoogstens|nodig|kan|potrzeb\w{0,4}|może)\b"
    r"|至少|至多|最多|最少|需要|可以|能|少なくとも|最大|最低|最小|必要|でき|최소|최대|필요|적어도|수 있"
    r"|минимум|максимум|нужн|необходим|может|\ben (?:az|fazla|çok)\b|ít nhất|nhiều nhất|tối (?:đa|thiểu)",
    re.IGNORECASE,
)


_LETTERS = re.compile(r"[a-z]+")
_LEADS = word_set(
    "than to under above below beyond past over of almost nearly quite even exceed exceeds exceeded exceeding surpass "
    "surpasses surpassed surpassing als unter knapp fast de presque que do casi quase di oltre quasi dan bijna ponad "
    "prawie dari le leq lt ge geq gt"
)
"""The last words of `_BEFORE` in plain letters; an article may follow them."""


def _led(before: str) -> bool:
    """Return whether the last two words before a number, or a sign, can make it a bound."""
    return not (_LEADS.isdisjoint(_LETTERS.findall(before.lower())[-2:]) and _SIGNS.isdisjoint(before))


def _spread(before: str, after: str) -> bool:
    """Return whether a number is what something is spread over."""
    return bool(_OVER.search(before) and _SPREAD.match(after)) and not _OVER_LED.search(before)


def is_bound(before: str, after: str, words: frozenset[str] | None, question: str) -> bool:
    """Return whether the words around a number make it a bound.

    `words` are those of both sides, None if unknown. A limit (`at least 20`) is no bound if the question asks for one.
    """
    if words is not None and words.isdisjoint(_WORDS) and "+" not in after[:4] and _SIGNS.isdisjoint(before[-8:]):
        return False
    if (words is None or _led(before)) and _BEFORE.search(before) and not _spread(before, after):
        return True
    limited = _AFTER.match(after) or _LIMIT.search(before)
    return limited is not None and not _ASKED.search(question)
