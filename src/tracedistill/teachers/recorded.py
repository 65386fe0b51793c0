"""Traces from a file: JSON Lines, CSV or Parquet, one trace per row, joined to its problem by id.

{"problem_id": "gsm8k-test-0", "teacher": "gpt4", "plan": "1. Determine the total number of eggs ..."}
columns: {text: plan}   where: {teacher: gpt4}

Without `reads`, the texts determine whether they are plans or solutions. Traces in the same rows as the problems (task
`file`, field `trace`) need neither a file nor an id.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tracedistill.errors import InputError
from tracedistill.files import content_id
from tracedistill.recipes import TeacherConfig
from tracedistill.records import Problem, Trace
from tracedistill.tasks import Task
from tracedistill.tasks._base import content
from tracedistill.tasks._rows import Row, read_rows
from tracedistill.tasks.file.columns import read
from tracedistill.teachers.parser import parse_teacher_text, trace_from

LOOKED_AT = 200
"""Texts examined to tell whether a recorded teacher wrote plans or solutions."""
IDS_SHOWN = 3
FIELDS = ("problem_id", "text", "answer", "oracle")
"""Fields that `columns` may map; `answer` and `oracle` are optional, as is the column of an unmapped field."""


def read_recorded(
    task: Task, config: TeacherConfig, path: Path, known: Collection[str], teacher: str, reads: str
) -> Iterator[Trace]:
    """Yield the traces of known problems, in file order. A problem's second row is its sample 1, and so on.

    Rows of other problems are skipped. An answer column, if any, is kept apart from the steps. Raises InputError (file,
    row) for a missing column, an empty file, broken rows, and if no row is of a known problem.
    """
    unknown = sorted(set(config.columns) - set(FIELDS))
    if unknown:
        raise InputError(f"teacher {teacher}: columns: no field '{unknown[0]}'; fields are {', '.join(FIELDS)}")
    samples: dict[str, int] = {}
    seen: set[int] = set()  # 60 bits of a hash each, which saves memory
    any_trace = False
    others: dict[str, None] = {}
    id_column = config.columns.get("problem_id", "problem_id")
    for number, row in read_rows(path):
        place = f"{path}, row {number}"
        if not _wanted(row, config, place):
            continue
        any_trace = True
        problem_id = content(read(id_column, row, place, default=""))
        if problem_id not in known:
            if len(others) < IDS_SHOWN:
                others[problem_id] = None
            continue
        text = read(config.columns.get("text", "text"), row, place)
        if not isinstance(text, str):
            raise InputError(f"{place}: the trace of {problem_id} is {type(text).__name__}, not text")
        key = int(content_id(problem_id, text)[:15], 16)
        if key in seen:
            continue  # a repeated trace (one plan beside each of several students' answers) counts once
        seen.add(key)
        answer = _optional(row, config.columns, "answer", place)
        oracle = _optional(row, config.columns, "oracle", place)
        sample = samples.get(problem_id, -1) + 1
        samples[problem_id] = sample
        parsed = parse_teacher_text(task, text, reads)
        yield trace_from(
            task,
            problem_id,
            teacher,
            parsed if answer is None else replace(parsed, answer=content(answer)),
            numbered=config.traces == "numbered",
            sample=sample,
            oracle=str(oracle).lower() in ("true", "1", "yes"),
            meta={"reads": reads, "row": number},
        )
    if not any_trace:
        raise InputError(f"{path}: no row has {', '.join(f'{key}={value}' for key, value in config.where.items())}")
    if not samples and set(others) == {""}:
        raise InputError(
            f"{path}: no row has an id in column '{id_column}', so its traces cannot be joined to problems; name the "
            f"column in teachers.{teacher}.columns as `problem_id: <column>`"
        )
    if not samples:
        raise InputError(
            f"{path}: no row belongs to a problem of this study: its ids look like {_listed(others)}, the study's "
            f"like {_listed(known)}; name the column of ids as `columns: {{problem_id: <column>}}`, or give the "
            "problems the same ids (task file: field `id`)"
        )


def read_in_rows(
    task: Task, problems: Iterable[Problem], teacher: str, reads: str, *, numbered: bool
) -> Iterator[Trace]:
    """Yield the traces in the problems' own rows (task `file`, field `trace`), in the problems' order."""
    any_trace = False
    for problem in problems:
        text = problem.meta.get("trace")
        if not text:
            continue
        any_trace = True
        parsed = parse_teacher_text(task, text, reads)
        yield trace_from(
            task, problem.problem_id, teacher, parsed, numbered=numbered, sample=0, oracle=False, meta={"reads": reads}
        )
    if not any_trace:
        raise InputError(
            f"teachers.{teacher}: no problem has a trace in its row; name the column as `task.columns: {{trace: "
            "<column>}`, or give a file of traces as `path`"
        )


def recorded_texts(config: TeacherConfig, path: Path | None, problems: Collection[Problem]) -> list[str]:
    """Return the first texts of a recorded teacher, to classify them."""
    if path is None:
        texts: Iterable[Any] = (problem.meta.get("trace") for problem in problems)
    else:
        rows = ((f"{path}, row {number}", row) for number, row in read_rows(path))
        column = config.columns.get("text", "text")
        texts = (read(column, row, place) for place, row in rows if _wanted(row, config, place))
    return list(itertools.islice((text for text in texts if isinstance(text, str) and text.strip()), LOOKED_AT))


def _wanted(row: Row, config: TeacherConfig, place: str) -> bool:
    return all(content(read(column, row, place)) == value for column, value in config.where.items())


def _listed(ids: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in itertools.islice(ids, IDS_SHOWN)) or "none"


def _optional(row: Row, columns: Mapping[str, str], name: str, place: str) -> Any:
    return read(columns[name], row, place) if name in columns else None
