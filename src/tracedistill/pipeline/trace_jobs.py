"""Per-trace jobs of assembling, for any process: change, judge, compare with the original."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

from tracedistill.interventions import compare_row, intervene
from tracedistill.interventions.invariants import MeasuredRow
from tracedistill.records import Problem, Trace
from tracedistill.tasks import get_task
from tracedistill.validation import validate

Pair = tuple[Problem, Trace]
"""A trace and its problem."""


@dataclass(frozen=True, slots=True)
class ChangeJob:
    """An intervention that changes each trace independently (`Intervention.alone`)."""

    task: str
    intervention: str
    seed: int

    def open(self) -> Callable[[Sequence[Pair]], list[Trace]]:
        """Load the task."""
        task = get_task(self.task)

        def change(pairs: Sequence[Pair]) -> list[Trace]:
            pairs = list(pairs)  # once out of their files
            by_id = {problem.problem_id: problem for problem, _ in pairs}
            return intervene(self.intervention, task, by_id, [trace for _, trace in pairs], self.seed)

        return change


@dataclass(frozen=True, slots=True)
class Counts:
    """Sums over some traces."""

    holding_answer: int = 0
    """Traces that hold the gold answer."""
    correct: int = 0
    """Traces that rules find correct."""
    characters: int = 0
    steps: int = 0
    oracle: int = 0
    """Traces whose maker saw the gold."""

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, count.name) + getattr(other, count.name) for count in fields(self)))


@dataclass(frozen=True, slots=True)
class CountJob:
    """The counts of some traces."""

    task: str

    def open(self) -> Callable[[Sequence[Pair]], Counts]:
        """Load the task."""
        task = get_task(self.task)

        def count(pairs: Sequence[Pair]) -> Counts:
            pairs = list(pairs)
            by_id, traces = {problem.problem_id: problem for problem, _ in pairs}, [trace for _, trace in pairs]
            return Counts(
                sum(task.answer_in_trace(problem, trace.steps) for problem, trace in pairs),
                sum(verdict.trace.ok for verdict in validate(task, by_id, iter(traces), "all")),
                sum(len(trace.text) for trace in traces),
                sum(len(trace.steps) for trace in traces),
                sum(trace.oracle for trace in traces),
            )

        return count


@dataclass(frozen=True, slots=True)
class CompareJob:
    """Each trace after an intervention with the trace before it."""

    task: str

    def open(self) -> Callable[[Sequence[tuple[Problem, Trace, Trace]]], list[MeasuredRow]]:
        """Load the task."""
        task = get_task(self.task)
        return lambda rows: [compare_row(task, problem, before, after) for problem, before, after in rows]
