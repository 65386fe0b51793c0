"""Files of a run folder that hold something else: a message that names the file, never a traceback."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from tracedistill import pipeline
from tracedistill.cli import main

SHAPES = {
    # what may stand in a file in place of what a stage wrote; None: a folder of that name
    "list": "[]", "object": "{}", "text": '"x"', "null": "null", "number": "5", "empty": "", "deep": "[" * 100_000,
    "long number": "9" * 5_000, "no UTF-8": "\x00\xff", "folder": None,
    "other types": '{"outputs": [], "params": [], "inputs": 3, "sources": "x", "node": 1}',
    "other outputs": '{"outputs": {"x": 1}, "params": {}, "inputs": {}}',
}  # fmt: skip
FILES = [
    "study.json", "problems.jsonl", "problems.jsonl.manifest.json", "problems.report.json", "assembly.json",
    "assembly.json.manifest.json", "traces/rules.jsonl", "traces/rules.failures.jsonl", "validation/rules.jsonl",
    "validation/rules.report.json", "plans/trace-of-thought.jsonl", "generations/standard.jsonl",
    "generations/standard.jsonl.manifest.json", "attempts/trace-of-thought.jsonl", "report.json", "report.csv",
    "report.json.manifest.json",
]  # fmt: skip


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run folder, never written to again."""
    import yaml

    folder = tmp_path_factory.mktemp("good")
    recipe = {
        "study": "small",
        "run_dir": str(folder / "run"),
        "task": {"name": "babi", "train": 12, "validation": 2, "test": 4},
        "students": {"solver": {"model": "scripted:tests.scripts:solver"}},
        "arms": {"standard": {}, "trace-of-thought": {"prompt": "trace-of-thought"}},
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(recipe))
    pipeline.run(pipeline.load(folder / "study.yaml"), quiet=True)
    assert all((folder / "run" / name).is_file() for name in FILES)
    return folder


QUICK = ("list", "other types", "folder")


@pytest.mark.parametrize("name", FILES)
def test_no_shape_of_a_file_is_a_traceback(
    good: Path, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(good, name, QUICK, tmp_path, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_no_other_shape_either(good: Path, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage(good, name, [kind for kind in SHAPES if kind not in QUICK], tmp_path, capsys)


def damage(good: Path, name: str, kinds: Sequence[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Put each kind into one file, and run three commands on the folder."""
    recipe, run = str(good / "study.yaml"), tmp_path / "run"
    for kind in kinds:
        text = SHAPES[kind]
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(good / "run", run)
        if text is None:
            (run / name).unlink()
            (run / name).mkdir()
        else:
            (run / name).write_text(text, encoding="latin-1")
        for command in (["status", recipe], ["report", str(run), "--quiet"], ["run", recipe, "--quiet"]):
            override = [] if command[0] == "report" else [f"run_dir={run}"]
            code = main([*command, *override])
            told = capsys.readouterr().err
            assert code in (0, 2), (kind, command[0])
            assert (code == 2) == told.startswith("tracedistill: "), (kind, command[0])
