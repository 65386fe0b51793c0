"""No input takes long, takes much memory or raises; a hanging comparison costs its worker and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.attacks import processor_seconds
from tracedistill.answers import NUMBER, AnswerPolicy, equal, judge, read_answer
from tracedistill.answers.symbolic import MAX_CHARS, SymbolicWorker
from tracedistill.answers.worker import compare, parsed, reply

CASES = Path(__file__).parents[1] / "cases"
SECONDS = 0.3
SLOW = 8.0
"""Seconds of processor time that mean a hang; the slowest takes under 1."""


def hostile() -> list[tuple[str, str]]:
    """(name, text) of the table: its second field is a Python expression of strings, so that 1 MB fits on a line."""
    found = []
    for line in (CASES / "answers_hostile.tsv").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name, _, expression = line.partition("\t")
            found.append(
                (name, eval(expression, {"__builtins__": {"map": map, "range": range, "chr": chr, "str": str}}))
            )
    return found


HOSTILE = hostile()


@pytest.mark.parametrize("kind", ["number", "math", "choice", "text"])
@pytest.mark.parametrize(("name", "text"), HOSTILE, ids=[name for name, _ in HOSTILE])
def test_a_hostile_text_comes_back_as_a_verdict(name: str, text: str, kind: str) -> None:
    policy = AnswerPolicy(kind=kind, seconds=SECONDS)  # type: ignore[arg-type]
    closed = ("A. cat", "B. dog") if kind == "choice" else ()
    with processor_seconds(SLOW):
        verdicts = judge("5", text, "How many meters is it?", policy, closed)
    if kind == "number":
        with processor_seconds(SLOW):
            swapped = judge(text, "The answer is 5.", text[:5000], policy).answer.outcome
            assert equal("5", text, policy).outcome in {"correct", "incorrect", "ungradable", "missing"}
        assert swapped in {"correct", "incorrect", "ungradable"}
    assert verdicts.answer.reason


def test_a_hang_is_ungradable_and_the_next_comparison_works() -> None:
    worker = SymbolicWorker()
    try:
        worker.compare("x+1", "1+x", 5.0)
        assert worker.compare("5", "9^{9^{9^9}}", 0.3).outcome == "timeout"
        assert worker.compare("x+2", "2+x", 1.0).outcome == "equal"
    finally:
        worker.close()


def test_the_worker_is_replaced_when_it_is_killed() -> None:
    worker = SymbolicWorker()
    try:
        assert worker.compare("x+1", "1+x", 5.0).outcome == "equal"
        assert worker._process is not None
        worker._process.kill()
        worker._process.wait()
        assert worker.compare("x+3", "3+x", 5.0).outcome == "equal"
    finally:
        worker.close()


def test_an_interrupted_comparison_leaves_no_verdict_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    worker = SymbolicWorker()
    try:
        assert worker.compare("x+1", "1+x", 10.0).outcome == "equal"
        whole = SymbolicWorker._read

        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(SymbolicWorker, "_read", interrupted)
        with pytest.raises(KeyboardInterrupt):
            worker.compare("y^2", "y*y", 10.0)
        monkeypatch.setattr(SymbolicWorker, "_read", whole)
        assert worker.compare("y^2", "y^3", 10.0).outcome == "different"
    finally:
        worker.close()


def test_a_reply_to_another_request_is_passed_over() -> None:
    worker = SymbolicWorker()
    try:
        assert worker.compare("x+1", "1+x", 10.0).outcome == "equal"
        assert worker._process is not None
        assert worker._process.stdin is not None
        stray = {"number": 0, "gold": "z", "prediction": "z", "seconds": 5.0, "whole": False}
        worker._process.stdin.write(json.dumps(stray).encode() + b"\n")
        worker._process.stdin.flush()
        assert worker.compare("y^2", "y^3", 10.0).outcome == "different"
    finally:
        worker.close()


def test_a_part_of_a_formula_is_not_the_formula() -> None:
    assert parsed(r"\frac{1}{2} + x") is not None
    assert parsed(r"x \equiv 3 \pmod{7}") is None
    assert compare(r"x \star y", "x")[0] == "unparsed-gold"
    assert compare("x", r"x \star y")[0] == "unparsed-prediction"
    assert compare(r"\frac{1}{2^{60}}", r"\frac{1}{2^{61}}")[0] == "different"
    assert compare("2R+r", "2r+R")[0] == "different"
    assert compare(r"\frac{1}{3}", "0.333333")[0] == "equal"


def test_threads_share_one_worker() -> None:
    outcomes: list[str] = []
    threads = [
        threading.Thread(
            target=lambda n=n: outcomes.append(equal(f"x+{n}", f"{n}+x", AnswerPolicy(seconds=10)).outcome)
        )
        for n in range(2, 8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == ["correct"] * 6


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_worker_ends_with_its_process() -> None:
    code = (
        "import os\nfrom tracedistill.answers.symbolic import WORKER\n"
        "print(WORKER.compare('x+1', '1+x', 5.0).outcome, WORKER._process.pid, flush=True)\nos._exit(0)"
    )
    source = str(Path(__file__).parents[2] / "src")
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": source},
        check=True,
    )
    outcome, pid = done.stdout.split()
    assert outcome == "equal"
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists() or "State:\tZ" in Path(f"/proc/{pid}/status").read_text():
            return
        time.sleep(0.05)
    pytest.fail("the worker outlived its process")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_memory_of_a_comparison_is_limited() -> None:
    worker = SymbolicWorker()
    try:
        assert worker.compare("x+1", "1+x", 10.0).outcome == "equal"
        assert worker._process is not None
        pid = worker._process.pid
        child = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0]
        limits = Path(f"/proc/{child}/limits").read_text()
        bound = next(line for line in limits.splitlines() if line.startswith("Max address space")).split()[3]
        size = int(Path(f"/proc/{child}/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        assert int(bound) - size <= 512 * 1024**2
    finally:
        worker.close()


def test_what_the_worker_replies() -> None:
    assert reply(b'{"gold": "x+1", "prediction": "1+x", "seconds": 1}')["outcome"] == "equal"
    assert reply(b'{"gold": "x+1", "prediction": "x+2", "seconds": 1}')["outcome"] == "different"
    assert reply(b"not json")["outcome"] == "error"
    assert compare(r"\frac{", "1")[0] in {"unparsed-gold", "different"}


def test_long_expressions_do_not_reach_the_worker() -> None:
    worker = SymbolicWorker()
    assert worker.compare("x" * (MAX_CHARS + 1), "1", 1.0).outcome == "error"
    assert worker._process is None


def test_long_digit_strings_are_compared_as_text() -> None:
    digits = "7" * 100_000
    assert equal(digits, digits).outcome == "correct"
    assert equal(digits, digits[:-1] + "8").outcome == "incorrect"
    assert equal(digits, "(" + digits + ")").outcome == "ungradable"


def test_an_answer_after_a_long_preamble_is_found() -> None:
    text = "We think about it once more.\n" * 20_000 + "The answer is 18."
    found = read_answer(text, "", NUMBER)
    assert found.value == 18
    assert "the last" in found.reason
    assert found.span is not None
    assert text[found.span[0] : found.span[1]] == "18"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=300), st.text(max_size=60))
def test_no_text_raises(text: str, question: str) -> None:
    for kind in ("number", "choice", "text"):
        judge("18", text, question, AnswerPolicy(kind=kind), ("A. one", "B. two") if kind == "choice" else ())  # type: ignore[arg-type]


@settings(max_examples=200, deadline=None)
@given(st.integers(-(10**12), 10**12))
def test_every_whole_number_is_read_back(value: int) -> None:
    assert read_answer(f"The answer is {value}.", "", NUMBER).value == value
    assert read_answer(f"So there are {value:,} of them.", "", NUMBER).value == value
    assert equal(str(value), f"{value:,}", NUMBER).ok
