"""What a teacher wrote, read as a plan, a solution, JSON, or thinking apart from the answer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, get_args

from tracedistill.formats import split
from tracedistill.records import Step, StepKind, Trace
from tracedistill.store import content_id
from tracedistill.tasks import Task
from tracedistill.tasks.steps import read_steps

Read = tuple[tuple[Step, ...], str | None]
"""(steps, the answer stated or None)."""

_OBJECT = re.compile(r"\{.*\}", re.DOTALL)
_STATED = re.compile(r"(?:the |final )*answer is:?\s*(.{1,200}?)\s*\.?\s*\Z", re.IGNORECASE | re.DOTALL)


def read_text(task: Task, text: str, reads: str, reasoning: str | None = None) -> Read:
    """Steps and answer out of a teacher's text; no steps where it cannot be read (the validation says why)."""
    if reads == "plan":
        steps = read_steps(text).steps
        # whatever it holds, a plan is asked for: its steps are judged as a plan's
        return tuple(Step("plan", step.text) for step in steps), None
    if reads == "structured":
        return _structured(text)
    if reads == "reasoning" and reasoning is not None:
        return task.parse_trace(reasoning).steps, text.strip() or None
    parts = split(text)
    answer = parts.answer
    if answer is None and (stated := _STATED.search(text)):
        answer = stated[1]
    return (() if parts.trace is None else task.parse_trace(parts.trace).steps), answer


def trace_from(
    task: Task,
    problem_id: str,
    teacher: str,
    read: Read,
    written: str,
    *,
    sample: int,
    oracle: bool,
    meta: Mapping[str, Any],
) -> Trace:
    """A trace record; its text is the rendered steps, or what was written where these cannot be read."""
    steps, answer = read
    plan = bool(steps) and all(step.kind == "plan" for step in steps)
    if plan:
        text = "\n".join(f"{number}. {step.text}" for number, step in enumerate(steps, start=1))
    else:
        text = task.render_trace(steps) if steps else written
    return Trace(
        trace_id=content_id(teacher, problem_id, sample, text),
        problem_id=problem_id,
        teacher=teacher,
        steps=steps,
        text=text,
        answer=answer,
        oracle=oracle,
        sample=sample,
        meta=dict(meta),
    )


def _structured(text: str) -> Read:
    found = _OBJECT.search(text)
    try:
        value = json.loads(found[0]) if found else None
    except (json.JSONDecodeError, RecursionError):
        value = None
    if not isinstance(value, dict) or not isinstance(value.get("steps"), list):
        return (), None
    steps = []
    for item in value["steps"]:
        if not isinstance(item, dict) or not isinstance(item.get("text"), str) or not item["text"].strip():
            return (), None
        kind: StepKind = item["kind"] if item.get("kind") in get_args(StepKind) else "text"
        steps.append(Step(kind, " ".join(item["text"].split())))
    answer = value.get("answer")
    return tuple(steps), None if answer is None else str(answer)
