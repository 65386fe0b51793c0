"""Task `arc_agi`: the Abstraction and Reasoning Corpus; examples of one transformation of grids, and a grid to transform.

    {"id": "00576224", "train": [[[[8, 6], [6, 4]], [[8, 6, 8, 6, 8, 6], ...]], ...], "test": [[[[3, 2], [7, 8]], ...]]}

Each pair is [input, output] (or {"input", "output"} on the hub). A grid is text, a row per line, cells 0-9 with spaces
between them. One problem per test pair: `00576224`, or `<id>-<k>` if a row has several. Answers are judged by exact match.
"""  # noqa: E501

from __future__ import annotations

import re
from collections.abc import Iterator
from textwrap import dedent
from typing import Any

from tracedistill.arithmetic.traces import not_judged
from tracedistill.records import AnswerVerdicts, Problem, Step, Verdict
from tracedistill.tasks._base import ParsedTrace, Policy, Source, Task
from tracedistill.tasks._retrieval import trace_body
from tracedistill.tasks._task_rows import TaskRow, check_split, task_rows

HUB_ID = "dataartist/arc-agi"
Grid = tuple[tuple[int, ...], ...]
MAX_SIDE = 30
"""Largest side of a grid of the corpus, in rows or columns."""

_START = re.compile(r"\A(?:[*_#]{0,4}[ ]?(?:step[ ]*)?\(?\d{1,3}[.):][*_]{0,2}|[-*•])(?:[ ]+|\Z)(?=.)", re.IGNORECASE)
_INDENT = "   "
_MARKER = re.compile(r"<answer>|^[ \t*#]*(?:final[ \t]+)?answer[ \t*]*:[ \t*]*", re.IGNORECASE | re.MULTILINE)
_END = re.compile(r"</answer>", re.IGNORECASE)
_ROW_LABEL = re.compile(r"\A(?:row\s*)?\d{1,2}\s*:\s*(?=[\d\[(|])", re.IGNORECASE)
_BETWEEN_ROWS = re.compile(r"\][ \t]*,?[ \t]*\[")
_CELLS = re.compile(r"\A\d(?:(?:[ \t]+|[ \t]*[,|;][ \t]*)\d)*\Z")
_COMPACT = re.compile(r"\A\d{2,30}\Z")
_RULE = re.compile(r"\A[|:+\-= \t]+\Z")


