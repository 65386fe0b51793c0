"""Rows out of JSON Lines and CSV files (also gzipped), Parquet files, or from the hub; errors name file and row."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from tracedistill.errors import InputError, MissingSplitError
from tracedistill.tasks.base import Source

Row = dict[str, Any]

_FILES_READ: ContextVar[list[Path] | None] = ContextVar("_FILES_READ", default=None)


@contextmanager
def files_read() -> Iterator[list[Path]]:
    """Collect the files that are read inside the block, each once: what its result depends on."""
    found: list[Path] = []
    token = _FILES_READ.set(found)
    try:
        yield found
    finally:
        _FILES_READ.reset(token)


def read_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """(line or row number from 1, row) of a file; the kind is told by the name. Empty files and bad rows raise."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    noted = _FILES_READ.get()
    if noted is not None and path not in noted:
        noted.append(path)
    name = path.name.removesuffix(".gz")
    found = False
    if name.endswith(".parquet") and name != path.name:
        raise InputError(f"{path}: a Parquet file is compressed inside, and read as it is: gunzip it first")
    if name.endswith(".parquet"):
        rows: Iterator[tuple[int, Row]] = _parquet(path)
    elif name.endswith(".csv"):
        rows = _csv(path)
    elif name.endswith((".jsonl", ".ndjson")):
        rows = _jsonl(path)
    else:
        raise InputError(f"{path}: cannot tell the kind of file; use .jsonl or .csv (also .gz), or .parquet")
    for number, row in rows:
        found = True
        yield number, row
    if not found:
        raise InputError(f"{path}: no rows")


def task_rows(
    source: Source, task: str, stem: str, hub_id: str, hub_split: str, config: str | None = None
) -> Iterator[tuple[int, Row]]:
    """Rows of `<data_dir>/<task>/<stem>.jsonl(.gz)` (or `other/<task>_<stem>`), else of the hub's data set."""
    if source.data_dir is None:
        return _hub(source.path or hub_id, config, hub_split)
    for base in (source.data_dir / task / stem, source.data_dir / "other" / f"{task}_{stem}"):
        for suffix in (".jsonl.gz", ".jsonl", ".parquet", ".csv"):
            path = base.with_name(base.name + suffix)
            if path.is_file():
                return read_rows(path)
    raise MissingSplitError(f"{source.data_dir}: no {task}/{stem}.jsonl(.gz); data_dir must hold one folder per task")


def _hub(hub_id: str, config: str | None, split: str) -> Iterator[tuple[int, Row]]:
    import datasets  # heavy, and only needed without data_dir

    try:
        data = datasets.load_dataset(hub_id, config, split=split)
    except Exception as error:
        # datasets raises a dozen unrelated types for one fact: it is not to be had here
        raise InputError(
            f"cannot load {hub_id} ({split}) from the hub: {error}; give data_dir with files instead"
        ) from error
    yield from enumerate((dict(row) for row in data), start=1)


def _open_text(path: Path) -> io.TextIOBase:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _jsonl(path: Path) -> Iterator[tuple[int, Row]]:
    number = 0
    try:
        with _open_text(path) as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                row = json.loads(line)
                if not isinstance(row, dict):
                    raise InputError(f"{path}, line {number}: not a JSON object")
                yield number, row
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {number}: not valid JSON ({error.msg})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}, after line {number}: not valid UTF-8 ({error.reason})") from error
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits; brackets without end
        raise InputError(f"{path}, line {number}: not usable JSON ({error})") from error
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}, after line {number}: {error}") from error


def _csv(path: Path) -> Iterator[tuple[int, Row]]:
    number = 1
    csv.field_size_limit(2**31 - 1)  # outputs are long
    try:
        with _open_text(path) as lines:
            rows = csv.DictReader(lines, strict=True)  # an open quote must not swallow the rest of the file
            times = Counter(head for head in rows.fieldnames or () if head.strip())  # spreadsheets add empty ones
            twice = ", ".join(f"'{head}'" for head, count in times.items() if count > 1)
            if twice:
                raise InputError(f"{path}, row 1: several columns are called {twice}; give each a name of its own")
            for row in rows:
                number = rows.line_num
                if None in row or None in row.values():
                    raise InputError(f"{path}, line {number}: number of fields differs from the header's")
                yield number, dict(row)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}, after line {number}: not valid UTF-8 ({error.reason})") from error
    except csv.Error as error:
        raise InputError(f"{path}, after line {number}: {error}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}, after line {number}: {error}") from error


def _parquet(path: Path) -> Iterator[tuple[int, Row]]:
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        number = 0
        for batch in file.iter_batches():
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable Parquet file ({error})") from error


def field_of(row: Row, name: str, path: str, number: int) -> Any:
    """row[name], or an InputError that names file, row, the missing column and the columns that are there."""
    if name not in row:
        raise InputError(f"{path}, row {number}: no column '{name}'; it has: {', '.join(sorted(map(str, row)))}")
    return row[name]
