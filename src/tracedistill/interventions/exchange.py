"""Exchange traces or answers between problems, keeping every frequency."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from tracedistill.files import content_id
from tracedistill.interventions.declaration import rewritten
from tracedistill.interventions.reassignment import blocks_of, reassign_near
from tracedistill.records import Problem, Trace
from tracedistill.tasks import Task


def exchange_traces(task: Task, problems: Mapping[str, Problem], traces: Sequence[Trace], seed: int) -> list[Trace]:
    """Give every trace to another problem, of its category and with another gold answer if possible.

    Preferred are problems whose trace has steps of the same kinds and about the same length.
    """
    if len(traces) < 2:
        return []
    owners = [problems[trace.problem_id] for trace in traces]
    differ = _differ(owners)

    def fits(card: int, place: int) -> bool:
        return card != place and traces[card].text != traces[place].text and differ(card, place)

    rng = random.Random(f"foreign/{seed}")
    groups = [owner.category for owner in owners]
    alike = [
        (owner.category, *(step.kind for step in trace.steps)) for owner, trace in zip(owners, traces, strict=True)
    ]
    near = blocks_of(alike, [len(trace.text) for trace in traces], rng)
    donors = reassign_near([near, alike, groups], fits, rng)
    _separate(donors, random.Random(f"parted/{seed}"))
    out = []
    for place, trace in enumerate(traces):
        donor = traces[donors[place]]
        out.append(
            replace(
                donor,
                problem_id=trace.problem_id,
                trace_id=content_id("foreign", trace.problem_id, donor.trace_id),
                answer=task.render_answer(owners[donors[place]]) or None,
                intervention="foreign",
                parent_id=donor.trace_id,
                sample=trace.sample,
            )
        )
    return out


def exchange_answers(task: Task, problems: Mapping[str, Problem], traces: Sequence[Trace], seed: int) -> list[Trace]:
    """Give every trace the gold answer of another problem; traces without a different answer are left out."""
    owners = [problems[trace.problem_id] for trace in traces]
    fits = _differ(owners)
    donors = reassign_near([[owner.category for owner in owners]], fits, random.Random(f"answers/{seed}"))
    return [
        rewritten(trace, trace.steps, trace.text, "wrong-answer", task.render_answer(owners[donors[place]]))
        for place, trace in enumerate(traces)
        if fits(donors[place], place)
    ]


def _differ(owners: Sequence[Problem]) -> Callable[[int, int], bool]:
    """Return whether one problem's gold is no answer to another: neither the same set nor one of its alternatives."""
    sets = [frozenset(" ".join(answer.casefold().split()) for answer in owner.answers) for owner in owners]

    def differ(card: int, place: int) -> bool:
        if not sets[card]:
            return False
        return sets[card] != sets[place] and not (len(sets[card]) == 1 and sets[card] <= sets[place])

    return differ


def _separate(donors: dict[int, int], rng: random.Random) -> None:
    """Swap any problem that kept its own trace with another one."""
    places = list(donors)
    for place in places:
        while donors[place] == place:
            other = rng.choice(places)
            if other != place and donors[other] != place:
                donors[place], donors[other] = donors[other], donors[place]
