"""Review outcomes per trace, for the pipeline, and disagreements of reviewers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from tracedistill.files import content_id
from tracedistill.records import Trace
from tracedistill.review.drafts import edited_trace
from tracedistill.review.samples import sample_of
from tracedistill.review.store import ReviewStore
from tracedistill.review.trace_review import Status, TraceReview, change, work_from, works_of
from tracedistill.tasks import get_task

Label = tuple[Status, tuple[str, ...] | None, str | None]
"""(status, lines, answer): two decisions agree if this is equal."""


@dataclass(frozen=True, slots=True)
class ReviewOutcome:
    """The outcome of one trace's reviews."""

    trace_id: str
    """The original trace."""
    status: Status
    """open: undecided, or an unsettled disagreement."""
    trace: Trace | None
    """The trace to use: the original if approved, the edited one if edited, else None."""


def label_of(work: TraceReview) -> Label:
    """Return the parts of a decision that must be equal to agree."""
    return work.status, work.lines if work.status == "edited" else None, work.answer


def disagree(works: Mapping[str, TraceReview]) -> bool:
    """Return whether decisions differ and are not settled."""
    decided = [work for work in works.values() if work.decided]
    return len({label_of(work) for work in decided}) > 1 and not any(work.settles for work in decided)


def outcome_of(works: Mapping[str, TraceReview]) -> tuple[str, TraceReview] | None:
    """Return (reviewer, decision that counts); None if they disagree.

    The latest decision that settles; else the first of equal ones.
    """
    decided = {name: work for name, work in works.items() if work.decided}
    if not decided or disagree(works):
        return None
    settling = [name for name, work in decided.items() if work.settles]
    if settling:
        name = max(settling, key=lambda reviewer: decided[reviewer].at)
    else:
        name = min(decided, key=lambda reviewer: (decided[reviewer].at, reviewer))
    return name, decided[name]


def decide(store: ReviewStore, item: int, reviewer: str, version: int, status: Status, seconds: float) -> TraceReview:
    """Approve (edited, if the text differs from the maker's) or reject. Raises Conflict as `change` does."""

    def new(old: TraceReview) -> TraceReview:
        others = {name: work for name, work in works_of(store, item).items() if name != reviewer}
        decided: Status = "edited" if status == "approved" and old.changed else status
        return replace(old, status=decided, settles=disagree(others))

    return change(store, item, reviewer, version, status, new, seconds)


# ---- for the pipeline


def reviewed_of(path: Path, teacher: str) -> list[ReviewOutcome]:
    """Return every trace of a teacher in the store with the result of its reviews; empty without a store."""
    if not path.exists():
        return []
    outcomes = []
    with ReviewStore(path) as store:
        for item, trace_id, task, works in _reviews(store, teacher):
            outcome = outcome_of(works)
            if outcome is None:
                outcomes.append(ReviewOutcome(trace_id, "open", None))
                continue
            reviewer, work = outcome
            rejected = work.status == "rejected"
            trace = None if rejected else edited_trace(get_task(task), store.trace(item), work, reviewer)
            outcomes.append(ReviewOutcome(trace_id, work.status, trace))
    return outcomes


def revision(path: Path) -> str:
    """Return a hash of everything that `reviewed_of` returns; empty without a store."""
    if not path.exists():
        return ""
    with ReviewStore(path) as store:
        entries: list[list[object]] = []
        for _, trace_id, _, works in _reviews(store, None):
            outcome = outcome_of(works)
            if outcome is None:
                entries.append([trace_id])
                continue
            reviewer, work = outcome
            entries.append([trace_id, reviewer, label_of(work), work.saw_gold, round(work.seconds, 1)])
        return content_id(entries)


def remaining(path: Path, teacher: str, sample: int, seed: int) -> int:
    """Count the open traces of the teacher's seeded sample; `sample` 0: of all traces.

    Without a store nothing is reviewed yet: the whole sample is open (0 of an unknown number of traces counts 1).
    """
    if not path.exists():
        return max(1, sample)
    with ReviewStore(path) as store:
        wanted = set(sample_of(store, sample, seed, teacher=teacher)) if sample else None
        return sum(
            outcome_of(works) is None
            for item, _, _, works in _reviews(store, teacher)
            if wanted is None or item in wanted
        )


def disagreements(store: ReviewStore) -> list[int]:
    """Return the indices of traces with disagreements, in the queue's order."""
    shared = store.rows("SELECT item FROM work WHERE status != 'open' GROUP BY item HAVING count(*) > 1 ORDER BY item")
    return [item for (item,) in shared if disagree(works_of(store, item))]


def _reviews(store: ReviewStore, teacher: str | None) -> Iterator[tuple[int, str, str, dict[str, TraceReview]]]:
    """Yield (place, trace id, task, reviewer -> work) of the traces in the queue."""
    query = (
        "SELECT items.id, trace_id, task, reviewer, state, version, work.seconds, at FROM items "
        "LEFT JOIN work ON work.item = items.id WHERE gone = 0"
    )
    where, values = ("", ()) if teacher is None else (" AND teacher = ?", (teacher,))
    rows = store.rows(f"{query}{where} ORDER BY items.id, reviewer", *values)
    for (item, trace_id, task), group in groupby(rows, key=lambda row: row[:3]):
        works = {row[3]: work_from(*row[4:]) for row in group if row[3] is not None}
        yield item, trace_id, task, works
