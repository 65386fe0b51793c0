"""Which number of a statement is its answer: every quantity is weighed by the words around it and by the question."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from tracedistill.answers.asked import AskedQuantity, following, stems
from tracedistill.answers.hedges import Hedge, hedge
from tracedistill.answers.quantities import Quantity, quantities
from tracedistill.answers.units import convert
from tracedistill.answers.words import holds_any, word_set

MAX_STATEMENT = 2000
"""Characters of one statement that are read, from its end."""
MAX_MENTIONS = 64
"""Quantities of one statement that are weighed, from its end."""


class Mention(NamedTuple):
    """A quantity in a statement with the weight of evidence that it is what is stated."""

    quantity: Quantity
    """The quantity."""
    weight: float
    """Sum of the rules below; only differences and the sign mean anything."""
    given: bool
    """The question already names this number of these things."""
    result: bool
    """It is on the right of an equals sign."""
    foreign: bool
    """Its unit measures something else than the question asks for."""


_LABEL = re.compile(
    r"(?:\b(?:steps?|parts?|day|week|question|problem|number|no|grade|equations?|chapter|case|option)\.?\s{0,12}"
    r"(?:\d{1,24}\s{0,12}(?:and|,|&|to|-)\s{0,12})?|#\s{0,12})\Z",
    re.IGNORECASE,
)
_LABEL_ENDS = (
    "step", "steps", "part", "parts", "day", "week", "question", "problem", "number", "no", "grade", "equation",
    "equations", "chapter", "case", "option", ".", "#", "and", ",", "&", "to", "-",
)  # fmt: skip
"""What `_LABEL` ends in, without the spaces."""
_COPULA = (" is", " are", " was", " were", " be", "equals")
_SYMBOL = re.compile(r"(?<![\w)}])[a-zA-Z]\s{0,12}=[\s*{($]{0,12}\Z")
_REVERSED = re.compile(r"\s{0,12}=\s{0,12}[a-zA-Z]\s{0,12}(?:[.,$*)]|\Z)")
"""`160 = Y` at the end of a statement: the number is what the equation yields."""
_OPERATORS = tuple("+-*/×÷")
_EQUALS = ("=", "≈")
_VARIABLE = re.compile(r"[a-df-gn-rt-z](?![a-z])")
_LIST = re.compile(r"\s{0,12}[*\-(]{0,12}\s{0,12}\d{1,3}[.):]\s(?=\s{0,12}[^\s(])")
_OPERAND = re.compile(
    r"[\s)}\]*]{0,12}[a-zA-Z/ %]{0,28}[\s)}\]]{0,12}(?:[+×÷^=]|(?<!\*)\*(?!\*)|/\s?[$\d(]|(?<![a-zA-Z])x\s|-\s?[$\d(])"
)
_SKIPPED = word_set("a an about approximately around roughly only just exactly the all his her their its next last")
_SAYS = word_set(
    "is are was were be equal equals get gets become becomes as another additional has have had need needs spend "
    "spends spent pay pays paid earn earns earned make makes made cost costs save saves saved receive receives by "
    "to"
)
"""Words right before a number that is stated."""
_CIRCUMSTANCE = word_set(
    "after over for per during until in at with every from than beyond within of between each on before since "
    "through first those these other remaining initial original all the his her their next last without"
)
"""Words right before a number that only sets the scene: after 3 months, with a $10 bill, for the 16 glasses."""
_TOTAL = word_set(
    "total sum average profit distance speed rate cost age number maximum minimum amount price value length height "
    "weight loss gain change discount balance area volume result answer remainder difference"
)
"""Words before `of` and a number that is stated: a total of $64."""
_SUBORDINATE = re.compile(
    r"\b(?:if|when|because|since|assuming|given|after|while|where|once|as|although|even though|whereas)\b"
    r"(?:(?!\b(?:so|then)\b)[^,;.])*\Z",
    re.IGNORECASE,
)
_SUBORDINATORS = word_set("if when because since assuming given after while where once as although though whereas")
_LETTERS = re.compile(r"[a-z]+")
_INFERRED = re.compile(
    r"(?:[,;]\s{1,12}(?:and\s{1,12})?(?:so|therefore|thus|hence)|\b(?:which means|meaning|leaving|giving|resulting in|"
    r"for an? (?:\w{1,24} )?total of|totall?ing))\b"
    r"[^,;]{0,120}\Z",
    re.IGNORECASE,
)
_INFERS = ("so", "therefore", "thus", "hence", "mean", "leaving", "giving", "resulting", "total")
"""Parts of words without which `_INFERRED` is not tried."""
_ROUNDED = re.compile(
    r"\bround(?:s|ed|ing)?(?: it)?(?: up| down| off)? to(?: about| approximately)?[\s*$]{0,12}\Z", re.IGNORECASE
)
_RATE = re.compile(
    r"[\s*]{0,4}[A-Za-z]{1,15}\s(?:(?:a|per|every)\s(?:day|week|month|year|hour|minute|person|piece)\b"
    r"|[a-z ]{0,20}\bon average\b)"
)
_PER = re.compile(r"[\s*]{0,4}(?:[a-z]{1,12}\s)?(?:per|apiece|each|an? [a-z]{3,15})\b")
_COMPARED_WITH = re.compile(
    r"(?:比|相比于?|较)[^，。,.;\d]{0,12}\Z|比[^，。,.;]{1,20}[多少高低大小长短重轻贵](?:了|出)?\Z|より[^，。、\d]{0,4}\Z"
)
_DIFFERENCE_ASKED = re.compile("比|より|보다|多多少|少多少|差")
_COMPARED_BY = re.compile(r"[^\W\d_a-zA-Z]{0,4}(?:より|보다)")
"""`比原来的128本多`, `128冊より多い`: the number that another is compared with."""
_COMPARED = re.compile(
    r"[\s*%]{0,4}(?:[A-Za-z]{1,15}\s){0,2}?(?:more|less|fewer|older|younger|taller|shorter|longer|higher|lower|heavier"
    r"|lighter)(?:\s[A-Za-z]{1,15}){0,3}?\sthan\b"
)
"""What follows the amount of a comparison: 44 marbles, 4 fewer than Ann."""
_COMPARISON_ASKED = re.compile(
    r"\b(?:more|less|fewer|older|younger|taller|shorter|longer|higher|lower|heavier|lighter|difference)\b",
    re.IGNORECASE,
)
RATE_ASKED = re.compile(
    r"\b(?:per|each|every|average|daily|weekly|monthly|rate|speed|fast|an? (?:day|week|month|year|hour|minute))\b|\A\Z",
    re.IGNORECASE,
)
"""A rate is the answer if the question asks for one (or nothing is known of the question)."""
_TIME_ASKED = re.compile(r"\bwhat time\b|\bwhen\b|o['’]clock|\bat what\b|\A\Z", re.IGNORECASE)
_MONTHS = word_set(
    "January February March April May June July August September October November December Jan Feb Mar Apr Jun Jul Aug "
    "Sep Sept Oct Nov Dec"
)
_NUMBERED = word_set("page room chapter bus gate seat figure flight platform apartment section")
"""Nouns whose number is a name."""
_DAY_END = re.compile(r"(?:st|nd|rd|th)?[*\s]{0,3}(?:[.,;:)!?]|\Z|\n|(?:at|on|in|and|or|to|of|this|next|last)\b)")
_YEAR_END = re.compile(r"[*\s]{0,3}(?:[.,;:)!?]|\Z|\n|(?:and|or|by|at|when|with)\b)")
_ORDINAL_END = re.compile(r"(?:st|nd|rd|th)\b[*\s]{0,3}(?:[.,;:)!?]|\Z|\n|of [A-Z])")
_BEFORE_MONTH = re.compile(
    r"(?:st|nd|rd|th|\.)?\s(?:of\s)?(?:January|February|March|April|May|June|July|August|September|October|November"
    r"|December|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec|Januar|Februar|März|Mai|Juni|Juli|Oktober|Dezember)"
    r"(?:\b(?![a-z ]{2})|[\s.,;)]{0,2}(?:\d|\Z))"
)
_STREET = re.compile(
    r"\s(?:[A-Z][A-Za-z]{1,15}\s){1,2}(?:Street|St|Avenue|Ave|Road|Rd|Lane|Drive|Boulevard|Way|Court)\b"
)
_DATE_ASKED = re.compile(
    r"\bwhen\b|\b(?:what|which|whose)(?: \w{1,12})? (?:day|date|year|month|birthday)|\b(?:date|year|day of|on what)\b",
    re.IGNORECASE,
)
_CLAUSE_END = re.compile(r"[,;]\s|\b(?:and|while|but|so|or|which)\b")


def mentions(text: str, start: int, end: int, asked: AskedQuantity, rivals: bool = True) -> list[Mention]:
    """Return all quantities of a statement, weighed; labels and list numbers are left out.

    `rivals` False: the statement is marked as the answer. A lone quantity is then returned unweighed, since nothing
    competes with it, and of several side by side none is the answer.
    """
    begin = max(start, end - MAX_STATEMENT)
    numbered = _LIST.match(text, begin, end)
    if numbered:
        begin = numbered.end() - 1
    named = []
    numbers = quantities(text, begin, end)[-MAX_MENTIONS:]
    if not rivals and len(numbers) == 1:
        return [Mention(numbers[0], 0.0, False, False, False)]
    timeless = _timeless(asked.question)
    for quantity in numbers:
        before = text[max(begin, quantity.start - 60) : quantity.start]
        clocked = quantity.unit is not None and quantity.unit.dimension == "clock"
        if _labelled(before[-28:]) or (clocked and asked.dimension not in {"", "clock"}):
            continue
        if _is_name(text, quantity, before, asked):
            continue
        if clocked and timeless and any(other.unit is None or other.unit.dimension != "clock" for other in numbers):
            continue
        named.append(_weigh(text, begin, end, quantity, before, asked, len(numbers) > 1))
    return named


@lru_cache(maxsize=8192)
def _timeless(question: str) -> bool:
    """Return whether a question does not ask for a time of day."""
    return _TIME_ASKED.search(question) is None


def _labelled(before: str) -> bool:
    """Return whether a text that ends at a number makes it a label: `step 3`, `#3`."""
    return before.rstrip().lower().endswith(_LABEL_ENDS) and _LABEL.search(before) is not None


def _assigned(before: str) -> bool:
    """Return whether a text that ends at a number assigns it to a symbol: `k = `."""
    sign = before.rfind("=")
    return sign > 0 and before[:sign].rstrip()[-1:].isalpha() and _SYMBOL.search(before) is not None


def _subordinate(before: str) -> re.Match[str] | None:
    """Return the subordinate clause that a number is in, up to the number."""
    return None if _SUBORDINATORS.isdisjoint(_LETTERS.findall(before.lower())) else _SUBORDINATE.search(before)


def _inferred(before: str, low: str) -> bool:
    """Return whether the words before a number infer it: `which means`, `leaving`; `low` is them in lower case."""
    return holds_any(low, _INFERS) and _INFERRED.search(before) is not None


def _is_name(text: str, quantity: Quantity, before: str, asked: AskedQuantity) -> bool:
    """Return whether a number is the name of a day, year, page, room or house, and the question asks for none."""
    if not asked.question or quantity.value.denominator != 1 or quantity.word or quantity.unit is not None:
        return False
    words = before.replace("*", " ").rstrip(" (").rsplit(None, 2)[-2:]
    last = words[-1].rstrip(".") if words else ""
    low = last.lower()
    named = False
    if low in _NUMBERED:
        named = low not in asked.question.lower()
    elif last in _MONTHS:
        named = _DAY_END.match(text, quantity.end) is not None
    elif 1000 <= quantity.value < 2200 and low in ("in", "since", "until") and not quantity.unit:
        named = _YEAR_END.match(text, quantity.end) is not None
    if not named:
        after = text[quantity.end : quantity.end + 40]
        named = (
            _BEFORE_MONTH.match(after) is not None
            or (low in ("at", "in", "on") and _STREET.match(after) is not None)
            or (low == "the" and _ORDINAL_END.match(after) is not None)
        )
    return named and not (low not in _NUMBERED and _DATE_ASKED.search(asked.question))


def stated(
    text: str, start: int, end: int, mentioned: list[Mention], asked: AskedQuantity, strict: bool
) -> Mention | Hedge:
    """Return the heaviest mention that is stated, of equals the last.

    Else how the heaviest is named without being stated.
    """
    spans = [(mention.quantity.start, mention.quantity.end) for mention in mentioned]
    first: Hedge = ""
    places = [0] if len(mentioned) == 1 else sorted(range(len(mentioned)), key=lambda at: (-mentioned[at].weight, -at))
    for place in places:
        named = hedge(text, start, end, spans, place, asked.question, strict)
        if named in ("choice", "range"):
            near = [other for other in (place - 1, place + 1) if 0 <= other < len(mentioned)]
            if any(_one_value(mentioned[place].quantity, mentioned[other].quantity) for other in near):
                named = ""
            elif named == "choice" and place + 1 in near and not RATE_ASKED.search(asked.question):
                # `162, or 27 a lamp`
                after = mentioned[place + 1].quantity.end
                named = "" if _PER.match(text, after) and not _PER.match(text, mentioned[place].quantity.end) else named
        if not named:
            return mentioned[place]
        first = first if first in ("choice", "range") else named
    return first


def _one_value(one: Quantity, two: Quantity) -> bool:
    """Return whether two numbers say the same: 90 minutes or 1.5 hours, 1/3 or 0.33, 0.25 or 25%."""
    left, right = one.value, convert(two.value, two.unit, one.unit)
    scaled = {right, right / 100, right * 100} if one.unit is not two.unit else {right}
    return any(abs(left - value) * 50 <= abs(left) for value in scaled)


def _lead(before: str) -> float:
    """Return the weight of the words right before a number."""
    words = before.lower().replace("*", " ").replace("$", " ").replace("(", " ").split()[-8:]
    last = words[-1] if words else ""
    skipped = last in _SKIPPED and len(words) > 1
    if skipped and words[-2] in _SAYS:
        return 1.0
    if last == "by" and any(word.startswith(("multipl", "divid")) for word in words):
        return -2.0
    if last == "of" and len(words) > 1 and words[-2] in _TOTAL:
        return 1.5
    if last in _CIRCUMSTANCE or (skipped and words[-2] in _CIRCUMSTANCE):
        return -1.5
    return 1.0 if last in _SAYS else 0.0


def _weigh(
    text: str, start: int, end: int, quantity: Quantity, before: str, asked: AskedQuantity, full: bool
) -> Mention:
    """Add up the evidence for one quantity; `full` says that others compete, so that the whole weight is needed."""
    after = following(text, quantity.end, quantity.unit)
    weight, foreign = _kind(quantity, after, asked)
    lead_end = before.rstrip(" *{($\u00a0")[-1:]
    yielded = lead_end not in _OPERATORS and _REVERSED.match(text, quantity.end, end) is not None
    result = yielded or lead_end in _EQUALS
    if not yielded and _OPERAND.match(text, quantity.end, end):
        # an operand is the start of a calculation; its surroundings do not matter
        return Mention(quantity, weight - (1 if result else 4), False, result, foreign)
    clause = None if result and not _assigned(before) else _subordinate(before)
    names = asked.given.get(quantity.value.as_integer_ratio())
    # what an equation yields is not a repetition of the question, but `when k = 14` is
    given = names is not None and (not result or clause is not None) and (not names or not after or bool(names & after))
    if names is not None:
        weight -= 2.5 if given else 0.5
    weight += (0 if given else 3) if result else _lead(before)
    if _VARIABLE.match(text, quantity.end, end):
        weight -= 3
    if text.startswith("-", quantity.end) and text[quantity.end + 1 : quantity.end + 2].isalpha():
        weight -= 3
    if before.count("(") > before.count(")"):
        weight -= 2
    copula = before.rstrip(" *$({\u00a0").lower().endswith(_COPULA)
    # `the value when k = 14 is 24`: the copula takes up the main clause again
    if clause and not (copula and any(char.isdigit() for char in clause.group())):
        weight -= 2
    low = before.lower()
    if _inferred(before, low):
        weight += 1.2
    if "round" in low and _ROUNDED.search(before):
        weight += 4
    if quantity.word:
        weight -= 2 if quantity.value == 1 else 0.5
    if before.endswith("**"):
        weight += 2.5 if text.count("**", start, end) == 2 else 1
    if _RATE.match(text, quantity.end, end) and not RATE_ASKED.search(asked.question):
        weight -= 5
    if (
        not text.isascii()
        and not _DIFFERENCE_ASKED.search(asked.question)
        and (_COMPARED_WITH.search(before) or _COMPARED_BY.match(text, quantity.end, end))
    ):
        weight -= 4
    if (
        full
        and not result
        and _COMPARED.match(text, quantity.end, end)
        and not _COMPARISON_ASKED.search(asked.question)
    ):
        weight -= 3
    if full or weight < 0:
        weight += _overlap(text, start, end, quantity, after, asked, copula, result, given)
    return Mention(quantity, weight, given, result, foreign)


def _kind(quantity: Quantity, after: frozenset[str], asked: AskedQuantity) -> tuple[float, bool]:
    """Weigh a quantity's unit or noun against the question, and say whether it measures something else."""
    unit = quantity.unit
    if asked.dimension == "year":
        dated = unit is None and quantity.value.denominator == 1 and 1000 <= quantity.value < 2200
        return (5.0 if dated else -2.0), False
    if asked.unit is not None or asked.dimension:
        wanted = asked.dimension or (asked.unit.dimension if asked.unit else "")
        if unit is None or unit.dimension == "dozen":
            return 0.0, False
        if unit.dimension == wanted:
            return (3.0 if asked.unit is None or unit is asked.unit or not after else 2.0), False
        related = wanted in {"time", "calendar"} and unit.dimension in {"time", "calendar"}
        return (0.0, False) if related else (-3.0, True)
    if asked.nouns:
        common = asked.nouns & after
        if common:
            return 1.5 + len(common) / len(asked.nouns), False
        if unit is not None and unit.dimension != "dozen":
            return -2.0, unit.dimension in {"money", "percent"}
    return 0.0, False


