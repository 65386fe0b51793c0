"""Task math: sentences as steps, numeric lines checked, symbolic ones left alone."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.tasks.shared_data import SOURCE, needs_data, write_rows
from tracedistill.errors import InputError
from tracedistill.records import Problem
from tracedistill.tasks.math import Math, last_boxed, solution_steps

TASK = Math()
ROW = {
    "id": "math-train-algebra-train2",
    "subject": "algebra",
    "level": "Level 3",
    "problem": "If $a$ is three times $b$, what is $\\frac{a}{b} \\cdot 4$?",
    "solution": "We have $a=3b$. Plugging in gives $\\frac{a}{b} = 3$, and $3 \\cdot 4 = \\boxed{12}$.",
    "answer": "12",
}


def load(tmp_path: Any, split: str = "train", **change: Any) -> Problem:
    row = {key: value for key, value in (ROW | change).items() if value is not None}
    (problem,) = TASK.load(split, write_rows(tmp_path, f"math/{split}.jsonl", [row]))
    return problem


def test_a_row(tmp_path: Any) -> None:
    problem = load(tmp_path)
    assert (problem.answers, problem.category, problem.difficulty) == (("12",), "algebra", 3)
    assert [step.kind for step in problem.gold_steps] == ["text", "calculation"]
    assert TASK.audit(problem) == []
    assert TASK.answer_in_trace(problem, problem.gold_steps)
    trace = TASK.decompose(problem)
    assert trace is not None
    assert trace.oracle
    assert TASK.parse_trace(trace.text).steps == problem.gold_steps


@pytest.mark.parametrize(
    ("change", "identity"),
    [
        (
            {"id": "test/precalculus/807.json", "math_id": "math-test-precalculus-test210"},
            "math-test-precalculus-test210",
        ),
        ({"id": None, "unique_id": "test/precalculus/807.json"}, "math-test-precalculus-807"),
        ({"id": None}, "math-train-0"),
        ({}, "math-train-algebra-train2"),
    ],
)
def test_ids_hold_no_separator(tmp_path: Any, change: dict[str, Any], identity: str) -> None:
    assert load(tmp_path, **change).problem_id == identity


def test_the_answer_is_boxed_where_there_is_no_column(tmp_path: Any) -> None:
    assert load(tmp_path, answer=None, level="Level ?").answers == ("12",)
    assert load(tmp_path, level="Level ?").difficulty is None
    with pytest.raises(InputError, match="row 1: neither"):
        load(tmp_path, answer=None, solution="It is 12.")


@pytest.mark.parametrize(
    ("solution", "answer"),
    [
        ("so \\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        ("\\boxed{1} or \\boxed{ {2} }", " {2} "),
        ("\\boxed 7", "7"),
        ("\\fbox{x}", "x"),
        ("\\boxed{}", ""),
        ("\\boxed{1", None),
        ("none", None),
    ],
)
def test_boxes(solution: str, answer: str | None) -> None:
    assert last_boxed(solution) == answer


@pytest.mark.parametrize(
    ("solution", "steps"),
    [
        ("It is $2$. So $x = 3.$ Then done.", ["It is $2$.", "So $x = 3.$ Then done."]),
        ("One.\n\nTwo", ["One.", "Two"]),
        ("We draw [asy]\ndraw((0,0). A);\n\nx\n[/asy] it. Then \\[a. B\\] ends.", None),
        ("\\begin{align*}a &= b. \\\\\n\nC\\end{align*}", None),
        ("", []),
    ],
)
def test_steps_of_a_solution(solution: str, steps: list[str] | None) -> None:
    found = solution_steps(solution)
    assert found == steps if steps is not None else len(found) <= 2
    assert "".join(" ".join(found).split()) == "".join(solution.split())


@pytest.mark.parametrize(
    ("trace", "outcome"),
    [
        ("1. $3 \\cdot 4 = 12$\n2. So it is 12.", "correct"),
        ("1. $3 \\cdot 4 = 13$", "incorrect"),
        ("1. $\\frac{1}{2} + \\frac{1}{3} = \\frac{5}{6}$ and $37^2 = 1369$", "correct"),
        ("1. $x^2 + 3 = 12$, so $x = 3$.", "not judged"),
        ("1. $f(2) = 5$ and $\\sqrt{16} = 4$, $\\gcd(4, 6) = 2$", "not judged"),
        ("1. $2^{11} = 2048$ and $\\binom{5}{2} = 10$", "correct"),
    ],
)
def test_numeric_lines_are_checked_and_symbolic_ones_left_alone(tmp_path: Any, trace: str, outcome: str) -> None:
    assert TASK.judge_output_trace(load(tmp_path), trace).outcome == outcome


@pytest.mark.slow
@needs_data("math")
def test_no_gold_solution_of_math500_is_called_wrong_but_one() -> None:
    problems = list(TASK.load("math500", SOURCE))
    assert len({problem.problem_id for problem in problems}) == 500
    assert not any("/" in problem.problem_id for problem in problems)
    outcomes = Counter(TASK.judge_trace(problem, problem.gold_steps).outcome for problem in problems)
    assert outcomes["incorrect"] <= 1  # a slip in a published solution: (-4)^2 + 4 * 1 * (-1) = 20
    assert outcomes["correct"] > 200
    for problem in problems[:100]:
        trace = TASK.decompose(problem)
        assert trace is not None
        assert trace.text == problem.gold_text  # the solution as its author wrote it, drawings and blank lines included
        assert [trace.text[start:end] for step in trace.steps for start, end in step.spans]


@needs_data("math")
def test_gold_answers_pass_in_their_box() -> None:
    complaints = [line for problem in TASK.load("math500", SOURCE) for line in TASK.audit(problem)]
    assert [line for line in complaints if "gold answer" in line] == []
