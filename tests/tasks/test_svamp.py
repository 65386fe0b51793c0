"""Task svamp: equations as gold steps."""

from __future__ import annotations

from typing import Any

import pytest

from tests.tasks.shared_data import SOURCE, needs_data, write_rows
from tracedistill.errors import InputError
from tracedistill.records import Problem
from tracedistill.tasks.svamp import Svamp, equation_steps

TASK = Svamp()
ROW = {
    "id": "chal-1",
    "type": "Subtraction",
    "body": "Each pack of dvds costs 76 dollars. If there is a discount of 25 dollars on each pack",
    "question": "How much do you have to pay to buy each pack?",
    "equation": "( 76.0 - 25.0 )",
    "answer": 51.0,
}


def load(tmp_path: Any, name: str = "other/svamp.jsonl", split: str = "test", **change: Any) -> Problem:
    (problem,) = TASK.load(split, write_rows(tmp_path, name, [ROW | change]))
    return problem


def test_a_row(tmp_path: Any) -> None:
    problem = load(tmp_path)
    assert problem.problem_id == "chal-1"
    assert problem.question.endswith("25 dollars on each pack, How much do you have to pay to buy each pack?")
    assert problem.answers == ("51",)
    assert (problem.category, problem.difficulty) == ("Subtraction", 1)
    assert [step.text for step in problem.gold_steps] == ["76 - 25 = 51"]
    assert TASK.audit(problem) == []
    trace = TASK.decompose(problem)
    assert trace is not None
    assert trace.oracle
    assert TASK.parse_trace(trace.text).steps == problem.gold_steps


def test_the_hub_s_form(tmp_path: Any) -> None:
    hub = {key.upper() if key == "id" else key.capitalize(): value for key, value in ROW.items()}
    (problem,) = TASK.load("train", write_rows(tmp_path, "svamp/train.jsonl", [hub | {"Answer": "51.0"}]))
    assert (problem.problem_id, problem.answers) == ("chal-1", ("51",))


@pytest.mark.parametrize(
    ("equation", "steps"),
    [
        ("( 4.0 - 3.0 )", ["4 - 3 = 1"]),
        ("( ( 5.0 + 3.0 ) * 2.0 )", ["5 + 3 = 8", "8 * 2 = 16"]),
        ("( 2.0 * ( 9.0 / ( 1.0 + 2.0 ) ) )", ["1 + 2 = 3", "9 / 3 = 3", "2 * 3 = 6"]),
        ("( 1.0 / 3.0 )", ["1 / 3 = 0.3333"]),
        ("8.0", []),
    ],
)
def test_equations(equation: str, steps: list[str]) -> None:
    assert equation_steps(equation) == steps


@pytest.mark.parametrize("equation", ["( 1 + x )", "( 1 + 2", "1 + 2 + 3", "( 1 / 0 )", "1 )", "+"])
def test_bad_equations_name_the_row(tmp_path: Any, equation: str) -> None:
    with pytest.raises(InputError, match="row 1: equation"):
        load(tmp_path, equation=equation)


def test_the_challenge_file_is_the_test_split(tmp_path: Any) -> None:
    with pytest.raises(InputError, match="no svamp/train"):
        load(tmp_path, split="train")


@needs_data("other")
def test_all_golds_pass_but_two() -> None:
    problems = list(TASK.load("test", SOURCE))
    assert len({problem.problem_id for problem in problems}) == 1000
    failing = [p.problem_id for p in problems if not TASK.judge_trace(p, p.gold_steps).ok]
    assert len(failing) <= 1  # an equation without operation
    assert sum(TASK.answer_in_trace(problem, problem.gold_steps) for problem in problems) >= 998
