"""A file's content at one moment, copied out of a working copy in which others write."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path

from tracedistill.errors import InputError
from tracedistill.files import file_hash
from tracedistill.stores.listing import DATABASES, Entry, stamp_of

_CHUNK = 1 << 20


def snapshot(source: Path, target: Path) -> Entry | None:
    """Copy a file as it is now, and return its entry; None if it is gone.

    Of a file that grows, the part that was there at the start is copied. A database is copied by SQLite, which gives
    its last committed state whatever its writers do.
    """
    if source.name.endswith(DATABASES):
        return _of_database(source, target)
    digest, left = hashlib.sha256(), 0
    try:
        with source.open("rb") as stream, target.open("wb") as copy:
            stamp = stamp_of(source)
            if stamp is None:
                return None
            left = stamp.bytes
            while left and (chunk := stream.read(min(left, _CHUNK))):
                digest.update(chunk)
                copy.write(chunk)
                left -= len(chunk)
    except FileNotFoundError:
        return None
    return Entry(stamp.bytes - left, stamp.mtime_ns, digest.hexdigest())


def _of_database(source: Path, target: Path) -> Entry | None:
    stamp = stamp_of(source)
    if stamp is None:
        return None
    target.unlink(missing_ok=True)
    try:
        with (
            closing(sqlite3.connect(f"{source.resolve().as_uri()}?mode=ro", uri=True, timeout=60.0)) as database,
            closing(sqlite3.connect(target)) as copy,
        ):
            database.backup(copy)
    except sqlite3.Error as error:
        raise InputError(f"{source}: cannot be copied into the store: {error}") from error
    return Entry(target.stat().st_size, stamp.mtime_ns, file_hash(target))
