"""Agreement on published worked examples, and against the libraries."""

from __future__ import annotations

import random

import krippendorff
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.inter_rater import cohens_kappa

from tracedistill.stats import cohen_kappa, krippendorff_alpha

NA = None
KRIPPENDORFF_2011 = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, NA, NA, NA],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NA, 3],
    [NA, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NA],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NA],
]
"""Four observers, twelve units: Computing Krippendorff's Alpha-Reliability, section C: 0.743."""


def spread(table: list[list[int]]) -> tuple[list[int], list[int]]:
    """Two raters' labels out of a table of counts, rows the first's."""
    pairs = [(i, j) for i, row in enumerate(table) for j, count in enumerate(row) for _ in range(count)]
    return [a for a, _ in pairs], [b for _, b in pairs]


def test_alpha_of_the_published_example() -> None:
    units = [list(unit) for unit in zip(*KRIPPENDORFF_2011, strict=True)]
    ours = krippendorff_alpha(units)
    assert ours == pytest.approx(0.743, abs=0.0005)
    data = np.array([[np.nan if x is None else x for x in row] for row in KRIPPENDORFF_2011])
    assert ours == pytest.approx(krippendorff.alpha(reliability_data=data, level_of_measurement="nominal"), abs=1e-12)


PUBLISHED_KAPPA = [
    # Fleiss, Statistical Methods for Rates and Proportions (2nd ed. 1981), table 13.1: psychosis, neurosis, organic
    ([[75, 1, 4], [5, 4, 1], [0, 0, 10]], 0.676),
    # grant applications read by two readers (Kilem Gwet's example, also Wikipedia's): yes, no
    ([[20, 5], [10, 15]], 0.4),
    # the two tables of equal agreement whose kappas differ (Wikipedia's second example)
    ([[45, 15], [25, 15]], 0.1304),
    ([[25, 35], [5, 35]], 0.2593),
]


@pytest.mark.parametrize(("table", "kappa"), PUBLISHED_KAPPA)
def test_kappa_of_published_examples(table: list[list[int]], kappa: float) -> None:
    first, second = spread(table)
    assert cohen_kappa(first, second) == pytest.approx(kappa, abs=0.0006)
    assert cohen_kappa(first, second) == pytest.approx(cohens_kappa(np.array(table)).kappa, abs=1e-12)


def test_kappa_and_alpha_against_the_libraries_on_random_tables() -> None:
    rng = random.Random(0)
    for _ in range(60):
        table = [[rng.randint(0, 9) for _ in range(3)] for _ in range(3)]
        first, second = spread(table)
        assert cohen_kappa(first, second) == pytest.approx(cohens_kappa(np.array(table)).kappa, abs=1e-12)
        raters = [[rng.choice([1, 2, 3, 5, None, None]) for _ in range(12)] for _ in range(3)]
        data = np.array([[np.nan if x is None else x for x in row] for row in raters])
        units = [list(unit) for unit in zip(*raters, strict=True)]
        theirs = krippendorff.alpha(reliability_data=data, level_of_measurement="nominal")
        assert krippendorff_alpha(units) == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize(
    ("units", "alpha"),
    [([], None), ([[1, None], [2]], None), ([[1, 1], [1, 1]], None), ([[1, 1], [2, 2]], 1.0), ([["a", "b"]], 0.0)],
)
def test_alpha_at_its_ends(units: list[list[object]], alpha: float | None) -> None:
    assert krippendorff_alpha(units) == alpha


def test_kappa_at_its_ends() -> None:
    assert cohen_kappa([], []) is None
    assert cohen_kappa(["a"] * 3, ["a"] * 3) is None
    assert cohen_kappa(["a", "b"], ["b", "a"]) == -1
    with pytest.raises(ValueError, match="2 labels against 1"):
        cohen_kappa(["a", "b"], ["a"])


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abc")), min_size=2))
def test_raters_and_units_may_change_places(pairs: list[tuple[str, str]]) -> None:
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    assert cohen_kappa(first, second) == pytest.approx(cohen_kappa(second, first)) or len({*first, *second}) == 1
    turned = [list(reversed(pair)) for pair in reversed(pairs)]
    alpha, other = krippendorff_alpha([list(pair) for pair in pairs]), krippendorff_alpha(turned)
    assert (alpha is None) == (other is None)
    if alpha is not None:
        assert alpha == pytest.approx(other)
        assert alpha <= 1
