"""The rule for a file is told by all of its golds; each rule tells right from wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tracedistill.errors import InputError
from tracedistill.records import Problem, Verdict
from tracedistill.tasks._base import Source
from tracedistill.tasks.file.judge_choice import judged_by
from tracedistill.tasks.file.task import UserFile

TASK = UserFile()
TEXTS = [f"a text of its own, number {n}" for n in range(300)]


@pytest.mark.parametrize(
    ("golds", "rule", "exceptions"),
    [
        ([*map(str, range(100)), "N/A"], "number", ("N/A",)),
        ([*map(str, range(100)), "3.5e+02", "1,200", "60%", "$5", "-5 degrees", "36元"], "number", ()),
        ([*TEXTS, "C:\\temp"], "exact", ()),
        ([*TEXTS, "\\frac{1}{2}"], "exact", ()),
        ([*map(str, range(50)), "\\frac{1}{2}", "x^2 + 1"], "math", ()),
        (["\\frac{1}{2}", "3", "\\sqrt{2}", "none"] * 10 + ["2"] * 60, "math", None),
        (["\\frac{1}{2}", "3", "(10, 0)", "1+i", "-x - 2y + 3", "2:30", "x"] * 5, "math", ()),
        ([f"A{n}" for n in range(50)], "exact", ()),
        (["billing", "delivery", "other"] * 10, "label", ()),
        (["billing", "Billing", "other"] * 10, "label", ()),
        (["age > 8", "age < 8", "age = 8"], "exact", ()),
        (['{"a": 1}', '{"b": [2]}', "[]"], "json", ()),
        ([str(n % 5) for n in range(100)], "number", ()),
        ([], "exact", ()),
    ],
)
def test_all_golds_decide(golds: list[str], rule: str, exceptions: tuple[str, ...] | None) -> None:
    judged = judged_by(golds, 0)
    assert judged.rule == rule, judged
    assert judged.cause
    if exceptions is not None:
        assert judged.exceptions == exceptions


def test_labels_are_counted_in_their_most_frequent_spelling() -> None:
    judged = judged_by(["Billing"] * 5 + ["billing"] * 3 + ["other"] * 4, 0)
    assert judged.labels == {"Billing": 8, "other": 4}
    said = judged_by(["billing", "refund", "refnd"], 0, labels=("billing", "refund", "other"))
    assert (said.labels, said.exceptions, said.n_exceptions) == ({"billing": 1, "refund": 1, "other": 0}, ("refnd",), 1)


def one(tmp_path: Path, gold: Any, **more: Any) -> Problem:
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps({"question": "What is it?", "answer": gold, "split": "test", "db": "orders"}) + "\n")
    return next(TASK.load("test", Source(path=str(path), **more)))


LABELS = {"labels": ("billing", "delivery", "not urgent", "urgent", "C++", "C", "A+", "A")}


@pytest.mark.parametrize(
    ("gold", "judge", "text", "outcome"),
    [
        # labels: one of the closed set, named in the final statement
        ("billing", LABELS, "Answer: billing", "correct"),
        ("billing", LABELS, "The label is **Billing**.", "correct"),
        ("billing", LABELS, "Answer: delivery", "incorrect"),
        ("billing", LABELS, "Answer: billing or delivery", "missing"),
        ("billing", LABELS, "Answer: refunds", "missing"),
        ("billing", LABELS, "First I thought of delivery.\nAnswer: billing", "correct"),
        ("urgent", LABELS, "Answer: not urgent", "incorrect"),
        ("not urgent", LABELS, "Answer: not urgent", "correct"),
        ("not urgent", LABELS, "Answer: not_urgent", "correct"),
        ("C", LABELS, "Answer: C++", "incorrect"),
        ("C++", LABELS, "Answer: C++", "correct"),
        ("A", LABELS, "Answer: A+", "incorrect"),
        ("A", LABELS, "Answer: A-", "missing"),
        ("refnd", LABELS, "Answer: billing", "ungradable"),
        # numbers, exactly and within a tolerance
        (250, {}, "Answer: 251", "incorrect"),
        (250, {"relative": 0.02}, "Answer: $255", "correct"),
        (250, {"relative": 0.02}, "Answer: 255.01", "incorrect"),
        (250, {"absolute": 0.3}, "Answer: 250.3", "correct"),
        (250, {"absolute": 0.3}, "Answer: 250.31", "incorrect"),
        (100, {"relative": 0.3}, "Answer: 130", "correct"),
        ("3.5e+02", {}, "Answer: 350", "correct"),
        ("-5", {}, "Answer: 5", "incorrect"),
        # JSON: keys in any order, numbers as numbers
        ({"total": 12.5, "name": "Ana"}, {}, 'Answer: {"name": "Ana", "total": 12.50}', "correct"),
        ({"total": 12.5}, {}, 'Here it is:\n```json\n{"total": 12.5}\n```', "correct"),
        ({"total": 12}, {}, 'Answer: {"total": 12.0}', "correct"),
        ({"total": 12}, {}, 'Answer: {"total": "12"}', "incorrect"),
        ({"total": 12}, {}, 'Answer: {"total": 12, "tax": 1}', "incorrect"),
        ({"total": 12}, {}, 'Answer: {"total": true}', "incorrect"),
        ({"total": 1}, {}, 'Answer: {"total": true}', "incorrect"),
        ({"total": 12}, {}, "Answer: 12", "missing"),
        ({"total": 12}, {}, 'Answer: {"total": 12', "missing"),
        ({"a": [1, 2]}, {}, 'Answer: {"a": [2, 1]}', "incorrect"),
        # patterns: the whole answer matches
        ("INV-\\d{4}", {"judge": "regex"}, "Answer: INV-0042", "correct"),
        ("INV-\\d{4}", {"judge": "regex"}, "Answer: INV-00423", "incorrect"),
        ("INV-(", {"judge": "regex"}, "Answer: INV-0042", "ungradable"),
        # blocks: line by line
        ("def f():\n    return 1", {"judge": "exact"}, "```python\ndef f():\n    return 1\n```", "correct"),
        ("def f():\n    return 1", {"judge": "exact"}, "```python\ndef f():\nreturn 1\n```", "incorrect"),
        ("SELECT 1", {"judge": "exact"}, "", "missing"),
        ("It is red. It is round.", {"judge": "exact"}, "Answer: It is red. It is round.", "correct"),
        ("It is red. It is round.", {"judge": "exact"}, "Answer: It is red. It is square.", "incorrect"),
        # nothing to judge by
        ("", {}, "Answer: 3", "ungradable"),
    ],
)
def test_right_and_wrong(tmp_path: Path, gold: Any, judge: dict[str, Any], text: str, outcome: str) -> None:
    verdict = TASK.judge_answer(one(tmp_path, gold, **judge), text).answer
    assert verdict.outcome == outcome, verdict


def test_a_pattern_without_end_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tracedistill.tasks.file.judges.PATTERN_SECONDS", 0.05)
    verdict = TASK.judge_answer(one(tmp_path, "(a|aa)+$b", judge="regex"), "Answer: " + "a" * 60).answer
    assert (verdict.outcome, verdict.reason) == ("ungradable", "the gold's pattern timed out")


def same_rows(answer: str, problem: Problem) -> bool | Verdict | str:
    """A judge of the user's own, which sees the row's other columns."""
    assert problem.meta["row"]["db"] == "orders"
    if answer == "boom":
        raise ValueError("no such table")
    if answer == "text":
        return "yes"
    if answer == "half":
        return Verdict("incorrect", reason="half of the rows")
    return answer.casefold() == problem.answers[0].casefold()


@pytest.mark.parametrize(
    ("text", "outcome", "reason"),
    [
        ("Answer: select 1", "correct", "verdict of"),
        ("```sql\nSELECT 1\n```", "correct", "verdict of"),
        ("Answer: select 2", "incorrect", "verdict of"),
        ("Answer: half", "incorrect", "half of the rows"),
        ("Answer: boom", "ungradable", "failed: ValueError: no such table"),
        ("Answer: text", "ungradable", "returned str, not bool"),
        ("", "missing", "nothing is stated"),
    ],
)
def test_a_judge_of_ones_own(tmp_path: Path, text: str, outcome: str, reason: str) -> None:
    problem = one(tmp_path, "SELECT 1", judge=f"{__name__}:same_rows")
    verdict = TASK.judge_answer(problem, text).answer
    assert (verdict.outcome, reason in verdict.reason) == (outcome, True), verdict
    assert TASK.gold_fault(problem) == ""


@pytest.mark.parametrize(
    ("judge", "message"),
    [
        ("exactly", "unknown judge 'exactly'; known: auto, exact"),
        ("no.such:thing", "task.judge: cannot import no.such:thing"),
        (f"{__name__}:TASK", "not a function"),
    ],
)
def test_a_judge_that_is_none(tmp_path: Path, judge: str, message: str) -> None:
    with pytest.raises(InputError) as raised:
        TASK.judge_answer(one(tmp_path, "x", judge=judge), "Answer: x")
    assert message in str(raised.value)


def test_an_odd_gold_is_judged_as_text(tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    rows = "".join(f"How many are {n}?,{n},test\n" for n in range(40))
    path.write_text(f"question,answer,split\n{rows}And of none?,N/A,test\n")
    problem = list(TASK.load("test", Source(path=str(path))))[-1]
    assert problem.meta["judge"] == "number"
    assert TASK.judge_answer(problem, "Answer: N/A").answer.ok
    assert TASK.judge_answer(problem, "Answer: 3").answer.outcome == "incorrect"
    assert TASK.gold_fault(problem) == ""


def test_the_prompt_names_the_task_and_the_labels(tmp_path: Path) -> None:
    problem = one(tmp_path, "billing", labels=("billing", "other"), instruction="Route the ticket.")
    assert TASK.render_problem(problem) == "Route the ticket.\nWhat is it?\nAnswer with one of: billing, other"
    assert TASK.closed_answers(problem) == ("billing", "other")


def test_templates_leave_blank_lines_out(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    rows = [{"instruction": "Add.", "input": "1 2"}, {"instruction": "Name a bird.", "input": ""}]
    path.write_text("".join(json.dumps({**row, "output": "x", "split": "test"}) + "\n" for row in rows))
    columns = {"question": "{instruction}\n{input}", "answer": "output"}
    found = [problem.question for problem in TASK.load("test", Source(path=str(path), columns=columns))]
    assert found == ["Add.\n1 2", "Name a bird."]
    columns["question"] = "{instruction}\n{inputs}"
    with pytest.raises(InputError, match="row 1: no column 'inputs' for the template"):
        list(TASK.load("test", Source(path=str(path), columns=columns)))
