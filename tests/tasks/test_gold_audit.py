"""Golds are put before their own judge before anything is spent: told, counted, and stopped at by run and dry run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tracedistill import pipeline
from tracedistill.cli import main
from tracedistill.errors import InputError
from tracedistill.files import read_json

StudyFile = Callable[..., Path]


def silent(request: object) -> str:
    """A scripted student."""
    return "Answer: 1"


def recipe(study_file: StudyFile, tmp_path: Path, golds: list[Any], **task: Any) -> Path:
    path = tmp_path / "own.jsonl"
    splits = ["train"] * (len(golds) // 2) + ["test"] * (len(golds) - len(golds) // 2)
    rows = [{"question": f"Q{n}?", "answer": gold, "split": splits[n]} for n, gold in enumerate(golds)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return study_file(
        task={"name": "file", "path": str(path), "validation": 0, **task},
        students={"s": {"model": f"scripted:{__name__}:silent"}},
        arms={"standard": {}},
        comparisons=[],
    )


LABELLED = ["billing", "other"] * 20


@pytest.mark.parametrize(
    ("golds", "task", "words"),
    [
        (["billing", "othr"] * 20, {"labels": ["billing", "other"]}, "20 x ungradable, the gold is none of the labels"),
        ([*range(30), *[""] * 30], {}, "30 x blank"),
        (["twelve or so"] * 40, {"judge": "json"}, "40 x ungradable, the gold is not a JSON"),
    ],
)
def test_golds_that_fail_stop_run_and_dry_run_alike(
    study_file: StudyFile, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    golds: list[Any], task: dict[str, Any], words: str,
) -> None:  # fmt: skip
    path = recipe(study_file, tmp_path, golds, **task)
    with pytest.raises(InputError, match="fail their own judge") as raised:
        pipeline.run(pipeline.load(path), quiet=True)
    assert words in str(raised.value)
    assert "task.failing_golds" in str(raised.value)
    assert main(["run", str(path)]) == 2
    assert main(["run", str(path), "--dry-run"]) == 2
    assert words in capsys.readouterr().out
    assert main(["run", str(path), "task.failing_golds=1", "--quiet"]) == 0


def test_few_faults_are_told_with_examples(
    study_file: StudyFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = recipe(study_file, tmp_path, [*LABELLED, "refnd"], labels=["billing", "other"])
    pipeline.run(pipeline.load(path), "problems")
    assert "1 of 41 do not pass their own judge" in (out := capsys.readouterr().out)
    assert "file-test-40 'refnd'" in out


def test_blank_golds_are_counted_and_nobody_trains_on_them(study_file: StudyFile, tmp_path: Path) -> None:
    golds = [*range(20), "", *range(20, 40), ""]
    path = recipe(study_file, tmp_path, golds, failing_golds=0.2)
    loaded = pipeline.load(path)
    pipeline.run(loaded, "problems", quiet=True)
    report = read_json(loaded.study.folder / "problems.report.json")
    (blank,) = report["golds"]["failing"]
    assert (blank["what"], blank["n"]) == ("blank", 2)
    assert report["sizes"] == {"train": 20, "validation": 0, "test": 21}
    assert report["blank_left_out"] == ["file-train-20"]


def test_contradictions_and_repetitions_are_told_apart(study_file: StudyFile, tmp_path: Path) -> None:
    path = recipe(study_file, tmp_path, [*range(60)])
    rows = [json.loads(line) for line in (tmp_path / "own.jsonl").read_text().splitlines()]
    rows[1]["question"] = rows[0]["question"]
    rows[3] = {**rows[2]}
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    loaded = pipeline.load(path)
    pipeline.run(loaded, "problems", quiet=True)
    golds = read_json(loaded.study.folder / "problems.report.json")["golds"]
    assert (golds["contradictory"]["n"], golds["repeated"]["n"]) == (2, 1)
    assert golds["contradictory"]["examples"] == ["file-train-0 '0' and file-train-1 '1'"]


def test_the_judge_is_said_in_the_recipe(study_file: StudyFile, tmp_path: Path) -> None:
    golds = [100 * n for n in range(1, 41)]
    task = {"judge": "number", "tolerance": {"relative": 0.02}}
    loaded = pipeline.load(recipe(study_file, tmp_path, golds, **task))
    pipeline.run(loaded, "problems", quiet=True)
    first = json.loads((loaded.study.folder / "problems.jsonl").read_text().splitlines()[0])
    assert first["meta"]["relative"] == 0.02


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ({"judge": "exactly"}, "task.judge (line 5): unknown name 'exactly'; did you mean 'exact'?"),
        ({"judge": "json", "tolerance": {"relative": 0.1}}, "only valid with judge: number, not 'json'"),
        ({"tolerance": {"relative": -1}}, "must be at least 0"),
        ({"labels": ["a", "A"]}, "two labels are equal or differ only in case"),
        ({"labels": ["a"], "judge": "math"}, "only valid with judge: label"),
        ({"first_choice": 2}, "must be at most 1"),
        ({"failing_golds": 2}, "must be at most 1"),
        ({"name": "gsm8k", "judge": "math"}, "only valid with task file"),
    ],
)
def test_recipes_that_make_no_sense(study_file: StudyFile, tmp_path: Path, task: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as raised:
        pipeline.load(recipe(study_file, tmp_path, [1, 2], **task))
    assert words.split(" (")[0] in str(raised.value)
    assert words.rpartition(": ")[2] in str(raised.value)
