"""Two arms on the same problems: exact McNemar and the paired bootstrap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tracedistill.stats.intervals import check_confidence

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Difference:
    """A mean difference a - b with its interval."""

    estimate: float
    """Mean of a minus mean of b; 0 if there are no problems (then `n` is 0 and the interval is -1..1)."""
    low: float
    """Lower end of the interval."""
    high: float
    """Upper end of the interval."""
    n: int
    """Problems compared."""
    seeds: int = 1
    """Seeds or samples per problem; with 1 the interval speaks about these adapters and this sample only."""


@dataclass(frozen=True, slots=True)
class Discordance:
    """Joint counts of two arms' verdicts on the same problems."""

    both: int
    """Right in both arms."""
    only_a: int
    """Right in a only: McNemar's b."""
    only_b: int
    """Right in b only: McNemar's c."""
    neither: int
    """Wrong in both arms."""

    @property
    def share(self) -> float:
        """Share of problems on which the arms differ; 0 if there are none."""
        n = self.both + self.only_a + self.only_b + self.neither
        return (self.only_a + self.only_b) / n if n else 0.0


def discordance(a: Sequence[bool], b: Sequence[bool]) -> Discordance:
    """Return the joint counts of two arms, item by item in the same order. Raises ValueError if lengths differ."""
    if len(a) != len(b):
        raise ValueError(f"{len(a)} verdicts against {len(b)}: pairs must be the same problems in the same order")
    pairs = [(bool(x), bool(y)) for x, y in zip(a, b, strict=True)]
    cells = ((True, True), (True, False), (False, True), (False, False))
    return Discordance(*(pairs.count(cell) for cell in cells))


def mcnemar_exact(b: int, c: int) -> float:
    """Return the two-sided exact McNemar p of b problems right in one arm only against c in the other only (scipy).

    `b = c = 0` gives 1: no problem distinguishes the arms. For one attempt per problem and arm only; several samples or
    seeds are not independent rows, use `crossed_bootstrap`. Raises ValueError for negative counts.
    """
    if b < 0 or c < 0:
        raise ValueError(f"discordant counts {b} and {c}: must not be negative")
    if b + c == 0:
        return 1.0
    from scipy.stats import binomtest  # slow to import

    return float(binomtest(min(b, c), b + c, 0.5).pvalue)


def paired_bootstrap(
    a: ArrayLike,
    b: ArrayLike,
    rng: np.random.Generator,
    resamples: int = 10_000,
    confidence: float = 0.95,
) -> Difference:
    """Return mean of a minus mean of b with a percentile interval from resampling problems (Efron).

    a and b: one score in 0..1 per problem, in the same order; ValueError for other lengths or values. If all
    differences are equal a bootstrap would claim certainty; the interval then leaves room for the share of problems
    that may differ though none of the n did (exact binomial bound), up to -1..1 if n is 0.
    """
    check_confidence(confidence)
    left, right = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if left.shape != right.shape or left.ndim != 1:
        raise ValueError(f"scores of shape {left.shape} and {right.shape}: need one per problem, in the same order")
    check_scores(left)
    check_scores(right)
    differences = left - right
    n = len(differences)
    if n == 0 or np.ptp(differences) == 0:
        return without_spread(float(differences[0]) if n else 0.0, n, confidence)
    means = resampled_means(differences, rng, resamples)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Difference(float(differences.mean()), float(low), float(high), n)


def without_spread(estimate: float, n: int, confidence: float, seeds: int = 1) -> Difference:
    """Return the interval of n equal differences: an unseen share u at either end solves (1 - u)^n = alpha / 2."""
    unseen = 1 - ((1 - confidence) / 2) ** (1 / n) if n else 1.0
    low, high = estimate - unseen * (1 + estimate), estimate + unseen * (1 - estimate)
    return Difference(estimate, low, high, n, seeds)


def resampled_means(values: Floats, rng: np.random.Generator, resamples: int) -> Floats:
    """Return the means of bootstrap resamples of `values`, shape (resamples,).

    Few distinct values (verdicts are 0 or 1) are drawn as multinomial counts: the same distribution at a cost that
    does not grow with n, so that 100,000 problems take no longer than 100.
    """
    n = len(values)
    distinct, counts = np.unique(values.round(12), return_counts=True)
    if len(distinct) <= max(64, n // 8):
        drawn = rng.multinomial(n, counts / n, size=resamples)
        return np.asarray(drawn @ distinct / n, dtype=np.float64)
    means = np.empty(resamples)
    block = max(1, 4_000_000 // n)  # 32 MB of indices at a time
    for start in range(0, resamples, block):
        stop = min(start + block, resamples)
        means[start:stop] = values[rng.integers(0, n, size=(stop - start, n))].mean(axis=1)
    return means


def check_scores(scores: Floats) -> None:
    """Check that all scores are in 0..1. Raises ValueError otherwise (nan is not)."""
    if not np.all((scores >= 0) & (scores <= 1)):
        raise ValueError("scores must lie between 0 and 1; nan and other scales have no paired interval here")
