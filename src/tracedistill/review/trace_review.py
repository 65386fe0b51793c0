"""One reviewer's edits and decision on one trace: saved at once, undone one by one, protected from conflicts."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from tracedistill.files import dumps, from_json
from tracedistill.review.store import MAX_SECONDS, ReviewStore

Status = Literal["open", "approved", "rejected", "edited"]
"""edited: approved with changes; open: undecided, with or without a draft."""

TYPING_SECONDS = 4.0
"""Saves of one line within this time are one action: undo removes a phrase, not a letter."""
_STORED = "SELECT state, version, seconds, at FROM work WHERE item = ? AND reviewer = ?"


@dataclass(frozen=True, slots=True)
class TraceReview:
    """A reviewer's edits and decision on a trace."""

    status: Status = "open"
    lines: tuple[str, ...] | None = None
    """The edited steps; None: the original ones."""
    answer: str | None = None
    """The edited stated answer; None: the original one."""
    comment: str = ""
    """A remark for readers."""
    saw_gold: bool = False
    """Whether the gold was shown before the decision."""
    settles: bool = False
    """Whether it settles a disagreement of two others: then this decision counts."""
    version: int = 0
    """Grows with every change; 0: untouched."""
    seconds: float = 0.0
    """Time spent on it."""
    at: float = 0.0
    """Unix time of the last change."""

    @property
    def decided(self) -> bool:
        """Whether there is a decision."""
        return self.status != "open"

    @property
    def changed(self) -> bool:
        """Whether the text differs from the maker's."""
        return self.lines is not None or self.answer is not None


class Conflict(Exception):  # noqa: N818 - an event that the page reports, not a fault
    """The item was changed since it was read, so nothing was written. Holds the stored review."""

    def __init__(self, stored: TraceReview) -> None:
        super().__init__("changed since it was read")
        self.stored = stored


def work_of(store: ReviewStore, item: int, reviewer: str) -> TraceReview:
    """Return a reviewer's work on an item; empty if untouched."""
    row = store.row(_STORED, item, reviewer)
    return TraceReview() if row is None else work_from(*row)


def works_of(store: ReviewStore, item: int) -> dict[str, TraceReview]:
    """Return reviewer -> work of all who touched an item, sorted by name."""
    rows = store.rows("SELECT reviewer, state, version, seconds, at FROM work WHERE item = ? ORDER BY reviewer", item)
    return {row[0]: work_from(*row[1:]) for row in rows}


def change(
    store: ReviewStore,
    item: int,
    reviewer: str,
    version: int,
    action: str,
    new: Callable[[TraceReview], TraceReview],
    seconds: float = 0.0,
    clock: Callable[[], float] = time.time,
) -> TraceReview:
    """Apply one action to the version that was read. Raises Conflict if another tab was faster.

    `new` gets the stored work and returns it changed; equal text writes no action, only the time. An action that
    changes text reopens a decided item: what is approved is what was read.
    """
    with store.writing() as db:
        row = db.execute(_STORED, (item, reviewer)).fetchone()
        old = TraceReview() if row is None else work_from(*row)
        if old.version != version:
            raise Conflict(old)
        after, now = new(old), clock()
        spent = min(max(seconds, 0.0), MAX_SECONDS)
        if _state(after) == _state(old):
            if row is None or not spent or old.decided:
                return old  # the time of a decision is the time it took
            db.execute("UPDATE work SET seconds = seconds + ? WHERE item = ? AND reviewer = ?", (spent, item, reviewer))
            return replace(old, seconds=old.seconds + spent)
        if (after.lines, after.answer) != (old.lines, old.answer) and after.status == old.status:
            after = replace(after, status="open", settles=False)
        after = replace(after, version=old.version + 1, seconds=old.seconds + spent, at=now)
        _put(db, item, reviewer, after)
        last = db.execute(
            "SELECT id, action, at, item FROM events WHERE reviewer = ? AND undone = 0 ORDER BY id DESC LIMIT 1",
            (reviewer,),
        ).fetchone()
        same_field = action.startswith("type") and last and last[1] == action and last[3] == item
        if same_field and now - last[2] < TYPING_SECONDS:
            db.execute(
                "UPDATE events SET after = ?, at = ?, seconds = seconds + ? WHERE id = ?",
                (_state(after), now, spent, last[0]),
            )
            return after
        db.execute(
            "INSERT INTO events (item, reviewer, at, action, before, after, seconds) VALUES (?,?,?,?,?,?,?)",
            (item, reviewer, now, action, _state(old), _state(after), spent),
        )
        return after


def undo(store: ReviewStore, reviewer: str, item: int, clock: Callable[[], float] = time.time) -> int | None:
    """Undo the reviewer's last action on this item or, if there is none, the reviewer's last one anywhere.

    Returns its item, or None if there is nothing to undo. That the gold was seen stays recorded.
    """
    with store.writing() as db:
        query = "SELECT id, item, before FROM events WHERE reviewer = ? AND undone = 0 AND action != 'gold'"
        here = db.execute(f"{query} AND item = ? ORDER BY id DESC LIMIT 1", (reviewer, item)).fetchone()
        last = here or db.execute(f"{query} ORDER BY id DESC LIMIT 1", (reviewer,)).fetchone()
        if last is None:
            return None
        event, where, before = last
        stored = work_from(*db.execute(_STORED, (where, reviewer)).fetchone())
        restored = replace(work_from(before, stored.version + 1, stored.seconds, clock()), saw_gold=stored.saw_gold)
        _put(db, where, reviewer, restored)
        db.execute("UPDATE events SET undone = 1 WHERE id = ?", (event,))
        return int(where)


def median_seconds(store: ReviewStore, reviewer: str) -> float | None:
    """Return the median seconds of the reviewer's decided items; None if nothing is decided."""
    rows = store.rows("SELECT seconds FROM work WHERE reviewer = ? AND status != 'open' ORDER BY seconds", reviewer)
    return float(rows[len(rows) // 2][0]) if rows else None


def work_from(state: str, version: int, seconds: float, at: float) -> TraceReview:
    """Convert a row of the table `work`."""
    return replace(from_json(TraceReview, json.loads(state)), version=version, seconds=seconds, at=at)


def _state(work: TraceReview) -> str:
    """Return the state that an action changes, without version and clocks."""
    return dumps(replace(work, version=0, seconds=0.0, at=0.0))


def _put(db: sqlite3.Connection, item: int, reviewer: str, work: TraceReview) -> None:
    db.execute(
        "INSERT OR REPLACE INTO work VALUES (?,?,?,?,?,?,?)",
        (item, reviewer, work.status, work.version, _state(work), work.seconds, work.at),
    )
