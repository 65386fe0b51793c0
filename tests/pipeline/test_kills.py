"""kill -9 over a whole study, training included: the files of an undisturbed run, costs too."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from tests.conftest import ROOT
from tests.tuned_study import recipe_of

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("TRACEDISTILL_KILLS", "25"))
"""Of each of the four runs; a test may take five minutes."""
MEASURED = {
    # what a clock or the machine decides, and hashes of files that hold it
    "seconds", "mtime_ns", "sha256", "bytes", "peak_memory_bytes", "inputs", "outputs", "training_seconds",
    "evaluation_seconds", "started", "run_dir", "cache", "log", "stages",
}  # fmt: skip


def plain(value: Any) -> Any:
    """A JSON value without what a clock measured."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if key not in MEASURED}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def contents(run: Path) -> dict[str, Any]:
    """Every file of a run folder, as what has to be equal."""
    found: dict[str, Any] = {}
    for path in sorted(run.rglob("*")):
        name = path.relative_to(run).as_posix()
        if not path.is_file() or path.name == ".lock" or path.suffix in (".html", ".md", ".csv"):
            continue  # the pages show seconds; report.json holds what they are made from
        if path.suffix == ".json":
            found[name] = plain(json.loads(path.read_text()))
        elif path.suffix == ".jsonl":
            found[name] = [plain(json.loads(line)) for line in path.read_text().splitlines()]
        else:
            found[name] = path.read_bytes()
    found.pop("report.json.manifest.json", None)
    report = found["report.json"]
    report.pop("sections", None)  # tables of seconds among them; their figures are those of the arms below
    return found


SETTINGS: dict[str, Any] = {
    "training": {"lora_r": 4, "save_steps": 2, "batch_size": 4, "epochs": 4},
    "teachers": {"rules": {"kind": "rules"}, "gold": {"kind": "gold"}},
    "base": {"max_tokens": 12, "teacher": "rules"},
    "arms": {
        "standard": {},
        "trace-of-thought": {"prompt": "trace-of-thought"},
        "answer-only": {"tune": "none"},
        "correct": {"tune": "correct"},
    },
}
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def command_in(folder: Path, model: Path) -> list[str]:
    """The command of a study whose run folder and cache lie in this folder."""
    recipe = recipe_of(folder, model, **SETTINGS, cache=str(folder / "cache.sqlite"))
    return [sys.executable, "-m", "tracedistill.cli", "run", str(recipe), "--quiet"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The student, and the files of a run that nobody killed."""
    folder = tmp_path_factory.mktemp("whole")
    model = tiny.build(folder / "model")
    subprocess.run(command_in(folder, model), cwd=ROOT, env=ENVIRONMENT, check=True)
    return model, contents(folder / "run")


@pytest.mark.parametrize("seed", range(4))
def test_kills_end_in_the_files_of_an_undisturbed_run(
    seed: int, undisturbed: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    model, whole = undisturbed
    command, draw = command_in(tmp_path, model), random.Random(seed)
    for _ in range(KILLS):
        process = subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, start_new_session=True)
        try:
            process.wait(draw.uniform(0.3, 12.0))
            # it came to its end: from there on the report alone is made again and again
            (tmp_path / "run" / "report.json.manifest.json").unlink()
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # what it launched too
            process.wait()
    subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, check=True)
    killed = contents(tmp_path / "run")
    assert not list((tmp_path / "run").rglob("*.partial*"))
    assert killed.keys() == whole.keys()
    for name in whole:
        assert killed[name] == whole[name], name
