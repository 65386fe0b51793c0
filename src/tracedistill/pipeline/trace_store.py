"""Traces and rows that a stage reads several times, with a few bytes of memory for each."""

from __future__ import annotations

import pickle
import tempfile
import weakref
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar, cast, overload

from tracedistill.errors import InputError
from tracedistill.records import Trace

T = TypeVar("T")

HELD = 16 * 2**20
"""Most bytes of traces that a store keeps in memory."""
_FRAME = 1_000  # bytes of a trace in memory beside its text


class TraceStore(Mapping[str, Trace]):
    """One trace for each of some problems, in the problems' order.

    If they do not fit into memory, they are kept in an unnamed temporary file, which ends with the process.
    """

    def __init__(
        self, order: Mapping[str, int], traces: Iterable[Trace] = (), folder: str | Path | None = None
    ) -> None:
        """Keep the first trace of each problem. `order`: problem id -> its position; other problems are left out.

        `folder`: where to put the temporary file; the system's default if None or not writable. Raises InputError if
        the disk is full.
        """
        self._folder = folder
        self.order = order
        """Problem id -> position."""
        self._held: dict[str, Trace] | None = {}
        self._starts = array("q")
        self._count = self._size = 0
        for trace in traces:
            if trace.problem_id in order and trace.problem_id not in self:
                self._put(trace)

    def _put(self, trace: Trace) -> None:
        self._count += 1
        if self._held is None:
            self._write(trace)
            return
        self._held[trace.problem_id] = trace
        self._size += _FRAME + 4 * len(trace.text)
        if self._size > HELD:
            held, self._held, self._size = self._held, None, 0
            self._starts = array("q", [-1]) * len(self.order)
            self._file = _nameless(self._folder)
            weakref.finalize(self, self._file.close)
            for earlier in held.values():
                self._write(earlier)

    def _write(self, trace: Trace) -> None:
        data = pickle.dumps(trace, pickle.HIGHEST_PROTOCOL)
        try:
            self._file.seek(self._size)
            self._file.write(data)
        except OSError as error:
            raise InputError(
                f"cannot keep traces on the disk: {error.strerror}; free some space and run again"
            ) from error
        self._starts[self.order[trace.problem_id]] = self._size
        self._size += len(data)

    def __getitem__(self, problem_id: str) -> Trace:
        if self._held is not None:
            return self._held[problem_id]
        if problem_id not in self:
            raise KeyError(problem_id)
        self._file.seek(self._starts[self.order[problem_id]])
        trace: Trace = pickle.load(self._file)  # noqa: S301 - written by this very object
        return trace

    def __contains__(self, problem_id: object) -> bool:
        if self._held is not None:
            return problem_id in self._held
        place = self.order.get(str(problem_id))
        return place is not None and self._starts[place] >= 0

    def __iter__(self) -> Iterator[str]:
        return (problem_id for problem_id in self.order if problem_id in self)

    def __len__(self) -> int:
        return self._count


def _nameless(folder: str | Path | None) -> BinaryIO:
    try:
        return cast(BinaryIO, tempfile.TemporaryFile(dir=folder))
    except OSError:  # another user's study, which is only read
        return cast(BinaryIO, tempfile.TemporaryFile())


class LazyRows(Sequence[T], Generic[T]):
    """Rows that are made on each access; sent to another process as a list."""

    def __init__(self, keys: Sequence[str], row_of: Callable[[str], T]) -> None:
        self.keys = keys
        """The problems' ids."""
        self._row_of = row_of

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> LazyRows[T]: ...
    def __getitem__(self, place: int | slice) -> T | LazyRows[T]:
        if isinstance(place, slice):
            return LazyRows(self.keys[place], self._row_of)
        return self._row_of(self.keys[place])

    def __len__(self) -> int:
        return len(self.keys)

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (list(self),)
