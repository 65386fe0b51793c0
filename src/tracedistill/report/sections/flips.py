"""Compare a run with another: problems whose outcome flipped, and settings that changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tracedistill.recipes.differences import differences
from tracedistill.records import node_name
from tracedistill.report.combine import same_arms
from tracedistill.report.format import listed
from tracedistill.report.runs import ArmFacts, RunView
from tracedistill.report.sections.scores import scores_of
from tracedistill.report.tables import Cell, Row, Section, Table, section

FLIPS_SHOWN = 200
"""Most ids listed per arm and direction; all of them are counted."""
COMPARED = ("libraries", "tracedistill", "python", "params")
"""Manifest entries that are compared between two runs of a node."""


def flips(view: RunView) -> Section | None:
    """Build the section of flipped problems; None if the report has no `against`.

    A problem flips if one arm answered more of its attempts right.
    """
    if view.against is None:
        return None
    counts: list[Row] = []
    ids: list[Row] = []
    settings: list[Row] = []
    for now, before in same_arms(view):
        gained, lost, same = _flips(view, now, before)
        counts.append((now.name, before.name, len(gained), len(lost), same))
        for direction, changed in (("right now, wrong before", gained), ("wrong now, right before", lost)):
            if changed:
                ids.append((now.name, direction, len(changed), listed(changed, FLIPS_SHOWN)))
        settings += [(now.name, *change) for change in _changes(view, now, before)]
    tables = [Table("Number of flipped problems", ("arm", "against", "gained", "lost", "unchanged"), tuple(counts))]
    tables.append(Table("Flipped problems", ("arm", "direction", "n", "problem ids"), tuple(ids)))
    tables.append(Table("Changed settings", ("arm", "setting", "now", "before"), tuple(settings)))
    alone = [arm.name for arm in view.arms if not any(arm in pair for pair in same_arms(view))]
    notes = (
        "" if settings else "No recorded setting differs between the two runs.",
        f"Arms that only one of the runs has: {', '.join(alone)}." if alone else "",
    )
    return section("against", f"Against {view.against}", notes, tables)


def _flips(view: RunView, now: ArmFacts, before: ArmFacts) -> tuple[list[str], list[str], int]:
    scores = [scores_of(view.attempts(arm.name), vote=arm.vote) for arm in (now, before)]
    means = [np.nanmean(score.values, axis=1) for score in scores]
    known = dict(zip(scores[1].ids, means[1].tolist(), strict=True))
    gained, lost, same = [], [], 0
    for problem_id, mean in zip(scores[0].ids, means[0].tolist(), strict=True):
        if problem_id not in known:
            continue
        if mean > known[problem_id]:
            gained.append(problem_id)
        elif mean < known[problem_id]:
            lost.append(problem_id)
        else:
            same += 1
    return gained, lost, same


def _changes(view: RunView, now: ArmFacts, before: ArmFacts) -> Iterator[tuple[str, Cell, Cell]]:
    """Yield the settings of an arm and of every node made for it, from the manifests."""
    yield from _shown_differences({"arm": now.settings}, {"arm": before.settings})
    for stage in ("train", "generate", "score"):
        pair = [view.manifests.get(node_name(stage, arm.name), {}) for arm in (now, before)]
        for part in COMPARED:
            left, right = (manifest.get(part) for manifest in pair)
            if isinstance(left, dict) and isinstance(right, dict) and part == "params":
                left, right = (
                    {key: value for key, value in params.items() if key != "arm"} for params in (left, right)
                )
            if part == "params" or stage == "generate":  # versions once, from the node that matters most
                yield from _shown_differences(left, right, stage if part == "params" else part)


def _shown_differences(now: Any, before: Any, key: str = "") -> Iterator[tuple[str, Cell, Cell]]:
    for setting, old, new in differences(before, now, key=key):
        yield setting, _shown(new), _shown(old)


def _shown(value: Any) -> Cell:
    text = str(value)
    return None if value is None else text if len(text) <= 120 else f"{text[:117]}..."
