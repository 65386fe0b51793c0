"""A study whose run folder is in an object store: killed here, continued elsewhere, read by the commands."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from tests.conftest import ROOT
from tests.stores.kit import URL, CountedStore, kinds, machine, quick, stored
from tests.tuned_study import recipe_of
from tracedistill import pipeline
from tracedistill.cli import main
from tracedistill.errors import InputError
from tracedistill.stores import COPIES, changed, fetched, working_copy
from tracedistill.stores.mirror import PUSH_SECONDS
from tracedistill.training.callbacks import last_whole_checkpoint

__all__ = ["machine", "quick"]
Machine = Callable[[str], None]
TIMES = {
    "seconds", "mtime_ns", "sha256", "bytes", "peak_memory_bytes", "inputs", "outputs", "run_dir", "cache", "stages",
    "sections",
}  # fmt: skip
KILLS = int(os.environ.get("TRACEDISTILL_KILLS", "15"))
TEACHERS = {"planner": {"kind": "model", "model": "scripted:tests.teacher_scripts:planner"}}
"""A model teacher, whose answers are paid: here with seed 1, at which all are good."""


def plain(value: Any) -> Any:
    """A JSON value without what a clock measured."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if key not in TIMES}
    return [plain(item) for item in value] if isinstance(value, list) else value


def contents(run: Path) -> dict[str, Any]:
    """What has to be equal: rows byte for byte, JSON without times."""
    found: dict[str, Any] = {}
    for path in sorted(run.rglob("*")):
        name = path.relative_to(run).as_posix()
        if path.suffix == ".jsonl":
            found[name] = path.read_bytes()
        elif path.suffix == ".json" and not name.startswith("."):
            found[name] = plain(json.loads(path.read_text()))
    return found


def study_at(url: str, study_file: Callable[..., Path], **changes: object) -> Path:
    return study_file(run_dir=url, **changes)


# ---- in a memory store


