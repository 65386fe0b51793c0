"""One file cut into train, validation and test: a seeded draw of groups, 80, 10 and 10 percent."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

SHARES = (("train", 0.8), ("validation", 0.9), ("test", 1.0))
"""Split -> the number below which a draw falls to it."""


def cut(groups: Sequence[str], seed: int) -> dict[str, str]:
    """Group -> split. Rows added later move no other row, but where a split would be empty without.

    With three groups or more every split has one: the nearest draws fill an empty split.
    """
    draws = {group: _draw(group, seed) for group in dict.fromkeys(groups)}
    home = {group: next(name for name, below in SHARES if draw < below) for group, draw in draws.items()}
    if len(draws) >= len(SHARES):
        for name, nearest in (("test", 1.0), ("validation", 0.85), ("train", 0.0)):
            counts = {each: sum(found == each for found in home.values()) for each, _ in SHARES}
            if not counts[name]:
                free = [group for group in draws if counts[home[group]] > 1]
                home[min(free, key=lambda group: abs(draws[group] - nearest))] = name
    return home


def _draw(group: str, seed: int) -> float:
    return int.from_bytes(hashlib.blake2b(f"{seed}\0{group}".encode(), digest_size=8).digest(), "big") / 2**64
