"""Judge each trace against its own problem, and accept or reject it by the recipe's rule."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from tracedistill.answers import NUMBER
from tracedistill.answers.equality import read_quantity
from tracedistill.chat.formats import write_completion
from tracedistill.engines.thinking_marks import leftover
from tracedistill.records import Problem, Trace, Verdict
from tracedistill.tasks import Task
from tracedistill.tasks._steps import all_plan
from tracedistill.validation.judge_verdicts import PlanJudgement
from tracedistill.validation.leaks import LeakVerdict, judge_leak

Keep = Literal["correct", "answer", "parsed", "all"]


@dataclass(frozen=True, slots=True)
class Validation:
    """The judges' verdicts on one trace."""

    trace_id: str
    problem_id: str
    accepted: bool
    """Whether the recipe's rule accepts it."""
    reason: str
    """Reason of the rejection; empty if accepted."""
    trace: Verdict
    """Step-by-step verdict; for a plan its verdict as a plan, which may be undecided."""
    answer: Verdict
    """Verdict on its maker's stated answer; `missing` for a plan."""
    answer_in_trace: bool
    """Whether the steps contain the gold answer, which ties trace to answer by construction."""
    plan: bool = False
    """Whether it was judged as a plan."""
    leak: LeakVerdict | None = None
    """Whether a plan gives away the solution; None for traces meant to solve the problem."""
    judged: PlanJudgement | None = None
    """The model judge's addition; None if it was not called. `trace` stays the rules' verdict."""


def validate(
    task: Task,
    problems: Mapping[str, Problem],
    traces: Iterable[Trace],
    keep: Keep,
    leaks: str = "keep",
    special: Collection[str] = (),
) -> Iterator[Validation]:
    """Judge each trace against its own problem (joined by id); `leaks` = drop rejects plans that leak.

    A trace with a left-over mark of thinking, a control token or a student's `special` token is never accepted.
    """
    for trace in traces:
        problem = problems[trace.problem_id]
        plan = is_plan(trace)
        if not trace.steps:
            verdict = task.judge_output_trace(problem, trace.text)
        elif plan:
            verdict = task.judge_plan(problem, trace.steps)
        else:
            verdict = task.judge_trace(problem, trace.steps)
        answer = _implied(task, problem, trace) if trace.answer is None else _stated(task, problem, trace.answer)
        leak = judge_leak(problem, trace) if plan else None
        reason = _unlearnable(trace, special) or _refusal(keep, verdict, answer)
        if not reason and leak is not None and leak.genuine and leaks == "drop":
            reason = f"the plan gives the solution away: {leak.reason}"
        yield Validation(
            trace.trace_id,
            trace.problem_id,
            accepted=not reason,
            reason=reason,
            trace=verdict,
            answer=answer,
            answer_in_trace=task.answer_in_trace(problem, trace.steps),
            plan=plan,
            leak=leak,
        )


def with_judged(verdict: Validation, judged: PlanJudgement | None, keep: Keep) -> Validation:
    """Add a model's verdict to a rule's. With keep `correct`, a plan that only the model finds wrong is rejected."""
    if judged is None:
        return verdict
    if verdict.accepted and keep == "correct" and judged.decided_by == "model" and judged.outcome == "incorrect":
        reason = f"model judge {judged.judge} says incorrect: {judged.reason.removeprefix('model: ')}"
        return replace(verdict, accepted=False, reason=reason, judged=judged)
    return replace(verdict, judged=judged)


def _stated(task: Task, problem: Problem, answer: str) -> Verdict:
    return task.judge_answer(problem, write_completion(None, answer)).answer


def _implied(task: Task, problem: Problem, trace: Trace) -> Verdict:
    """Judge a trace without a stated answer: missing, or incorrect if its last calculation gives another number.

    A wrong solution must not be trained on with the right gold after it.
    """
    missing = Verdict("missing", reason="the trace states no answer")
    reached = next((step.value for step in reversed(trace.steps) if step.kind == "calculation" and step.value), None)
    if reached is None or not problem.answers or not all(read_quantity(gold, NUMBER) for gold in problem.answers):
        return missing
    verdict = _stated(task, problem, reached)
    if verdict.outcome != "incorrect":
        return missing
    return replace(verdict, reason=f"no answer is stated, and the last calculation comes to {reached}")


def is_plan(trace: Trace) -> bool:
    """Return whether a trace is a plan without execution. The way its text was parsed decides, if known."""
    reads = trace.meta.get("reads")
    if reads in ("solution", "reasoning") or (reads is None and trace.answer is not None):
        return False  # a solution that begins its sentences with verbs is not a plan
    return all_plan(trace.steps)


def _unlearnable(trace: Trace, special: Collection[str]) -> str:
    """Return why a text cannot be a training row under any rule; empty if it can.

    A mark of thinking or a control token would be learnt as text, or become control ids in a student's tokenizer.
    """
    for text in (trace.text, trace.answer or ""):
        if mark := leftover(text, special):
            return f"left-over marker: {mark} in what the teacher wrote"
        if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
            return "lone surrogate: the text holds half a character, which no tokenizer reads"
    return ""


def _refusal(keep: Keep, trace: Verdict, answer: Verdict) -> str:
    """Return why the recipe's rule rejects the trace; empty if it does not."""
    if keep == "all":
        return ""
    if keep == "answer":
        return "" if answer.ok else f"answer {answer.outcome}: {answer.reason}"
    if trace.outcome in ("unparsed", "none"):
        return f"trace {trace.outcome}: {trace.reason}"
    if keep == "parsed":
        return ""
    # what rules cannot decide, or have no grammar for, is not known to be wrong
    if trace.outcome not in ("correct", "undecided", "not judged"):
        return f"trace {trace.outcome}: {trace.reason}"
    if answer.outcome not in ("correct", "missing"):
        return f"answer {answer.outcome}: {answer.reason}"
    return ""
