"""Scores per problem and seed, votes counted, and pairs of arms on common problems."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tracedistill.report.attempts import AttemptColumns, Ints
from tracedistill.stats import Mean, Share, clustered_mean, share

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Votes:
    """The majority answer of every group of attempts (a problem under one seed)."""

    right: Bools
    """Whether it is right; False if no attempt gave an answer."""
    tied: Bools
    """Whether another answer has as many votes; the one given first wins."""
    silent: Bools
    """Whether no attempt gave an answer."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Shares of right answers by problem and seed."""

    ids: tuple[str, ...]
    """Problem of each row."""
    seeds: tuple[int, ...]
    """Seed of each column."""
    values: Floats
    """Share of right answers, shape (problems, seeds); nan without an attempt."""
    samples: int
    """Most attempts of one problem under one seed; 1 if they voted."""


@dataclass(frozen=True, slots=True)
class ArmPair:
    """Two arms on the problems that both attempted completely."""

    first: Floats
    """Scores, shape (problems, seeds)."""
    second: Floats
    """The same problems and seeds."""
    seeds: int
    """Number of seeds of the arm with more; an arm with one seed is paired with each seed of the other."""
    samples: int
    """Most attempts of one problem under one seed."""


def cells_of(columns: AttemptColumns) -> tuple[npt.NDArray[np.intp], tuple[int, ...]]:
    """Return each attempt's (problem, seed) cell as one number, problem major; and the seeds."""
    seeds, place = np.unique(columns.seed, return_inverse=True)
    return columns.problem.astype(np.intp) * max(1, len(seeds)) + place, tuple(int(seed) for seed in seeds) or (0,)


def votes_of(columns: AttemptColumns, cells: npt.NDArray[np.intp], count: int) -> Votes:
    """Return the majority answer of each of `count` cells; answers are equal if their extracted texts are."""
    right, tied, silent = np.zeros(count, bool), np.zeros(count, bool), np.ones(count, bool)
    order = np.lexsort((columns.sample, cells))
    given = order[columns.extracted[order] >= 0]
    if not len(given):
        return Votes(right, tied, silent)
    # one entry per (cell, answer): its count and first position
    keys = cells[given] * (int(columns.extracted.max()) + 1) + columns.extracted[given]
    _, first, times = np.unique(keys, return_index=True, return_counts=True)
    where = cells[given][first]
    ranked = np.lexsort((first, -times, where))
    best = ranked[np.r_[True, where[ranked][1:] != where[ranked][:-1]]]
    right[where[best]] = columns.right[given[first[best]]]
    silent[where[best]] = False
    most = np.zeros(count, np.intp)
    most[where[best]] = times[best]
    tied |= np.bincount(where[times == most[where]], minlength=count) > 1
    return Votes(right, tied, silent)


def scores_of(columns: AttemptColumns, *, vote: bool = False) -> Scores:
    """Return an arm's scores; `vote`: of its majority."""
    cells, seeds = cells_of(columns)
    count = len(columns.ids) * len(seeds)
    attempts = np.bincount(cells, minlength=count)
    if vote:
        sums = votes_of(columns, cells, count).right.astype(float)
        per = np.minimum(attempts, 1)
    else:
        sums, per = np.bincount(cells, weights=columns.right, minlength=count), attempts
    values = np.full(count, np.nan)
    np.divide(sums, per, out=values, where=per > 0)
    return Scores(columns.ids, seeds, values.reshape(len(columns.ids), len(seeds)), int(per.max(initial=0)))


def paired(first: Scores, second: Scores) -> ArmPair:
    """Align rows by problem and columns by seed.

    If both have several seeds: their common seeds. If they share none, or one has a single seed, the problem means of
    the arm with fewer seeds are paired with each seed of the other.
    """
    left, right = first.values, second.values
    if first.ids != second.ids:
        place = {problem_id: row for row, problem_id in enumerate(second.ids)}
        rows = [(row, place[problem_id]) for row, problem_id in enumerate(first.ids) if problem_id in place]
        at = np.array(rows, dtype=np.intp).reshape(-1, 2)
        left, right = left[at[:, 0]], right[at[:, 1]]
    shared = sorted(set(first.seeds) & set(second.seeds))
    if len(first.seeds) > 1 and len(second.seeds) > 1 and len(shared) > 1:
        left = left[:, [first.seeds.index(seed) for seed in shared]]
        right = right[:, [second.seeds.index(seed) for seed in shared]]
    elif len(first.seeds) >= len(second.seeds):
        right = np.repeat(right.mean(axis=1, keepdims=True), left.shape[1], axis=1)
    else:
        left = np.repeat(left.mean(axis=1, keepdims=True), right.shape[1], axis=1)
    whole = ~(np.isnan(left).any(axis=1) | np.isnan(right).any(axis=1))
    return ArmPair(left[whole], right[whole], left.shape[1], max(first.samples, second.samples))


def share_of(ok: Bools, problem: Ints) -> Share | Mean:
    """Return a share with an interval clustered by problem.

    If all are right or all wrong the clustered interval would have no width, so Wilson's on problems is used.
    """
    problems = len(np.unique(problem))
    if problems == len(problem):
        return share(int(ok.sum()), len(ok))
    if ok.all() or not ok.any():
        few = share(problems if ok.all() else 0, problems)
        return Mean(few.value, few.low, few.high, len(ok), problems)
    return clustered_mean(ok.astype(float).tolist(), problem.tolist())


def right_share(columns: AttemptColumns, *, vote: bool = False) -> Share | Mean:
    """Return the share of right answers; `vote`: of right majorities, one per problem and seed."""
    if not vote:
        return share_of(columns.right, columns.problem)
    values = scores_of(columns, vote=True).values
    tried = ~np.isnan(values)
    return share_of(values[tried] > 0, np.nonzero(tried)[0].astype(np.int32))


def as_share(estimate: Share | Mean) -> Share:
    """Convert a mean to a share, its interval clipped to 0..1; without spread the interval is unknown."""
    if isinstance(estimate, Share):
        return estimate
    low, high = max(0.0, estimate.low or 0.0), min(1.0, 1.0 if estimate.high is None else estimate.high)
    return Share(round((estimate.value or 0.0) * estimate.n), estimate.n, estimate.value, low, high)
