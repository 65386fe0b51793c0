"""Sections as JSON values, and their cells as people read them: what page, Markdown and terminal share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tracedistill.report.sections import Cell, Section


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


def cell_text(cell: Cell, dash: str = "-") -> str:
    """A cell for people: thousands apart, three digits of a fraction, a dash where there is nothing."""
    if cell is None:
        return dash
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, int):
        return f"{cell:,}"
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 1000 else f"{cell:.3g}"
    return cell


def is_flagged(table: Mapping[str, Any], row: int, column: int) -> bool:
    """Whether a reader must not overlook this cell."""
    return [row, column] in table["flagged"]
