"""The order of rows: every row once per epoch, like lengths together, the same on every machine."""

from __future__ import annotations

import numpy as np
import pytest

from tracedistill.training.batching import LikeLengthSampler, epoch_order

LENGTHS = np.random.default_rng(3).integers(90, 200, size=331)


@pytest.mark.parametrize("window", [1, 4, 8, 1000])
@pytest.mark.parametrize("rows", [1, 7, 8, 320, 331])
def test_every_row_once(rows: int, window: int) -> None:
    order = epoch_order(LENGTHS[:rows], 8, window=window, seed=0, epoch=0)
    assert sorted(order.tolist()) == list(range(rows))


def test_same_arguments_same_order_and_epochs_and_seeds_differ() -> None:
    first = epoch_order(LENGTHS, 8, window=8, seed=1, epoch=2)
    assert np.array_equal(first, epoch_order(LENGTHS, 8, window=8, seed=1, epoch=2))
    assert not np.array_equal(first, epoch_order(LENGTHS, 8, window=8, seed=1, epoch=3))
    assert not np.array_equal(first, epoch_order(LENGTHS, 8, window=8, seed=2, epoch=2))


def test_the_order_is_pinned() -> None:
    # numpy promises this generator's stream; a change here would break resuming across versions
    assert epoch_order(np.arange(10), 2, window=2, seed=0, epoch=0).tolist() == [2, 4, 0, 3, 5, 9, 1, 8, 6, 7]


def test_batches_hold_like_lengths() -> None:
    def padded(window: int) -> int:
        order = epoch_order(LENGTHS, 8, window=window, seed=0, epoch=0)
        return sum(
            int(LENGTHS[order[start : start + 8]].max()) * len(order[start : start + 8])
            for start in range(0, len(order), 8)
        )

    assert padded(8) < 1.06 * LENGTHS.sum() < 1.2 * LENGTHS.sum() < padded(1)


def test_fillers_stand_in_the_last_batch() -> None:
    sampler = LikeLengthSampler(LENGTHS[:21], 8, fillers=3, window=8, seed=0)
    sampler.set_epoch(5)
    order = list(sampler)
    assert len(order) == len(sampler) == 24
    assert sorted(order[:-3]) == list(range(21))
    assert order[-3:] == [21, 22, 23]
