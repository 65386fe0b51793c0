"""The process that runs math-verify: started as a script, it knows nothing of the rest of the package.

A server imports math-verify once and forks a child that does the work. A child that hangs or outgrows its memory is
killed and the next one is forked in milliseconds, so that no input pays for the one before it. Requests and replies
are JSON lines: `{"gold", "prediction", "seconds", "whole"}` and `{"outcome", "reason"}`, outcome being equal,
different, unparsed-gold, unparsed-prediction, timeout, memory or error.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import logging
import os
import resource
import select
import signal
import sys
import time
from typing import Any

EXTRA_BYTES = 512 * 1024 * 1024
"""Address space that one comparison may take beyond what the imports take."""
RENEW_AFTER = 2000
"""Requests after which a child is replaced, because symbolic caches grow."""

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Ask the kernel (Linux) to end this process when its parent ends; elsewhere a closed pipe has to do."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def compare(gold: str, prediction: str) -> tuple[str, str]:
    """Outcome and reason for one pair of expressions, without any time limit of its own."""
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

    config = (LatexExtractionConfig(boxed_match_priority=0), ExprExtractionConfig())
    # the first element is the parsed expression; a lone string means that nothing could be parsed
    wanted = parse(f"${gold}$", extraction_config=config, parsing_timeout=None)
    if not wanted or all(isinstance(part, str) for part in wanted):
        return "unparsed-gold", "math-verify cannot parse the gold"
    found = parse(f"${prediction}$", extraction_config=config, parsing_timeout=None)
    if not found or all(isinstance(part, str) for part in found):
        return "unparsed-prediction", "math-verify cannot parse the answer"
    same = verify(wanted, found, timeout_seconds=None, allow_set_relation_comp=True)
    return ("equal" if same else "different"), "math-verify"


def compare_texts(gold: str, text: str) -> tuple[str, str]:
    """The verdict of math-verify by itself: its own extraction out of a whole output, its own comparison."""
    from math_verify import parse, verify

    found = parse(text, parsing_timeout=None)
    if not found:
        return "unparsed-prediction", "math-verify finds no answer"
    same = verify(parse(gold, parsing_timeout=None), found, timeout_seconds=None)
    return ("equal" if same else "different"), "math-verify"


def reply(line: bytes) -> dict[str, str]:
    """Answer one request; no exception leaves it."""
    try:
        request: dict[str, Any] = json.loads(line)
        judge = compare_texts if request.get("whole") else compare
        outcome, reason = judge(str(request["gold"]), str(request["prediction"]))
    except MemoryError:
        return {"outcome": "memory", "reason": "comparison needs more than 512 MB"}
    except RecursionError:
        return {"outcome": "error", "reason": "expression is nested too deeply"}
    except Exception as error:  # an answer may break the symbolic library in any way; that is a finding, not a crash
        return {"outcome": "error", "reason": f"math-verify failed: {type(error).__name__}"}
    return {"outcome": outcome, "reason": reason}


def _address_space() -> int:
    try:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123  (no package imports here)
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 2 * 1024**3


def _work(requests: int, replies: int) -> None:
    die_with_parent()
    limit = _address_space() + EXTRA_BYTES
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with os.fdopen(requests, "rb") as source:
        for _ in range(RENEW_AFTER):
            line = source.readline()
            if not line:
                break
            answer = reply(line)
            os.write(replies, json.dumps(answer).encode() + b"\n")
            if answer["outcome"] == "memory":
                break


class Child:
    """One forked worker and the pipes to it."""

    def __init__(self) -> None:
        request_read, self.requests = os.pipe()
        self.replies, reply_write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                os.close(self.requests)
                os.close(self.replies)
                _work(request_read, reply_write)
                code = 0
            finally:
                os._exit(code)
        os.close(request_read)
        os.close(reply_write)

    def ask(self, line: bytes, seconds: float) -> bytes | None:
        """The reply, or None after `seconds`; empty where the worker died."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self.requests, line)
        deadline = time.monotonic() + seconds
        received = b""
        while not received.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.replies], [], [], left)[0]:
                return None
            piece = os.read(self.replies, 65536)
            if not piece:
                return b""
            received += piece
        return received

    def end(self) -> None:
        """Kill and reap."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.requests)
        os.close(self.replies)


def serve() -> None:
    """Answer requests from standard input until it closes.

    The server ends with its input, not by a death signal: that would follow the thread which started it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.disable(logging.CRITICAL)
    compare("x+1", "1+x")  # imports and warms up before the first fork
    out = sys.stdout.buffer
    out.write(b'{"outcome": "ready"}\n')
    out.flush()
    child: Child | None = None
    served = 0
    for line in sys.stdin.buffer:
        seconds = float(json.loads(line)["seconds"])
        if child is None:
            child, served = Child(), 0
        answer = child.ask(line, seconds)
        served += 1
        if not answer:
            child.end()
            child = None
            kind = "timeout" if answer is None else "memory"
            reason = f"no verdict within {seconds:.1f} s" if answer is None else "the comparison ended its worker"
            answer = json.dumps({"outcome": kind, "reason": reason}).encode() + b"\n"
        elif served >= RENEW_AFTER or b'"memory"' in answer:
            child.end()
            child = None
        out.write(answer)
        out.flush()
    if child is not None:
        child.end()


if __name__ == "__main__":
    serve()
