"""Attempts to read on the page: the same problems for every arm, within a byte budget, with steps marked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tracedistill.chat.formats import parse_completion
from tracedistill.records import Problem
from tracedistill.report.attempts import ANSWERS, AttemptColumns, read_row
from tracedistill.report.runs import RunView
from tracedistill.tasks import Task

BYTES_SHOWN = 1_500_000
"""Budget of the page for attempts in bytes, including estimated markup."""
PROBLEMS_SHOWN = 400
TEXT_SHOWN = 1_500
"""Most characters shown of an attempt; attempts/<arm>.jsonl has the whole text."""
MARKUP = 700
"""Estimated markup per attempt or problem, in bytes."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of an attempt's text."""

    text: str
    """As written."""
    outcome: str = ""
    """Verdict on the step; empty if the piece is no step."""
    kind: str = ""
    """Kind of the step."""


@dataclass(frozen=True, slots=True)
class ShownAttempt:
    """One attempt as the page shows it."""

    arm: int
    """Index of its arm in the report."""
    answer: str
    """Outcome of the final statement."""
    trace: str
    """Outcome of the trace."""
    finish: str
    """How the generation ended."""
    extracted: str
    """Extracted answer and the reason of its verdict."""
    pieces: tuple[Piece, ...]
    """The text, in order."""
    steps: tuple[tuple[str, str], ...]
    """(outcome, sentence) of every step that is not right."""
    why: str
    """Reason of the trace's verdict."""
    others: str
    """How many of the problem's attempts are right, if there are several."""


@dataclass(frozen=True, slots=True)
class ShownProblem:
    """One problem with each arm's attempt."""

    problem_id: str
    question: str
    category: str
    gold: str
    text: str
    """The problem's text as the student reads it."""
    gold_trace: str
    disagree: bool
    """Whether the arms' answers have different outcomes."""
    readings: tuple[ShownAttempt, ...]
    """Attempts in the order of the arms."""


def browse(view: RunView, task: Task, budget: int = BYTES_SHOWN) -> list[ShownProblem]:
    """Sample problems by seed, half of them with disagreeing arms, with every arm's first attempt."""
    problems = view.problems()
    arms = [(place, view.attempts(arm.name)) for place, arm in enumerate(view.arms)]
    first = [{columns.ids[p]: row for p, row in _first_rows(columns)} for _, columns in arms]
    right = [_right_counts(columns) for _, columns in arms]
    shown: list[ShownProblem] = []
    spent = 0
    for problem_id in _order(view, arms, problems):
        readings = []
        for (place, columns), rows, counts in zip(arms, first, right, strict=True):
            if problem_id in rows:
                line = read_row(view.arms[place].path, int(columns.offset[rows[problem_id]]))
                readings.append(_reading(task, place, line, counts[int(columns.problem[rows[problem_id]])]))
        item = _shown(task, problems[problem_id], tuple(readings))
        spent += _bytes(item)
        if shown and spent > budget:
            break
        shown.append(item)
    places = {problem_id: place for place, problem_id in enumerate(problems)}
    return sorted(shown, key=lambda item: places[item.problem_id])


def _order(view: RunView, arms: Iterable[tuple[int, AttemptColumns]], problems: Mapping[str, Problem]) -> list[str]:
    """Choose at most PROBLEMS_SHOWN problems, alternating disagreements and others."""
    outcomes: dict[str, set[int]] = {}
    for _, columns in arms:
        for place, row in _first_rows(columns):
            outcomes.setdefault(columns.ids[place], set()).add(int(columns.answer[row] == 0))
    drawn = sorted((key for key in outcomes if key in problems), key=lambda key: _draw(view.seed, key))
    apart = [key for key in drawn if len(outcomes[key]) > 1]
    alike = [key for key in drawn if len(outcomes[key]) == 1]
    turns = [key for pair in zip(apart, alike, strict=False) for key in pair]
    shorter = min(len(apart), len(alike))
    return [*turns, *apart[shorter:], *alike[shorter:]][:PROBLEMS_SHOWN]


