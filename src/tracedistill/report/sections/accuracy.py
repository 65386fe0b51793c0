"""Accuracy: raw, completed only, bounds for cut-offs, over samples and over seeds."""

from __future__ import annotations

import numpy as np

from tracedistill import stats
from tracedistill.report.attempts import ANSWERS, FINISHES, TRACES, AttemptColumns
from tracedistill.report.format import between, of_estimate, percent
from tracedistill.report.runs import RunView
from tracedistill.report.sections.scores import Bools, cells_of, scores_of, share_of, votes_of
from tracedistill.report.tables import Row, Section, Table, section

KS = (1, 2, 4, 5, 8, 10, 16, 32, 64, 100)
"""Sample counts k of pass@k; the largest count that every problem has is always added."""


def accuracy(view: RunView) -> Section | None:
    """Build the section on accuracy: missing answers, pass@k, votes, and the spread over seeds."""
    arms = [(arm.name, view.attempts(arm.name)) for arm in view.arms]
    tables = [
        Table(
            "answers right",
            ("arm", "attempts", "problems", "right", "raw", "95% interval", "completed only", "95% interval", "n"),
            tuple((name, *_shares(columns)) for name, columns in arms),
            note="Raw: every attempt counts. Completed only: attempts that were not cut off at their token limit. "
            "Intervals: Wilson; clustered by problem if a problem has several attempts.",
        ),
        _bounds(arms),
        Table(
            "outcomes of the attempts",
            (
                "arm", "attempts", "answer right", "answer wrong", "no answer found", "ungradable", "trace unparsed",
                "cut off", "prompt too long", "errors", "no plan",
            ),
            tuple((name, *_counts(columns)) for name, columns in arms),
            note="Every attempt has one of the first four outcomes. Cut-off, too-long and failed attempts, and those "
            "without a plan, are among them: no attempt leaves the denominator.",
        ),
    ]  # fmt: skip
    several = [(arm.name, view.attempts(arm.name), arm.vote) for arm in view.arms if _samples(view, arm.name) > 1]
    if several:
        tables.append(_pass_at_k(several))
    seeded = [(name, columns) for name, columns in arms if len(np.unique(columns.seed)) > 1]
    return section("accuracy", "Accuracy", (), [*tables, _votes(several), _seeds(seeded)])


def _samples(view: RunView, name: str) -> int:
    cells, _ = cells_of(view.attempts(name))
    return int(np.bincount(cells).max(initial=0))


def _shares(columns: AttemptColumns) -> Row:
    ended = ~columns.cut_off
    raw = share_of(columns.right, columns.problem)
    completed = share_of(columns.right[ended], columns.problem[ended])
    return (columns.n, len(columns.ids), int(columns.right.sum()), *of_estimate(raw)[:2], *of_estimate(completed))


def _bounds(arms: list[tuple[str, AttemptColumns]]) -> Table:
    """Bound the accuracy, since cut-off generations have unknown answers."""
    rows: list[Row] = []
    for name, columns in arms:
        cut_off = int(columns.cut_off.sum())
        ended_right = int((columns.right & ~columns.cut_off).sum())
        bounds = (ended_right, ended_right + cut_off, cut_off)
        shares = [percent(count / columns.n if columns.n else None) for count in bounds]
        rows.append((name, columns.n, cut_off, *shares))
    return Table(
        "bounds on accuracy if every cut-off were wrong / right",
        ("arm", "attempts", "cut off", "all cut-offs wrong", "all cut-offs right", "difference"),
        tuple(rows),
        note="Without a token limit, the arm's accuracy would lie between these two.",
    )


def _counts(columns: AttemptColumns) -> tuple[int, ...]:
    answers = np.bincount(columns.answer, minlength=len(ANSWERS))
    finishes = np.bincount(columns.finish, minlength=len(FINISHES))
    unparsed = int((columns.trace == TRACES.index("unparsed")).sum())
    ends = [int(finishes[FINISHES.index(name)]) for name in ("length", "too-long", "error", "no-plan")]
    return (columns.n, *(int(count) for count in answers), unparsed, *ends)


def _pass_at_k(several: list[tuple[str, AttemptColumns, bool]]) -> Table:
    """Average the unbiased pass@k estimate over problems (and seeds)."""
    estimates = {}
    for name, columns, _ in several:
        cells, _seeds = cells_of(columns)
        attempts = np.bincount(cells)
        right = np.bincount(cells, weights=columns.right).astype(np.int64)
        tried = attempts > 0
        pairs, times = np.unique(np.stack([attempts[tried], right[tried]], axis=1), axis=0, return_counts=True)
        estimates[name] = (pairs, times, int(attempts[tried].min()))
    ks = sorted(
        {k for k in KS if k <= max(least for *_, least in estimates.values())} | {c[2] for c in estimates.values()}
    )
    rows: list[Row] = []
    for name, (pairs, times, least) in estimates.items():
        shares: list[str | None] = []
        for k in ks:
            if k > least:
                shares.append(None)
                continue
            chances = [stats.pass_at_k(int(n), int(right), k) for n, right in pairs]
            shares.append(percent(float(np.average(chances, weights=times))))
        rows.append((name, int(times.sum()), least, *shares))
    return Table(
        "pass@k: at least one of k samples right",
        ("arm", "problems x seeds", "samples each", *(f"pass@{k}" for k in ks)),
        tuple(rows),
        note="Unbiased estimate out of all samples (Chen et al. 2021). `samples each`: the fewest of any problem.",
    )


def _votes(several: list[tuple[str, AttemptColumns, bool]]) -> Table:
    rows: list[Row] = []
    for name, columns, vote in several:
        cells, seeds = cells_of(columns)
        tried: Bools = np.bincount(cells, minlength=len(columns.ids) * len(seeds)) > 0
        votes = votes_of(columns, cells, len(tried))
        share = share_of(votes.right[tried], np.repeat(np.arange(len(columns.ids), dtype=np.int32), len(seeds))[tried])
        rows.append((name, *of_estimate(share), int(votes.tied.sum()), int((votes.silent & tried).sum()), vote))
    return Table(
        "majority's answer",
        ("arm", "majority right", "95% interval", "n", "tied", "no answer at all", "compared by vote"),
        tuple(rows),
        note="The most frequent extracted answer of a problem under one seed; answers are equal if their texts are. Of "
        "tied answers the first given counts. Attempts without an answer do not vote; if none has one, the vote is "
        "wrong.",
    )


def _seeds(seeded: list[tuple[str, AttemptColumns]]) -> Table:
    rows: list[Row] = []
    for name, columns in seeded:
        scores = scores_of(columns)
        per_seed = np.nanmean(scores.values, axis=0)
        problems = stats.clustered_mean(columns.right.astype(float).tolist(), columns.problem.tolist())
        seeds = stats.clustered_mean(columns.right.astype(float).tolist(), columns.seed.tolist())
        rows.append(
            (
                name,
                columns.n,
                len(scores.seeds),
                percent(problems.value),
                of_estimate(problems)[1],
                of_estimate(seeds)[1],
                percent(float(per_seed.std(ddof=1))),
                between(float(per_seed.min()), float(per_seed.max())),
            )
        )
    return Table(
        "over seeds",
        (
            "arm", "attempts", "seeds", "mean", "95% interval, new problems", "95% interval, new seeds", "sd of seeds",
            "lowest to highest seed",
        ),
        tuple(rows),
        note="New problems: these adapters on other problems (clustered by problem). New seeds: other adapters of the "
        "same recipe on these problems (clustered by seed; t with seeds - 1 degrees of freedom: few seeds say little).",
    )  # fmt: skip
