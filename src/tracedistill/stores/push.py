"""Make the store equal to the working copy, in an order that a reader or a crash at any moment finds sound.

New objects count once the index names them. Before an object is replaced, the index names its old and new content.
Marks (manifests, marks of checkpoints) are removed before what they describe is replaced, and sent last.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from tracedistill.errors import InputError
from tracedistill.files import disk_error
from tracedistill.stores.copies import WorkingCopy
from tracedistill.stores.listing import INDEX, Entry, Index, Stamp, index_bytes, is_mark, read_index, same, scan
from tracedistill.stores.objects import ObjectStore
from tracedistill.stores.pull import AT_ONCE
from tracedistill.stores.snapshots import snapshot

FILES, BYTES = 64, 1 << 30
"""Most files, and about the most bytes, that are copied out of the run folder at a time."""


class LostError(InputError):
    """Another driver has written to the store."""


class Pusher:
    """Sends what has changed in a working copy to its store, for one driver. Not safe to use from several threads."""

    def __init__(self, copy: WorkingCopy, objects: ObjectStore, index: Index, driver: str) -> None:
        self._copy, self._objects, self._index, self._driver = copy, objects, index, driver
        if not index.version:
            self._write({}, {}, ())  # from here on the place holds a run folder, whatever happens next

    def unsent(self) -> int:
        """Return about how many bytes the next push sends."""
        files = self._index.files
        return sum(
            stamp.bytes for name, stamp in scan(self._copy.folder).items() if not same(name, stamp, files.get(name))
        )

    def push(self) -> None:
        """Send what has changed since the last push, and delete what is gone.

        What is being written at this moment is sent as it is, without a mark. Raises StoreError if the store fails:
        the next push continues. Raises LostError if another driver has written to the store.
        """
        before = scan(self._copy.folder)
        known = self._index
        changed = [name for name, stamp in before.items() if not same(name, stamp, known.files.get(name))]
        gone = tuple(name for name in sorted(known.known) if name not in before)
        if not changed and not gone:
            return
        self._check()
        files = {name: entry for name, entry in known.files.items() if name in before}
        marks = [name for name in changed if is_mark(name)]
        for name in marks:
            files.pop(name, None)
        if old := [name for name in (*marks, *gone) if is_mark(name) and name in known.known]:
            self._write(files, {}, gone)
            self._objects.delete(old)  # whoever reads the objects without the index finds no mark of other files either
        outgoing = self._copy.scratch("outgoing")
        try:
            for names in _groups([name for name in changed if not is_mark(name)], before):
                self._send(names, outgoing, files, gone)
            after = scan(self._copy.folder)
            emptied = {_folder(name) for name in before if name not in after}
            # unchanged from the first look to the last: so is what it describes
            settled = [name for name in marks if after.get(name) == before[name] and _folder(name) not in emptied]
            self._send(settled, outgoing, files, gone)
        finally:
            shutil.rmtree(outgoing, ignore_errors=True)
        self._write(files, {}, gone)
        self._objects.delete(gone)
        self._index = replace(self._index, gone=())

    def _send(self, names: Sequence[str], outgoing: Path, files: dict[str, Entry], gone: tuple[str, ...]) -> None:
        """Send these files as they are now, and add them to `files`."""
        copies, entries = dict[str, Path](), dict[str, Entry]()
        for number, name in enumerate(names):
            target = outgoing / str(number)
            try:
                entry = snapshot(self._copy.folder / name, target)
            except OSError as error:
                raise disk_error(target, error) from error
            if entry is not None:
                entries[name], before = entry, self._index.files.get(name)
                if before is None or before.sha256 != entry.sha256:
                    copies[name] = target
            else:
                files.pop(name, None)
        replaced = {name: entries[name] for name in copies if name in self._index.known}
        if replaced:
            self._write(files, replaced, gone)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for _ in pool.map(self._objects.upload, copies.values(), copies):
                pass
        files |= entries
        for target in copies.values():
            target.unlink(missing_ok=True)

    def _check(self) -> None:
        """Raise LostError if the index is not the one that this driver wrote last."""
        content = self._objects.read(INDEX)
        if content is None:
            raise LostError(f"{self._copy.url}: {INDEX} was deleted while this run used it")
        now, mine = read_index(content, f"{self._copy.url}/{INDEX}"), self._index
        if now.writer != self._driver and (now.version, now.writer) != (mine.version, mine.writer):
            raise LostError(
                f"{self._copy.url}: another run has written there; this one's files stay in {self._copy.folder}"
            )

    def _write(self, files: Mapping[str, Entry], pending: Mapping[str, Entry], gone: Sequence[str]) -> None:
        index = Index(
            version=self._index.version + 1,
            writer=self._driver,
            files=dict(files),
            pending=dict(pending),
            gone=tuple(name for name in gone if name not in files and name not in pending),
        )
        self._objects.write(INDEX, index_bytes(index))
        self._index = index
        self._copy.keep(replace(self._copy.state(), index=index, driver=self._driver))


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _groups(names: Sequence[str], stamps: Mapping[str, Stamp]) -> Iterator[list[str]]:
    """Split files into groups of at most FILES, and of about BYTES."""
    group, size = list[str](), 0
    for name in names:
        group.append(name)
        size += stamps[name].bytes
        if len(group) == FILES or size >= BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group
