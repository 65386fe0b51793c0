"""Answers as rows of the cache's SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True, slots=True)
class Entry:
    """One answer as it was bought."""

    finish: str
    """stop, length, refusal, error or too-long."""
    text: str = ""
    """The generated text; any string, NUL and lone surrogates included."""
    reasoning: str | None = None
    """The thinking, separated from the text."""
    error: str = ""
    """Cause of a failure."""
    tokens_in: int = 0
    """Prompt tokens."""
    tokens_out: int = 0
    """Generated tokens."""
    estimated: bool = False
    """Whether the token counts are our estimate, because the server reported none or invalid ones."""
    seconds: float = 0.0
    """Wall seconds of the call."""
    engine: str = ""
    """Name of the engine's description (`GenerationCache.record_engine`)."""
    created: float = 0.0
    """Unix time of writing; set by the cache."""
    usd: float | None = None
    """US dollars charged for it, including calls without an answer; None: from a version that stored none."""
    cached_in: int = 0
    """Prompt tokens served from the server's prompt cache."""
    buyer: str = ""
    """Buyer, as passed to `generate`."""
    model: str = ""
    """Model named in the reply."""
    fingerprint: str = ""
    """The reply's `system_fingerprint`."""

    @property
    def good(self) -> bool:
        """Whether it may be served as an answer."""
        return self.finish == "stop"


def _row(key: bytes, entry: Entry, now: float) -> tuple[Any, ...]:
    counts = (max(0, entry.tokens_in), max(0, entry.tokens_out), int(entry.estimated))
    reasoning = None if entry.reasoning is None else _encode(entry.reasoning)
    texts = (entry.finish, _encode(entry.text), reasoning, _encode(entry.error))
    told = (entry.usd, entry.cached_in, entry.buyer, entry.model, entry.fingerprint)
    return (key, *texts, *counts, entry.seconds, entry.engine, now, *told)


def insert_rows(db: sqlite3.Connection, answers: Sequence[tuple[bytes, Entry]], now: float) -> None:
    """Write answers, created now."""
    marks = ",".join("?" * (_COLUMNS.count(",") + 1))
    db.executemany(
        f"INSERT INTO generations ({_COLUMNS}) VALUES ({marks})",  # noqa: S608 - constants
        [_row(key, entry, now) for key, entry in answers],
    )


def select_rows(db: sqlite3.Connection, keys: Sequence[bytes]) -> dict[bytes, Entry]:
    """Select the answers stored under keys: the first good one, else the latest."""
    found: dict[bytes, Entry] = {}
    for some, marks in chunks(keys):
        rows = db.execute(f"SELECT {_COLUMNS} FROM generations WHERE key IN ({marks}) ORDER BY id", some)  # noqa: S608
        for row in rows:
            key = bytes(row[0])
            if key in found and found[key].good:
                continue
            reasoning = None if row[3] is None else _decode(row[3])
            found[key] = Entry(
                row[1], _decode(row[2]), reasoning, _decode(row[4]), row[5], row[6], bool(row[7]), *row[8:]
            )
    return found


def chunks(keys: Sequence[bytes]) -> Iterator[tuple[Sequence[bytes], str]]:
    """Yield keys in parts that fit one statement, with its placeholders."""
    for start in range(0, len(keys), _CHUNK):
        some = keys[start : start + _CHUNK]
        yield some, ",".join("?" * len(some))


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _decode(data: bytes) -> str:
    return data.decode("utf-8", "surrogatepass")
