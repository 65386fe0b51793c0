"""Select the trace of each problem among a teacher's traces, and apply interventions to them."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence

from tracedistill.compute import chunks
from tracedistill.files import read_jsonl
from tracedistill.interventions import get_intervention, intervene
from tracedistill.pipeline.review import reviewed_traces
from tracedistill.pipeline.study_run import StudyRun
from tracedistill.pipeline.trace_jobs import ChangeJob
from tracedistill.pipeline.trace_store import LazyRows, TraceStore
from tracedistill.records import Trace
from tracedistill.validation import Validation


def places(problem_ids: Iterable[str]) -> dict[str, int]:
    """Return problem id -> its place."""
    return {problem_id: place for place, problem_id in enumerate(problem_ids)}


def select_traces(
    work: StudyRun,
    teacher: str,
    order: Mapping[str, int],
    *,
    accepted: bool,
    reviewed: bool = False,
    number: int = 0,
) -> TraceStore:
    """Return one of a teacher's traces for each problem: the first, or the one with this `number` in sample order.

    `accepted`: only traces that validation accepts or a person has approved. `reviewed`: use a person's edits.
    """
    seen = array("I", [0]) * len(order)

    def numbered() -> Iterator[Trace]:
        for trace in _usable(work, teacher, accepted=accepted, reviewed=reviewed):
            place = order.get(trace.problem_id)
            if place is not None:
                seen[place] += 1
                if seen[place] == number + 1:
                    yield trace

    return TraceStore(order, numbered(), work.run.folder)


def _usable(work: StudyRun, teacher: str, *, accepted: bool, reviewed: bool) -> Iterator[Trace]:
    person = reviewed_traces(work, teacher) if reviewed else {}
    verdicts = read_jsonl(work.run.path(f"validation/{teacher}.jsonl"), Validation)
    for trace, verdict in zip(read_jsonl(work.run.path(f"traces/{teacher}.jsonl"), Trace), verdicts, strict=True):
        assert trace.trace_id == verdict.trace_id, "verdicts are in the order of the traces"
        reviewed_trace = person.get(trace.trace_id)
        if reviewed_trace is not None and reviewed_trace.status in ("approved", "edited"):
            yield reviewed_trace.trace or trace
        elif (reviewed_trace is None or reviewed_trace.status != "rejected") and (verdict.accepted or not accepted):
            yield trace


def apply_intervention(work: StudyRun, intervention: str, traces: TraceStore, problem_ids: Sequence[str]) -> TraceStore:
    """Apply an intervention to the traces of these problems. Traces that it does not apply to are left out."""
    problems = work.known()
    own = [problem_id for problem_id in problem_ids if problem_id in traces]
    if get_intervention(intervention).alone:
        job = ChangeJob(work.study.task.name, intervention, work.study.seed)
        pairs = LazyRows(own, lambda problem_id: (problems[problem_id], traces[problem_id]))
        made = (trace for some in work.compute.map(job, chunks(pairs)) for trace in some)
        return TraceStore(traces.order, made, work.run.folder)
    by_id = {problem_id: problems[problem_id] for problem_id in problem_ids}
    given = [traces[problem_id] for problem_id in own]  # it draws from all of them, so they are needed together
    return TraceStore(traces.order, intervene(intervention, work.task, by_id, given, work.study.seed), work.run.folder)
