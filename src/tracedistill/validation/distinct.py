"""How many different strings there were, in eight bytes for each: ids of a hundred million problems fit into memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

BUFFER = 1 << 16
"""Numbers that are collected before they are sorted in among the others."""


class Distinct:
    """Counts different strings by 64 bits of their hashes; two of 10^8 strings share one with probability 3 in 10^4."""

    def __init__(self) -> None:
        self._known: npt.NDArray[np.uint64] = np.empty(0, dtype=np.uint64)
        self._new: set[int] = set()

    def add(self, text: str) -> None:
        """Count a string, if it is new."""
        data = text.encode("utf-8", "surrogatepass")
        self.add_numbers((int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big"),))

    def add_numbers(self, numbers: Iterable[int]) -> None:
        """Count strings by the numbers that another count has for them."""
        self._new.update(numbers)
        if len(self._new) > BUFFER:
            self._merge()

    def numbers(self) -> list[int]:
        """Return a number for each string, for `add_numbers`."""
        self._merge()
        return [int(number) for number in self._known]

    def count(self) -> int:
        """Return how many different strings there were."""
        self._merge()
        return len(self._known)

    def _merge(self) -> None:
        fresh = np.fromiter(self._new, dtype=np.uint64, count=len(self._new))
        self._known = np.union1d(self._known, fresh)
        self._new.clear()
