"""Controlled changes to traces. Each says what it keeps and what it changes; corruptions are seeded draws."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from tracedistill.records import Problem, Step, Trace
from tracedistill.store import content_id
from tracedistill.tasks import Task

LENGTH_TOLERANCE = 0.1
"""A corrupted fact list is drawn again (at most DRAWS times) while its length differs by more than this share."""
DRAWS = 24

Change = Callable[[Task, Mapping[str, Problem], Sequence[Trace], int], list[Trace]]


@dataclass(frozen=True, slots=True)
class Intervention:
    """One controlled change."""

    name: str
    """Key in INTERVENTIONS."""
    keeps: tuple[str, ...]
    """What stays as in the correct trace."""
    changes: tuple[str, ...]
    """What does not."""
    apply: Change
    """(task, problems by id, traces, seed) -> traces; a problem it cannot be applied to is left out."""


def _as_it_is(_task: Task, _problems: Mapping[str, Problem], traces: Sequence[Trace], _seed: int) -> list[Trace]:
    return list(traces)


def _incorrect(task: Task, problems: Mapping[str, Problem], traces: Sequence[Trace], seed: int) -> list[Trace]:
    """Another class and other facts of the same context."""
    labels = [next((step.value for step in trace.steps if step.kind == "class"), None) for trace in traces]
    wrong = _other_labels([label or "" for label in labels], random.Random(f"labels/{seed}"))
    out = []
    for trace, label in zip(traces, wrong, strict=True):
        problem = problems[trace.problem_id]
        rng = _rng(seed, trace.problem_id)
        facts = _other_facts(trace, problem, rng)
        if facts is None or not label:
            continue
        steps = tuple(
            replace(step, value=label)
            if step.kind == "class"
            else replace(step, facts=facts)
            if step.kind == "retrieval"
            else step
            for step in trace.steps
        )
        out.append(_changed(task, trace, steps, "incorrect"))
    return out


INTERVENTIONS: dict[str, Intervention] = {
    "correct": Intervention("correct", ("everything",), (), _as_it_is),
    "incorrect": Intervention(
        "incorrect",
        ("format", "kinds and number of steps", "number of facts", "frequencies of classes", "length", "answer"),
        ("class of every trace", "facts cited: others of the same context"),
        _incorrect,
    ),
}
"""Name -> intervention. An arm with `tune: none` has no trace at all and needs none of these."""

NO_TRACE = "none"
"""The value of `tune` that trains on answers alone."""


def intervene(
    name: str, task: Task, problems: Mapping[str, Problem], traces: Sequence[Trace], seed: int
) -> list[Trace]:
    """The traces after the named intervention, in the same order."""
    return INTERVENTIONS[name].apply(task, problems, traces, seed)


def _changed(task: Task, trace: Trace, steps: tuple[Step, ...], name: str) -> Trace:
    parsed = task.parse_trace(task.render_trace(steps))
    text = task.render_trace(parsed.steps)
    trace_id = content_id(name, trace.trace_id, text)
    return replace(trace, trace_id=trace_id, steps=parsed.steps, text=text, intervention=name, parent_id=trace.trace_id)


def _rng(seed: int, problem_id: str) -> random.Random:
    """A generator of this problem's own: the draw does not depend on which other problems there are."""
    return random.Random(int.from_bytes(hashlib.sha256(f"{seed}/{problem_id}".encode()).digest()[:8], "big"))


def _other_labels(labels: Sequence[str], rng: random.Random) -> list[str]:
    """The same labels dealt out anew, so that nobody gets their own: frequencies are kept, the true class is not told.

    Where one label fills more than half of all places no such deal exists: the rest gets a draw from the others.
    """
    dealt = list(labels)
    rng.shuffle(dealt)
    for place in range(len(dealt)):
        if dealt[place] != labels[place]:
            continue
        partners = [
            other
            for other in range(len(dealt))
            if dealt[other] != labels[place] and dealt[place] != labels[other] and dealt[other] != dealt[place]
        ]
        if partners:
            other = rng.choice(partners)
            dealt[place], dealt[other] = dealt[other], dealt[place]
    known = sorted(set(labels))
    for place, label in enumerate(labels):
        if dealt[place] == label:
            others = [other for other in known if other != label]
            dealt[place] = rng.choice(others) if others else ""
    return dealt


def _other_facts(trace: Trace, problem: Problem, rng: random.Random) -> tuple[str, ...] | None:
    """As many facts of the same context, not the cited ones, in the context's order and of like length.

    Where the context has too few others, some of the cited ones stay, but never all. None where nothing else is there.
    """
    cited = tuple(fact for step in trace.steps if step.kind == "retrieval" for fact in step.facts)
    own = set(cited)
    others = [fact for fact in problem.context if fact not in own]
    if not others or not cited:
        return None
    missing = max(0, len(cited) - len(others))
    wanted = sum(map(len, cited))
    best: tuple[float, tuple[str, ...]] | None = None
    for _ in range(DRAWS):
        drawn = set(rng.sample(others, len(cited) - missing)) | set(rng.sample(sorted(own), min(missing, len(own))))
        facts = tuple(fact for fact in problem.context if fact in drawn)[: len(cited)]
        gap = abs(sum(map(len, facts)) - wanted) / wanted
        if best is None or gap < best[0]:
            best = (gap, facts)
        if gap <= LENGTH_TOLERANCE:
            break
    return best[1] if best else None
