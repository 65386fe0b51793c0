"""Linear equations and the system that they make: whether one more follows from it, contradicts it, or is new."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from tracedistill.arithmetic.expressions import Operand, Value, magnitude, rounds_to, show, simple

Form = dict[str, Fraction]
"""A linear expression: unknown -> coefficient; the empty name has the constant."""


@dataclass(frozen=True, slots=True)
class LinearSide:
    """One side of an equation."""

    form: tuple[tuple[str, Fraction], ...]
    """The linear expression."""
    numbers: tuple[Operand, ...]
    """Its numbers."""
    literal: bool
    """Whether it is one number."""


@dataclass(frozen=True, slots=True)
class Equation:
    """Two sides that a line says to be equal, at least one with an unknown."""

    text: str
    """As written."""
    left: LinearSide
    """The first side."""
    right: LinearSide
    """The second side."""
    rounded: bool
    """Whether the line speaks of rounding."""
    letters: frozenset[str]
    """Its unknowns."""

    @property
    def numbers(self) -> tuple[Operand, ...]:
        """All numbers of both sides."""
        return self.left.numbers + self.right.numbers


@dataclass(frozen=True, slots=True)
class Followed:
    """What a system of equations says of one more."""

    true: bool | None
    """Whether it follows; None if it is new."""
    values: frozenset[Value]
    """The values of its unknowns, if it has one and the system determines it, and its numbers."""
    value: Value | None
    """What both sides come to, where that is determined."""
    reason: str = ""
    """Why it does not follow."""


class System:
    """Linear equations collected so far, in reduced form."""

    def __init__(self) -> None:
        self.pivots: dict[str, Form] = {}

    def forget(self, letter: str) -> None:
        """Drop what is known of a letter, since it is given a new meaning."""
        self.pivots = {name: form for name, form in self.pivots.items() if name != letter and letter not in form}

    def value(self, form: Form) -> Value | None:
        """Return what an expression comes to; None if that is not determined."""
        reduced = self._reduced(form)
        return None if any(name for name in reduced) else simple(reduced.get("", Fraction(0)))

    def follow(self, equation: Equation) -> Followed:
        """Return whether an equation follows; a new one is added."""
        left, right = dict(equation.left.form), dict(equation.right.form)
        difference = self._reduced(combined(left, right, Fraction(-1)))
        numbers = frozenset(magnitude(operand.value) for operand in equation.numbers)
        unknown = next((name for name in difference if name), None)
        if unknown is not None:
            pivot = {name: -share / difference[unknown] for name, share in difference.items() if name != unknown}
            self.pivots = {name: _substituted(form, unknown, pivot) for name, form in self.pivots.items()}
            self.pivots[unknown] = pivot
            return Followed(None, numbers | self._solved(left, right), self.value(right))
        one, other = self.value(left), self.value(right)
        if not difference.get("") or _rounds(equation, one, other):
            return Followed(True, numbers | self._solved(left, right), other if equation.right.literal else one)
        if one is None or other is None:
            reason = "it contradicts the equations before it"
        else:
            reason = f"its sides are {show(one)} and {show(other)} by the equations before it"
        return Followed(False, frozenset(), None, f"{equation.text}: {reason}")

    def _reduced(self, form: Form) -> Form:
        reduced: Form = {"": form.get("", Fraction(0))}
        for name, share in form.items():
            if name in self.pivots:
                reduced = combined(reduced, self.pivots[name], share)
            elif name:
                reduced = combined(reduced, {name: Fraction(1)}, share)
        return {name: share for name, share in reduced.items() if share}

    def _solved(self, left: Form, right: Form) -> frozenset[Value]:
        names = {name for form in (left, right) for name in form if name}
        values = [self.value({name: Fraction(1)}) for name in names]
        stated = len(names) == 1 and sum(len(form) for form in (left, right)) == 2
        return frozenset(magnitude(value) for value in values if value is not None) if stated else frozenset()


def _rounds(equation: Equation, left: Value | None, right: Value | None) -> bool:
    """Return whether two sides agree under the rounding policy of calculations."""
    if left is None or right is None:
        return False
    gap = magnitude(left - right)
    for side, exact, written in ((equation.right, left, right), (equation.left, right, left)):
        if side.literal and len(side.numbers) == 1 and side.numbers[0].decimals:
            if rounds_to(exact, side.numbers[0], written) or gap * 1000 <= magnitude(exact):
                return True
        elif side.literal and equation.rounded and isinstance(written, int) and gap < 1:
            return True
    decimals = any(operand.decimals for operand in equation.numbers)
    return (decimals and gap * 1000 <= magnitude(left)) or (equation.rounded and gap * 100 <= magnitude(left))


def combined(form: Form, other: Form, share: Fraction) -> Form:
    """Return an expression plus `share` times another."""
    total = dict(form)
    for name, value in other.items():
        total[name] = total.get(name, Fraction(0)) + value * share
    return {name: value for name, value in total.items() if value}


def _substituted(form: Form, name: str, pivot: Form) -> Form:
    if name not in form:
        return form
    rest = {other: share for other, share in form.items() if other != name}
    return combined(rest, pivot, form[name])
