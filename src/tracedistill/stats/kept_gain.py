"""The share of a prompt's gain in context that a student keeps without the prompt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from tracedistill.stats.intervals import check_confidence
from tracedistill.stats.paired import check_scores, paired_bootstrap


@dataclass(frozen=True, slots=True)
class KeptGain:
    """A share of a gain with its interval."""

    gain: float
    """Gain of the prompt over no prompt, 0 to 1."""
    gain_low: float
    """Lower end of the gain's interval."""
    gain_high: float
    """Upper end of the gain's interval."""
    share: float | None
    """Share of the gain kept without the prompt: above 1 if more than all, below 0 if less than nothing. None if the
    gain's interval contains 0, where the share is meaningless."""
    low: float | None
    """Lower end of the share's interval."""
    high: float | None
    """Upper end of the share's interval."""
    n: int
    """Problems."""


def share_kept(
    without: ArrayLike,
    shown: ArrayLike,
    plain: ArrayLike,
    rng: np.random.Generator,
    resamples: int = 10_000,
    confidence: float = 0.95,
) -> KeptGain:
    """Return (mean(without) - mean(plain)) / (mean(shown) - mean(plain)) with a percentile interval over problems.

    One score in 0..1 per problem, in the same order: of the tuned student without the prompt, of the untuned one with
    it, and of the untuned one without it. Resamples in which the prompt gains nothing count as the worst of the others,
    so that an uncertain gain widens the interval. Raises ValueError for other lengths or values.
    """
    check_confidence(confidence)
    rows = [np.asarray(scores, dtype=np.float64) for scores in (without, shown, plain)]
    if any(scores.ndim != 1 or scores.shape != rows[0].shape for scores in rows):
        raise ValueError("need one score per problem in all three, in the same order")
    for scores in rows:
        check_scores(scores)
    tuned, context, base = rows
    n = len(base)
    gain = paired_bootstrap(context, base, rng, resamples, confidence)
    if not n or gain.low <= 0 <= gain.high:
        return KeptGain(gain.estimate, gain.low, gain.high, None, None, None, n)
    # problems with the same three scores are one cell: counts are drawn, whatever n is
    cells, counts = np.unique(np.stack(rows, axis=1).round(12), axis=0, return_counts=True)
    drawn = rng.multinomial(n, counts / n, size=resamples) / n
    kept, gained = drawn @ (cells[:, 0] - cells[:, 2]), drawn @ (cells[:, 1] - cells[:, 2])
    usable = np.sign(gained) == np.sign(gain.estimate)
    ratios = np.divide(kept, gained, out=np.full(resamples, np.nan), where=usable & (gained != 0))
    known = ratios[~np.isnan(ratios)]
    tail = (1 - confidence) / 2
    lost = 1 - len(known) / resamples
    low, high = np.quantile(known, [max(0.0, tail - lost), min(1.0, 1 - tail + lost)])
    share = float((tuned.mean() - base.mean()) / (context.mean() - base.mean()))
    return KeptGain(gain.estimate, gain.low, gain.high, share, float(low), float(high), n)
