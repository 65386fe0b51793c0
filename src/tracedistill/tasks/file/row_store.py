"""The rows of a large file in little memory: compressed in blocks, one of which is unpacked at a time."""

from __future__ import annotations

import itertools
import operator
import pickle
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from typing import Any

from tracedistill.tasks.file.row import RawRow

BLOCK = 512
"""Rows of a block."""
_cells = operator.attrgetter(*(item.name for item in fields(RawRow)))


class PackedRows:
    """Rows that are appended in order and can be read in any order, fastest in file order."""

    def __init__(self) -> None:
        self.change: Callable[[RawRow], RawRow] = lambda row: row
        """Conversion of each row on reading, set when the whole file is known."""
        self._blocks: list[bytes] = []
        self._open: list[Any] = []
        self._last: tuple[int, Sequence[Any]] = (-1, ())

    def append(self, row: RawRow) -> None:
        """Add a row."""
        self._open.append(_cells(row))
        if len(self._open) == BLOCK:
            self._blocks.append(zlib.compress(pickle.dumps(self._open, pickle.HIGHEST_PROTOCOL), 1))
            self._open = []

    def __len__(self) -> int:
        return BLOCK * len(self._blocks) + len(self._open)

    def __getitem__(self, place: int) -> RawRow:
        block, at = divmod(place, BLOCK)
        if block == len(self._blocks):
            return self.change(RawRow(*self._open[at]))
        if self._last[0] != block:
            self._last = block, pickle.loads(zlib.decompress(self._blocks[block]))  # noqa: S301 - our own bytes
        return self.change(RawRow(*self._last[1][at]))

    def __iter__(self) -> Iterator[RawRow]:
        return map(self.__getitem__, range(len(self)))

    def first(self, n: int) -> list[RawRow]:
        """Return the first n rows."""
        return list(itertools.islice(self, n))
