"""Attribute one problem's errors to teacher or student, from success counts under three plans and the plan's verdict.

plan 0 of 5, gold 5 of 5, plan judged undecided     teacher: p = .001 if both plans were equally good
plan 1 of 5, gold 2 of 5, plan judged undecided     student: the student fails with a gold plan too
plan 0 of 5, gold 1 of 5, plan judged incorrect     both
plan 1 of 5, gold 4 of 5, plan judged undecided     undecided: the gap may be chance
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

from tracedistill.arithmetic.traces import fault_of
from tracedistill.records import StepVerdict, Verdict
from tracedistill.stats.intervals import check_counts

Label = Literal["solved", "teacher", "student", "both", "undecided"]
"""teacher, student, both: who made the errors; undecided: the evidence is not sufficient."""

LABELS: tuple[Label, ...] = get_args(Label)

Basis = Literal["none", "counts", "verdict"]
"""Evidence of a label: none (undecided), counts only, or counts and the plan's verdict."""

ALPHA = 0.05
"""Level of the test: a plan is worse if equally good plans would show such a gap at most this often."""
ALPHA_OF_CORRECT = 0.02
"""Level if the plan is judged correct: judges err too, but stronger evidence is needed."""

Count = tuple[int, int]
"""(successes, samples)."""


@dataclass(frozen=True, slots=True)
class PlanSamples:
    """One problem, one teacher, one student: k seeded samples under each plan."""

    problem_id: str
    plan: Count
    """Under the teacher's plan."""
    gold: Count
    """Under a plan from gold that holds no results."""
    again: Count | None
    """Under another sample of the same teacher's plan, if any."""
    verdict: Verdict

    def __post_init__(self) -> None:
        for count in (self.plan, self.gold, self.again or (0, 0)):
            check_counts(*count)


@dataclass(frozen=True, slots=True)
class Differences:
    """Differences between the success rates of one trial; None if a rate has no samples."""

    gold: float | None
    """Rate under the gold plan minus the rate under the teacher's (-1 to 1)."""
    again: float | None
    """Rate under the second plan minus the rate under the first (-1 to 1)."""
    p_worse: float | None
    """One-sided p of Boschloo's exact test that the teacher's plan does no worse than the gold plan."""
    own: float | None
    """Failure rate under the gold plan divided by that under the teacher's: the student's own share of the failures (0:
    none; 1 and more: all). None if nothing failed under the teacher's plan."""


@dataclass(frozen=True, slots=True)
class Attributed:
    """One trial with its label."""

    problem_id: str
    label: Label
    why: str
    basis: Basis
    """Evidence of the label; labels by counts alone include chance findings."""
    differences: Differences
    plan: Count
    """Successes and samples under the teacher's plan."""
    gold: Count
    """Successes and samples under the gold plan."""
    again: Count | None
    """Successes and samples under the teacher's second plan; None if there is none."""
    outcome: str
    """Verdict on the plan."""
    first_wrong_step: int | None
    """First step of the plan judged wrong, else the first suspect one, from 1; None if no step is."""
    kind: str
    """Kind of that fault: `wrong operand`, `wrong operation`, `wrong calculation`, ...; `suspect operand` if the judge
    did not call it wrong; `missing step`; empty if none."""
    came_back: bool
    """Whether another sample of the teacher's plan solved what this one did not."""

    @property
    def failed(self) -> bool:
        """Whether there is a failure to explain."""
        return self.label != "solved"


def attribute(trial: PlanSamples) -> Attributed:
    """Name whose error the failures of one problem are.

    *Solved*: more than half of the samples under the teacher's plan are right, and the plan does not do worse than the
    gold plan. *Worse*: Boschloo's exact test on plan against gold, p <= 0.05 (0.02 if the plan is judged correct).
    *Own*: with the gold plan the student fails at least half as often as with the teacher's.

    1. Plan judged incorrect: `both` if own, else `teacher`.
    2. Plan worse, but another sample of it comes back to more than half right and no step is suspect: `undecided`.
    3. Plan worse: `both` if own, else `teacher`.
    4. Plan judged correct: `student`. With p between 0.02 and 0.05 and not own: `undecided`.
    5. Own: `student`. Nothing says that the plan was right, but it took no bad plan to fail.
    6. Else `undecided`: a gap that may be chance. With one sample a problem only the plan's verdict decides.
    """
    differences = _compare(trial)
    (right, n), (gold_right, gold_n) = trial.plan, trial.gold
    step, kind, suspect = _first_wrong(trial.verdict)
    came_back = trial.again is not None and 2 * right <= n and 2 * trial.again[0] > trial.again[1]
    label, basis, why = _decide(trial, differences, suspect and trial.verdict.outcome != "correct", came_back)
    return Attributed(
        trial.problem_id, label, f"{right} of {n} with the plan, {gold_right} of {gold_n} with the gold plan: {why}",
        basis, differences, trial.plan, trial.gold, trial.again, trial.verdict.outcome, step, kind, came_back,
    )  # fmt: skip


