"""The published study's comparisons: two-sample z, relative change, ranges by method; chi-square on counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tracedistill.stats.intervals import check_counts


@dataclass(frozen=True, slots=True)
class ChiSquare:
    """Pearson's test on a table of counts."""

    statistic: float
    """Chi-square; 0 if nothing varies."""
    df: int
    """Degrees of freedom after empty rows and columns are left out; 0 if nothing varies."""
    p: float
    """p value; 1 if nothing varies."""
    least_expected: float
    """Smallest expected count: below 5 the approximation is poor; 0 if nothing varies."""


@dataclass(frozen=True, slots=True)
class Change:
    """One method against the best of the others on one row of a table."""

    row: str
    """Row name, such as the student."""
    alternative: str
    """The best other method; the first on ties."""
    before: float
    """Its score."""
    after: float
    """The method's own score."""
    points: float
    """after - before."""
    relative: float | None
    """(after - before) / before in percent; None if `before` is 0."""


@dataclass(frozen=True, slots=True)
class MethodRange:
    """Scores of one method over all rows that have it."""

    method: str
    n: int
    """Number of rows."""
    low: float
    high: float
    mean: float


def two_proportion_z(successes_a: int, n_a: int, successes_b: int, n_b: int) -> tuple[float, float]:
    """Return (z, two-sided p) of the pooled two-sample test of proportions a - b (statsmodels).

    The Trace-of-Thought study's test. It treats the samples as unrelated: on the same problems use `mcnemar_exact`.
    Some published p values were read off a z rounded to two decimals; these are exact. All or none right in both, or an
    empty sample: (0, 1). Raises ValueError for impossible counts.
    """
    check_counts(successes_a, n_a)
    check_counts(successes_b, n_b)
    if not n_a or not n_b or successes_a + successes_b in (0, n_a + n_b):
        return 0.0, 1.0
    from statsmodels.stats.proportion import proportions_ztest  # slow to import

    z, p = proportions_ztest([successes_a, successes_b], [n_a, n_b])
    return float(z), float(p)


def chi_square(counts: Sequence[Sequence[int]]) -> ChiSquare:
    """Return Pearson's chi-square of independence, without continuity correction (scipy).

    counts: rows x columns of whole numbers; empty rows and columns are left out. Raises ValueError for percentages and
    other fractions, negative counts and ragged rows, for which the test is meaningless.
    """
    import numpy as np

    if len({len(row) for row in counts}) > 1:
        raise ValueError("rows of different lengths: not a table")
    table = np.asarray([list(row) for row in counts], dtype=float)
    if not np.all((table >= 0) & (table == np.floor(table))):
        raise ValueError("chi-square is a test on counts: whole numbers from 0, never percentages")
    if table.size == 0:
        return ChiSquare(0.0, 0, 1.0, 0.0)
    table = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0]
    if min(table.shape) < 2:
        return ChiSquare(0.0, 0, 1.0, 0.0)
    from scipy.stats import chi2_contingency  # slow to import

    test = chi2_contingency(table, correction=False)
    return ChiSquare(float(test.statistic), int(test.dof), float(test.pvalue), float(test.expected_freq.min()))


def relative_changes(scores: Mapping[str, Mapping[str, float]], method: str) -> list[Change]:
    """Compare each row's best alternative with `method`: {row: {method: score}} -> one Change per row with both."""
    changes = []
    for row, by_method in scores.items():
        others = {name: score for name, score in by_method.items() if name != method}
        if method not in by_method or not others:
            continue
        best = max(others, key=lambda name: others[name])
        before, after = others[best], by_method[method]
        relative = 100 * (after - before) / before if before else None
        changes.append(Change(row, best, before, after, after - before, relative))
    return changes


def method_ranges(scores: Mapping[str, Mapping[str, float]]) -> list[MethodRange]:
    """Return lowest, highest and mean score of each method over the rows, methods in order of first appearance."""
    by_method: dict[str, list[float]] = {}
    for row in scores.values():
        for method, score in row.items():
            by_method.setdefault(method, []).append(score)
    return [
        MethodRange(name, len(all_), min(all_), max(all_), sum(all_) / len(all_)) for name, all_ in by_method.items()
    ]
