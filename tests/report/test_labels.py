"""Labels on the page: macro-F1, each label's figures, confusions; none where the set of answers is open."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tracedistill import pipeline
from tracedistill.engines import Request
from tracedistill.files import read_json
from tracedistill.report.arms_table import arms_table
from tracedistill.report.reader import read_report
from tracedistill.report.sections.labels import PredictedLabels, confusion, macro_f1

StudyFile = Callable[..., Path]


def sorter(request: Request) -> str:
    """Takes every third ticket for billing, and says nothing of one."""
    number = int(request.messages[-1].content.split("number ")[1].split(" ")[0])
    if number == 30:
        return "I would rather not say."
    right = ["billing", "delivery", "other"][number % 3]
    return f"Answer: {'billing' if number % 4 == 1 else right}"


def study(study_file: StudyFile, tmp_path: Path, answers: list[Any]) -> dict[str, Any]:
    path = tmp_path / "own.jsonl"
    rows = [
        {"question": f"Ticket number {n} is open.", "answer": answer, "split": "test" if n >= 10 else "train"}
        for n, answer in enumerate(answers)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = study_file(
        task={"name": "file", "path": str(path), "validation": 0},
        students={"s": {"model": f"scripted:{__name__}:sorter"}},
        arms={"standard": {}},
        comparisons=[],
    )
    loaded = pipeline.load(recipe)
    pipeline.run(loaded, quiet=True)
    return dict(read_json(loaded.study.folder / "report.json"))


@pytest.mark.parametrize(
    ("answer", "counted"), [(lambda n: ["billing", "delivery", "other"][n % 3], True), (str, False)]
)
def test_candidates_are_counted_where_the_set_of_answers_is_closed(
    study_file: StudyFile, tmp_path: Path, answer: Callable[[int], str], counted: bool
) -> None:
    report = study(study_file, tmp_path, [answer(n) for n in range(40)])
    (arm,) = report["arms"]
    assert (arm["candidate"] is not None) == counted
    table = arms_table(read_report(tmp_path / "run"))
    assert table.rows[0][table.heads.index("candidate right")] == arm["candidate"]
    assert "| None |" not in (tmp_path / "run" / "report.md").read_text()
    assert "<td>None</td>" not in (tmp_path / "run" / "report.html").read_text()


def section(report: dict[str, Any]) -> dict[str, Any] | None:
    return next((part for part in report["sections"] if part["key"] == "labels"), None)


def test_labels_are_counted_on_the_page(study_file: StudyFile, tmp_path: Path) -> None:
    report = study(study_file, tmp_path, [["billing", "delivery", "other"][n % 3] for n in range(40)])
    found = section(report)
    assert found is not None
    macro, each, confusions = found["tables"]
    (row,) = macro["rows"]
    assert (row[0], row[1], row[5]) == ("standard", 30, 1)
    # 30 test tickets 10..39: golds 10 each; 5 of delivery and other (n % 4 == 1) and 2 of billing itself are "billing"
    assert [line[1:4] for line in each["rows"]] == [["billing", 10, 14], ["delivery", 10, 7], ["other", 10, 8]]
    assert confusions["heads"] == ["gold", "billing", "delivery", "other", "no label"]
    assert confusions["rows"] == [["billing", 9, 0, 0, 1], ["delivery", 3, 7, 0, 0], ["other", 2, 0, 8, 0]]
    expected = (2 * 9 / 24 + 2 * 7 / 17 + 2 * 8 / 18) / 3
    assert row[3] == f"{100 * expected:.1f}%"


def test_an_open_set_has_no_labels(study_file: StudyFile, tmp_path: Path) -> None:
    assert section(study(study_file, tmp_path, [str(n) for n in range(40)])) is None


@pytest.mark.parametrize(
    ("gold", "said", "expected"),
    [
        ([0, 0, 1, 1], [0, 0, 1, 1], 1.0),
        ([0, 0, 1, 1], [1, 1, 0, 0], 0.0),
        ([0, 0, 0, 1], [0, 0, 0, 0], (6 / 7 + 0) / 2),
        ([0, 0, 1], [0, 2, 1], (2 * 1 / 3 + 1) / 2),  # 2: none of the labels
        ([0, 0], [0, 0], 1.0),  # a label that is neither a gold nor an answer does not count
    ],
)
def test_macro_f1(gold: list[int], said: list[int], expected: float) -> None:
    found = macro_f1(confusion(PredictedLabels(("a", "b"), np.array(gold), np.array(said))))
    assert found == pytest.approx(expected)
