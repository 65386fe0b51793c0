"""The declaration of an intervention: its name, what it keeps, what it changes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tracedistill.files import content_id
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
"""What `measure` can check, each row by row but for the sets, which are all rows taken together:

everything          text, steps and answer
trace               text and steps
traces              the set of texts, dealt out anew
steps               the steps, in any order
steps but one       the same steps without one of them, in their order
format              the task reads the text as it read the original: the same complaints, the very steps the trace holds
step kinds          the kinds of the steps, in their order
number of ...       steps, lines of text, facts in each retrieval step
length              characters of the text, within 10 % in every row; or the mean of all rows, as said
answer string       the gold answer stands in the trace if and only if it stood in the original (`answer_in_trace`)
class frequencies   the set of classes named
answer frequencies  the set of answers: those of the traces are the problems' own, dealt out anew
"""

Change = Callable[[Task, Mapping[str, Problem], Sequence[Trace], int], list[Trace]]


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
    """Whether a changed trace depends only on the original and its problem, so that traces can be changed in several
    processes; false if something is redistributed among all traces."""
    note: str = ""
    """Caveats: rows it leaves out, weaker declarations."""


def written(trace: Trace, steps: tuple[Step, ...], text: str, name: str, answer: str | None) -> Trace:
    """Return the trace with new steps, text and answer, under a new id and with a note of its origin."""
    trace_id = content_id(name, trace.trace_id, text, answer or "")
    return replace(
        trace, trace_id=trace_id, steps=steps, text=text, answer=answer, intervention=name, parent_id=trace.trace_id
    )
