"""This side of the symbolic worker: one process per judging process, started when first needed, bounded in time."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tracedistill.answers.worker import PATIENCE

MAX_CHARS = 1500
"""Longer expressions are not given to the symbolic library."""
MAX_TEXT = 20_000
"""Characters at the end of an output that the library extracts from by itself."""
_START_SECONDS = 60.0
_GRACE_SECONDS = 0.4
_REMEMBERED = 4096


class SymbolicComparison(NamedTuple):
    """The symbolic library's result for a pair."""

    outcome: str
    """equal, different, unparsed-gold, unparsed-prediction, timeout, memory or error."""
    reason: str
    """One short sentence."""
    seconds: float = 0.0
    """Core seconds used; 0 for a cached result."""


@dataclass(slots=True)
class SymbolicBudget:
    """The remaining symbolic work allowed for one judged row."""

    left: float
    """Core seconds."""

    def compare(self, gold: str, prediction: str) -> SymbolicComparison:
        """Compare two expressions within what is left, and take off what it costs."""
        finding = WORKER.compare(gold, prediction, self.left)
        self.left -= finding.seconds
        return finding


class SymbolicWorker:
    """A guarded process that compares expressions; safe to share between threads, never shared between processes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._asked = 0
        self._known: OrderedDict[tuple[str, str], SymbolicComparison] = OrderedDict()

    def compare(self, gold: str, prediction: str, seconds: float) -> SymbolicComparison:
        """Compare two expressions within `seconds` of a core; starting the process is not counted."""
        if len(gold) > MAX_CHARS or len(prediction) > MAX_CHARS:
            return SymbolicComparison("error", f"expression is longer than {MAX_CHARS} characters")
        if seconds <= 0.01:
            return SymbolicComparison("timeout", "the time for this row is used up")
        with self._lock:
            pair = (gold, prediction)
            known = self._known.get(pair)
            if known is not None:
                return known._replace(seconds=0.0)
            finding = self._ask(gold, prediction, seconds)
            if finding.outcome != "timeout":
                self._known[pair] = finding
                if len(self._known) > _REMEMBERED:
                    self._known.popitem(last=False)
            return finding

    def compare_texts(self, gold: str, text: str, seconds: float) -> SymbolicComparison:
        """Compare whole outputs by math-verify, its own extraction included."""
        with self._lock:
            return self._ask(gold, text[-MAX_TEXT:], seconds, whole=True)

    def _ask(self, gold: str, prediction: str, seconds: float, *, whole: bool = False) -> SymbolicComparison:
        process = self._started()
        if process is None or process.stdin is None:
            return SymbolicComparison("error", "the symbolic worker does not start (is math-verify installed?)")
        self._asked += 1
        request = {
            "number": self._asked, "gold": gold, "prediction": prediction, "seconds": seconds, "whole": whole
        }  # fmt: skip
        try:
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
            answer = self._read(process, PATIENCE * seconds + _GRACE_SECONDS, self._asked)
        except OSError:
            self._end()
            return SymbolicComparison("error", "the symbolic worker is gone; the next comparison starts another")
        except BaseException:
            self._end()  # an interruption leaves a reply in the pipe: the next comparison must not read it
            raise
        if answer is None:
            self._end()
            return SymbolicComparison("timeout", f"no verdict within {seconds:.1f} s", seconds)
        outcome, reason = str(answer.get("outcome", "error")), str(answer.get("reason", ""))
        return SymbolicComparison(outcome, reason, float(answer.get("spent", seconds)))

    def _started(self) -> subprocess.Popen[bytes] | None:
        if self._process is not None and self._owner != os.getpid():
            self._process = None  # inherited through a fork: it belongs to the parent, whose pipes are not ours to use
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._end()
        script = Path(__file__).with_name("worker.py")
        # -P keeps this folder off the import path: its modules are not the worker's
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", "-W", "ignore", str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._owner = os.getpid()
        if self._read(self._process, _START_SECONDS) is None:
            self._end()
        return self._process

    def _read(self, process: subprocess.Popen[bytes], seconds: float, number: int = 0) -> dict[str, Any] | None:
        """Return the reply with this number, or None if none came in time or the process ended.

        Replies to abandoned requests are skipped.
        """
        assert process.stdout is not None
        descriptor = process.stdout.fileno()
        deadline = time.monotonic() + seconds
        received = b""
        while True:
            line, end, rest = received.partition(b"\n")
            if end:
                answer: dict[str, Any] = json.loads(line)
                if answer.get("number", 0) == number:
                    return answer
                received = rest
                continue
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([descriptor], [], [], left)[0]:
                return None
            piece = os.read(descriptor, 65536)
            if not piece:
                return None
            received += piece

    def close(self) -> None:
        """End the process; the next comparison starts another."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None or self._owner != os.getpid():
            return
        with contextlib.suppress(OSError):
            process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


WORKER = SymbolicWorker()
"""The one worker of this process."""
atexit.register(WORKER.close)
