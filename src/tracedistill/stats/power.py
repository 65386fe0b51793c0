"""Power and minimum detectable effect of the paired test for a study of n problems."""

from __future__ import annotations

import numpy as np


def paired_power(n: int, effect: float, discordance: float, alpha: float = 0.05) -> float:
    """Return the chance that the two-sided exact McNemar test at `alpha` rejects (exact, not the normal approximation).

    n problems of which a share `discordance` differ between the arms, `effect` = P(only a) - P(only b).
    The discordant count is binomial(n, discordance), and given it the split is binomial too; both are summed over.
    Raises ValueError unless |effect| <= discordance <= 1 and n >= 0. n = 0: power 0.
    """
    if n < 0 or not abs(effect) <= discordance <= 1:
        raise ValueError(
            f"n {n}, effect {effect}, discordance {discordance}: need n >= 0, |effect| <= discordance <= 1"
        )
    if not 0 < alpha < 1:
        raise ValueError(f"alpha {alpha}: must lie between 0 and 1")
    if n == 0 or discordance == 0:
        return 0.0
    from scipy.stats import binom  # slow to import

    spread = 8 * np.sqrt(n * discordance * (1 - discordance)) + 8  # less than 1e-14 lies beyond
    centre = n * discordance
    counts = np.arange(max(0, int(centre - spread)), min(n, int(centre + spread) + 1) + 1)
    # the largest k with 2 P(X <= k) <= alpha for X ~ binomial(m, 1/2); ppf gives the first k above it
    rejected = binom.ppf(alpha / 2, counts, 0.5)
    rejected = np.where(2 * binom.cdf(rejected, counts, 0.5) <= alpha, rejected, rejected - 1)
    towards_a = (1 + effect / discordance) / 2
    detected = binom.cdf(rejected, counts, towards_a) + binom.cdf(rejected, counts, 1 - towards_a)
    return float(min(1.0, binom.pmf(counts, n, discordance) @ detected))


def minimum_detectable_effect(
    n: int, discordance: float, alpha: float = 0.05, power: float = 0.8, family: int = 1
) -> float | None:
    """Return the smallest difference of accuracies that exact McNemar detects with the given power, to 1e-4.

    None if not even full discordance in one direction would be detected. `discordance` is assumed (0..1; from a pilot
    or the arms themselves); an effect larger than it needs as many discordant problems as itself. `family` comparisons
    under Holm: the level is alpha / family. Raises ValueError for a family below 1 or shares outside 0..1.
    """
    if family < 1 or not 0 < power < 1 or not 0 <= discordance <= 1:
        raise ValueError(f"family {family}, power {power}, discordance {discordance}: not a design")
    level = alpha / family

    def reached(effect: float) -> bool:
        return paired_power(n, effect, max(discordance, effect), level) >= power

    if not reached(1.0):
        return None
    low, high = 0.0, 1.0
    while high - low > 1e-4:
        middle = (low + high) / 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high


def detectable_by_error(error: float, df: float, alpha: float = 0.05, power: float = 0.8) -> float | None:
    """Return the smallest difference that a two-sided t test with this standard error detects with the given power.

    For means of several samples or seeds, which have no count of discordant problems: (t of 1 - alpha / 2 + t of power)
    standard errors (Bloom 1995). None if the spread is unknown, or the difference would exceed 1.
    """
    if not 0 < alpha < 1 or not 0 < power < 1:
        raise ValueError(f"alpha {alpha}, power {power}: must lie between 0 and 1")
    if error <= 0 or df <= 0:
        return None
    from scipy.special import stdtrit  # a tenth of scipy.stats' import time

    effect = error * float(stdtrit(df, 1 - alpha / 2) + stdtrit(df, power))
    return effect if effect <= 1 else None
