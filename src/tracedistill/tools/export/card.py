"""Markdown with a YAML head, as hubs read it; data cannot break out of its place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from tracedistill.shown import markdown_block, markdown_cell, visible

CUT = 1500
"""Most characters of a text on a card."""


def front_matter(values: Mapping[str, Any]) -> str:
    """Write the YAML head of a card."""
    return f"---\n{yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)}---\n"


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Write the lines of a Markdown table; none if there are no rows."""
    body = [f"| {' | '.join(markdown_cell(cell) for cell in row)} |" for row in rows]
    if not body:
        return []
    return [f"| {' | '.join(map(markdown_cell, heads))} |", "|" + "---|" * len(heads), *body, ""]


def fenced(text: str, language: str = "text") -> list[str]:
    """Write the text as a code block that its backticks cannot close; code is never cut."""
    cut = len(text) > CUT and language == "text"
    excerpt = f"{text[:CUT]} [... {len(text) - CUT} more characters]" if cut else text
    return [markdown_block(excerpt, language), ""]


def percent(part: int, whole: int) -> str:
    """Format `12 (34.5%)`."""
    return f"{part} ({100 * part / whole:.1f}%)" if whole else str(part)


def counted(n: int, what: str) -> str:
    """Format `1 row`, `2 rows`."""
    return f"{n} {what}{'' if n == 1 else 's'}"


def page(head: Mapping[str, Any], lines: Iterable[str]) -> str:
    """Write the whole card."""
    text = visible("\n".join(lines))
    return f"{front_matter(head)}\n{text.rstrip()}\n"
