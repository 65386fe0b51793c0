"""Traces judged before anything is built on them: by the task's own judges, the same that score students."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from tracedistill.records import Problem, Trace, Verdict
from tracedistill.tasks import Task

Keep = Literal["correct", "answer", "parsed", "all"]


@dataclass(frozen=True, slots=True)
class Validation:
    """What the judges say of one trace."""

    trace_id: str
    """The trace judged."""
    problem_id: str
    """Its problem."""
    accepted: bool
    """Whether the recipe's rule lets it be used."""
    reason: str
    """Why not; empty where accepted."""
    trace: Verdict
    """Step by step."""
    answer: Verdict
    """On the answer that its maker stated; `missing` for a plan."""
    answer_in_trace: bool
    """Whether the gold answer stands in the steps: what ties trace to answer by construction."""


def validate(task: Task, problems: Mapping[str, Problem], traces: Iterable[Trace], keep: Keep) -> Iterator[Validation]:
    """Judge each trace against its own problem (joined by id)."""
    for trace in traces:
        problem = problems[trace.problem_id]
        verdict = task.judge_trace(problem, trace.steps) if trace.steps else _unread(task, problem, trace)
        answer = (
            Verdict("missing", reason="the trace states no answer")
            if trace.answer is None
            else task.judge_answer(problem, f"Answer: {trace.answer}").answer
        )
        reason = _refusal(keep, verdict, answer)
        yield Validation(
            trace.trace_id,
            trace.problem_id,
            accepted=not reason,
            reason=reason,
            trace=verdict,
            answer=answer,
            answer_in_trace=task.answer_in_trace(problem, trace.steps),
        )


def _unread(task: Task, problem: Problem, trace: Trace) -> Verdict:
    return task.judge_output_trace(problem, trace.text)


def _refusal(keep: Keep, trace: Verdict, answer: Verdict) -> str:
    """Why the recipe's rule refuses the trace; empty where it does not."""
    if keep == "all":
        return ""
    if trace.outcome in ("unparsed", "none"):
        return f"trace {trace.outcome}: {trace.reason}"
    if keep == "parsed":
        return ""
    if not trace.ok:
        return f"trace {trace.outcome}: {trace.reason}"
    if answer.outcome not in ("correct", "missing"):
        return f"answer {answer.outcome}: {answer.reason}"
    return ""
