"""The review's SQLite file: traces with their verdicts, reviewers' work, and every action."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
import time
from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from tracedistill.errors import InputError
from tracedistill.files import dumps, from_json
from tracedistill.records import Problem, Trace
from tracedistill.validation import Validation

T = TypeVar("T")

_APPLICATION_ID = 0x54445256  # "TDRV": distinguishes our file from other SQLite databases
_VERSION = 1
MAX_SECONDS = 3600.0
"""Most seconds that one action adds to the time of an item."""
_BATCH = 2000
# items is narrow: filters and counts read it whole, without the texts
_SCHEMA = """
CREATE TABLE problems (problem_id TEXT PRIMARY KEY, record TEXT NOT NULL);
CREATE TABLE items (
  id INTEGER PRIMARY KEY, trace_id TEXT NOT NULL UNIQUE, problem_id TEXT NOT NULL, task TEXT NOT NULL,
  teacher TEXT NOT NULL, steps INTEGER NOT NULL, failed INTEGER NOT NULL DEFAULT 0, leak INTEGER NOT NULL DEFAULT 0,
  differ INTEGER NOT NULL DEFAULT 0, wrong INTEGER NOT NULL DEFAULT 0, blamed INTEGER NOT NULL DEFAULT -1,
  gone INTEGER NOT NULL DEFAULT 0);
CREATE TABLE texts (id INTEGER PRIMARY KEY, trace TEXT NOT NULL, verdict TEXT);
CREATE TABLE work (
  item INTEGER NOT NULL, reviewer TEXT NOT NULL, status TEXT NOT NULL, version INTEGER NOT NULL, state TEXT NOT NULL,
  seconds REAL NOT NULL, at REAL NOT NULL, PRIMARY KEY (item, reviewer)) WITHOUT ROWID;
CREATE INDEX work_of ON work (reviewer, status, item);
CREATE TABLE events (
  id INTEGER PRIMARY KEY, item INTEGER NOT NULL, reviewer TEXT NOT NULL, at REAL NOT NULL, action TEXT NOT NULL,
  before TEXT NOT NULL, after TEXT NOT NULL, seconds REAL NOT NULL, undone INTEGER NOT NULL DEFAULT 0);
