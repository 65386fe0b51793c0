"""The problems of each step: those of a supervised arm, each repeated as often as it is sampled."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from tracedistill.training.batching import epoch_order


class ProblemSampler(Sampler[int]):
    """Yields row indices of an epoch in the order of `epoch_order`, the last step filled up from the epoch's start.

    TRL's sampler has another order and drops an incomplete last step, so arms would not train on the same problems.

    `draws`: repetitions of each problem. `passes`: repetitions of each step, which TRL's trainers need for
    micro-batches and for repeated updates with one set of completions.
    """

    def __init__(self, rows: int, per_step: int, *, draws: int, passes: int, seed: int) -> None:
        self.rows = rows
        self.per_step = per_step
        self.draws = draws
        self.passes = passes
        self.seed = seed
        self.epoch = 0

    @property
    def steps(self) -> int:
        """Sets of completions of one epoch."""
        return -(-self.rows // self.per_step)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration yields."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.steps * self.per_step * self.draws * self.passes

    def __iter__(self) -> Iterator[int]:
        lengths = np.zeros(self.rows, dtype=np.int64)  # a plain shuffle looks at none of them
        order = epoch_order(lengths, self.per_step, window=1, seed=self.seed, epoch=self.epoch)
        whole = np.resize(order, self.steps * self.per_step)  # wraps around
        for step in whole.reshape(self.steps, self.per_step):
            for _ in range(self.passes):
                for index in step:
                    yield from (int(index) for _ in range(self.draws))
