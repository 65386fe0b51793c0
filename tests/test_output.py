"""Text from outside does nothing on its way to a person, and nothing goes past the one door."""

from __future__ import annotations

import ast
import io
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import ROOT
from tracedistill.output import console, markdown_block, markdown_cell, markdown_line, printable, say, visible

SOURCE = ROOT / "src" / "tracedistill"

HOSTILE = [
    # what a model, a server or a data file may write; what must not be left of it
    ("\x1b[2J\x1b]0;title\x07", "\x1b"),
    ("\x9b31m", "\x9b"),
    ("a\x00b", "\x00"),
    ("over\rwritten", "\r"),
    ("\u202eright to left\u202c", "\u202e"),
    ("\u2066isolate\u2069", "\u2066"),
    ("line\u2028separator", "\u2028"),
    ("half \ud83d a pair", "\ud83d"),
    ("\x08\x08\x08", "\x08"),
]


@pytest.mark.parametrize(("text", "gone"), HOSTILE)
def test_what_moves_a_terminal_is_shown(text: str, gone: str) -> None:
    out = io.StringIO()
    say(text, file=out)
    console(file=out, width=400).print(text)
    assert gone not in out.getvalue()
    assert f"[U+{ord(gone):04X}]" in out.getvalue()
    assert out.getvalue().encode("utf-8")


def test_tables_go_through_the_door_too() -> None:
    from rich.table import Table

    out = io.StringIO()
    table = Table(title="\x1b[2Jtitle")
    table.add_column("\x1b[2Jhead")
    table.add_row("\x1b[2Jcell")
    console(file=out, width=100).print(table)
    assert "\x1b" not in out.getvalue()


MARKUP = [
    # text, what Markdown would make of it
    "![x](http://example.org/pixel.png)", "[click](javascript:alert(1))", "<img src=x onerror=alert(1)>", "**bold**",
    "a | b", "# heading", "`code`", "~~gone~~", "line\n\n# heading below", "&lt;script&gt;", "\x1b[31mred",
    "![a][b]\n\n[b]: http://example.org/x.png", "\\![x](y)", "<!-- ", "http://example.org/![x](y)",
]  # fmt: skip


@pytest.mark.parametrize("text", MARKUP)
def test_free_text_is_no_markup(text: str) -> None:
    line = markdown_line(text)
    assert "\n" not in line
    assert "\x1b" not in line
    # every sign that could begin markup stands behind an odd number of backslashes
    for found in re.finditer(r"[`*_\[\]<>#|~]", line):
        before = line[: found.start()]
        assert (len(before) - len(before.rstrip("\\"))) % 2 == 1, line


@given(st.text())
def test_no_text_ends_its_block_or_its_row(text: str) -> None:
    first, *inside, last = markdown_block(text).split("\n")
    fence = first.removesuffix("text")
    assert last == fence
    assert all(fence not in line for line in inside)
    assert "\n" not in markdown_cell(text)
    printable(visible(text)).encode("utf-8")


def test_nothing_prints_past_the_door() -> None:
    """No `print`, no console of rich's own, no writing to the streams but the one that moves to a line's start."""
    passed = []
    for path in sorted(SOURCE.rglob("*.py")):
        # scripts of their own that are started without the package, and print for the program that started them
        scripts = ("compute/worker.py", "export/plain_transformers.py")
        if path.name in ("output.py", "supervisor.py") or path.as_posix().endswith(scripts):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Name) and node.id == "print":
                passed.append(f"{path.name}:{node.lineno} print")
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if called.split(".")[-1] == "Console":
                    passed.append(f"{path.name}:{node.lineno} {called}")
                if re.fullmatch(r"sys\.(stdout|stderr)\.write", called) and ast.unparse(node.args[0]) != r"'\r'":
                    passed.append(f"{path.name}:{node.lineno} {called}")
    assert passed == []
