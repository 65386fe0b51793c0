"""Judges arithmetic traces: `Natalia sold 48/2 = 24 clips in May.` is valid (24 it is) and grounded (48, half: given).

A trace is correct when every written calculation is true (rounding policy: see `calculations`) and every operand
comes from the question, an earlier result, a listed constant (see `grounding`), an equation with an unknown, or the
gold path itself, whose own operands and results need no proof. Agreement with the gold path is a descriptor: other
paths may be as good. Where a true and grounded step looks like a gold step gone wrong (other operation, another
operand), it is named as the first wrong step: `undecided` where a later step comes back to the gold path, as another
good path does, and `incorrect` where none does.

A trace in words is `not judged`: one without calculations, or one whose few calculations have nothing to do with the
problem (`1 + 1 = 2`). Such strays can make it wrong, never right.
"""

from __future__ import annotations

import re
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import Literal

from tracedistill.arithmetic.calculations import Calculation, find_calculations
from tracedistill.arithmetic.constants import topics_of
from tracedistill.arithmetic.expressions import Operand, Value, magnitude, show
from tracedistill.arithmetic.grounding import Ground, Grounds, ground, grounds, numbers_of, unknowns
from tracedistill.arithmetic.notation import has_decimal_commas, in_points, with_points
from tracedistill.arithmetic.told import told
from tracedistill.arithmetic.unread import find_unread
from tracedistill.records import Step, StepOutcome, StepVerdict, Verdict

Fault = Literal["wrong calculation", "wrong operand", "wrong operation"]
"""wrong calculation: arithmetic error; wrong operand: ungrounded, or another than the gold step's; wrong operation: the
gold step's operands under another operator."""

FAULTS: tuple[Fault, ...] = ("wrong calculation", "wrong operand", "wrong operation")
STRAY = "text with a stray calculation, which makes no trace right: a model judge or gold steps are needed"
"""Reason for not judging a text with a few true calculations."""
ELSEWHERE = "valid and grounded, but it does not end in what the gold path ends in"
"""Reason for leaving a trace without a certain error undecided."""


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


@dataclass(frozen=True, slots=True)
class Checked:
    """One calculation of a trace, checked."""

    calculation: Calculation
    """The calculation."""
    grounds: tuple[Ground | Literal["unknown", "gold"], ...]
    """Source of each operand; empty if there is none."""
    on_path: bool
    """Whether its result is a value of the gold path."""

    @property
    def grounded(self) -> bool:
        """Whether every operand has a source."""
        return all(self.grounds)


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


def check(question: str, texts: Sequence[str], gold: GoldPath | None = None) -> list[list[Checked]]:
    """Check every step: its calculations with the source of every operand.

    Without `gold`, the gold path grounds nothing.
    """
    if has_decimal_commas(question):
        question = with_points(question)
    texts = in_points(texts)
    given = grounds(question)
    earlier: set[Value] = set()
    licence = gold.values if gold else frozenset()
    targets = frozenset(gold.results) if gold else frozenset()
    algebra: set[Value] = set()
    checked: list[list[Checked]] = []
    for text in texts:
        algebra |= unknowns(text)
        given = replace(given, topics=given.topics | topics_of(text))  # `per day` in one step, `* 7` a week in the next
        of_step: list[Checked] = []
        earlier |= told(text, earlier | given.values)
        for calculation in find_calculations(text):
            # inside a chain, a side may use the results of the sides before it
            earlier |= _before_last(calculation)
            sources: list[Ground | Literal["unknown", "gold"]] = []
            shares = _shares(calculation, earlier | given.values) if "/" in calculation.operators else frozenset()
            for operand in calculation.operands:
                source: Ground | Literal["unknown", "gold"] = ground(operand, given, earlier, text)
                if not source and id(operand) in shares:
                    source = "earlier"
                if not source and operand.value in algebra:
                    source = "unknown"
                if not source and operand.value in licence:
                    source = "gold"
                sources.append(source)
            earlier |= calculation.reached
            result = calculation.result
            of_step.append(Checked(calculation, tuple(sources), result is not None and magnitude(result) in targets))
        if of_step:
            earlier |= told(text, earlier | given.values)  # `7 * 120 = 840 plants, a fourth of which is 210`
        checked.append(of_step)
    return checked


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


