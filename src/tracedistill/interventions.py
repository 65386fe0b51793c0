"""Controlled changes to traces. Each says what it keeps and what it changes; corruptions are seeded draws."""

from __future__ import annotations

import hashlib
import math
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from tracedistill.records import Problem, Step, Trace
from tracedistill.store import content_id
from tracedistill.tasks import Task
from tracedistill.tasks.retrieval import normalise_class, normalise_fact

LENGTH_TOLERANCE = 0.1
"""Other facts are drawn from those sets that leave the whole trace's length within this share, where there are any."""
DRAWS = 48
"""Sets of facts looked at where there are more than EXHAUSTIVE of them."""
EXHAUSTIVE = 256

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
    """Another class and other facts of the same context: neither the trace's own nor the gold's."""
    labels = [_label(trace.steps) for trace in traces]
    barred = [
        {normalise_class(name) for name in (label, problem.category, _label(problem.gold_steps)) if name}
        for label, problem in ((label, problems[trace.problem_id]) for label, trace in zip(labels, traces, strict=True))
    ]
    wrong = _other_labels(labels, barred, random.Random(f"labels/{seed}"))
    out = []
    for trace, own, label in zip(traces, labels, wrong, strict=True):
        if not own or not label:
            continue
        longer = sum(len(label) - len(step.value or "") for step in trace.steps if step.kind == "class")
        facts = _other_facts(trace, problems[trace.problem_id], longer, _rng(seed, trace.problem_id))
        if facts is None:
            continue
        steps = tuple(
            replace(step, value=label)
            if step.kind == "class"
            else replace(step, facts=tuple(facts[fact] for fact in step.facts))
            for step in trace.steps
        )
        out.append(_changed(task, trace, steps, "incorrect"))
    return out


INTERVENTIONS: dict[str, Intervention] = {
    "correct": Intervention("correct", ("everything",), (), _as_it_is),
    "incorrect": Intervention(
        "incorrect",
        (
            "format",
            "kinds and number of steps",
            "number of facts per step",
            "frequencies of classes",
            "length: the mean within 3%, four rows in five within 15% (built-in bAbI stories)",
            "answer",
        ),
        ("class of every trace", "facts cited: others of the same context, never the gold set"),
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


def _label(steps: Sequence[Step]) -> str:
    """The class that the steps name first; empty where they name none."""
    return next((step.value for step in steps if step.kind == "class" and step.value), "")


def _other_labels(labels: Sequence[str], barred: Sequence[Collection[str]], rng: random.Random) -> list[str]:
    """The same labels dealt out anew, none to a place that bars it: frequencies are kept, the true class is not told.

    `labels`: empty where a trace has none, and stays so. Where one label fills more than half of all places no such
    deal exists: the rest gets a draw from the others, or an empty string where there is none.
    """
    plain = {label: normalise_class(label) for label in labels}
    places = [place for place, label in enumerate(labels) if label]
    pack = [labels[place] for place in places]
    rng.shuffle(pack)
    dealt = dict(zip(places, pack, strict=True))

    def fits(label: str, place: int) -> bool:
        return plain[label] not in barred[place]

    def may_swap(place: int, other: int) -> bool:
        return fits(dealt[other], place) and fits(dealt[place], other)

    for place in places:
        if fits(dealt[place], place):
            continue
        # a few random tries first: looking through all places for each of them is slow for large sets
        other = next((one for one in (rng.choice(places) for _ in range(32)) if may_swap(place, one)), None)
        if other is None:
            partners = [one for one in places if may_swap(place, one)]
            other = rng.choice(partners) if partners else place
        dealt[place], dealt[other] = dealt[other], dealt[place]
    known = sorted(set(pack))
    for place in places:
        if not fits(dealt[place], place):
            others = [label for label in known if fits(label, place)]
            dealt[place] = rng.choice(others) if others else ""
    return [dealt.get(place, "") for place in range(len(labels))]


def _other_facts(trace: Trace, problem: Problem, longer: int, rng: random.Random) -> dict[str, str] | None:
    """For each fact that the trace cites another one of the same context, in the context's order.

    Neither cited nor gold, and such that the whole trace keeps its length, `longer` characters of another label
    included. Where the context has too few others, some of those stay, but never all. None where nothing else is there.
    """
    times = Counter(fact for step in trace.steps if step.kind == "retrieval" for fact in step.facts)
    gold = (fact for step in problem.gold_steps for fact in step.facts)
    own = {normalise_fact(fact) for fact in (*times, *gold)}
    first: dict[str, str] = {}
    for fact in problem.context:
        first.setdefault(normalise_fact(fact), fact)
    context = list(first.values())
    others = [place for place, fact in enumerate(context) if normalise_fact(fact) not in own]
    spare = [place for place, fact in enumerate(context) if normalise_fact(fact) in own]
    missing = max(0, len(times) - len(others))
    if not others or not times or missing > len(spare):
        return None
    wanted = sum(len(fact) * count for fact, count in times.items()) - longer
    counts = list(times.values())
    near: list[tuple[int, ...]] = []
    nearest: tuple[int, tuple[int, ...]] | None = None
    for drawn in _sets(others, len(times) - missing, spare, missing, rng):
        gap = abs(sum(len(context[place]) * count for place, count in zip(drawn, counts, strict=True)) - wanted)
        if gap <= LENGTH_TOLERANCE * len(trace.text):
            near.append(drawn)
        if nearest is None or gap < nearest[0]:
            nearest = (gap, drawn)
    chosen = rng.choice(near) if near else nearest[1] if nearest else ()
    return dict(zip(times, (context[place] for place in chosen), strict=True))


def _sets(
    others: Sequence[int], size: int, spare: Sequence[int], more: int, rng: random.Random
) -> Iterator[tuple[int, ...]]:
    """Sets of `size` others and `more` spare ones, ascending: all of them where they are few, else DRAWS draws."""
    if math.comb(len(others), size) * math.comb(len(spare), more) <= EXHAUSTIVE:
        for chosen in combinations(others, size):
            for kept in combinations(spare, more):
                yield tuple(sorted(chosen + kept))
        return
    for _ in range(DRAWS):
        yield tuple(sorted(rng.sample(others, size) + rng.sample(spare, more)))
