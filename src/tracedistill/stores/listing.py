"""What a working copy holds, what the store's index says it holds, and what the copy remembers of the last time."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from tracedistill.errors import InputError
from tracedistill.files import dumps, from_json, read_json, to_json, write_json

OWN = ".tracedistill"
"""Folder of the store with the index and the lease; nothing of it is part of the run folder."""
INDEX = f"{OWN}/index.json"
FORMAT = 1
"""Version of the index."""
DATABASES = ".sqlite"
"""Ending of databases, which are written in place."""
_NOT_MIRRORED = (".lock", ".sqlite-wal", ".sqlite-shm", ".sqlite-journal")
"""Endings of files that mean nothing elsewhere."""
_OF_HERE = (".partial", ".index")
"""Endings of hidden files that are halves of atomic writes, and indices of large files."""
_PARTS = ".parts"
"""Folder of parts in progress, which are many and quickly made again."""
_MARKS = (".manifest.json", "/whole", "/rendered", "/training-id.json")
"""Endings of marks: manifests, and what training writes last into a checkpoint and beside it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file: its content and the time of its last change, which the working copies share."""

    bytes: int
    mtime_ns: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Index:
    """The files of a run folder in a store. What is not in it does not count, whatever else the store holds."""

    format: int = FORMAT
    version: int = 0
    """Counts the writes; 0: nothing has been written yet."""
    writer: str = ""
    """The driver that wrote it."""
    files: Mapping[str, Entry] = field(default_factory=dict)
    """File -> its content."""
    pending: Mapping[str, Entry] = field(default_factory=dict)
    """File that is being replaced -> its new content; the object has this or the one in `files`."""
    gone: tuple[str, ...] = ()
    """Files that are no longer part of the run folder, whose objects are being deleted."""

    @property
    def known(self) -> frozenset[str]:
        """Return the names of all objects that may exist."""
        return frozenset(self.files) | frozenset(self.pending) | frozenset(self.gone)


@dataclass(frozen=True, slots=True)
class CopyState:
    """What a working copy remembers."""

    url: str
    copy: str
    """Random name of this working copy."""
    index: Index = field(default_factory=Index)
    """The index with which the copy was last made equal."""
    driver: str = ""
    """The driver that works here, or died here before everything was in the store; empty: none."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """A cheap sign of unchanged content."""

    bytes: int
    mtime_ns: int


def is_mark(name: str) -> bool:
    """Return whether a file says that others are complete, so that it must not be seen before them."""
    return f"/{name}".endswith(_MARKS)


def same(name: str, stamp: Stamp | None, entry: Entry | None) -> bool:
    """Return whether a file's stamp is that of an entry. A database's copy may have another size than the file."""
    if stamp is None or entry is None:
        return False
    return stamp.mtime_ns == entry.mtime_ns and (name.endswith(DATABASES) or stamp.bytes == entry.bytes)


def scan(folder: Path) -> dict[str, Stamp]:
    """Return the files of a working copy that belong into the store, by name. Links are not followed."""
    return dict(_scanned(folder, "")) if folder.is_dir() else {}


def _scanned(folder: Path, below: str) -> Iterator[tuple[str, Stamp]]:
    try:
        items = sorted(os.scandir(folder), key=lambda item: item.name)
    except FileNotFoundError:  # removed meanwhile
        return
    for item in items:
        name = f"{below}{item.name}"
        if item.is_symlink() or name in (OWN, _PARTS) or item.name.endswith(_NOT_MIRRORED):
            continue
        if item.is_dir(follow_symlinks=False):
            yield from _scanned(Path(item.path), f"{name}/")
        elif not (item.name.startswith(".") and item.name.endswith(_OF_HERE)):
            stamp = stamp_of(Path(item.path))
            if stamp is not None:
                yield name, stamp


def stamp_of(path: Path) -> Stamp | None:
    """Return a file's stamp, a database's with its log; None if it is gone."""
    try:
        stat = path.stat()
    except OSError:
        return None
    changed = stat.st_mtime_ns
    if path.name.endswith(DATABASES):
        log = path.with_name(f"{path.name}-wal")
        if log.exists() and (later := log.stat()).st_size:
            changed = max(changed, later.st_mtime_ns)
    return Stamp(stat.st_size, changed)


def index_bytes(index: Index) -> bytes:
    """Serialise an index."""
    return (dumps(to_json(index, defaults=True)) + "\n").encode("utf-8")


def read_index(content: bytes, where: str) -> Index:
    """Read an index. Raises InputError for anything else, and for names that leave the folder."""
    try:
        value = json.loads(content)
        if not isinstance(value, dict):
            raise ValueError("not a JSON object")
        index = from_json(Index, value)
    except ValueError as error:
        raise InputError(
            f"{where}: not an index that this version of tracedistill reads ({error}); if a copy of the store was cut "
            "off, copy it again"
        ) from error
    if index.format != FORMAT:
        raise InputError(f"{where}: has format {index.format}, this version reads {FORMAT}; update tracedistill")
    for name in index.known:
        parts = PurePosixPath(name).parts
        if name.startswith("/") or ".." in parts or "\\" in name or not parts or parts[0] == OWN or "\0" in name:
            raise InputError(f"{where}: names the file {name!r}, which is outside the run folder")
    return index


def read_state(path: Path, url: str) -> CopyState | None:
    """Read what a working copy remembers; None if it is new."""
    if not path.exists():
        return None
    try:
        state = from_json(CopyState, read_json(path))
    except ValueError as error:
        raise InputError(f"{path}: not the state of a working copy ({error}); delete {path.parent}") from error
    if state.url != url:
        raise InputError(f"{path}: belongs to {state.url}, not to {url}; delete {path.parent}")
    return state


def write_state(path: Path, state: CopyState) -> None:
    """Keep what a working copy remembers."""
    write_json(path, state)
