"""Traces out of a file: JSON Lines, CSV or Parquet; one trace a row, joined to its problem by id.

{"problem_id": "gsm8k-test-0", "teacher": "gpt4", "plan": "1. Determine the total number of eggs ..."}
columns: {text: plan}   where: {teacher: gpt4}   reads: plan
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tracedistill.errors import InputError
from tracedistill.recipes import TeacherConfig
from tracedistill.records import Trace
from tracedistill.store import content_id
from tracedistill.tasks import Task
from tracedistill.tasks.base import content
from tracedistill.tasks.rows import Row, read_rows
from tracedistill.teachers.reading import read_text, trace_from

FIELDS = ("problem_id", "text", "answer", "oracle")
"""What `columns` may map; `answer` and `oracle` are optional, as is the column of an unmapped field."""


def read_recorded(
    task: Task, config: TeacherConfig, path: Path, known: Collection[str], teacher: str, reads: str
) -> Iterator[Trace]:
    """Traces of the known problems, in the file's order; the second row for a problem is its sample 1, and so on.

    Rows of other problems are passed over. An answer column, where there is one, is kept apart from the steps.
    Raises InputError (file, row) for a missing column, an empty file and broken rows.
    """
    unknown = sorted(set(config.columns) - set(FIELDS))
    if unknown:
        raise InputError(f"teacher {teacher}: columns: no field '{unknown[0]}'; fields are {', '.join(FIELDS)}")
    samples: dict[str, int] = {}
    seen: set[int] = set()  # 60 bits of a hash: some 70 bytes for each trace, whatever its length
    found = False
    for number, row in read_rows(path):
        if any(content(_reach(row, column, path, number)) != value for column, value in config.where.items()):
            continue
        found = True
        problem_id = content(_reach(row, config.columns.get("problem_id", "problem_id"), path, number, optional=True))
        if problem_id not in known:
            continue
        text = _reach(row, config.columns.get("text", "text"), path, number)
        if not isinstance(text, str):
            raise InputError(f"{path}, row {number}: the trace of {problem_id} is {type(text).__name__}, not text")
        key = int(content_id(problem_id, text)[:15], 16)
        if key in seen:
            continue  # the same trace again (one plan beside each of several students' answers) is one trace
        seen.add(key)
        answer = _optional(row, config.columns, "answer", path, number)
        oracle = _optional(row, config.columns, "oracle", path, number)
        sample = samples.get(problem_id, -1) + 1
        samples[problem_id] = sample
        read = read_text(task, text, reads)
        yield trace_from(
            task,
            problem_id,
            teacher,
            read if answer is None else replace(read, answer=content(answer)),
            numbered=config.traces == "numbered",
            sample=sample,
            oracle=str(oracle).lower() in ("true", "1", "yes"),
            meta={"reads": reads, "row": number},
        )
    if not found:
        raise InputError(f"{path}: no row has {', '.join(f'{key}={value}' for key, value in config.where.items())}")


def _optional(row: Row, columns: Mapping[str, str], name: str, path: Path, number: int) -> Any:
    return _reach(row, columns[name], path, number) if name in columns else None


def _reach(row: Row, column: str, path: Path, number: int, *, optional: bool = False) -> Any:
    """The value under a dotted column name; a whole name that stands in the row wins over its parts."""
    if column in row:
        return row[column]
    value: Any = row
    for part in column.split("."):
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        elif optional:
            return ""
        else:
            raise InputError(f"{path}, row {number}: no column '{column}'; it has: {', '.join(map(str, row))}")
    return value
