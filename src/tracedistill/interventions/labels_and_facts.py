"""Class + retrieval traces with another class, other facts, or the answer masked."""

from __future__ import annotations

import functools
import math
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from tracedistill.interventions.reassignment import label_of, other_labels, rng_of
from tracedistill.interventions.text_edits import changed
from tracedistill.records import Problem, Step, Trace
from tracedistill.tasks import Task
from tracedistill.tasks._retrieval import normalise_class, normalise_fact

LENGTH_TOLERANCE = 0.1
"""Other facts are drawn from sets that change the whole trace's length by at most this share, if there are any."""
DRAWS = 48
"""Sets of facts drawn if there are more than EXHAUSTIVE of them."""
EXHAUSTIVE = 256
MASK = "_"
"""Replaces every character of a masked answer."""


def wrong_class(task: Task, problems: Mapping[str, Problem], traces: Sequence[Trace], seed: int) -> list[Trace]:
    """Replace the class by one that is neither the trace's own nor the gold's; facts and answer stay."""
    wrong = _wrong_labels(problems, traces, seed)
    made = [
        changed(task, trace, _with_label(trace.steps, label), "wrong-class", trace.answer)
        for trace, label in zip(traces, wrong, strict=True)
        if label
    ]
    return [trace for trace in made if trace is not None]


def wrong_facts(task: Task, problem: Problem, trace: Trace, rng: random.Random) -> Trace | None:
    """Replace the facts by others of the same context, neither cited nor gold."""
    facts = _other_facts(trace, problem, 0, rng)
    return None if facts is None else changed(task, trace, _with_facts(trace.steps, facts), "wrong-facts", None)


def incorrect(task: Task, problems: Mapping[str, Problem], traces: Sequence[Trace], seed: int) -> list[Trace]:
    """Replace class and facts by others of the same context, neither the trace's own nor the gold's."""
    # labels are redistributed among rows with other facts, so rows that are left out take no label with them
    rows = [trace for trace in traces if _Choice.of(trace, problems[trace.problem_id]) is not None]
    out = []
    for trace, label in zip(rows, _wrong_labels(problems, rows, seed), strict=True):
        if not label:
            continue
        longer = sum(len(label) - len(step.value or "") for step in trace.steps if step.kind == "class")
        facts = _other_facts(trace, problems[trace.problem_id], longer, rng_of(seed, trace.problem_id))
        if facts is not None:
            steps = _with_facts(_with_label(trace.steps, label), facts)
            out.append(changed(task, trace, steps, "incorrect", None))
    return [trace for trace in out if trace is not None]


def wrong_facts_with_answer(task: Task, problem: Problem, trace: Trace, rng: random.Random) -> Trace | None:
    """Replace the facts by others of the same context that still contain every gold answer."""
    if not problem.answers or not task.answer_in_trace(problem, trace.steps):
        return None
    facts = _other_facts(trace, problem, 0, rng, holding=problem.answers)
    if facts is None:
        return None
    return changed(task, trace, _with_facts(trace.steps, facts), "wrong-facts-with-answer", None)


def mask_answer(task: Task, problem: Problem, trace: Trace, _rng: random.Random) -> Trace | None:
    """Mask the gold answers in the facts, character by character; deterministic."""
    if not any(step.facts for step in trace.steps) or not task.answer_in_trace(problem, trace.steps):
        return None
    for whole_words in (True, False):
        outside = functools.partial(_masked, answers=problem.answers, whole_words=whole_words)
        steps = tuple(replace(step, facts=tuple(map(outside, step.facts))) for step in trace.steps)
        masked = changed(task, trace, steps, "right-facts-answer-masked", None, outside)
        if masked is not None and not task.answer_in_trace(problem, masked.steps):
            return masked
    return None


# ---- classes


def _wrong_labels(problems: Mapping[str, Problem], traces: Sequence[Trace], seed: int) -> list[str]:
    labels = [label_of(trace.steps) for trace in traces]
    barred = [
        {normalise_class(name) for name in (label, problem.category, label_of(problem.gold_steps)) if name}
        for label, problem in ((label, problems[trace.problem_id]) for label, trace in zip(labels, traces, strict=True))
    ]
    return other_labels(labels, barred, random.Random(f"labels/{seed}"))


def _with_label(steps: tuple[Step, ...], label: str) -> tuple[Step, ...]:
    return tuple(replace(step, value=label) if step.kind == "class" else step for step in steps)


def _with_facts(steps: tuple[Step, ...], facts: Mapping[str, str]) -> tuple[Step, ...]:
    return tuple(replace(step, facts=tuple(facts[fact] for fact in step.facts)) for step in steps)


# ---- facts


