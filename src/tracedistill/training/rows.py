"""Rendered rows in a memory-mapped file, so that memory does not grow with the number of rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa

from tracedistill.chat.formats import RATIONALE_TASK, Format
from tracedistill.chat.rendering import Rendered, render_example
from tracedistill.files import disk_error, unlinked
from tracedistill.records import Example
from tracedistill.training.collator import WEIGHT

GROUP = 1_000
"""Rows held in memory at once and stored as a group; the trainer reads a row by loading its group."""
_TOKENS = [("input_ids", pa.list_(pa.int32())), ("completion_mask", pa.list_(pa.int8()))]
_PLAIN, _WEIGHTED = pa.schema(_TOKENS), pa.schema([*_TOKENS, (WEIGHT, pa.float32())])


def write_rows(
    tokenizer: Any,
    rows: Iterable[Example],
    format: Format,
    file: Path,
    weights: tuple[float, float] | None = None,
) -> int:
    """Render rows into an Arrow file that appears whole or not at all; return their number.

    `weights`: the weight of each row's tokens in the loss, of answers and of rationales (`two_targets`). Raises
    InputError if the disk is full.
    """
    return _write(file, _PLAIN if weights is None else _WEIGHTED, _groups(tokenizer, rows, format, weights))


def supervised_tokens(tokenizer: Any, rows: Iterable[Example], format: Format) -> tuple[int, int]:
    """Count the supervised tokens of answers and rationales in rows with two targets (`two_targets`)."""
    totals = [0, 0]
    for row in rows:
        totals[is_rationale(row)] += sum(render_example(tokenizer, row, format).completion_mask)
    return totals[0], totals[1]


def is_rationale(row: Example) -> bool:
    """Return whether this row of two targets teaches the trace, not the answer."""
    return row.prompt[-1].content.startswith(RATIONALE_TASK)


def open_rows(file: Path) -> datasets.Dataset:
    """Open the rows of such a file without loading them."""
    return datasets.Dataset.from_file(str(file))


def _groups(
    tokenizer: Any, rows: Iterable[Example], format: Format, weights: tuple[float, float] | None
) -> Iterator[dict[str, Any]]:
    """Yield the columns of GROUP rows each."""
    rendered: list[Rendered] = []
    weight: list[float] = []
    for row in rows:
        rendered.append(render_example(tokenizer, row, format))
        if weights is not None:
            weight.append(weights[is_rationale(row)])
        if len(rendered) == GROUP:
            yield _columns(rendered, weight)
            rendered, weight = [], []
    if rendered:
        yield _columns(rendered, weight)


def _columns(rendered: list[Rendered], weight: list[float]) -> dict[str, Any]:
    columns: dict[str, Any] = {
        "input_ids": [np.asarray(row.input_ids, dtype=np.int32) for row in rendered],
        "completion_mask": [np.asarray(row.completion_mask, dtype=np.int8) for row in rendered],
    }
    return columns | ({WEIGHT: weight} if weight else {})


def _write(file: Path, schema: pa.Schema, groups: Iterable[dict[str, Any]]) -> int:
    partial, count = file.with_name(f".{file.name}.partial"), 0
    try:
        with pa.OSFile(str(unlinked(partial)), "wb") as sink, pa.ipc.new_stream(sink, schema) as stream:
            for columns in groups:
                stream.write_batch(pa.record_batch(columns, schema=schema))
                count += len(columns["input_ids"])
        partial.rename(file)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise disk_error(file, error) from error
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return count
