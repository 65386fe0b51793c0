"""Turn edited lines back into a trace, judged by the judges that filter teachers and score students.

trace  1. Add the 3 pens and the 4 pens.   lines   Add the 3 pens and the 4 pens.      one line of the page a step
       2. Divide by 2.                             Divide by 2.
draft  the second line made `Multiply by 2.`  ->  a new trace: parent_id of the old one, the reviewer in its meta
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from difflib import SequenceMatcher

from tracedistill.files import content_id
from tracedistill.interventions.text_edits import with_places
from tracedistill.output import visible
from tracedistill.records import Problem, Step, Trace
from tracedistill.review.trace_review import TraceReview
from tracedistill.tasks import Task
from tracedistill.tasks._spans import extents, flat_lines, lay_out, locate, one_line, reworded
from tracedistill.tasks._steps import render_steps
from tracedistill.validation import Keep, Validation, validate
from tracedistill.validation.traces import is_plan

MAX_LINES = 2000
"""Most lines of a draft; further ones are refused."""
MAX_LINE = 200_000
"""Characters of one line."""

VEIL = "the reason quotes the gold; show the gold to read it"
"""Replaces a reason that would reveal the gold."""

_SURROGATE = re.compile("[\ud800-\udfff\x00]")
_STAND_IN = re.compile(r"\[U\+([0-9A-F]{4})\]")
_BREAK = re.compile(r"\r\n?")


def lines_of(trace: Trace) -> tuple[str, ...]:
    """Return the trace as lines to edit: its steps, or the lines of a text that could not be parsed."""
    if trace.steps:
        return tuple(step.text for step in trace.steps)
    return tuple(line for line in _BREAK.sub("\n", trace.text).split("\n") if line.strip())


def sendable(text: str) -> str:
    """Return text for a page or a sheet: line feeds only, and invisible characters shown.

    A direction mark or a control character becomes `[U+202E]`, so that a reviewer sees what would be learnt.
    """
    return visible(_BREAK.sub("\n", text))


def received(text: str) -> str:
    """Return text from a page or a sheet: line feeds only, no NUL, no lone surrogates."""
    return _BREAK.sub("\n", _SURROGATE.sub("\ufffd", text))


def restored(text: str) -> str:
    """Return an edited text with the invisible characters that `sendable` replaced."""

    def character(match: re.Match[str]) -> str:
        char = chr(int(match[1], 16))
        return match[0] if visible(char) != match[0] or _SURROGATE.match(char) else char

    return _STAND_IN.sub(character, received(text))


def with_text(trace: Trace, work: TraceReview, lines: Sequence[str], answer: str | None) -> TraceReview:
    """Return the work with these lines and this answer; text equal to the maker's is no change.

    A line that came back as it was sent keeps what could not be sent (`sendable`).
    """
    current = shown_lines(trace, work)
    before = (*current, *lines_of(trace))
    known = {form: line for line in before for form in (sendable(line), received(line))}
    new = tuple(known.get(received(line), restored(line)) for line in lines)
    stated = None
    if answer is not None and trace.answer is not None and received(answer) != sendable(trace.answer):
        stated = restored(answer)
    return replace(work, lines=None if new == lines_of(trace) else new, answer=stated)


def shown_lines(trace: Trace, work: TraceReview) -> tuple[str, ...]:
    """Return the current lines: the draft's, else the maker's."""
    return lines_of(trace) if work.lines is None else work.lines


def shown_answer(trace: Trace, work: TraceReview) -> str | None:
    """Return the current stated answer; None if the trace states none."""
    return trace.answer if work.answer is None else work.answer


def edited_trace(task: Task, trace: Trace, work: TraceReview, reviewer: str) -> Trace:
    """Return the draft as a new trace with the old one as its parent; the old one if nothing changed.

    `oracle`: the reviewer or the trace's maker saw the gold. meta: source, reviewer, seconds, saw_gold.
    """
    if not work.changed:
        return trace
    lines = [line for line in shown_lines(trace, work) if line.strip()]
    text, steps = trace.text, trace.steps
    if work.lines is not None:
        text = _edited_text(trace, lines)
        if is_plan(trace):
            steps = locate(text, tuple(Step("plan", one_line(line)) for line in lines))
        else:
            steps = task.read_trace(text) if lines else ()
    answer = shown_answer(trace, work)
    return replace(
        trace,
        trace_id=content_id("human", reviewer, trace.trace_id, text, answer),
        steps=steps,
        text=text,
        answer=answer,
        oracle=trace.oracle or work.saw_gold,
        parent_id=trace.trace_id,
        meta={
            "source": "human",
            "reviewer": reviewer,
            "seconds": round(work.seconds, 1),
            "saw_gold": work.saw_gold,
        },
    )


def _edited_text(trace: Trace, lines: Sequence[str]) -> str:
    """Return the maker's text with these lines in place of its steps; the text around them stays."""
    if trace.steps:
        placed = with_places(trace).steps
        slots = extents(placed)
        if slots is None:  # no steps to edit in the text: a list replaces it
            return render_steps(tuple(Step("text", line) for line in lines))
    else:
        rows = flat_lines(_BREAK.sub("\n", trace.text))
        placed = tuple(Step("text", row.text, spans=row.spans(trace.text)) for row in rows)
        slots = extents(placed) or []
    old = lines_of(trace)
    bodies: list[str] = []
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, old, lines, autojunk=False).get_opcodes():
        paired = list(range(i1, i2)) if i2 - i1 == j2 - j1 else []
        for at in range(j1, j2):
            place = paired[at - j1] if paired else None
            if place is None:
                bodies.append(lines[at])
            elif tag == "equal":
                bodies.append(trace.text[slots[place][0] : slots[place][1]])
            else:
                bodies.append(reworded(trace.text, placed[place], lines[at]) or lines[at])
    return lay_out(trace.text, slots, bodies)[0]


def judge(task: Task, problem: Problem, trace: Trace, keep: Keep = "correct", leaks: str = "keep") -> Validation:
    """Judge a trace: step by step, its answer, its format, its leak."""
    return next(iter(validate(task, {problem.problem_id: problem}, [trace], keep, leaks)))


def gold_lines(task: Task, problem: Problem) -> Iterator[str]:
    """Yield the gold as lines: class, steps, answer; nothing if the source has none."""
    if problem.category:
        yield f"Category: {problem.category}"
    yield from (step.text for step in problem.gold_steps)
    if problem.answers:
        yield f"Answer: {task.render_answer(problem)}"


def veiled(reason: str, problem: Problem) -> str:
    """Return a judge's reason for a reviewer who has not seen the gold; a reason that quotes it is hidden.

    A wrong calculation is shown: it is visible without the gold, even if its right result is the answer.
    """
    folded = reason.casefold()
    if "wrong calculation" in folded:
        return reason
    golds = [problem.category, *problem.answers]
    golds += [part for step in problem.gold_steps for part in (step.value or "", *step.facts)]
    quotes = (re.search(rf"(?<!\w){re.escape(gold.casefold().rstrip(' .'))}(?!\w)", folded) for gold in golds if gold)
    return VEIL if "gold" in folded or any(quotes) else reason
