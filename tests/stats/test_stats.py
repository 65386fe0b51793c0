"""Statistics against scipy, statsmodels, published figures and hand-made cases."""

import subprocess
import sys
from math import comb, isclose

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracedistill import stats


def rng(seed=0):
    return np.random.default_rng(seed)


# ---- shares


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        (0, 20, 0.0, 0.1611251581),
        (20, 20, 0.8388748419, 1.0),
        (10, 20, 0.2992980082, 0.7007019918),
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, table I, method 3
        (15, 148, 0.0624, 0.1605),  # the same
        (1, 29, 0.0061, 0.1718),  # the same
        (0, 0, 0.0, 1.0),
    ],
)
def test_wilson(successes, n, low, high):
    found = stats.wilson(successes, n)
    assert found.low == pytest.approx(low, abs=6e-5)
    assert found.high == pytest.approx(high, abs=6e-5)


@given(st.integers(0, 300).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_lies_in_0_to_1_and_holds_the_share(case):
    found = stats.share(*case)
    assert 0 <= found.low <= (found.value if found.value is not None else 0.5) <= found.high <= 1


@pytest.mark.parametrize(("successes", "n"), [(-1, 5), (6, 5), (0, -1)])
def test_impossible_counts_raise(successes, n):
    with pytest.raises(ValueError, match="not a count"):
        stats.wilson(successes, n)
    with pytest.raises(ValueError, match="not a count"):
        stats.two_proportion_z(successes, n, 1, 2)


# ---- pairs


@pytest.mark.parametrize(
    ("b", "c", "p"),
    [
        (0, 0, 1.0),
        (5, 15, 0.04138946533203125),
        (15, 5, 0.04138946533203125),
        (1, 0, 1.0),
        (0, 6, 2 * 0.5**6),
    ],
)
def test_mcnemar_exact(b, c, p):
    assert stats.mcnemar_exact(b, c) == pytest.approx(p)
    by_hand = min(1.0, 2 * sum(comb(b + c, k) for k in range(min(b, c) + 1)) / 2 ** (b + c))
    assert isclose(stats.mcnemar_exact(b, c), by_hand, rel_tol=1e-9)


def test_mcnemar_is_that_of_statsmodels():
    from statsmodels.stats.contingency_tables import mcnemar

    assert stats.mcnemar_exact(7, 19) == pytest.approx(mcnemar([[50, 7], [19, 24]], exact=True).pvalue)


def test_discordance_counts_cells():
    found = stats.discordance([True, True, False, False, True], [True, False, True, False, False])
    assert found == stats.Discordance(1, 2, 1, 1)
    assert found.share == 0.6
    assert stats.discordance([], []).share == 0
    with pytest.raises(ValueError, match="same problems"):
        stats.discordance([True], [])


def test_the_paired_bootstrap_is_that_of_scipy():
    from scipy.stats import bootstrap

    generator = rng(4)
    a, b = (generator.random(300) < 0.8).astype(float), (generator.random(300) < 0.7).astype(float)
    ours = stats.paired_bootstrap(a, b, rng(1))
    theirs = bootstrap((a - b,), np.mean, method="percentile", n_resamples=5000, rng=rng(2)).confidence_interval
    assert ours.estimate == pytest.approx((a - b).mean())
    assert ours.low == pytest.approx(theirs.low, abs=0.008)
    assert ours.high == pytest.approx(theirs.high, abs=0.008)


def test_many_distinct_scores_are_resampled_by_index():
    generator = rng(5)
    a, b = generator.random(400), generator.random(400) * 0.8
    found = stats.paired_bootstrap(a, b, rng(1), resamples=4000)
    error = (a - b).std(ddof=1) / 20
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.08)


def test_a_seed_fixes_the_bootstrap():
    a, b = [1, 0, 1, 1, 0, 1], [0, 0, 1, 0, 1, 0]
    assert stats.paired_bootstrap(a, b, rng(3)) == stats.paired_bootstrap(a, b, rng(3))


