"""Parse a teacher's text as a plan, a solution, JSON, or thinking before the answer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from tracedistill.arithmetic.calculations import find_calculations
from tracedistill.chat.formats import parse_completion, trimmed
from tracedistill.files import content_id
from tracedistill.records import Step, StepKind, Trace
from tracedistill.tasks import Task
from tracedistill.tasks._spans import Flat, locate
from tracedistill.tasks._steps import read_plan, read_steps, render_steps


@dataclass(frozen=True, slots=True)
class ParsedTeacherText:
    """The content of a teacher's text."""

    steps: tuple[Step, ...]
    """The steps with their spans in `text`; none if it cannot be parsed (validation says why)."""
    text: str
    """The trace as written, without the answer after a marker."""
    answer: str | None
    """The stated answer; None for a plan."""


_CONCLUDES = re.compile(r"\\boxed\s*\{|\banswer\s+is\b|####", re.IGNORECASE)
_STATEMENT = re.compile(r"answer is:?", re.IGNORECASE)
_LONGEST = 200  # characters of an answer at the end of a text


def kind_by_majority(texts: Sequence[str]) -> tuple[str, str]:
    """Classify texts as (plan or solution, why), by what most of them are."""
    if not texts:
        return "solution", "no texts"
    solving = sum(_solves(text) for text in texts)
    planning = sum(not _solves(text) and _instructs(text) for text in texts)
    reads = "plan" if planning > len(texts) - planning else "solution"
    return reads, f"of {len(texts)} texts {solving} calculate or state an answer, {planning} only say what to do"


def _solves(text: str) -> bool:
    parts = parse_completion(text)
    return (
        parts.tagged or parts.answer is not None or _CONCLUDES.search(text) is not None or bool(find_calculations(text))
    )


def _instructs(text: str) -> bool:
    steps = read_steps(text).steps
    return bool(steps) and all(step.kind == "plan" for step in steps)


def parse_teacher_text(task: Task, text: str, reads: str, reasoning: str | None = None) -> ParsedTeacherText:
    """Find the trace and the answer in a teacher's text, and parse the trace's steps."""
    if reads == "plan":
        plan = trimmed(text)
        # the prompt requested a plan, so all steps are judged as a plan's
        return ParsedTeacherText(read_plan(plan), plan, None)
    if reads == "structured":
        return _structured(text)
    if reads == "reasoning" and reasoning is not None:
        thought = trimmed(reasoning)
        return ParsedTeacherText(task.read_trace(thought), thought, text.strip() or None)
    parts = parse_completion(text)
    answer = parts.answer
    if answer is None:
        answer = _stated(text)
    if parts.trace is None:
        return ParsedTeacherText((), trimmed(text), answer)
    return ParsedTeacherText(task.read_trace(parts.trace), parts.trace, answer)


def trace_from(
    task: Task,
    problem_id: str,
    teacher: str,
    parsed: ParsedTeacherText,
    *,
    numbered: bool,
    sample: int,
    oracle: bool,
    meta: Mapping[str, Any],
) -> Trace:
    """Make a trace record; its text is the original or, if `numbered`, its steps rewritten by the task."""
    steps, text = parsed.steps, parsed.text
    if numbered and steps:
        plan = all(step.kind == "plan" for step in steps)
        text = render_steps(steps) if plan else task.render_trace(steps)
        steps = locate(text, steps)
    return Trace(
        trace_id=content_id(teacher, problem_id, sample, text),
        problem_id=problem_id,
        teacher=teacher,
        steps=steps,
        text=text,
        answer=parsed.answer,
        oracle=oracle,
        sample=sample,
        meta=dict(meta),
    )


def _stated(text: str) -> str | None:
    """Find the answer that a text ends with, as in `The answer is 42`."""
    tail = text.rstrip()[-4 * _LONGEST :].removesuffix(".").rstrip()
    statements = (tail[match.end() :].strip() for match in _STATEMENT.finditer(tail))
    return next((answer for answer in statements if 0 < len(answer) <= _LONGEST), None)


def _structured(text: str) -> ParsedTeacherText:
    """Render the steps of a JSON object as a numbered list, as written."""
    start, end = text.find("{"), text.rfind("}")
    try:
        value = json.loads(text[start : end + 1]) if 0 <= start < end else None
    except (ValueError, RecursionError):  # ValueError: also an integer of more than 4,300 digits
        value = None
    if not isinstance(value, dict) or not isinstance(value.get("steps"), list):
        return ParsedTeacherText((), text, None)
    steps: list[Step] = []
    lines: list[str] = []
    length = 0
    for item in value["steps"]:
        if not isinstance(item, dict) or not isinstance(item.get("text"), str) or not item["text"].strip():
            return ParsedTeacherText((), text, None)
        kind: StepKind = item["kind"] if item.get("kind") in get_args(StepKind) else "text"
        lines.append(f"{len(lines) + 1}. {trimmed(item['text'])}")
        body = Flat.of(lines[-1], length).cut(len(f"{len(lines)}. "))
        length += len(lines[-1]) + 1
        steps.append(Step(kind, body.text, spans=body.spans("\n".join(lines))))
    answer = value.get("answer")
    return ParsedTeacherText(tuple(steps), "\n".join(lines), None if answer is None else str(answer))
