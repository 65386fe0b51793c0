"""Count distinct strings in eight bytes each: ids of a hundred million problems fit into memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

BUFFER = 1 << 16
"""Numbers collected before they are merged into the sorted others."""


class Distinct:
    """Counts distinct strings by 64-bit hashes; two of 10^8 strings collide with probability 3 in 10^4."""

    def __init__(self) -> None:
        self._known: npt.NDArray[np.uint64] = np.empty(0, dtype=np.uint64)
        self._new: set[int] = set()

    def add(self, text: str) -> None:
        """Add a string."""
        data = text.encode("utf-8", "surrogatepass")
        self.add_numbers((int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big"),))

    def add_numbers(self, numbers: Iterable[int]) -> None:
        """Add the numbers of another counter."""
        self._new.update(numbers)
        if len(self._new) > BUFFER:
            self._merge()

    def numbers(self) -> list[int]:
        """Return a number per distinct string, for `add_numbers`."""
        self._merge()
        return [int(number) for number in self._known]

    def count(self) -> int:
        """Return the number of distinct strings."""
        self._merge()
        return len(self._known)

    def _merge(self) -> None:
        fresh = np.fromiter(self._new, dtype=np.uint64, count=len(self._new))
        self._known = np.union1d(self._known, fresh)
        self._new.clear()
