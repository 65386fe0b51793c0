"""Agreement with labels that people gave; skipped where the shared data is absent."""

from __future__ import annotations

import gzip
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from tracedistill.answers import NUMBER, AnswerPolicy, equal, judge, read_answer

PATIENT = AnswerPolicy(seconds=10)
ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("TRACEDISTILL_DATA") or ROOT.parent / "shared" / "data")
pytestmark = pytest.mark.skipif(
    not (DATA / "labelled").is_dir(), reason="no shared data: set TRACEDISTILL_DATA or put it in ../shared/data"
)


def read(name: str) -> list[dict[str, Any]]:
    with gzip.open(DATA / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def test_final_statements_of_real_outputs() -> None:
    labels = {row["id"]: row for row in read("labelled/trace_of_thought_gsm8k_verdicts") if not row["ambiguous"]}
    rows = [row for row in read("published_outputs/trace_of_thought") if row["id"] in labels]
    assert len(rows) == 1179
    found = [(judge(row["gold"], row["text"], row["question"], NUMBER).answer.ok, labels[row["id"]]) for row in rows]
    assert sum(ok == label["correct"] for ok, label in found) / len(found) >= 0.99
    assert sum(ok and not label["correct"] for ok, label in found) <= 3


def test_the_body_is_credited_where_the_closing_line_contradicts_it() -> None:
    labels = {row["id"]: row for row in read("labelled/trace_of_thought_gsm8k_verdicts")}
    rows = [row for row in read("published_outputs/trace_of_thought") if row["id"] in labels]
    rows = [row for row in rows if labels[row["id"]]["note"].startswith("body concludes gold")]
    assert len(rows) >= 10
    verdicts = [judge(row["gold"], row["text"], row["question"], NUMBER) for row in rows]
    assert not any(verdict.answer.ok for verdict in verdicts)
    assert sum(verdict.derived.ok for verdict in verdicts) >= len(rows) - 1


def test_solutions_of_older_models() -> None:
    rows = read("labelled/gsm8k_model_solutions")
    wrong = [
        row["id"]
        for row in rows
        if judge(row["gold"], row["solution"], row["question"], NUMBER).answer.ok != row["is_correct"]
    ]
    assert wrong == []


def test_every_disagreement_on_equivalence_is_listed() -> None:
    listed = set(
        re.findall(r"^\| (eq-\d+) \|", (ROOT / "docs" / "grading-disagreements.md").read_text("utf-8"), re.MULTILINE)
    )
    found = set()
    for row in read("labelled/answer_equivalence"):
        gold = read_answer(row["gold"]).text or row["gold"]
        answer = read_answer(row["prediction"]).text
        if (answer is not None and equal(gold, answer, PATIENT).ok) != row["equivalent"]:
            found.add(row["id"])
    assert found == listed


def test_golds_of_math_equal_themselves() -> None:
    rows = read("math/train") + read("math/math500")
    wrong = [row["id"] for row in rows if not equal(row["answer"], f"${row['answer']}$", PATIENT).ok]
    assert [row["answer"] for row in rows if row["id"] in wrong] == ["", ""]


def test_golds_of_math_are_read_from_their_solutions() -> None:
    page = (ROOT / "docs" / "grading-disagreements.md").read_text("utf-8")
    for row in read("math/math500") + read("math/train")[::8]:
        found = read_answer(row["solution"], row["problem"])
        same = found.text is not None and equal(row["answer"], found.text, PATIENT).ok
        assert same or f"| {row['id']} |" in page, (row["id"], found)
