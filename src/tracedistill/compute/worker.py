"""A worker process: it answers items one at a time until its socket, given as argument, is closed."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Literal

from tracedistill.errors import InputError

Answer = tuple[Literal["done", "refused", "failed"], Any]
"""(`done`, result), (`refused`, the message of an InputError) or (`failed`, traceback)."""


class OpenJob:
    """The job that this process has open; a new one replaces it."""

    def __init__(self) -> None:
        self._packed = b""
        self._work: Callable[[Any], Any] | None = None

    def answer(self, packed: bytes, item: Any) -> Answer:
        """Run a pickled job on an item; no exception escapes."""
        try:
            if self._work is None or packed != self._packed:
                self._work = pickle.loads(packed).open()  # noqa: S301 - from the process that this one works for
                self._packed = packed
            return "done", self._work(item)
        except InputError as error:
            return "refused", str(error)
        except Exception:  # raised again where the results are consumed
            return "failed", traceback.format_exc()


def result_of(answer: Answer) -> Any:
    """Return the result. Raises InputError if the item was refused, RuntimeError if it failed."""
    kind, value = answer
    if kind == "refused":
        raise InputError(value)
    if kind == "failed":
        raise RuntimeError(f"a process of tracedistill failed:\n{value}")
    return value


def serve(connection: Connection) -> None:
    """Answer items until the socket ends."""
    opened, packed = OpenJob(), b""
    with contextlib.suppress(EOFError, ConnectionResetError, BrokenPipeError):  # the parent has ended
        while True:
            kind, content = connection.recv()
            if kind == "open":
                packed = content
            else:
                connection.send(opened.answer(packed, content))


def main() -> None:
    """Serve the socket whose number is the argument, and end the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent ends this one
    with Connection(int(sys.argv[1])) as connection:
        serve(connection)
    sys.stdout.flush()
    os._exit(0)  # skip cleanup: what a library holds (a symbolic checker's process ends with its pipe) needs none
