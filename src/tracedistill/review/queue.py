"""The queue of traces to read: filters by need, a seeded sample, counts, next and previous."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args
from urllib.parse import urlencode

from tracedistill.review.outcomes import disagreements
from tracedistill.review.samples import condition_of, drawn_key
from tracedistill.review.store import ReviewStore
from tracedistill.review.trace_review import Status

Need = Literal["", "failed", "leak", "differ", "teacher", "disputed"]
"""Why a trace should be read; empty: any."""
Shown = Literal["open", "done", "all"]
"""Restriction by the reviewer's own decision."""

NEEDS: Mapping[Need, str] = {
    "": "any",
    "failed": "validation failed",
    "leak": "leak suspected",
    "differ": "two checkers disagree",
    "teacher": "teacher error suspected",
    "disputed": "reviewers disagree",
}
"""Need -> its label on the page."""

PAGE = 50
"""Items on a page of the queue."""

_CONDITIONS: Mapping[Need, str] = {
    "failed": "items.failed = 1",
    "leak": "items.leak = 1",
    "differ": "items.differ = 1",
    # without an attribution, a trace that rules find wrong is suspect
    "teacher": "(items.blamed = 1 OR (items.blamed = -1 AND items.wrong = 1))",
}
_STATUS = "coalesce((SELECT status FROM work WHERE item = items.id AND reviewer = ?), 'open')"
_COLUMNS = ", ".join(("items.id", "trace_id", "problem_id", "task", "teacher", "steps", *_CONDITIONS.values(), _STATUS))
_VALUES: Mapping[str, Collection[str]] = {"need": NEEDS, "shown": get_args(Shown)}
_MINE = "items.id IN (SELECT item FROM work WHERE reviewer = ? AND status != 'open')"


@dataclass(frozen=True, slots=True)
class Filter:
    """The traces in the queue; every field is a query field of the page's address."""

    need: Need = ""
    """Why they should be read."""
    shown: Shown = "open"
    """Open, decided, or all traces."""
    task: str = ""
    """Name of the task; empty: any."""
    teacher: str = ""
    """Name of the teacher; empty: any."""
    least: int = 0
    most: int = 0
    """Most steps; 0: no limit."""
    sample: int = 0
    """A seeded random sample of this many traces per teacher; 0: all."""
    seed: int = 0
    """Seed of the sample."""

    def address(self) -> str:
        """Return the filter as a query: fields that differ from the default, and never empty."""
        pairs = {field.name: getattr(self, field.name) for field in fields(self)}
        # an address without a query means the command line's filter
        changed = {key: value for key, value in pairs.items() if value != getattr(Filter(), key)}
        return urlencode(changed or {"shown": self.shown})

    @classmethod
    def read(cls, query: Mapping[str, str], default: Filter | None = None) -> Filter:
        """Parse the filter of an address; invalid values are ignored."""
        values: dict[str, Any] = {}
        for field in fields(cls):
            text = query.get(field.name)
            if text is None:
                continue
            if field.name in ("least", "most", "sample", "seed"):
                if text.isdecimal() and text.isascii() and len(text) < 10:
                    values[field.name] = int(text)
            elif text in _VALUES.get(field.name, (text,)):
                values[field.name] = text
        return replace(default or cls(), **values)


@dataclass(frozen=True, slots=True)
class QueueLine:
    """One trace as the queue lists it."""

    item: int
    """Its index."""
    trace_id: str
    problem_id: str
    task: str
    teacher: str
    steps: int
    """Number of steps of the original."""
    needs: tuple[str, ...]
    """Reasons to read it."""
    status: Status
    """The reviewer's own decision."""


@dataclass(frozen=True, slots=True)
class ReviewProgress:
    """A reviewer's progress."""

    done: int
    """Of the filtered traces, those decided by the reviewer."""
    total: int
    """Filtered traces, decided or not."""


def lines(store: ReviewStore, reviewer: str, chosen: Filter, after: int = 0) -> list[QueueLine]:
    """Return a page of the queue: the traces after index `after`."""
    where, values = _where(store, reviewer, chosen)
    query = f"SELECT {_COLUMNS} FROM items WHERE {where} AND items.id > ? ORDER BY items.id LIMIT {PAGE}"  # noqa: S608
    names = [NEEDS[need] for need in _CONDITIONS]
    return [_line(row, names) for row in store.rows(query, reviewer, *values, after)]


def progress(store: ReviewStore, reviewer: str, chosen: Filter) -> ReviewProgress:
    """Count decided and all traces of a filter."""
    where, values = _where(store, reviewer, replace(chosen, shown="all"))
    total = store.row(f"SELECT count(*) FROM items WHERE {where}", *values)[0]  # noqa: S608 - our own conditions
    done = store.row(f"SELECT count(*) FROM items WHERE {where} AND {_MINE}", *values, reviewer)[0]  # noqa: S608
    return ReviewProgress(done, total)


def needs(store: ReviewStore, reviewer: str, chosen: Filter) -> dict[Need, int]:
    """Count the traces of the filter per need."""
    counts: dict[Need, int] = {}
    for need in NEEDS:
        where, values = _where(store, reviewer, replace(chosen, need=need))
        counts[need] = store.row(f"SELECT count(*) FROM items WHERE {where}", *values)[0]  # noqa: S608
    return counts


def neighbour(store: ReviewStore, reviewer: str, chosen: Filter, item: int, *, back: bool = False) -> int | None:
    """Return the next (or previous) index of the filter, wrapping around; None if none is left."""
    where, values = _where(store, reviewer, chosen)
    sign, order = ("<", "DESC") if back else (">", "ASC")
    for condition, extra in ((f"items.id {sign} ?", (item,)), ("items.id != ?", (item,))):
        row = store.row(
            f"SELECT items.id FROM items WHERE {where} AND {condition} ORDER BY items.id {order} LIMIT 1",  # noqa: S608
            *values,
            *extra,
        )
        if row is not None:
            return int(row[0])
    return None


def choices(store: ReviewStore) -> dict[str, list[str]]:
    """Return field of the filter -> occurring values."""
    return {
        name: [row[0] for row in store.rows(f"SELECT DISTINCT {name} FROM items WHERE gone = 0 ORDER BY {name}")]  # noqa: S608
        for name in ("task", "teacher")
    }


def _where(store: ReviewStore, reviewer: str, chosen: Filter) -> tuple[str, list[Any]]:
    where, values = condition_of(chosen.task, chosen.teacher)
    conditions = [where]
    if chosen.need == "disputed":
        conditions.append(f"items.id IN ({','.join(map(str, disagreements(store)))})")
    elif chosen.need:
        conditions.append(_CONDITIONS[chosen.need])
    if chosen.least:
        conditions.append("items.steps >= ?")
        values.append(chosen.least)
    if chosen.most:
        conditions.append("items.steps <= ?")
        values.append(chosen.most)
    if chosen.sample:
        conditions.append("items.id IN (SELECT item FROM samples WHERE key = ?)")
        values.append(drawn_key(store, chosen.sample, chosen.seed, chosen.task, chosen.teacher))
    if chosen.shown != "all":
        conditions.append(_MINE if chosen.shown == "done" else f"NOT {_MINE}")
        values.append(reviewer)
    return " AND ".join(conditions), values


def _line(row: tuple[Any, ...], names: list[str]) -> QueueLine:
    item, trace_id, problem_id, task, teacher, steps, *flags, status = row
    needs = tuple(name for name, flag in zip(names, flags, strict=True) if flag)
    return QueueLine(item, trace_id, problem_id, task, teacher, steps, needs, status)
