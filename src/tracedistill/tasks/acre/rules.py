"""What panels prove about the detector's light, by which kind of inference, and from which panels.

The rule of the detector: the light is on if at least one object is a blicket. So a dark panel clears all its objects,
and a lit panel whose other objects are cleared makes a blicket of the one left. Nothing else can be proved: lit panels
are clauses without negation, dark ones are unit facts, and on these unit propagation is complete.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import product

TYPES = ("direct", "indirect", "screened-off", "backward-blocking", "potential")
"""direct: one panel shows it. indirect: panels must be compared. screened-off: all queried objects are cleared, though
one was in a lit panel. backward-blocking: unknown, since known blickets explain every lit panel with it. potential:
unknown, and a lit panel is left that no known blicket explains (or it was in none)."""

ANSWERS = ("on", "off", "undetermined")

Objects = frozenset[str]


@dataclass(frozen=True, slots=True)
class Panel:
    """Objects on the detector and its light."""

    objects: tuple[str, ...]
    """In the order shown."""
    lit: bool


@dataclass(frozen=True, slots=True)
class Inference:
    """The inference for a query."""

    answer: str
    """One of ANSWERS."""
    type: str
    """One of TYPES."""
    panels: tuple[int, ...]
    """Indices of the decisive panels, from 0, ascending."""
    unique: bool
    """Whether no other set of panels would do as well; generated problems are all unique."""


def infer(panels: Sequence[Panel], query: Sequence[str]) -> Inference:
    """Infer whether the light goes on for the queried objects, by the proof with the fewest, then earliest panels.

    An undetermined answer rests on every lit panel with an unknown queried object, on the panels that explain their
    light by other objects, and on the panels that clear the other queried objects.
    """
    queried = frozenset(query)
    clears = _clearing(panels)
    lit = [(index, frozenset(panel.objects)) for index, panel in enumerate(panels) if panel.lit]
    on = _proofs_on(lit, clears, queried)
    if on:
        best = _best(on)
        return Inference("on", "direct" if len(best) == 1 else "indirect", best, len(set(on)) == 1)
    if queried <= clears.keys():
        return _off(lit, clears, queried)
    return _undetermined(lit, clears, queried)


def _clearing(panels: Sequence[Panel]) -> dict[str, list[int]]:
    """Return object -> the dark panels that clear it."""
    clears: dict[str, list[int]] = {}
    for index, panel in enumerate(panels):
        if not panel.lit:
            for item in panel.objects:
                clears.setdefault(item, []).append(index)
    return clears


def _proofs_on(
    lit: Sequence[tuple[int, Objects]], clears: dict[str, list[int]], queried: Objects
) -> list[tuple[int, ...]]:
    """Return every smallest set of panels that proves a blicket among the asked objects."""
    proofs = []
    for index, objects in lit:
        others = objects - queried
        if objects - clears.keys() <= queried and others <= clears.keys() and objects & queried:
            proofs += [
                tuple(sorted({index, *chosen})) for chosen in product(*(clears[item] for item in sorted(others)))
            ]
    return _smallest(proofs)


def _off(lit: Sequence[tuple[int, Objects]], clears: dict[str, list[int]], queried: Objects) -> Inference:
    proofs = {tuple(sorted(set(chosen))) for chosen in product(*(clears[item] for item in sorted(queried)))}
    smallest = _smallest(proofs)
    best = _best(smallest)
    seen = tuple(index for index, objects in lit if objects & queried)
    if seen:
        return Inference("off", "screened-off", tuple(sorted({*best, *seen})), len(smallest) == 1)
    return Inference("off", "direct" if len(best) == 1 else "indirect", best, len(smallest) == 1)


def _undetermined(lit: Sequence[tuple[int, Objects]], clears: dict[str, list[int]], queried: Objects) -> Inference:
    open_items = queried - clears.keys()
    used: set[int] = set()
    unique, blocked, seen = True, True, False
    for item in sorted(queried & clears.keys()):
        used.add(clears[item][0])
        unique = unique and len(clears[item]) == 1
    for index, objects in lit:
        if not objects & open_items:
            continue
        seen = True
        used.add(index)
        proofs = {proof for other in objects - open_items for proof in _proofs_on(lit, clears, frozenset({other}))}
        if proofs:
            used.update(_best(list(proofs)))
            unique = unique and len(proofs) == 1
        else:
            blocked = False
    kind = "backward-blocking" if seen and blocked else "potential"
    return Inference("undetermined", kind, tuple(sorted(used)), unique and seen)


def _smallest(proofs: Collection[tuple[int, ...]]) -> list[tuple[int, ...]]:
    return [proof for proof in proofs if not any(set(other) < set(proof) for other in proofs)]


def _best(proofs: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    return min(proofs, key=lambda proof: (len(proof), proof))
