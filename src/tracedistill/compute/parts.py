"""A file of JSON Lines cut into ranges of rows, each of which can be read by itself.

The cuts depend on the file alone, not on cores or machines: so parts that are ready stay ready when a run continues
with more cores, or elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tracedistill.errors import InputError
from tracedistill.files import read_jsonl

T = TypeVar("T")

ROWS = 250
"""Rows of a part: half a second of judging or less, and about a megabyte."""


@dataclass(frozen=True, slots=True)
class Part:
    """A range of whole lines."""

    number: int
    """Its place among all parts, from 0."""
    path: Path
    """The file."""
    start: int
    """The byte at which its first line begins."""
    first: int
    """How many lines lie before it."""
    rows: int
    """How many lines it has."""

    def __str__(self) -> str:
        return f"rows {self.first + 1} to {self.first + self.rows} of {self.path}"

    def records(self, kind: type[T]) -> Iterator[T]:
        """Read its records. Raises InputError, which names file and line, for what is not a record of this class."""
        return read_jsonl(self.path, kind, skip=self.first, start=self.start, count=self.rows)


def cut(*paths: Path) -> list[Part]:
    """Cut files into parts of ROWS rows, in their order. Raises InputError if one cannot be read."""
    parts: list[Part] = []
    for path in paths:
        _cut(path, ROWS, parts)
    return parts


def chunks(items: Sequence[T]) -> list[Sequence[T]]:
    """Cut what is in memory into pieces of ROWS items."""
    return [items[start : start + ROWS] for start in range(0, len(items), ROWS)]


def _cut(path: Path, rows: int, parts: list[Part]) -> None:
    start = end = first = count = 0
    try:
        with path.open("rb") as stream:
            for line in stream:
                end += len(line)
                count += 1
                if count == rows:
                    parts.append(Part(len(parts), path, start, first, count))
                    start, first, count = end, first + count, 0
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    if count:
        parts.append(Part(len(parts), path, start, first, count))
