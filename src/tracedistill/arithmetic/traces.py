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
from collections.abc import Sequence
from dataclasses import replace

from tracedistill.arithmetic.calculations import find_calculations
from tracedistill.arithmetic.checking import Checked, check
from tracedistill.arithmetic.expressions import Value, magnitude, show
from tracedistill.arithmetic.gold_path import Fault, GoldPath, departed_from, departure, gold_path, same_amount
from tracedistill.arithmetic.grounding import Grounds, grounds, numbers_of, unknowns
from tracedistill.arithmetic.listings import is_frame
from tracedistill.arithmetic.notation import in_points
from tracedistill.arithmetic.tables import written_out
from tracedistill.arithmetic.unread import find_unread
from tracedistill.records import Step, StepOutcome, StepVerdict, Verdict

FAULTS: tuple[Fault, ...] = ("wrong calculation", "wrong operand", "wrong operation")
STRAY = "text with a stray calculation, which makes no trace right: a model judge or gold steps are needed"
"""Reason for not judging a text with a few true calculations."""
ELSEWHERE = "valid and grounded, but it does not end in what the gold path ends in"
"""Reason for leaving a trace without a certain error undecided."""


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
    checked = check(question, [step.text for step in steps], gold, equations=need_grounds)
    every = [one for step in checked for one in step]
    if all(one.sets_up for one in every):
        return not_judged(steps, _no_calculation(steps))
    texts, unread_code = written_out(in_points([step.text for step in steps]))
    verdicts = tuple(
        _judge_step(index, step, ones, gold, find_unread(text) or unread_code.get(index, ()), need_grounds)
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
    calculating = [ones for ones, step in zip(checked, steps, strict=True) if ones or not is_frame(step.text)]
    strays = _are_strays(calculating, gold)
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
    every = [one for step in checked for one in step]
    if not gold.results or every[-1].on_path:
        return False
    named = set().union(*map(numbers_of, texts))
    if any(same_amount(value, end, scales=(1,)) for value in named for end in gold.end):
        return False
    # in another unit only what is reached: 2 of `8 * 2` is not 24 for being two dozen
    results = {magnitude(value) for checked_one in every for value in checked_one.calculation.values}
    return not any(same_amount(value, end) for value in results for end in gold.end)


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
    resembles = departure(calculation, gold)
    return ("undecided", *resembles) if resembles else ("correct", "not on the gold path", None)


def _lost(
    verdicts: tuple[StepVerdict, ...],
    checked: Sequence[Sequence[Checked]],
    texts: Sequence[str],
    given: Grounds,
    gold: GoldPath,
) -> tuple[StepVerdict, ...]:
    """Call a step that departs from the gold path incorrect if the trace never returns to it.

    It returns if a later step reaches or names a result of the gold path from the departure on.
    """
    for verdict in verdicts:
        if verdict.outcome != "undecided" or not fault_of(verdict):
            continue
        at = verdict.index
        if not _returns(checked[at:], texts[at:], given, gold):
            reason = f"{verdict.reason}, and no later step comes back to the gold path"
            lost = replace(verdict, outcome="incorrect", reason=reason)
            return (*verdicts[:at], lost, *verdicts[at + 1 :])
    return verdicts


def _returns(checked: Sequence[Sequence[Checked]], texts: Sequence[str], given: Grounds, gold: GoldPath) -> bool:
    """Return whether steps, the first of which departs from the gold path, come back to it."""
    departed = (departed_from(step.calculation, gold) for step in checked[0] if not step.on_path)
    place = next((index for index in departed if index is not None), 0)
    ahead = gold.end.union(*(map(magnitude, calculation.values) for calculation in gold.calculations[place:]))
    reached: set[Value] = set()
    for of_step, text in zip(checked, texts, strict=True):
        reached.update(*(step.calculation.reached for step in of_step))
        reached |= numbers_of(text) - given.values
    return any(same_amount(value, other) for value in reached for other in ahead)


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
