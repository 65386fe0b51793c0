"""Edit a trace's text at its steps; everything else stays as written.

A trace in its task's own form (rules' traces, `traces: numbered`) is written in that form again. Any other text is
edited at the places of its steps, and parsed again: if the task does not parse the intended steps, the intervention
does not apply to this trace.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from tracedistill.interventions.declaration import rewritten
from tracedistill.records import Step, Trace
from tracedistill.tasks import Task
from tracedistill.tasks._base import ParsedTrace
from tracedistill.tasks._spans import Span, extents, lay_out, locate, reworded
from tracedistill.tasks._steps import all_plan, read_plan

_STOP = "."
"""Stays in its place when the step before it moves."""


def changed(
    task: Task,
    trace: Trace,
    steps: tuple[Step, ...],
    name: str,
    answer: str | None,
    outside: Callable[[str], str] = str,
) -> Trace | None:
    """Return the trace with the same number of steps, some of them changed, and its new answer.

    `outside` rewrites the text between and after the steps, such as a closing statement of the answer. None if the
    edited text does not parse as these steps.
    """
    own = in_own_form(task, trace)
    if own is not None:
        return _rendered(task, own, steps, name, answer)
    trace = with_places(trace)
    slots = extents(trace.steps)
    if slots is None:
        return None
    bodies = [_body(trace.text, old, new) for old, new in zip(trace.steps, steps, strict=True)]
    return _edited(task, trace, slots, [body for body in bodies if body is not None], steps, name, answer, outside)


def rearranged(task: Task, trace: Trace, order: Sequence[int], name: str, answer: str | None) -> Trace | None:
    """Return the trace with only the steps at these places, in this order; list marks stay in place.

    None if the edited text does not parse as these steps.
    """
    steps = tuple(trace.steps[place] for place in order)
    own = in_own_form(task, trace)
    if own is not None:
        return _rendered(task, own, steps, name, answer)
    trace = with_places(trace)
    slots = extents(trace.steps)
    if slots is None:
        return None
    # a full stop ends each place, whichever step it holds
    slots = [(start, end - trace.text[start:end].endswith(_STOP)) for start, end in slots]
    bodies = [trace.text[slots[place][0] : slots[place][1]] for place in order]
    return _edited(task, trace, slots, bodies, steps, name, answer)


def in_own_form(task: Task, trace: Trace) -> Trace | None:
    """Return a trace written exactly as its task writes these steps, without a text of its own."""
    return trace if trace.text == task.render_trace(trace.steps) else None


def with_places(trace: Trace) -> Trace:
    """Return the trace with the places of its steps, found again if they were not recorded."""
    if any(step.spans for step in trace.steps):
        return trace
    return replace(trace, steps=locate(trace.text, trace.steps))


def parse_alike(task: Task, trace: Trace, text: str) -> ParsedTrace:
    """Parse another text in the way of the trace: as a plan, or as the task does."""
    return ParsedTrace(read_plan(text)) if all_plan(trace.steps) else task.parse_trace(text)


def _located_steps(task: Task, trace: Trace, text: str) -> tuple[Step, ...]:
    steps = parse_alike(task, trace, text).steps
    return steps if any(step.spans for step in steps) else locate(text, steps)


def _rendered(task: Task, trace: Trace, steps: tuple[Step, ...], name: str, answer: str | None) -> Trace:
    """Rewrite the steps as the task writes and parses them.

    Steps that the task does not parse, such as a plan in the place of a trace, stay unchanged.
    """
    parsed = task.read_trace(task.render_trace(steps))
    if len(parsed) != len(steps) or all_plan(steps):
        parsed = steps
    text = task.render_trace(parsed)
    return rewritten(trace, locate(text, parsed), text, name, answer)


def _edited(
    task: Task,
    trace: Trace,
    slots: Sequence[Span],
    bodies: Sequence[str],
    steps: tuple[Step, ...],
    name: str,
    answer: str | None,
    outside: Callable[[str], str] = str,
) -> Trace | None:
    if len(bodies) != len(steps):
        return None
    text, places = lay_out(trace.text, slots, bodies)
    ends = [0, *(end for _, end in places)]
    starts = [*(start for start, _ in places), len(text)]
    gaps = [outside(text[end:start]) for end, start in zip(ends, starts, strict=True)]
    text = "".join(part for pair in zip(gaps, (*bodies, ""), strict=True) for part in pair)
    before, after = (_located_steps(task, trace, version) for version in (trace.text, text))
    if list(map(_meaning, before)) == list(map(_meaning, trace.steps)):
        if list(map(_meaning, after)) != list(map(_meaning, steps)):
            return None
    else:  # steps that the task alone does not parse from this text, such as a source's own
        after = locate(text, steps)
    return rewritten(trace, after, text, name, answer)


def _meaning(step: Step) -> tuple[str, str, str | None, tuple[str, ...]]:
    """Return what must survive parsing again: class and facts, or the words of other steps."""
    if step.kind in ("class", "retrieval"):
        return step.kind, "", step.value, step.facts
    return step.kind, step.text.removesuffix(_STOP), None, ()


def _body(text: str, old: Step, new: Step) -> str | None:
    """Return a step's text with the new words, class or facts; None if the old ones are not found."""
    if new.text != old.text:
        return reworded(text, old, new.text)
    body = text[old.spans[0][0] : old.spans[-1][1]]
    at = 0
    for was, now in zip(old.facts, new.facts, strict=True):
        spelling = _spelled(body, was, now, at)
        if spelling is None:
            return None
        start, old_spelling, new_spelling = spelling
        body = body[:start] + new_spelling + body[start + len(old_spelling) :]
        at = start + len(new_spelling)
    if new.value != old.value and old.kind == "class":
        place = body.casefold().rfind((old.value or "").casefold())
        if place < 0 or not old.value:
            return None
        body = body[:place] + (new.value or "") + body[place + len(old.value) :]
    return body


_SPELLINGS: tuple[tuple[str, str], ...] = (("", ""), ("'", "\\'"), ('"', '\\"'), ("|", "\\|"))
"""(sign, its spelling in lists of facts)."""


def _spelled(body: str, was: str, now: str, start: int) -> tuple[int, str, str] | None:
    """Find where a fact occurs from `start` on, its spelling there, and the new fact spelled alike."""
    for sign, escaped in _SPELLINGS:
        old, new = (was.replace(sign, escaped), now.replace(sign, escaped)) if sign else (was, now)
        place = body.find(old, start)
        if place >= 0:
            return place, old, new
    return None
