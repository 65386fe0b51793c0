"""A seeded generator of bAbI-style stories whose answers and supporting facts are known by construction.

    Mary picked up the milk.
    John went to the garden.
    Mary travelled to the office.
    Where is the milk?   ->   office, because of lines 1 and 3 (two-supporting-facts)

Written for this project; the question types are those of bAbI (Weston et al. 2015), the text is not copied from it.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

PEOPLE = ("Mary", "John", "Sandra", "Daniel", "Fred", "Julie")
PLACES = ("kitchen", "garden", "office", "bathroom", "bedroom", "hallway", "cellar", "attic")
OBJECTS = ("milk", "apple", "football", "lamp", "book")
MOVED = ("moved to", "went to", "travelled to", "journeyed to", "went back to")
TOOK = ("took", "picked up", "grabbed", "got")
DROPPED = ("dropped", "put down", "left", "discarded")
GAVE = ("gave", "handed", "passed")
COUNTS = ("none", "one", "two", "three", "four", "five")

TYPE_WEIGHTS = {
    "single-supporting-fact": 5,
    "two-supporting-facts": 5,
    "three-arg-relations": 2,
    "yes-no-questions": 3,
    "counting": 2,
    "lists-sets": 3,
}
"""Question type -> how often it is drawn."""

_SPLIT_OF_DIGIT = {"train": "01234567", "validation": "89ab", "test": "cdef"}


@dataclass(frozen=True, slots=True)
class Story:
    """One generated problem with its construction."""

    lines: tuple[str, ...]
    """The story; no two lines are alike."""
    question: str
    answers: tuple[str, ...]
    """Gold: one answer, or all objects of a list."""
    type: str
    """Key of TYPE_WEIGHTS."""
    support: tuple[int, ...]
    """Indices of the supporting lines, from 0, ascending."""


@dataclass(slots=True)
class _World:
    """The state after each line, with the lines that caused it."""

    people: list[str]
    places: list[str]
    objects: list[str]
    lines: list[str] = field(default_factory=list)
    place: dict[str, tuple[str, int]] = field(default_factory=dict)
    """person -> (place, line)"""
    holder: dict[str, tuple[str, int]] = field(default_factory=dict)
    """object -> (person, line of taking or receiving)"""
    lying: dict[str, tuple[str, int, int]] = field(default_factory=dict)
    """object -> (place, line that says where its last holder was, line of dropping)"""
    handled: dict[str, list[int]] = field(default_factory=dict)
    """person -> lines in which the person gains or loses an object"""
    gifts: list[tuple[str, str, str, int]] = field(default_factory=list)
    """(giver, object, receiver, line)"""

    def add(self, line: str) -> int:
        self.lines.append(line)
        return len(self.lines) - 1

    def held_by(self, person: str) -> list[str]:
        return [thing for thing, (holder, _) in self.holder.items() if holder == person]


def generate(split: str, size: int, seed: int) -> Iterator[Story]:
    """Yield `size` distinct stories of one split.

    A story's split follows from the hash of its text, so splits share no story, whatever their seeds and sizes.
    """
    rng = random.Random(f"babi/{seed}/{split}")
    types, weights = list(TYPE_WEIGHTS), list(TYPE_WEIGHTS.values())
    seen: set[str] = set()
    wanted = rng.choices(types, weights)[0]
    while len(seen) < size:
        story = _story(rng, wanted)
        if story is None:
            continue  # this story has no such question; the type stays wanted, so that weights are kept
        key = hashlib.sha256("\n".join((*story.lines, story.question)).encode("utf-8", "surrogatepass")).hexdigest()
        if key in seen or key[0] not in _SPLIT_OF_DIGIT[split]:
            continue
        seen.add(key)
        wanted = rng.choices(types, weights)[0]
        yield story


def _story(rng: random.Random, wanted: str) -> Story | None:
    people, places = rng.sample(PEOPLE, 3), rng.sample(PLACES, 4)
    objects = rng.sample(OBJECTS, 2 if wanted in ("counting", "lists-sets") else rng.choice((1, 2)))
    world = _World(people, places, objects)
    length = rng.randint(5, 7)
    while len(world.lines) < length:
        _event(rng, world)
    if len(set(world.lines)) < len(world.lines):
        return None
    return _ASK[wanted](rng, world)


def _event(rng: random.Random, world: _World) -> None:
    person = rng.choice(world.people)
    held = world.held_by(person)
    kind = rng.choices(("move", "take", "drop", "give"), (5, 4, 2, 2))[0]
    free = [thing for thing in world.objects if thing not in world.holder]
    others = [other for other in world.people if other != person]
    if kind == "take" and free and person in world.place:
        thing = rng.choice(free)
        if thing in world.lying and world.lying[thing][0] != world.place[person][0]:
            return  # nobody takes what lies elsewhere
        line = world.add(f"{person} {rng.choice(TOOK)} the {thing}.")
        world.holder[thing] = (person, line)
        world.lying.pop(thing, None)
        world.handled.setdefault(person, []).append(line)
    elif kind == "drop" and held:
        thing = rng.choice(held)
        line = world.add(f"{person} {rng.choice(DROPPED)} the {thing}.")
        del world.holder[thing]
        world.lying[thing] = (*world.place[person], line)
        world.handled.setdefault(person, []).append(line)
    elif kind == "give" and held:
        together = [other for other in others if world.place.get(other, ("", 0))[0] == world.place[person][0]]
        if not together:
            return
        thing, other = rng.choice(held), rng.choice(together)
        line = world.add(f"{person} {rng.choice(GAVE)} the {thing} to {other}.")
        world.holder[thing] = (other, line)
        world.gifts.append((person, thing, other, line))
        world.handled.setdefault(person, []).append(line)
        world.handled.setdefault(other, []).append(line)
    elif kind == "move":
        elsewhere = [place for place in world.places if place != world.place.get(person, ("", 0))[0]]
        place = rng.choice(elsewhere)
        world.place[person] = (place, world.add(f"{person} {rng.choice(MOVED)} the {place}."))


def _ask_where_person(rng: random.Random, world: _World) -> Story | None:
    known = [person for person in world.people if person in world.place]
    if not known:
        return None
    person = rng.choice(known)
    place, line = world.place[person]
    return _made(world, f"Where is {person}?", (place,), "single-supporting-fact", {line})


def _ask_where_object(rng: random.Random, world: _World) -> Story | None:
    known = [thing for thing in world.objects if thing in world.holder or thing in world.lying]
    if not known:
        return None
    thing = rng.choice(known)
    if thing in world.lying:
        place, moved, dropped = world.lying[thing]
        support = {moved, dropped}
    else:
        person, got = world.holder[thing]
        place, moved = world.place[person]
        support = {got, moved}
    return _made(world, f"Where is the {thing}?", (place,), "two-supporting-facts", support)


def _ask_gift(rng: random.Random, world: _World) -> Story | None:
    triples = [gift[:3] for gift in world.gifts]
    unique = [gift for gift in world.gifts if sum(gift[1] == other[1] for other in triples) == 1]
    if not unique:
        return None
    giver, thing, receiver, line = rng.choice(unique)
    if rng.random() < 0.5:
        return _made(world, f"Who gave the {thing} to {receiver}?", (giver,), "three-arg-relations", {line})
    return _made(world, f"Who did {giver} give the {thing} to?", (receiver,), "three-arg-relations", {line})


def _ask_yes_no(rng: random.Random, world: _World) -> Story | None:
    known = [person for person in world.people if person in world.place]
    if not known:
        return None
    person = rng.choice(known)
    place, line = world.place[person]
    yes = rng.random() < 0.5
    queried = place if yes else rng.choice([other for other in world.places if other != place])
    return _made(world, f"Is {person} in the {queried}?", ("yes" if yes else "no",), "yes-no-questions", {line})


def _ask_carried(rng: random.Random, world: _World, kind: str) -> Story | None:
    known = [person for person in world.people if world.handled.get(person)]
    if not known:
        return None
    person = rng.choice(known)
    held, lines = sorted(world.held_by(person)), set(world.handled[person])
    if kind == "counting":
        return _made(world, f"How many objects is {person} carrying?", (COUNTS[len(held)],), kind, lines)
    return _made(world, f"What is {person} carrying?", tuple(held or ["nothing"]), kind, lines)


def _made(world: _World, question: str, answers: tuple[str, ...], kind: str, support: set[int]) -> Story:
    return Story(tuple(world.lines), question, answers, kind, tuple(sorted(support)))


_ASK: dict[str, Callable[[random.Random, _World], Story | None]] = {
    "single-supporting-fact": _ask_where_person,
    "two-supporting-facts": _ask_where_object,
    "three-arg-relations": _ask_gift,
    "yes-no-questions": _ask_yes_no,
    "counting": partial(_ask_carried, kind="counting"),
    "lists-sets": partial(_ask_carried, kind="lists-sets"),
}
