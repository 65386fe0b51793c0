"""Trace against answer: the 2x2 table, its conditionals and its measures of association; the same by stratum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, log, sqrt
from statistics import NormalDist
from typing import Any

from tracedistill.stats.intervals import Interval, Share, share

Counts = tuple[int, int, int, int]
"""[trace ok & answer ok, ok & wrong, wrong & ok, wrong & wrong], in this order everywhere."""


@dataclass(frozen=True, slots=True)
class JointTable:
    """How often trace and answer are right together."""

    both: int
    """Trace right, answer right."""
    trace_only: int
    """Trace right, answer wrong."""
    answer_only: int
    """Trace wrong (or unparsed), answer right."""
    neither: int
    """Trace wrong (or unparsed), answer wrong."""
    unparsed_answer_ok: int
    """Of `answer_only`: the trace could not be parsed."""
    unparsed_answer_wrong: int
    """Of `neither`: the trace could not be parsed."""
    answer_if_trace_ok: Share
    """P(answer ok | trace ok)."""
    answer_if_trace_wrong: Share
    """P(answer ok | trace wrong or unparsed)."""
    odds_ratio: float | None
    """Odds of a right answer with a right trace over those with a wrong one; None if one verdict never varies."""
    odds_ratio_interval: Interval | None
    """Wald interval on the logarithm (Woolf), from the same cells as the odds ratio; None with it."""
    haldane: bool
    """True if a cell was 0 and 0.5 was added to all four before odds ratio and interval (Haldane-Anscombe)."""
    phi: float | None
    """Correlation of the two verdicts; None if one of them never varies."""
    fisher_p: float
    """Two-sided exact p (Fisher); 1 if one verdict never varies."""

    @property
    def n(self) -> int:
        """Items in the table."""
        return self.both + self.trace_only + self.answer_only + self.neither

    @property
    def counts(self) -> Counts:
        """The four cells in the published order."""
        return (self.both, self.trace_only, self.answer_only, self.neither)


@dataclass(frozen=True, slots=True)
class Stratified:
    """The association of trace and answer with the stratum (difficulty, question type) held fixed."""

    odds_ratio: float | None
    """Mantel-Haenszel odds ratio; None if no stratum holds both right and wrong of each."""
    interval: Interval | None
    """Its interval (Robins, Breslow & Greenland); None with the odds ratio."""
    p: float
    """Cochran-Mantel-Haenszel test of no association, without continuity correction; 1 if no stratum informs."""
    homogeneity_p: float | None
    """Breslow-Day test that one odds ratio fits all strata; None with fewer than two informative strata."""
    haldane: bool
    """True if every informative stratum lacked the same cell and 0.5 was added to all cells."""
    informative: tuple[str, ...]
    """Strata that count: both verdicts vary in them."""
    uninformative: tuple[str, ...]
    """Strata without information about the association, in the order given."""


def joint_table(trace_ok: Sequence[bool | None], answer_ok: Sequence[bool], confidence: float = 0.95) -> JointTable:
    """Cross trace verdicts with answer verdicts, one of each per item in the same order.

    A trace verdict None is an unparsed trace: it stays in the denominator as wrong and is also counted separately.
    Raises ValueError if lengths differ. No items: the shares' values, odds ratio and phi are None, p is 1.
    """
    if len(trace_ok) != len(answer_ok):
        raise ValueError(f"{len(trace_ok)} trace verdicts against {len(answer_ok)} answer verdicts")
    pairs = [(bool(trace), bool(answer)) for trace, answer in zip(trace_ok, answer_ok, strict=True)]
    cells = tuple(pairs.count(cell) for cell in ((True, True), (True, False), (False, True), (False, False)))
    unparsed = [bool(answer) for trace, answer in zip(trace_ok, answer_ok, strict=True) if trace is None]
    return joint_table_of_counts(
        (cells[0], cells[1], cells[2], cells[3]), (unparsed.count(True), unparsed.count(False)), confidence
    )


def joint_table_of_counts(counts: Counts, unparsed: tuple[int, int] = (0, 0), confidence: float = 0.95) -> JointTable:
    """Return the same table from its four counts; `unparsed` = (answer ok, answer wrong) are among the wrong traces."""
    a, b, c, d = counts
    if min(counts) < 0 or not 0 <= unparsed[0] <= c or not 0 <= unparsed[1] <= d:
        raise ValueError(f"counts {counts} with unparsed {unparsed}: not a joint table")
    margins = (a + b) * (c + d) * (a + c) * (b + d)
    haldane = margins > 0 and min(counts) == 0
    ratio, interval = _odds_ratio(counts, haldane, confidence) if margins else (None, None)
    return JointTable(
        a,
        b,
        c,
        d,
        *unparsed,
        answer_if_trace_ok=share(a, a + b, confidence),
        answer_if_trace_wrong=share(c, c + d, confidence),
        odds_ratio=ratio,
        odds_ratio_interval=interval,
        haldane=haldane,
        phi=(a * d - b * c) / sqrt(margins) if margins else None,
        fisher_p=_fisher(counts) if margins else 1.0,
    )


def mantel_haenszel(strata: Mapping[str, Counts], confidence: float = 0.95) -> Stratified:
    """Pool the association over strata, each given by its four joint counts (statsmodels).

    Strata in which one verdict never varies carry no information and are listed separately.
    """
    useful = {name: counts for name, counts in strata.items() if _varies(counts)}
    useless = tuple(name for name in strata if name not in useful)
    if not useful:
        return Stratified(None, None, 1.0, None, haldane=False, informative=(), uninformative=useless)
    import numpy as np
    from statsmodels.stats.contingency_tables import StratifiedTable  # slow to import

    tables = [np.array([[a, b], [c, d]], dtype=float) for a, b, c, d in useful.values()]
    observed = StratifiedTable(tables)
    p = float(observed.test_null_odds(correction=False).pvalue)
    haldane = not all(sum(t[0, i] * t[1, 1 - i] / t.sum() for t in tables) > 0 for i in (0, 1))
    pooled = StratifiedTable([t + 0.5 for t in tables]) if haldane else observed
    low, high = pooled.oddsratio_pooled_confint(alpha=1 - confidence)
    # Breslow-Day divides by the pooled odds ratio's fit, which an empty cell sum does not have
    same = _equal_odds_p(pooled) if len(tables) > 1 else None
    return Stratified(
        float(pooled.oddsratio_pooled), Interval(float(low), float(high)), p, same, haldane, tuple(useful), useless
    )


def _equal_odds_p(pooled: Any) -> float:
    """Return Breslow-Day's p; statsmodels divides 0 by 0 if the pooled odds ratio is exactly 1."""
    if abs(pooled.oddsratio_pooled - 1) > 1e-9:
        return float(pooled.test_equal_odds().pvalue)
    from scipy.special import chdtrc

    statistic = 0.0
    tables = [pooled.table[:, :, place] for place in range(pooled.table.shape[2])]
    for table in tables:
        expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
        statistic += float((table[0, 0] - expected[0, 0]) ** 2 * (1 / expected).sum())
    return float(chdtrc(len(tables) - 1, statistic))


def _varies(counts: Counts) -> bool:
    a, b, c, d = counts
    return (a + b) * (c + d) * (a + c) * (b + d) > 0


def _odds_ratio(counts: Counts, haldane: bool, confidence: float) -> tuple[float, Interval]:
    a, b, c, d = (count + 0.5 if haldane else float(count) for count in counts)
    ratio = a * d / (b * c)
    width = NormalDist().inv_cdf((1 + confidence) / 2) * sqrt(1 / a + 1 / b + 1 / c + 1 / d)
    return ratio, Interval(exp(log(ratio) - width), exp(log(ratio) + width))


def _fisher(counts: Counts) -> float:
    from scipy.stats import fisher_exact  # slow to import

    a, b, c, d = counts
    return float(fisher_exact([[a, b], [c, d]]).pvalue)
