"""Forced traces: how often the answer follows a prefilled trace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tracedistill.files import canonical, read_lines
from tracedistill.report.attempts import AttemptColumns
from tracedistill.report.format import of_estimate, percent
from tracedistill.report.runs import ArmFacts, RunView
from tracedistill.report.sections.scores import share_of
from tracedistill.report.tables import Row, Section, Table, section

SOUND = ("own", "correct")
"""Forced traces without corruption."""
NOT_OF_THE_TWIN = ("forced", "max_tokens", "vote")
"""Settings in which a forced arm may differ from the unforced arm it was made from."""


def forced(view: RunView) -> Section | None:
    """Report answers that follow the trace, and changes against the same student unforced; None without forced arms."""
    arms = [arm for arm in view.arms if arm.forced]
    changes = [row for arm in arms if (row := _changes(view, arm)) is not None]
    tables = [
        Table(
            "answers that follow the forced trace",
            ("arm", "forced trace", "follow", "95% interval", "n", "undetermined", "follow and right", "answer right",
             "95% interval", "n"),
            tuple(_follows(view.attempts(arm.name), arm) for arm in arms),
            note="Follow: the answer is the one that the forced trace leads to. If the trace does not determine one, "
            "the attempt is undetermined and not in n. Follow and right: the forced trace leads to the gold answer.",
        ),
        Table(
            "compared with the same student unforced",
            ("arm", "unforced arm", "attempts compared", "answer changed", "share", "right to wrong", "wrong to right"),
            tuple(changes),
            note="Attempts at the same problem with the same sample and seed. Changed: another extracted answer.",
        ),
    ]  # fmt: skip
    return section("forced", "Forced traces", [_sentence(view, arm) for arm in arms], tables)


def _sentence(view: RunView, arm: ArmFacts) -> str:
    columns = view.attempts(arm.name)
    n, follow = int((columns.follows >= 0).sum()), int((columns.follows == 1).sum())
    if not n:
        return f"{arm.name}: no forced trace determines an answer, so following cannot be measured."
    if arm.forced in SOUND:
        return f"{arm.name}: the answer follows the forced trace ({arm.forced}) in {follow} of {n} attempts."
    anyway = int(((columns.follows == 1) & columns.right).sum())
    beside = f" In {anyway} of these the trace led to the gold answer, which shows no effect." if anyway else ""
    return (
        f"{arm.name}: after a corrupted trace ({arm.forced}), the student gives the answer that this trace leads to in "
        f"{follow} of {n} attempts ({percent(follow / n)}). The experiment set the trace, not the problem, so this "
        f"share is causal and no mere association.{beside}"
    )


def _follows(columns: AttemptColumns, arm: ArmFacts) -> Row:
    determined = columns.follows >= 0
    follows = share_of(columns.follows[determined] == 1, columns.problem[determined])
    right = share_of(columns.right, columns.problem)
    anyway = int(((columns.follows == 1) & columns.right).sum())
    undetermined = int((~determined).sum())
    return (arm.name, arm.forced, *of_estimate(follows), undetermined, anyway, *of_estimate(right))


def twin_of(view: RunView, arm: ArmFacts) -> ArmFacts | None:
    """Return the unforced arm with otherwise equal settings and the same adapter."""

    def key(other: ArmFacts) -> bytes:
        ignored = (*NOT_OF_THE_TWIN, "tune", "adapter")
        settings = {name: value for name, value in other.settings.items() if name not in ignored}
        adapter = other.name if other.tune is not None else other.adapter
        return canonical([settings, adapter, other.student, other.teacher, str(other.folder)])

    wanted = key(arm)
    return next((other for other in view.arms if other.forced is None and key(other) == wanted), None)


def _changes(view: RunView, arm: ArmFacts) -> Row | None:
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
