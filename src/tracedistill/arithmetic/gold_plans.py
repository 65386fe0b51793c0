"""Plans made from gold that hold no results: what is to be done with which quantities, in the gold's order.

    1. Natalia sold 48/2 = 24 clips in May.                 1. Divide 48 by 2.
    2. Natalia sold 48+24 = 72 clips altogether.     ->     2. Add 48 and the result of step 1.

One step per operation of the gold calculations; 1/4 may stand for a quarter.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from tracedistill.arithmetic.calculations import Calculation, find_calculations
from tracedistill.arithmetic.constants import cued
from tracedistill.arithmetic.expressions import Operand, Refused, Side, Value, evaluate, magnitude, rounds_to
from tracedistill.arithmetic.gold_path import gold_path
from tracedistill.arithmetic.grounding import Grounds, grounds
from tracedistill.arithmetic.traces import spell
from tracedistill.records import Problem, Step

MAX_STEPS = 60
"""Longer plans are not made."""

_RANK = {"+": 1, "-": 1, "*": 2, "/": 2, "|": 2, "neg": 3, "^": 4}
_WORDS = {"-": "Subtract {1} from {0}.", "/": "Divide {0} by {1}.", "^": "Take {0} to the power of {1}."}

_DIGITS = re.compile(r"(?:\d[\d,]*(?:\.\d+)?|\.\d+)%?(?: (?:hundred|thousand|million|billion|dozen))?", re.IGNORECASE)


class _NoPlan(Exception):  # noqa: N818
    """The gold cannot be said without a result; it holds what cannot be said in words, or nothing."""


@dataclass(frozen=True, slots=True)
class _Term:
    """A quantity of a plan in words."""

    text: str
    """`48`, `20%` or `the result of step 1`."""
    value: Value
    """What it comes to."""


@dataclass(frozen=True, slots=True)
class _Sum:
    """Terms that are still being added or multiplied: `2 + 4 + 8` is one step."""

    sign: str
    terms: tuple[_Term, ...]


def calculation_plan(question: str, gold_steps: Sequence[Step]) -> tuple[Step, ...]:
    """Return one step per operation of the gold calculations; empty if there is no plan that gives nothing away.

    Operands stand as the gold writes them, those that were worked out as `the result of step k`. There is no plan
    where the gold uses a number that comes from nowhere (it would be a result in disguise), or one that is a result
    elsewhere in the gold, unless the question names it.
    """
    texts = tuple(step.text for step in gold_steps)
    writer = _PlanWriter(grounds(question), frozenset(gold_path(texts).results))
    try:
        for text in texts:
            for calculation in find_calculations(text):
                writer.add(calculation, text)
    except (_NoPlan, Refused):
        return ()
    return tuple(Step("plan", text) for text in writer.texts)


def retrieval_plan(problem: Problem, kind: str, facts: str, answer: str) -> tuple[Step, ...]:
    """Return three steps: determine the kind, find so many facts (`{}` in `facts`), answer.

    Empty if the gold cites none.

    Neither class nor facts nor answer are named; how many facts there are is what the plan tells.
    """
    cited = {fact for step in problem.gold_steps if step.kind == "retrieval" for fact in step.facts}
    if not cited:
        return ()
    return tuple(Step("plan", text) for text in (kind, facts.format(len(cited)), answer))


class _PlanWriter:
    """Writes the steps of one plan."""

    def __init__(self, given: Grounds, secret: frozenset[Value]) -> None:
        self.given = given
        self.secret = secret
        """Results of the gold, which the plan must not reveal."""
        self.texts: list[str] = []
        self.results: list[list[Value]] = []
        """Result of each step: exact, and as the gold writes it."""
        self.more = False
        """Whether the current expression has several operations."""
        self.places: dict[str, int] = {}
        """Words for a result -> index of its step."""
        self.used: set[int] = set()
        """Steps whose results were used."""

    def add(self, calculation: Calculation, text: str) -> None:
        """Add the operations of a calculation; a further side counts only if it continues the value reached."""
        if not calculation.values:
            raise _NoPlan
        term: _Term | None = None
        for side, value in zip(calculation.sides, calculation.values, strict=True):
            if not side.operators or (term is not None and _close(value, term.value)):
                continue  # a result, or the same in other words: `5 * 2 + 3 = 10 + 3`
            if term is not None and not _close(side.operands[0].value, term.value):
                raise _NoPlan
            term = self._side(side, text)
        if term is None or calculation.result is None:
            raise _NoPlan  # a conversion of units, which names its result
        if not _close(calculation.result, term.value):
            raise _NoPlan  # only true in another reading than the plain one, or false
        self.results[self.places[term.text]].append(calculation.result)

    def _side(self, side: Side, text: str) -> _Term:
        self.more = len(side.operators) > 1
        values: list[_Term | _Sum] = []
        waiting: list[str] = []
        for item in side.items:
            if isinstance(item, Operand):
                values.append(self._term(item, text))
            elif item == "(":
                waiting.append(item)
            elif item == ")":
                while waiting[-1] != "(":
                    self._apply(waiting.pop(), values)
                waiting.pop()
                values.append(self._closed(values.pop()))
            elif item not in _RANK:
                raise _NoPlan  # a whole quotient or a remainder
            else:
                while waiting and waiting[-1] != "(" and item != "neg" and _RANK[waiting[-1]] >= _RANK[item]:
                    if item == waiting[-1] == "^":
                        break
                    self._apply(waiting.pop(), values)
                waiting.append(item)
        while waiting:
            self._apply(waiting.pop(), values)
        return self._closed(values[0])

    def _apply(self, operator: str, values: list[_Term | _Sum]) -> None:
        right = values.pop()
        if operator == "neg":
            term = self._closed(right)
            if term.text.startswith("the result"):
                raise _NoPlan
            values.append(_Term(f"minus {term.text}", -term.value))
            return
        sign = "/" if operator == "|" else operator
        left = values.pop()
        if isinstance(left, _Sum) and left.sign == sign:
            values.append(_Sum(sign, (*left.terms, self._closed(right))))
            return
        one, other = self._closed(left), self._closed(right)
        if operator == "|" and self.more and _is_share(one, other):
            values.append(self._share(one, other))
        elif sign in "+*":
            values.append(_Sum(sign, (one, other)))
        else:
            values.append(self._step(_WORDS[sign].format(one.text, other.text), sign, (one, other)))

    def _closed(self, value: _Term | _Sum) -> _Term:
        """Close the sum or product as a step of its own."""
        if isinstance(value, _Term):
            return value
        names = [term.text for term in value.terms]
        if value.sign == "+":
            names.sort(key=lambda name: "/" not in name)  # `4 and 5/8` would be one number
            text = f"Add {', '.join(names[:-1])} and {names[-1]}."
        elif len(names) == 2:
            text = f"Multiply {names[0]} by {names[1]}."
        else:
            text = f"Multiply {', '.join(names[:-1])} and {names[-1]} with each other."
        return self._step(text, value.sign, value.terms)

    def _step(self, text: str, sign: str, terms: Sequence[_Term]) -> _Term:
        result = terms[0].value
        for term in terms[1:]:
            result = evaluate((Operand("", result), sign, Operand("", term.value)))
        if result < 0:
            raise _NoPlan  # without the sign written after it, it would not be this result
        if text not in self.texts:
            self.texts.append(text)
            self.results.append([result])
        place = self.texts.index(text)
        if place >= MAX_STEPS:
            raise _NoPlan
        self.places[_result(place)] = place
        return _Term(_result(place), result)

    def _term(self, operand: Operand, text: str) -> _Term:
        """Name an operand: an unused result, a number of the question, another result, a constant, or a rounded one."""
        value = magnitude(operand.value)
        share = Fraction(operand.value) / 100 if operand.percent else operand.value
        exact: Value = share.numerator if share.denominator == 1 else share
        written = operand.text.rstrip("%") if _DIGITS.fullmatch(operand.text) else spell(operand.value)
        named = _Term(f"{written}%" if operand.percent else written, exact)
        steps = self._reached(value)
        fresh = [step for step in steps if step not in self.used]
        if not fresh and value in self.given.numbers:
            return named
        if not steps:
            known = self.given.values | self.given.constants | cued(text, self.given.topics)
            if {value, exact} & known and not {value, exact} & self.secret:
                return named
            steps = fresh = [
                step
                for step, results in enumerate(self.results)
                if any(rounds_to(magnitude(result), operand, value) and _close(result, value) for result in results)
            ]
        if steps:
            step = fresh[0] if fresh else steps[-1]
            self.used.add(step)
            return _Term(_result(step), exact)
        scaled = self._reached(Fraction(value) * 100) if operand.decimals else []
        if scaled:
            return _Term(f"{_result(scaled[-1])} as a percentage", exact)
        raise _NoPlan

    def _share(self, top: _Term, bottom: _Term) -> _Term:
        """Return a fraction as such, or the step that reached it."""
        value = evaluate((Operand("", top.value), "/", Operand("", bottom.value)))
        steps = self._reached(value)
        if steps:
            self.used.add(steps[-1])
            return _Term(_result(steps[-1]), value)
        if value in self.secret and value not in self.given.numbers:
            raise _NoPlan
        return _Term(f"{top.text}/{bottom.text}", value)

    def _reached(self, value: Value) -> list[int]:
        """Return the steps with this result, exactly or as the gold writes it."""
        return [step for step, results in enumerate(self.results) if value in map(magnitude, results)]


def _close(one: Value, other: Value) -> bool:
    """Return whether two values are equal but for rounding."""
    return magnitude(one - other) * 100 <= magnitude(other)


def _result(step: int) -> str:
    return f"the result of step {step + 1}"


def _is_share(top: _Term, bottom: _Term) -> bool:
    """Return whether a division only writes a share: 2/3, 35/100."""
    return top.text.isdigit() and bottom.text.isdigit() and top.value < bottom.value
