"""What interventions declare to keep, as far as the outward form of traces shows it."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from tracedistill.interventions import INTERVENTIONS, find_intervention

WHOLE = frozenset({"everything", "trace", "traces"})
LINES = frozenset({"number of steps", "number of lines", "steps"})
ROWS, NUMBERED = 0.1, 0.03
"""How far the mean length may lie from the original's where every row's is kept, and where steps are numbered anew."""
_MEAN = re.compile(r"length: mean within (\d+)%")


@dataclass(frozen=True, slots=True)
class Preserved:
    """What a set of traces has in common with the original ones by declaration."""

    format: bool = False
    """Marks and fixed words."""
    lines: bool = False
    """Number of lines (of steps, where each is a line)."""
    length: float | None = None
    """How far the mean length may lie from the original's, as a share; None: nothing is said."""


ALL = Preserved(format=True, lines=True, length=0.0)


def kept_by(name: str | None) -> Preserved:
    """Return what the intervention of this name declares; nothing if there is none of that name (`own`)."""
    intervention = find_intervention(name, INTERVENTIONS)
    return Preserved() if intervention is None else kept_of(intervention.keeps)


def kept_of(keeps: Collection[str]) -> Preserved:
    """Return the same of an intervention's declarations."""
    if not WHOLE.isdisjoint(keeps):
        return ALL
    lengths = [ROWS] if "length" in keeps else []
    lengths += [int(mean[1]) / 100 for kept in keeps if (mean := _MEAN.fullmatch(kept))]
    if "steps" in keeps:  # in another order, with other numbers before them
        lengths.append(NUMBERED)
    lines = not LINES.isdisjoint(keeps)
    return Preserved("format" in keeps, lines, min(lengths) if lengths else None)


def answers_change(name: str | None) -> bool:
    """Return whether the intervention gives rows another answer to learn."""
    intervention = find_intervention(name, INTERVENTIONS)
    return intervention is not None and intervention.answers
