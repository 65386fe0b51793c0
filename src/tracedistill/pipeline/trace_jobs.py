"""What assembling does with traces one by one: changed, judged, held against what they were; in whatever process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tracedistill.interventions import compare_row, intervene
from tracedistill.interventions.measuring import MeasuredRow
from tracedistill.records import Problem, Trace
from tracedistill.tasks import get_task
from tracedistill.validation import validate

Pair = tuple[Problem, Trace]
"""A trace and its problem."""


@dataclass(frozen=True, slots=True)
class ChangeJob:
    """An intervention that changes each trace by itself (`Intervention.alone`)."""

    task: str
    """Name of the task."""
    intervention: str
    """Its name."""
    seed: int
    """Of the draws."""

    def open(self) -> Callable[[Sequence[Pair]], list[Trace]]:
        """Load the task."""
        task = get_task(self.task)

        def change(pairs: Sequence[Pair]) -> list[Trace]:
            by_id = {problem.problem_id: problem for problem, _ in pairs}
            return intervene(self.intervention, task, by_id, [trace for _, trace in pairs], self.seed)

        return change


@dataclass(frozen=True, slots=True)
class JudgedJob:
    """How many of some traces hold the gold answer, and how many rules find correct."""

    task: str
    """Name of the task."""

    def open(self) -> Callable[[Sequence[Pair]], tuple[int, int]]:
        """Load the task."""
        task = get_task(self.task)

        def judge(pairs: Sequence[Pair]) -> tuple[int, int]:
            by_id = {problem.problem_id: problem for problem, _ in pairs}
            holding = sum(task.answer_in_trace(problem, trace.steps) for problem, trace in pairs)
            verdicts = validate(task, by_id, (trace for _, trace in pairs), "all")
            return holding, sum(verdict.trace.ok for verdict in verdicts)

        return judge


@dataclass(frozen=True, slots=True)
class CompareJob:
    """Each trace after an intervention beside the trace before it."""

    task: str
    """Name of the task."""

    def open(self) -> Callable[[Sequence[tuple[Problem, Trace, Trace]]], list[MeasuredRow]]:
        """Load the task."""
        task = get_task(self.task)
        return lambda rows: [compare_row(task, problem, before, after) for problem, before, after in rows]
