"""Context check: whether accuracy falls with more steps and longer prompts, or only with harder problems."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tracedistill import stats
from tracedistill.files import read_jsonl
from tracedistill.records import Trace
from tracedistill.report.attempts import FINISHES, AttemptColumns
from tracedistill.report.format import p_value, percent
from tracedistill.report.runs import ArmFacts, RunView
from tracedistill.report.sections.scores import Bools, Floats
from tracedistill.report.sections.strata import by_difficulty, places_of
from tracedistill.report.tables import Row, Section, Table, section
from tracedistill.stats import Slope

BANDS = 4
"""Number of bands of a dose, as equal in size as ties allow."""


def context(view: RunView) -> Section | None:
    """Build the section on accuracy against steps and prompt tokens, raw and within difficulty."""
    strata = by_difficulty(view.problems())
    slopes: list[Row] = []
    bands: list[Row] = []
    for arm in view.arms:
        columns = view.attempts(arm.name)
        for word, unit, doses, rows in _doses(arm, columns):
            if len(np.unique(doses[rows])) < 2:
                continue
            slopes.append((arm.name, word, *_slopes(columns, doses, rows, strata, unit)))
            bands += [(arm.name, word, *cells) for cells in _bands(columns, doses, rows)]
    note = (
        "Change of accuracy in points per additional step, or per 100 additional prompt tokens; least squares, "
        "clustered by problem. Within difficulty: only problems of the same difficulty (gold steps) are compared."
    )
    if not strata:
        note += " The difficulty of these problems does not vary or is unknown, so there is nothing to control for."
    about = (
        "Harder problems have longer plans and longer prompts. If accuracy falls with length, but not within problems "
        "of the same difficulty, the difficulty is the cause and not the length."
    )
    return section(
        "context",
        "Context check",
        (about,),
        (
            Table(
                "slopes",
                ("arm", "dose", "raw", "95% interval", "p", "n", "within difficulty", "95% interval", "p", "n",
                 "strata"),
                tuple(slopes),
                note=note,
            ),
            Table("accuracy in bands", ("arm", "dose", "band", "n", "answer right"), tuple(bands)),
        ),
    )  # fmt: skip


def _doses(arm: ArmFacts, columns: AttemptColumns) -> list[tuple[str, float, Floats, Bools]]:
    """Return (name, unit of the slope, dose per attempt, included attempts)."""
    attempted = ~np.isin(columns.finish, [FINISHES.index(name) for name in ("too-long", "no-plan", "error")])
    doses: list[tuple[str, float, Floats, Bools]] = []
    shown = _steps_shown(arm, columns)
    if shown is not None:
        doses.append(("steps of the plan shown", 1.0, shown, attempted & (shown > 0)))
    elif not arm.forced and np.any(columns.steps > 0):
        doses.append(("steps of its own trace", 1.0, columns.steps.astype(float), attempted & (columns.steps > 0)))
    doses.append(("prompt tokens", 100.0, columns.tokens_in.astype(float), attempted & (columns.tokens_in > 0)))
    return doses


def _steps_shown(arm: ArmFacts, columns: AttemptColumns) -> Floats | None:
    """Return the steps of the plan shown at each attempt; several plans of a problem go to its samples in turn."""
    if not arm.plans.exists():
        return None
    plans: dict[str, list[int]] = {}
    for trace in read_jsonl(arm.plans, Trace):
        plans.setdefault(trace.problem_id, []).append(len(trace.steps) or trace.text.count("\n") + 1)
    if not columns.ids:
        return None
    counts = [plans.get(problem_id, [0]) for problem_id in columns.ids]
    most = max((len(steps) for steps in counts), default=1)
    table = np.array([[steps[place % len(steps)] for place in range(most)] for steps in counts], dtype=float)
    per_plan = max(1, (int(columns.sample.max(initial=0)) + 1) // most)
    return np.asarray(table[columns.problem, np.minimum(columns.sample // per_plan, most - 1)])


def _slopes(columns: AttemptColumns, doses: Floats, rows: Bools, strata: Mapping[str, str], unit: float) -> Row:
    right = columns.right[rows].astype(float).tolist()
    dose = (doses[rows] / unit).tolist()
    problem = columns.problem[rows]
    raw = stats.slope(right, dose, clusters=problem.tolist())
    if not strata:
        return (*_cells(raw), None, None, None, 0, 0)
    _, places = places_of(columns.ids, strata)
    fixed = stats.slope(right, dose, strata=places[problem].tolist(), clusters=problem.tolist())
    return (*_cells(raw), *_cells(fixed), fixed.strata)


def _cells(slope: Slope) -> Row:
    if slope.value is None:
        return None, None, None, slope.n
    if slope.low is None or slope.high is None:
        return f"{100 * slope.value:+.1f}", None, None, slope.n
    interval = f"{100 * slope.low:+.1f} to {100 * slope.high:+.1f}"
    return f"{100 * slope.value:+.1f}", interval, p_value(slope.p), slope.n


def _bands(columns: AttemptColumns, doses: Floats, rows: Bools) -> list[Row]:
    values, right = doses[rows], columns.right[rows]
    distinct = np.unique(values)
    if len(distinct) <= 2 * BANDS:
        return [_band(float(v), float(v), right[values == v]) for v in distinct]
    edges = np.unique(np.quantile(values, np.linspace(0, 1, BANDS + 1)))
    place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    bands = []
    for band in range(len(edges) - 1):
        here: npt.NDArray[np.bool_] = place == band
        if here.any():
            bands.append(_band(float(values[here].min()), float(values[here].max()), right[here]))
    return bands


def _band(low: float, high: float, right: Bools) -> Row:
    name = f"{low:.0f}" if low == high else f"{low:.0f} to {high:.0f}"
    return name, len(right), percent(float(right.mean()))
