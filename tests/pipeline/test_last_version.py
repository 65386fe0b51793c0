"""Run folders of the last version (commit fe72082) stay what they are: read, reported, and gone on with.

tests/data/last_version.tar.xz holds two that this commit wrote: one of scripted students, made whole; one of tuned
arms, whose adapters and generations are empty files with real manifests.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tracedistill import pipeline
from tracedistill.cli import main
from tracedistill.files import file_hash


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A working folder with the two run folders."""
    with tarfile.open(ROOT / "tests" / "data" / "last_version.tar.xz") as archive:
        if hasattr(tarfile, "data_filter"):
            archive.extractall(tmp_path, filter="data")
        else:  # Python before 3.11.4
            archive.extractall(tmp_path)
    return tmp_path


def not_complete(overrides: tuple[str, ...] = ()) -> dict[str, str]:
    states = pipeline.status(pipeline.load("study.yaml", overrides))
    return {node.name: state.reason for node, state in states if state.kind != "complete" and node.kind != "report"}


@pytest.mark.parametrize("study", ["scripted", "tuned"])
def test_everything_is_complete(study: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place / study)
    assert not_complete() == {}


def test_what_is_changed_is_told_and_nothing_else(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place / "tuned")
    told = not_complete(("training.attention=eager", "arms.borrowed.max_tokens=64"))
    assert told == {
        "preflight:small": "limits.correct.borrowed was 128, is 64",
        **{
            f"train:{arm}{seed}": "training.attention was auto, is eager"
            for arm in ("answer-only", "correct", "mixed")
            for seed in ("", ".seed1")
        },
        "generate:borrowed": "arm.max_tokens was 128, is 64",
        "generate:borrowed.seed1": "arm.max_tokens was 128, is 64",
    }


def test_a_run_goes_on_in_it(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place / "scripted")
    before = {path: file_hash(path) for path in Path("run").rglob("*.jsonl")}
    Path("run/attempts/forced.jsonl").unlink()
    made = pipeline.run(pipeline.load("study.yaml", ["arms.more={prompt: chain-of-thought}"]), quiet=True)
    assert sorted(made) == ["assemble", "generate:more", "report", "score:forced", "score:more"]
    assert before.items() <= {path: file_hash(path) for path in Path("run").rglob("*.jsonl")}.items()


def test_reports_are_made_of_it(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(place / "scripted" / "run")
    assert main(["report", run]) == 0
    assert "trace-of-thought" in capsys.readouterr().out
    assert main(["status", str(place / "scripted" / "study.yaml"), f"run_dir={run}"]) == 0
    assert "generate:few-shot" in capsys.readouterr().out
