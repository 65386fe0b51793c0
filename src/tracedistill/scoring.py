"""Attempts to scores: pure, answer and trace apart."""

from __future__ import annotations

from tracedistill.formats import split
from tracedistill.records import Attempt, Problem, Score, Verdict
from tracedistill.tasks import Task


def score(task: Task, problem: Problem, attempt: Attempt, *, trace_wanted: bool) -> Score:
    """Judge one attempt. Where no trace was asked for, text that holds none is `none`, not `unparsed`."""
    answers = task.judge_answer(problem, attempt.text)
    parts = split(attempt.text)
    body = parts.trace
    trace = task.judge_output_trace(problem, body, tagged=parts.tagged)
    if trace.outcome == "unparsed" and not trace_wanted:
        trace = Verdict("none", reason="no trace was asked for")
    copied = None
    if trace.outcome in ("correct", "incorrect") and body is not None:
        copied = task.answer_in_trace(problem, task.parse_trace(body).steps)
    return Score(
        attempt_id=attempt.attempt_id,
        problem_id=attempt.problem_id,
        arm=attempt.arm,
        answers=answers,
        trace=trace,
        cut_off=attempt.cut_off,
        answer_in_trace=copied,
    )
