"""Answers as rows of the cache's SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

from tracedistill.engines import Generation

_CHUNK = 400  # keys in one SELECT; SQLite's oldest limit of variables is 999
SCHEMA = """
CREATE TABLE generations (
  id INTEGER PRIMARY KEY, key BLOB NOT NULL, finish TEXT NOT NULL, text BLOB NOT NULL, reasoning BLOB,
  error BLOB NOT NULL, tokens_in INTEGER NOT NULL, tokens_out INTEGER NOT NULL, estimated INTEGER NOT NULL,
  seconds REAL NOT NULL, engine TEXT NOT NULL, created REAL NOT NULL, usd REAL, cached_in INTEGER NOT NULL DEFAULT 0,
  buyer TEXT NOT NULL DEFAULT '', model TEXT NOT NULL DEFAULT '', fingerprint TEXT NOT NULL DEFAULT '');
CREATE INDEX generations_key ON generations (key);
CREATE TABLE claims (key BLOB PRIMARY KEY, owner TEXT NOT NULL, until REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE engines (engine TEXT PRIMARY KEY, description TEXT NOT NULL, over_in INTEGER NOT NULL DEFAULT 0,
  over_out INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE TABLE spending (scope TEXT PRIMARY KEY, calls INTEGER NOT NULL, tokens INTEGER NOT NULL, usd REAL NOT NULL)
  WITHOUT ROWID;
"""
UPGRADE = """
ALTER TABLE generations ADD COLUMN usd REAL;
ALTER TABLE generations ADD COLUMN cached_in INTEGER NOT NULL DEFAULT 0;
ALTER TABLE generations ADD COLUMN buyer TEXT NOT NULL DEFAULT '';
ALTER TABLE generations ADD COLUMN model TEXT NOT NULL DEFAULT '';
ALTER TABLE generations ADD COLUMN fingerprint TEXT NOT NULL DEFAULT '';
ALTER TABLE engines ADD COLUMN over_in INTEGER NOT NULL DEFAULT 0;
ALTER TABLE engines ADD COLUMN over_out INTEGER NOT NULL DEFAULT 0;
"""
"""From version 1 to 2: costs are stored."""
_COLUMNS = (
    "key, finish, text, reasoning, error, tokens_in, tokens_out, estimated, seconds, engine, created, usd, cached_in, "
    "buyer, model, fingerprint"
)


def insert_rows(db: sqlite3.Connection, answers: Sequence[tuple[bytes, Generation]], engine: str, now: float) -> None:
    """Write answers of an engine (by the name of its description), created now."""
    marks = ",".join("?" * (_COLUMNS.count(",") + 1))
    db.executemany(
        f"INSERT INTO generations ({_COLUMNS}) VALUES ({marks})",  # noqa: S608 - constants
        [_row(key, answer, engine, now) for key, answer in answers],
    )


def _row(key: bytes, answer: Generation, engine: str, now: float) -> tuple[Any, ...]:
    reasoning = None if answer.reasoning is None else _encode(answer.reasoning)
    texts = (answer.finish, _encode(answer.text), reasoning, _encode(answer.error))
    counts = (max(0, answer.tokens_in), max(0, answer.tokens_out), int(answer.usage_estimated))
    origin = (answer.usd, answer.cached_in, answer.buyer, answer.model, answer.fingerprint)
    return (key, *texts, *counts, answer.seconds, engine, now, *origin)


def select_rows(db: sqlite3.Connection, keys: Sequence[bytes]) -> dict[bytes, Generation]:
    """Select the answers stored under keys: the first good one, else the latest. Their request_id is empty."""
    answers: dict[bytes, Generation] = {}
    for some, marks in chunks(keys):
        rows = db.execute(f"SELECT {_COLUMNS} FROM generations WHERE key IN ({marks}) ORDER BY id", some)  # noqa: S608
        for row in rows:
            key = bytes(row[0])
            if key not in answers or answers[key].finish != "stop":
                answers[key] = _generation(row)
    return answers


def _generation(row: tuple[Any, ...]) -> Generation:
    return Generation(
        request_id="",
        finish=row[1],
        text=_decode(row[2]),
        reasoning=None if row[3] is None else _decode(row[3]),
        error=_decode(row[4]),
        tokens_in=row[5],
        tokens_out=row[6],
        usage_estimated=bool(row[7]),
        seconds=row[8],
        created=row[10],
        usd=row[11],
        cached_in=row[12],
        buyer=row[13],
        model=row[14],
        fingerprint=row[15],
        cached=True,
    )


def chunks(keys: Sequence[bytes]) -> Iterator[tuple[Sequence[bytes], str]]:
    """Split keys into parts that fit one statement; yield each with its placeholders."""
    for start in range(0, len(keys), _CHUNK):
        some = keys[start : start + _CHUNK]
        yield some, ",".join("?" * len(some))


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _decode(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")