@pytest.mark.parametrize(("n", "half"), [(0, 1.0), (1, 0.975), (500, 0.00735)])
def test_without_any_discordant_problem_the_interval_is_not_a_point(n, half):
    found = stats.paired_bootstrap([1.0] * n, [1.0] * n, rng())
    assert (found.estimate, found.n) == (0, n)
    assert found.high == pytest.approx(half, rel=1e-3)
    assert found.low == -found.high


def test_scores_of_another_scale_raise():
    with pytest.raises(ValueError, match="between 0 and 1"):
        stats.paired_bootstrap([50.0, 70.0], [40.0, 60.0], rng())
    with pytest.raises(ValueError, match="between 0 and 1"):
        stats.paired_bootstrap([float("nan")], [0.0], rng())
    with pytest.raises(ValueError, match="one per problem"):
        stats.paired_bootstrap([1.0], [0.0, 1.0], rng())


# ---- clusters


def test_clustered_mean_is_that_of_statsmodels():
    import statsmodels.api as sm

    generator = rng(2)
    clusters = generator.integers(0, 40, 200)
    scores = (generator.random(200) < (0.3 + 0.01 * clusters)).astype(float)
    fit = sm.OLS(scores, np.ones(200)).fit(cov_type="cluster", cov_kwds={"groups": clusters}, use_t=True)
    low, high = fit.conf_int()[0]
    found = stats.clustered_mean(scores, clusters)
    # statsmodels also multiplies by (n - 1) / (n - k), which is 1 here with one coefficient
    assert (found.value, found.low, found.high) == pytest.approx((scores.mean(), low, high))
    assert (found.n, found.clusters) == (200, len(set(clusters.tolist())))


def test_means_without_clusters_claim_no_interval():
    assert stats.clustered_mean([], []) == stats.Mean(None, None, None, 0, 0)
    assert stats.clustered_mean([1, 0], ["a", "a"]) == stats.Mean(0.5, None, None, 2, 1)


def test_slope_is_that_of_statsmodels():
    import statsmodels.api as sm

    generator = rng(3)
    strata = generator.integers(0, 4, 300)
    steps = strata + generator.integers(1, 6, 300)
    right = (generator.random(300) < 0.9 - 0.15 * strata).astype(float)
    plain = sm.OLS(right, sm.add_constant(steps)).fit(cov_type="HC0")
    dummies = np.eye(4)[strata]
    fixed = sm.OLS(right, np.column_stack([steps, dummies])).fit(cov_type="HC0")
    raw, controlled = stats.slope(right, steps), stats.slope(right, steps, strata=strata.tolist())
    assert raw.value == pytest.approx(plain.params[1])
    assert controlled.value == pytest.approx(fixed.params[0])
    assert raw.high - raw.low == pytest.approx(2 * 1.968 * plain.bse[1], rel=5e-3)
    assert controlled.high - controlled.low == pytest.approx(2 * 1.968 * fixed.bse[0], rel=5e-3)
    # the fall with longer plans is the difficulty's
    assert raw.p < 1e-3 < 0.05 < controlled.p
    assert controlled.strata == 4


def test_slopes_that_cannot_be_told():
    assert stats.slope([1, 0], [3, 3]) == stats.Slope(None, None, None, 1.0, 0, 0)
    assert stats.slope([], []) == stats.Slope(None, None, None, 1.0, 0, 0)
    alone = stats.slope([1, 0, 1], [1, 2, 3], clusters=["a"] * 3)
    assert alone.value == pytest.approx(0)
    assert alone.low is None
    perfect = stats.slope([0, 0.5, 1], [1, 2, 3])
    assert (perfect.value, perfect.p) == pytest.approx((0.5, 0.0))
    with pytest.raises(ValueError, match="finite"):
        stats.slope([float("nan"), 1], [1, 2])


def test_crossed_bootstrap_with_one_seed_is_the_paired_one():
    a, b = [[1], [0], [1], [1]], [[0], [0], [1], [0]]
    assert stats.crossed_bootstrap(a, b, rng(1)) == stats.paired_bootstrap([1, 0, 1, 1], [0, 0, 1, 0], rng(1))


