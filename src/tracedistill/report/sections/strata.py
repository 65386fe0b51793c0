"""Strata of problems: by difficulty and by question type, few enough to read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from tracedistill.records import Problem

MOST = 12
"""Most strata of a table; rarer question types are merged."""
RARE = 0.05
"""Share of the problems below which the hardest are merged."""


def by_difficulty(problems: Mapping[str, Problem]) -> dict[str, str]:
    """Return problem id -> stratum; the hardest problems, RARE of all at least, are merged as `7 or more`.

    Difficulty is the problem's own, else its number of gold steps. Empty if that does not vary.
    """
    levels = {key: _level(problem) for key, problem in problems.items()}
    if len(set(levels.values())) < 2:
        return {}
    counts = Counter(levels.values())
    tail, top = 0, max(counts)
    for level in sorted(counts, reverse=True):
        tail, top = tail + counts[level], level
        if tail >= RARE * len(levels):
            break
    last = str(top) if top == max(counts) else f"{top} or more"
    return {key: last if level >= top else str(level) for key, level in levels.items()}


def by_category(problems: Mapping[str, Problem]) -> dict[str, str]:
    """Return problem id -> question type; beyond MOST types the rarest are `others`. Empty if there is only one."""
    counts = Counter(problem.category for problem in problems.values())
    if len(counts) < 2:
        return {}
    kept = {name for name, _ in counts.most_common(MOST if len(counts) <= MOST else MOST - 1)}
    return {key: (p.category or "none given") if p.category in kept else "others" for key, p in problems.items()}


def places_of(ids: Sequence[str], strata: Mapping[str, str]) -> tuple[list[str], npt.NDArray[np.intp]]:
    """Return (names in order, each id's index among them)."""
    names = sorted({strata[problem_id] for problem_id in ids if problem_id in strata}, key=_order)
    known = {name: place for place, name in enumerate(names)}
    return names, np.array([known.get(strata.get(problem_id, ""), -1) for problem_id in ids], dtype=np.intp)


def _level(problem: Problem) -> int:
    return len(problem.gold_steps) if problem.difficulty is None else problem.difficulty


def _order(name: str) -> tuple[int, int, str]:
    """Sort key: numbers by size, then names, merged strata last."""
    first = name.partition(" ")[0]
    if first.removeprefix("-").isdecimal():
        return 0, int(first), name
    return (2 if name in ("others", "none given") else 1), 0, name
