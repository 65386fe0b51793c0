"""docs/report-json.md, made of the records of report.json.

A test compares it with what is committed, and says how to make it again:

    python -m tracedistill.report.reference docs/report-json.md
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import sys
import textwrap
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from tracedistill.report.records import Report

HEAD = """\
# report.json

This page is generated from the records in `src/tracedistill/report/` (`records.py`, `tables.py`). Do not edit it; run
`python -m tracedistill.report.reference docs/report-json.md`.

`tracedistill run` and `tracedistill report` write report.json into the run folder. It contains everything that page,
Markdown, CSV and terminal show. Each table below describes one kind of object.

- `version` increases when a key is renamed, removed or gets another meaning.
- Readers should ignore unknown keys, since a new version may add some.
- A key with a default may be missing in files of an older version.

In Python the same objects are frozen dataclasses:

```python
from pathlib import Path
from tracedistill.report.reader import read_report

report = read_report(Path("runs/quickstart"))
for arm in report.arms:
    print(arm.name, arm.correct, arm.n, arm.accuracy.raw.low, arm.accuracy.raw.high)
```
"""


def reference() -> str:
    """Return the text of docs/report-json.md."""
    lines = [HEAD]
    for kind in _records(Report):
        lines += [
            f"## {kind.__name__}",
            "",
            *_said(kind),
            "",
            "| key | type | default | meaning |",
            "|---|---|---|---|",
        ]
        hints, meanings = typing.get_type_hints(kind), _docs(kind)
        for item in dataclasses.fields(kind):
            cells = (f"`{item.name}`", _type(hints[item.name]), _default(item), meanings[item.name])
            lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells) + " |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _records(kind: Any, seen: dict[Any, None] | None = None) -> dict[Any, None]:
    """Return the records that this one consists of, itself first, without duplicates."""
    records: dict[Any, None] = {} if seen is None else seen
    if dataclasses.is_dataclass(kind):
        if kind not in records:
            records[kind] = None
            for hint in typing.get_type_hints(kind).values():
                _records(hint, records)
    else:
        for argument in get_args(kind):
            _records(argument, records)
    return records


def _said(kind: Any) -> Iterator[str]:
    """Yield the paragraphs of a record's docstring, a line each."""
    for number, paragraph in enumerate((inspect.getdoc(kind) or "").split("\n\n")):
        yield from [""] * bool(number)
        yield " ".join(paragraph.split())


def _docs(kind: Any) -> dict[str, str]:
    """Map fields, inherited ones included, to their docstrings."""
    parents = [parent for parent in reversed(kind.__mro__) if dataclasses.is_dataclass(parent)]
    return {field: meaning for parent in parents for field, meaning in _own_docs(parent).items()}


def _own_docs(kind: Any) -> dict[str, str]:
    """Map a class's own fields to their docstrings."""
    (record,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(record, ast.ClassDef)
    docs = {}
    for field, below in zip(record.body, record.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(below, ast.Expr):
            value = below.value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                docs[field.target.id] = " ".join(value.value.split())
    return docs


def _type(kind: Any) -> str:
    """Describe a type for a reader of JSON."""
    origin, arguments = get_origin(kind), get_args(kind)
    if dataclasses.is_dataclass(kind):
        return f"[{typing.cast(type, kind).__name__}](#{typing.cast(type, kind).__name__.lower()})"
    if origin is Literal:
        return " / ".join(f'"{value}"' for value in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type(argument) for argument in arguments)
    if origin in (tuple, frozenset):
        every = [argument for argument in arguments if argument is not Ellipsis]
        alike = len(every) == 1
        return f"list of {_type(every[0])}" if alike else f"[{', '.join(_type(part) for part in every)}]"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"object: {_type(arguments[0])} -> {_type(arguments[1])}"
    names: Mapping[Any, str] = {
        int: "whole number", float: "number", str: "text", bool: "true or false", types.NoneType: "null",
    }  # fmt: skip
    return names.get(kind, "anything")


def _default(item: dataclasses.Field[Any]) -> str:
    if item.default is not dataclasses.MISSING:
        return "null" if item.default is None else "[]" if item.default in ((), frozenset()) else f"`{item.default!r}`"
    return "always there" if item.default_factory is dataclasses.MISSING else "{}"


def main(arguments: list[str]) -> int:
    """Write the reference to the given path."""
    (page,) = map(Path, arguments)
    page.write_text(reference(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
