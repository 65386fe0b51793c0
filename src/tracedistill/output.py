"""All text that reaches a person: terminal, Markdown and page, with control characters and markup escaped.

Text from models, servers and data files may contain escape sequences, direction marks, images and markup. All printing
goes through `say` and `console`, all Markdown through the functions here, and every text of a page through `visible`. A
test finds code that bypasses them.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rich.console import Console
    from rich.table import Table

NAME_WIDTH = 24
"""Columns that a table keeps for a cell of at least this length."""

_CONTROL = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_RETURN = re.compile(r"\r(?!\n)")
_MARKUP = re.compile(r"([\\`*_\[\]<>#|~])")


def visible(text: str) -> str:
    """Return the text with its control characters, direction marks and lone surrogates written as `[U+001B]`."""
    return _CONTROL.sub(lambda found: f"[U+{ord(found.group()):04X}]", text)


def printable(text: str) -> str:
    """Return the text for a terminal: `visible`, and without carriage returns that would overwrite a line."""
    return _RETURN.sub("[U+000D]", visible(text)).replace("\r\n", "\n")


def say(*texts: object, file: TextIO | None = None, end: str = "\n", flush: bool = False) -> None:
    """Print texts separated by spaces, through `printable`."""
    print(*(printable(str(text)) for text in texts), file=file or sys.stdout, end=end, flush=flush)


def send_to_parent(line: str) -> None:
    """Write a line for the parent process, not for a person."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def console(**options: Any) -> Console:
    """Return a rich console whose plain texts, cells of tables included, go through `printable`."""
    from rich.console import Console

    class SafeConsole(Console):
        def render_str(self, text: str, **how: Any) -> Any:
            return super().render_str(printable(text), **how)

    return SafeConsole(highlight=False, emoji=False, **options)


def wide_console() -> Console:
    """Return a console as wide as the terminal, or 120 columns wide if the output goes to a file or pipe."""
    return console(width=None if sys.stdout.isatty() else 120)


def narrow_table(title: str, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Make a table with few rules, the first column left, the others right; headings wrap first if space is short."""
    from rich import box
    from rich.cells import cell_len
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    every = [list(row) for row in rows]
    for number, head in enumerate(heads):
        widest = max((cell_len(_plain(row[number])) for row in every), default=0)
        words = max(map(cell_len, head.split()), default=0)
        # a name or a figure is never squeezed out by the columns beside it
        needed = min(max(widest, words), NAME_WIDTH)
        table.add_column(head, justify="right" if number else "left", overflow="fold", min_width=needed)
    for row in every:
        table.add_row(*map(_marked, row))
    return table


def _plain(cell: object) -> str:
    return printable(str(cell[0] if isinstance(cell, tuple) else cell))


def _marked(cell: object) -> str:
    """Return a cell as rich text; a pair is (text, whether it is flagged)."""
    from rich.markup import escape

    if isinstance(cell, tuple):
        text, flagged = cell
        return f"[bold red]{escape(str(text))}[/]" if flagged else escape(str(text))
    return escape(str(cell))


# ---- Markdown


def markdown_line(text: str) -> str:
    """Return text as one line of Markdown with all markup escaped."""
    return _MARKUP.sub(r"\\\1", " ".join(visible(text).split())).replace("&", "&amp;")


def markdown_cell(value: object) -> str:
    """Return a value as a table cell; a dash if it is empty."""
    return "-" if value is None or value == "" else markdown_line(str(value))


def markdown_block(text: str, language: str = "text") -> str:
    """Return text in a fenced block whose fence is longer than any run of backticks in it."""
    shown = visible(text).replace("\r\n", "\n").replace("\r", "[U+000D]")
    longest = max((len(run) for run in re.findall(r"`+", shown)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{shown}\n{fence}"