class ArcAgi(Task):
    """Grids in text, exact match; there are no rules to decompose it or judge its traces."""

    name = "arc_agi"
    splits = ("training", "evaluation")
    answer_hint = (
        "End with a line `Answer:` and below it the output grid, a row per line with spaces between the digits."
    )

    def load(self, split: str, source: Source) -> Iterator[Problem]:
        """Yield problems of a split from `<data_dir>/other/arc_agi1_<split>.jsonl.gz` or the hub."""
        check_split(self.name, split, self.splits)
        for row in task_rows(source, "arc_agi1", split, HUB_ID, split):
            row_id = str(row.value("id"))
            examples, tests = ([_pair(pair, row) for pair in row.value(column)] for column in ("train", "test"))
            same = all(_shape(before) == _shape(after) for before, after in examples)
            for k, (before, after) in enumerate(tests):
                yield Problem(
                    problem_id=row_id if len(tests) == 1 else f"{row_id}-{k}",
                    task=self.name,
                    split=split,
                    question=write_grid(before),
                    answers=(write_grid(after),),
                    context=tuple(f"Input:\n{write_grid(a)}\nOutput:\n{write_grid(b)}" for a, b in examples),
                    # from the examples alone: whether the transformation keeps the grid's size
                    category="same-size" if same else "other-size",
                )

    def render_problem(self, problem: Problem) -> str:
        """Write the numbered examples, then the grid to transform."""
        head = "Each example turns an input grid into an output grid by the same rule. Digits are colours, 0 is empty."
        examples = (f"Example {number}\n{pair}" for number, pair in enumerate(problem.context, start=1))
        return "\n\n".join((head, *examples, f"Apply the rule to this grid.\nInput:\n{problem.question}"))

    def render_answer(self, problem: Problem) -> str:
        """Write the gold grid, a row per line."""
        return problem.answers[0] if problem.answers else ""

    def render_trace(self, steps: tuple[Step, ...]) -> str:
        """Write numbered steps that keep their lines, further ones indented; `parse_trace` restores tidy steps."""
        numbered = (f"{number}. {tidy(step.text)}" for number, step in enumerate(steps, start=1))
        return "\n".join(text.replace("\n", "\n" + _INDENT) for text in numbered)

    def parse_trace(self, text: str) -> ParsedTrace:
        """Parse numbered steps, bullets or plain lines before the answer; empty if there are none."""
        steps = read_steps(trace_body(dedent(text[: _statement_start(text, end=False)])))
        return ParsedTrace(steps, "" if steps else "empty trace: no text before the answer")

    def judge_trace(self, problem: Problem, steps: tuple[Step, ...]) -> Verdict:  # noqa: ARG002
        """Return `not judged`, as in other tasks without gold traces."""
        return not_judged(steps, "arc_agi has no gold steps: a model judge is needed")

    def judge_answer(self, problem: Problem, text: str, policy: Policy = "default") -> AnswerVerdicts:  # noqa: ARG002
        """Judge the stated grid by exact match: the first after the last answer marker, else the last in the text.

        `derived` is the last grid of the body. A grid with rows of different lengths is stated, and incorrect.
        """
        gold = read_grids(problem.answers[0], alone=True) if problem.answers else []
        candidate = Verdict("missing", reason="the set of answers is open")
        if len(gold) != 1 or len({len(row) for row in gold[0]}) != 1:
            nothing = Verdict("ungradable", reason=f"{problem.problem_id} has no gold grid")
            return AnswerVerdicts(nothing, nothing, candidate)
        marked = bool(_MARKER.search(text))
        start = _statement_start(text)
        body = read_grids(text[:start] if marked else text)
        if marked:
            closed = _END.search(text, start)
            stated = read_grids(text[start : closed.start() if closed else len(text)], alone=True)
            answer = _compare(stated[0], gold[0]) if stated else Verdict("missing", reason="no grid after the marker")
        else:
            answer = _compare(body[-1], gold[0]) if body else Verdict("missing", reason="no grid in the text")
        derived = _compare(body[-1], gold[0]) if body else Verdict("missing", reason="no grid in the body")
        return AnswerVerdicts(answer, derived, candidate)

    def answer_in_trace(self, problem: Problem, steps: tuple[Step, ...]) -> bool:
        """Return whether a step contains the whole gold grid, however it is written."""
        gold = read_grids(problem.answers[0], alone=True) if problem.answers else []
        return bool(gold) and any(gold[0] in read_grids(step.text) for step in steps)

    def summarise(
        self,
        problems: list[Problem],
        texts: list[str],
        policy: Policy = "default",  # noqa: ARG002
    ) -> dict[str, float]:
        """Return `right_size`: outputs whose stated grid has the gold's rows and columns, in percent of all."""
        if not problems:
            return {}
        right = 0
        for problem, text in zip(problems, texts, strict=True):
            stated = self.judge_answer(problem, text).answer.extracted
            gold = problem.answers[0] if problem.answers else ""
            right += stated is not None and [len(row) for row in stated.split("\n")] == [
                len(row) for row in gold.split("\n")
            ]
        return {"right_size": 100 * right / len(problems)}


# ---- steps: unlike `steps.read_steps` they keep their lines, since they may contain grids


def tidy(text: str) -> str:
    """Return a step's text as the grammar keeps it: no blank lines, no spaces at line ends or around the whole."""
    lines = (line.rstrip() for line in text.replace("\r\n", "\n").replace("\r", "\n").strip().split("\n"))
    return "\n".join(line for line in lines if line)


def read_steps(text: str) -> tuple[Step, ...]:
    """Parse steps of kind `text` from numbered lines, bullets or plain lines; empty for a blank text.

    If any line is marked, unmarked lines belong to the step before them. Text before the first mark is a step unless it
    announces the list (`Here are the steps:`). Without marks every line is a step.
    """
    lines = tidy(text).split("\n")
    marks = [index for index, line in enumerate(lines) if _START.match(line)]
    if not marks:
        return tuple(Step("text", line.strip()) for line in lines if line.strip())
    texts = []
    lead = "\n".join(lines[: marks[0]]).strip()
    if lead and not lead.endswith(":"):
        texts.append(lead)
    for start, stop in zip(marks, [*marks[1:], len(lines)], strict=True):
        mark = _START.match(lines[start])
        assert mark is not None
        body = [lines[start][mark.end() :], *(line.removeprefix(_INDENT) for line in lines[start + 1 : stop])]
        texts.append(tidy("\n".join(body)))
    return tuple(Step("text", step) for step in texts if step)


