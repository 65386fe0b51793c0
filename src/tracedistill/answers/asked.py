"""The quantity a question asks for, its unit, and the numbers that the question itself gives."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from tracedistill.answers.cleaning import flat, plain
from tracedistill.answers.quantities import quantities
from tracedistill.answers.units import DOLLAR, PERCENT, UNITS, Unit
from tracedistill.answers.words import word_set

_ASKING = re.compile(r"\b(?:how|what|what's|calculate|find|determine|compute|which|when|who)\b", re.IGNORECASE)
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_CLAUSE = re.compile(r"[,;]\s+")
_COUNTED = re.compile(r"\b(?:how many|(?:number|count) of)\s+((?:[\w'/-]+\s*){1,6})", re.IGNORECASE)
_EXPLICIT = re.compile(
    r"\b(?:in|to the nearest|(?:number|amount) of)\s+(?:the\s+|whole\s+|total\s+)?([a-z]+)\b", re.IGNORECASE
)
_MONEY = re.compile(
    r"\bhow much\b.*\b(?:money|spend|spent|pay|paid|cost|costs|earn|earned|make|made|charge|save|saved|owe|change|"
    r"profit|sell|worth|price|dollars|raise|tip|bill|donate|budget|rent|bet|lose|lost|win)\b|"
    r"\b(?:cost|price|profit|earnings|revenue|salary|income|money|pay|savings|expenses?|wages?|budget|pension|debt|"
    r"bill|tip|dollars|fee|tax|discount|bonus|change)\b",
    re.IGNORECASE,
)
_NOT_MONEY = re.compile(r"\bhow (?:many|long|far|old|fast|tall|often|heavy|high|deep|wide)\b|\bpercent", re.IGNORECASE)
_SCALED = re.compile(r"\b(?:in|how many) (million|billion|thousand)s?\b", re.IGNORECASE)
_DIMENSION = (
    (re.compile(r"\bhow long\b", re.IGNORECASE), "time or length"),
    (
        re.compile(
            r"\bhow much(?: more)? time\b|\b(?:calculate|find|what is|what was|what's) the (?:total )?time\b",
            re.IGNORECASE,
        ),
        "time",
    ),
    (
        re.compile(r"\bhow (?:far|tall|high|deep|wide)\b|\b(?:the|what) (?:\w+ ){0,2}distance\b", re.IGNORECASE),
        "length",
    ),
    (re.compile(r"\bhow old\b|\bage\b", re.IGNORECASE), "calendar"),
    (re.compile(r"\bhow heavy\b|\bweigh(?:s|t)?\b", re.IGNORECASE), "mass"),
)
_YEAR = re.compile(
    r"\b(?:what|which)(?: \w+)? year\b|\bwhen (?:was|were|did|is|will)\b|\byear (?:was|were|did|is)\b",
    re.IGNORECASE,
)
_SHARE = re.compile(r"\b(?:what|which|as a) percent", re.IGNORECASE)
_STOP = word_set(
    "a an and are as at be been before but by can could did do does for from get gets had has have having he her "
    "here him his how if in into is it its long many more most much must my need needed needs of off on only or "
    "other our out over per remain same she should so still than that the their them then there these they this "
    "those to up was we were what when where which while who will with would you your left each every after "
    "during total does't all also answer final therefore thus hence"
)
_NOUN_END = word_set(
    "is are did does do will can could would was were has have had should must in of per on at to for from than "
    "that the a an each every he she it they we you i if when after before by with fit need needs go and there remain "
    "left"
)
_WORD = re.compile(r"[A-Za-z][A-Za-z'-]*")


@dataclass(frozen=True, slots=True)
class AskedQuantity:
    """The quantity that a question asks for."""

    unit: Unit | None = None
    """The unit that the question fixes (`how many minutes`, `in dollars`), or None."""
    dimension: str = ""
    """Dimension of the answer, if it can be told; else empty."""
    scale: str = ""
    """million, billion or thousand if the answer is wanted in those (`in millions of dollars`)."""
    nouns: frozenset[str] = frozenset()
    """Stems of what is counted."""
    words: frozenset[str] = frozenset()
    """Stems of the content words of the asking clause."""
    question: str = ""
    """The interrogative sentence, verbatim."""
    given: Mapping[tuple[int, int], frozenset[str]] = field(default_factory=dict)
    """Numbers of the question (numerator, denominator) with the stems and unit names that follow them."""


NOTHING = AskedQuantity()


@lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """Return a crude stem that joins singular and plural: trees and tree, boxes and box, cherries and cherry."""
    return word.lower().removesuffix("'s").removesuffix("s").removesuffix("e")[:5]


def stems(text: str) -> frozenset[str]:
    """Return the stems of the content words of a text."""
    return frozenset([stem(word) for word in _WORD.findall(text.lower()) if word not in _STOP])


@lru_cache(maxsize=8192)
def asked_quantity(question: str) -> AskedQuantity:
    """Parse a question; an empty one asks for nothing in particular."""
    if not question.strip():
        return NOTHING
    text = flat(plain(question[-4000:]))
    sentences = _SENTENCE.split(text.strip())
    asking = next((s for s in reversed(sentences) if "?" in s), None)
    asking = asking or next((s for s in reversed(sentences) if _ASKING.search(s)), sentences[-1])
    clauses = _CLAUSE.split(asking)
    clause = next((c for c in reversed(clauses) if _ASKING.search(c)), asking)
    unit, dimension, nouns = _unit(clause, asking, text)
    if clause.lower().startswith("calculate") or len(clause) < 25:
        clause = asking
    scaled = _SCALED.search(asking)
    given = _given(text)
    if dimension == "time or length":
        named = {name for names in given.values() for name in names} & {"time", "length"}
        dimension = "time" if named == {"time"} else ""
    return AskedQuantity(unit, dimension, scaled[1].lower() if scaled else "", nouns, stems(clause), asking, given)


def _unit(clause: str, asking: str, question: str) -> tuple[Unit | None, str, frozenset[str]]:
    lower = clause.lower()
    counted = _COUNTED.search(clause)
    if counted and "how much" in lower[: counted.start()]:
        counted = None  # `how much does she earn if the number of roses is ...` asks for money, not for roses
    nouns: list[str] = []
    if counted:
        for word in counted[1].lower().split():
            if word in _NOUN_END:
                break
            if word not in _STOP:
                nouns.append(word.strip("'"))
        # `how many 30-minute episodes`: the last noun is what is counted
        unit = UNITS.get(nouns[-1]) if nouns else None
        if unit is None and len(nouns) > 1 and nouns[0] in UNITS:
            unit = UNITS[nouns[0]]
        if unit is not None:
            return unit, unit.dimension, frozenset(map(stem, nouns))
    if _YEAR.search(clause):
        return None, "year", frozenset()
    if "percent" in lower or _SHARE.search(asking):
        return PERCENT, "percent", frozenset({"perce"})
    for match in _EXPLICIT.finditer(asking):
        unit = UNITS.get(match[1].lower())
        if unit is not None and (match[1].lower().endswith("s") or match[1].lower() in {"feet", "kg", "cm", "km"}):
            return unit, unit.dimension, frozenset({stem(unit.name)})
    if nouns:
        return None, "", frozenset(map(stem, nouns))
    if (
        ("$" in question or "dollar" in question or "cents" in question)
        and _MONEY.search(lower)
        and not _NOT_MONEY.search(lower)
    ):
        # prices in cents alone do not say whether the total is wanted in cents or dollars
        return (DOLLAR if "$" in question or "dollar" in question else None), "money", frozenset()
    for pattern, dimension in _DIMENSION:
        if pattern.search(lower):
            return None, dimension, frozenset()
    return None, "", frozenset()


def _given(text: str) -> dict[tuple[int, int], frozenset[str]]:
    given: dict[tuple[int, int], frozenset[str]] = {}
    for quantity in quantities(text):
        ratio = quantity.value.as_integer_ratio()
        given[ratio] = given.get(ratio, frozenset()) | following(text, quantity.end, quantity.unit)
    return given


_RATES = {"mph": {stem("miles"), stem("hour")}}
_RATES |= {name: {stem("kilometers"), stem("hour")} for name in ("kph", "kmh", "kmph")}
"""Abbreviated rates with the stems of their words."""
_AFTER = re.compile(r"[\s*%$\u00a0-]{0,12}((?:[A-Za-z'-]{1,24}[ \u00a0]{0,4}){1,4})")


def following(text: str, end: int, unit: Unit | None) -> frozenset[str]:
    """Return the stems of the words right after a number, and the name of its unit."""
    match = _AFTER.match(text, end, end + 60)
    meanings = set() if unit is None else {unit.dimension}
    if match:
        for word in match[1].lower().split()[:3]:
            if word in _NOUN_END:
                break
            if word not in _STOP:
                meanings |= _RATES.get(word) or {stem(word)}
    return frozenset(meanings)
