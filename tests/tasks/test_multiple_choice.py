from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.tasks.shared_data import SOURCE, needs_data, write_rows
from tracedistill.errors import InputError
from tracedistill.records import Problem, Step
from tracedistill.tasks._multiple_choice import MultipleChoice
from tracedistill.tasks.arc_challenge import ArcChallenge
from tracedistill.tasks.commonsenseqa import CommonsenseQA
from tracedistill.tasks.openbookqa import OpenBookQA

TASK = ArcChallenge()
ROW = {
    "id": "q1",
    "question": "Which skin surface produces most heat?",
    "choices": [["A", "dry palms"], ["B", "wet palms"], ["C", "palms covered with oil"]],
    "answer": "A",
}


def load(tmp_path: Any, task: MultipleChoice = TASK, **change: Any) -> Problem:
    (problem,) = task.load("train", write_rows(tmp_path, f"other/{task.name}_train.jsonl", [ROW | change]))
    return problem


@pytest.mark.parametrize(
    ("text", "answer", "candidate"),
    [
        ("Answer: (A)", "correct", "correct"),
        ("Dry skin rubs best.\nAnswer: (A) dry palms", "correct", "correct"),
        ("Wet palms slip.\nAnswer: (A)", "correct", "missing"),
        ("Answer: (B)", "incorrect", "incorrect"),
        ("I cannot tell.", "missing", "missing"),
        ("", "missing", "missing"),
    ],
)
def test_letters_and_words(tmp_path: Any, text: str, answer: str, candidate: str) -> None:
    verdicts = TASK.judge_answer(load(tmp_path), text)
    assert (verdicts.answer.outcome, verdicts.candidate.outcome) == (answer, candidate)


def test_numbered_choices_and_the_hub_s_form(tmp_path: Any) -> None:
    plain = load(tmp_path)
    texts = [text for _, text in ROW["choices"]]
    numbered = load(tmp_path, choices=[["1", texts[0]], ["2", texts[1]], ["3", texts[2]]], answer="1")
    assert (numbered.choices, numbered.answers) == (plain.choices, plain.answers)
    hub = {key: value for key, value in ROW.items() if key not in {"answer", "question"}}
    hub |= {"choices": {"text": texts, "label": ["A", "B", "C"]}, "answerKey": "A", "question_stem": ROW["question"]}
    book = OpenBookQA()
    (problem,) = book.load("train", write_rows(tmp_path, "other/openbookqa_train.jsonl", [hub]))
    assert (problem.choices, problem.answers, problem.question) == (plain.choices, plain.answers, plain.question)


def test_there_is_no_gold_trace_and_it_is_said(tmp_path: Any) -> None:
    problem = load(tmp_path)
    assert TASK.decompose(problem) is None
    steps = (Step("text", "Friction makes heat."), Step("text", "Dry skin has more of it."))
    assert TASK.parse_trace(TASK.render_trace(steps)).steps == steps
    verdict = TASK.judge_trace(problem, steps)
    assert (verdict.outcome, verdict.reason) == (
        "not judged",
        "task arc_challenge has no gold traces",
    )
    assert [step.outcome for step in verdict.steps] == ["undecided", "undecided"]
    assert TASK.parse_trace(" \n").reason == "empty trace"


def test_a_hidden_answer_is_ungradable(tmp_path: Any) -> None:
    problem = load(tmp_path, answer="")
    assert problem.answers == ()
    assert TASK.judge_answer(problem, "Answer: A").answer.outcome == "ungradable"
    assert TASK.audit(problem) == ["no gold answer: ungradable"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": "D"}, r"other/arc_challenge_train.jsonl, row 1: answer 'D' is none of the choices"),
        ({"choices": "A, B"}, r"row 1: column 'choices' must list pairs"),
        ({"choices": {"text": ["a"]}}, r"row 1: column 'choices' must list pairs"),
        ({"question": ""}, r"row 1: column 'question' must be text"),
    ],
)
def test_bad_rows_name_file_and_row(tmp_path: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(tmp_path, **change)


def test_a_missing_answer_column_and_an_unknown_split(tmp_path: Any) -> None:
    less = {key: value for key, value in ROW.items() if key != "answer"}
    with pytest.raises(InputError, match=r"row 1: no column 'answer'; it has: choices, id, question"):
        list(TASK.load("train", write_rows(tmp_path, "other/arc_challenge_train.jsonl", [less])))
    with pytest.raises(InputError, match="no split 'dev'"):
        list(TASK.load("dev", SOURCE))


@needs_data("other")
@pytest.mark.parametrize(
    ("task", "split", "n", "same", "failing"),
    [
        (ArcChallenge(), "train", 1119, 0, []),
        # its first choice is the word "C" (carbon), its third the right one
        (ArcChallenge(), "test", 1172, 0, ["Mercury_402547"]),
        (OpenBookQA(), "train", 4957, 3, []),
        (OpenBookQA(), "test", 500, 0, []),
        (CommonsenseQA(), "validation", 1221, 24, []),
    ],
    ids=lambda value: value.name if isinstance(value, MultipleChoice) else str(value),
)
def test_every_gold_passes_or_is_listed(
    task: MultipleChoice, split: str, n: int, same: int, failing: list[str]
) -> None:
    problems = list(task.load(split, SOURCE))
    reasons = [(problem.problem_id, reason) for problem in problems for reason in task.audit(problem)]
    assert len({problem.problem_id for problem in problems}) == len(problems) == n
    assert Counter(reason.split(":")[0] for _, reason in reasons)["two choices have the same words"] == same
    assert [one for one, reason in reasons if reason.startswith("gold")] in ([], failing)