@pytest.mark.usefixtures("quick")
def test_a_study_continues_on_another_machine(
    study_file: Callable[..., Path], machine: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = study_at(URL, study_file, teachers=TEACHERS, seed=1)
    local = [f"run_dir={tmp_path / 'local'}", f"cache={tmp_path / 'cache.sqlite'}"]
    made = pipeline.run(pipeline.load(recipe, local), quiet=True)
    first = pipeline.run(pipeline.load(recipe), "validate", quiet=True)
    machine("second")
    second = pipeline.run(pipeline.load(recipe), quiet=True)
    assert first + second == made
    assert contents(working_copy(URL)) == contents(tmp_path / "local")
    machine("third")
    assert pipeline.run(pipeline.load(recipe), quiet=True) == []
    assert pipeline.report_of(pipeline.load(recipe)).arms
    # a paid answer travels: the cache is in the store
    assert stored("generations.sqlite") is not None
    working = fetched(URL)
    (working / "traces" / "planner.jsonl").unlink()
    # machine("fourth") below finds the answers, and calls nobody
    CountedStore.store.pop("/bucket/study/traces/planner.jsonl")
    machine("fourth")
    assert "teach:planner" in pipeline.run(pipeline.load(recipe), quiet=True)
    assert contents(working_copy(URL)) == contents(tmp_path / "local")
    assert "traces/planner.jsonl is missing; it will be made again" not in capsys.readouterr().err


@pytest.mark.usefixtures("quick")
def test_commands_read_a_store(
    study_file: Callable[..., Path], machine: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = study_at(URL, study_file)
    assert main(["run", str(recipe)]) == 0
    assert f"in {URL}" in capsys.readouterr().out
    machine("second")
    before = kinds()
    assert main(["status", URL]) == 0
    assert kinds()["PUT"] == before["PUT"]  # no lease, nothing written
    out = capsys.readouterr().out
    assert "missing" not in out
    assert "stale" not in out
    assert main(["status", str(recipe)]) == 0
    machine("third")
    assert main(["report", URL, "--out", str(tmp_path / "page")]) == 0
    assert (tmp_path / "page" / "report.html").exists()
    assert main(["report", URL, "--against", URL, "--out", str(tmp_path / "other")]) == 2  # the same run twice
    machine("fourth")
    assert main(["dataset", URL, "--out", str(tmp_path / "rows")]) == 2  # no tuned arm
    assert "not a study's run folder" not in capsys.readouterr().err
    assert kinds()["PUT"] == before["PUT"]
    machine("fifth")
    assert main(["run", str(recipe), "--quiet"]) == 0
    assert kinds()["PUT"] == before["PUT"] + 1  # the lease


@pytest.mark.usefixtures("quick")
def test_imports_and_reviews_are_sent(
    study_file: Callable[..., Path], machine: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = study_at(URL, study_file)
    assert main(["run", str(recipe), "--quiet"]) == 0
    rows = tmp_path / "outputs.jsonl"
    problems = [json.loads(line) for line in (working_copy(URL) / "problems.jsonl").read_text().splitlines()]
    tests = [problem["problem_id"] for problem in problems if problem["split"] == "test"]
    rows.write_text("".join(json.dumps({"problem_id": name, "text": "Answer: garden"}) + "\n" for name in tests))
    machine("second")
    assert main(["import", str(rows), "--task", "babi", "--arm", "theirs", "--run-dir", URL]) == 0
    machine("third")
    assert (fetched(URL) / "attempts" / "theirs.jsonl").exists()
    sheet = tmp_path / "sheet.csv"
    assert main(["review", str(recipe), "--export", str(sheet)]) == 0, capsys.readouterr().err
    assert stored("review/review.sqlite") is not None


@pytest.mark.usefixtures("quick")
def test_nothing_at_a_url(machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", URL]) == 2
    assert f"{URL}: no run folder there" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("run_dir", "changes", "part"),
    [
        ("s3://key:hush@bucket/study", [], "contains a password or a query"),
        ("s3://bucket/study?token=hush", [], "contains a password or a query"),
        ("memory://x", ["compute=ray"], COPIES),
        ("memory://x", ["training.launcher.num_machines=2"], COPIES),
    ],
)
def test_recipes_that_are_refused(
    run_dir: str, changes: list[str], part: str, study_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(COPIES, raising=False)
    with pytest.raises(InputError, match=part) as caught:
        pipeline.load(study_at(run_dir, study_file), changes)
    assert "hush" not in str(caught.value)


@pytest.mark.usefixtures("quick")
def test_a_local_study_loads_no_store(study_file: Callable[..., Path]) -> None:
    code = (
        "import sys; from tracedistill import pipeline\n"
        f"pipeline.run(pipeline.load({str(study_file())!r}), 'validate', quiet=True)\n"
        "assert 'fsspec' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


# ---- with processes that die, in a store of files


@pytest.mark.usefixtures("quick")
def test_killed_here_continued_elsewhere(
    study_file: Callable[..., Path], machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kill -9 in the middle of an arm; another machine is refused, takes over, and ends in the files of a local run."""
    bucket = tmp_path / "bucket" / "study"
    url, marks, partial = f"file://{bucket}", tmp_path / "marks", bucket / "generations" / "standard.partial0.jsonl"
    marks.mkdir()
    for name, value in (("DIES_ONCE_SENT", marks), ("PARTIAL", partial), (PUSH_SECONDS, 0.1)):
        monkeypatch.setenv(name, str(value))

    def calls() -> int:
        return len(list(marks.glob("call*")))

    students = {"solver": {"model": "scripted:tests.stores.kit:dies_once_sent"}}
    recipe = study_at(url, study_file, teachers=TEACHERS, seed=1, students=students)
    command = [sys.executable, "-m", "tracedistill.cli", "run", str(recipe), "--quiet"]
    died = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert partial.exists()
    assert (bucket / "generations.sqlite").exists()

    machine("second")
    (lease,) = (bucket / ".tracedistill").glob("lease-*.json")
    with pytest.raises(InputError, match="two runs in one folder are refused") as caught:
        pipeline.run(pipeline.load(recipe), quiet=True)
    assert str(lease) in str(caught.value)
    lease.write_text(json.dumps({**json.loads(lease.read_text()), "until": 1.0}))  # as after some minutes
    before = calls()
    pipeline.run(pipeline.load(recipe), quiet=True)
    second = calls() - before
    local = [f"run_dir={tmp_path / 'local'}", f"cache={tmp_path / 'cache.sqlite'}"]
    pipeline.run(pipeline.load(recipe, local), quiet=True)
    assert second == calls() - before - second - 8  # the two batches that were sent are not made again
    assert contents(working_copy(url)) == contents(tmp_path / "local")
    assert {name: value for name, value in contents(bucket).items() if name[0] != "."} == contents(working_copy(url))
    assert not list(bucket.rglob("*.partial*"))

    machine("first")  # its unsent work was overtaken: it follows the store
    assert pipeline.run(pipeline.load(recipe), quiet=True) == []
    assert contents(working_copy(url)) == contents(tmp_path / "local")


@pytest.mark.usefixtures("quick")
def test_a_local_run_moves_into_a_store(
    study_file: Callable[..., Path], machine: Machine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = str(study_at(URL, study_file))
    assert main(["run", recipe, "--quiet", f"run_dir={tmp_path / 'local'}"]) == 0
    assert main(["status", recipe]) == 0
    place = Path(capsys.readouterr().out.splitlines()[0].partition(", working copy ")[2])
    shutil.copytree(tmp_path / "local", place)
    assert pipeline.run(pipeline.load(recipe), quiet=True) == []
    machine("second")
    assert {state.kind for _, state in pipeline.status(pipeline.load(recipe))} == {"complete"}


@pytest.mark.usefixtures("quick")
def test_ctrl_c_sends_what_is_complete(
    study_file: Callable[..., Path], machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = study_at(URL, study_file)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tests.scripts.read_story", interrupted)
    assert main(["run", str(recipe), "--quiet"]) == 130
    machine("second")
    states = {node.name: state.kind for node, state in pipeline.status(pipeline.load(recipe))}
    assert states["validate:rules"] == "complete"
    assert states["generate:standard"] == "missing"
    assert not [name for name in CountedStore.store if "lease" in name]


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("seed", range(2))
def test_kills_on_changing_machines(
    seed: int, study_file: Callable[..., Path], machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kill -9 at random moments, each time another machine continues: the files of a local run, nothing refused."""
    url, draw = f"file://{tmp_path / 'bucket' / 'study'}", random.Random(seed)
    monkeypatch.setenv(PUSH_SECONDS, "0.05")
    recipe = study_at(url, study_file, teachers=TEACHERS, seed=1)
    command = [sys.executable, "-m", "tracedistill.cli", "run", str(recipe), "--quiet"]
    ended = 0
    for number in range(KILLS):
        machine(f"machine{draw.randrange(3)}")
        with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(draw.uniform(1.0, 9.0))
            process.kill()
            assert process.stderr is not None
            errors = process.stderr.read()
        ended += process.returncode == 0
        assert process.returncode in (0, -signal.SIGKILL), (number, errors)
        for lease in (tmp_path / "bucket" / "study" / ".tracedistill").glob("lease-*.json"):
            lease.unlink()
        if process.returncode == 0:  # begin anew, so that files are replaced and removed too
            machine("cleaner")
            with changed(url) as folder:
                for path in [*folder.rglob("*.manifest.json")][:: draw.randrange(1, 4)]:
                    path.unlink()
    machine("last")
    pipeline.run(pipeline.load(recipe), quiet=True)
    local = [f"run_dir={tmp_path / 'local'}", f"cache={tmp_path / 'cache.sqlite'}"]
    pipeline.run(pipeline.load(recipe, local), quiet=True)
    assert contents(working_copy(url)) == contents(tmp_path / "local")
    assert not [path for path in (tmp_path / "bucket").rglob("*") if ".partial" in path.name]


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_a_training_killed_here_continues_elsewhere(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest checkpoint in the store is continued, and the adapter is that of a local run."""
    bucket = tmp_path / "bucket" / "study"
    url = f"file://{bucket}"
    monkeypatch.setenv(PUSH_SECONDS, "0.05")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    recipe = recipe_of(
        tmp_path, tiny.build(tmp_path / "model"), run_dir=url, arms={"correct": {"tune": "correct"}},
        training={"lora_r": 4, "batch_size": 4, "epochs": 16, "save_steps": 8},
    )  # fmt: skip
    command = [sys.executable, "-m", "tracedistill.cli", "train", str(recipe), "--quiet"]
    with subprocess.Popen(command, cwd=ROOT, start_new_session=True) as process:
        while not [*bucket.glob("adapters/correct.checkpoints/checkpoint-*/whole")]:
            assert process.poll() is None
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
    for lease in (bucket / ".tracedistill").glob("lease-*.json"):
        lease.unlink()
    machine("second")
    checkpoints = fetched(url) / "adapters" / "correct.checkpoints"
    whole = last_whole_checkpoint(checkpoints)
    assert whole is not None
    resumed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "Traceback" not in resumed.stderr
    local = [f"run_dir={tmp_path / 'local'}"]
    subprocess.run([*command, *local], cwd=ROOT, check=True)
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        made = (working_copy(url) / "adapters" / "correct" / name).read_bytes()
        assert made == (tmp_path / "local" / "adapters" / "correct" / name).read_bytes()
        assert made == (bucket / "adapters" / "correct" / name).read_bytes()
    assert not (bucket / "adapters" / "correct.checkpoints").exists() or not [*bucket.rglob("whole")]
