"""What a report is made of: sections of tables of cells, and how they stand in report.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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


def section_json(section: Section) -> dict[str, Any]:
    """A section as it stands in report.json; `flagged` as sorted [row, column] pairs."""
    return {
        "key": section.key,
        "title": section.title,
        "notes": list(section.notes),
        "tables": [
            {
                "title": table.title,
                "heads": list(table.heads),
                "rows": [list(row) for row in table.rows],
                "flagged": [list(place) for place in sorted(table.flagged)],
                "note": table.note,
            }
            for table in section.tables
        ],
    }


def is_flagged(table: Mapping[str, Any], row: int, column: int) -> bool:
    """Whether a reader must not overlook this cell."""
    return [row, column] in table["flagged"]
