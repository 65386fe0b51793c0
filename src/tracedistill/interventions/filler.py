"""Filler words without content, in as many lines and characters as the trace."""

from __future__ import annotations

import random
import re

from tracedistill.interventions.declaration import rewritten
from tracedistill.interventions.text_edits import in_own_form
from tracedistill.records import Problem, Step, Trace
from tracedistill.tasks import Task
from tracedistill.tasks._spans import flat_lines, locate

WORDS = ("and", "so", "then", "well", "now", "here", "thus", "also", "still", "again", "hence", "indeed", "likewise")
"""About four characters each, like a token of prose."""
_DOT = "."
_MARK = re.compile(r"[^\S\n]*+(?:(?:[-*+•–]|\(?\d{1,4}[.)])[^\S\n]++)?")
"""Indentation and list mark of a line."""


def fill(task: Task, _problem: Problem, trace: Trace, rng: random.Random) -> Trace | None:
    """Replace every step by filler of its own length; the steps become text."""
    if not trace.steps:
        return None
    if in_own_form(task, trace) is None:
        text = _filled(trace.text, rng)
        steps = tuple(Step("text", line.text, spans=line.spans(text)) for line in flat_lines(text))
        return rewritten(trace, steps, text, "filler", None)
    # a task may rewrite a step's class and facts: the rendered text counts
    lines = task.render_trace(trace.steps).split("\n")
    marks = task.render_trace(tuple(Step("text", "") for _ in trace.steps)).split("\n")
    if len(lines) == len(marks) == len(trace.steps):
        texts = [_words(len(line) - len(mark), rng) for line, mark in zip(lines, marks, strict=True)]
    else:
        texts = ["\n".join(_words(len(line), rng) for line in step.text.split("\n")) for step in trace.steps]
    steps = tuple(Step("text", text) for text in texts)
    text = task.render_trace(steps)
    return rewritten(trace, locate(text, steps), text, "filler", None)


def _filled(text: str, rng: random.Random) -> str:
    """Fill every line after its indentation and list mark, closing statements included."""
    lines = []
    for line in text.split("\n"):
        mark = _MARK.match(line)
        assert mark is not None, "the pattern matches the empty text"
        body = line[mark.end() :]
        words = body.rstrip()
        lines.append(mark[0] + (_words(len(words), rng) if words else "") + body[len(words) :])
    return "\n".join(lines)


def _words(length: int, rng: random.Random) -> str:
    """Draw words that make up this many characters; dots if no word fits."""
    words: list[str] = []
    left = length
    while left > 0:
        fitting = [word for word in WORDS if len(word) <= left and left - len(word) != 1]
        if not fitting:
            break
        word = rng.choice(fitting)
        words.append(word)
        left -= len(word) + 1
    return " ".join(words).ljust(length, _DOT) if words else _DOT * length
