"""Whether a wrong number of a plan recurs in the student's text, its calculations or its answer.

question   Janet's ducks lay 16 eggs per day. ... she sells them for $2 per egg ...
plan       2. Multiply the 9 eggs that are left by 77.             77 comes from nowhere
student    9 * 77 = 693. The answer is 693.                        77 recurs, and the answer is calculated from it
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from tracedistill.arithmetic.calculations import Calculation, find_calculations
from tracedistill.arithmetic.constants import cued
from tracedistill.arithmetic.expressions import Value, magnitude
from tracedistill.arithmetic.gold_path import gold_path
from tracedistill.arithmetic.grounding import grounds
from tracedistill.arithmetic.traces import spell
from tracedistill.records import Problem, Step
from tracedistill.tasks._steps import split_steps
from tracedistill.validation.plan_numbers import plan_numbers

SMALL = 1
"""Numbers up to this are ignored: they count things or occur in every text."""


@dataclass(frozen=True, slots=True)
class Propagation:
    """The wrong numbers of one plan and their use in one output."""

    wrong_numbers: tuple[str, ...]
    """Numbers of the plan that are neither in the question, nor listed constants, nor results of true calculations, nor
    given by the gold; with a parent plan, `planted_numbers` too."""
    planted_numbers: tuple[str, ...]
    """Numbers of a step that the parent plan's step lacks; empty without a parent."""
    reappear_in_trace: tuple[str, ...]
    """Those of both that the student wrote outside lines copied from the plan."""
    calculated_with: tuple[str, ...]
    """Those that are operands of the student's calculations."""
    reappear_in_answer: tuple[str, ...]
    """Those that are the student's answer."""
    carried: bool
    """Whether the answer is one of them, or is calculated from one of them."""


def propagated(
    plan_steps: Sequence[Step],
    problem: Problem,
    output_text: str,
    answer: str | None,
    parent_steps: Sequence[Step] | None = None,
) -> Propagation:
    """Trace a plan's wrong numbers in an output. `answer`: the student's extracted answer; None: none found.

    `parent_steps`: the plan that an intervention made this one from. A value that the question gives too, such as
    another operand of it, is found only through the parent; its reuse is then less certain.
    """
    planted = _planted(plan_steps, parent_steps) if parent_steps is not None else ()
    wrong = tuple(dict.fromkeys([*wrong_numbers(plan_steps, problem), *planted]))
    copied = {" ".join(step.text.split()).casefold() for step in plan_steps}
    written = [text for text in split_steps(output_text) if " ".join(text.split()).casefold() not in copied]
    calculations = [calculation for text in written for calculation in find_calculations(text)]
    named = {value for text in written for value in _told(text)}
    operands = {magnitude(operand.value) for calculation in calculations for operand in calculation.operands}
    final = _value(answer)
    return Propagation(
        _spelled(wrong),
        _spelled(planted),
        _spelled(value for value in wrong if value in named or value in operands),
        _spelled(value for value in wrong if value in operands),
        _spelled(value for value in wrong if value == final),
        final is not None and final in _reached_from(wrong, calculations),
    )


def wrong_numbers(plan_steps: Sequence[Step], problem: Problem) -> tuple[Value, ...]:
    """Return the distinct numbers of a plan without a source, in order.

    Sources are the question's numbers and what they imply, listed constants that question or plan call for, results of
    true calculations of the plan, and the gold: a result given early is a leak, not an error.
    """
    texts = [step.text for step in plan_steps]
    given = grounds(" ".join([*problem.context, problem.question]))
    gold = gold_path(tuple(step.text for step in problem.gold_steps))
    calculations = [calculation for text in texts for calculation in find_calculations(text)]
    known: set[Value] = set(given.values | given.constants | gold.values)
    known.update(value for text in (*problem.answers, *(s.text for s in problem.gold_steps)) for value in _told(text))
    known |= {magnitude(value) for calculation in calculations if calculation.true for value in calculation.values}
    wrong: dict[Value, None] = {}
    for number in plan_numbers(texts):
        if number.role in ("list index", "step reference", "ordinal") or number.value <= SMALL:
            continue
        if number.value <= len(texts) and number.role == "mention":
            continue  # `the 3 totals`: a count of the plan's own things
        if not {number.value, _simple(Fraction(number.value) / 100)} & (known | cued(texts[number.line], given.topics)):
            wrong[number.value] = None
    for calculation in calculations:
        if calculation.true is False and calculation.result is not None:
            wrong[magnitude(calculation.result)] = None
    return tuple(wrong)


def _planted(steps: Sequence[Step], parent: Sequence[Step]) -> tuple[Value, ...]:
    """Return the numbers of the steps that their parents lack."""
    planted: dict[Value, None] = {}
    for at, step in enumerate(steps):
        before = _told(parent[at].text) if at < len(parent) else ()
        planted.update((value, None) for value in _told(step.text) if value not in before)
    return tuple(planted)


def _reached_from(wrong: Sequence[Value], calculations: Sequence[Calculation]) -> set[Value]:
    """Return the wrong numbers and all results of calculations that use one, directly or through such a result."""
    tainted = set(wrong)
    for calculation in calculations:
        if calculation.result is not None and any(
            magnitude(operand.value) in tainted for operand in calculation.operands
        ):
            tainted.add(magnitude(calculation.result))
    return tainted


def _value(answer: str | None) -> Value | None:
    numbers = set(_told(answer)) if answer else set()
    return numbers.pop() if len(numbers) == 1 else None


def _told(text: str) -> tuple[Value, ...]:
    """Return the unsigned numbers of a text, in order."""
    return tuple(magnitude(value) for value in grounds(text).numbers)


def _simple(value: Fraction) -> Value:
    return value.numerator if value.denominator == 1 else value


def _spelled(values: Iterable[Value]) -> tuple[str, ...]:
    return tuple(spell(value) for value in values)
