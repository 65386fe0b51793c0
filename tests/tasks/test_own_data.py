"""Twelve files that people bring, from `init` to a report: the right judge, and the right counts, for every kind."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import own_scripts
from tracedistill import pipeline
from tracedistill.cli import main
from tracedistill.files import read_jsonl, read_lines
from tracedistill.records import Problem

DATA = Path(__file__).parents[1] / "data"


@dataclass(frozen=True)
class Kind:
    """One file and what `init` must make of it."""

    file: str
    judge: str
    facts: dict[str, Any]
    options: Sequence[str] = ()
    traces: bool = False


KINDS = [
    Kind("tickets.csv", "label", {
        "question": "{subject}\n{body}", "answer": "queue", "unused": ["ticket", "opened"],
        "labels": {"account": 8, "billing": 16, "delivery": 16},
    }),
    Kind("chinese_maths.jsonl", "number", {"question": "question", "answer": "answer", "unused": ["题目编号"]}),
    Kind("medqa.jsonl", "choice", {"choices": "options", "unused": ["meta_info", "answer_idx"]}),
    Kind("mmlu.csv", "choice", {"choices": "choices", "answer": "answer", "unused": []}),
    Kind("alpaca.json", "exact", {"question": "{instruction}\n{input}", "answer": "output", "unused": []}),
    Kind("sharegpt.json", "exact", {"question": "conversations", "answer": "conversations", "id": "id"}),
    Kind("openai_messages.jsonl", "number", {"question": "messages", "trace": "messages"}, traces=True),
    Kind("openthoughts.jsonl", "math", {"question": "conversations", "trace": "conversations"}, traces=True),
    Kind("text_to_sql.jsonl", "tests.own_scripts:same_rows", {"context": "context", "answer": "sql", "unused": ["db"]},
         ("--judge", "tests.own_scripts:same_rows")),
    Kind("extraction.jsonl", "json", {"question": "text", "answer": "expected_output"}),
    Kind("prices.csv", "number", {"question": "description", "answer": "price", "unused": ["sku"]},
         ("--tolerance", "2%")),
    Kind("gsm8k_like.jsonl", "number", {"question": "question", "answer": "answer", "trace": "answer"}, traces=True),
]  # fmt: skip


def started(kind: Kind, folder: Path, capsys: pytest.CaptureFixture[str], student: str) -> dict[str, Any]:
    arguments = ["--out", str(folder / "study.yaml"), "--student", f"scripted:tests.own_scripts:{student}", "--json"]
    assert main(["init", str(DATA / kind.file), *arguments, *kind.options]) == 0
    return dict(json.loads(capsys.readouterr().out))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.file)
def test_from_init_to_a_report(kind: Kind, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = started(kind, tmp_path, capsys, "perfect")
    assert facts["judge"] == kind.judge
    assert {key: facts[key] for key in kind.facts} == kind.facts
    assert (facts["rows"], facts["failing_golds"]) == (40, 0)
    assert facts["splits"] == {"train": 32, "validation": 4, "test": 4}
    for student, right in (("perfect", 4), ("wrong", 0)):
        overrides = [
            f"run_dir={tmp_path / student}", f"students.student.model=scripted:tests.own_scripts:{student}",
            "arms={standard: {}, chain-of-thought: {prompt: chain-of-thought}}", "comparisons=[]",
        ]  # fmt: skip
        loaded = pipeline.load(facts["recipe"], overrides)
        pipeline.run(loaded, "problems", quiet=True)
        own_scripts.PROBLEMS.clear()
        problems = list(read_jsonl(loaded.study.folder / "problems.jsonl", Problem))
        own_scripts.PROBLEMS.update({problem.problem_id: problem for problem in problems})
        pipeline.run(loaded, quiet=True)
        for arm in pipeline.report_of(loaded).arms:
            assert (arm.n, arm.correct, arm.missing, arm.ungradable) == (4, right, 0, 0), student


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.file)
def test_rows_to_tune_on_hold_the_gold_and_the_trace(
    kind: Kind, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = started(kind, tmp_path, capsys, "perfect")
    recipe = yaml.safe_load(Path(facts["recipe"]).read_text())
    assert ("correct-trace" in recipe["arms"]) == kind.traces
    loaded = pipeline.load(facts["recipe"], [f"run_dir={tmp_path / 'run'}"])
    pipeline.run(loaded, "assemble", quiet=True)
    golds = {p.problem_id: p.answers[0] for p in read_jsonl(loaded.study.folder / "problems.jsonl", Problem)}
    rows = [row for _, row in read_lines(loaded.study.folder / "sft/answer-only.jsonl")]
    assert len(rows) == 32
    assert all(row["completion"].endswith(golds[row["problem_id"]]) for row in rows)
    if kind.traces:
        traced = [row for _, row in read_lines(loaded.study.folder / "sft/correct-trace.jsonl")]
        assert len(traced) == 32
        assert all(len(row["completion"]) > len(golds[row["problem_id"]]) + 20 for row in traced)
        # the trace is no part of what the arm without traces learns
        assert max(len(row["completion"]) for row in rows) < 60
