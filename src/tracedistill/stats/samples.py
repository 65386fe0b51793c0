"""Several samples of one problem: pass@k and the majority's answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import comb


@dataclass(frozen=True, slots=True)
class Vote:
    """The answer that most samples gave."""

    answer: str | None
    """The winner; the first given among ties; None if no sample gave an answer."""
    votes: int
    """Samples that gave it."""
    n: int
    """Samples that gave any answer."""
    tied: bool
    """Whether another answer has as many votes."""


def pass_at_k(n: int, correct: int, k: int) -> float:
    """Estimate without bias the chance that one of k samples is right, from `correct` of n (Chen et al. 2021).

    Raises ValueError unless 0 <= correct <= n and 1 <= k <= n: fewer samples than k cannot estimate it.
    """
    if not 0 <= correct <= n or not 1 <= k <= n:
        raise ValueError(f"pass@{k} of {correct} right among {n} samples: needs 0 <= right <= n and 1 <= k <= n")
    return 1 - comb(n - correct, k) / comb(n, k)


def mean_pass_at_k(counts: Sequence[tuple[int, int]], k: int) -> float | None:
    """Return the mean of `pass_at_k` over problems given as (n, correct); None if there are no problems."""
    if not counts:
        return None
    return sum(pass_at_k(n, correct, k) for n, correct in counts) / len(counts)


def majority(answers: Sequence[str | None]) -> Vote:
    """Return the answer that most samples gave; None (no answer found) does not vote.

    Equality is the strings': normalise answers first. Ties go to the answer given first, so that the result depends
    on the samples' order alone.
    """
    given = Counter(answer for answer in answers if answer is not None)
    if not given:
        return Vote(None, 0, 0, tied=False)
    answer, votes = max(given.items(), key=lambda item: item[1])  # Counter keeps first appearance
    return Vote(answer, votes, given.total(), tied=list(given.values()).count(votes) > 1)
