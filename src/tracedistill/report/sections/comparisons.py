"""Comparisons of arms: paired by problem, over seeds if there are several, corrected over the declared family."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from tracedistill import stats
from tracedistill.files import content_id
from tracedistill.report.findings import named
from tracedistill.report.format import between, p_value
from tracedistill.report.records import Comparison
from tracedistill.report.runs import ArmFacts, RunView
from tracedistill.report.sections.scores import ArmPair, Scores, paired, scores_of
from tracedistill.report.tables import Row, Section, Table
from tracedistill.stats import Tested

KEY, TITLE = "comparisons", "Comparisons and their power"
ALPHA = 0.05
POWER = 0.8
RESAMPLES = 10_000
CONFIDENCE = 0.95

MCNEMAR = "exact McNemar"
MEANS = "paired t on per-problem means"
CROSSED = "crossed t over problems and seeds"


def compare(view: RunView) -> list[Comparison]:
    """Compare each declared pair that can be paired, with Holm over all.

    A pair of arms without a common problem is not in the family: see `not_compared`.
    """
    facts = {arm.name: arm for arm in view.arms}
    pairs = [pair for pair in _pairs(view) if len(pair[2].first)]
    out = []
    for first, second, pair, seeds in pairs:
        # a generator per pair: its figures do not depend on the other pairs
        rng = np.random.default_rng([view.seed, int(content_id(first, second)[:12], 16)])
        tuned = {name: count for name, count in seeds.items() if facts[name].kind in ("tuned", "served")}
        out.append(_comparison(facts[first], facts[second], pair, rng, len(pairs), tuned))
    adjusted = stats.holm([entry.p for entry in out])
    return [replace(entry, p_holm=p_holm) for entry, p_holm in zip(out, adjusted, strict=True)]


def compare_pair(view: RunView, first: str, second: str) -> Comparison | None:
    """Compare two arms alone, a family of one; None if they have no problems in common."""
    alone = replace(view, comparisons=((first, second),))
    return next(iter(compare(alone)), None)


def not_compared(view: RunView) -> list[tuple[str, str]]:
    """Return declared pairs of arms without common problems, which are not tested."""
    return [(first, second) for first, second, pair, _ in _pairs(view) if not len(pair.first)]


def _pairs(view: RunView) -> Iterator[tuple[str, str, ArmPair, dict[str, int]]]:
    """Yield (first, second, common scores, seeds of each) of the declared pairs whose arms have attempts."""
    facts = {arm.name: arm for arm in view.arms}
    kept: dict[str, Scores] = {}
    for names in view.comparisons:
        if not facts.keys() >= set(names):
            continue
        for name in names:
            if name not in kept:
                kept[name] = scores_of(view.attempts(name), vote=facts[name].vote)
        first, second = (kept[name] for name in names)
        yield *names, paired(first, second), {name: len(kept[name].seeds) for name in names}


def _comparison(
    first: ArmFacts, second: ArmFacts, pair: ArmPair, rng: np.random.Generator, family: int, tuned: Mapping[str, int]
) -> Comparison:
    """Return the comparison before Holm. `tuned`: seeds by tuned arm."""
    left, right = pair.first.mean(axis=1), pair.second.mean(axis=1)
    n, alpha = len(left), ALPHA / family
    only_first, only_second = _only(pair)
    if pair.seeds > 1:
        difference = stats.crossed_bootstrap(pair.first, pair.second, rng, RESAMPLES, CONFIDENCE)
    else:
        difference = stats.paired_bootstrap(left, right, rng, RESAMPLES, CONFIDENCE)
    test, tested = tested_by(pair)
    discordance: float | None = None
    if test == MCNEMAR:
        discordance = (only_first + only_second) / n if n else 0.0
        mde = stats.minimum_detectable_effect(n, discordance, ALPHA, POWER, family)
    else:
        mde = stats.detectable_by_error(tested.error, tested.df, alpha, POWER)
    return Comparison(
        first=first.name,
        second=second.name,
        n=n,
        difference=difference.estimate,
        low=difference.low,
        high=difference.high,
        only_first=only_first,
        only_second=only_second,
        test=test,
        p=tested.p,
        p_holm=1.0,
        mde=mde,
        discordance=discordance,
        alpha=alpha,
        power=POWER,
        family=family,
        seeds=pair.seeds,
        samples=pair.samples,
        vote=tuple(arm.name for arm in (first, second) if arm.vote),
        single_seed=1 in tuned.values(),
        about=_about(tuned),
    )


def tested_by(pair: ArmPair) -> tuple[str, Tested]:
    """Choose the test for a pair; return its name and result (exact McNemar has no standard error)."""
    if pair.seeds == 1 and pair.samples <= 1:
        return MCNEMAR, Tested(stats.mcnemar_exact(*_only(pair)), 0.0, 0.0)
    return CROSSED if pair.seeds > 1 else MEANS, stats.crossed_test(pair.first, pair.second)


def _only(pair: ArmPair) -> tuple[int, int]:
    """Count the problems answered better by the first arm, and by the second."""
    gap = pair.first.mean(axis=1) - pair.second.mean(axis=1)
    # equal means over seeds may differ by rounding
    return int((gap > 1e-9).sum()), int((gap < -1e-9).sum())


def _about(tuned: Mapping[str, int]) -> str:
    """Return the scope of a finding. `tuned`: seeds by tuned arm; a single seed speaks for one adapter only."""
    if not tuned:
        return "this student with these prompts"
    if 1 in tuned.values():
        few = [name for name, seeds in tuned.items() if seeds == 1]
        return "these adapters (one seed)" if len(few) == len(tuned) else f"this adapter of {few[0]} (one seed)"
    return f"adapters trained this way ({min(tuned.values())} seeds)"


def comparisons(view: RunView) -> Section | None:
    """Build the section on each test, its scope and its power; None if no pair was declared."""
    entries, apart = compare(view), not_compared(view)
    left_out = (f"No common problems, so not compared and not in the family: {named(apart)}.",) if apart else ()
    if not entries:
        return Section(KEY, TITLE, left_out, ()) if apart else None
    rows: list[Row] = []
    power: list[Row] = []
    for entry in entries:
        name = f"{entry.first} - {entry.second}"
        rows.append(
            (
                name,
                entry.n,
                entry.seeds,
                entry.samples,
                f"{100 * entry.difference:+.1f}",
                between(entry.low, entry.high),
                f"{entry.only_first} / {entry.only_second}",
                entry.test,
                p_value(entry.p),
                p_value(entry.p_holm),
                entry.about,
            )
        )
        observed = entry.discordance
        power.append(
            (
                name,
                entry.n,
                None if entry.mde is None else f"{100 * entry.mde:.1f}",
                f"{entry.power:.0%}",
                f"{entry.alpha:.4g}",
                "from the observed standard error" if observed is None else f"{observed:.1%} (the observed one)",
            )
        )
    notes = [
        (
            f"Paired by problem; Holm correction over {len(entries)} declared comparisons. With one attempt per "
            "problem and arm: exact McNemar test and paired bootstrap. Several samples or seeds are never pooled as if "
            "they were problems: their means per problem are compared, and seeds are crossed with problems."
        ),
    ]
    if any(entry.single_seed for entry in entries):
        notes.append(
            "If a tuned arm has one seed, a finding is about these adapters only: another seed of the same recipe can "
            "move an arm by several points. Set training.seeds to 3 or more to draw conclusions about the training "
            "data."
        )
    notes += left_out
    voted = sorted({name for entry in entries for name in entry.vote})
    if voted:
        notes.append(f"Compared by majority vote, not by single attempts: {', '.join(voted)}.")
    return Section(
        KEY,
        TITLE,
        tuple(notes),
        (
            Table(
                "tests",
                ("first - second", "n", "seeds", "samples", "points", "95% interval", "only 1st / 2nd", "test", "p",
                 "p (Holm)", "scope"),
                tuple(rows),
                note="`only`: problems that one arm answers better. Every test generalises to problems like these.",
            ),
            Table(
                "power",
                ("first - second", "n", "smallest detectable, points", "power", "alpha after Holm",
                 "assumed discordance"),
                tuple(power),
                note="The smallest true difference that this test detects with that power; a dash: not even the "
                "largest. A null result says little about smaller differences. The discordance is the one observed "
                "here.",
            ),
        ),
    )  # fmt: skip
