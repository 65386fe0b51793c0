"""One file cut into train, validation and test: a seeded draw of groups, 80, 10 and 10 percent of the rows."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence

import numpy as np

SHARES = (("test", 0.1), ("validation", 0.1))
"""Split -> its share of the rows; the rest is train."""


def cut(groups: Sequence[int]) -> list[str]:
    """Return the split of each row; `groups` is the draw (`drawn`) of each row's group.

    Each split takes whole groups until its share is full. With three groups or more every split has one. Rows that are
    added later move only rows near the ends of a split.
    """
    drawn_groups = np.asarray(groups, dtype=np.uint64)
    values, place, sizes = np.unique(drawn_groups, return_inverse=True, return_counts=True)
    names = ["train"] * len(values)
    end = len(values)
    for number, (split, share) in enumerate(SHARES):
        rows, wanted = 0, max(1, round(share * len(drawn_groups)))
        while rows < wanted and end > len(SHARES) - number:
            end -= 1
            names[end] = split
            rows += int(sizes[end])
    return [names[at] for at in place]


def first_alike(marks: Sequence[int]) -> Sequence[int]:
    """Return for each row the index of the first row with the same mark, possibly its own."""
    _, first, place = np.unique(np.asarray(marks, dtype=np.int64), return_index=True, return_inverse=True)
    return array("q", first[place].astype(np.int64).tobytes())


def drawn(group: str, seed: int) -> int:
    """Return a group's 64-bit hash for the draw, which identifies the group."""
    text = f"{seed}\0{group}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())
