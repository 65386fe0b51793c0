"""Kinds of faults that judges of answers have, through the tasks as users reach them: one case per line of a table."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tracedistill.answers.symbolic import SymbolicBudget
from tracedistill.tasks import get_task

CASES = Path(__file__).parents[1] / "cases"
TABLES = (CASES / "answers_kinds.jsonl", CASES / "answers_variants.jsonl")
ROWS: list[dict[str, Any]] = [
    json.loads(line) for table in TABLES for line in table.read_text(encoding="utf-8").splitlines()
]
"""kind, task, gold, text, right (correct, incorrect or ungradable), and question and choices where there are any.

`incorrect` stands for every outcome that is not correct: an answer that only denies the gold is missing.
"""


@pytest.mark.parametrize("row", ROWS, ids=[f"{row['kind'][:1]}-{place}" for place, row in enumerate(ROWS)])
def test_the_verdict_is_right(row: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    # a busy machine must not turn a comparison into a time-out
    monkeypatch.setattr("tracedistill.answers.judging.SymbolicBudget", lambda _: SymbolicBudget(10.0))
    task = get_task(row["task"])
    golds = tuple(row["gold"]) if isinstance(row["gold"], list) else (row["gold"],)
    problem = task.problem_of_row("case", row.get("question", ""), golds)
    if "choices" in row:
        problem = replace(problem, choices=tuple(zip("ABCDEFGH", row["choices"], strict=False)))
    verdict = task.judge_answer(problem, row["text"]).answer
    if row["right"] == "incorrect":
        assert not verdict.ok, verdict
    else:
        assert verdict.outcome == row["right"], verdict


def test_every_kind_has_cases_on_both_sides() -> None:
    sides = Counter((row["kind"][:1], row["right"]) for row in ROWS)
    for kind in "12345678":
        assert sides[kind, "correct"] >= 3
        assert sides[kind, "incorrect"] >= 3
