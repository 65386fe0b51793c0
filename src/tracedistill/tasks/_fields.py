"""Typed fields out of a row; every error names the file, the row, the column and what was expected."""

from __future__ import annotations

from typing import Any

from tracedistill.errors import InputError, MissingSplitError
from tracedistill.tasks._base import Source
from tracedistill.tasks._rows import Row, field_of


def where(source: Source, stem: str, hub_id: str) -> str:
    """Return the name of the rows' source for errors: `<data_dir>/<stem>`, or the hub's id."""
    return str(source.data_dir / stem) if source.data_dir is not None else source.path or hub_id


def check_split(task: str, split: str, splits: tuple[str, ...]) -> None:
    """Check that the task has this split. Raises InputError otherwise."""
    if split not in splits:
        raise MissingSplitError(f"task {task}: no split '{split}'; known: {', '.join(splits)}")


def text_field(row: Row, name: str, path: str, number: int) -> str:
    """Return a string that is not blank."""
    value = field_of(row, name, path, number)
    if not isinstance(value, str) or not value.strip():
        raise _wrong(path, number, name, "text that is not empty", value)
    return value


def texts_field(row: Row, name: str, path: str, number: int) -> tuple[str, ...]:
    """Return a list of strings."""
    value = field_of(row, name, path, number)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _wrong(path, number, name, "a list of texts", value)
    return tuple(value)


def label_field(row: Row, name: str, labels: tuple[str, ...], path: str, number: int) -> str:
    """Return one of the known labels."""
    value = field_of(row, name, path, number)
    if value not in labels:
        raise _wrong(path, number, name, f"one of {', '.join(labels)}", value)
    return str(value)


def _wrong(path: str, number: int, name: str, expected: str, value: Any) -> InputError:
    return InputError(f"{path}, row {number}: column '{name}' must be {expected}, not {str(value)[:80]!r}")
