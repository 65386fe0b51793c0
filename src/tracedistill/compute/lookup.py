"""Look up records of a file by id: in memory if the file is small, else on disk.

A large file gets an index beside it, an SQLite table of ids and offsets shared by all processes, so a million records
take no more memory than a thousand.
"""

from __future__ import annotations

import functools
import json
import sqlite3
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Generic, TypeVar

from tracedistill.errors import InputError
from tracedistill.files import disk_error, read_jsonl

T = TypeVar("T")

HELD = 16 * 2**20
"""Most bytes of a file that is held in memory, about 15,000 problems."""
KEPT = 2048
"""Records cached once read, since the traces of a problem are close to each other."""


def lookup(path: Path, kind: type[T], *, key: str = "problem_id", held: int = HELD) -> Mapping[str, T]:
    """Return the records of a JSON Lines file by their field `key`; for duplicate ids, the first.

    Raises InputError if the file cannot be read, or its index cannot be written.
    """
    if not path.is_file() or path.stat().st_size <= held:
        records: dict[str, T] = {}
        for record in read_jsonl(path, kind):
            records.setdefault(getattr(record, key), record)
        return records
    return Indexed(path, kind, _index(path, key))


class Indexed(Mapping[str, T], Generic[T]):
    """Records that stay in their file."""

    def __init__(self, path: Path, kind: type[T], index: Path) -> None:
        self._path, self._kind = path, kind
        # a finished index is never written again, so it needs no lock, which shared file systems handle badly
        self._index = sqlite3.connect(f"{index.resolve().as_uri()}?mode=ro&immutable=1", uri=True)
        self._get = functools.lru_cache(KEPT)(self._read)

    def __getitem__(self, key: str) -> T:
        return self._get(key)

    def __contains__(self, key: object) -> bool:
        return self._place(str(key)) is not None

    def __len__(self) -> int:
        (count,) = self._index.execute("SELECT count(*) FROM places").fetchone()
        return int(count)

    def __iter__(self) -> Iterator[str]:
        for (key,) in self._index.execute("SELECT id FROM places ORDER BY line"):
            yield key.decode("utf-8", "surrogatepass")

    def _place(self, key: str) -> tuple[int, int] | None:
        query = "SELECT start, line FROM places WHERE id = ?"
        place: tuple[int, int] | None = self._index.execute(query, (_bytes(key),)).fetchone()
        return place

    def _read(self, key: str) -> T:
        place = self._place(key)
        if place is None:
            raise KeyError(key)
        start, line = place
        return next(read_jsonl(self._path, self._kind, skip=line, start=start, count=1))


def _index(path: Path, key: str) -> Path:
    """Return the index beside a file; write it unless it matches the file's size and modification time."""
    stat = path.stat()
    index = path.with_name(f".{path.name}.{key}.index")
    stamp = f"{stat.st_size} {stat.st_mtime_ns}"
    try:
        with closing(sqlite3.connect(f"{index.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as known:
            if known.execute("SELECT stamp FROM made").fetchone() == (stamp,):
                return index
    except sqlite3.Error:
        pass  # missing or unfinished
    partial = index.with_name(f"{index.name}.{uuid.uuid4().hex}")
    try:
        with closing(sqlite3.connect(partial)) as db:
            db.execute("PRAGMA journal_mode = OFF")
            db.execute("PRAGMA synchronous = OFF")
            db.execute("CREATE TABLE places (id BLOB PRIMARY KEY, start INTEGER, line INTEGER) WITHOUT ROWID")
            db.execute("CREATE TABLE made (stamp TEXT)")
            db.executemany("INSERT OR IGNORE INTO places VALUES (?, ?, ?)", _places(path, key))
            db.execute("INSERT INTO made VALUES (?)", (stamp,))
            db.commit()
        partial.replace(index)
    except sqlite3.Error as error:
        raise InputError(f"cannot write {index}: {error}") from error
    except OSError as error:
        raise disk_error(index, error) from error
    return index


def _bytes(key: str) -> bytes:
    """Encode a key: SQLite does not accept lone surrogates, which a user's ids may contain."""
    return key.encode("utf-8", "surrogatepass")


def _places(path: Path, key: str) -> Iterator[tuple[bytes, int, int]]:
    """Yield (id, byte offset of its line, lines before it) of each record."""
    start = 0
    with path.open("rb") as stream:
        for number, line in enumerate(stream):
            try:
                yield _bytes(str(json.loads(line)[key])), start, number
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(
                    f"{path}, line {number + 1}: has no '{key}'; delete the file to make it again"
                ) from error
            start += len(line)
