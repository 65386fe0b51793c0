"""Closed answer sets: macro-F1, precision and recall per label, and confusions."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tracedistill.files import content_id
from tracedistill.report.format import between, percent
from tracedistill.report.runs import ArmFacts, RunView
from tracedistill.report.tables import Row, Section, Table, section

MATRIX_MOST = 12
"""Most labels for which the whole confusion matrix is shown; above, only the most frequent confusions."""
CONFUSIONS = 20
RESAMPLES = 1_000
NO_LABEL = "no label"

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PredictedLabels:
    """An arm's answers: one entry per attempt."""

    labels: tuple[str, ...]
    """The closed answer set."""
    gold: Ints
    """Index of the gold label."""
    answers: Ints
    """Index of the answered label; len(labels): none of them."""


def labels(view: RunView) -> Section | None:
    """Report every arm's macro-F1, per-label figures and confusions; None if the answer set is open."""
    closed = next((problem.meta.get("labels") for problem in view.problems().values()), None)
    if not closed or len(closed) < 2:
        return None
    names = tuple(str(label) for label in closed)
    arms = [(arm.name, predicted_by(view, arm, names)) for arm in view.arms]
    arms = [(name, predicted) for name, predicted in arms if len(predicted.gold)]
    note = (
        "Macro-F1 is the mean of the labels' F1, so rare labels count as much as frequent ones. An attempt that names "
        "no label, or several, lowers the recall of its gold label and affects no label's precision."
    )
    confusions = [_confusions(name, predicted) for name, predicted in arms]
    return section("labels", "Labels", (note,), [_macro(view, arms), _per_label(arms), *confusions])


def predicted_by(view: RunView, arm: ArmFacts, names: Sequence[str]) -> PredictedLabels:
    """Return gold and answer of every attempt of an arm, as indices of labels."""
    place = {name.casefold(): number for number, name in enumerate(names)}
    problems = view.problems()
    gold: list[int] = []
    places: list[int] = []
    with arm.path.open("rb") as stream:
        for line in stream:
            row = json.loads(line)
            problem = problems.get(row["problem_id"])
            answer = row["answer"]
            wanted = place.get(problem.answers[0].casefold()) if problem is not None and problem.answers else None
            if wanted is None:
                continue  # ungradable: the gold is not a label
            decided = answer["outcome"] in ("correct", "incorrect")
            gold.append(wanted)
            places.append(place.get(str(answer.get("extracted")).casefold(), len(names)) if decided else len(names))
    return PredictedLabels(tuple(names), np.array(gold, dtype=np.int64), np.array(places, dtype=np.int64))


def confusion(predicted: PredictedLabels) -> Ints:
    """Count by gold (row) and answer (column; the last one is for no label)."""
    size = len(predicted.labels) + 1
    return np.bincount(predicted.gold * size + predicted.answers, minlength=size * len(predicted.labels)).reshape(
        -1, size
    )


def macro_f1(counts: Ints) -> float:
    """Average F1 over labels that occur as a gold or an answer; 0 if none does."""
    right = np.diagonal(counts)
    golds, answers = counts.sum(axis=1), counts[:, :-1].sum(axis=0)
    there = golds + answers > 0
    scores = 2 * right[there] / (golds + answers)[there]
    return float(scores.mean()) if len(scores) else 0.0


def _macro(view: RunView, arms: Sequence[tuple[str, PredictedLabels]]) -> Table:
    rows: list[Row] = []
    for name, predicted in arms:
        counts, n = confusion(predicted), len(predicted.gold)
        rng = np.random.default_rng([view.seed, int(content_id("labels", name)[:12], 16)])
        size = len(predicted.labels) + 1
        cells = rng.multinomial(n, counts.reshape(-1) / n, size=RESAMPLES)
        drawn = [macro_f1(cell.reshape(-1, size)) for cell in cells]
        low, high = np.quantile(drawn, (0.025, 0.975))
        right, silent = int(np.diagonal(counts).sum()), int(counts[:, -1].sum())
        rows.append((name, n, percent(right / n), percent(macro_f1(counts)), between(float(low), float(high)), silent))
    return Table(
        "macro-F1",
        ("arm", "attempts", "answer right", "macro-F1", "95% interval", "no label named"),
        tuple(rows),
        note=f"Intervals: {RESAMPLES:,} bootstrap draws of attempts.",
    )


def _per_label(arms: Sequence[tuple[str, PredictedLabels]]) -> Table:
    rows: list[Row] = []
    for name, predicted in arms:
        counts = confusion(predicted)
        for number, label in enumerate(predicted.labels):
            right, golds = int(counts[number, number]), int(counts[number].sum())
            answers = int(counts[:, number].sum())
            shares = [right / answers if answers else None, right / golds if golds else None]
            f1 = 2 * right / (golds + answers) if golds + answers else None
            rows.append((name, label, golds, answers, *(percent(share) for share in (*shares, f1))))
    return Table("each label", ("arm", "label", "golds", "answers", "precision", "recall", "F1"), tuple(rows))


def _confusions(name: str, predicted: PredictedLabels) -> Table:
    counts = confusion(predicted)
    heads = (*predicted.labels, NO_LABEL)
    if len(predicted.labels) <= MATRIX_MOST:
        rows: list[Row] = [
            (label, *(int(count) for count in counts[number])) for number, label in enumerate(predicted.labels)
        ]
        off = {(row, column + 1) for row, column in zip(*np.nonzero(counts), strict=True) if row != column}
        worst = {place for place in off if int(counts[place[0], place[1] - 1]) * 2 > int(counts[place[0]].sum())}
        flagged = frozenset((int(row), int(column)) for row, column in worst)
        return Table(f"confusions of {name}", ("gold", *heads), tuple(rows), flagged, "Rows: gold; columns: answer.")
    pairs = Counter(
        {(predicted.labels[row], heads[column]): int(counts[row, column])
         for row, column in zip(*np.nonzero(counts), strict=True) if row != column}
    )  # fmt: skip
    most = tuple((gold, answer, n) for (gold, answer), n in pairs.most_common(CONFUSIONS))
    return Table(f"most frequent confusions of {name}", ("gold", "answer", "attempts"), most)
