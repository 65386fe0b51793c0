"""Attempts to scores: pure, answer and trace apart."""

from __future__ import annotations

from dataclasses import replace

from tracedistill.chat.formats import bounded, split
from tracedistill.records import Attempt, Problem, Score, Trace, Verdict
from tracedistill.tasks import Task


def score(task: Task, problem: Problem, attempt: Attempt, *, trace_wanted: bool, forced: Trace | None = None) -> Score:
    """Judge one attempt. Where no trace was asked for, text that holds none is `none`, not `unparsed` or `not judged`.

    `forced`: the trace that was put into the student's mouth; the attempt then also tells whether it was followed.
    """
    text = bounded(attempt.text)
    answers = task.judge_answer(problem, text)
    parts = split(text)
    body = parts.trace
    trace = task.judge_output_trace(problem, body, tagged=parts.tagged)
    if trace.outcome in ("unparsed", "not judged") and not trace_wanted and not parts.tagged:
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
        follows=None if forced is None or not attempt.text else follows(task, problem, text, forced),
    )


def follows(task: Task, problem: Problem, text: str, trace: Trace) -> bool | None:
    """Whether the answer is what the trace leads to (`Trace.answer`), whatever the gold says; None: not known."""
    if trace.answer is None:
        return None
    answers = tuple(trace.answer.split(", ")) if len(problem.answers) > 1 else (trace.answer,)
    return task.judge_answer(replace(problem, answers=answers), text).answer.ok
