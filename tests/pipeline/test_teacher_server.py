"""Teachers behind a server that fails on purpose, through the whole pipeline: same files, paid once, no key written."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.engines.server_kit import KEY, LocalServer, counts, running
from tests.fault_server import Behaviour
from tracedistill import pipeline
from tracedistill.engines.cache import GenerationCache
from tracedistill.errors import InputError
from tracedistill.files import read_json, read_lines
from tracedistill.pipeline.engines import teacher_engine
from tracedistill.pipeline.screen import Screen
from tracedistill.pipeline.study_run import StudyRun

StudyFile = Callable[..., Path]
HEALTHY = Behaviour(latency=0.002)
FAULTY = Behaviour(faults=0.2, latency=0.005, stall=1.2, retry_after=0.05, slow=0.05)
ARMS = {"trace-of-thought": {"prompt": "trace-of-thought"}}


def recipe(study_file: StudyFile, folder: Path, url: str, problems: int, **changes: Any) -> Path:
    """A study with one model teacher at `url` that plans for so many problems."""
    teacher = {"kind": "model", "model": "stub", "base_url": url, "key_env": "TEACHER_KEY", "timeout": 0.8,
               "concurrency": 16, "max_tokens": 64, **changes}  # fmt: skip
    made = study_file(
        run_dir=str(folder / "run"), cache=str(folder / "cache.sqlite"), arms=ARMS, comparisons=[],
        task={"name": "babi", "train": 5, "validation": 0, "test": problems}, teachers={"planner": teacher},
    )  # fmt: skip
    folder.mkdir(exist_ok=True)
    return Path(shutil.copy(made, folder / "study.yaml"))


def taught(study_file: StudyFile, folder: Path, url: str, problems: int) -> bytes:
    """The traces file of a whole teach stage."""
    loaded = pipeline.load(recipe(study_file, folder, url, problems))
    pipeline.run(loaded, "teach")
    return (loaded.study.folder / "traces" / "planner.jsonl").read_bytes()


def files_below(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEACHER_KEY", KEY)


def the_same_file_as_from_a_healthy_server(study_file: StudyFile, tmp_path: Path, problems: int) -> None:
    with running(HEALTHY) as server:
        expected = taught(study_file, tmp_path / "healthy", server.url, problems)
        assert server.ledger.summary()["paid"] == problems
    with running(FAULTY) as server:
        found = taught(study_file, tmp_path / "faulty", server.url, problems)
        ledger = server.ledger.summary()
    failures = [row for _, row in read_lines(tmp_path / "faulty" / "run" / "traces" / "planner.failures.jsonl")]
    assert found.count(b"\n") + len(failures) == problems, "all end as a trace or a counted failure"
    assert failures == [], "each prompt meets at most three faults in a row"
    assert found == expected
    assert ledger["paid"] == problems
    assert ledger["duplicates"] == 0
    assert sum(ledger["faults"].values()) > problems / 10
    usage = read_json(tmp_path / "faulty" / "run" / "traces" / "planner.usage.json")
    assert usage["requests"] == usage["bought"] == problems


def test_a_faulty_server_gives_the_same_traces(study_file: StudyFile, tmp_path: Path) -> None:
    the_same_file_as_from_a_healthy_server(study_file, tmp_path, 60)


@pytest.mark.slow
def test_five_thousand_problems_on_a_faulty_server(study_file: StudyFile, tmp_path: Path) -> None:
    the_same_file_as_from_a_healthy_server(study_file, tmp_path, 5_000)


def test_a_second_run_makes_no_call_and_failures_are_told_by_cause(study_file: StudyFile, tmp_path: Path) -> None:
    file = recipe(study_file, tmp_path / "one", "http://127.0.0.1:9/v1", 30)
    with running(HEALTHY) as server:
        # a system message that the server answers with a refusal: a counted failure that is not bought again
        changes = [f"teachers.planner.base_url={server.url}", "teachers.planner.system='[[refusal]]'"]
        loaded = pipeline.load(file, changes)
        pipeline.run(loaded, "teach", quiet=True)
        calls = server.ledger.summary()["calls"]
        assert calls == 30
        failures = [row for _, row in read_lines(loaded.study.folder / "traces" / "planner.failures.jsonl")]
        assert [row["finish"] for row in failures] == ["refusal"] * 30
        assert read_json(loaded.study.folder / "traces" / "planner.usage.json")["tokens_in"] > 0, "paid all the same"
        assert pipeline.run(loaded, "teach", quiet=True) == []
        again = pipeline.load(file, [*changes, f"run_dir={tmp_path}/again"])
        pipeline.run(again, "teach", quiet=True)
        assert server.ledger.summary()["calls"] == calls, "another run folder, the same cache: no call"
        assert read_json(again.study.folder / "traces" / "planner.usage.json")["bought"] == 0


def test_no_key_in_any_file_nor_in_what_is_said(
    study_file: StudyFile, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with running(FAULTY) as server:
        loaded = pipeline.load(recipe(study_file, tmp_path / "one", server.url, 40))
        pipeline.run(loaded)
        assert set(server.ledger.authorizations) == {f"Bearer {KEY}"}, "the server did get it"
    searched = list(files_below(tmp_path))
    assert {"planner.jsonl", "planner.usage.json", "report.html", "report.json", "cache.sqlite"} <= {
        path.name for path in searched
    }
    for path in searched:
        assert KEY.encode() not in path.read_bytes(), path
    shown = capsys.readouterr()
    assert KEY not in shown.out + shown.err + caplog.text
    assert "16 in flight" in shown.out or "40/40" in shown.out


def test_what_a_recipe_says_of_the_body(study_file: StudyFile, tmp_path: Path) -> None:
    changes = {
        "omit": ["temperature", "seed"],
        "max_tokens_field": "max_completion_tokens",
        "structured": "json_object",
    }
    loaded = pipeline.load(recipe(study_file, tmp_path / "one", "http://127.0.0.1:9/v1", 5, **changes))
    work = StudyRun(loaded, Screen(quiet=True))
    dialect = teacher_engine(work, "planner", loaded.study.teachers["planner"]).describe()["dialect"]
    assert dialect["omit"] == ["seed", "temperature"]
    assert (dialect["max_tokens_field"], dialect["schema"]) == ("max_completion_tokens", "json_object")
    with pytest.raises(InputError, match="'messages' is the question itself; it cannot be left out"):
        pipeline.load(recipe(study_file, tmp_path / "two", "http://127.0.0.1:9/v1", 5, omit=["messages"]))


# ---- kill -9


def teach(file: Path, log: Path) -> subprocess.Popen[bytes]:
    """`tracedistill teach` in a process of its own."""
    environment = {**os.environ, "TEACHER_KEY": KEY, "PYTHONPATH": str(ROOT)}
    with log.open("ab") as stream:
        command = [sys.executable, "-m", "tracedistill.cli", "teach", str(file)]
        return subprocess.Popen(command, cwd=file.parent, env=environment, stdout=stream, stderr=stream)


def killed_runs(study_file: StudyFile, tmp_path: Path, problems: int, kills: int, latency: float) -> None:
    """Kill a teach stage at so many places of its way, then let it end: the file is an undisturbed run's."""
    with running(HEALTHY) as server:
        expected = taught(study_file, tmp_path / "healthy", server.url, problems)
    rng, log = random.Random(problems + kills), tmp_path / "log.txt"
    behaviour = Behaviour(latency=latency, faults=0.05, stall=1.2, retry_after=0.05, slow=0.05, bill_dropped=True)
    with running(behaviour) as server:
        file = recipe(study_file, tmp_path / "killed", server.url, problems)
        in_flight = 0
        for place in sorted(rng.uniform(0.03, 0.97) for _ in range(kills)):
            process = teach(file, log)
            wait_for(lambda place=place: paid_of(server) >= place * problems, process, log)
            os.kill(process.pid, signal.SIGKILL)
            assert process.wait(30) == -signal.SIGKILL, log.read_text()
            in_flight += claims_left(tmp_path / "killed" / "cache.sqlite")
            wait_for(lambda: server.ledger.in_flight == 0, None, log)
        assert not (tmp_path / "killed" / "run" / "traces" / "planner.jsonl").exists()
        process = teach(file, log)
        assert process.wait(300) == 0, log.read_text()
        ledger = server.ledger.summary()
    assert (tmp_path / "killed" / "run" / "traces" / "planner.jsonl").read_bytes() == expected
    usage = read_json(tmp_path / "killed" / "run" / "traces" / "planner.usage.json")
    assert usage["requests"] == usage["bought"] == problems, "bought by this folder, whichever run was killed meanwhile"
    print(f"{problems} problems, {kills} kills: {ledger['paid']} paid calls, {in_flight} in flight at the kills")
    assert ledger["paid_keys"] == problems
    assert 0 <= ledger["paid"] - problems <= min(in_flight, 16 * kills)
    for path in files_below(tmp_path):
        assert KEY.encode() not in path.read_bytes(), path


