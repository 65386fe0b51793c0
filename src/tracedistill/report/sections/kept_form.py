"""The form of traces that interventions declare to keep: format, lines and length."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from tracedistill.interventions import find_intervention

WHOLE = frozenset({"everything", "trace", "traces"})
LINES = frozenset({"number of steps", "number of lines", "steps"})
ROWS, NUMBERED = 0.1, 0.03
"""Largest relative deviation of the mean length if every row's length is kept, and if steps are renumbered."""
_MEAN = re.compile(r"length: mean within (\d+)%")


@dataclass(frozen=True, slots=True)
class Preserved:
    """What a set of traces shares with the original ones by declaration."""

    format: bool = False
    """Marks and fixed words."""
    lines: bool = False
    """Number of lines (of steps, if each is a line)."""
    length: float | None = None
    """Largest relative deviation of the mean length; None: not declared."""


ALL = Preserved(format=True, lines=True, length=0.0)


def kept_by(name: str | None) -> Preserved:
    """Return what the intervention of this name declares; nothing for unknown names (`own`)."""
    intervention = find_intervention(name)
    return Preserved() if intervention is None else kept_of(intervention.keeps)


def kept_of(keeps: Collection[str]) -> Preserved:
    """Translate an intervention's declarations."""
    if not WHOLE.isdisjoint(keeps):
        return ALL
    lengths = [ROWS] if "length" in keeps else []
    lengths += [int(mean[1]) / 100 for kept in keeps if (mean := _MEAN.fullmatch(kept))]
    if "steps" in keeps:  # in another order, with other numbers in front
        lengths.append(NUMBERED)
    lines = not LINES.isdisjoint(keeps)
    return Preserved("format" in keeps, lines, min(lengths) if lengths else None)


def answers_change(name: str | None) -> bool:
    """Return whether the intervention gives rows another answer to learn."""
    intervention = find_intervention(name)
    return intervention is not None and intervention.answers
