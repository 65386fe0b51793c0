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

    `labels`: empty for traces without one, which stay empty. If one label fills more than half of all places there is
    no such deal: the rest draws from the other labels, or gets an empty string.
    """
    plain = {label: normalise_class(label) for label in labels}
    places = [place for place, label in enumerate(labels) if label]

    def fits(card: int, place: int) -> bool:
        return plain[labels[card]] not in barred[place]

    dealt = deal(places, fits, rng)
    known = sorted({labels[place] for place in places})
    given = [""] * len(labels)
    for place, card in dealt.items():
        given[place] = labels[card]
        if not fits(card, place):
            others = [label for label in known if plain[label] not in barred[place]]
            given[place] = rng.choice(others) if others else ""
    return given


def deal(places: Sequence[int], fits: Callable[[int, int], bool], rng: random.Random) -> dict[int, int]:
    """Return place -> card; the cards are the places' own numbers shuffled, each dealt once.

    `fits(card, place)`; if swaps find no better partner a place keeps a card that does not fit.
    """
    pack = list(places)
    rng.shuffle(pack)
    dealt = dict(zip(places, pack, strict=True))

    def may_swap(place: int, other: int) -> bool:
        return fits(dealt[other], place) and fits(dealt[place], other)

    for place in places:
        if fits(dealt[place], place):
            continue
        # a few random tries first: a full search for each place is slow for large sets
        other = next((one for one in (rng.choice(places) for _ in range(TRIES)) if may_swap(place, one)), None)
        if other is None:
            partners = [one for one in places if may_swap(place, one)]
            other = rng.choice(partners) if partners else place
        dealt[place], dealt[other] = dealt[other], dealt[place]
    return dealt


def deal_near(
    groupings: Sequence[Sequence[Hashable]], fits: Callable[[int, int], bool], rng: random.Random
) -> dict[int, int]:
    """Return place -> card as in `deal`, with cards of the place's own group in the first grouping if possible.

    A place without a fitting card swaps within its group of the next grouping, and so on, at last with any place;
    failing that it keeps its misfit. Each grouping has one group per place.
    """
    dealt: dict[int, int] = {}
    for places in _members(groupings[0]).values():
        dealt |= deal(places, fits, rng)

    def may_swap(place: int, other: int) -> bool:
        return fits(dealt[other], place) and fits(dealt[place], other)

    for grouping in (*groupings[1:], [""] * len(dealt)):
        members = _members(grouping)
        for place in range(len(dealt)):
            if fits(dealt[place], place):
                continue
            group = members[grouping[place]]
            drawn = (rng.choice(group) for _ in range(TRIES))
            other = next((one for one in drawn if may_swap(place, one)), None)
            if other is None:
                partners = [one for one in group if may_swap(place, one)]
                other = rng.choice(partners) if partners else place
            dealt[place], dealt[other] = dealt[other], dealt[place]
    return dealt


def blocks_of(groups: Sequence[Hashable], sizes: Sequence[int], rng: random.Random) -> list[Hashable]:
    """Group more finely: about BLOCK places of similar size within each group.

    Equal sizes in random order.
    """
    found: list[Hashable] = [None] * len(groups)
    for group, places in _members(groups).items():
        rng.shuffle(places)
        places.sort(key=lambda place: sizes[place])
        count = max(1, len(places) // BLOCK)
        for rank, place in enumerate(places):
            found[place] = (group, rank * count // len(places))
    return found


def _members(groups: Sequence[Hashable]) -> dict[Hashable, list[int]]:
    members: dict[Hashable, list[int]] = {}
    for place, group in enumerate(groups):
        members.setdefault(group, []).append(place)
    return members