def claims_left(path: Path) -> int:
    """Requests that a killed run had sent, or was about to, and not written down: what was in flight."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        return int(db.execute("SELECT count(*) FROM claims").fetchone()[0])


def paid_of(server: LocalServer) -> int:
    return len(server.ledger.paid)


def wait_for(done: Callable[[], bool], process: subprocess.Popen[bytes] | None, log: Path) -> None:
    deadline = time.monotonic() + 120
    while not done():
        assert process is None or process.poll() is None, f"it ended too early: {log.read_text()}"
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.002)


def test_kill_9_in_the_middle_loses_only_what_was_in_flight(study_file: StudyFile, tmp_path: Path) -> None:
    killed_runs(study_file, tmp_path, 120, 1, 0.05)
    with GenerationCache(tmp_path / "killed" / "cache.sqlite") as cache:
        assert counts(cache) == {"stop": 120}


@pytest.mark.slow
def test_twenty_kills_lose_only_what_was_in_flight(study_file: StudyFile, tmp_path: Path) -> None:
    killed_runs(study_file, tmp_path, 5_000, 20, 0.02)


def test_the_log_of_a_run_names_the_variable_not_the_key(
    study_file: StudyFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TEACHER_KEY")
    file = recipe(study_file, tmp_path / "one", "http://127.0.0.1:9/v1", 5)
    with pytest.raises(InputError, match=re.escape("environment variable TEACHER_KEY is not set")):
        pipeline.run(pipeline.load(file), "teach", quiet=True)
