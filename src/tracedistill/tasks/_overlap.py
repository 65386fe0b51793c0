"""Problems that occur twice, in one split or in two, and seeded samples independent of the file's order."""

from __future__ import annotations

import hashlib
import heapq
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tracedistill.records import Problem

# what people vary in writing; signs of arithmetic and points between digits tell problems apart. One set of characters
# first, which the engine looks for many times faster than for alternatives
_PUNCTUATION = re.compile(r"""[.,;:!?…"'`“”‘’«»](?:(?<=["'`“”‘’«»])|(?<!\d.)|(?!\d))""")


@dataclass(frozen=True, slots=True)
class Repeat:
    """One text that several problems share."""

    ids: tuple[str, ...]
    """Problems of the one split, in order."""
    others: tuple[str, ...]
    """Problems of the other split that are the same; empty for duplicates within one."""
    same_answers: bool
    """Whether all of them have the same gold answers; if not, the gold contradicts itself."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """Overlap of two splits."""

    n: int
    """Problems of the first split (test)."""
    found: int
    """Of these, problems that occur in the second (train)."""
    repeats: tuple[Repeat, ...]
    """Each shared text once; `ids` of the first split, `others` of the second."""


def normal_text(problem: Problem) -> str:
    """Return question, context and choices as compared: NFKC, lower-case, single spaces, no punctuation."""
    return same_text((*problem.context, problem.question, *(text for _, text in problem.choices)))


def same_text(parts: Sequence[str]) -> str:
    """Return the normal form of texts that differ only in case, spaces and punctuation."""
    whole = unicodedata.normalize("NFKC", "\n".join(parts)).casefold()
    return " ".join(_PUNCTUATION.sub(" ", whole).split())


def duplicates(problems: Iterable[Problem]) -> list[Repeat]:
    """Return texts that several problems of one split share, in order of first appearance."""
    groups = _grouped(problems)
    return [Repeat(tuple(p.problem_id for p in group), (), agree(group)) for group in groups.values() if len(group) > 1]


def overlap(test: Iterable[Problem], train: Iterable[Problem]) -> Overlap:
    """Return which test problems occur in train, by normalised question and context (not by answer)."""
    tested, trained = _grouped(test), _grouped(train)
    repeats = tuple(
        Repeat(
            tuple(p.problem_id for p in group),
            tuple(p.problem_id for p in trained[key]),
            agree([*group, *trained[key]]),
        )
        for key, group in tested.items()
        if key in trained
    )
    return Overlap(sum(map(len, tested.values())), sum(len(repeat.ids) for repeat in repeats), repeats)


def sample(problems: Sequence[Problem], n: int, seed: int) -> list[Problem]:
    """Return n of the problems, in order, or all if there are fewer; the choice depends on seed and ids alone.

    The first n of a larger sample are the smaller sample with the same seed. Raises ValueError for a negative n.
    """
    return [problems[index] for index in sample_ids([problem.problem_id for problem in problems], n, seed)]


def sample_ids(ids: Sequence[str], n: int | None, seed: int) -> list[int]:
    """Return the indices of n of the ids, in order, drawn as `sample` draws; None: all of them."""
    if n is not None and n < 0:
        raise ValueError(f"a sample of {n} problems")
    if n is None or n >= len(ids):
        return list(range(len(ids)))
    return sorted(heapq.nsmallest(n, range(len(ids)), key=lambda index: _draw(seed, ids[index])))


def _draw(seed: int, problem_id: str) -> bytes:
    return hashlib.blake2b(f"{seed}\0{problem_id}".encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _grouped(problems: Iterable[Problem]) -> dict[str, list[Problem]]:
    groups: dict[str, list[Problem]] = {}
    for problem in problems:
        groups.setdefault(normal_text(problem), []).append(problem)
    return groups


def agree(group: Sequence[Problem]) -> bool:
    """Return whether problems have the same gold answers, in any order and case."""
    return len({tuple(sorted(answer.casefold().strip() for answer in p.answers)) for p in group}) == 1
