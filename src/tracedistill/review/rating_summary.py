"""Summary of ratings: rows for a CSV file, means of every kind with intervals, paired tests of every two kinds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import fmean
from typing import Any

import numpy as np

from tracedistill.review.rating import POINTS, Rating, ratings
from tracedistill.review.store import ReviewStore
from tracedistill.stats import Difference, Mean, clustered_mean, holm, paired_bootstrap


@dataclass(frozen=True, slots=True)
class KindMean:
    """One kind on one scale."""

    scale: str
    """Name of the scale or group."""
    kind: str
    mean: Mean
    """Mean of the ratings (1 to 5), its interval clustered by question."""


@dataclass(frozen=True, slots=True)
class KindDifference:
    """Two kinds on one scale, question by question."""

    scale: str
    """Name of the scale or group."""
    first: str
    second: str
    difference: Difference
    """Points by which the first is rated higher, averaged over raters within a question."""
    p: float
    """Wilcoxon's signed-rank test over questions (scipy); 1 if no question differs."""
    p_holm: float
    """The same, corrected for all pairs on this scale."""


def rating_rows(store: ReviewStore, rating: Rating) -> Iterator[dict[str, Any]]:
    """Yield one row per rating and scale, for a CSV file."""
    for (rater, problem_id, kind), card in ratings(store, rating).items():
        for scale in rating.plan.scales:
            yield {
                "rater": rater, "problem_id": problem_id, "kind": kind, "place": card["place"], "scale": scale.name,
                "group": scale.group, "rating": card["values"][scale.name], "seconds": round(card["seconds"], 1),
            }  # fmt: skip


def summarise(
    store: ReviewStore, rating: Rating, resamples: int = 10_000
) -> tuple[list[KindMean], list[KindDifference]]:
    """Compute means of every kind and paired differences of every two, for each scale and group of scales."""
    cards = ratings(store, rating)
    scales = {scale.name: [scale.name] for scale in rating.plan.scales}
    for group in dict.fromkeys(scale.group for scale in rating.plan.scales if scale.group):
        scales[group] = [scale.name for scale in rating.plan.scales if scale.group == group]
    means, differences = list[KindMean](), list[KindDifference]()
    for scale, names in scales.items():
        by_kind: dict[str, dict[str, list[float]]] = {kind: {} for kind in rating.plan.kinds}
        for (_, problem_id, kind), card in cards.items():
            by_kind[kind].setdefault(problem_id, []).append(fmean(card["values"][name] for name in names))
        for kind, by_problem in by_kind.items():
            flat = [(value, problem_id) for problem_id, values in by_problem.items() for value in values]
            means.append(KindMean(scale, kind, clustered_mean([v for v, _ in flat], [p for _, p in flat])))
        pairs = [_compare(by_kind, scale, a, b, rating.plan.seed, resamples) for a, b in combinations(by_kind, 2)]
        corrected = holm([pair.p for pair in pairs])
        differences += [replace(pair, p_holm=p) for pair, p in zip(pairs, corrected, strict=True)]
    return means, differences


def _compare(
    by_kind: Mapping[str, Mapping[str, list[float]]], scale: str, first: str, second: str, seed: int, resamples: int
) -> KindDifference:
    shared = [problem_id for problem_id in by_kind[first] if problem_id in by_kind[second]]
    a, b = ([fmean(by_kind[kind][problem_id]) for problem_id in shared] for kind in (first, second))
    span = POINTS - 1
    left, right = ([(value - 1) / span for value in side] for side in (a, b))
    unit = paired_bootstrap(left, right, np.random.default_rng(seed), resamples)
    points = Difference(unit.estimate * span, unit.low * span, unit.high * span, unit.n)
    return KindDifference(scale, first, second, points, signed_rank_p(a, b), 1.0)


def signed_rank_p(a: Sequence[float], b: Sequence[float]) -> float:
    """Compute the two-sided p of Wilcoxon's signed-rank test on pairs (scipy, zeros by Pratt); 1 if all are equal."""
    if all(abs(x - y) < 1e-12 for x, y in zip(a, b, strict=True)):
        return 1.0
    from scipy.stats import wilcoxon  # slow to import

    # rounded: equal means of three raters differ in their last bit, which would change the ranks
    return float(wilcoxon([round(x - y, 9) for x, y in zip(a, b, strict=True)], zero_method="pratt").pvalue)
