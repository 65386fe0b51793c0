"""The units behind two numbers that are compared: `12 m` beside `12 km`, `500 GB`, `20 °F`, `$18/day`.

A single letter is a unit only beside one that it can be compared with: `5 m` may be metres, minutes or millions.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Literal

from tracedistill.answers.asked import asked_quantity
from tracedistill.answers.equality import same_number, same_value
from tracedistill.answers.formulas import Outcome
from tracedistill.answers.policy import AnswerPolicy
from tracedistill.answers.quantities import Quantity
from tracedistill.answers.units import UNITS, Unit

_PREFIX = {"k": 3, "m": 6, "g": 9, "t": 12, "p": 15}
_WORDS = {"kilo": 3, "mega": 6, "giga": 9, "tera": 12, "peta": 15}
_OTHERS: dict[str, Unit] = {
    "°c": Unit("degree Celsius", "celsius", Fraction(1)),
    "°f": Unit("degree Fahrenheit", "fahrenheit", Fraction(1)),
    "¢": UNITS["cent"],
    "byte": Unit("byte", "data", Fraction(1)),
    "bytes": Unit("byte", "data", Fraction(1)),
    **{f"{p}b": Unit(f"{p.upper()}B", "data", Fraction(10) ** power) for p, power in _PREFIX.items()},
    **{f"{w}byte": Unit(f"{w}byte", "data", Fraction(10) ** power) for w, power in _WORDS.items()},
    **{f"{w}bytes": Unit(f"{w}byte", "data", Fraction(10) ** power) for w, power in _WORDS.items()},
}
"""Units that running text is not searched for."""
_LETTERS: dict[str, tuple[Unit, ...]] = {
    "m": (UNITS["meter"], UNITS["minute"]),
    "s": (UNITS["second"],),
    "h": (UNITS["hour"],),
    "g": (UNITS["gram"],),
    "t": (UNITS["tonne"],),
    "l": (UNITS["liter"],),
    "L": (UNITS["liter"],),
    "K": (Unit("kelvin", "kelvin", Fraction(1)),),
}
_AFTER_DIGITS = re.compile(r"(?<=\d)[^\d]{0,40}\Z")
_UNIT = re.compile(
    r"[\s\u00a0*_\\,-]{0,4}(?P<unit>(?:°|degrees?\s)\s?(?:(?P<scale>[CF])(?:elsius|ahrenheit)?\b)|¢"
    r"|[A-Za-z]{1,12})(?![\w'’])",
    re.IGNORECASE,
)
_PER = re.compile(
    r"[\s*_$€£]{0,3}(?:(?P<short>mph|kmph|kph|kmh)\b|(?:[A-Za-z]{1,12}\s{0,2})?(?:/|\bper\b|\ban?\b|\beach\b"
    r"|\bevery\b)\s{0,2}"
    r"(?P<per>[A-Za-z]{1,10})(?![\w'’]))",
    re.IGNORECASE,
)


def units_of(quantity: Quantity, behind: str) -> tuple[Unit, ...]:
    """Return the units that a number may be in, by what was read with it or stands behind it; none if there is none."""
    match = _UNIT.match(behind)
    if match is not None and match["scale"]:
        return (_OTHERS["°" + match["scale"].lower()],)
    if quantity.unit is not None:
        return (quantity.unit,)
    if match is None:
        return ()
    word = match["unit"]
    known = UNITS.get(word.lower()) or _OTHERS.get(word.lower())
    return (known,) if known is not None else _LETTERS.get(word, ())


def per(behind: str) -> str:
    """Return what an amount is per: `hour` of `km/h`, `an hour` and `mph`; nothing if there is no rate."""
    match = _PER.match(behind)
    if match is None:
        return ""
    if match["short"]:
        return "hour"
    word = match["per"]
    units = (UNITS[word.lower()],) if word.lower() in UNITS else _LETTERS.get(word, ())
    times = [unit.name for unit in units if unit.dimension in ("time", "calendar")]
    return times[0] if times else ""


def same_amount(
    gold: str, wanted: Quantity, number: Quantity, behind: str, policy: AnswerPolicy, question: str
) -> tuple[Outcome, str]:
    """Compare two numbers with the units behind them."""
    if wanted.unsure or number.unsure or policy.units == "ignore":
        return same_number(wanted, number, policy, question)
    after = _AFTER_DIGITS.search(gold)
    value = _in_unit_of(wanted, after.group() if after else "", number, behind, asked_quantity(question).unit)
    if value is None:
        return same_number(wanted, number, policy, question)
    if value is False:
        return "incorrect", "a number in another unit"
    return same_value(wanted.value, Fraction(value), policy)


def _in_unit_of(
    gold: Quantity, after: str, read: Quantity, behind: str, asked: Unit | None
) -> Fraction | Literal[False] | None:
    """Return the value that was read in the gold's unit; None if nothing is to be converted, False if nothing can be.

    `after` and `behind` stand behind the two numbers; `asked` is the unit that the question fixes, for a bare gold.
    """
    rates = per(after), per(behind)
    if all(rates) and rates[0] != rates[1]:
        return False
    wanted, units = units_of(gold, after), units_of(read, behind)
    if not units:
        return None
    binding = bool(wanted)
    if not binding:
        if asked is None or read.unit is not None:
            return None
        wanted = (asked,)
    for unit in wanted:
        for other in units:
            if unit.dimension == other.dimension:
                return read.value * other.factor / unit.factor
    plain = {"dozen", "clock"}
    if not binding or plain & {unit.dimension for unit in (*wanted, *units)}:
        return None
    return False
