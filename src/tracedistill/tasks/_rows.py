"""Read rows from JSON Lines, JSON, CSV and TSV files (also gzipped), Parquet, folders of these, or the hub.

Errors name file, row and remedy.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from tracedistill.errors import InputError

Row = dict[str, Any]

_FILES_READ: ContextVar[list[Path] | None] = ContextVar("_FILES_READ", default=None)


@contextmanager
def files_read() -> Iterator[list[Path]]:
    """Collect the distinct files read inside the block, on which its result depends."""
    files: list[Path] = []
    token = _FILES_READ.set(files)
    try:
        yield files
    finally:
        _FILES_READ.reset(token)


def note_read(path: Path) -> None:
    """Add a file, or those of a folder of shards, to the list of `files_read`."""
    noted = _FILES_READ.get()
    if noted is None:
        return
    for file in _shards(path) if path.is_dir() else [path]:
        if file.is_file() and file not in noted:
            noted.append(file)


ENDINGS = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
"""Supported file suffixes; all but Parquet also gzipped (.gz)."""
SPLIT_NAMES = {"train": "train", "training": "train", "validation": "validation", "valid": "validation",
               "val": "validation", "dev": "validation", "test": "test"}  # fmt: skip
"""Prefix of a shard's name -> its split."""
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+(?::[\w.-]+)?")
_SHARD = re.compile(r"([a-z]+)(?=[-_.\d])")


def read_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """Yield (line or row number from 1, row) of a file, a folder of shards or a hub id `org/name` (`org/name:config`).

    The file's name determines its format. Shards are read in the order of their names. Rows from the hub, and from
    shards that are all named after splits (`train-00000-of-00002.parquet`), get their split as column `split`. Raises
    InputError for empty files and bad rows.
    """
    if path.is_dir():
        rows: Iterator[tuple[int, Row]] = _folder(path)
    elif not path.is_file() and is_hub_id(path):
        rows = _whole_hub(str(path))
    else:
        rows = _file(path)
    empty = True
    for number, row in rows:
        empty = False
        yield number, row
    if empty:
        raise InputError(f"{path}: no rows")


def is_hub_id(path: Path) -> bool:
    """Return whether a path may be a hub data set: `org/name`, with or without `:config`, and not a file."""
    return _HUB_ID.fullmatch(str(path)) is not None and not path.name.removesuffix(".gz").endswith(ENDINGS)


def _file(path: Path) -> Iterator[tuple[int, Row]]:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    note_read(path)
    name = path.name.removesuffix(".gz").lower()
    if name.endswith(".parquet") and path.suffix == ".gz":
        raise InputError(f"{path}: gzipped Parquet is not supported; run gunzip first (Parquet is already compressed)")
    if name.endswith(".parquet"):
        return _parquet(path)
    if name.endswith((".csv", ".tsv")):
        return _explained(path, _csv(path, "\t" if name.endswith(".tsv") else None))
    if name.endswith((".jsonl", ".ndjson")):
        return _explained(path, _jsonl(path))
    if name.endswith(".json"):
        return _explained(path, _json(path))
    raise InputError(f"{path}: unknown kind of file; use .jsonl, .json, .csv or .tsv (also .gz), or .parquet")


def _explained(path: Path, rows: Iterator[tuple[int, Row]]) -> Iterator[tuple[int, Row]]:
    """Yield the rows of a file; errors of reading it become InputError."""
    number = 0
    try:
        for number, row in rows:
            yield number, row
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}, after line {number}: not valid UTF-8 ({error.reason}); save it as UTF-8, for example: "
            f"iconv -f LATIN1 -t UTF-8 '{path.name}' > utf8-{path.name}"
        ) from error
    except (csv.Error, OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}, after line {number}: {error}") from error


def _shards(path: Path) -> list[Path]:
    return sorted(
        file for file in path.rglob("*")
        if file.is_file() and not file.name.startswith(".") and file.name.removesuffix(".gz").endswith(ENDINGS)
    )  # fmt: skip


def _folder(path: Path) -> Iterator[tuple[int, Row]]:
    files = _shards(path)
    if not files:
        raise InputError(f"{path}: no data file in this folder; use {', '.join(ENDINGS)}")
    heads = [_SHARD.match(file.name) for file in files]
    splits = [SPLIT_NAMES.get(head[1], "") if head else "" for head in heads]
    named, count = all(splits), 0
    for file, split in zip(files, splits, strict=True):
        for _, row in _file(file):
            count += 1
            yield count, ({"split": split, **row} if named else row)


