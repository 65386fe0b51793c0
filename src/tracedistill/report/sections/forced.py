"""Forced traces: how often the answer follows a prefilled trace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tracedistill.files import canonical, read_lines
from tracedistill.report.attempts import AttemptColumns
from tracedistill.report.format import of_mean, of_share, percent
from tracedistill.report.records import Cell, Section, Table
from tracedistill.report.runs import ArmFacts, RunView
from tracedistill.report.sections.scores import share_of
from tracedistill.stats import Share

SOUND = ("own", "correct")
"""Forced traces without corruption."""
NOT_OF_THE_TWIN = ("forced", "max_tokens", "vote")
"""Settings in which a forced arm may differ from the unforced arm it was made from."""


def forced(view: RunView) -> Section | None:
    """Report answers that follow the trace, and changes against the same student unforced; None without forced arms."""
    arms = [arm for arm in view.arms if arm.forced]
    if not arms:
        return None
    changes = [row for arm in arms if (row := _changes(view, arm)) is not None]
    tables = [
        Table(
            "answers that follow the forced trace",
            (
                "arm",
                "forced trace",
                "follow",
                "95% interval",
                "n",
                "cannot be told",
                "follow and right",
                "answer right",
                "95% interval",
                "n",
            ),
            tuple(_follows(view.attempts(arm.name), arm) for arm in arms),
            note="Follows: the answer is the one that the forced trace leads to, as far as the trace determines one; "
            "if it does not, it is undetermined and not in n. Follow and right: the forced trace leads to the "
            "gold answer.",
        )
    ]
    if changes:
        tables.append(
            Table(
                "against the same student unforced",
                ("arm", "unforced arm", "attempts compared", "answer changed", "share", "right to wrong",
                 "wrong to right"),
                tuple(changes),
                note="Attempts at the same problem with the same sample and seed; changed: another extracted answer.",
            )
        )  # fmt: skip
    return Section("forced", "Forced traces", tuple(_said(view, arm) for arm in arms), tuple(tables))


def _said(view: RunView, arm: ArmFacts) -> str:
    columns = view.attempts(arm.name)
    told = columns.follows >= 0
    n, follow = int(told.sum()), int((columns.follows == 1).sum())
    if not n:
        return f"{arm.name}: no forced trace determines an answer, so that nothing can be said of following."
    if arm.forced in SOUND:
        return f"{arm.name}: the answer follows the forced trace ({arm.forced}) in {follow} of {n} attempts."
    anyway = int(((columns.follows == 1) & columns.right).sum())
    beside = f" In {anyway} of these it led to the gold answer all the same, which shows no cause." if anyway else ""
    return (
        f"{arm.name}: put behind a corrupted trace ({arm.forced}), the student gives the answer that this trace leads "
        f"to in {follow} of {n} attempts ({percent(follow / n)}). The trace was set by us and not by the problem, so "
        f"this share is what the trace causes, not what goes with it.{beside}"
    )


def _follows(columns: AttemptColumns, arm: ArmFacts) -> tuple[Cell, ...]:
    told = columns.follows >= 0
    follows = share_of(columns.follows[told] == 1, columns.problem[told])
    right = share_of(columns.right, columns.problem)
    anyway = int(((columns.follows == 1) & columns.right).sum())
    cells = [of_share(estimate) if isinstance(estimate, Share) else of_mean(estimate) for estimate in (follows, right)]
    return (arm.name, arm.forced, *cells[0], int((~told).sum()), anyway, *cells[1])


def twin_of(view: RunView, arm: ArmFacts) -> ArmFacts | None:
    """Return the unforced arm with otherwise equal settings and the same adapter."""

    def key(arm_facts: ArmFacts) -> bytes:
        kept = {
            key: value for key, value in arm_facts.settings.items() if key not in (*NOT_OF_THE_TWIN, "tune", "adapter")
        }
        adapter = arm_facts.name if arm_facts.tune is not None else arm_facts.adapter
        return canonical([kept, adapter, arm_facts.student, arm_facts.teacher, str(arm_facts.folder)])

    wanted = key(arm)
    return next((other for other in view.arms if other.forced is None and key(other) == wanted), None)


def _changes(view: RunView, arm: ArmFacts) -> tuple[Cell, ...] | None:
    twin = twin_of(view, arm)
    if twin is None:
        return None
    # answer codes are per arm, so the texts are needed; forced arms are few
    free = _answers(view, twin)
    ours = _answers(view, arm)
    common = [(answer, free[key]) for key, answer in ours.items() if key in free]
    changed = np.array([a[0] != b[0] for a, b in common], dtype=bool)
    lost = sum(b[1] and not a[1] for a, b in common)
    won = sum(a[1] and not b[1] for a, b in common)
    n = len(common)
    return arm.name, twin.name, n, int(changed.sum()), percent(float(changed.mean())) if n else None, lost, won


def _answers(view: RunView, arm: ArmFacts) -> dict[tuple[str, int, int], tuple[str | None, bool]]:
    """Return (problem, sample, seed) -> (extracted answer, whether it is right)."""
    out: dict[tuple[str, int, int], tuple[str | None, bool]] = {}
    for _, row in read_lines(arm.path):
        if view.wanted is None or row["problem_id"] in view.wanted:
            answer: Mapping[str, Any] = row["answer"]
            key = (row["problem_id"], row.get("sample", 0), row.get("seed", 0))
            out[key] = (answer["extracted"], answer["outcome"] == "correct")
    return out
