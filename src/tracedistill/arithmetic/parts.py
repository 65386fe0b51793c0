"""Numbers taken apart or rounded for mental arithmetic: 7 * 52 as 7 * 50 + 7 * 2, 30% of 60 as three times 10%.

Such a number comes from nowhere by itself. It is grounded if a later calculation puts the parts together again, that
is, reaches what the known numbers give: 350 + 14 is 7 * 52, 600 - 6 is 6 * 99, 3 * 6 is 30% of 60.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from fractions import Fraction

from tracedistill.arithmetic.calculations import Calculation
from tracedistill.arithmetic.equations import EQUATION
from tracedistill.arithmetic.expressions import Operand, Refused, Side, Value, evaluate, magnitude, simple

_MAX_KNOWN = 60
_MAX_STEPS = 200
_MAX_LOST = 30
"""Calculations of a trace, and those without grounds among them, up to which parts are looked for."""


def rewritten(calculation: Calculation, lost: Collection[int], known: Collection[Value]) -> frozenset[int]:
    """Return the ids of operands that only rewrite a side before them; `lost` are those without a source.

    In a true chain that is every operand after a side that is grounded (`7 * 52 = 7 * 50 + 7 * 2`). A known number
    that comes first may be taken apart as well (`52 = 50 + 2`); its parts are not grounded in later steps by that.
    """
    if not calculation.true or len(calculation.sides) < 2:
        return frozenset()
    first = calculation.sides[0]
    if any(id(operand) in lost for operand in first.operands):
        return frozenset()
    if not first.operators and (len(first.operands) != 1 or magnitude(first.operands[0].value) not in known):
        return frozenset()
    return frozenset(id(operand) for side in calculation.sides[1:] for operand in side.operands)


def put_together(
    steps: Sequence[tuple[Calculation, frozenset[int]]], known: Sequence[Value], shares: Sequence[Value]
) -> frozenset[int]:
    """Return the ids of ungrounded operands whose parts a later calculation puts together.

    `steps` are the calculations in order, with the ids of their ungrounded operands; `known` are the numbers of the
    question, and `shares` its percentages as fractions.
    """
    if len(steps) > _MAX_STEPS or not 0 < sum(bool(lost) for _, lost in steps) <= _MAX_LOST:
        return frozenset()
    accepted: set[int] = set()
    for place, (calculation, lost) in enumerate(steps):
        side = _first_side(calculation)
        if not lost or side is None or EQUATION in side.operators or not calculation.true or calculation.result is None:
            continue
        kept = [operand for operand in side.operands if id(operand) not in lost]
        if lost <= accepted:
            continue
        numbers = {*known[:_MAX_KNOWN], *_results(steps[:place])}
        if _comes_to(calculation, kept, numbers) or _finishes(calculation, kept, known, steps[:place]):
            accepted |= lost
            continue
        if len(kept) != 1 or len(side.operands) != 2:
            continue
        if any(operand.percent for operand in side.operands if id(operand) in lost):
            goals = {simple(Fraction(kept[0].value) * share) for share in shares}
            goals |= {simple(kept[0].value - Fraction(kept[0].value) * share) for share in shares}
        else:
            goals = set(_goals(side, lost, numbers))
            if side.operators == ("/",) and side.operands[0] is kept[0]:
                goals |= {simple(Fraction(kept[0].value) * share) for share in shares}  # a tenth is ten percent
        goals.discard(magnitude(calculation.result))
        built = _built(steps, place, goals)
        # `10% = 6, so 30% = 18` names the share itself
        percents = all(operand.percent for operand in side.operands if id(operand) in lost)
        if built or (percents and any(not missing and c.result in goals for c, missing in steps[place + 1 :])):
            accepted |= {*lost, *(built or ())}
        elif _left_over(side, kept[0], calculation.result, steps[place + 1 :], numbers):
            accepted |= lost
    return frozenset(accepted)


def _first_side(calculation: Calculation) -> Side | None:
    return next((side for side in calculation.sides if side.operators), None)


def _results(steps: Sequence[tuple[Calculation, frozenset[int]]]) -> Iterator[Value]:
    for calculation, lost in steps:
        if not lost:
            yield from calculation.reached


def _goals(side: Side, lost: Collection[int], numbers: Collection[Value]) -> Iterator[Value]:
    """Yield what the side comes to with each known number in place of the part."""
    for value in numbers:
        number = Operand(str(value), value)
        items = tuple(number if isinstance(item, Operand) and id(item) in lost else item for item in side.items)
        try:
            yield magnitude(evaluate(items))
        except Refused:
            continue


def _built(
    steps: Sequence[tuple[Calculation, frozenset[int]]], place: int, goals: Collection[Value]
) -> frozenset[int] | None:
    """Return the ids of ungrounded operands on the way from a part's result to a goal; None if no way leads there."""
    result = steps[place][0].result
    descent = {magnitude(result)} if result is not None else set()
    used: set[int] = {0}
    first = _first_side(steps[place][0])
    # parts are added or taken off again; factors are multiplied, divisors divide on
    joining = {"+", "-", *(first.operators if first else ())}
    if "/" in joining:
        joining.add("*")  # a tenth three times
    for calculation, lost in steps[place + 1 :]:
        if not calculation.true or not any(magnitude(operand.value) in descent for operand in calculation.operands):
            continue
        if not joining.issuperset(calculation.operators):
            continue
        used |= lost
        if calculation.result is not None:
            descent.add(magnitude(calculation.result))
            if magnitude(calculation.result) in goals:
                return frozenset(used)
    return None


def _comes_to(calculation: Calculation, kept: Sequence[Operand], numbers: Collection[Value]) -> bool:
    """Return whether three numbers or more come to what two known ones do: 14 * (50 - 2) is 14 * 48."""
    written = {operand.value for operand in calculation.sides[0].operands}
    if len(calculation.sides[0].operands) < 3 or calculation.result is None:
        return False
    return any(
        calculation.result in (operand.value * number, operand.value + number, operand.value - number)
        or (operand.value and calculation.result * operand.value == number)
        for operand in kept
        for number in numbers
        if number not in written  # 7 * (4 + 3) is not 7 * 7 of one given 7
    )


def _finishes(
    calculation: Calculation,
    kept: Sequence[Operand],
    known: Sequence[Value],
    earlier: Sequence[tuple[Calculation, frozenset[int]]],
) -> bool:
    """Return whether a sum goes on from a number made round: 198 + 2 = 200, 200 + 55 is 198 + 57."""
    if len(kept) != 1 or calculation.result is None or not {"+", "-"}.issuperset(calculation.operators):
        return False
    for before, lost in earlier:
        if lost or not before.true or before.result != kept[0].value or not {"+", "-"}.issuperset(before.operators):
            continue
        for operand in before.operands:
            differences = (calculation.result - operand.value, operand.value - calculation.result)
            if operand.value in known and any(difference in known for difference in differences):
                return True
    return False


def _left_over(
    side: Side,
    divisor: Operand,
    product: Value,
    later: Sequence[tuple[Calculation, frozenset[int]]],
    numbers: Collection[Value],
) -> bool:
    """Return whether a product is taken off a known number to leave a remainder: 6 * 7 = 42, 47 - 42 = 5."""
    if side.operators != ("*",) or not all(isinstance(operand.value, int) for operand in side.operands):
        return False
    for calculation, _ in later:
        first = _first_side(calculation)
        if first is None or first.operators != ("-",) or len(first.operands) != 2 or calculation.result is None:
            continue
        whole, taken = (operand.value for operand in first.operands)
        if taken == product and whole in numbers and 0 <= calculation.result < divisor.value:
            return True
    return False
