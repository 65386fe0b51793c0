"""The gold path of a problem, and how a calculation off it resembles a gold calculation gone wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Literal

from tracedistill.arithmetic.calculations import Calculation, find_calculations
from tracedistill.arithmetic.equations import EQUATION
from tracedistill.arithmetic.expressions import Operand, Value, magnitude, show
from tracedistill.arithmetic.grounding import numbers_of

Fault = Literal["wrong calculation", "wrong operand", "wrong operation"]
"""wrong calculation: arithmetic error; wrong operand: ungrounded, or another than the gold step's; wrong operation: the
gold step's operands under another operator."""


@dataclass(frozen=True, slots=True)
class GoldPath:
    """The calculations of a gold trace."""

    calculations: tuple[Calculation, ...]
    """In order."""
    results: tuple[Value, ...]
    """Their distinct results, without sign, in order."""
    values: frozenset[Value]
    """Operands and results of all of them."""
    end: frozenset[Value]
    """All sides of the last calculation, or the numbers of a last step that does not calculate."""


@lru_cache(maxsize=8192)
def gold_path(texts: tuple[str, ...]) -> GoldPath:
    """Return the gold path of a gold trace's step texts."""
    calculations = tuple(calculation for text in texts for calculation in find_calculations(text) if calculation.values)
    results = tuple(dict.fromkeys(magnitude(c.result) for c in calculations if c.result is not None))
    operands = {o.value for calculation in calculations for o in calculation.operands}
    end = {magnitude(value) for value in calculations[-1].values} if calculations else set()
    if texts and not find_calculations(texts[-1]):
        end |= numbers_of(texts[-1])
    return GoldPath(calculations, results, frozenset(operands) | frozenset(results), frozenset(end))


_SCALES = tuple(Fraction(scale) for scale in (1, 100, 60, 12, 1000))
"""An amount in hundredths, minutes, dozens or thousands is the same amount."""


def same_amount(value: Value, other: Value, scales: Sequence[Fraction | int] = _SCALES) -> bool:
    """Return whether two values are one amount, rounded or in a unit that is one of `scales` as large."""
    return any(
        magnitude(mine - theirs) * 200 <= magnitude(theirs)
        for scale in scales
        for mine, theirs in ((value * scale, other), (other * scale, value))
    )


def departed_from(calculation: Calculation, gold: GoldPath) -> int | None:
    """Return the index of the gold calculation that a calculation resembles; None if there is none."""
    if EQUATION in calculation.operators:
        return None
    operands = _operands(calculation)
    for place, other in enumerate(gold.calculations):
        if sorted(operands) == sorted(_operands(other)) and len(operands) > 1:
            return place
    for place, other in enumerate(gold.calculations):
        theirs = _operands(other)
        alike = calculation.operators == other.operators and len(theirs) == len(operands) == 2
        if alike and (operands[0] == theirs[0]) != (operands[1] == theirs[1]):
            return place
    for place, other in enumerate(gold.calculations):  # only then in another order
        theirs = _operands(other)
        alike = calculation.operators == other.operators and len(theirs) == len(operands) == 2
        if alike and _other_operand(calculation, operands, theirs) is not None:
            return place
    return None


def _other_operand(
    calculation: Calculation, operands: Sequence[Value], theirs: Sequence[Value]
) -> tuple[Value, Value] | None:
    """Return the operand that differs and the gold's if the other one is the gold's.

    Sums and products are compared in any order.
    """
    if calculation.operators[0] in "+*" and operands[0] != theirs[0] and operands[1] != theirs[1]:
        operands = operands[::-1]
    if (operands[0] == theirs[0]) == (operands[1] == theirs[1]):
        return None
    at = int(operands[0] == theirs[0])
    return operands[at], theirs[at]


def departure(calculation: Calculation, gold: GoldPath) -> tuple[str, Fault] | None:
    """Describe how a step off the gold path resembles a gold step gone wrong; None if it does not."""
    place = departed_from(calculation, gold)
    if place is None:
        return None
    operands, other = _operands(calculation), gold.calculations[place]
    theirs = _operands(other)
    if sorted(operands) == sorted(theirs):
        return f"wrong operation: {calculation.text[:60]}, where the gold has {other.text[:60]}", "wrong operation"
    pair = _other_operand(calculation, operands, theirs)
    if pair is None:
        return None
    return f"wrong operand: {show(pair[0])}, where the gold has {show(pair[1])}", "wrong operand"


def _operands(calculation: Calculation) -> tuple[Value, ...]:
    first = next((side for side in calculation.sides if side.operators), None)
    return tuple(_plain(operand) for operand in first.operands) if first else ()


def _plain(operand: Operand) -> Value:
    return Fraction(operand.value) / 100 if operand.percent else operand.value
