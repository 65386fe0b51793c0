"""Names of arms, teachers and students: each becomes part of file names, on any system and beside derived files."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

NOT_A_NAME = (
    "a name becomes a file name: use letters, digits, '-', '_' and '.', 100 characters at most, begin with a letter, "
    "a digit or '_', and avoid names that Windows reserves (con, nul, com1, ...)"
)

DERIVED = (
    "batch", "checkpoints", "csv", "failures", "html", "json", "jsonl", "manifest", "parity", "partial", "preflight",
    "report", "review", "seed", "usage", "validation",
)  # fmt: skip
"""Endings of files that stages write beside those named by an arm, a teacher or a student: `<arm>.parity.json`,
`<teacher>.failures.jsonl`, `<arm>.partial0.jsonl`. A new derived file adds its ending here."""
_DERIVED = re.compile(rf"\.(?:{'|'.join(DERIVED)})\d*$", re.IGNORECASE)
_DEVICES = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?$", re.IGNORECASE)
"""Names that Windows keeps for devices, whatever ending follows."""


def name_fault(name: Any) -> str:
    """Return why a name cannot stand in the file names of a run; empty if it can."""
    if not is_file_name(name):
        return NOT_A_NAME
    kept = _DERIVED.search(name)
    return f"names that end in '{kept[0]}' are reserved for other files of a run; choose another name" if kept else ""


def is_file_name(name: Any) -> bool:
    """Return whether a name can stand in a file name on every system; 100 characters leave room for endings."""
    if not isinstance(name, str) or not name.isprintable() or set(name) & set('/\\:*?"<>| '):
        return False
    if name.startswith((".", "-")) or name.endswith(".") or _DEVICES.match(name):
        return False
    return 0 < len(name.encode("utf-8", "replace")) <= 100


def twins(names: Collection[str]) -> list[tuple[str, str]]:
    """Return the pairs (later, earlier) of names that are one file where the file system ignores case."""
    seen: dict[str, str] = {}
    return [(name, first) for name in names if (first := seen.setdefault(name.casefold(), name)) != name]
