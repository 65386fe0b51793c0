"""What a user's own module may hold: an intervention, prompts and an engine, named in a recipe by dotted path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from tests.scripts import solver
from tracedistill.engines import Generation, Request
from tracedistill.files import content_id
from tracedistill.interventions import Intervention
from tracedistill.records import Problem, Trace
from tracedistill.tasks import Task

CAREFUL = "{problem}\nTake care.\n{hint}"
WITH_STEPS = "{problem}\n{steps}\n{hint}"
NOT_FILLED_IN = "{problem}\n{trace}"
NUMBER = 3


def _reverse(task: Task, problems: Mapping[str, Problem], traces: Sequence[Trace], seed: int) -> list[Trace]:
    """Turn the order of the steps round."""
    out = []
    for trace in traces:
        steps = tuple(reversed(trace.steps))
        text = task.render_trace(steps)
        trace_id = content_id("reversed", trace.trace_id)
        out.append(
            replace(trace, trace_id=trace_id, steps=steps, text=text, intervention="reversed", parent_id=trace.trace_id)
        )
    return out


REVERSED = Intervention("reversed", ("steps", "number of steps"), ("order of the steps",), _reverse)
MISDECLARED = Intervention("misdeclared", ("colour",), ("order of the steps",), _reverse)  # type: ignore[arg-type]


class Echoing:
    """An engine that answers as the solver does."""

    def describe(self) -> dict[str, Any]:
        return {"engine": "echoing"}

    def generate(self, requests: Sequence[Request]) -> Iterator[Generation]:
        for request in requests:
            yield Generation(request.request_id, solver(request), "stop", tokens_in=1, tokens_out=1)