@dataclass(frozen=True, slots=True)
class _Choice:
    """The facts that a trace cites, and their possible replacements."""

    times: Counter[str]
    """Cited fact -> count."""
    context: tuple[str, ...]
    """Distinct facts of the context."""
    others: tuple[int, ...]
    """Indices of facts that are neither cited nor gold."""
    spare: tuple[int, ...]
    """Indices of facts that are cited or gold."""
    missing: int
    """Number of spare facts to keep for lack of others."""

    @classmethod
    def of(cls, trace: Trace, problem: Problem) -> _Choice | None:
        """Find the choice of one trace; None if it cites nothing, or there is nothing else to cite."""
        times = Counter(fact for step in trace.steps if step.kind == "retrieval" for fact in step.facts)
        gold = (fact for step in problem.gold_steps for fact in step.facts)
        own = {normalise_fact(fact) for fact in (*times, *gold)}
        first: dict[str, str] = {}
        for fact in problem.context:
            first.setdefault(normalise_fact(fact), fact)
        others = tuple(place for place, fact in enumerate(first) if fact not in own)
        spare = tuple(place for place, fact in enumerate(first) if fact in own)
        missing = max(0, len(times) - len(others))
        if not others or not times or missing > len(spare):
            return None
        return cls(times, tuple(first.values()), others, spare, missing)


def _other_facts(
    trace: Trace, problem: Problem, longer: int, rng: random.Random, holding: Sequence[str] = ()
) -> dict[str, str] | None:
    """Return another fact of the same context for each cited one, in the context's order.

    Neither cited nor gold, and such that the whole trace keeps its length, `longer` characters of another label
    included. If the context has too few others, some cited ones stay, but never all. With `holding`, the others contain
    each of these strings. None if there is no other fact.
    """
    choice = _Choice.of(trace, problem)
    if choice is None:
        return None
    context, counts = choice.context, list(choice.times.values())
    wanted = sum(len(fact) * count for fact, count in choice.times.items()) - longer
    near: list[tuple[int, ...]] = []
    nearest: tuple[int, tuple[int, ...]] | None = None
    for drawn in _sets_holding(choice, holding, rng) if holding else _sets(choice, rng):
        gap = abs(sum(len(context[place]) * count for place, count in zip(drawn, counts, strict=True)) - wanted)
        if gap <= LENGTH_TOLERANCE * len(trace.text):
            near.append(drawn)
        if nearest is None or gap < nearest[0]:
            nearest = (gap, drawn)
    if nearest is None:
        return None
    chosen = rng.choice(near) if near else nearest[1]
    return dict(zip(choice.times, (context[place] for place in chosen), strict=True))


def _sets(choice: _Choice, rng: random.Random) -> Iterator[tuple[int, ...]]:
    """Yield sets of other facts with the fewest spare ones, ascending: all if they are few, else DRAWS draws."""
    size, others, spare, more = len(choice.times) - choice.missing, choice.others, choice.spare, choice.missing
    if math.comb(len(others), size) * math.comb(len(spare), more) <= EXHAUSTIVE:
        for chosen in combinations(others, size):
            for kept in combinations(spare, more):
                yield tuple(sorted(chosen + kept))
        return
    for _ in range(DRAWS):
        yield tuple(sorted(rng.sample(others, size) + rng.sample(spare, more)))


def _sets_holding(choice: _Choice, strings: Sequence[str], rng: random.Random) -> Iterator[tuple[int, ...]]:
    """Yield sets that contain every string: a fact drawn for each missing one, the rest drawn freely."""
    names = [re.compile(rf"(?<!\w){re.escape(string.casefold())}(?!\w)") for string in strings]
    held = {
        place: frozenset(n for n, name in enumerate(names) if name.search(choice.context[place].casefold()))
        for place in choice.others
    }
    size = len(choice.times) - choice.missing
    for _ in range(DRAWS):
        drawn: list[int] = []
        missing = set(range(len(names)))
        while missing and len(drawn) < size:
            holders = [place for place in choice.others if held[place] & missing and place not in drawn]
            if not holders:
                return
            drawn.append(rng.choice(holders))
            missing -= held[drawn[-1]]
        if missing:
            continue
        rest = [place for place in choice.others if place not in drawn]
        drawn += rng.sample(rest, size - len(drawn))
        yield tuple(sorted(drawn + rng.sample(choice.spare, choice.missing)))


def _masked(fact: str, answers: Sequence[str], whole_words: bool) -> str:
    # the longest first: `New York City` before `New York`
    for answer in sorted(filter(str.strip, answers), key=len, reverse=True):
        edge = r"(?<!\w){}(?!\w)" if whole_words else "{}"
        fact = re.sub(edge.format(re.escape(answer)), lambda match: MASK * len(match[0]), fact, flags=re.IGNORECASE)
    return fact
