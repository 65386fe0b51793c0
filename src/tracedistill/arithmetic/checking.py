"""Calculations of a trace, step by step, each operand with its source."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

from tracedistill.arithmetic.calculations import Calculation, find_calculations
from tracedistill.arithmetic.constants import is_converted, topics_of
from tracedistill.arithmetic.derived import derived
from tracedistill.arithmetic.equations import (
    are_units,
    bare_letters,
    calculation_of,
    defined,
    find_equations,
    has_unread_equation,
)
from tracedistill.arithmetic.expressions import Operand, Value, magnitude
from tracedistill.arithmetic.gold_path import GoldPath
from tracedistill.arithmetic.grounding import Ground, Grounds, ground, grounds, unknowns
from tracedistill.arithmetic.linear import Equation, System
from tracedistill.arithmetic.notation import has_decimal_commas, in_points, with_points
from tracedistill.arithmetic.parts import put_together, rewritten
from tracedistill.arithmetic.percentages import with_wholes
from tracedistill.arithmetic.tables import written_out

_NEAR = 20
"""Steps back in which a number's unit is looked for."""
_COUNTED = re.compile(r"(?<![\d.,/])(\d[\d,]{0,15}(?:\.\d{1,6})?)(?: (?:full|whole|total))? ([A-Za-z]{2,15})")

Source = Ground | Literal["unknown", "gold", "part"]
"""Source of an operand; `unknown`: an equation's number, `gold`: the gold path's, `part`: of a number taken apart."""


@dataclass(frozen=True, slots=True)
class Checked:
    """One calculation of a trace, checked."""

    calculation: Calculation
    """The calculation."""
    grounds: tuple[Source, ...]
    """Source of each operand; empty if there is none."""
    on_path: bool
    """Whether its result is a value of the gold path."""
    sets_up: bool = False
    """Whether it is an equation that sets the problem up, which no equation before it implies."""

    @property
    def grounded(self) -> bool:
        """Whether every operand has a source."""
        return all(self.grounds)


def check(
    question: str, texts: Sequence[str], gold: GoldPath | None = None, *, equations: bool = True
) -> list[list[Checked]]:
    """Check every step: its calculations with the source of every operand.

    Without `gold`, the gold path grounds nothing. `equations`: those in unknowns are checked too.
    """
    if has_decimal_commas(question):
        question = with_points(question)
    given = grounds(question)
    texts, _ = written_out(in_points(texts))
    reader = _Reader(given, gold, bare_letters(texts) if equations else None)
    checked = [reader.read(text) for text in texts]
    lost = [(checked_one.calculation, _lost(checked_one)) for of_step in checked for checked_one in of_step]
    accepted = put_together(lost, given.numbers, given.shares)
    if not accepted:
        return checked
    return [[_accepting(checked_one, accepted) for checked_one in of_step] for of_step in checked]


def _lost(checked: Checked) -> frozenset[int]:
    """Return the ids of the operands without a source."""
    pairs = zip(checked.calculation.operands, checked.grounds, strict=True)
    return frozenset(id(operand) for operand, source in pairs if not source)


def _accepting(checked: Checked, accepted: Set[int]) -> Checked:
    if checked.grounded:
        return checked
    pairs = zip(checked.calculation.operands, checked.grounds, strict=True)
    return replace(
        checked, grounds=tuple(source or ("part" if id(operand) in accepted else "") for operand, source in pairs)
    )


