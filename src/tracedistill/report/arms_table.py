"""Columns of the arms table and the comparisons, shared by page, Markdown, terminal, CSV and trackers.

To add a column, add a line here: head, value, part.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tracedistill.report.format import between, p_value, percent, points
from tracedistill.report.records import ArmFigures, Comparison, Report
from tracedistill.report.tables import Cell, Table
from tracedistill.stats import JointTable

VOTED = "Arms that vote: n, answer right and its interval count problems once per seed; other columns count attempts."
"""Note below a table of arms in which one votes."""
JOINT_KEY = "joint: trace right & answer right, right & wrong, wrong & right, wrong & wrong; unparsed counts as wrong"
ANSWERS, TRACES, COST = "answers", "the students' own traces", "cost"
"""Parts of the arms table, shown one below the other in a narrow terminal."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the arms table."""

    head: str
    cell: Callable[[ArmFigures], Cell]
    """Cell of an arm's row."""
    part: str
    """Part of the table that the column belongs to."""
    page: bool = True
    """Whether the page shows the column; the mosaics show the others."""
    bar: bool = False
    """Whether the page draws the arm's accuracy as a bar in the background."""


def _judged(cell: Callable[[ArmFigures], Cell]) -> Callable[[ArmFigures], Cell]:
    """Return the cell if the arm's traces are judged, else a dash."""
    return lambda arm: cell(arm) if arm.judges_traces else None


def _given(trace: str) -> Callable[[ArmFigures], Cell]:
    """Return P(answer right | trace); `trace` is `ok` or `wrong`."""
    return _judged(lambda arm: percent(getattr(arm.association, f"answer_if_trace_{trace}").value))


def _right_traces(arm: ArmFigures) -> Cell:
    return arm.trace_correct if arm.judges_traces else "not judged" if arm.trace_not_judged else None


def _cut_off(arm: ArmFigures) -> Cell:
    """Return the count of cut-offs, with the other abnormal endings of attempts."""
    others = ((arm.too_long, "too long"), (arm.errors, "errors"), (arm.no_plan, "without a plan"))
    counts = [f"(+{count} {what})" for count, what in others if count]
    return " ".join([str(arm.cut_off), *counts]) if counts else arm.cut_off


def _decimals(value: float | None, digits: int) -> Cell:
    return f"{value:.{digits}f}" if value else None


COLUMNS = (
    Column("n", lambda arm: arm.n, ANSWERS),
    Column("answer right", lambda arm: f"{arm.correct} ({percent(arm.accuracy.raw.value)})", ANSWERS, bar=True),
    Column("95% interval", lambda arm: between(arm.accuracy.raw.low, arm.accuracy.raw.high), ANSWERS),
    Column("candidate right", lambda arm: arm.candidate, ANSWERS),
    Column("missing", lambda arm: arm.missing, ANSWERS),
    Column("ungradable", lambda arm: arm.ungradable, ANSWERS),
    Column("cut off", _cut_off, ANSWERS),
    Column("trace right", _right_traces, TRACES),
    Column("unparsed", _judged(lambda arm: arm.trace_unparsed), TRACES),
    Column("joint", _judged(lambda arm: " / ".join(map(str, arm.joint))), TRACES, False),
    Column("P(a|t right)", _given("ok"), TRACES, False),
    Column("P(a|t wrong)", _given("wrong"), TRACES, False),
    Column("tokens in", lambda arm: arm.tokens_in or None, COST),
    Column("tokens out", lambda arm: arm.tokens_out or None, COST),
    Column("seconds", lambda arm: _decimals(arm.seconds, 1), COST),
    Column("training seconds", lambda arm: _decimals(arm.training_seconds, 0), COST),
)
"""All columns after the arm's name."""
PAGE_COLUMNS = tuple(column for column in COLUMNS if column.page)


def arms_table(report: Report, *parts: str) -> Table:
    """Return the arms with the columns of these parts (default: all parts)."""
    columns = [column for column in COLUMNS if not parts or column.part in parts]
    traces = any(column.part == TRACES for column in columns)
    notes = [VOTED] * any(arm.vote for arm in report.arms) + [JOINT_KEY] * traces
    rows = tuple((counted_label(arm), *(column.cell(arm) for column in columns)) for arm in report.arms)
    return Table(", ".join(parts), ("arm", *(column.head for column in columns)), rows, note=" ".join(notes))


def counted_label(arm: ArmFigures) -> str:
    """Return the arm's name for tables of counts, with the number of attempts of a vote."""
    return f"{arm.label} (vote of {arm.attempts} attempts)" if arm.vote else arm.label


# ---- comparisons

COMPARED: Mapping[str, Callable[[Comparison], Cell]] = {
    "points": lambda entry: points(entry.difference),
    "95% interval": lambda entry: between(entry.low, entry.high),
    "only 1st / 2nd right": lambda entry: f"{entry.only_first} / {entry.only_second}",
    "p": lambda entry: p_value(entry.p),
    "p (Holm)": lambda entry: p_value(entry.p_holm),
}
"""Head -> cell of a comparison's row, after the two arms' names."""


def comparisons_table(report: Report) -> Table:
    """Return the declared comparisons."""
    labels = labels_of(report)
    rows = tuple(
        (f"{labels[entry.first]} - {labels[entry.second]}", *(cell(entry) for cell in COMPARED.values()))
        for entry in report.comparisons
    )
    return Table("paired by problem; Holm over this family", ("first - second", *COMPARED), rows)


def labels_of(report: Report) -> dict[str, str]:
    """Map arm names to the labels that tables show."""
    return {arm.name: arm.label for arm in report.arms}


# ---- for spreadsheets and trackers: one figure per column


def arm_row(arm: ArmFigures) -> dict[str, Any]:
    """Return all figures of one arm, flat: shares with interval and n, and the trace-by-answer counts by name."""
    row = {name: getattr(arm, name) for name in _flat(ArmFigures)}
    file = row.pop("file")
    accuracy, given = arm.accuracy, arm.association
    shares = {
        "accuracy": accuracy.raw,
        "completed": accuracy.completed,
        "if_cut_off_wrong": accuracy.if_cut_off_wrong,
        "if_cut_off_right": accuracy.if_cut_off_right,
        "p_answer_given_trace_ok": given.answer_if_trace_ok,
        "p_answer_given_trace_wrong": given.answer_if_trace_wrong,
    }
    for name, share in shares.items():
        row |= {name: share.value, f"{name}_low": share.low, f"{name}_high": share.high, f"{name}_n": share.n}
    interval = given.odds_ratio_interval
    row |= {name: getattr(given, name) for name in _flat(JointTable)}
    row |= {"odds_ratio_low": interval and interval.low, "odds_ratio_high": interval and interval.high}
    return {**row, "file": file}


def comparison_row(entry: Comparison) -> dict[str, Any]:
    """Return all scalar figures of one comparison."""
    return {name: getattr(entry, name) for name in _flat(Comparison)}


def _flat(kind: type[Any]) -> tuple[str, ...]:
    """Return the fields of a record that hold text or a single figure."""
    plain = ("str", "int", "float", "bool", "Kind")
    return tuple(item.name for item in dataclasses.fields(kind) if str(item.type).removesuffix(" | None") in plain)


COMPARISON_HEADS = _flat(Comparison)