def hub_rows(hub_id: str, config: str | None, split: str) -> Iterator[tuple[int, Row]]:
    """Yield (number from 1, row) of one split of a data set on the hub."""
    data = _load_dataset(hub_id, config, split, "give data_dir with files instead")
    yield from enumerate((dict(row) for row in data), start=1)


def _whole_hub(name: str) -> Iterator[tuple[int, Row]]:
    """Yield all splits of a data set, each row with its split; without a network from the hub's cache."""
    hub_id, _, config = name.partition(":")
    data = _load_dataset(hub_id, config or None, None, "there is no such file either")
    rows = ({"split": str(split), **row} for split in data for row in data[split])
    yield from enumerate(rows, start=1)


def _load_dataset(hub_id: str, config: str | None, split: str | None, remedy: str) -> Any:
    import datasets  # heavy, and only needed without files

    try:
        return datasets.load_dataset(hub_id, config, split=split)
    except Exception as error:
        # datasets raises a dozen unrelated types if a data set is unavailable
        what = f"{hub_id} ({split})" if split else hub_id
        raise InputError(
            f"cannot load {what} from the hub: {(str(error) or repr(error)).splitlines()[0]}; {remedy}"
        ) from error


def _open_text(path: Path) -> io.TextIOBase:
    """Open UTF-8 with or without a byte-order mark, or UTF-16 with one (Excel's "Unicode text")."""
    zipped = path.suffix == ".gz"
    with gzip.open(path, "rb") if zipped else path.open("rb") as stream:
        head = stream.read(2)
    encoding = "utf-16" if head in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
    if zipped:
        return gzip.open(path, "rt", encoding=encoding, newline="")
    return path.open(encoding=encoding, newline="")


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
    except UnicodeDecodeError:
        raise  # a ValueError, explained by `_explained`
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits; unclosed brackets
        raise InputError(f"{path}, line {number}: not usable JSON ({error})") from error


def _json(path: Path) -> Iterator[tuple[int, Row]]:
    """Yield the rows of a list of objects, an object with one (`{"data": [...]}`), or an object of columns."""
    try:
        with _open_text(path) as stream:
            value = json.load(stream)
    except json.JSONDecodeError as error:
        hint = "; one object a line is JSON Lines: name the file .jsonl" if error.msg == "Extra data" else ""
        raise InputError(f"{path}, line {error.lineno}: not valid JSON ({error.msg}){hint}") from error
    except UnicodeDecodeError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not usable JSON ({error})") from error
    if isinstance(value, dict):
        lists = {key: item for key, item in value.items() if isinstance(item, list)}
        objects = [item for item in lists.values() if item and all(isinstance(row, dict) for row in item)]
        if len(objects) == 1:
            value = objects[0]
        elif len(lists) == len(value) > 1 and len({len(item) for item in lists.values()}) == 1:
            value = [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]
    if not isinstance(value, list):
        raise InputError(f"{path}: must be a list of objects, one a row")
    for number, row in enumerate(value, start=1):
        if not isinstance(row, dict):
            raise InputError(f"{path}, row {number}: not a JSON object")
        yield number, row


def _csv(path: Path, delimiter: str | None = None) -> Iterator[tuple[int, Row]]:
    csv.field_size_limit(2**31 - 1)  # outputs are long
    with _open_text(path) as lines:
        if delimiter is None:
            # commas, semicolons (European Excel) or tabs, whichever the header has most of
            delimiter = max((",", ";", "\t"), key=lines.readline().count)
            lines.seek(0)
        # an open quote must not swallow the rest of the file
        rows = csv.DictReader(lines, strict=True, delimiter=delimiter)
        times = Counter(head for head in rows.fieldnames or () if head.strip())  # spreadsheets add empty ones
        twice = ", ".join(f"'{head}'" for head, count in times.items() if count > 1)
        if twice:
            raise InputError(f"{path}, row 1: several columns are called {twice}; give each its own name")
        for row in rows:
            if None in row or None in row.values():
                raise InputError(
                    f"{path}, line {rows.line_num}: number of fields differs from the header's (separated by "
                    f"{'a tab' if delimiter == chr(9) else repr(delimiter)}); quote fields that contain it"
                )
            yield rows.line_num, dict(row)


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
