"""The installed package, away from the repository: what the README's commands name comes with it."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tracedistill import pipeline
from tracedistill.errors import InputError


@pytest.mark.parametrize("name", [path.stem for path in sorted((ROOT / "accelerate_configs").glob("*.yaml"))])
def test_hardware_is_found_from_any_folder(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = pipeline.accelerate_config(name, tmp_path / "study.yaml")
    assert found.read_bytes() == (ROOT / "accelerate_configs" / f"{name}.yaml").read_bytes()


def test_own_hardware_comes_before_what_is_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "accelerate_configs").mkdir()
    (tmp_path / "accelerate_configs" / "cpu.yaml").write_text("num_processes: 1\n")
    assert pipeline.accelerate_config("cpu", tmp_path / "study.yaml") == tmp_path / "accelerate_configs" / "cpu.yaml"


def test_recipes_are_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    loaded = pipeline.load("recipes/quickstart/study.yaml")
    assert loaded.study.study == "quickstart"
    assert loaded.study.folder == Path("runs/quickstart")
    for name in ("recipes/quickstart/none.yaml", "recipes/../pyproject.toml", "quickstart/study.yaml"):
        with pytest.raises(InputError, match="no such recipe"):
            pipeline.load(name)


@pytest.mark.slow
def test_a_wheel_alone_runs_a_study(tmp_path: Path) -> None:
    """Build, unpack into an empty place, and run from an empty folder: nothing of the checkout is on the path."""
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True)
    (wheel,) = tmp_path.glob("tracedistill-*.whl")
    site, empty = tmp_path / "site", tmp_path / "empty"
    zipfile.ZipFile(wheel).extractall(site)
    empty.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(site)}
    say = "import tracedistill; print(tracedistill.__file__)"
    where = subprocess.run([sys.executable, "-c", say], cwd=empty, env=environment, capture_output=True, text=True)
    assert where.stdout.startswith(str(site))
    command = [sys.executable, "-m", "tracedistill.cli", "run", "recipes/quickstart/study.yaml", "--quiet"]
    small = ["task.train=16", "task.validation=4", "task.test=4", "training.max_steps=2", "evaluation.batch_size=4"]
    done = subprocess.run([*command, *small], cwd=empty, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (empty / "runs" / "quickstart" / "report.html").is_file()
