"""Steps reordered, or one of them dropped."""

from __future__ import annotations

import random
from collections.abc import Sequence

from tracedistill.arithmetic.traces import last_result
from tracedistill.interventions.text_edits import rearranged
from tracedistill.records import Problem, Step, Trace
from tracedistill.tasks import Task

TRIES = 64
"""Orders drawn in search of one that moves every step."""


def shuffle_steps(task: Task, _problem: Problem, trace: Trace, rng: random.Random) -> Trace | None:
    """Reorder a trace of at least two distinct steps; no step keeps its place if possible."""
    texts = [step.text for step in trace.steps]
    if len(set(texts)) < 2:
        return None
    order = _other_order(texts, rng)
    # the last calculation's result is the answer: with another one after it, it would be ambiguous
    same = last_result(texts) == last_result([texts[place] for place in order])
    return rearranged(task, trace, order, "shuffled", trace.answer if same else None)


def drop_step(task: Task, _problem: Problem, trace: Trace, rng: random.Random) -> Trace | None:
    """Drop one step of a trace with at least two; a plain text step only if all are."""
    if len(trace.steps) < 2:
        return None
    loaded = [place for place, step in enumerate(trace.steps) if step.kind != "text"]
    place = rng.choice(loaded or range(len(trace.steps)))
    others = [other for other in range(len(trace.steps)) if other != place]
    answer = None if _reaches(trace.steps, place) else trace.answer
    return rearranged(task, trace, others, "dropped-step", answer)


def _other_order(texts: Sequence[str], rng: random.Random) -> list[int]:
    """Draw one of the orders that leave the fewest steps in place; equal steps are interchangeable."""
    order = list(range(len(texts)))
    best: tuple[int, list[int]] | None = None
    for _ in range(TRIES):
        rng.shuffle(order)
        stay = sum(texts[place] == text for place, text in zip(order, texts, strict=True))
        if best is None or stay < best[0]:
            best = (stay, list(order))
        if not stay:
            break
    assert best is not None
    if best[0] == len(texts):  # all TRIES draws gave the original order: rotate by one
        return [*range(1, len(texts)), 0]
    return best[1]


def _reaches(steps: Sequence[Step], place: int) -> bool:
    """Return whether the answer is read from a step: the last that calculates, or the only one that cites."""
    kind = steps[place].kind
    if kind == "retrieval":
        return True
    last = max((at for at, step in enumerate(steps) if step.kind != "class"), default=-1)
    last_result = max((at for at, step in enumerate(steps) if step.kind == "calculation"), default=last)
    return place in (last, last_result) and kind != "class"
