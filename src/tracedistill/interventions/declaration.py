"""The declaration of an intervention: its name, what it keeps, what it changes."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tracedistill.files import content_id
from tracedistill.interventions.reassignment import rng_of
from tracedistill.records import Problem, Step, Trace
from tracedistill.tasks import Task

Kept = Literal[
    "everything",
    "trace",
    "traces",
    "steps",
    "steps but one",
    "format",
    "step kinds",
    "number of steps",
    "number of lines",
    "number of facts",
    "length",
    "length: mean within 3%",
    "length: mean within 5%",
    "length: mean within 10%",
    "answer string",
    "class frequencies",
    "answer frequencies",
]
"""What `measure` can check, row by row except for the sets, which are checked over all rows together:

everything          text, steps and answer
trace               text and steps
traces              the set of texts, given to other problems
steps               the steps, in any order
steps but one       the same steps without one of them, in their order
format              the task parses the text as it parsed the original: into the trace's steps, or failing for the same
                    reason
step kinds          the kinds of the steps, in their order
number of ...       steps, lines of text, facts in each retrieval step
length              characters of the text, within 10 % in every row; or the mean of all rows, as said
answer string       the gold answer is in the trace if and only if it was in the original (`answer_in_trace`)
class frequencies   the set of classes named
answer frequencies  the set of answers: the problems' own, given to other problems
"""

Change = Callable[[Task, Mapping[str, Problem], Sequence[Trace], int], list[Trace]]
TraceChange = Callable[[Task, Problem, Trace, random.Random], Trace | None]
"""(task, problem, trace, the problem's own generator) -> changed trace; None if it does not apply."""


def one_by_one(change: TraceChange) -> Change:
    """Return the change of many traces that changes each alone and leaves out those it does not apply to."""

    def apply(task: Task, problems: Mapping[str, Problem], traces: Sequence[Trace], seed: int) -> list[Trace]:
        changed = (change(task, problems[trace.problem_id], trace, rng_of(seed, trace.problem_id)) for trace in traces)
        return [trace for trace in changed if trace is not None]

    return apply


@dataclass(frozen=True, slots=True)
class Intervention:
    """One controlled change."""

    name: str
    """Key in INTERVENTIONS."""
    keeps: tuple[Kept, ...]
    """Invariants, checked on the rows by `measure` and `broken`."""
    changes: tuple[str, ...]
    """Changed properties, in words."""
    apply: Change
    """(task, problems by id, traces, seed) -> traces; problems it cannot be applied to are left out."""
    answers: bool = False
    """Whether the completion's answer is the changed trace's, not the gold one."""
    plans: bool = True
    """Whether it makes sense for a plan in context."""
    alone: bool = True
    """Whether a changed trace depends only on the original and its problem, so that several processes can share the
    work; false if something is redistributed among all traces."""
    note: str = ""
    """Caveats: rows it leaves out, weaker declarations."""


def rewritten(trace: Trace, steps: tuple[Step, ...], text: str, name: str, answer: str | None) -> Trace:
    """Return the trace with new steps, text and answer, under a new id and with a note of its origin."""
    trace_id = content_id(name, trace.trace_id, text, answer or "")
    return replace(
        trace, trace_id=trace_id, steps=steps, text=text, answer=answer, intervention=name, parent_id=trace.trace_id
    )
