"""Rows of a task's files or of its data set on the hub, with typed fields; errors name file and row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from tracedistill.errors import InputError, MissingSplitError
from tracedistill.tasks._base import Source
from tracedistill.tasks._rows import Row, hub_rows, read_rows


class TaskRow(dict[str, Any]):
    """One row, column -> value."""

    def __init__(self, values: Row, place: str, number: int) -> None:
        """`place`: the row's file or hub id, and `number`: its number from 1."""
        super().__init__(values)
        self.place = place
        self.number = number

    def value(self, name: str) -> Any:
        """Return a column's value. Raises InputError if the column is missing."""
        if name not in self:
            raise self.error(f"no column '{name}'; it has: {', '.join(sorted(map(str, self)))}")
        return self[name]

    def text(self, name: str) -> str:
        """Return a string that is not blank."""
        value = self.value(name)
        if not isinstance(value, str) or not value.strip():
            raise self._unexpected(name, "text that is not empty")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a list of strings."""
        value = self.value(name)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._unexpected(name, "a list of texts")
        return tuple(value)

    def label(self, name: str, labels: tuple[str, ...]) -> str:
        """Return one of the known labels, which the row may write in another case."""
        written = str(self.value(name)).casefold()
        for label in labels:
            if label.casefold() == written:
                return label
        raise self._unexpected(name, f"one of {', '.join(labels)}")

    def error(self, message: str) -> InputError:
        """Return an error that names this row."""
        return InputError(f"{self.place}, row {self.number}: {message}")

    def _unexpected(self, name: str, expected: str) -> InputError:
        return self.error(f"column '{name}' must be {expected}, not {str(self[name])[:80]!r}")


def check_split(task: str, split: str, splits: Iterable[str]) -> None:
    """Check that the task has this split. Raises MissingSplitError otherwise."""
    if split not in splits:
        raise MissingSplitError(f"task {task}: no split '{split}'; known: {', '.join(splits)}")


def task_rows(
    source: Source, task: str, stem: str, hub_id: str, hub_split: str, config: str | None = None
) -> Iterator[TaskRow]:
    """Yield rows of `<data_dir>/<task>/<stem>.jsonl(.gz)` (or `other/<task>_<stem>`), or of the hub's data set.

    Raises MissingSplitError if data_dir has no such file.
    """
    if source.data_dir is None:
        place = source.path or hub_id
        rows = hub_rows(place, config, hub_split)
    else:
        stems = (source.data_dir / task / stem, source.data_dir / "other" / f"{task}_{stem}")
        endings = (".jsonl.gz", ".jsonl", ".parquet", ".csv")
        paths = [path for base in stems for ending in endings if (path := base.with_name(base.name + ending)).is_file()]
        if not paths:
            raise MissingSplitError(
                f"{source.data_dir}: no {task}/{stem}.jsonl(.gz); data_dir must hold one folder per task"
            )
        place, rows = str(paths[0]), read_rows(paths[0])
    for number, row in rows:
        yield TaskRow(row, place, number)
