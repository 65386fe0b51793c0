"""Attempts by whole batches: shared by processes, resumed, and always the same."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tracedistill.engines import Generation, Request
from tracedistill.errors import InputError
from tracedistill.evaluation.batches import ArmRun, attempt_batches, merged_attempts
from tracedistill.evaluation.requests import ArmRequests, requests_for
from tracedistill.recipes import Arm
from tracedistill.records import Problem, Step, Trace
from tracedistill.sft.messages import PromptSpec
from tracedistill.tasks import get_task

TASK = get_task("babi")


class Echo:
    """Says what it was asked last, and counts its batches."""

    def __init__(self, dies_at: int | None = None) -> None:
        self.batches: list[int] = []
        self.dies_at = dies_at

    def describe(self) -> dict[str, Any]:
        return {"engine": "echo"}

    def generate(self, requests: Sequence[Request]) -> Iterator[Generation]:
        if self.dies_at == len(self.batches):
            raise KeyboardInterrupt
        self.batches.append(len(requests))
        for request in reversed(requests):
            yield Generation(request.request_id, f"{request.messages[-1].content[-5:]}/{request.sample}", "stop", 3, 2)


def problems(n: int) -> list[Problem]:
    return [Problem(f"p{place:02}", "babi", "test", f"Where is {'x' * place}?", ("here",)) for place in range(n)]


def trace(problem_id: str, text: str, sample: int = 0) -> Trace:
    return Trace(f"{problem_id}-{sample}", problem_id, "t", (Step("text", text),), text, sample=sample)


def asking(arm: Arm, text: str = "{problem}", samples: int = 1) -> PromptSpec:
    return PromptSpec(TASK, arm, text, None, "plain", samples, 0.0, 0)


def a_run(folder: Path, n: int = 10) -> ArmRun:
    asked = requests_for(asking(Arm()), problems(n), {}, {})
    return ArmRun("arm", "arm", "student", asked, batch_size=3, folder=folder)


def done(engine: Echo, run: ArmRun) -> list[dict[str, Any]]:
    from tracedistill.files import to_json

    return [to_json(attempt) for attempt in merged_attempts(engine, run)]


def test_processes_share_batches_and_end_in_the_same_attempts(tmp_path: Path) -> None:
    alone, first, second = a_run(tmp_path / "one"), a_run(tmp_path / "two"), a_run(tmp_path / "two")
    attempt_batches(Echo(), alone)
    engines = [Echo(), Echo()]
    attempt_batches(engines[0], first, share=(0, 2))
    attempt_batches(engines[1], second, share=(1, 2))
    assert [engine.batches for engine in engines] == [[3, 3], [3, 1]]
    assert done(Echo(), first) == done(Echo(), alone)
    assert [row["problem_id"] for row in done(Echo(), first)] == [problem.problem_id for problem in problems(10)]


def test_another_number_of_processes_goes_on(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    attempt_batches(Echo(), run, share=(1, 2))
    engine = Echo()
    attempt_batches(engine, run)
    assert engine.batches == [3, 3], "what the second of two processes did is not done again"
    assert len(done(Echo(), run)) == 10


def test_missing_batches_are_told(tmp_path: Path) -> None:
    run = a_run(tmp_path)
    attempt_batches(Echo(), run, share=(0, 2))
    with pytest.raises(InputError, match="2 of 4 batches of arm are missing"):
        done(Echo(), run)


@pytest.mark.parametrize("rest", [b"", b'{"batch": 1, "att', b'{"plan": "other"}'])
def test_an_interrupted_run_goes_on(tmp_path: Path, rest: bytes) -> None:
    run = a_run(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        attempt_batches(Echo(dies_at=1), run)
    with run.partial().open("ab") as stream:
        stream.write(rest)
    engine = Echo()
    attempt_batches(engine, run)
    assert engine.batches == [3, 3, 1]
    assert len(done(engine, run)) == 10
    for line in run.partial().read_text().splitlines():
        json.loads(line)


def test_partial_files_of_another_plan_are_thrown_away(tmp_path: Path) -> None:
    attempt_batches(Echo(), a_run(tmp_path, 4))
    run = a_run(tmp_path, 10)
    engine = Echo()
    attempt_batches(engine, run)
    assert engine.batches == [3, 3, 3, 1]


def test_other_arms_files_are_not_touched(tmp_path: Path) -> None:
    tmp_path.joinpath("arm.seed1.partial0.jsonl").write_text("mine")
    tmp_path.joinpath("arm.partial-notes.jsonl").write_text("mine")
    assert a_run(tmp_path).partials() == []


def test_several_plans_and_samples() -> None:
    arm = Arm(prompt="trace-of-thought", plans=2)
    plans: dict[str, list[Trace | None]] = {"p00": [trace("p00", "first"), trace("p00", "second", 1)]}
    plans["p01"] = [trace("p01", "only")]
    asked = requests_for(asking(arm, "{problem} {steps}", samples=2), problems(3), plans, {})
    assert [request.request_id for request in asked.requests] == ["p00/0", "p00/1", "p00/2", "p00/3", "p01/0", "p01/1"]
    assert [asked.shown[request.request_id].text for request in asked.requests] == [
        *("first", "first", "second", "second"),
        *("only", "only"),
    ]
    assert [request.sample for request in asked.requests] == [0, 1, 0, 1, 0, 1]


def test_a_forced_trace_is_put_into_the_mouth(tmp_path: Path) -> None:
    forced = {"p01": trace("p01", "It is so.")}
    asked = requests_for(asking(Arm(forced="correct")), problems(3), {}, forced)
    assert [request.prefill for request in asked.requests] == ["It is so.\nAnswer:"]
    run = ArmRun("arm", "arm", "student", asked, 3, tmp_path)
    engine = Echo()
    attempt_batches(engine, run)
    (attempt,) = merged_attempts(engine, run)
    assert attempt.text.startswith("It is so.\nAnswer:")
    assert attempt.trace_id == "p01-0"


def test_nothing_to_ask(tmp_path: Path) -> None:
    run = ArmRun("arm", "arm", "student", ArmRequests([], {}), 3, tmp_path)
    attempt_batches(Echo(), run)
    assert list(merged_attempts(Echo(), run)) == []
