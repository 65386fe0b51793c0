"""One file cut into train, validation and test: a seeded draw of groups, 80, 10 and 10 percent of the rows."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

SHARES = (("test", 0.1), ("validation", 0.1))
"""Split -> its share of the rows; the rest is train."""


def cut(groups: Sequence[str], seed: int) -> dict[str, str]:
    """Group -> split, `groups` holding the group of every row; whole groups are drawn until a share is full.

    With three groups or more every split has one. Rows added later move only rows near the ends of a split.
    """
    sizes = Counter(groups)
    drawn = sorted(sizes, key=lambda group: (_draw(group, seed), group))
    home: dict[str, str] = {}
    for place, (split, share) in enumerate(SHARES):
        rows, wanted = 0, max(1, round(share * len(groups)))
        while rows < wanted and len(drawn) > len(SHARES) - place:
            group = drawn.pop()
            home[group] = split
            rows += sizes[group]
    return home | dict.fromkeys(drawn, "train")


def _draw(group: str, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed}\0{group}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
