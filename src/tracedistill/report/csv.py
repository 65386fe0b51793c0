"""Write rows as CSV that is safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""First characters that a spreadsheet takes for a formula."""


def csv_text(rows: Iterable[Mapping[str, Any]], heads: Sequence[str] = ()) -> str:
    """Write rows as CSV under their own keys (`heads` if there are no rows); formula-like text is escaped."""
    every = [dict(row) for row in rows]
    columns = list(dict.fromkeys(key for row in every for key in row)) or list(heads)
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _safe(value) for key, value in row.items()} for row in every)
    return stream.getvalue()


def _safe(value: Any) -> Any:
    """Prefix formula-like text with an apostrophe; numbers are left alone."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
