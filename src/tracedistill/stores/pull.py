"""Make a working copy equal to the store, so that another machine continues where this or another one ended."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from tracedistill.errors import InputError
from tracedistill.files import disk_error, file_hash
from tracedistill.stores.copies import WorkingCopy
from tracedistill.stores.listing import (
    DATABASES,
    INDEX,
    OWN,
    CopyState,
    Entry,
    Index,
    Stamp,
    is_mark,
    read_index,
    same,
    scan,
)
from tracedistill.stores.objects import ObjectStore

Say = Callable[[str], object]
"""Prints a line."""
TRIES = 5
"""Readings of an index that a driver replaces meanwhile."""
AT_ONCE = 8
"""Objects on their way at the same time."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """Result of a pull."""

    index: Index
    """The store's index."""
    changed: int = 0
    """Files of the working copy that were written or removed."""


def read_remote(objects: ObjectStore, copy: WorkingCopy) -> Index:
    """Read the store's index. Raises InputError if the place holds something else."""
    content = objects.read(INDEX)
    if content is not None:
        return read_index(content, f"{copy.url}/{INDEX}")
    if other := next((name for name in objects.names() if name != OWN), None):
        raise InputError(
            f"{copy.url}: holds '{other}' but no {INDEX}, so it is not a run folder; set another run_dir. To continue "
            f"a local run in a store, copy its files to {copy.folder} and name an empty place"
        )
    return Index()


def pull(copy: WorkingCopy, objects: ObjectStore, say: Say) -> Pulled:
    """Fetch what the store has and the working copy lacks or has otherwise; remove what the store no longer has.

    Work of a run that died here before all of it was in the store is kept. If another machine has continued since, the
    store's files count, and that work is set aside. Raises InputError if an object is not what the index says.
    """
    for _ in range(TRIES):
        index, state = read_remote(objects, copy), copy.state()
        if state.driver:
            if _is_own(state, index):
                copy.keep(replace(state, index=index))
                return Pulled(index)
            _set_aside(copy, state, index, say)
            state = replace(state, driver="")
        pulled = _equalised(copy, objects, index, state, say)
        if pulled is not None:
            return pulled
    raise InputError(f"{copy.url}: changes faster than it can be read; run the command again")


def _is_own(state: CopyState, index: Index) -> bool:
    """Return whether nobody else has written to the store since the run that died here."""
    known = state.index
    return index.writer == state.driver or (index.version, index.writer) == (known.version, known.writer)


def _equalised(copy: WorkingCopy, objects: ObjectStore, index: Index, state: CopyState, say: Say) -> Pulled | None:
    """Make the copy equal to the index; None if the index was replaced meanwhile."""
    local = scan(copy.folder)
    wanted = {name: _contents(index, name) for name in {**index.files, **index.pending}}
    obtained = {name: entry for name, entries in wanted.items() if (entry := _here(copy, name, local, entries))}
    removed = [name for name in state.index.known if name in local and name not in wanted]
    lacking = [name for name in wanted if name not in obtained]
    if not removed and not lacking:
        if index != state.index or state.driver:
            copy.keep(replace(state, index=index, driver=""))
        return Pulled(index)
    if lacking:
        say(f"fetching {len(lacking)} files from {copy.url}")
    for name in removed:
        _remove(copy, name)
    faults: dict[str, int] = {}
    incoming = copy.scratch("incoming")
    try:
        for names in ([n for n in lacking if not is_mark(n)], [n for n in lacking if is_mark(n)]):
            with ThreadPoolExecutor(AT_ONCE) as pool:
                sizes = pool.map(lambda job: _fetch(copy, objects, job[1], wanted[job[1]], incoming / str(job[0])),
                                 enumerate(names))  # fmt: skip
                faults |= {name: size for name, size in zip(names, sizes, strict=True) if size is not None}
            if faults:
                break  # marks of files that were not obtained must not be seen
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
    changed = len(lacking) - len(faults) + len(removed)
    if faults:
        now = read_remote(objects, copy)
        if (now.version, now.writer) != (index.version, index.writer):
            return None
        if wrong := [name for name, size in faults.items() if size >= 0 and name not in index.pending]:
            raise InputError(_refusal(copy, wrong, index, faults[wrong[0]]))
        for name, size in faults.items():
            _remove(copy, name)
            # else a driver died while it replaced the object: what depends on it has no manifest, and is made again
            told = state.index.version == index.version and name not in state.index.files
            if size < 0 and name not in index.pending and not told:
                say(f"{copy.url}/{name} is missing; it will be made again")
        index = replace(index, files=_without(index.files, faults), pending=_without(index.pending, faults))
        rest = _equalised(copy, objects, index, state, say)
        return None if rest is None else replace(rest, changed=rest.changed + changed)
    copy.keep(replace(state, index=index, driver=""))
    return Pulled(index, changed)


