"""Cards: Markdown with a YAML head, as hubs read it. Data is escaped, so that it cannot add markup."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from tracedistill.output import markdown_block, markdown_cell, visible

CUT = 1500
"""Most characters of a text on a card."""


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Write a Markdown table; empty if there are no rows."""
    body = [f"| {' | '.join(markdown_cell(cell) for cell in row)} |" for row in rows]
    if not body:
        return ""
    return "\n".join([f"| {' | '.join(map(markdown_cell, heads))} |", "|" + "---|" * len(heads), *body])


def fenced(text: str, language: str = "text") -> str:
    """Write the text as a code block that its backticks cannot close; code is never cut."""
    cut = len(text) > CUT and language == "text"
    return markdown_block(f"{text[:CUT]} [... {len(text) - CUT} more characters]" if cut else text, language)


def bullets(items: Iterable[str]) -> str:
    """Write a Markdown list; empty if there are no items."""
    return "\n".join(f"- {item}" for item in items)


def percent(part: int, whole: int) -> str:
    """Format `12 (34.5%)`."""
    return f"{part} ({100 * part / whole:.1f}%)" if whole else str(part)


def counted(n: int, what: str) -> str:
    """Format `1 row`, `2 rows`."""
    return f"{n} {what}{'' if n == 1 else 's'}"


def page(head: Mapping[str, Any], blocks: Iterable[str]) -> str:
    """Write the whole card: its YAML head, then the blocks (headings, paragraphs, tables) with blank lines between."""
    front_matter = yaml.safe_dump(dict(head), sort_keys=False, allow_unicode=True)
    text = visible("\n\n".join(filter(None, blocks)))
    return f"---\n{front_matter}---\n\n{text}\n"
