"""Shares with their intervals: one arm's accuracy, whole, completed only, and between its cut-off bounds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Interval:
    """A two-sided confidence interval."""

    low: float
    """Lower end."""
    high: float
    """Upper end."""


@dataclass(frozen=True, slots=True)
class Share:
    """A share of successes with its Wilson interval."""

    successes: int
    """Number of successes."""
    n: int
    """Number of trials."""
    value: float | None
    """successes / n; None if n is 0."""
    low: float
    """Lower end of the Wilson interval; 0 if n is 0."""
    high: float
    """Upper end of the Wilson interval; 1 if n is 0."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """One arm's accuracy with bounds for its cut-off generations."""

    raw: Share
    """As judged, every item in the denominator."""
    completed: Share
    """Only the items that ended by themselves."""
    if_cut_off_wrong: Share
    """All cut-off items counted as wrong: the lower bound."""
    if_cut_off_right: Share
    """All cut-off items counted as right: the upper bound."""
    cut_off: int
    """Cut-off items."""


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Return the Wilson score interval of a share (Wilson 1927; statsmodels).

    `n = 0` gives the vacuous 0..1. Raises ValueError unless 0 <= successes <= n and 0 < confidence < 1.
    """
    check_counts(successes, n)
    alpha = 1 - check_confidence(confidence)
    if n == 0:
        return Interval(0.0, 1.0)
    from statsmodels.stats.proportion import proportion_confint  # slow to import

    low, high = proportion_confint(successes, n, alpha=alpha, method="wilson")
    # floating point leaves 1e-17 where the end is exact
    return Interval(0.0 if successes == 0 else float(low), 1.0 if successes == n else float(high))


def share(successes: int, n: int, confidence: float = 0.95) -> Share:
    """Return a share with its Wilson interval; value None and 0..1 if `n = 0`."""
    interval = wilson(successes, n, confidence)
    return Share(successes, n, successes / n if n else None, interval.low, interval.high)


def check_counts(successes: int, n: int) -> None:
    """Check that 0 <= successes <= n. Raises ValueError otherwise."""
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes out of {n}: not a count out of a total")


def check_confidence(confidence: float) -> float:
    """Return the confidence. Raises ValueError unless it lies strictly between 0 and 1."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence}: must lie between 0 and 1, such as 0.95")
    return confidence
