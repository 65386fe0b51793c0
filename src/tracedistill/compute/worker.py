"""The main loop of a worker process: it answers items one at a time until its socket is closed."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from tracedistill.compute.jobs import Job
from tracedistill.errors import InputError

Answer = tuple[Literal["done", "refused", "failed"], Any]
"""(`done`, result), (`refused`, the message of an InputError) or (`failed`, traceback)."""
Packed = tuple[bytes, list[str]]
"""A pickled job, and where its process finds modules."""


def pack(job: Job[Any, Any]) -> Packed:
    """Pack a job for processes on other machines, which find a user's own task where this one finds it."""
    return pickle.dumps(job), [entry or str(Path.cwd()) for entry in sys.path]


class OpenJob:
    """The job that is open in this process; a new one replaces it."""

    def __init__(self) -> None:
        self._packed = b""
        self._work: Callable[[Any], Any] | None = None

    def answer(self, packed: bytes, item: Any) -> Answer:
        """Run a pickled job on an item; no exception escapes."""
        try:
            if self._work is None or packed != self._packed:
                self._work = pickle.loads(packed).open()  # noqa: S301 - from the parent process
                self._packed = packed
            return "done", self._work(item)
        except InputError as error:
            return "refused", str(error)
        except Exception:  # `result_of` raises it again
            return "failed", traceback.format_exc()

    def answer_packed(self, job: Packed, item: Any) -> Answer:
        """Run a packed job on an item."""
        packed, path = job
        sys.path.extend(entry for entry in path if entry not in sys.path)
        return self.answer(packed, item)


def result_of(answer: Answer) -> Any:
    """Return the result. Raises InputError if the item was refused, RuntimeError if it failed."""
    kind, value = answer
    if kind == "refused":
        raise InputError(value)
    if kind == "failed":
        raise RuntimeError(f"a process of tracedistill failed:\n{value}")
    return value


def main() -> None:
    """Answer items from the socket whose number is the argument until it closes, then end the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent ends this one
    opened, packed = OpenJob(), b""
    # a closed socket means that the parent has ended
    with Connection(int(sys.argv[1])) as connection, contextlib.suppress(EOFError, ConnectionError):
        while True:
            kind, content = connection.recv()
            if kind == "open":
                packed = content
            else:
                connection.send(opened.answer(packed, content))
    sys.stdout.flush()
    os._exit(0)  # without cleanup, which no library needs (a symbolic checker's process ends with its pipe)