def judge(
    question: str, steps: tuple[Step, ...], gold_steps: tuple[Step, ...], *, need_grounds: bool = True
) -> Verdict:
    """Judge an arithmetic trace step by step.

    Return `not judged` if it holds no calculation, or only strays. Figures: `calculations` (how many), `valid` and
    `grounded` (shares of them), `on_gold_path` (share whose result is a gold value), `gold_coverage` (share of gold
    results reached) and `gold_coverage_without_terminal`, `first_wrong_step` (from 1; 0: none), `unread` (steps with a
    line that looks like a calculation and cannot be read: they leave the trace undecided, unless another step makes it
    incorrect). `need_grounds=False` leaves grounding a descriptor (symbolic tasks).
    """
    gold = gold_path(tuple(step.text for step in gold_steps))
    checked = check(question, [step.text for step in steps], gold)
    every = [one for step in checked for one in step]
    if not every:
        return not_judged(steps, _no_calculation(steps))
    texts = in_points([step.text for step in steps])
    verdicts = tuple(
        _judge_step(index, step, ones, gold, find_unread(text), need_grounds)
        for index, (step, ones, text) in enumerate(zip(steps, checked, texts, strict=True))
    )
    decided = [one for one in every if one.calculation.true is not None]
    figures = {
        "calculations": float(len(every)),
        "valid": sum(one.calculation.true is True for one in every) / len(every),
        "grounded": sum(one.grounded for one in every) / len(every),
        "on_gold_path": sum(one.on_path for one in every) / len(every),
        **_coverage(every, gold),
    }
    strays = _are_strays(checked, gold)
    if not strays:
        verdicts = _lost(verdicts, checked, texts, grounds(question), gold)
    wrong = next((v for v in verdicts if fault_of(v)), None)
    figures["first_wrong_step"] = float(wrong.index + 1 if wrong else 0)
    unread = [v for v in verdicts if v.figures.get("unread")]
    figures["unread"] = float(len(unread))
    if not decided:
        return Verdict("undecided", reason=f"no calculation that can be checked: {every[0].calculation.reason}",
                       steps=verdicts, figures=figures)  # fmt: skip
    failed = next((v for v in verdicts if v.outcome == "incorrect"), None)
    reason = ""
    if failed:
        reason = f"step {failed.index + 1}: {failed.reason}"
    elif wrong:
        reason = f"valid and grounded, but step {wrong.index + 1} departs from the gold path: {wrong.reason}"
    if unread and not failed:
        reason = f"step {unread[0].index + 1}: {unread[0].reason}"
        return Verdict("undecided", reason=reason, steps=verdicts, figures=figures)
    if not failed and strays:
        return not_judged(steps, STRAY)
    if not failed and need_grounds and (_ends_elsewhere(checked, texts, gold) or _goes_back(every, texts[-1], gold)):
        return Verdict("undecided", reason=ELSEWHERE, steps=verdicts, figures=figures)
    return Verdict("incorrect" if failed else "correct", reason=reason, steps=verdicts, figures=figures)


def not_judged(steps: tuple[Step, ...], reason: str) -> Verdict:
    """Return the verdict on a trace in words, which no rule of arithmetic can call right or wrong."""
    undecided = tuple(StepVerdict(index, step.kind, "undecided", reason) for index, step in enumerate(steps))
    return Verdict("not judged", reason=reason, steps=undecided)


def _are_strays(checked: Sequence[Sequence[Checked]], gold: GoldPath) -> bool:
    """Return whether the calculations of a trace are asides in a text: in at most half of its steps, off the problem.

    On the problem is what reaches a value of the gold path or, without one, uses a number of the question.
    """
    if 2 * sum(map(bool, checked)) > len(checked):
        return False
    every = [one for step in checked for one in step]
    if gold.results:
        return not any(one.on_path for one in every)
    return not any("question" in one.grounds for one in every)