def test_crossed_bootstrap_is_wider_where_seeds_differ():
    generator = rng(1)
    rate = generator.random((200, 1))
    same = generator.random((200, 3)) < rate
    moved = generator.random((200, 3)) < np.clip(rate + np.array([[-0.2, 0.0, 0.2]]), 0, 1)
    other = generator.random((200, 3)) < rate
    still = stats.crossed_bootstrap(same, other, rng(2))
    shaken = stats.crossed_bootstrap(moved, other, rng(2))
    assert (still.n, still.seeds) == (200, 3)
    assert all(type(value) is float for value in (still.estimate, still.low, still.high))
    assert shaken.high - shaken.low > 2 * (still.high - still.low)


@pytest.mark.parametrize("shape", [(0, 3), (5, 0), (1, 3), (4, 3)])
def test_crossed_bootstrap_of_degenerate_tables(shape):
    found = stats.crossed_bootstrap(np.ones(shape), np.ones(shape), rng())
    assert found.estimate == 0
    assert -1 <= found.low < 0 < found.high <= 1


def test_crossed_bootstrap_refuses_other_shapes():
    with pytest.raises(ValueError, match="problems, seeds"):
        stats.crossed_bootstrap([1, 0], [0, 1], rng())


# ---- families and power


def test_holm_is_that_of_statsmodels():
    from statsmodels.stats.multitest import multipletests

    ps = [0.004, 0.3, 0.011, 0.011, 0.9, 0.02]
    assert stats.holm(ps) == pytest.approx(multipletests(ps, method="holm")[1])


def test_holm_worked_example():
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert stats.holm([0.9, 0.8]) == [1.0, 1.0]
    assert stats.holm([]) == []
    with pytest.raises(ValueError, match="between 0 and 1"):
        stats.holm([0.5, float("nan")])


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_keeps_order_and_only_raises(ps):
    adjusted = stats.holm(ps)
    assert all(p - 1e-12 <= q <= 1 for p, q in zip(ps, adjusted, strict=True))
    ranked = [q for _, q in sorted(zip(ps, adjusted, strict=True))]
    assert ranked == sorted(ranked)


@pytest.mark.parametrize(("n", "effect", "discordance"), [(30, 0.2, 0.4), (12, 0.5, 0.5), (60, 0.0, 0.3)])
def test_paired_power_is_the_sum_over_all_tables(n, effect, discordance):
    p_a, p_b = (discordance + effect) / 2, (discordance - effect) / 2
    total = 0.0
    for b in range(n + 1):
        for c in range(n + 1 - b):
            if stats.mcnemar_exact(b, c) <= 0.05:
                ways = comb(n, b) * comb(n - b, c)
                total += ways * p_a**b * p_b**c * (1 - discordance) ** (n - b - c)
    assert stats.paired_power(n, effect, discordance) == pytest.approx(total, abs=1e-9)


def test_minimum_detectable_effect_is_the_smallest_with_its_power():
    effect = stats.minimum_detectable_effect(500, 0.1, family=3)
    assert stats.paired_power(500, effect, 0.1, 0.05 / 3) >= 0.8
    assert stats.paired_power(500, effect - 2e-4, 0.1, 0.05 / 3) < 0.8
    assert effect > stats.minimum_detectable_effect(500, 0.1)
    assert stats.minimum_detectable_effect(4, 0.1) is None
    assert stats.minimum_detectable_effect(0, 0.1) is None
    # an effect larger than the assumed discordance needs as many discordant problems as itself
    assert stats.minimum_detectable_effect(20, 0.05) > 0.05


@pytest.mark.parametrize("case", [(100, 0.2, 0.1), (100, 0.1, 1.5), (-1, 0, 0.1)])
def test_impossible_designs_raise(case):
    with pytest.raises(ValueError):
        stats.paired_power(*case)


# ---- the published study's tests


