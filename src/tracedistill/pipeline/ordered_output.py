"""Put results that arrive in any order back in order, with a few bytes of memory for each."""

from __future__ import annotations

import contextlib
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from tracedistill.files import disk_error


class OrderedOutput:
    """A temporary file beside the output. It is deleted on closing, since the cache has every answer.

    `put` stores lines of text with their position; `lines` returns those of one kind in order.
    """

    def __init__(self, beside: Path) -> None:
        self.path = beside.with_name(f".{beside.name}.spool")
        self._starts = array("q")  # position -> start of its line, or -1
        self._end = 0
        self._stream: BinaryIO | None = None

    def __enter__(self) -> OrderedOutput:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._stream = self.path.open("w+b")
        except OSError as error:
            raise disk_error(self.path, error) from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            self._stream.close()
        self.path.unlink(missing_ok=True)

    def put(self, place: int, kind: str, line: str) -> None:
        """Store a line without its end; `kind` is one letter. Raises InputError if the disk is full."""
        assert self._stream is not None
        while len(self._starts) <= place:
            self._starts.append(-1)
        self._starts[place] = self._end
        data = f"{kind}{line}\n".encode()
        try:
            self._stream.write(data)
        except OSError as error:
            raise disk_error(self.path, error) from error
        self._end += len(data)

    def lines(self, kind: str) -> Iterator[str]:
        """Yield the lines of a kind in order, each with its end."""
        assert self._stream is not None
        wanted = ord(kind)
        for start in self._starts:
            if start >= 0:
                self._stream.seek(start)
                data = self._stream.readline()
                if data[0] == wanted:
                    yield data[1:].decode()


class ResumeMark:
    """Progress of a run, stored beside its output, so that the next one resumes there.

    Earlier positions are still processed, at the end.
    """

    def __init__(self, beside: Path) -> None:
        self.path = beside.with_name(f".{beside.name}.place")

    def read(self) -> int:
        """Return the stored number, or 0."""
        try:
            return max(0, int(self.path.read_text(encoding="ascii")))
        except (OSError, ValueError):
            return 0

    def note(self, number: int) -> None:
        """Store a number; a full disk is reported elsewhere."""
        with contextlib.suppress(OSError):
            self.path.write_text(str(number), encoding="ascii")

    def remove(self) -> None:
        """Remove the mark when the work is done."""
        self.path.unlink(missing_ok=True)
