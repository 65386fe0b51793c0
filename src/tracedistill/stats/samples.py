"""pass@k: the chance that one of several samples of a problem is right."""

from __future__ import annotations

from math import comb


def pass_at_k(n: int, correct: int, k: int) -> float:
    """Estimate without bias the chance that one of k samples is right, from `correct` of n (Chen et al. 2021).

    Raises ValueError unless 0 <= correct <= n and 1 <= k <= n: fewer samples than k cannot estimate it.
    """
    if not 0 <= correct <= n or not 1 <= k <= n:
        raise ValueError(f"pass@{k} of {correct} right among {n} samples: needs 0 <= right <= n and 1 <= k <= n")
    return 1 - comb(n - correct, k) / comb(n, k)
