"""Agreement of raters on the same units: Cohen's kappa and Krippendorff's alpha, nominal.

Cohen 1960 (Educ. Psychol. Meas. 20); Krippendorff 2011, Computing Krippendorff's Alpha-Reliability.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence


def cohen_kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> float | None:
    """Compute Cohen's kappa of two raters, unweighted.

    None without units, or if both always give the same single label. Raises ValueError if lengths differ.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} labels against {len(second)}: raters must label the same units in one order")
    n = len(first)
    if not n:
        return None
    ours, theirs = Counter(first), Counter(second)
    expected = sum(ours[label] * theirs[label] for label in ours) / n**2
    observed = sum(a == b for a, b in zip(first, second, strict=True)) / n
    return None if expected == 1 else (observed - expected) / (1 - expected)


def krippendorff_alpha(units: Sequence[Sequence[Hashable | None]]) -> float | None:
    """Compute Krippendorff's alpha over units with the labels of any number of raters (None: not rated).

    Units with fewer than two labels do not count. None if all counted labels are equal, where agreement is undefined,
    or if none count.
    """
    rated = [[label for label in unit if label is not None] for unit in units]
    rated = [unit for unit in rated if len(unit) > 1]
    totals = Counter(label for unit in rated for label in unit)
    observed = sum(_differing(Counter(unit)) / (len(unit) - 1) for unit in rated)
    expected = _differing(totals)
    return None if not expected else 1 - (totals.total() - 1) * observed / expected


def _differing(counts: Counter[Hashable]) -> int:
    """Count the ordered pairs of different labels."""
    return counts.total() ** 2 - sum(count**2 for count in counts.values())
