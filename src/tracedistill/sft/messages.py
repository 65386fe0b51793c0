"""The chat of one problem under one arm, the same for training rows and evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from tracedistill.chat.formats import Format, write_completion
from tracedistill.chat.prompts import TAGS_HINT, fill, needs_plan
from tracedistill.chat.templates import system_in_user_turn
from tracedistill.errors import InputError
from tracedistill.recipes import Arm
from tracedistill.records import Message, Problem, Trace
from tracedistill.tasks import Task


def messages_for(
    task: Task,
    problem: Problem,
    arm: Arm,
    template: str,
    system: str | None,
    format: Format,
    plan: Trace | None = None,
    shots: Sequence[tuple[Problem, Trace | None]] = (),
    system_role: Literal["system", "user"] = "system",
) -> tuple[Message, ...]:
    """Build the chat that a student sees for a problem in an arm. Gold occurs only in the solved examples.

    `template` is the arm's prompt. Raises InputError if it shows a plan and there is none.
    """
    head = (Message("system", system),) if system else ()
    turns: list[Message] = []
    for shot, trace in shots:
        turns.append(Message("user", _turn(task, shot, template, format)))
        shown = trace.text if trace is not None and arm.shots_with_traces else None
        turns.append(Message("assistant", write_completion(shown, task.render_answer(shot), format)))
    if needs_plan(template) and plan is None:
        raise InputError(f"{problem.problem_id}: the arm shows a plan, but its teacher made none for this problem")
    messages = (*head, *turns, Message("user", _turn(task, problem, template, format, plan)))
    return system_in_user_turn(messages) if system_role == "user" else messages


def with_prefix(mark: str, prompt: Sequence[Message]) -> tuple[Message, ...]:
    """Insert a task's prefix before the prompt's last turn."""
    *before, last = prompt
    return (*before, replace(last, content=mark + last.content))


def _turn(task: Task, problem: Problem, template: str, format: Format, plan: Trace | None = None) -> str:
    steps = "" if plan is None else plan.text
    hint = TAGS_HINT if format == "tags" else task.answer_hint
    return fill(template, problem=task.render_problem(problem), hint=hint, steps=steps)
