"""The problems stage: what training and evaluation problems share is dropped where exact, listed where near."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tracedistill import pipeline
from tracedistill.files import read_json

StudyFile = Callable[..., Path]
LONG = (
    "A baker sells forty loaves of bread every morning and then half as many rolls in the afternoon of the same day, "
    "while her brother sells sixty cakes at the market in the next town over the hill"
)


def row(number: int, question: str) -> dict[str, Any]:
    solution = f"{number}+1 = <<{number}+1={number + 1}>>{number + 1}\n#### {number + 1}"
    return {"id": f"p{number}", "question": question, "answer": solution}


def drawn(study_file: StudyFile, tmp_path: Path, train: list[str], test: list[str], **rule: Any) -> dict[str, Any]:
    folder = tmp_path / "data" / "gsm8k"
    folder.mkdir(parents=True, exist_ok=True)
    for name, questions, first in (("train", train, 0), ("test", test, 1000)):
        rows = [row(first + number, question) for number, question in enumerate(questions)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    task = {"name": "gsm8k", "data_dir": str(tmp_path / "data"), "validation": 0}
    loaded = pipeline.load(study_file(task=task, arms={"standard": {}}, comparisons=[], validation=rule))
    pipeline.run(loaded, "problems", quiet=True)
    return dict(read_json(loaded.study.folder / "problems.report.json"))


TRAIN = ["How many pens?", "how  many PENS", f"{LONG}. How many breads and cakes?",
         "Ann has 3 pens and 4 cups. How many?",
         "What is left of the twelve?", "What is left of the twelve!"]  # fmt: skip
TEST = ["How many pens?", f"{LONG}; how much do they earn together?", "Ann has 5 pens and 4 cups. How many?"]


def test_exact_copies_are_dropped_and_near_ones_listed(study_file: StudyFile, tmp_path: Path) -> None:
    report = drawn(study_file, tmp_path, TRAIN, TEST)
    assert report["dropped_from_train"] == ["p0", "p1"], "exact, and but for case and spaces"
    assert report["sizes"] == {"train": 4, "validation": 0, "test": 3}
    near = report["near"]
    assert {(pair["train_id"], pair["eval_id"], pair["tier"]) for pair in near["pairs"]} >= {("p2", "p1001", "overlap")}
    (pair,) = [pair for pair in near["pairs"] if pair["train_id"] == "p2"]
    assert "a baker sells forty loaves" in pair["evidence"]
    assert near["by_tier"]["exact"] == near["by_tier"]["normalised"] == 1
    assert near["left_off"] == 0
    assert [sorted(repeat["ids"]) for repeat in report["duplicates"]["train"]] == [["p0", "p1"], ["p4", "p5"]]
    assert report["duplicates"]["test"] == []


def test_overlap_keep_drops_nothing_and_makes_the_problems_again(study_file: StudyFile, tmp_path: Path) -> None:
    drawn(study_file, tmp_path, TRAIN, TEST)
    report = drawn(study_file, tmp_path, TRAIN, TEST, overlap="keep")
    assert report["dropped_from_train"] == []
    assert report["sizes"]["train"] == 6
    assert report["near"]["by_tier"]["exact"] == 1


def test_nothing_shared_is_said_too(study_file: StudyFile, tmp_path: Path) -> None:
    report = drawn(study_file, tmp_path, ["How many apples fell?"], ["Which train was late?"])
    assert report["near"]["pairs"] == []
    assert report["dropped_from_train"] == []
