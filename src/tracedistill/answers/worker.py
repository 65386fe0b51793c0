"""The process that runs math-verify: started as a script, it knows nothing of the rest of the package.

A server imports math-verify once and forks a child that does the work. A child that hangs or outgrows its memory is
killed and the next one is forked in milliseconds, so that no input pays for the one before it. Requests and replies
are JSON lines: `{"number", "gold", "prediction", "seconds", "whole"}` and `{"number", "outcome", "reason"}`, outcome
being equal, different, unparsed-gold, unparsed-prediction, timeout, memory or error. A reply bears the number of its
request.

An expression counts as parsed only where the parser consumed all of it, and symbols keep their case. What math-verify
calls equal is then evaluated at higher precision: its absolute tolerance takes 2^-60 and 2^-61 for one number.
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
PATIENCE = 1.5
"""Factor by which a comparison may exceed its seconds by the clock if a busy machine gives it no core: verdicts must
not depend on other load."""
RENEW_AFTER = 2000
"""Requests after which a child is replaced, because symbolic caches grow."""

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Ask the kernel (Linux) to end this process when its parent ends; elsewhere a closed pipe does that."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def compare(gold: str, prediction: str) -> tuple[str, str]:
    """Compare one pair of expressions, without a time limit; return outcome and reason."""
    from math_verify import verify

    wanted = parsed(gold)
    if wanted is None:
        return "unparsed-gold", "math-verify cannot parse the whole gold"
    predicted = parsed(prediction)
    if predicted is None:
        return "unparsed-prediction", "math-verify cannot parse the whole answer"
    same = verify(wanted, predicted, timeout_seconds=None, allow_set_relation_comp=True)
    if same and refuted(wanted, predicted):
        return "different", "math-verify, and other values at high precision"
    return ("equal" if same else "different"), "math-verify"


def parsed(latex: str) -> Any:
    """Return the expression that a LaTeX text is as a whole, or None if the parser takes none or only a part of it."""
    from antlr4 import Token
    from latex2sympy2_extended.latex2sympy2 import ConversionConfig, _Latex2Sympy
    from latex2sympy2_extended.math_normalization import NormalizationConfig, normalize_latex
    from math_verify.grader import should_treat_as_complex
    from sympy import Basic, MatrixBase

    normal = normalize_latex(latex, NormalizationConfig(boxed="none")).strip()
    reader = _Latex2Sympy(is_real=not should_treat_as_complex(normal), config=ConversionConfig(lowercase_symbols=False))
    made: list[Any] = []
    make = reader.create_parser

    def create(text: str) -> Any:
        made.append(make(text))
        return made[-1]

    reader.create_parser = create  # the parser is queried afterwards for unparsed rest
    try:
        formulas = reader.parse(normal)
    except (MemoryError, RecursionError):
        raise
    except Exception:  # the library raises bare exceptions for whatever it cannot read
        return None
    if not made or made[0].getCurrentToken().type != Token.EOF or not isinstance(formulas, Basic | MatrixBase):
        return None
    return formulas


def refuted(left: Any, right: Any) -> bool:
    """Return whether two expressions have clearly different values, tiny ones included.

    False if undecidable.
    """
    from sympy import Eq, Expr, MatrixBase, Tuple

    if isinstance(left, MatrixBase) and isinstance(right, MatrixBase):
        return left.shape != right.shape or any(map(refuted, left.flat(), right.flat()))
    if isinstance(left, Tuple) and isinstance(right, Tuple):
        return len(left) != len(right) or any(map(refuted, left, right))
    if isinstance(left, Eq) and isinstance(right, Eq):
        return bool(left.lhs == right.lhs) and refuted(left.rhs, right.rhs)
    if isinstance(left, Eq) or isinstance(right, Eq):
        return refuted(getattr(left, "rhs", left), getattr(right, "rhs", right))
    if not isinstance(left, Expr) or not isinstance(right, Expr):
        return False
    return _far(left, right)


_DIGITS = 40
_EXACT, _FLOATING, _NOISE = 1e-15, 5e-6, 1e-60
"""Relative differences above which two values differ (exact ones, and with a decimal fraction in them), and the size
below which a computed value may be nothing but cancelled digits."""


def _far(left: Any, right: Any) -> bool:
    from sympy import Float, Rational

    symbols = sorted(left.free_symbols | right.free_symbols, key=str)
    values = {symbol: Rational(7 * place + 11, 13 + place) for place, symbol in enumerate(symbols)}
    try:
        left, right = left.doit().subs(values), right.doit().subs(values)
        if isinstance(left, Rational) and isinstance(right, Rational):
            first, second = left, right
        else:
            first, second = left.evalf(_DIGITS), right.evalf(_DIGITS)
        gap, size = abs(first - second), max(abs(first), abs(second))
        if not (gap.is_number and gap.is_finite and size.is_finite):
            return False
        bound = _FLOATING if left.has(Float) or right.has(Float) else _EXACT
        return bool(gap > bound * size) and (bool(gap > _NOISE) or first is left)
    except (MemoryError, RecursionError):
        raise
    except Exception:  # whatever cannot be evaluated cannot refute
        return False


def compare_texts(gold: str, text: str) -> tuple[str, str]:
    """Judge by math-verify alone: its own extraction from a whole output, its own comparison."""
    from math_verify import parse, verify

    predicted = parse(text, parsing_timeout=None)
    if not predicted:
        return "unparsed-prediction", "math-verify finds no answer"
    same = verify(parse(gold, parsing_timeout=None), predicted, timeout_seconds=None)
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


def numbered(line: bytes) -> bytes:
    """Return the reply line to a request line, with its number and the core seconds that it took."""
    begin = time.process_time()
    answer = reply(line)
    return json.dumps({"number": _number(line), "spent": time.process_time() - begin, **answer}).encode() + b"\n"


def _number(line: bytes) -> int:
    try:
        return int(json.loads(line)["number"])
    except (ValueError, TypeError, KeyError):
        return -1


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
            answer = numbered(line)
            os.write(replies, answer)
            if b'"memory"' in answer:
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
        """Return the reply, or None after `seconds` of core time (at most `PATIENCE` times that by the clock).

        Empty: it died.
        """
        with contextlib.suppress(BrokenPipeError):
            os.write(self.requests, line)
        begin, before = time.monotonic(), self._core_seconds()
        deadline = begin + seconds
        received = b""
        while not received.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.replies], [], [], left)[0]:
                used = self._core_seconds() - before
                if before < 0 or used >= 0.9 * seconds or time.monotonic() - begin >= PATIENCE * seconds:
                    return None
                deadline = min(time.monotonic() + max(seconds - used, 0.02), begin + PATIENCE * seconds)
                continue
            piece = os.read(self.replies, 65536)
            if not piece:
                return b""
            received += piece
        return received

    def _core_seconds(self) -> float:
        """Return core seconds that the child has used so far; -1 if the system does not tell."""
        try:
            with open(f"/proc/{self.pid}/stat", encoding="ascii") as file:  # noqa: PTH123  (no package imports here)
                fields = file.read().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except (OSError, ValueError, IndexError):
            return -1.0

    def end(self) -> None:
        """Kill the process and reap it."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.requests)
        os.close(self.replies)


def serve() -> None:
    """Answer requests from standard input until it closes.

    The server ends with its input, not by a death signal, which would follow the thread that started it.
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
            answer = json.dumps({"number": _number(line), "outcome": kind, "reason": reason}).encode() + b"\n"
        elif served >= RENEW_AFTER or b'"memory"' in answer:
            child.end()
            child = None
        out.write(answer)
        out.flush()
    if child is not None:
        child.end()


if __name__ == "__main__":
    serve()