class _Reader:
    """Checks steps in their order, and remembers what they reach."""

    def __init__(self, given: Grounds, gold: GoldPath | None, bare: frozenset[str] | None) -> None:
        self.given = given
        self.bare = bare  # letters that are no units; None: equations are not read
        self.system = System()
        self.uncertain = False  # whether an equation before was not read
        self.earlier: set[Value] = set()
        self.texts: list[str] = []
        self.algebra: set[Value] = set()
        self.licence = gold.values if gold else frozenset()
        self.targets = frozenset(gold.results) if gold else frozenset()

    def read(self, text: str) -> list[Checked]:
        """Check the calculations of one step."""
        equations = self._equations(text)
        self.uncertain = self.uncertain or ("=" in text and self.bare is not None and has_unread_equation(text))
        if not equations:
            self.algebra |= unknowns(text)
        # `per day` in one step, `* 7` a week in the next
        self.given = replace(self.given, topics=self.given.topics | topics_of(text))
        checked: list[Checked] = []
        self.earlier |= derived(text, self.known)
        if "%" in text:
            text = with_wholes(text, self.given.numbers, self.earlier)
        self.texts.append(text)
        followed = [self._follow(equation) for equation in equations]
        checked += [self._check(calculation, text) for calculation in find_calculations(text)]
        # a number of an equation may be a result of its own line
        checked += [self._again(equation) for equation in followed]
        if checked:
            self.earlier |= derived(text, self.known)  # `7 * 120 = 840 plants, a fourth of which is 210`
        return checked

    @property
    def known(self) -> set[Value]:
        """Numbers of the question and results so far."""
        return self.earlier | self.given.values

    def _equations(self, text: str) -> list[Equation]:
        if self.bare is None:
            return []
        equations = [
            equation for equation in find_equations(text) if not are_units(equation.letters, self.bare | defined(text))
        ]
        if equations:
            for letter in defined(text):
                self.system.forget(letter)
        return equations

    def _follow(self, equation: Equation) -> Checked:
        """Check one equation in unknowns against those before it."""
        followed = self.system.follow(equation)
        calculation = calculation_of(equation, followed)
        sources = tuple(self._set_up_source(operand) for operand in calculation.operands)
        if all(sources):
            self.earlier |= calculation.reached
        elif self.uncertain:  # it may follow from what was not read
            calculation = replace(calculation, true=None, reason=f"{equation.text}: not known to follow")
        result = calculation.result
        on_path = result is not None and magnitude(result) in self.targets
        return Checked(calculation, sources, on_path, sets_up=followed.true is None)

    def _again(self, checked: Checked) -> Checked:
        if checked.grounded or checked.calculation.true is None:
            return checked
        return replace(checked, grounds=tuple(map(self._set_up_source, checked.calculation.operands)))

    def _set_up_source(self, operand: Operand) -> Source:
        """Return the source of a number that sets a problem up; one operation may have been made in the head."""
        source = self._source(operand, is_share=False, text="")
        if source:
            return source
        known = list(dict.fromkeys((*self.given.numbers[:20], *itertools.islice(self.earlier, 40), 1, 2)))
        for value, other in itertools.product(known, repeat=2):
            if operand.value in (value + other, value - other, value * other):
                return "part"
            if other and operand.value * other == value:
                return "part"
        return ""

    def _check(self, calculation: Calculation, text: str) -> Checked:
        # inside a chain, a side may use the results of the sides before it
        before = set() if calculation.sides[0].operators else self.known
        self.earlier |= _before_last(calculation)
        shares = _shares(calculation, self.known) if "/" in calculation.operators else frozenset()
        sources = [
            self._source(operand, id(operand) in shares, text) or self._of_unknown(operand)
            for operand in calculation.operands
        ]
        if not all(sources):
            pairs = list(zip(calculation.operands, sources, strict=True))
            lost = {id(operand) for operand, source in pairs if not source}
            parts = rewritten(calculation, lost, before)
            sources = [source or ("part" if id(operand) in parts else "") for operand, source in pairs]
        self.earlier |= calculation.reached
        result = calculation.result
        on_path = result is not None and magnitude(result) in self.targets
        return Checked(calculation, tuple(sources), on_path)

    def _source(self, operand: Operand, is_share: bool, text: str) -> Source:
        source = ground(operand, self.given, self.earlier, text)
        if source:
            return source
        if is_share:
            return "earlier"
        if operand.value in self.algebra:
            return "unknown"
        if operand.value in self.licence:
            return "gold"
        return "constant" if self._is_converted(operand) else ""

    def _of_unknown(self, operand: Operand) -> Source:
        return "earlier" if self.system.pivots and self._is_term(operand.value) else ""

    def _is_term(self, value: Value) -> bool:
        """Return whether a value is a multiple of a solved unknown that the trace names: 36 of `3t` where t is 12."""
        for letter in self.system.pivots:
            solved = self.system.value({letter: Fraction(1)})
            if solved is None:
                continue
            term = re.compile(rf"(?<![\d.,/])(\d{{1,9}}) ?[*×·]? ?{letter}(?![^\W_])")
            if any(int(count) * solved == value for text in self.texts[-_NEAR:] for count in term.findall(text)):
                return True
        return False

    def _is_converted(self, operand: Operand) -> bool:
        """Return whether a given number in another unit is meant: 15 of `15 weekdays`, where 3 weeks are given."""
        units = {operand.unit} if operand.unit else set()
        for text in self.texts[-_NEAR:]:
            if operand.text in text:
                units |= {unit for number, unit in _COUNTED.findall(text) if number == operand.text}
        return any(is_converted(operand.value, unit, self.given.numbers, self.given.topics) for unit in units)


def _shares(calculation: Calculation, known: Set[Value]) -> frozenset[int]:
    """Identify the operands of fractions that are known as a whole: 1/7, reached before, in `140 * (1/7)`."""
    halves: list[int] = []
    for side in calculation.sides:
        for left, sign, right in zip(side.items, side.items[1:], side.items[2:], strict=False):
            if sign not in ("/", "|") or isinstance(left, str) or isinstance(right, str) or not right.value:
                continue
            if Fraction(left.value) / Fraction(right.value) in known:
                halves += [id(left), id(right)]
    return frozenset(halves)


def _before_last(calculation: Calculation) -> frozenset[Value]:
    expressions = sum(bool(side.operators) for side in calculation.sides)
    return calculation.reached if expressions > 1 else frozenset()
