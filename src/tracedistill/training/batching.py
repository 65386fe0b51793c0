"""The order of rows: seeded per epoch, every row once, optionally in batches of similar length."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from torch.utils.data import Sampler

WINDOW = 4
"""Batches among which rows are sorted by length. A larger window means less padding and less mixed batches. On 128
quickstart rows (11% padding when plainly shuffled) a window of 8 saved 3% to 10% of the processor time; held-out loss
over three seeds was 0.176 to 0.179 against 0.151 to 0.190, too few to tell which is better."""


def epoch_order(
    lengths: npt.NDArray[np.int64], batch_size: int, *, window: int, seed: int, epoch: int
) -> npt.NDArray[np.int64]:
    """Return row indices of one epoch, each once; consecutive slices of `batch_size` are the batches.

    Rows are shuffled, cut into windows of `window` batches, sorted by length (tokens) inside each window, and the
    batches shuffled; a last batch that is not full stays last. Same arguments, same order, on every machine.
    `window` 1 is a plain shuffle.
    """
    generator = np.random.Generator(np.random.PCG64([seed, epoch]))
    order = generator.permutation(len(lengths))
    if window <= 1:
        return order
    full = len(order) - len(order) % batch_size
    body = order[:full]
    span = window * batch_size
    for start in range(0, full, span):
        piece = body[start : start + span]
        body[start : start + span] = piece[np.argsort(lengths[piece], kind="stable")]
    batches = body.reshape(-1, batch_size)
    return np.concatenate([batches[generator.permutation(len(batches))].reshape(-1), order[full:]])


class LikeLengthSampler(Sampler[int]):
    """Yields row indices in `epoch_order`, then the filler rows that complete the last batch.

    Length: rows + fillers. `set_epoch` chooses the epoch; a new sampler set to the same epoch yields the same order,
    which a resumed run relies on.
    """

    def __init__(
        self, lengths: npt.NDArray[np.int64], batch_size: int, *, fillers: int, window: int, seed: int
    ) -> None:
        """Sample rows of similar length.

        `lengths`: tokens per row, without fillers, which are the dataset's last rows.
        """
        self.lengths = lengths
        self.batch_size = batch_size
        self.fillers = fillers
        self.window = window
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration yields."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths) + self.fillers

    def __iter__(self) -> Iterator[int]:
        order = epoch_order(self.lengths, self.batch_size, window=self.window, seed=self.seed, epoch=self.epoch)
        for index in order:
            yield int(index)
        yield from range(len(self.lengths), len(self))
