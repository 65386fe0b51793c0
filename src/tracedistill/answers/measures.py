"""Whether what stands behind two numbers contradicts: `m/s north` and `m/s south`, `a.m.` and `p.m.`, blue and red."""

from __future__ import annotations

import re

from tracedistill.answers.units import UNITS
from tracedistill.answers.words import word_set

_FILLER = word_set(
    "unit units of the in a an total is are left each per approximately about exactly and or so for to degree degrees "
    "way ways item items number circ text mathrm mbox textbf textit sq square cubic"
)
_SQUARE = re.compile(r"\b(?:square|sq\.?)\s+([a-z]+)|\b([a-z]+)\s*(?:\^\s*\{?2\}?|²)")
_CUBIC = re.compile(r"\b(?:cubic|cu\.?)\s+([a-z]+)|\b([a-z]+)\s*(?:\^\s*\{?3\}?|³)")
_WORD = re.compile(r"[a-z]+[23]?")
_HALF_DAY = re.compile(r"\b([ap])\s?\.?\s?m\b\.?")
_COMMAND = re.compile(r"\\[a-zA-Z]+\s*\{?|\\[,;!: ]")
_OPPOSITES = (
    ("left", "right"), ("up", "down"), ("upward", "downward"), ("upwards", "downwards"), ("north", "south"),
    ("east", "west"), ("clockwise", "counterclockwise"), ("clockwise", "anticlockwise"), ("even", "odd"),
    ("above", "below"), ("gain", "loss"), ("profit", "loss"), ("increase", "decrease"), ("before", "after"),
)  # fmt: skip
_RATES = {"mph": "mile hour", "kph": "kilometer hour", "kmph": "kilometer hour", "kmh": "kilometer hour"}
_RATE = re.compile(r"\b(?:mph|kmph|kph|kmh)\b")
_LETTERS = {"m": "meter", "s": "second", "h": "hour", "g": "gram", "l": "liter"}


def measure(text: str) -> frozenset[str]:
    """Return the words of a unit in one spelling, without fillers: `square cm` and `cm^2` are both `centimeter2`."""
    lowered = _COMMAND.sub(" ", text.casefold().replace("\\", " \\")).replace("{", " ").replace("}", "")
    lowered = _RATE.sub(lambda match: _RATES[match.group()], lowered)
    lowered = _HALF_DAY.sub(r" \1meridiem ", lowered)
    lowered = _SQUARE.sub(lambda match: f" {_named(match[1] or match[2])}2 ", lowered)
    lowered = _CUBIC.sub(lambda match: f" {_named(match[1] or match[2])}3 ", lowered)
    return frozenset(_named(word) for word in _WORD.findall(lowered) if word not in _FILLER)


def _named(word: str) -> str:
    unit = UNITS.get(word)
    if unit is not None or word in _LETTERS:
        return _LETTERS[word] if unit is None else unit.name
    return word if len(word) < 4 else word.removesuffix("s").removesuffix("e")


def contradict(left: str, right: str) -> bool:
    """Return whether both name a measure and neither contains the other, or one says the opposite of the other."""
    said, other = (frozenset(_WORD.findall(side[:200].casefold())) for side in (left, right))
    if any((one in said and two in other) or (two in said and one in other) for one, two in _OPPOSITES):
        return True
    one, two = measure(left[:200]), measure(right[:200])
    return bool(one and two) and not (one <= two or two <= one)
