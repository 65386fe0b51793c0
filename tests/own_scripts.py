"""Scripted students and judges for the files in tests/data: one that is always right, one that is always wrong."""

from __future__ import annotations

import json
import sqlite3

from tracedistill.chat import formats
from tracedistill.engines import Request
from tracedistill.records import Problem

PROBLEMS: dict[str, Problem] = {}
"""What the students know: problem id -> problem with its gold. A test fills it in."""


def _problem(request: Request) -> Problem:
    return PROBLEMS[request.request_id.rpartition("/")[0]]


def perfect(request: Request) -> str:
    """Answers with the gold, after a line of reasoning."""
    return formats.write_completion("Let me see.", _problem(request).answers[0])


def wrong(request: Request) -> str:
    """Answers with something else of the same kind: another option, label, number or value."""
    problem = _problem(request)
    gold = problem.answers[0]
    return formats.write_completion("Let me see.", OTHER[str(problem.meta["judge"])](problem, gold))


def _option(problem: Problem, gold: str) -> str:
    return next(letter for letter, _ in problem.choices if letter != gold)


def _label(problem: Problem, gold: str) -> str:
    return next(label for label in problem.meta["labels"] if label != gold)


def _number(_: Problem, gold: str) -> str:
    digits = "".join(char for char in gold if char.isdigit() or char == ".")
    return gold.replace(digits, str(float(digits) * 1.5 + 1))


def _json(_: Problem, gold: str) -> str:
    value = json.loads(gold)
    return json.dumps({**value, "total": value["total"] + 1})


OTHER = {
    "choice": _option,
    "label": _label,
    "number": _number,
    "json": _json,
    "exact": lambda problem, gold: f"un{gold}",
    "math": lambda problem, gold: f"{gold} + 1",
    "tests.own_scripts:same_rows": lambda problem, gold: f"{gold} AND 0",
}


def same_rows(answer: str, problem: Problem) -> bool:
    """Whether a query gives the rows of the gold query: SQL judged by execution."""
    database = sqlite3.connect(":memory:")
    database.execute("\n".join(problem.context))
    goods = [(f"p{n}", f"c{n % 3}", n) for n in range(1, 60)]
    database.executemany("INSERT INTO products VALUES (?, ?, ?)", goods)
    assert problem.meta["row"]["db"] == "shop"
    try:
        rows = database.execute(answer.strip().rstrip(";")).fetchall()
    except sqlite3.Error:
        return False
    return sorted(rows) == sorted(database.execute(problem.answers[0]).fetchall())
