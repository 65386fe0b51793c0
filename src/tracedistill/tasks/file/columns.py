r"""The column of each field of a problem: its name, a path into it, a template, or a list of columns for choices.

columns:
  question: "{subject}\n{body}"      # a template; a line whose fields are all blank is left out
  answer: reward_model.ground_truth   # a path into a nested column
  choices: opa, opb, opc, opd         # a column for each choice
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tracedistill.errors import InputError
from tracedistill.tasks._base import content
from tracedistill.tasks._rows import Row
from tracedistill.tasks.file.cells import structured

FIELDS = (
    "question", "answer", "id", "context", "choices", "steps", "trace", "split", "group", "category", "messages",
)  # fmt: skip
"""Fields that `Source.columns` may map."""

_NAME = re.compile(r"\{([^{}\n]+)\}")


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """The column of each field."""

    given: Mapping[str, str] = field(default_factory=dict)
    """Fields that the user mapped; their columns must exist."""

    def __post_init__(self) -> None:
        unknown = sorted(set(self.given) - set(FIELDS))
        if unknown:
            raise InputError(f"task file: columns: no field '{unknown[0]}'; fields are {', '.join(FIELDS)}")

    def name(self, field_name: str) -> str:
        """Return the source of the field: the mapped column, else the column of its own name."""
        return self.given.get(field_name, field_name)

    def value(self, field_name: str, row: Row, where: str) -> Any:
        """Return the field's value in a row; None if an optional, unmapped column is absent."""
        if field_name in self.given:
            return read(self.given[field_name], row, where, several=field_name == "choices")
        if field_name in ("question", "answer") and field_name not in row:
            hint = f"name it in the recipe as `columns: {{{field_name}: <column>}}`"
            raise InputError(f"{where}: no column '{field_name}'; it has: {column_names(row)}; {hint}")
        return row.get(field_name)

    def fields(self, row: Row) -> frozenset[str]:
        """Return the fields that are mapped or have a column; a conversation only if there is no question column."""
        fields = {field_name for field_name in FIELDS if field_name in self.given or field_name in row}
        if "messages" not in self.given and "question" in fields:
            fields.discard("messages")
        return frozenset(fields)

    def used(self, row: Row) -> set[str]:
        """Return the row's columns that some field is read from."""
        columns = set()
        for field_name in self.fields(row):
            columns |= names_in(self.name(field_name), row, several=field_name == "choices")
        return columns


def read(spec: str, row: Row, where: str, *, several: bool = False, default: Any = None) -> Any:
    """Read a row's value by a column's name, path, template or (with `several`) list of names.

    If it is missing, return `default` or, without one, raise InputError that begins with `where`.
    """
    if spec in row:
        return row[spec]
    if "{" in spec:
        return _filled(spec, row, where)
    if several and "," in spec:
        values = [(name, read(name, row, where)) for name in _listed(spec)]
        # a question of three options in a file of four columns leaves the fourth blank
        return [text for _, value in values if (text := "" if value is None else content(value).strip())]
    value: Any = row
    for part in spec.split("."):
        value = structured(value)
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        elif default is not None:
            return default
        else:
            raise InputError(f"{where}: no column '{spec}'; it has: {column_names(row)}")
    return value


def names_in(spec: str, row: Row, *, several: bool = False) -> set[str]:
    """Return the columns that a column's name, path, template or list of names reads."""
    if spec in row:
        return {spec}
    if "{" in spec:
        return {name for name in _NAME.findall(spec) if name in row}
    if several and "," in spec:
        return {name for name in _listed(spec) if name in row}
    head = spec.split(".")[0]
    return {head} if head in row else set()


def column_names(row: Row) -> str:
    """Return the columns of a row, for errors."""
    return ", ".join(sorted(map(str, row)))


def _listed(spec: str) -> list[str]:
    return [name.strip() for name in spec.split(",") if name.strip()]


def _filled(template: str, row: Row, where: str) -> str:
    lines = []
    for line, names in _lines(template):
        values = {}
        for name in names:
            if name not in row:
                raise InputError(
                    f"{where}: no column '{name}' for the template '{template}'; it has: {column_names(row)}"
                )
            values[name] = "" if row[name] is None else content(row[name]).strip()
        if not names or any(values.values()):
            lines.append(_NAME.sub(lambda match, values=values: values[match[1]], line))  # type: ignore[misc]
    return "\n".join(lines).strip()


@functools.lru_cache(maxsize=64)
def _lines(template: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the lines of a template, each with its columns."""
    lines = template.replace("\\n", "\n").split("\n")
    return tuple((line, tuple(_NAME.findall(line))) for line in lines)
