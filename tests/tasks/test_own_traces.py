"""Traces of one's own data: told apart by their text; what is not wrong is kept, what is refused is counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tracedistill import pipeline
from tracedistill.engines import Request
from tracedistill.errors import InputError
from tracedistill.files import read_json, read_jsonl, read_lines
from tracedistill.records import Problem, Step, Trace
from tracedistill.tasks import get_task
from tracedistill.teachers import kind_by_majority
from tracedistill.validation import Validation, validate

StudyFile = Callable[..., Path]
TICKETS = ["billing", "delivery"]


def ticket_teacher(request: Request) -> str:
    """A teacher that reasons in words alone, and is right."""
    label = "billing" if "invoice" in request.messages[-1].content else "delivery"
    return f"Read what the customer writes. It is about {label}.\nAnswer: {label}"


def wrong_teacher(request: Request) -> str:
    """A teacher that is always wrong."""
    return ticket_teacher(request).replace("billing", "x").replace("delivery", "billing").replace("x", "delivery")


def study(study_file: StudyFile, tmp_path: Path, rows: list[dict[str, Any]], **changes: Any) -> pipeline.LoadedStudy:
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {"name": "file", "path": str(path), "validation": 0, **changes.pop("task", {})}
    arms = {"correct-trace": {"tune": "correct"}, "answer-only": {"tune": "none"}}
    return pipeline.load(study_file(task=task, arms=arms, comparisons=[], **changes))


def tickets(n: int = 32) -> list[dict[str, Any]]:
    return [
        {
            "id": f"t{i}",
            "question": f"My {'invoice' if i % 2 else 'parcel'} number {i} is wrong.",
            "answer": TICKETS[1 - i % 2],
            "split": "train" if i < n - 8 else "test",
        }
        for i in range(n)
    ]


def accepted(loaded: pipeline.LoadedStudy, teacher: str) -> list[Validation]:
    return list(read_jsonl(loaded.study.folder / f"validation/{teacher}.jsonl", Validation))


def test_right_answers_without_a_trace_grammar_are_kept(study_file: StudyFile, tmp_path: Path) -> None:
    teacher = {"kind": "model", "model": f"scripted:{__name__}:ticket_teacher", "prompt": "chain-of-thought"}
    loaded = study(study_file, tmp_path, tickets(), teachers={"t": teacher}, cache=str(tmp_path / "cache.sqlite"))
    pipeline.run(loaded, "assemble", quiet=True)
    verdicts = accepted(loaded, "t")
    assert {(v.trace.outcome, v.answer.outcome, v.accepted) for v in verdicts} == {("not judged", "correct", True)}
    assert len([row for _, row in read_lines(loaded.study.folder / "sft/correct-trace.jsonl")]) == 24


def test_when_all_is_refused_the_reasons_and_the_key_are_told(study_file: StudyFile, tmp_path: Path) -> None:
    teacher = {"kind": "model", "model": f"scripted:{__name__}:wrong_teacher", "prompt": "chain-of-thought"}
    loaded = study(study_file, tmp_path, tickets(), teachers={"t": teacher}, cache=str(tmp_path / "cache.sqlite"))
    with pytest.raises(InputError) as raised:
        pipeline.run(loaded, "assemble", quiet=True)
    assert "t: 0 of 24 traces accepted; 24 x answer incorrect" in str(raised.value)
    assert "validation.keep=parsed" in str(raised.value)


@pytest.mark.parametrize(
    ("texts", "reads"),
    [
        (["1. Multiply the boxes by the pens.\n2. Subtract the lost ones."] * 3, "plan"),
        (["3 * 4 = 12. The answer is 12"] * 3, "solution"),
        (["Read the ticket. It is about money.\nAnswer: billing"] * 3, "solution"),
        (["<think>Add them.</think> 12"] * 3, "solution"),
        (["Multiply the boxes. So \\boxed{12}."], "solution"),
        (["1. Multiply the boxes by the pens.", "1. Add them up.", "3 * 4 = 12"], "plan"),
        (["Something else entirely."], "solution"),
        ([], "solution"),
    ],
)
def test_what_a_text_is_tells_how_it_is_read(texts: list[str], reads: str) -> None:
    assert kind_by_majority(texts)[0] == reads


SUMS = [
    {
        "question": f"Ana has {n} boxes of 4 pens. How many pens?",
        "answer": 4 * n,
        "worked": f"Each box has 4 pens. {n} * 4 = {4 * n}\nAnswer: {4 * n + (n % 5 == 0)}",
        "split": "train" if n < 30 else "test",
    }
    for n in range(1, 41)
]


def test_traces_in_the_problems_rows_need_no_id_and_wrong_ones_are_refused(
    study_file: StudyFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = study(
        study_file, tmp_path, SUMS, task={"columns": {"trace": "worked"}}, teachers={"own": {"kind": "recorded"}}
    )
    pipeline.run(loaded, "assemble")
    assert "own: read as solutions: of 40 texts 40 calculate or state an answer" in capsys.readouterr().out
    wrong = {v.problem_id for v in accepted(loaded, "own") if not v.accepted}
    assert len(wrong) == 8
    assert all("answer incorrect" in v.reason for v in accepted(loaded, "own") if not v.accepted)
    learnt = [row["problem_id"] for _, row in read_lines(loaded.study.folder / "sft/correct-trace.jsonl")]
    assert len(learnt) == 24
    assert not wrong & set(learnt)


def test_no_trace_anywhere_says_which_key(study_file: StudyFile, tmp_path: Path) -> None:
    loaded = study(study_file, tmp_path, SUMS, teachers={"own": {"kind": "recorded"}})
    with pytest.raises(InputError, match=r"name the column as `task.columns: \{trace: <column>\}`"):
        pipeline.run(loaded, "teach", quiet=True)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"problem_id": "p-1", "text": "3 * 4 = 12"}, "its ids look like 'p-1', the study's like 't"),
        ({"key": "t1", "text": "3 * 4 = 12"}, "no row has an id in column 'problem_id'"),
    ],
)
def test_recorded_traces_of_no_problem_are_an_error(
    study_file: StudyFile, tmp_path: Path, row: dict[str, Any], words: str
) -> None:
    path = tmp_path / "traces.jsonl"
    path.write_text(json.dumps(row) + "\n")
    loaded = study(study_file, tmp_path, tickets(), teachers={"r": {"kind": "recorded", "path": str(path)}})
    with pytest.raises(InputError, match=words):
        pipeline.run(loaded, "teach", quiet=True)


@pytest.mark.parametrize(
    ("last", "outcome"),
    [("12 - 2 = 10", "missing"), ("12 - 2 = 11", "incorrect"), ("So it is done.", "missing")],
)
def test_a_solution_that_ends_elsewhere_is_not_learnt_with_the_right_gold(last: str, outcome: str) -> None:
    task = get_task("gsm8k")
    problem = Problem("p", "gsm8k", "train", "3 boxes of 4 pens, 2 are lost?", ("10",))
    steps = task.parse_trace(f"1. Look.\n2. {last}").steps
    trace = Trace("t", "p", "m", steps, f"1. Look.\n2. {last}", meta={"reads": "solution"})
    (verdict,) = validate(task, {"p": problem}, [trace], "answer")
    assert verdict.answer.outcome == outcome


def test_a_solution_of_imperatives_is_no_plan() -> None:
    steps = (Step("plan", "Read the ticket."), Step("plan", "Name its subject."))
    problem = Problem("p", "file", "train", "My invoice is wrong.", ("billing",), meta={"judge": "exact"})
    for reads, plan in (("solution", False), ("plan", True)):
        trace = Trace("t", "p", "m", steps, "x", answer="billing", meta={"reads": reads})
        (verdict,) = validate(get_task("file"), {"p": problem}, [trace], "correct")
        assert (verdict.plan, verdict.accepted) == (plan, True)


def test_the_report_says_not_judged_once(study_file: StudyFile, tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in tickets()))
    recipe = study_file(
        task={"name": "file", "path": str(path), "validation": 0},
        students={"s": {"model": f"scripted:{__name__}:ticket_teacher"}},
        arms={"chain-of-thought": {"prompt": "chain-of-thought"}, "standard": {}},
        comparisons=[],
    )
    loaded = pipeline.load(recipe)
    pipeline.run(loaded, quiet=True)
    report = read_json(loaded.study.folder / "report.json")
    arm = report["arms"][0]
    assert (arm["trace_not_judged"], arm["trace_none"], arm["judges_traces"], arm["joint"]) == (8, 0, False, [0] * 4)
    assert sum("Some traces are not judged" in line for line in report["limits"]) == 1
    assert "not judged" in (loaded.study.folder / "report.md").read_text()
    assert "none written" not in (loaded.study.folder / "report.html").read_text()
