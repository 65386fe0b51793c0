"""A model judge's additions to the rules' verdicts: the plans and steps it judges, the combined verdicts, the counts.

    rule       undecided: gold step 2 may be meant, or not
    model      incorrect, quoting "Divide the 12 pens by 4"      -> the plan is refused (keep: correct), and says why
    rule       correct; model incorrect (asked with judge_asks: all) -> the rule counts, the disagreement is listed

No reference solution is shown to the judge, here or in `audit-judge`, which measures it on labelled rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from tracedistill.records import StepOutcome, Trace, Verdict, VerdictOutcome
from tracedistill.tasks._steps import all_plan
from tracedistill.validation.model_judge import JudgeItem, ModelVerdict, combine

LISTED = 100
"""Disagreements listed in a report; all are counted, and are in validation/<teacher>.jsonl."""

DecidedBy = Literal["rule", "model", "nobody"]


@dataclass(frozen=True, slots=True)
class JudgedStep:
    """The model's verdict on one step."""

    index: int
    """Position in the trace, from 0."""
    outcome: StepOutcome
    """The rule's where it decided, else the model's."""
    decided_by: DecidedBy
    """Source of the outcome."""
    disagree: bool = False
    """Whether both decided, and differently."""
    reason: str = ""
    """One-sentence reason."""
    quote: str = ""
    """The model's evidence, a quote from the step."""
    void: str = ""
    """Why the model's verdict is void; empty if it counts."""


@dataclass(frozen=True, slots=True)
class PlanJudgement:
    """The model's verdict on a plan, beside the rule's verdict, which is unchanged."""

    judge: str
    """Name of the judge in the recipe's teachers."""
    outcome: VerdictOutcome
    """The combined verdict: the rule's where it decided, else the model's."""
    decided_by: DecidedBy
    """Source of the outcome."""
    disagree: bool = False
    """Whether rule and model both decided, and differently: the rule prevails."""
    reason: str = ""
    quote: str = ""
    """The model's evidence, a quote from the plan."""
    void: str = ""
    """Why the model's verdict is void; empty if it counts."""
    said: str = ""
    """The model's text, if it does not count."""
    steps: tuple[JudgedStep, ...] = ()

    @property
    def inconsistent(self) -> bool:
        """Whether the model calls the plan correct and one of its steps incorrect."""
        steps = any(step.decided_by == "model" and step.outcome == "incorrect" for step in self.steps)
        return self.decided_by == "model" and self.outcome == "correct" and steps


@dataclass(frozen=True, slots=True)
class JudgeReport:
    """Summary of a judge's work on one teacher's traces."""

    judge: str
    """Its name in the recipe's teachers."""
    plans: int
    """Plans sent to it."""
    steps: int
    """Steps sent to it."""
    outcomes: Mapping[str, int]
    """Plans by its own verdict: correct, incorrect, undecided, void."""
    step_outcomes: Mapping[str, int]
    """Steps likewise."""
    void: Mapping[str, int]
    """Reason -> void verdicts on plans and steps."""
    decided: int
    """Plans undecided by rules that it decided."""
    refused: int
    """Traces that are not used because of it."""
    disagreements: int
    """Plans and steps that a rule decided differently; the rule prevails."""
    disagreeing: tuple[str, ...]
    """Their traces, the first hundred."""
    inconsistent: int
    """Plans that it calls correct while calling one of their steps incorrect."""


def items_for(problem: str, trace: Trace, rule: Verdict, *, ask_all: bool = False) -> Iterator[JudgeItem]:
    """Yield the items of one trace to judge: a plan that rules leave undecided, and its undecided steps.

    `ask_all`: every plan.

    `problem` is its text as a student reads it. Ids: the trace's, and `<trace_id>/<step>`.
    """
    if rule.outcome != "undecided" and not (ask_all and all_plan(trace.steps)):
        return
    yield JudgeItem(trace.trace_id, problem, trace.text)
    if len(trace.steps) < 2:
        return
    for verdict in rule.steps:
        if ask_all or verdict.outcome == "undecided":
            item_id = f"{trace.trace_id}/{verdict.index}"
            yield JudgeItem(item_id, problem, trace.text, step=trace.steps[verdict.index].text)


def judged_of(judge: str, trace_id: str, rule: Verdict, answers: Mapping[str, ModelVerdict]) -> PlanJudgement | None:
    """Return the combined verdict on one trace; None if the model did not judge it."""
    model = answers.get(trace_id)
    if model is None:
        return None
    both = combine(rule, model)
    steps = []
    for verdict in rule.steps:
        answer = answers.get(f"{trace_id}/{verdict.index}")
        if answer is not None:
            combined = combine(verdict, answer)
            outcome: StepOutcome = answer.outcome if combined.decided_by == "model" else verdict.outcome
            steps.append(
                JudgedStep(
                    verdict.index,
                    outcome,
                    combined.decided_by,
                    combined.disagree,
                    combined.reason,
                    answer.quote,
                    answer.void,
                )
            )
    return PlanJudgement(
        judge, both.outcome, both.decided_by, both.disagree, both.reason, model.quote, model.void,
        model.said if model.void else "", tuple(steps),
    )  # fmt: skip


class JudgeTally:
    """Running counts of a judge's verdicts."""

    def __init__(self, judge: str) -> None:
        self.judge = judge
        self._outcomes, self._steps, self._void = Counter[str](), Counter[str](), Counter[str]()
        self._decided = self._refused = self._disagreements = self._inconsistent = 0
        self._listed: list[str] = []

    def add(self, trace_id: str, rule: Verdict, judged: PlanJudgement, *, refused: bool) -> None:
        """Count one plan; `refused`: it is not used because of the judge."""
        self._outcomes[_own(judged.outcome, judged, rule.outcome)] += 1
        own = {verdict.index: verdict.outcome for verdict in rule.steps}
        for step in judged.steps:
            self._steps[_own(step.outcome, step, own.get(step.index, "undecided"))] += 1
        for void in (judged.void, *(step.void for step in judged.steps)):
            if void:
                self._void[void.partition(":")[0]] += 1
        self._decided += judged.decided_by == "model"
        self._refused += refused
        self._inconsistent += judged.inconsistent
        differing = judged.disagree + sum(step.disagree for step in judged.steps)
        self._disagreements += differing
        if differing and len(self._listed) < LISTED:
            self._listed.append(trace_id)

    def report(self) -> JudgeReport:
        """Return the counts."""
        return JudgeReport(
            self.judge, self._outcomes.total(), self._steps.total(), dict(self._outcomes), dict(self._steps),
            dict(self._void.most_common(20)), self._decided, self._refused, self._disagreements, tuple(self._listed),
            self._inconsistent,
        )  # fmt: skip


def _own(combined: str, part: PlanJudgement | JudgedStep, rule: str) -> str:
    """Recover the model's own outcome from the combined one."""
    if part.void:
        return "void"
    if part.disagree:
        return "incorrect" if rule == "correct" else "correct"
    if part.decided_by == "model":
        return combined
    # rules and model agree, or the model was undecided: a quote is only given with a decision
    return rule if part.quote else "undecided"
