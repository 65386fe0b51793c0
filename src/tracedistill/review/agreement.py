"""Agreement of raters on the same units: percent, Cohen's kappa, Krippendorff's alpha; plain lists in, floats out.

Cohen 1960 (Educ. Psychol. Meas. 20); Krippendorff 2011, Computing Krippendorff's Alpha-Reliability.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, TypeVar

from tracedistill.review.outcomes import disagreements
from tracedistill.review.store import ReviewStore
from tracedistill.stats import Share, share

Level = Literal["nominal", "ordinal", "interval"]

L = TypeVar("L", bound=Hashable)


@dataclass(frozen=True, slots=True)
class ReviewerPair:
    """Two reviewers on the traces that both have decided."""

    first: str
    """First reviewer."""
    second: str
    """Second reviewer."""
    same: Share
    """Traces with the same decision, and its interval."""
    kappa: float | None
    """Cohen's kappa; None if chance explains all."""
    cells: tuple[tuple[tuple[str, str], int], ...]
    """((first's, second's decision), count), the most frequent first."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """All reviewers of a store."""

    reviewers: tuple[str, ...]
    """Reviewers with decisions of their own, not made to settle a disagreement."""
    shared: int
    """Traces that two or more have decided."""
    alpha: float | None
    """Krippendorff's alpha, nominal, over the shared traces; None if nothing varies."""
    pairs: tuple[ReviewerPair, ...]
    """Every two reviewers with traces in common."""
    open: int
    """Traces with an unsettled disagreement."""


def cohen_kappa(first: Sequence[L], second: Sequence[L]) -> float | None:
    """Compute Cohen's kappa of two raters, unweighted.

    None without units, or if both always give the same single label.
    """
    _check(first, second)
    n = len(first)
    if not n:
        return None
    ours, theirs = Counter(first), Counter(second)
    expected = sum(ours[label] * theirs[label] for label in ours) / n**2
    observed = sum(a == b for a, b in zip(first, second, strict=True)) / n
    return None if expected == 1 else (observed - expected) / (1 - expected)


def krippendorff_alpha(units: Sequence[Sequence[L | None]], level: Level = "nominal") -> float | None:
    """Compute Krippendorff's alpha over units with the labels of any number of raters (None: not rated).

    `ordinal` and `interval` require numbers. Units with fewer than two labels do not count. None if all counted labels
    are equal, where agreement is undefined, or if none count.
    """
    pairable = [[label for label in unit if label is not None] for unit in units]
    pairable = [unit for unit in pairable if len(unit) > 1]
    totals = Counter(label for unit in pairable for label in unit)
    n = sum(totals.values())
    distance = _distance(totals, level)
    observed = sum(_within(Counter(unit), distance) / (len(unit) - 1) for unit in pairable)
    expected = _within(totals, distance)
    return None if not expected else 1 - (n - 1) * observed / expected


def agreement_of(store: ReviewStore) -> Agreement:
    """Compute percent agreement and kappa of every two reviewers, and alpha over all, on approved, edited, rejected.

    A decision that settles a disagreement was made knowing the others' and is left out.
    """
    rows = store.rows("SELECT item, reviewer, status, state FROM work WHERE status != 'open' ORDER BY item, reviewer")
    said: dict[int, dict[str, str]] = {}
    for item, reviewer, status, state in rows:
        if not json.loads(state).get("settles"):
            said.setdefault(item, {})[reviewer] = status
    names = sorted({name for one in said.values() for name in one})
    shared = [one for one in said.values() if len(one) > 1]
    pairs = []
    for first, second in combinations(names, 2):
        both = [(one[first], one[second]) for one in shared if first in one and second in one]
        if both:
            same = share(sum(a == b for a, b in both), len(both))
            kappa = cohen_kappa([a for a, _ in both], [b for _, b in both])
            pairs.append(ReviewerPair(first, second, same, kappa, tuple(Counter(both).most_common())))
    alpha = krippendorff_alpha([list(one.values()) for one in shared])
    return Agreement(tuple(names), len(shared), alpha, tuple(pairs), len(disagreements(store)))


def _within(counts: Counter[L], distance: Callable[[L, L], float]) -> float:
    """Sum the distances over ordered pairs of these labels."""
    return 2 * sum(counts[a] * counts[b] * distance(a, b) for a, b in combinations(counts, 2))


def _distance(totals: Counter[L], level: Level) -> Callable[[L, L], float]:
    """Return the function of squared distances between two labels."""
    if level == "nominal":
        return lambda a, b: float(a != b)
    if level == "interval":
        return lambda a, b: float((a - b) ** 2)  # type: ignore[operator]
    order = sorted(totals)  # type: ignore[type-var]
    below, passed = dict[L, float](), 0
    for label in order:
        below[label] = passed + totals[label] / 2  # mean rank of ties
        passed += totals[label]
    return lambda a, b: (below[a] - below[b]) ** 2


def _check(first: Sequence[L], second: Sequence[L]) -> None:
    if len(first) != len(second):
        raise ValueError(f"{len(first)} labels against {len(second)}: raters must label the same units in one order")
