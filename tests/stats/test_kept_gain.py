"""The share of a gain that is kept: by hand, at its ends, and how often its interval holds the truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tracedistill.stats import share_kept


def scores(right: int, n: int) -> list[float]:
    return [1.0] * right + [0.0] * (n - right)


def kept(tuned: int, shown: int, plain: int, n: int = 100, **options: Any) -> Any:
    return share_kept(scores(tuned, n), scores(shown, n), scores(plain, n), np.random.default_rng(0), **options)


@pytest.mark.parametrize(
    ("tuned", "shown", "plain", "share"),
    [(40, 60, 20, 0.5), (60, 60, 20, 1.0), (20, 60, 20, 0.0), (80, 60, 20, 1.5), (10, 60, 20, -0.25)],
)
def test_the_share_by_hand(tuned: int, shown: int, plain: int, share: float) -> None:
    found = kept(tuned, shown, plain)
    assert found.share == pytest.approx(share)
    assert found.low <= found.share <= found.high
    assert found.gain == pytest.approx((shown - plain) / 100)
    assert found.n == 100


def test_what_is_kept_whole_on_every_problem_is_certain() -> None:
    found = kept(60, 60, 20)
    assert found.low == found.high == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("tuned", "shown", "plain", "n"), [(5, 22, 20, 100), (0, 0, 0, 10), (1, 1, 0, 2), (0, 0, 0, 0)]
)
def test_a_gain_that_may_be_none_has_no_share(tuned: int, shown: int, plain: int, n: int) -> None:
    found = kept(tuned, shown, plain, n)
    assert (found.share, found.low, found.high) == (None, None, None)


def test_a_loss_in_context_can_be_kept_too() -> None:
    assert kept(30, 10, 50).share == pytest.approx(0.5)


def test_bad_input_is_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="one score per problem"):
        share_kept([1.0], [1.0, 0.0], [0.0], rng)
    with pytest.raises(ValueError, match="between 0 and 1"):
        share_kept([2.0], [1.0], [0.0], rng)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    """Problems drawn from a known population: plain 30%, shown 60%, tuned 45% right, tied to each other."""
    draw = np.random.default_rng(1)
    held, times = 0, 200
    for _ in range(times):
        hard = draw.random(120)
        plain, shown, tuned = (hard + 0.2 * draw.standard_normal(120) < place for place in (0.30, 0.60, 0.45))
        found = share_kept(tuned.astype(float), shown.astype(float), plain.astype(float), draw, resamples=500)
        if found.low is None:
            times -= 1
            continue
        held += found.low <= TRUE_SHARE <= found.high
    assert held / times > 0.88


def _true_share() -> float:
    draw = np.random.default_rng(2)
    hard = draw.random(400_000)
    plain, shown, tuned = ((hard + 0.2 * draw.standard_normal(400_000) < place).mean() for place in (0.30, 0.60, 0.45))
    return float((tuned - plain) / (shown - plain))


TRUE_SHARE = _true_share()
