"""Tables, plots and sections of a report, shown alike by page, Markdown and terminal; report.json has them too."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

Cell = str | bool | int | float | None
"""Text, a count or a figure; None is shown as a dash."""
Row = tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """One table of a section."""

    title: str
    """Caption."""
    heads: tuple[str, ...]
    """Column heads; the first column names the row."""
    rows: tuple[tuple[Cell, ...], ...]
    """Cells; text cells are already formatted."""
    flagged: frozenset[tuple[int, int]] = frozenset()
    """(row, column) of cells to highlight in red."""
    note: str = ""
    """How to read the table."""


@dataclass(frozen=True, slots=True)
class Point:
    """One arm in a plot."""

    name: str
    """Name of the arm."""
    x: float | None
    """Its value on the horizontal axis; None: it has none, and is drawn as a line across."""
    y: float
    """Its share, from 0 to 1."""
    low: float
    """Lower end of the share's 95% interval."""
    high: float
    """Upper end."""


@dataclass(frozen=True, slots=True)
class Plot:
    """Shares against a positive quantity, on a logarithmic axis; only the page draws it."""

    title: str
    """Caption."""
    x: str
    """Label of the horizontal axis."""
    points: tuple[Point, ...]
    """Marks of the plot."""
    note: str = ""
    """How to read it."""


@dataclass(frozen=True, slots=True)
class Section:
    """One part of the report: tables shown alike by page, Markdown and terminal."""

    key: str
    """Stable name, used as anchor on the page."""
    title: str
    """Heading."""
    notes: tuple[str, ...] = ()
    """Sentences before the tables."""
    tables: tuple[Table, ...] = ()
    """Its tables."""
    plot: Plot | None = None
    """A drawing of figures in the tables, shown above them on the page."""


def section(
    key: str, title: str, notes: Iterable[str], tables: Iterable[Table], plot: Plot | None = None
) -> Section | None:
    """Build a section of the notes with text and the tables with rows; None if no table has any."""
    filled = tuple(table for table in tables if table.rows)
    return Section(key, title, tuple(filter(None, notes)), filled, plot) if filled else None