def _ends_elsewhere(checked: Sequence[Sequence[Checked]], texts: Sequence[str], gold: GoldPath) -> bool:
    """Return whether the last calculation reaches no gold result, and nothing in the trace the last of them.

    A trace that stops early on the gold path ends on it.
    """
    found = [one for step in checked for one in step]
    if not gold.results or found[-1].on_path:
        return False
    named = set().union(*(one.calculation.reached for one in found), *map(numbers_of, texts))
    return not any(_same_amount(one, other) for one in named for other in gold.end)


_CHECKS = re.compile(r"check|verif|proof|prove|confirm|make sure|✓|✔|✅", re.IGNORECASE)


def _goes_back(found: Sequence[Checked], text: str, gold: GoldPath) -> bool:
    """Return whether the last calculation derives an earlier gold result from the gold path's end, unless as a check.

    `text` is the last step.
    """
    last = found[-1].calculation
    if _CHECKS.search(text):
        return False
    if last.result is None or magnitude(last.result) in gold.end or magnitude(last.result) not in gold.results[:-1]:
        return False
    before = frozenset().union(*(one.calculation.reached for one in found[:-1]))
    return any(magnitude(operand.value) in gold.end & before for operand in last.operands)


def fault_of(verdict: StepVerdict) -> Fault | None:
    """Return the kind of fault found in a step, or None."""
    return next((fault for fault in FAULTS if verdict.figures.get(fault.replace(" ", "_"))), None)


def _no_calculation(steps: tuple[Step, ...]) -> str:
    if steps and all(step.kind == "plan" for step in steps):
        return "no calculation: this is a plan"
    if any(unknowns(step.text) for step in steps):
        return "no calculation, only equations with unknowns"
    return "no calculation"


def _coverage(calculations: list[Checked], gold: GoldPath) -> dict[str, float]:
    if not gold.results:
        return {}
    reached = frozenset().union(*(one.calculation.reached for one in calculations))
    hit = [result in reached for result in gold.results]
    figures = {"gold_coverage": sum(hit) / len(hit)}
    if len(hit) > 1:
        figures["gold_coverage_without_terminal"] = sum(hit[:-1]) / (len(hit) - 1)
    return figures


def _judge_step(
    index: int, step: Step, ones: list[Checked], gold: GoldPath, unread: tuple[str, ...], need_grounds: bool
) -> StepVerdict:
    why = f"looks like a calculation, and cannot be read: {unread[0]}" if unread else ""
    if not ones:
        details = {"unread": 1.0} if unread else {}
        return StepVerdict(index, step.kind, "undecided", why or "no calculation", details)
    figures = {"calculations": float(len(ones)), "on_gold_path": sum(one.on_path for one in ones) / len(ones)}
    outcome: StepOutcome = "correct"
    reason = ""
    for one in ones:
        outcome, reason, fault = _fault(one, gold, need_grounds)
        if fault:
            figures[fault.replace(" ", "_")] = 1.0
        if outcome != "correct":
            break
    if outcome == "correct" and unread:
        return StepVerdict(index, step.kind, "undecided", why, figures | {"unread": 1.0})
    if any(one.calculation.true is None for one in ones):
        figures["unread"] = 1.0
    return StepVerdict(index, step.kind, outcome, reason, figures)


def _fault(one: Checked, gold: GoldPath, need_grounds: bool) -> tuple[StepOutcome, str, Fault | None]:
    """Judge one calculation; return outcome, reason, and kind of fault."""
    calculation = one.calculation
    if calculation.true is None:
        return "undecided", calculation.reason, None
    if not calculation.true:
        return "incorrect", f"wrong calculation: {calculation.reason}", "wrong calculation"
    if need_grounds and not one.grounded:
        lost = next(o for o, source in zip(calculation.operands, one.grounds, strict=True) if not source)
        return (
            "incorrect",
            f"wrong operand: {lost.text} comes from neither question, result nor constant",
            "wrong operand",
        )
    if one.on_path or not need_grounds:
        return "correct", "", None
    departure = _departure(calculation, gold)
    return ("undecided", *departure) if departure else ("correct", "not on the gold path", None)


