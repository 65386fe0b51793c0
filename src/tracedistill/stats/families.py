"""Several tests at once: Holm's correction."""

from __future__ import annotations

from collections.abc import Sequence


def holm(ps: Sequence[float]) -> list[float]:
    """Return Holm-adjusted p values in the given order (Holm 1979); an empty family gives an empty list.

    Compare each with alpha itself: the chance of any false finding in the family stays at most alpha. Raises ValueError
    for a p value outside 0..1 (nan included).
    """
    for p in ps:
        if not 0 <= p <= 1:
            raise ValueError(f"p value {p}: must lie between 0 and 1")
    # written out: statsmodels' multipletests collects garbage in every call, 30 ms for five numbers
    adjusted = [0.0] * len(ps)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[index]))
        adjusted[index] = largest
    return adjusted
