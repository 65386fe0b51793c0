"""Seeded draws: a generator per problem, and the redistribution of labels, answers and traces among all problems."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Collection, Hashable, Sequence

from tracedistill.records import Step
from tracedistill.tasks._retrieval import normalise_class

TRIES = 32
"""Random partners tried before all of them are searched."""
BLOCK = 8
"""Number of places among which items are redistributed if their size is to be kept."""


def rng_of(seed: int, problem_id: str) -> random.Random:
    """Return a problem's own random generator, independent of other problems."""
    return random.Random(
        int.from_bytes(hashlib.sha256(f"{seed}/{problem_id}".encode("utf-8", "surrogatepass")).digest()[:8], "big")
    )


def label_of(steps: Sequence[Step]) -> str:
    """Return the class that the steps name first; empty if they name none."""
    return next((step.value for step in steps if step.kind == "class" and step.value), "")


def other_labels(labels: Sequence[str], barred: Sequence[Collection[str]], rng: random.Random) -> list[str]:
    """Redistribute the labels, none to a place that bars it: frequencies are kept, and the true class is not revealed.

    `labels`: empty for traces without one, which stay empty. If one label fills more than half of all places this is
    impossible: the remaining places draw from the other labels, or get an empty string.
    """
    plain = {label: normalise_class(label) for label in labels}
    places = [place for place, label in enumerate(labels) if label]

    def fits(source: int, place: int) -> bool:
        return plain[labels[source]] not in barred[place]

    known = sorted({labels[place] for place in places})
    given = [""] * len(labels)
    for place, source in reassign(places, fits, rng).items():
        given[place] = labels[source]
        if not fits(source, place):
            others = [label for label in known if plain[label] not in barred[place]]
            given[place] = rng.choice(others) if others else ""
    return given


def reassign(places: Sequence[int], fits: Callable[[int, int], bool], rng: random.Random) -> dict[int, int]:
    """Return place -> source; the sources are the places themselves shuffled, each used once.

    `fits(source, place)`; if swaps find no better partner a place keeps a source that does not fit.
    """
    sources = list(places)
    rng.shuffle(sources)
    assigned = dict(zip(places, sources, strict=True))
    for place in places:
        _swap_misfit(assigned, place, places, fits, rng)
    return assigned


def reassign_near(
    groupings: Sequence[Sequence[Hashable]], fits: Callable[[int, int], bool], rng: random.Random
) -> dict[int, int]:
    """Return place -> source as in `reassign`, from the place's own group in the first grouping if possible.

    A place without a fitting source swaps within its group of the next grouping, and so on, at last with any place;
    failing that it keeps its misfit. Each grouping has one group per place.
    """
    assigned: dict[int, int] = {}
    for places in _members(groupings[0]).values():
        assigned |= reassign(places, fits, rng)
    for grouping in (*groupings[1:], [""] * len(assigned)):
        members = _members(grouping)
        for place in range(len(assigned)):
            _swap_misfit(assigned, place, members[grouping[place]], fits, rng)
    return assigned


def _swap_misfit(
    assigned: dict[int, int],
    place: int,
    partners: Sequence[int],
    fits: Callable[[int, int], bool],
    rng: random.Random,
) -> None:
    """Swap the source of a place with a partner's if it does not fit and both would then fit."""
    if fits(assigned[place], place):
        return

    def may_swap(other: int) -> bool:
        return fits(assigned[other], place) and fits(assigned[place], other)

    # a few random tries first: a full search for each place is slow for large sets
    other = next((partner for partner in (rng.choice(partners) for _ in range(TRIES)) if may_swap(partner)), None)
    if other is None:
        fitting = [partner for partner in partners if may_swap(partner)]
        other = rng.choice(fitting) if fitting else place
    assigned[place], assigned[other] = assigned[other], assigned[place]


def blocks_of(groups: Sequence[Hashable], sizes: Sequence[int], rng: random.Random) -> list[Hashable]:
    """Group more finely: about BLOCK places of similar size within each group.

    Equal sizes in random order.
    """
    blocks: list[Hashable] = [None] * len(groups)
    for group, places in _members(groups).items():
        rng.shuffle(places)
        places.sort(key=lambda place: sizes[place])
        count = max(1, len(places) // BLOCK)
        for rank, place in enumerate(places):
            blocks[place] = (group, rank * count // len(places))
    return blocks


def _members(groups: Sequence[Hashable]) -> dict[Hashable, list[int]]:
    members: dict[Hashable, list[int]] = {}
    for place, group in enumerate(groups):
        members.setdefault(group, []).append(place)
    return members
