"""The t test over problems and seeds, and what it could have found."""

import numpy as np
import pytest

from tracedistill import stats


def test_with_one_seed_it_is_the_paired_t_test():
    from scipy.stats import ttest_rel

    rng = np.random.default_rng(3)
    a, b = rng.random(80), rng.random(80) * 0.9
    found = stats.crossed_test(a[:, None], b[:, None])
    expected = ttest_rel(a, b)
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.error, found.df) == pytest.approx(((a - b).mean() / expected.statistic, 79))


def test_it_goes_with_the_bootstraps_interval():
    rng = np.random.default_rng(5)
    rate = rng.random((300, 1))
    a, b = rng.random((300, 3)) < rate, rng.random((300, 3)) < rate * 0.9
    interval, tested = stats.crossed_bootstrap(a, b, np.random.default_rng(0)), stats.crossed_test(a, b)
    from scipy.stats import t

    half = t.ppf(0.975, tested.df) * tested.error
    assert (interval.high - interval.low) / 2 == pytest.approx(half, rel=0.06)
    assert (interval.low > 0) == (tested.p < 0.05)


def test_seeds_that_differ_are_no_finding_however_many_problems():
    """Both arms alike but for their seeds: pooled rows would cry out, problems crossed with seeds do not."""
    rng = np.random.default_rng(8)
    false, pooled = 0, 0
    for _ in range(300):
        rate = rng.beta(2, 2, size=(400, 1))
        shift = rng.normal(0, 0.04, size=(2, 3))
        a, b = (rng.random((400, 3)) < np.clip(rate + shift[side], 0, 1) for side in (0, 1))
        false += stats.crossed_test(a, b).p < 0.05
        counts = stats.discordance(a.ravel().tolist(), b.ravel().tolist())
        pooled += stats.mcnemar_exact(counts.only_a, counts.only_b) < 0.05
    assert false <= 27, "5% of 300 is 15"
    assert pooled > 60


@pytest.mark.parametrize(
    ("a", "b", "p"),
    [
        (np.ones((0, 2)), np.ones((0, 2)), 1.0),
        (np.ones((5, 2)), np.ones((5, 2)), 1.0),
        (np.ones((6, 2)), np.zeros((6, 2)), 2 * 0.5**6),
        (np.ones((1, 3)), np.zeros((1, 3)), 1.0),
    ],
)
def test_degenerate_tables_claim_no_certainty(a, b, p):
    found = stats.crossed_test(a, b)
    assert (found.p, found.error) == (pytest.approx(p), 0)


def test_shapes_and_scales_are_checked():
    with pytest.raises(ValueError, match="problems, seeds"):
        stats.crossed_test([1, 0], [0, 1])
    with pytest.raises(ValueError, match="between 0 and 1"):
        stats.crossed_test([[50.0]], [[40.0]])


def test_the_detectable_effect_is_found_as_often_as_it_says():
    rng = np.random.default_rng(2)
    effect = stats.detectable_by_error(0.5 / np.sqrt(60), 59, alpha=0.05, power=0.8)
    found = sum(abs(x.mean() / (x.std(ddof=1) / np.sqrt(60))) > 2.001 for x in rng.normal(effect, 0.5, size=(2000, 60)))
    assert found / 2000 == pytest.approx(0.8, abs=0.03)


@pytest.mark.parametrize(("error", "df"), [(0.0, 10), (0.1, 0), (0.9, 5)])
def test_nothing_detectable(error, df):
    assert stats.detectable_by_error(error, df) is None


def test_breslow_day_where_the_pooled_ratio_is_one():
    """statsmodels divides 0 by 0 there; next to it its figure must join ours."""
    at = stats.mantel_haenszel({"x": (36, 4, 9, 1), "y": (1, 9, 4, 36)})
    near = stats.mantel_haenszel({"x": (3600, 400, 900, 101), "y": (100, 900, 400, 3600)})
    assert at.odds_ratio == pytest.approx(1)
    assert at.homogeneity_p == pytest.approx(1)
    assert near.homogeneity_p == pytest.approx(0.93, abs=0.07)
    opposed = stats.mantel_haenszel({"x": (20, 10, 10, 20), "y": (10, 20, 20, 10)})
    assert opposed.odds_ratio == pytest.approx(1)
    # each stratum's first cell lies 5 from the 15 expected, with variance 60 / 16
    assert opposed.homogeneity_p == pytest.approx(0.0002607, rel=0.01)
