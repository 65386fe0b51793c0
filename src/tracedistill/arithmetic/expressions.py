"""Arithmetic expressions evaluated exactly, and when two sides agree: 10/3 = 3.33 does, 16 * 3 = 45 does not.

Everything is bounded: numbers of at most 50 digits, 300 parts per expression, powers up to 4,096 bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

Value = int | Fraction

MAX_DIGITS = 50
MAX_ITEMS = 300
_MAX_BITS = 4096
_MAX_EXPONENT = 64


class Refused(Exception):  # noqa: N818
    """An expression that is not evaluated: too long, too large, or undefined; the message says which."""


@dataclass(frozen=True, slots=True)
class Operand:
    """One number as written."""

    text: str
    """Digits as written, with a scale word or fraction where it has one."""
    value: Value
    """Its value, a percent sign left aside."""
    decimals: int = 0
    """Digits after the point."""
    percent: bool = False
    """Whether a percent sign follows."""
    unit: str = ""
    """The first word after it, or `$`; lower case."""


Item = Operand | str
"""An operand, an operator (+ - * / ^ // mod, `|` for a division written tight, `neg`) or a parenthesis."""


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a calculation: an expression, or a single number."""

    items: tuple[Item, ...]
    """Operands, operators and parentheses in their order."""
    operands: tuple[Operand, ...]
    """The operands alone."""
    operators: tuple[str, ...]
    """The operators alone, without signs; `|`, `//` and `mod` are written as `/`."""
    start: int
    """Where it begins in the text."""
    end: int
    """Where its last operand or parenthesis ends."""
    doubt: bool = False
    """Whether words or letters in it may hide something: it is then never called false."""
    worded: bool = False
    """Whether words follow its last operand."""

    @property
    def literal(self) -> bool:
        """Whether it is a number, a share or a fraction as such: 5, 20%, 3/4."""
        return not self.operators or (self.operators == ("/",) and len(self.operands) == 2)


@lru_cache(maxsize=65_536)
def number(text: str) -> tuple[Value, int]:
    """Parse digits such as `1,234.50` as value and decimals. Raises Refused past MAX_DIGITS."""
    plain = text.replace(",", "")
    if len(plain) > MAX_DIGITS:
        raise Refused(f"a number of {len(plain)} digits")
    whole, _, decimals = plain.partition(".")
    if not decimals:
        return int(whole), 0
    return simple(Fraction(int(whole + decimals), 10 ** len(decimals))), len(decimals)


def show(value: Value) -> str:
    """Format a value: an integer, a short decimal, or an approximation."""
    if isinstance(value, int):
        return str(value) if abs(value) < 10**15 else f"about 10^{len(str(abs(value))) - 1}"
    if value.denominator in (2, 4, 5, 8, 10, 20, 25, 50, 100, 1000):
        return f"{float(value):g}"
    try:
        return f"{float(value):.4g}"
    except OverflowError:
        return "a very large number"


def magnitude(value: Value) -> Value:
    """Return the absolute value; `abs` with the type kept."""
    return -value if value < 0 else value


def simple(value: Value) -> Value:
    """Return an integer if the value is a whole fraction."""
    return value.numerator if isinstance(value, Fraction) and value.denominator == 1 else value


_RANK = {"+": 1, "-": 1, "*": 2, "/": 2, "|": 2, "//": 2, "mod": 2, "neg": 3, "^": 4}


def evaluate(items: tuple[Item, ...], reading: str = "", reached: list[Value] | None = None) -> Value:
    """Evaluate an expression. Raises Refused if it has no value within bounds.

    `reading`: `tight` (divisions written without spaces bind first), `plain` (percent signs ignored), `relative`
    (`50 - 20%` takes 20 % of 50), `repeating` (0.33 is 1/3), `units` (numbers in their base units).
    Values of inner operations are added to `reached`.
    """
    if len(items) > MAX_ITEMS:
        raise Refused(f"an expression of {len(items)} parts")
    values: list[Value] = []
    waiting: list[str] = []
    relative: set[int] = set()  # depths of the value stack at which a bare percentage waits
    for item in items:
        if isinstance(item, Operand):
            if item.percent and reading == "relative":
                relative.add(len(values))
            values.append(_value(item, reading))
        elif item == "(":
            waiting.append(item)
        elif item == ")":
            while waiting[-1] != "(":
                _apply(waiting.pop(), values, reached, relative)
            waiting.pop()
        else:
            rank = _rank(item, reading)
            # `^` and signs group to the right, all else to the left
            while waiting and waiting[-1] != "(" and item != "neg":
                above = _rank(waiting[-1], reading)
                if above < rank or (above == rank and item == "^"):
                    break
                _apply(waiting.pop(), values, reached, relative)
            waiting.append(item)
    while waiting:
        _apply(waiting.pop(), values, reached, relative)
    return values[0]


def _rank(operator: str, reading: str) -> float:
    return 2.5 if operator == "|" and reading == "tight" else _RANK[operator]


def _value(operand: Operand, reading: str) -> Value:
    if len(operand.text) > MAX_DIGITS:
        raise Refused(f"a number of more than {MAX_DIGITS} digits")
    value = operand.value
    if operand.percent and reading != "plain":
        return simple(Fraction(value) / 100)
    if reading == "repeating" and operand.decimals >= 2:
        return repeating(operand) or value
    if reading == "units":
        return simple(value * UNITS.get(operand.unit, ("", Fraction(1)))[1])
    return value


def _apply(operator: str, values: list[Value], reached: list[Value] | None, relative: set[int]) -> None:
    right = values.pop()
    if operator == "neg":
        values.append(-right)
        return
    left = values.pop()
    result: Value
    if operator in "+-":
        if len(values) + 1 in relative:
            relative.discard(len(values) + 1)
            right = simple(right * left)
        result = left + right if operator == "+" else left - right
    elif operator == "*":
        result = left * right
    elif operator == "^":
        result = _power(left, right)
    elif not right:
        raise Refused("division by zero")
    elif operator == "//":
        result = left // right
    elif operator == "mod":
        result = left % right
    else:
        result = _divide(left, right)
    if isinstance(result, Fraction):
        result = simple(result)
    values.append(result)
    if reached is not None:
        reached.append(result)


def _divide(left: Value, right: Value) -> Value:
    if isinstance(left, int) and isinstance(right, int) and not left % right:
        return left // right
    return Fraction(left) / Fraction(right)


def _power(base: Value, exponent: Value) -> Value:
    if not isinstance(exponent, int) or abs(exponent) > _MAX_EXPONENT:
        raise Refused("a power with an exponent that is not a small integer")
    bits = max(base.numerator.bit_length(), base.denominator.bit_length())
    if bits * abs(exponent) > _MAX_BITS:
        raise Refused("a power too large to evaluate")
    if exponent < 0 and not base:
        raise Refused("division by zero")
    return Fraction(base) ** exponent


@lru_cache(maxsize=4096)
def repeating(operand: Operand) -> Fraction | None:
    """Return the fraction over 3, 6, 7, 9, 11 or 12 that a rounded decimal such as 0.33 or 16.67 stands for."""
    value, unit = operand.value, Fraction(1, 10**operand.decimals)
    for denominator in (3, 6, 7, 9, 11, 12):
        for numerator in (math.floor(value * denominator), math.ceil(value * denominator)):
            near = Fraction(numerator, denominator)
            cut_off = 0 <= near - value < unit
            if near.denominator in (3, 6, 7, 9, 11, 12) and (cut_off or abs(near - value) * 2 <= unit):
                return near
    return None


_UNIT_KINDS: dict[str, dict[str, int | Fraction]] = {
    "time": {
        "second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800, "sec": 1, "min": 60, "hr": 3600,
    },
    "calendar": {"month": 1, "year": 12},
    "money": {"cent": 1, "quarter": 25, "dollar": 100, "$": 100, "nickel": 5, "dime": 10, "penny": 1, "pennie": 1},
    "length": {"inch": 1, "inche": 1, "foot": 12, "feet": 12, "yard": 36, "mile": 63360},
    "metric length": {"mm": 1, "cm": 10, "m": 1000, "km": 10**6, "centimeter": 10, "meter": 1000,
                      "kilometer": 10**6, "millimeter": 1, "centimetre": 10, "metre": 1000, "kilometre": 10**6},
    "mass": {"g": 1, "gram": 1, "kg": 1000, "kilogram": 1000, "mg": Fraction(1, 1000), "ton": 10**6},
    "weight": {"ounce": 1, "oz": 1, "pound": 16, "lb": 16},
    "volume": {"ml": 1, "milliliter": 1, "l": 1000, "liter": 1000, "litre": 1000},
    "measure": {"cup": 1, "pint": 2, "quart": 4, "gallon": 16},
    "count": {"dozen": 12},
}  # fmt: skip
UNITS = {name: (kind, Fraction(factor)) for kind, names in _UNIT_KINDS.items() for name, factor in names.items()}
"""Unit, singular -> (kind, factor to the kind's smallest unit)."""


def unit_name(word: str) -> str:
    """Spell a word as UNITS does: lower case, without plural s."""
    word = word.lower().strip("'’")
    return word if word in UNITS else word.removesuffix("s")


def agree(left: Side, right: Side, approximate: bool, values: tuple[Value, Value]) -> bool:
    """Return whether two sides are equal under the rounding policy and any of the readings.

    `values` are their plain ones.
    """
    if _close(left, right, values, approximate):
        return True
    return any(_close(left, right, pair, approximate) for pair in _readings(left, right, values))


def _readings(left: Side, right: Side, values: tuple[Value, Value]) -> Iterator[tuple[Value, Value]]:
    try:
        if any(operand.percent for operand in (*left.operands, *right.operands)):
            # a share may be given as 40 or as 40 %; `100 - 20% = 80` means points, `50 - 20% = 40` a part of 50
            sides = [(left, values[1], False), (right, values[0], True)]
            for side, other, flip in sides:
                if not set(side.operators) - {"+", "-"}:
                    for reading in ("plain", "relative"):
                        pair = (evaluate(side.items, reading), other)
                        yield pair[::-1] if flip else pair
                elif any(operand.percent and operand.value == 100 for operand in side.operands):
                    pair = (evaluate(side.items, "plain"), other)  # `15 / 90 * 100% = 16.66`
                    yield pair[::-1] if flip else pair
            if not {*left.operators, *right.operators} - {"+", "-"}:
                yield evaluate(left.items, "plain"), evaluate(right.items, "plain")
        if "|" in left.items or "|" in right.items:
            yield evaluate(left.items, "tight"), evaluate(right.items, "tight")
        if any(operand.decimals > 1 for operand in (*left.operands, *right.operands)):
            yield (
                evaluate(left.items, "repeating") if left.operators else values[0],
                evaluate(right.items, "repeating") if right.operators else values[1],
            )
        kinds = {UNITS[o.unit][0] for o in left.operands if o.unit in UNITS}
        if len(kinds) == 1 and kinds == {UNITS[o.unit][0] for o in right.operands if o.unit in UNITS}:
            yield _in_base_units(left, values[0]), _in_base_units(right, values[1])
            if set(left.operators) == {"*"} and left.operands[-1].unit in UNITS:
                # `7 quarters * 25 cents = $1.75`: so many coins, each of that worth
                yield simple(values[0] * UNITS[left.operands[-1].unit][1]), _in_base_units(right, values[1])
        elif len(kinds) == 1 and not any(o.unit in UNITS for o in right.operands):
            if kinds == {"count"}:
                yield _in_base_units(left, values[0]), values[1]  # `1 dozen = 12`
            # `3 months + 2 years = 3 + 24`: the right side is in the smallest unit of the left
            smallest = min(UNITS[o.unit][1] for o in left.operands if o.unit in UNITS)
            yield simple(_in_base_units(left, values[0]) / smallest), values[1]
        if not right.operators and right.operands[0].text.endswith("illion"):
            # `32 / 2 = $16 million`: the scale is said once, at the end
            yield values[0], number(right.operands[0].text.split()[0])[0]
    except Refused:
        return


def _in_base_units(side: Side, value: Value) -> Value:
    if side.literal and side.operands[-1].unit in UNITS:  # `1/8 hour`: the unit is the fraction's; not in `$1 / 2`
        return simple(value * UNITS[side.operands[-1].unit][1])
    return evaluate(side.items, "units")


def _close(left: Side, right: Side, values: tuple[Value, Value], approximate: bool) -> bool:
    one, other = values
    if one == other:
        return True
    if not (isinstance(one, int) and isinstance(other, int)) and magnitude(one - other) * 10**9 < magnitude(one):
        return True  # a calculator's 3.8000000000000003
    if left.operators and right.operators:
        return magnitude(one - other) * 1000 <= magnitude(one)
    if approximate and magnitude(one - other) * 100 <= magnitude(one):
        return True
    return (not right.operators and rounds_to(one, right.operands[0], other)) or (
        not left.operators and rounds_to(other, left.operands[0], one)
    )


def rounds_to(exact: Value, written: Operand, value: Value) -> bool:
    """Return whether a number as written is `exact` rounded (or, with decimals, cut off) to the digits it shows."""
    if isinstance(exact, int):
        return False
    decimals = written.decimals
    if not decimals and abs(exact) < 1 and not written.percent:
        return False
    gap = abs(exact - value) * 10**decimals
    if written.percent and value != written.value:
        gap *= 100
    return gap * 2 <= 1 or (decimals > 0 and gap < 1 and magnitude(value) < magnitude(exact))