def _lost(
    verdicts: tuple[StepVerdict, ...],
    checked: Sequence[Sequence[Checked]],
    texts: Sequence[str],
    given: Grounds,
    gold: GoldPath,
) -> tuple[StepVerdict, ...]:
    """Call the first step that departs from the gold path incorrect if the trace never returns to it.

    It returns if a later step reaches or names a result of the gold path from the departure on.
    """
    at = next((v.index for v in verdicts if v.outcome == "undecided" and fault_of(v)), None)
    if at is None:
        return verdicts
    departed = (_departed_from(one.calculation, gold) for one in checked[at] if not one.on_path)
    place = next((found for found in departed if found is not None), 0)
    ahead = gold.end.union(*(map(magnitude, one.values) for one in gold.calculations[place:]))
    reached: set[Value] = set()
    for ones, text in zip(checked[at:], texts[at:], strict=True):
        reached.update(*(one.calculation.reached for one in ones))
        reached |= numbers_of(text) - given.values
    if any(_same_amount(one, other) for one in reached for other in ahead):
        return verdicts
    reason = f"{verdicts[at].reason}, and no later step comes back to the gold path"
    return (*verdicts[:at], replace(verdicts[at], outcome="incorrect", reason=reason), *verdicts[at + 1 :])


_SCALES = tuple(Fraction(scale) for scale in (1, 100, 60, 12, 1000))
"""An amount in hundredths, minutes, dozens or thousands is the same amount."""


def _same_amount(one: Value, other: Value) -> bool:
    """Return whether two values are one amount, rounded or in another unit."""
    return any(
        magnitude(mine - theirs) * 200 <= magnitude(theirs)
        for scale in _SCALES
        for mine, theirs in ((one * scale, other), (other * scale, one))
    )


def _departed_from(calculation: Calculation, gold: GoldPath) -> int | None:
    """Return the index of the gold calculation that a calculation resembles; None if there is none."""
    operands = _operands(calculation)
    for place, other in enumerate(gold.calculations):
        if sorted(operands) == sorted(_operands(other)) and len(operands) > 1:
            return place
    for place, other in enumerate(gold.calculations):
        theirs = _operands(other)
        alike = calculation.operators == other.operators and len(theirs) == len(operands) == 2
        if alike and any(mine == gold_one for mine, gold_one in zip(operands, theirs, strict=True)):
            return place
    return None


def _departure(calculation: Calculation, gold: GoldPath) -> tuple[str, Fault] | None:
    """Describe how a step off the gold path resembles a gold step gone wrong; None if it does not."""
    place = _departed_from(calculation, gold)
    if place is None:
        return None
    operands, other = _operands(calculation), gold.calculations[place]
    theirs = _operands(other)
    if sorted(operands) == sorted(theirs):
        return f"wrong operation: {calculation.text[:60]}, where the gold has {other.text[:60]}", "wrong operation"
    at = [mine == gold_one for mine, gold_one in zip(operands, theirs, strict=True)].index(False)
    return f"wrong operand: {show(operands[at])}, where the gold has {show(theirs[at])}", "wrong operand"


def _operands(calculation: Calculation) -> tuple[Value, ...]:
    first = next((side for side in calculation.sides if side.operators), None)
    return tuple(_plain(operand) for operand in first.operands) if first else ()


def _plain(operand: Operand) -> Value:
    return Fraction(operand.value) / 100 if operand.percent else operand.value


def spell(value: Value) -> str:
    """Write a value exactly: an integer, a finite decimal, else a fraction."""
    if isinstance(value, int):
        return str(value) if value.bit_length() < 4096 else show(value)
    denominator = value.denominator
    for digits in range(1, 13):
        if not 10**digits % denominator:
            scaled = value.numerator * (10**digits // denominator)
            sign, text = ("-" if scaled < 0 else ""), str(magnitude(scaled)).rjust(digits + 1, "0")
            return f"{sign}{text[:-digits]}.{text[-digits:]}"
    return f"{value.numerator}/{value.denominator}" if value.numerator.bit_length() < 4096 else show(value)


def last_result(texts: Sequence[str]) -> Value | None:
    """Return the result of the last written calculation, or None if there is none."""
    for text in reversed(texts):
        for calculation in reversed(find_calculations(text)):
            return calculation.result
    return None