def _draw(seed: int, problem_id: str) -> bytes:
    return hashlib.sha256(f"{seed} shown {problem_id}".encode("utf-8", "surrogatepass")).digest()


def _first_rows(columns: AttemptColumns) -> list[tuple[int, int]]:
    """Return (problem, row) of each problem's first attempt."""
    _, rows = np.unique(columns.problem, return_index=True)
    return [(int(columns.problem[row]), int(row)) for row in rows]


def _right_counts(columns: AttemptColumns) -> npt.NDArray[np.int64]:
    """Count right attempts and all attempts per problem."""
    size = len(columns.ids)
    every = np.bincount(columns.problem, minlength=size)
    return np.stack([np.bincount(columns.problem[columns.right], minlength=size), every], axis=1)


def _reading(task: Task, arm: int, row: Mapping[str, Any], counts: npt.NDArray[np.int64]) -> ShownAttempt:
    verdicts = row["trace"].get("steps") or []
    text = row["text"]
    cut = f"{text[:TEXT_SHOWN]} [... {len(text) - TEXT_SHOWN} characters more]"
    answer, extracted = row["answer"], row["answer"].get("extracted")
    quoted = "" if extracted is None else f"“{str(extracted)[:200]}”"
    return ShownAttempt(
        arm=arm,
        answer=answer["outcome"],
        trace=row["trace"]["outcome"],
        finish=row["finish"],
        extracted=", ".join(part for part in (quoted, answer.get("reason") or "") if part),
        pieces=_pieces(task, text if len(text) <= TEXT_SHOWN else cut, verdicts),
        steps=tuple(
            (
                verdict["outcome"],
                f"step {verdict['index'] + 1}, {verdict['kind']}: {verdict.get('reason') or verdict['outcome']}",
            )
            for verdict in verdicts
            if verdict["outcome"] != "correct"
        ),
        why=row["trace"].get("reason") or "",
        others="" if counts[1] < 2 else f"attempt 1 of {counts[1]}, {counts[0]} right",
    )


def _pieces(task: Task, text: str, verdicts: Iterable[Mapping[str, Any]]) -> tuple[Piece, ...]:
    """Cut the text at its steps; steps that do not occur verbatim stay unmarked."""
    body = parse_completion(text).trace
    outcomes = {verdict["index"]: verdict["outcome"] for verdict in verdicts}
    steps = task.parse_trace(body).steps if outcomes and body else ()
    pieces, at = [], 0
    for index, step in enumerate(steps):
        place = text.find(step.text, at) if step.text else -1
        if place < 0 or index not in outcomes:
            continue
        if place > at:
            pieces.append(Piece(text[at:place]))
        pieces.append(Piece(step.text, outcomes[index], step.kind))
        at = place + len(step.text)
    return (*pieces, Piece(text[at:])) if at < len(text) else tuple(pieces)


def _shown(task: Task, problem: Problem, readings: tuple[ShownAttempt, ...]) -> ShownProblem:
    return ShownProblem(
        problem_id=problem.problem_id,
        question=problem.question[:300],
        category=problem.category,
        gold=task.render_answer(problem)[:300],
        text=task.render_problem(problem)[: 2 * TEXT_SHOWN],
        gold_trace=task.render_trace(problem.gold_steps)[: 2 * TEXT_SHOWN],
        disagree=len({reading.answer == ANSWERS[0] for reading in readings}) > 1,
        readings=readings,
    )


def _bytes(item: ShownProblem) -> int:
    """Estimate a problem's bytes on the page."""
    texts = [item.question, item.text, item.gold, item.gold_trace]
    for reading in item.readings:
        texts += [
            reading.extracted,
            reading.why,
            *(piece.text for piece in reading.pieces),
            *(why for _, why in reading.steps),
        ]
    return sum(len(text.encode("utf-8", "replace")) for text in texts) + MARKUP * (1 + len(item.readings))
