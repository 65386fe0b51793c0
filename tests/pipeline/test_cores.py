"""A study on one core, on two, and on two after kill -9: the same files."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tracedistill import pipeline
from tracedistill.compute import parts, processes
from tracedistill.errors import InputError

StudyFile = Callable[..., Path]

FORCED = {"forced": {"forced": "shuffled"}}
ALL = {**FORCED, "standard": {}, "own": {"forced": "own"}, "trace-of-thought": {"prompt": "trace-of-thought"}}
TASK = {"name": "babi", "train": 10, "validation": 5, "test": 30}


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of a few rows, and processes however little there is to do."""
    monkeypatch.setattr(parts, "ROWS", 7)
    monkeypatch.setattr(processes, "PATIENCE", 0.0)


def files_of(folder: Path) -> dict[str, bytes]:
    """The records of a run folder; what a clock decides stands in manifests."""
    found = (
        path
        for pattern in ("*.jsonl", "validation/*.report.json", "problems.report.json", "assembly.json")
        for path in sorted(folder.rglob(pattern))
    )
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


@pytest.mark.parametrize("arms", [FORCED, pytest.param(ALL, marks=pytest.mark.slow)], ids=["one arm", "all arms"])
def test_one_core_and_two_write_the_same_files(
    study_file: StudyFile, tmp_path: Path, small_parts: None, arms: dict[str, Any]
) -> None:
    found = {}
    for cores in (1, 2):
        recipe = study_file(arms=arms, task=TASK, cores=cores, run_dir=str(tmp_path / f"run{cores}"), comparisons=[])
        pipeline.run(pipeline.load(recipe), quiet=True)
        found[cores] = files_of(tmp_path / f"run{cores}")
        assert not (tmp_path / f"run{cores}" / ".parts").exists()
    assert {"validation/rules.jsonl", "validation/rules.report.json", "attempts/forced.jsonl"} <= found[1].keys()
    assert found[1] == found[2]


def test_cores_make_nothing_stale(study_file: StudyFile) -> None:
    recipe = study_file(cores=2, arms={"standard": {}}, comparisons=[])
    pipeline.run(pipeline.load(recipe), quiet=True)
    assert pipeline.run(pipeline.load(recipe, ["cores=1", "compute=ray"]), quiet=True) == []


DRIVER = """
import sys
from tracedistill.compute import parts, processes
from tracedistill.cli import main
parts.ROWS, processes.PATIENCE = 3, 0.0
sys.exit(main(["validate", sys.argv[1], "--quiet"]))
"""


@pytest.mark.slow
def test_a_killed_run_keeps_its_parts(study_file: StudyFile, tmp_path: Path, small_parts: None) -> None:
    recipe = study_file(task=TASK, run_dir=str(tmp_path / "calm"))
    pipeline.run(pipeline.load(recipe), "validate", quiet=True)
    recipe = study_file(task=TASK, cores=2)
    run = pipeline.load(recipe).study.folder
    pipeline.run(pipeline.load(recipe), "teach", quiet=True)
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(recipe)], cwd=ROOT)
    while driver.poll() is None and not list(run.glob(".parts/*/*/*.part")):
        time.sleep(0.002)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    before = {path: path.stat().st_ino for path in run.glob(".parts/*/*/*.part")}
    again = subprocess.run([sys.executable, "-c", DRIVER, str(recipe)], cwd=ROOT, check=False)
    assert again.returncode == 0
    assert files_of(run) == files_of(tmp_path / "calm")
    assert not (run / ".parts").exists()
    assert before or driver.returncode == 0


def test_two_drivers_of_one_run_folder(study_file: StudyFile) -> None:
    loaded = pipeline.load(study_file(cores=2))
    pipeline.run(loaded, "teach", quiet=True)
    code = "import fcntl, sys; s = open(sys.argv[1], 'a'); fcntl.flock(s, fcntl.LOCK_EX); print(flush=True); input()"
    command = [sys.executable, "-c", code, str(loaded.study.folder / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(InputError, match="another tracedistill run is using this folder"):
            pipeline.run(loaded, "validate", quiet=True)
        assert not (loaded.study.folder / ".parts").exists()
        with contextlib.suppress(BrokenPipeError):
            other.communicate(b"\n")
    pipeline.run(loaded, "validate", quiet=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("cores=0", "cores: must be at least 1, got 0"),
        ("cores=two", "cores: must be a whole number"),
        ("compute=spark", "compute: must be local, ray or ray:HOST:PORT, not 'spark'"),
        ("compute=local:4", "compute: must be local, ray or ray:HOST:PORT, not 'local:4'"),
    ],
)
def test_bad_places_to_compute(study_file: StudyFile, change: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        pipeline.load(study_file(), [change])