@pytest.mark.parametrize(
    ("a", "b", "z", "p"),
    [
        (172, 151, 2.6632, 0.00774),
        (169, 147, 2.7007, 0.00692),  # published .00694: read off z = 2.70
        (187, 189, -0.4211, 0.67370),  # published .67448: read off z = -0.42
        (141, 132, 0.9667, 0.33370),  # published .33204: read off z = 0.97
        (36, 24, 1.6803, 0.09289),  # published .09296: read off z = 1.68
    ],
)
def test_published_z_values(a, b, z, p):
    found = stats.two_proportion_z(a, 200, b, 200)
    assert found == (pytest.approx(z, abs=5e-5), pytest.approx(p, abs=5e-6))


@pytest.mark.parametrize("case", [(0, 0, 3, 5), (0, 5, 0, 5), (5, 5, 7, 7)])
def test_z_of_samples_that_say_nothing(case):
    assert stats.two_proportion_z(*case) == (0.0, 1.0)


def test_relative_changes_and_ranges():
    scores = {
        "llama": {"standard": 23.5, "chain": 20.0, "plan": 53.0},
        "nothing": {"standard": 0.0, "plan": 4.0},
        "alone": {"plan": 9.0},
    }
    first, second = stats.relative_changes(scores, "plan")
    assert (first.alternative, first.points, round(first.relative, 1)) == ("standard", 29.5, 125.5)
    assert second.relative is None
    ranges = {found.method: found for found in stats.method_ranges(scores)}
    assert ranges["plan"] == stats.MethodRange("plan", 3, 4.0, 53.0, 22.0)


# ---- trace x answer


@pytest.mark.parametrize(
    ("counts", "if_ok", "if_wrong", "phi"),
    [
        ((232, 2, 171, 545), 99.1, 23.9, 0.656),  # Llama-3.2-1B, correct arm
        ((310, 5, 202, 433), 98.4, 31.8, 0.629),  # Qwen3-1.7B, correct arm
    ],
)
def test_published_joint_tables(counts, if_ok, if_wrong, phi):
    cells = [(True, True), (True, False), (False, True), (False, False)]
    traces = [trace for (trace, _), count in zip(cells, counts, strict=True) for _ in range(count)]
    answers = [answer for (_, answer), count in zip(cells, counts, strict=True) for _ in range(count)]
    found = stats.joint_table(traces, answers)
    assert found == stats.joint_table_of_counts(counts)
    assert (found.counts, found.n) == (counts, 950 if counts[0] in (232, 310) else 0)
    assert round(100 * found.answer_if_trace_ok.value, 1) == if_ok
    assert round(100 * found.answer_if_trace_wrong.value, 1) == if_wrong
    assert round(found.phi, 3) == phi
    assert not found.haldane
    a, b, c, d = counts
    assert found.odds_ratio == pytest.approx(a * d / (b * c))


def test_joint_table_is_that_of_statsmodels():
    from scipy.stats import fisher_exact
    from statsmodels.stats.contingency_tables import Table2x2

    found = stats.joint_table_of_counts((12, 5, 7, 19))
    theirs = Table2x2(np.array([[12, 5], [7, 19]]))
    low, high = theirs.oddsratio_confint()
    assert (found.odds_ratio_interval.low, found.odds_ratio_interval.high) == pytest.approx((low, high))
    assert found.fisher_p == pytest.approx(fisher_exact([[12, 5], [7, 19]]).pvalue)
    correlation = np.corrcoef([1] * 17 + [0] * 26, [1] * 12 + [0] * 5 + [1] * 7 + [0] * 19)[0, 1]
    assert found.phi == pytest.approx(correlation)


def test_a_zero_cell_is_corrected_and_says_so():
    found = stats.joint_table_of_counts((10, 0, 3, 9))
    assert found.haldane
    assert found.odds_ratio == pytest.approx(10.5 * 9.5 / (0.5 * 3.5))


@pytest.mark.parametrize("counts", [(0, 0, 0, 0), (3, 0, 0, 0), (3, 4, 0, 0), (0, 0, 3, 4), (3, 0, 4, 0)])
def test_joint_tables_in_which_one_verdict_never_varies(counts):
    found = stats.joint_table_of_counts(counts)
    assert (found.odds_ratio, found.odds_ratio_interval, found.phi, found.fisher_p) == (None, None, None, 1.0)
    assert not found.haldane