def _contents(index: Index, name: str) -> list[Entry]:
    return [entries[name] for entries in (index.files, index.pending) if name in entries]


def _without(entries: Mapping[str, Entry], names: Iterable[str]) -> dict[str, Entry]:
    return {name: entry for name, entry in entries.items() if name not in set(names)}


def _here(copy: WorkingCopy, name: str, local: Mapping[str, Stamp], entries: Iterable[Entry]) -> Entry | None:
    """Return the content that a local file has, of those the store's object may have."""
    stamp = local.get(name)
    for entry in entries:
        if same(name, stamp, entry):
            return entry
    if stamp is None or name.endswith(DATABASES):
        return None
    for entry in entries:
        if stamp.bytes == entry.bytes and file_hash(copy.folder / name) == entry.sha256:
            os.utime(copy.folder / name, ns=(entry.mtime_ns, entry.mtime_ns))
            return entry
    return None


def _fetch(copy: WorkingCopy, objects: ObjectStore, name: str, entries: Iterable[Entry], incoming: Path) -> int | None:
    """Put an object in its place if it has one of these contents; else return its size, -1 if there is none."""
    try:
        if not objects.download(name, incoming):
            return -1
        content = file_hash(incoming)
        entry = next((entry for entry in entries if entry.sha256 == content), None)
        if entry is None:
            return incoming.stat().st_size
        target = copy.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        _drop_logs(target)
        os.utime(incoming, ns=(entry.mtime_ns, entry.mtime_ns))
        incoming.replace(target)
    except OSError as error:
        raise disk_error(copy.folder / name, error) from error
    return None


def _remove(copy: WorkingCopy, name: str) -> None:
    path = copy.folder / name
    path.unlink(missing_ok=True)
    _drop_logs(path)
    for folder in path.parents:
        if folder == copy.folder or any(folder.iterdir()):
            return
        folder.rmdir()


def _drop_logs(database: Path) -> None:
    """Remove the logs of a database that is replaced or removed, which belong to its earlier content."""
    if database.name.endswith(DATABASES):
        for ending in ("-wal", "-shm"):
            database.with_name(f"{database.name}{ending}").unlink(missing_ok=True)


def _refusal(copy: WorkingCopy, wrong: Sequence[str], index: Index, size: int) -> str:
    entry = index.files[wrong[0]]
    others = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    return (
        f"{copy.url}/{wrong[0]}{others}: is not what was written there: it has {size} bytes, and the index has "
        f"{entry.bytes} bytes of sha256 {entry.sha256[:12]}. Restore the object, or delete it to make it again"
    )


def _set_aside(copy: WorkingCopy, state: CopyState, index: Index, say: Say) -> None:
    """Move away the work of a run that died here, after another machine has continued without it."""
    place = copy.beside / time.strftime("set-aside-%Y%m%d-%H%M%S")
    moved = 0
    for name, stamp in scan(copy.folder).items():
        if same(name, stamp, state.index.files.get(name)) or same(name, stamp, index.files.get(name)):
            continue
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (copy.folder / name).replace(place / name)
        for ending in ("-wal", "-shm") if name.endswith(DATABASES) else ():
            log = copy.folder / f"{name}{ending}"
            if log.exists():
                log.replace(place / f"{name}{ending}")
        moved += 1
    if moved:
        say(
            f"{copy.url}: another machine has continued since a run ended here before its files were sent; {moved} of "
            f"them are now in {place}"
        )
