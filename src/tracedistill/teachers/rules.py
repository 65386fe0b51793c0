"""The rule-based teacher, and the teacher of gold plans."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from tracedistill.files import content_id
from tracedistill.records import Problem, Trace
from tracedistill.tasks import Task


def teach_by_rules(task: Task, problems: Iterable[Problem], teacher: str) -> Iterator[Trace]:
    """Yield the task's rule-made decomposition of each problem, if there is one.

    The rules first get the problem without gold. Only if they yield nothing do they get the gold, and the trace is
    marked as `oracle`.
    """
    for problem in problems:
        trace = task.decompose(problem.blind())
        if trace is None:
            trace = task.decompose(problem)
            if trace is None:
                continue
            trace = replace(trace, oracle=True)
        trace_id = content_id(teacher, problem.problem_id, trace.sample, trace.text)
        yield replace(trace, teacher=teacher, trace_id=trace_id)


def teach_gold_plans(task: Task, problems: Iterable[Problem], teacher: str) -> Iterator[Trace]:
    """Yield the task's gold plan of each problem, if there is one: an oracle plan without results."""
    for problem in problems:
        plan = task.gold_plan(problem)
        if plan is not None:
            trace_id = content_id(teacher, problem.problem_id, plan.sample, plan.text)
            yield replace(plan, teacher=teacher, trace_id=trace_id)
