"""The chat of one problem under one arm, the same for training rows and evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tracedistill.chat.formats import Format, write_completion
from tracedistill.chat.prompts import TAGS_HINT, fill, needs_plan
from tracedistill.chat.templates import system_in_user_turn
from tracedistill.errors import InputError
from tracedistill.recipes import Arm
from tracedistill.records import Message, Problem, Trace
from tracedistill.tasks import Task


@dataclass(frozen=True, slots=True)
class PromptSpec:
    """How one arm prompts its student."""

    task: Task
    arm: Arm
    template: str
    """Prompt, with fields for what is filled in."""
    system: str | None
    format: Format
    samples: int = 1
    """Attempts per problem and plan."""
    temperature: float = 0.0
    """Sampling temperature; 0 is greedy."""
    seed: int = 0
    shots: Sequence[tuple[Problem, Trace | None]] = ()
    system_role: Literal["system", "user"] = "system"
    """Role that carries the system message."""
    mark: str = ""
    """Prefix of the last turn, for a student trained on several tasks with prefixes."""


def messages_for(spec: PromptSpec, problem: Problem, plan: Trace | None = None) -> tuple[Message, ...]:
    """Build the chat that a student sees for a problem. Gold occurs only in the solved examples.

    Raises InputError if the prompt shows a plan and `plan` is None.
    """
    head = (Message("system", spec.system),) if spec.system else ()
    turns: list[Message] = []
    for shot, trace in spec.shots:
        turns.append(Message("user", _turn(spec, shot)))
        shown = trace.text if trace is not None and spec.arm.shots_with_traces else None
        turns.append(Message("assistant", write_completion(shown, spec.task.render_answer(shot), spec.format)))
    if needs_plan(spec.template) and plan is None:
        raise InputError(f"{problem.problem_id}: the arm shows a plan, but its teacher made none for this problem")
    messages = (*head, *turns, Message("user", _turn(spec, problem, plan)))
    messages = system_in_user_turn(messages) if spec.system_role == "user" else messages
    return with_prefix(spec.mark, messages)


def with_prefix(mark: str, prompt: Sequence[Message]) -> tuple[Message, ...]:
    """Insert a task's prefix before the prompt's last turn."""
    *before, last = prompt
    return (*before, replace(last, content=mark + last.content))


def _turn(spec: PromptSpec, problem: Problem, plan: Trace | None = None) -> str:
    steps = "" if plan is None else plan.text
    hint = TAGS_HINT if spec.format == "tags" else spec.task.answer_hint
    return fill(spec.template, problem=spec.task.render_problem(problem), hint=hint, steps=steps)
