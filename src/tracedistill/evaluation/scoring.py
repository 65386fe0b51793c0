"""Score attempts: pure functions, answer and trace judged apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tracedistill.chat.formats import bounded, parse_completion
from tracedistill.compute import Part, PartOutput, lookup
from tracedistill.files import to_json
from tracedistill.records import Attempt, Problem, Score, Trace, Verdict
from tracedistill.tasks import Task, get_task


def score(task: Task, problem: Problem, attempt: Attempt, *, trace_wanted: bool, forced: Trace | None = None) -> Score:
    """Judge one attempt.

    If the arm requests no trace, a text without one is `none`, not `unparsed` or `not judged`. `forced`: the prefilled
    trace; the score then also says whether the answer follows it.
    """
    text = bounded(attempt.text)
    answers = task.judge_answer(problem, text)
    parts = parse_completion(text)
    body = parts.trace
    trace = task.judge_output_trace(problem, body, tagged=parts.tagged)
    if trace.outcome in ("unparsed", "not judged") and not trace_wanted and not parts.tagged:
        trace = Verdict("none", reason="the arm asks for no trace")
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
    """Return whether the answer is the one that the trace implies (`Trace.answer`); None: unknown."""
    if trace.answer is None:
        return None
    answers = tuple(trace.answer.split(", ")) if len(problem.answers) > 1 else (trace.answer,)
    return task.judge_answer(replace(problem, answers=answers), text).answer.ok


@dataclass(frozen=True, slots=True)
class ScoreJob:
    """The judging of an arm's attempts, for any process."""

    task: str
    problems: Path
    trace_wanted: bool
    """Whether the arm requests a trace."""
    sources: tuple[Path, ...]
    """The arm's generations, one file per seed."""
    forced: tuple[Path | None, ...]
    """File of prefilled traces for each source, if any."""

    def open(self) -> Callable[[Part], PartOutput]:
        """Load the judges."""
        task, problems = get_task(self.task), lookup(self.problems, Problem)
        forced = {
            source: {} if traces is None else lookup(traces, Trace)
            for source, traces in zip(self.sources, self.forced, strict=True)
        }

        def judge(part: Part) -> PartOutput:
            begun = forced[part.path]

            def lines() -> Iterator[dict[str, Any]]:
                for attempt in part.records(Attempt):
                    problem, trace = problems[attempt.problem_id], begun.get(attempt.problem_id)
                    yield judged_line(
                        attempt, score(task, problem, attempt, trace_wanted=self.trace_wanted, forced=trace)
                    )

            return PartOutput(lines())

        return judge


def judged_line(attempt: Attempt, result: Score) -> dict[str, Any]:
    """Return one line of attempts/<arm>.jsonl."""
    return {
        **to_json(attempt),
        "answer": to_json(result.answers.answer, defaults=True),
        "derived": to_json(result.answers.derived, defaults=True),
        "candidate": to_json(result.answers.candidate, defaults=True),
        "trace": to_json(result.trace, defaults=True),
        "cut_off": result.cut_off,
        "answer_in_trace": result.answer_in_trace,
        "follows": result.follows,
    }