# ---- grids


def write_grid(grid: Grid) -> str:
    """Write a row per line, with single spaces between cells."""
    return "\n".join(" ".join(map(str, row)) for row in grid)


def read_grids(text: str, alone: bool = False) -> list[Grid]:
    """Find all grids in a text, in order: runs of lines with only cells.

    Accepted are `0 7 7`, `0,7,7`, `[0, 7, 7]`, `[[0, 7], [7, 0]]` on one line or several, `| 0 | 7 |`, `077`, and rows
    after a label (`Row 1:`). Rows of different lengths stay one grid: the judge reports that. A single cell or a lone
    compact row counts only if it must be an answer (`alone`): elsewhere it may be a number.
    """
    spread = _BETWEEN_ROWS.sub("]\n[", text.replace("[[", "\n[[").replace("]]", "]]\n"))
    grids: list[Grid] = []
    rows: list[tuple[int, ...]] = []
    compact = False
    for line in [*spread.split("\n"), "end"]:
        cells, tight = _row(line)
        if cells:
            rows.append(cells)
            compact = compact or tight
        elif rows and not _skippable(line):
            if alone or len(rows) > 1 or (len(rows[0]) > 1 and not compact):
                grids.append(tuple(rows))
            rows, compact = [], False
    return grids


def _skippable(line: str) -> bool:
    """Return whether a line does not end a grid: table rules, lone brackets; a blank line does."""
    plain = line.strip()
    return bool(plain) and (bool(_RULE.match(plain)) or not plain.strip("[], "))


def _row(line: str) -> tuple[tuple[int, ...], bool]:
    """Return the cells of a line, and whether they were written without separators; no cells: not a row."""
    if len(line) > 400:  # 30 cells take far less
        return (), False
    plain = _ROW_LABEL.sub("", line.strip().strip("`*").strip()).strip("[](){}|,; \t.")
    if _CELLS.match(plain):
        return tuple(int(char) for char in plain if char.isdigit() and char.isascii()), False
    if plain.isascii() and _COMPACT.match(plain):
        return tuple(map(int, plain)), True
    return (), False


def _compare(grid: Grid, gold: Grid) -> Verdict:
    shown = write_grid(grid)
    if grid == gold:
        return Verdict("correct", extracted=shown)
    if len({len(row) for row in grid}) != 1:
        return Verdict("incorrect", extracted=shown, reason="rows of different lengths")
    if _shape(grid) != _shape(gold):
        size = " x ".join(map(str, _shape(grid)))
        return Verdict("incorrect", extracted=shown, reason=f"{size} cells, not {len(gold)} x {len(gold[0])}")
    wrong = sum(a != b for row, right in zip(grid, gold, strict=True) for a, b in zip(row, right, strict=True))
    cells = len(gold) * len(gold[0])
    figures = {"cells_right": 1 - wrong / cells}
    return Verdict("incorrect", extracted=shown, reason=f"{wrong} of {cells} cells differ", figures=figures)


def _statement_start(text: str, end: bool = True) -> int:
    """Return where the last answer marker ends (or begins); without one, the whole text (is before the answer)."""
    markers = list(_MARKER.finditer(text))
    if not markers:
        return 0 if end else len(text)
    return markers[-1].end() if end else markers[-1].start()


def _shape(grid: Grid) -> tuple[int, int]:
    return len(grid), len(grid[0])


def _pair(pair: Any, row: TaskRow) -> tuple[Grid, Grid]:
    both = [pair.get("input"), pair.get("output")] if isinstance(pair, dict) else pair
    if not isinstance(both, list | tuple) or len(both) != 2:
        raise row.error("a pair must be [input, output]")
    return _grid(both[0], row), _grid(both[1], row)


def _grid(rows: Any, row: TaskRow) -> Grid:
    good = (
        isinstance(rows, list | tuple)
        and 0 < len(rows) <= MAX_SIDE
        and all(isinstance(cells, list | tuple) and 0 < len(cells) <= MAX_SIDE for cells in rows)
        and len({len(cells) for cells in rows}) == 1
        and all(isinstance(cell, int) and 0 <= cell <= 9 for cells in rows for cell in cells)
    )
    if not good:
        raise row.error("a grid must be rows of equal length of whole numbers 0-9")
    return tuple(tuple(map(int, cells)) for cells in rows)