CREATE INDEX events_of ON events (reviewer, undone, item, id);
CREATE TABLE samples (key TEXT NOT NULL, item INTEGER NOT NULL, PRIMARY KEY (key, item)) WITHOUT ROWID;
CREATE TABLE sources (name TEXT PRIMARY KEY, hash TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE marks (
  kind TEXT NOT NULL, item TEXT NOT NULL, reviewer TEXT NOT NULL, value TEXT NOT NULL, version INTEGER NOT NULL,
  seconds REAL NOT NULL, at REAL NOT NULL, PRIMARY KEY (kind, item, reviewer)) WITHOUT ROWID;
"""


class ReviewStore:
    """The store, created with its folder if missing; several threads and processes may use it at once.

    What a method has written is on disk when it returns. Raises InputError if the file is damaged, belongs to another
    program, or cannot be written.
    """

    def __init__(self, path: str | Path, *, busy_seconds: float = 30.0) -> None:
        self.path = Path(path)
        self._lock = threading.RLock()
        with self._explained():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(
                self.path, timeout=busy_seconds, isolation_level=None, check_same_thread=False, cached_statements=256
            )
            try:
                self._prepare()
            except BaseException:
                self._db.close()
                raise

    # ---- adding traces

    def fill(
        self,
        task_name: str,
        problems: Iterable[Problem],
        traces: Iterable[Trace],
        verdicts: Iterable[Validation] = (),
        *,
        whole: str | None = None,
        blamed: Collection[str] | None = None,
    ) -> int:
        """Add traces with their problems and verdicts; return the number of new ones. Nothing is ever removed.

        Known traces keep their place in the queue and get the new verdict. `whole`: these are all traces of that
        teacher; the teacher's other, untouched traces leave the queue (and come back when they are given again).
        `blamed`: ids of the problems whose failures were attributed to the teacher; None: no attribution.
        """
        with self.writing() as db:
            before = db.execute("SELECT count(*) FROM items").fetchone()[0]
            if whole is not None:
                db.execute("UPDATE items SET gone = 1 WHERE teacher = ?", (whole,))
            for batch in _batches(problems):
                db.executemany(
                    "INSERT INTO problems VALUES (?,?) ON CONFLICT (problem_id) DO UPDATE SET record = excluded.record",
                    [(problem.problem_id, dumps(problem)) for problem in batch],
                )
            for group in _batches(traces):
                db.executemany(
                    "INSERT INTO items (trace_id, problem_id, task, teacher, steps, blamed) VALUES (?,?,?,?,?,?) "
                    "ON CONFLICT (trace_id) DO UPDATE SET gone = 0, blamed = excluded.blamed",
                    [
                        (*_row(trace, task_name), -1 if blamed is None else trace.problem_id in blamed)
                        for trace in group
                    ],
                )
                db.executemany(
                    "INSERT OR IGNORE INTO texts (id, trace) SELECT id, ? FROM items WHERE trace_id = ?",
                    [(dumps(trace), trace.trace_id) for trace in group],
                )
            for judged in _batches(verdicts):
                db.executemany(
                    "UPDATE items SET failed = ?, leak = ?, differ = ?, wrong = ? WHERE trace_id = ?",
                    [(*_flags(verdict), verdict.trace_id) for verdict in judged],
                )
                db.executemany(
                    "UPDATE texts SET verdict = ? WHERE id = (SELECT id FROM items WHERE trace_id = ?)",
                    [(dumps(verdict), verdict.trace_id) for verdict in judged],
                )
            if whole is not None:
                db.execute("UPDATE items SET gone = 0 WHERE gone AND id IN (SELECT item FROM work)")
            return int(db.execute("SELECT count(*) FROM items").fetchone()[0]) - int(before)

    def filled_from(self, name: str) -> str:
        """Return the hash of a source's content when it was added; empty if it never was."""
        row = self.row("SELECT hash FROM sources WHERE name = ?", name)
        return row[0] if row else ""

    def note_source(self, name: str, hashed: str) -> None:
        """Record the hash of a source's content, so that the next start need not read it."""
        with self.writing() as db:
            db.execute("INSERT OR REPLACE INTO sources VALUES (?,?)", (name, hashed))

    # ---- reading records

    def item_of(self, trace_id: str) -> int | None:
        """Return the index of a trace in the queue, or None."""
        row = self.row("SELECT id FROM items WHERE trace_id = ?", trace_id)
        return row[0] if row else None

    def trace(self, item: int) -> Trace:
        """Return the original trace. Raises KeyError for an unknown index."""
        return from_json(Trace, json.loads(self._text(item)[0]))

    def verdict(self, item: int) -> Validation | None:
        """Return its validation, or None. Raises KeyError for an unknown index."""
        text = self._text(item)[1]
        return None if text is None else from_json(Validation, json.loads(text))

    def problem(self, problem_id: str) -> Problem:
        """Return the problem. Raises KeyError if it was never added."""
        row = self.row("SELECT record FROM problems WHERE problem_id = ?", problem_id)
        if row is None:
            raise KeyError(problem_id)
        return from_json(Problem, json.loads(row[0]))

    def task_of(self, item: int) -> str:
        """Return the name of the trace's task. Raises KeyError for an unknown index."""
        row = self.row("SELECT task FROM items WHERE id = ?", item)
        if row is None:
            raise KeyError(item)
        return str(row[0])

    def _text(self, item: int) -> tuple[str, str | None]:
        row = self.row("SELECT trace, verdict FROM texts WHERE id = ?", item)
        if row is None:
            raise KeyError(item)
        return row[0], row[1]

    # ---- the file

    def row(self, query: str, *values: Any) -> Any:
        """Return the first row of a query, or None."""
        with self._explained(), self._lock:
            return self._db.execute(query, values).fetchone()

    def rows(self, query: str, *values: Any) -> list[Any]:
        """Return all rows of a query."""
        with self._explained(), self._lock:
            return self._db.execute(query, values).fetchall()

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Yield an exclusive write transaction, committed to disk at its end and rolled back on an exception."""
        with self._explained(), self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                # SQLite rolls back some failures by itself (full disk); a second ROLLBACK would hide the cause
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    def __enter__(self) -> ReviewStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _prepare(self) -> None:
        db = self._db
        # FULL: what was reported as saved also survives a power cut
        db.execute("PRAGMA synchronous = FULL")
        if self._check():  # before the first change: another program's file stays as it is
            return
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("BEGIN IMMEDIATE")
        if not self._check():  # another process may have created the tables meanwhile
            for statement in _SCHEMA.split(";"):
                db.execute(statement)
            db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {_VERSION}")
        db.execute("COMMIT")

    def _check(self) -> bool:
        """Return whether there are tables. Raises InputError if they are not ours."""
        db = self._db
        tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        ours = db.execute("PRAGMA application_id").fetchone()[0] == _APPLICATION_ID
        if tables and not (ours and db.execute("PRAGMA user_version").fetchone()[0] == _VERSION):
            raise InputError(f"{self.path}: not a review store of this version; move it away or choose another file")
        return bool(tables)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn SQLite's and the system's errors into one that names the file and the remedy."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise InputError(
                f"{self.path}: {error}; check that the folder is writable, has free space and is on a local "
                "disk, and that no other program locks the file"
            ) from error


def put_mark(db: sqlite3.Connection, kind: str, item: str, reviewer: str, value: str, seconds: float) -> None:
    """Write a reviewer's mark (rating or label) on an item within a transaction; a new one replaces the old one."""
    db.execute(
        "INSERT INTO marks VALUES (?,?,?,?,1,?,?) ON CONFLICT (kind, item, reviewer) DO UPDATE SET "
        "value = excluded.value, version = version + 1, seconds = seconds + excluded.seconds, at = excluded.at",
        (kind, item, reviewer, value, min(seconds, MAX_SECONDS), time.time()),
    )


def _batches(values: Iterable[T]) -> Iterator[list[T]]:
    left = iter(values)
    while batch := list(islice(left, _BATCH)):
        yield batch


def _row(trace: Trace, task_name: str) -> tuple[str, str, str, str, int]:
    return trace.trace_id, trace.problem_id, task_name, trace.teacher, len(trace.steps)


def _flags(verdict: Validation) -> tuple[bool, bool, bool, bool]:
    """Return (validation failed, leak suspected, checkers disagree, rules find the trace wrong)."""
    leak, judged = verdict.leak, verdict.judged
    differ = judged is not None and (judged.disagree or judged.inconsistent or any(s.disagree for s in judged.steps))
    wrong = verdict.trace.outcome == "incorrect" or any(step.outcome == "incorrect" for step in verdict.trace.steps)
    return not verdict.accepted, leak is not None and bool(leak.standing or leak.genuine), differ, wrong
