"""Agreement of the reviewers of a store: percent, Cohen's kappa, Krippendorff's alpha."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from itertools import combinations

from tracedistill.review.outcomes import disagreements
from tracedistill.review.store import ReviewStore
from tracedistill.stats import Share, cohen_kappa, krippendorff_alpha, share


@dataclass(frozen=True, slots=True)
class ReviewerPair:
    """Two reviewers on the traces that both have decided."""

    first: str
    second: str
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


def agreement_of(store: ReviewStore) -> Agreement:
    """Compute percent agreement and kappa of every two reviewers, and alpha over all, on approved, edited, rejected.

    A decision that settles a disagreement was made knowing the others' and is left out.
    """
    rows = store.rows("SELECT item, reviewer, status, state FROM work WHERE status != 'open' ORDER BY item, reviewer")
    decisions: dict[int, dict[str, str]] = {}
    for item, reviewer, status, state in rows:
        if not json.loads(state).get("settles"):
            decisions.setdefault(item, {})[reviewer] = status
    names = sorted({name for by_reviewer in decisions.values() for name in by_reviewer})
    shared = [by_reviewer for by_reviewer in decisions.values() if len(by_reviewer) > 1]
    pairs = []
    for first, second in combinations(names, 2):
        both = [(labels[first], labels[second]) for labels in shared if first in labels and second in labels]
        if both:
            same = share(sum(a == b for a, b in both), len(both))
            kappa = cohen_kappa([a for a, _ in both], [b for _, b in both])
            pairs.append(ReviewerPair(first, second, same, kappa, tuple(Counter(both).most_common())))
    alpha = krippendorff_alpha([list(by_reviewer.values()) for by_reviewer in shared])
    return Agreement(tuple(names), len(shared), alpha, tuple(pairs), len(disagreements(store)))
