"""Grids: the same arm under several teachers at a fixed student, and with several students at a fixed teacher."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tracedistill import stats
from tracedistill.files import canonical, file_hash, read_json
from tracedistill.report.format import gain, of_estimate, percent
from tracedistill.report.runs import ArmFacts, RunView
from tracedistill.report.sections.scores import paired, right_share, scores_of
from tracedistill.report.tables import Cell, Row, Section, Table, section

AXES = ("teacher", "student")
_PLACE = re.compile(r"@[^@/]*$")
RESAMPLES = 2_000
HEADS = (
    "", "", "arm", "traces right", "judged", "undecided", "answer right", "95% interval", "n",
    "gain over the row above, points",
)  # fmt: skip


def grid(view: RunView) -> Section | None:
    """Build the gradients over teachers and students; None if no two arms differ in one of these alone."""
    note = (
        "Arms that differ only in the teacher, or only in the student. Differences are paired by problem and "
        "descriptive: they are not declared comparisons and are not corrected. The last column shows whether the plans "
        "are the same for all students."
    )
    tables = [_table(view, axis, _families(view.arms, axis)) for axis in AXES]
    return section("grid", "Teachers and students", (note,), tables)


def _families(arms: Sequence[ArmFacts], axis: str) -> list[list[ArmFacts]]:
    """Group arms that differ in this axis only; groups of two or more."""
    families: dict[bytes, list[ArmFacts]] = {}
    for arm in arms:
        if arm.kind != "imported" and getattr(arm, axis) is not None:
            fixed = {name: getattr(arm, name) for name in AXES if name != axis}
            families.setdefault(canonical([fixed, str(arm.folder), _settings(arm)]), []).append(arm)
    return [family for family in families.values() if len({getattr(arm, axis) for arm in family}) > 1]


def _settings(arm: ArmFacts) -> dict[str, Any]:
    """Return the arm's settings without its cell of the grid; an adapter's cell follows the arm's."""
    kept = {key: value for key, value in arm.settings.items() if key not in AXES}
    if kept.get("adapter"):
        kept["adapter"] = _PLACE.sub("", kept["adapter"])
    return kept


def quality(arm: ArmFacts) -> tuple[int, int, int] | None:
    """Return (traces of its teacher judged right, judged, undecided); None if none were judged."""
    path = arm.folder / "validation" / f"{arm.teacher}.report.json"
    if not path.exists():
        return None
    outcomes: Mapping[str, int] = read_json(path)["outcomes"]
    undecided = outcomes.get("undecided", 0)
    return outcomes.get("correct", 0), sum(outcomes.values()) - undecided, undecided


def _table(view: RunView, axis: str, families: Sequence[Sequence[ArmFacts]]) -> Table:
    other = "student" if axis == "teacher" else "teacher"
    rows: list[Row] = []
    flagged: set[tuple[int, int]] = set()
    for family in families:
        ordered = sorted(family, key=lambda arm: _rank(arm, axis))
        same = _same_plans(family) if axis == "student" else ""
        for place, arm in enumerate(ordered):
            columns = view.attempts(arm.name)
            measured = quality(arm)
            step: Cell = None
            if place:
                pair = paired(
                    scores_of(columns, vote=arm.vote),
                    scores_of(view.attempts(ordered[place - 1].name), vote=arm.vote),
                )
                rng = np.random.default_rng([view.seed, place])
                step = gain(stats.crossed_bootstrap(pair.first, pair.second, rng, RESAMPLES))
            if same == "differ":
                flagged.add((len(rows), len(HEADS)))
            rows.append(
                (
                    getattr(arm, axis),
                    getattr(arm, other),
                    arm.name,
                    percent(measured[0] / measured[1]) if measured and measured[1] else None,
                    measured[1] if measured else 0,
                    measured[2] if measured else 0,
                    *of_estimate(right_share(columns, vote=arm.vote)),
                    step,
                    *((same,) if axis == "student" else ()),
                )
            )
    heads = (axis, other, *HEADS[2:], *(("plans of all students",) if axis == "student" else ()))
    return Table(
        f"{axis}s at a fixed {other}",
        heads,
        tuple(rows),
        frozenset(flagged),
        "Sorted by the share of the teacher's judged traces that are right, over all its problems; teachers without "
        "judged traces come first."
        if axis == "teacher"
        else "In the recipe's order; the plans should be the same for every student.",
    )


def _rank(arm: ArmFacts, axis: str) -> float:
    """Rank teachers by the share of their traces judged right, unjudged ones first."""
    measured = quality(arm) if axis == "teacher" else None
    return measured[0] / measured[1] if measured and measured[1] else -1.0


def _same_plans(family: Sequence[ArmFacts]) -> str:
    """Compare the content of the plans shown: `same`, `differ`, or `none shown`."""
    hashes = {file_hash(arm.plans) if arm.plans.exists() else None for arm in family}
    if hashes == {None}:
        return "none shown"
    return "same" if len(hashes) == 1 else "differ"
