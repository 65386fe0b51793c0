"""Rendered rows in a memory-mapped file, so that memory does not grow with the number of rows."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa

from tracedistill.chat.formats import RATIONALE_TASK, Format
from tracedistill.chat.rendering import render_example
from tracedistill.compute import Compute, Part, cut
from tracedistill.engines.tokenizers import tokenizer_of
from tracedistill.files import Records, disk_error, unlinked
from tracedistill.recipes import StudentConfig
from tracedistill.records import Example
from tracedistill.training.collator import WEIGHT

GROUP = 1_000
"""Rows held in memory at once and stored as a group; the trainer reads a row by loading its group."""
_TOKENS = [("input_ids", pa.list_(pa.int32())), ("completion_mask", pa.list_(pa.int8()))]
_PLAIN, _WEIGHTED = pa.schema(_TOKENS), pa.schema([*_TOKENS, (WEIGHT, pa.float32())])


@dataclass(frozen=True, slots=True)
class RowTokens:
    """One rendered row."""

    input_ids: np.ndarray[Any, np.dtype[np.int32]]
    """Prompt, completion, end token."""
    completion_mask: np.ndarray[Any, np.dtype[np.int8]]
    """1 where the loss is taken."""
    rationale: bool
    """Whether this row of two targets teaches the trace."""


@dataclass(frozen=True, slots=True)
class RenderJob:
    """The rendering of a file's rows, for any process."""

    student: StudentConfig
    """Student whose tokenizer renders them."""
    format: Format
    """Format of trace and answer in a completion."""
    keep: Callable[[Example], bool]
    """Which rows are meant; can be pickled."""

    def open(self) -> Callable[[Part], list[RowTokens]]:
        """Load the tokenizer."""
        tokenizer = tokenizer_of(self.student)
        return lambda part: list(render_rows(tokenizer, filter(self.keep, part.records(Example)), self.format))


def render_rows(tokenizer: Any, rows: Iterable[Example], format: Format) -> Iterator[RowTokens]:
    """Render rows in this process."""
    for row in rows:
        made = render_example(tokenizer, row, format)
        ids, mask = np.asarray(made.input_ids, dtype=np.int32), np.asarray(made.completion_mask, dtype=np.int8)
        yield RowTokens(ids, mask, is_rationale(row))


def render_file(
    compute: Compute, student: StudentConfig, rows: Records[Example], format: Format
) -> Iterator[RowTokens]:
    """Render the rows of a file, in their order, wherever `compute` works."""
    for some in compute.map(RenderJob(student, format, rows.keep), cut(rows.path)):
        yield from some


def write_rows(rows: Iterable[RowTokens], file: Path, weights: tuple[float, float] | None = None) -> int:
    """Write rendered rows into an Arrow file that appears whole or not at all; return their number.

    `weights`: the weight of each row's tokens in the loss, of answers and of rationales (`two_targets`). Raises
    InputError if the disk is full.
    """
    return _write(file, _PLAIN if weights is None else _WEIGHTED, _groups(rows, weights))


def supervised_tokens(rows: Iterable[RowTokens]) -> tuple[int, int]:
    """Count the supervised tokens of answers and rationales in rows with two targets (`two_targets`)."""
    totals = [0, 0]
    for row in rows:
        totals[row.rationale] += int(row.completion_mask.sum())
    return totals[0], totals[1]


def is_rationale(row: Example) -> bool:
    """Return whether this row of two targets teaches the trace, not the answer."""
    return row.prompt[-1].content.startswith(RATIONALE_TASK)


def open_rows(file: Path) -> datasets.Dataset:
    """Open the rows of such a file without loading them."""
    return datasets.Dataset.from_file(str(file))


def _groups(rows: Iterable[RowTokens], weights: tuple[float, float] | None) -> Iterator[dict[str, Any]]:
    """Yield the columns of GROUP rows each."""
    held = iter(rows)
    while some := list(itertools.islice(held, GROUP)):
        columns: dict[str, Any] = {
            "input_ids": [row.input_ids for row in some],
            "completion_mask": [row.completion_mask for row in some],
        }
        yield columns if weights is None else columns | {WEIGHT: [weights[row.rationale] for row in some]}


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
