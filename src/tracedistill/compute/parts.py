"""Parts of a JSON Lines file: ranges of rows that can be read independently.

The cuts depend on the file alone, not on cores or machines, so finished parts stay valid when a run continues with more
cores, or elsewhere.
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
"""Rows per part: at most half a second of judging, and about a megabyte."""


@dataclass(frozen=True, slots=True)
class Part:
    """A range of whole lines."""

    number: int
    """Index among all parts, from 0."""
    path: Path
    start: int
    """Byte offset of its first line."""
    first: int
    """Lines before it."""
    rows: int

    def __str__(self) -> str:
        return f"rows {self.first + 1} to {self.first + self.rows} of {self.path}"

    def records(self, kind: type[T]) -> Iterator[T]:
        """Read its records. Raises InputError that names file and line if a record is invalid."""
        return read_jsonl(self.path, kind, skip=self.first, start=self.start, count=self.rows)


def cut(*paths: Path) -> list[Part]:
    """Cut files into parts of ROWS rows, in order. Raises InputError if one cannot be read."""
    parts: list[Part] = []
    for path in paths:
        start = end = first = count = 0
        try:
            with path.open("rb") as stream:
                for line in stream:
                    end += len(line)
                    count += 1
                    if count == ROWS:
                        parts.append(Part(len(parts), path, start, first, count))
                        start, first, count = end, first + count, 0
        except FileNotFoundError as error:
            raise InputError(f"{path}: no such file") from error
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from error
        if count:
            parts.append(Part(len(parts), path, start, first, count))
    return parts


def chunks(items: Sequence[T]) -> list[Sequence[T]]:
    """Cut a sequence in memory into pieces of ROWS items."""
    return [items[start : start + ROWS] for start in range(0, len(items), ROWS)]