def test_unparsed_traces_stay_in_the_denominator():
    found = stats.joint_table([True, None, None, False], [True, True, False, False])
    assert found.counts == (1, 0, 1, 2)
    assert (found.unparsed_answer_ok, found.unparsed_answer_wrong) == (1, 1)
    with pytest.raises(ValueError, match="not a joint table"):
        stats.joint_table_of_counts((1, 0, 1, 2), (2, 0))
    with pytest.raises(ValueError, match="against"):
        stats.joint_table([True], [])


def test_mantel_haenszel_is_that_of_r():
    # UC Berkeley admissions by department, men x admitted: R's mantelhaen.test(UCBAdmissions)
    strata = {
        "A": (512, 313, 89, 19),
        "B": (353, 207, 17, 8),
        "C": (120, 205, 202, 391),
        "D": (138, 279, 131, 244),
        "E": (53, 138, 94, 299),
        "F": (22, 351, 24, 317),
    }
    found = stats.mantel_haenszel(strata)
    assert found.odds_ratio == pytest.approx(0.9046968, abs=1e-6)
    assert (found.interval.low, found.interval.high) == pytest.approx((0.7719074, 1.0603298), abs=1e-6)
    assert found.p == pytest.approx(0.2170, abs=2e-4)  # correct = FALSE; 0.2323 with Yates' correction
    assert found.homogeneity_p == pytest.approx(0.002, abs=1e-3)
    assert found.informative == tuple("ABCDEF")


def test_strata_that_say_nothing_are_named():
    found = stats.mantel_haenszel({"1": (10, 2, 3, 9), "2": (5, 0, 3, 0), "3": (0, 0, 0, 0)})
    assert (found.informative, found.uninformative) == (("1",), ("2", "3"))
    assert found.homogeneity_p is None
    assert found.odds_ratio == pytest.approx(10 * 9 / (2 * 3))
    nothing = stats.mantel_haenszel({"2": (5, 0, 3, 0)})
    assert (nothing.odds_ratio, nothing.interval, nothing.p) == (None, None, 1.0)
    corrected = stats.mantel_haenszel({"1": (10, 0, 0, 9), "2": (3, 0, 0, 4)})
    assert corrected.haldane
    assert corrected.odds_ratio > 1


# ---- counts and samples


def test_chi_square_on_counts():
    from scipy.stats import chi2_contingency

    found = stats.chi_square([[10, 20, 30], [6, 9, 17]])
    theirs = chi2_contingency([[10, 20, 30], [6, 9, 17]])
    assert (found.statistic, found.df, found.p) == pytest.approx((theirs.statistic, 2, theirs.pvalue))
    assert stats.chi_square([[10, 0, 30], [6, 0, 17]]).df == 1


@pytest.mark.parametrize("table", [[], [[]], [[3, 4]], [[3, 4], [0, 0]], [[0, 0], [0, 0]]])
def test_chi_square_where_nothing_varies(table):
    assert stats.chi_square(table) == stats.ChiSquare(0.0, 0, 1.0, 0.0)


@pytest.mark.parametrize("table", [[[23.5, 53.0], [76.5, 47.0]], [[-1, 2], [3, 4]], [[1, 2], [3]]])
def test_chi_square_refuses_percentages(table):
    with pytest.raises(ValueError):
        stats.chi_square(table)


@pytest.mark.parametrize(("n", "correct", "k", "value"), [(10, 3, 1, 0.3), (5, 2, 2, 0.7), (4, 0, 4, 0), (4, 1, 4, 1)])
def test_pass_at_k(n, correct, k, value):
    assert stats.pass_at_k(n, correct, k) == pytest.approx(value)


def test_pass_at_k_needs_k_samples():
    with pytest.raises(ValueError, match="pass@5"):
        stats.pass_at_k(4, 2, 5)


def test_importing_stats_loads_no_heavy_library():
    code = "import sys, tracedistill.stats; print(*{m.split('.')[0] for m in sys.modules} & {'scipy', 'statsmodels'})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