def _decide(trial: PlanSamples, differences: Differences, suspect: bool, came_back: bool) -> tuple[Label, Basis, str]:
    right, n = trial.plan
    outcome = trial.verdict.outcome
    p, own = differences.p_worse, differences.own
    if not n:
        return "undecided", "none", "no sample under the teacher's plan"
    worse = p is not None and p <= (ALPHA_OF_CORRECT if outcome == "correct" else ALPHA)
    judged = f"the plan is judged {outcome}"
    if 2 * right > n and not worse:
        return "solved", "counts", "solved, though the plan is judged incorrect" if outcome == "incorrect" else "solved"
    if p is None or own is None:
        return "undecided", "none", "no sample under the gold plan"
    alone = own >= 0.5
    chance = f"p = {p:.3f} if both plans were equally good"
    if outcome == "incorrect":
        if alone:
            return "both", "verdict", f"{judged}, and the student fails with the gold plan too"
        return "teacher", "verdict", f"{judged}, and the student succeeds with the gold plan"
    if worse and came_back and not suspect:
        return "undecided", "none", "another sample of the plan succeeds, and no step of this one is judged wrong"
    if worse:
        if alone:
            return "both", "counts", f"the plan does worse ({chance}), and the student fails with the gold plan too"
        return "teacher", "counts", f"the plan does worse than the gold plan ({chance})"
    if outcome == "correct":
        if p <= ALPHA and not alone:
            return "undecided", "none", f"{judged}, but it does worse ({chance})"
        return "student", "verdict", judged
    if alone:
        return "student", "counts", f"the student fails with the gold plan too; {judged}"
    return "undecided", "none", f"the gap may be chance ({chance}); {judged}"


def _compare(trial: PlanSamples) -> Differences:
    (right, n), (gold_right, gold_n) = trial.plan, trial.gold
    if not n:
        return Differences(None, None, None, None)
    again = trial.again[0] / trial.again[1] - right / n if trial.again and trial.again[1] else None
    if not gold_n:
        return Differences(None, again, None, None)
    failed, gold_failed = 1 - right / n, 1 - gold_right / gold_n
    own = gold_failed / failed if failed else None
    return Differences(gold_right / gold_n - right / n, again, p_worse(trial.plan, trial.gold), own)


@lru_cache(maxsize=16_384)
def p_worse(plan: Count, gold: Count) -> float:
    """Test whether `plan` is worse than `gold`: one-sided p of Boschloo's exact unconditional test (1970; scipy).

    Like Fisher's test it keeps its level for every common success rate, and it is never less powerful: with 5 samples
    each it separates 0 from 3 successes, and Fisher's needs 4. Returns 1 if `plan` did at least as well.
    """
    (right, n), (gold_right, gold_n) = plan, gold
    if right * gold_n >= gold_right * n:
        return 1.0
    from scipy.stats import boschloo_exact  # slow to import

    table = [[right, gold_right], [n - right, gold_n - gold_right]]
    return float(boschloo_exact(table, alternative="less").pvalue)


def _first_wrong(verdict: Verdict) -> tuple[int | None, str, bool]:
    """Return (first wrong step from 1, kind of its fault, whether a step is wrong or suspect)."""
    wrong = next((step for step in verdict.steps if step.outcome == "incorrect"), None)
    if wrong is not None:
        return wrong.index + 1, _kind(wrong), True
    suspect = next((step for step in verdict.steps if step.figures.get("other_operand") or fault_of(step)), None)
    if suspect is not None:
        return suspect.index + 1, fault_of(suspect) or "suspect operand", True
    return None, "missing step" if verdict.figures.get("missing") else "", False


def _kind(step: StepVerdict) -> str:
    """Return the judge's name of the fault: `wrong operand: 77 comes from nowhere` is a wrong operand."""
    named = re.match(r"[a-z ]{3,40}(?=:)", step.reason)
    return fault_of(step) or (named[0] if named else f"wrong {step.kind}")
