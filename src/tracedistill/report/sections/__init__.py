"""The sections of a report: figures as tables that page, Markdown and terminal show alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracedistill.report.runs import RunView

Cell = str | int | float | None
"""Text, a count, a figure; None: there is none (shown as a dash)."""


@dataclass(frozen=True, slots=True)
class Table:
    """One table of a section."""

    title: str
    """What it shows."""
    heads: tuple[str, ...]
    """Column heads; the first column names the row."""
    rows: tuple[tuple[Cell, ...], ...]
    """Cells, formatted for people where they are text."""
    flagged: frozenset[tuple[int, int]] = frozenset()
    """(row, column) of cells that a reader must not overlook: red."""
    note: str = ""
    """How to read it."""


@dataclass(frozen=True, slots=True)
class Section:
    """One part of the report."""

    key: str
    """Stable name, used as anchor and in report.json."""
    title: str
    """Heading."""
    notes: tuple[str, ...] = ()
    """Sentences before the tables."""
    tables: Sequence[Table] = ()
    """Its tables."""


def all_sections(view: RunView) -> list[Section]:
    """Every section that has something to say of this run, in the order in which a reader wants them."""
    # here, since each of these modules needs the records above
    from tracedistill.report.sections.accuracy import accuracy
    from tracedistill.report.sections.association import association
    from tracedistill.report.sections.attribution import attribution
    from tracedistill.report.sections.comparisons import comparisons
    from tracedistill.report.sections.context import context
    from tracedistill.report.sections.costs import costs
    from tracedistill.report.sections.differences import differences
    from tracedistill.report.sections.extras import extras
    from tracedistill.report.sections.forced import forced
    from tracedistill.report.sections.grid import grid
    from tracedistill.report.sections.labels import labels
    from tracedistill.report.sections.sweep import sweep

    makers = (
        accuracy,
        labels,
        comparisons,
        association,
        forced,
        attribution,
        grid,
        costs,
        context,
        differences,
        sweep,
        extras,
    )
    return [section for make in makers if (section := make(view)) is not None]
