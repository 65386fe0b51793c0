"""Multiple choice as people write it: recognised, or refused with the row; never one choice out of several."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tracedistill.errors import InputError
from tracedistill.records import Problem
from tracedistill.tasks._base import Source
from tracedistill.tasks.file.cells import structured
from tracedistill.tasks.file.choices import read_choices
from tracedistill.tasks.file.task import UserFile

VITAMINS = [("A", "Vitamin E"), ("B", "Niacin")]


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("['a' 'b']", ["a", "b"]),
        ("['a'\n 'b']", ["a", "b"]),
        ("[\"it's\" 'b']", ["it's", "b"]),
        ("[1 2 3]", [1, 2, 3]),
        ("[1. -2.5]", [1.0, -2.5]),
        ("[['a' 'b']\n ['c' 'd']]", [["a", "b"], ["c", "d"]]),
        ('["a", "b"]', ["a", "b"]),
        ("['a', None, True]", ["a", None, True]),
        (
            "{'label': array(['A', 'B'], dtype=object), 'text': array(['x', 'y'], dtype=object)}",
            {"label": ["A", "B"], "text": ["x", "y"]},
        ),
        ("{'A': 'x', 'B': 'y'}", {"A": "x", "B": "y"}),
        ("[sic] a text", "[sic] a text"),
        ("[a, b]", "[a, b]"),
        ("[__import__('os').getcwd()]", "[__import__('os').getcwd()]"),
        ("{", "{"),
        ("[" * 5000 + "]" * 5000, "[" * 5000 + "]" * 5000),
        ("", ""),
        (7, 7),
    ],
)
def test_cells_that_write_lists(cell: Any, value: Any) -> None:
    assert structured(cell) == value


@pytest.mark.parametrize(
    "options",
    [
        ["Vitamin E", "Niacin"],
        "['Vitamin E' 'Niacin']",
        "['Vitamin E', 'Niacin']",
        "(a) Vitamin E (b) Niacin",
        "(A) Vitamin E, (B) Niacin",
        "A. Vitamin E B. Niacin",
        "A: Vitamin E\nB: Niacin",
        "a ) Vitamin E , b ) Niacin",
        ["A)Vitamin E", "B)Niacin"],
        "Vitamin E | Niacin",
        {"A": "Vitamin E", "B": "Niacin"},
        {"label": ["A", "B"], "text": ["Vitamin E", "Niacin"]},
        [{"label": "A", "text": "Vitamin E"}, {"label": "B", "text": "Niacin"}],
        [{"key": "A", "content": "Vitamin E"}, {"key": "B", "content": "Niacin"}],
    ],
)
def test_options_in_every_form(options: Any) -> None:
    assert read_choices(options, "f, row 1") == VITAMINS


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("Vitamin E", "f, row 1: only one choice found in 'Vitamin E'"),
        ("['a' 'b' ... 'z']", "f, row 1: an array that was shortened"),
        (["a"], "only one choice"),
        ([{"words": "a"}, {"words": "b"}], "choice 1 has no key 'text'; it has: words"),
        (["a", ""], "choice B is blank"),
        ([str(n) for n in range(27)], "27 choices; at most 26"),
    ],
)
def test_what_is_no_list_of_choices_is_refused(options: Any, message: str) -> None:
    with pytest.raises(InputError) as raised:
        read_choices(options, "f, row 1")
    assert message in str(raised.value)


OPTIONS = ["red", "green", "blue", "grey"]


def answers(tmp_path: Path, rows: list[dict[str, Any]], **more: Any) -> list[Problem]:
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps({"question": f"Q{n}?", **row}) + "\n" for n, row in enumerate(rows)))
    columns = more.pop("columns", {})
    return list(UserFile().load("test", Source(path=str(path), columns={**columns, "split": "part"}, **more)))


@pytest.mark.parametrize(
    ("golds", "letters"),
    [
        ([0, 3, 1], "ADB"),
        (["0", "3", "1"], "ADB"),
        ([1, 4, 2], "ADB"),
        (["A", "d", "(B)"], "ADB"),
        (["red", "Grey", "green"], "ADB"),
        (["A) red", "D) grey", "B. green"], "ADB"),
    ],
)
def test_golds_mean_what_fits_the_whole_file(tmp_path: Path, golds: list[Any], letters: str) -> None:
    rows = [{"choices": OPTIONS, "answer": gold, "part": "test"} for gold in golds]
    problems = answers(tmp_path, rows)
    assert "".join(problem.answers[0] for problem in problems) == letters
    for problem in problems:
        right = UserFile().judge_answer(problem, f"Answer: {problem.answers[0]}")
        wrong = UserFile().judge_answer(problem, f"Answer: {'C' if problem.answers[0] != 'C' else 'A'}")
        assert (right.answer.outcome, wrong.answer.outcome) == ("correct", "incorrect")


def test_numbers_that_may_count_from_0_or_1_are_asked_about(tmp_path: Path) -> None:
    rows = [{"choices": OPTIONS, "answer": gold, "part": "test"} for gold in (1, 2, 3)]
    with pytest.raises(InputError, match="the first may be 0 or 1"):
        answers(tmp_path, rows)
    assert [problem.answers for problem in answers(tmp_path, rows, first_choice=0)] == [("B",), ("C",), ("D",)]
    assert [problem.answers for problem in answers(tmp_path, rows, first_choice=1)] == [("A",), ("B",), ("C",)]


def test_numeric_options_are_texts_before_they_are_numbers(tmp_path: Path) -> None:
    rows = [{"choices": [2, 4, 6, 8], "answer": gold, "part": "test"} for gold in (2, 8, 4)]
    assert [problem.answers for problem in answers(tmp_path, rows)] == [("A",), ("D",), ("B",)]
    rows = [{"choices": ["0", "1", "2", n + 10], "answer": n % 4, "part": "test"} for n in range(8)]
    assert [problem.answers[0] for problem in answers(tmp_path, rows)] == list("ABCD" * 2)


def test_a_column_for_each_option(tmp_path: Path) -> None:
    rows = [
        {"opa": "red", "opb": "green", "opc": "blue", "opd": "grey", "cop": gold, "part": "test"} for gold in (0, 3)
    ]
    columns = {"choices": "opa, opb, opc, opd", "answer": "cop"}
    problems = answers(tmp_path, rows, columns=columns)
    assert [problem.answers for problem in problems] == [("A",), ("D",)]
    assert problems[0].choices == (("A", "red"), ("B", "green"), ("C", "blue"), ("D", "grey"))