def _overlap(
    text: str,
    start: int,
    end: int,
    quantity: Quantity,
    after: frozenset[str],
    asked: AskedQuantity,
    copula: bool,
    result: bool,
    given: bool,
) -> float:
    """Return the weight of the words that a quantity's clause shares with the question."""
    left, right = _clause(text, start, end, quantity)
    ahead = stems(left)
    nouns = asked.nouns & ahead
    weight = 0.0
    if nouns and (copula or result) and not asked.nouns <= after:
        weight = 1.8 + len(nouns) / len(asked.nouns)  # `the number of trees is 91` matches more than `12 dead trees`
    elif copula and given and len(asked.words & ahead) * 2 > len(asked.words):
        weight = 1.5  # the sentence repeats the question, then gives the number
    around = ahead | stems(right)
    return weight + min(1.6, 0.4 * len(asked.words & around)) + 0.6 * len(asked.nouns & around)


def _clause(text: str, start: int, end: int, quantity: Quantity) -> tuple[str, str]:
    """Return the words before and after a quantity, up to the nearest clause breaks."""
    left = start
    for match in _CLAUSE_END.finditer(text, start, quantity.start):
        left = match.end()
    closing = _CLAUSE_END.search(text, quantity.end, end)
    return text[left : quantity.start], text[quantity.end : closing.start() if closing else end]
