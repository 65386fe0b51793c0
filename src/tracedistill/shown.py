"""The door through which text from outside reaches a person: a terminal, a Markdown file, a page.

What models, servers and data files write may hold escape sequences, direction marks, images and markup. All printing
goes through `say` and `console`, all Markdown through the functions here, every text of a page through `visible`; a
test finds what passes them by.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console

_CONTROL = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_RETURN = re.compile(r"\r(?!\n)")
_MARKUP = re.compile(r"([\\`*_\[\]<>#|~])")


def visible(text: str) -> str:
    """Return the text with its control characters, direction marks and lone surrogates written as `[U+001B]`."""
    return _CONTROL.sub(lambda found: f"[U+{ord(found.group()):04X}]", text)


def printable(text: str) -> str:
    """Return the text as a terminal may have it: `visible`, and no carriage return that writes over a line."""
    return _RETURN.sub("[U+000D]", visible(text)).replace("\r\n", "\n")


def say(*texts: object, file: TextIO | None = None, end: str = "\n", flush: bool = False) -> None:
    """Print texts, separated by blanks, through `printable`."""
    print(*(printable(str(text)) for text in texts), file=file or sys.stdout, end=end, flush=flush)


def console(**options: Any) -> Console:
    """Return a rich console whose plain texts, cells of tables included, go through `printable`."""
    from rich.console import Console

    class SafeConsole(Console):
        def render_str(self, text: str, **how: Any) -> Any:
            return super().render_str(printable(text), **how)

    return SafeConsole(highlight=False, emoji=False, **options)


# ---- Markdown


def markdown_line(text: str) -> str:
    """Return free text as one line that is no markup: no image, link, heading, emphasis, HTML or table cell."""
    return _MARKUP.sub(r"\\\1", " ".join(visible(text).split())).replace("&", "&amp;")


def markdown_cell(value: object) -> str:
    """Return a value as a cell of a table; a dash for nothing."""
    return "-" if value is None or value == "" else markdown_line(str(value))


def markdown_block(text: str, language: str = "text") -> str:
    """Return a text in a fence longer than any run of backticks in it, so that it cannot end its own block."""
    shown = visible(text).replace("\r\n", "\n").replace("\r", "[U+000D]")
    longest = max((len(run) for run in re.findall(r"`+", shown)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{shown}\n{fence}"
