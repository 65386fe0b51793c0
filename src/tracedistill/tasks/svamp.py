"""Task `svamp`: one- and two-step word problems that vary known ones (Patel et al. 2021, arXiv 2103.07191).

    {"id": "chal-1", "type": "Subtraction",
     "body": "Each pack of dvds costs 76 dollars. If there is a discount of 25 dollars on each pack",
     "question": "How much do you have to pay to buy each pack?", "equation": "( 76.0 - 25.0 )", "answer": 51.0}

One calculation step per operation of the equation, inner ones first: `1. 76 - 25 = 51`. SVAMP is a challenge set: one
file (svamp.jsonl, or other/svamp.jsonl) is the split `test`. The hub's ChilleD/SVAMP divides the same 1,000 problems
into `train` and `test`, with the same ids.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from tracedistill.arithmetic.expressions import Operand as _Operand
from tracedistill.arithmetic.expressions import Refused, Value, evaluate, number
from tracedistill.arithmetic.traces import spell
from tracedistill.records import Problem
from tracedistill.tasks._base import Source
from tracedistill.tasks._rows import read_rows
from tracedistill.tasks._steps import make_steps
from tracedistill.tasks._task_rows import TaskRow, check_split, task_rows
from tracedistill.tasks._word_problems import WordProblems

HUB_ID = "ChilleD/SVAMP"

_PART = re.compile(r"\s{0,9}(\d++(?:\.\d++)?|[-+*/()])")


class Svamp(WordProblems):
    """SVAMP: the equation is the gold trace."""

    name = "svamp"
    splits = ("train", "test")

    def load(self, split: str, source: Source) -> Iterator[Problem]:
        """Yield the problems of one split, from one file or the hub."""
        check_split(self.name, split, self.splits)
        for row in _rows(split, source):
            body, question = str(row.value("body")).strip(), str(row.value("question")).strip()
            equation = str(row.value("equation"))
            joint = " " if body.endswith((".", ",", "!", "?", ";")) else ", "
            try:
                texts = equation_steps(equation)
            except (Refused, ValueError) as error:
                raise row.error(f"equation {equation[:80]!r}: {error}") from error
            yield Problem(
                problem_id=str(row.get("id") or f"svamp-{split}-{row.number - 1}"),
                task=self.name,
                split=split,
                question=f"{body}{joint}{question}",
                answers=(str(row.value("answer")).removesuffix(".0"),),
                category=str(row.get("type", "")),
                gold_steps=make_steps(texts),
                difficulty=len(texts),
            )


def _rows(split: str, source: Source) -> Iterator[TaskRow]:
    """Yield the rows with their columns in lower case: the hub writes `Body`."""
    rows = task_rows(source, "svamp", split, HUB_ID, split)
    if source.data_dir is not None and split == "test":
        stems, endings = ("svamp/svamp", "other/svamp", "svamp"), (".jsonl.gz", ".jsonl")
        paths = (source.data_dir / f"{stem}{ending}" for stem in stems for ending in endings)
        path = next(filter(Path.is_file, paths), None)
        if path is not None:
            rows = (TaskRow(row, str(path), number) for number, row in read_rows(path))
    for row in rows:
        yield TaskRow({column.lower(): value for column, value in row.items()}, row.place, row.number)


def equation_steps(equation: str) -> list[str]:
    """Convert `( ( 5.0 + 3.0 ) * 2.0 )` to `5 + 3 = 8` and `8 * 2 = 16`. Raises ValueError if it is not bracketed."""
    parts = _PART.findall(equation)
    if "".join(parts) != "".join(equation.split()):
        raise ValueError("not an equation of numbers, + - * / and parentheses")
    steps: list[str] = []
    stack: list[str | Value] = []
    for part in parts:
        if part != ")":
            stack.append(number(part)[0] if part[0].isdigit() else part)
            continue
        inner: list[str | Value] = []
        while stack and stack[-1] != "(":
            inner.insert(0, stack.pop())
        if not stack:
            raise ValueError("parentheses do not match")
        stack.pop()
        stack.append(_apply(inner, steps))
    _apply(stack, steps)
    return steps


def _apply(parts: list[str | Value], steps: list[str]) -> Value:
    """Evaluate `a` or `a op b`; the latter adds a step."""
    if len(parts) == 1 and not isinstance(parts[0], str):
        return parts[0]
    if len(parts) != 3 or isinstance(parts[0], str) or isinstance(parts[2], str) or not isinstance(parts[1], str):
        raise ValueError("not fully bracketed")
    left, operator, right = parts
    assert isinstance(left, int | Fraction)
    assert isinstance(right, int | Fraction)
    value = evaluate((_Operand("", left), str(operator), _Operand("", right)))
    steps.append(f"{spell(left)} {operator} {spell(right)} = {_rounded(value)}")
    return value


def _rounded(value: Value) -> str:
    """Write the exact value, or four decimals if it is a fraction or long."""
    text = spell(value)
    return text if "/" not in text and len(text) < 12 else f"{float(value):.4f}"
