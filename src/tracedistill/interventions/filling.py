"""Words that say nothing, in as many lines and characters as the trace had."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from tracedistill.interventions.dealing import rng_of
from tracedistill.interventions.declared import written
from tracedistill.records import Problem, Step, Trace
from tracedistill.tasks import Task

WORDS = ("and", "so", "then", "well", "now", "here", "thus", "also", "still", "again", "hence", "indeed", "likewise")
"""About four characters each, as a token of prose has them."""
_DOT = "."


def fill(task: Task, _problems: Mapping[str, Problem], traces: Sequence[Trace], seed: int) -> list[Trace]:
    """Every step is filled up to its own length; the steps are text, whatever they were."""
    out = []
    for trace in traces:
        if not trace.steps:
            continue
        rng = rng_of(seed, trace.problem_id)
        # a task may write a step's class and facts anew: what is rendered is what counts
        lines = task.render_trace(trace.steps).split("\n")
        marks = task.render_trace(tuple(Step("text", "") for _ in trace.steps)).split("\n")
        if len(lines) == len(marks) == len(trace.steps):
            lengths = [len(line) - len(mark) for line, mark in zip(lines, marks, strict=True)]
            texts = [_words(length, rng) for length in lengths]
        else:
            texts = ["\n".join(_words(len(line), rng) for line in step.text.split("\n")) for step in trace.steps]
        steps = tuple(Step("text", text) for text in texts)
        out.append(written(trace, steps, task.render_trace(steps), "filler", None))
    return out


def _words(length: int, rng: random.Random) -> str:
    """Drawn words of this many characters together; dots where no word fits any more."""
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
