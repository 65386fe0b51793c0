"""Rows for the trainer: checked once, then padded to tensors batch by batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import datasets
import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import torch

from tracedistill.errors import InputError

IGNORED = -100
"""Label of a position that is not supervised."""
COLUMNS = ["input_ids", "completion_mask"]
BATCH = 5_000
"""Rows checked at a time."""
WEIGHT = "weight"
"""Optional third column of rows: the weight of a row's tokens in the loss."""


@dataclass(frozen=True, slots=True)
class SupervisedCollator:
    """Pads rows on the right and makes labels from their completion masks.

    Returns int64 tensors of shape (rows, longest row): `input_ids`, `attention_mask`, `labels` (IGNORED on prompt and
    padding, so that no padding token is ever learnt). If rows have a weight, also `loss_weights`, fp32.
    """

    pad_token_id: int
    multiple: int = 1
    """The width is a multiple of this: processes that share one row need equal parts."""

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Collate rows with `input_ids` and `completion_mask`."""
        longest = max(len(row["input_ids"]) for row in rows)
        shape = (len(rows), longest + -longest % self.multiple)
        input_ids = torch.full(shape, self.pad_token_id, dtype=torch.int64)
        attention_mask = torch.zeros(shape, dtype=torch.int64)
        labels = torch.full(shape, IGNORED, dtype=torch.int64)
        for index, row in enumerate(rows):
            ids = torch.as_tensor(row["input_ids"], dtype=torch.int64)
            supervised = torch.as_tensor(row["completion_mask"], dtype=torch.bool)
            input_ids[index, : len(ids)] = ids
            attention_mask[index, : len(ids)] = 1
            labels[index, : len(ids)] = ids.where(supervised, IGNORED)
        batch = {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels}
        if WEIGHT in rows[0]:
            weights = torch.tensor([row[WEIGHT] for row in rows], dtype=torch.float32)
            batch["loss_weights"] = weights[:, None].expand(shape).contiguous()
        return batch


def row_dataset(
    rows: Iterable[Mapping[str, Any]] | datasets.Dataset, *, name: str, vocabulary: int
) -> datasets.Dataset:
    """Return these rows as a dataset; a `datasets.Dataset` stays memory-mapped.

    Raises InputError that names the first bad row if there are no rows, a mask does not fit its ids, an id is outside
    the vocabulary, or a row supervises nothing (a first token cannot be supervised: nothing predicts it).
    """
    if isinstance(rows, datasets.Dataset):
        missing = [column for column in COLUMNS if column not in rows.column_names]
        if missing:
            raise InputError(f"{name} rows: the dataset has no column {', '.join(missing)}")
        dataset = rows.select_columns([*COLUMNS, *({WEIGHT} & set(rows.column_names))])
    else:
        # list first: an empty dataset would have no columns
        made = [
            {column: list(row[column]) for column in COLUMNS} | ({WEIGHT: row[WEIGHT]} if WEIGHT in row else {})
            for row in rows
        ]
        dataset = datasets.Dataset.from_list(made)
    if len(dataset) == 0:
        raise InputError(f"{name} rows: the dataset is empty")
    start = 0
    for ids, mask in _batches(dataset):
        if not _sound(ids, mask, vocabulary):
            for offset, (row, supervised) in enumerate(zip(ids.to_pylist(), mask.to_pylist(), strict=True)):
                fault = _fault(np.asarray(row, dtype=np.int64), np.asarray(supervised, dtype=np.int64), vocabulary)
                if fault:
                    raise InputError(f"{name} rows: row {start + offset} (counted from 0) {fault}")
        start += len(ids)
    return dataset


def _batches(dataset: datasets.Dataset) -> Iterator[tuple[Any, Any]]:
    """Yield (ids, masks) of BATCH rows each as Arrow list arrays, without copying."""
    for table in dataset.with_format("arrow").iter(batch_size=BATCH):
        yield tuple(table.column(column).combine_chunks() for column in COLUMNS)


def _sound(ids: Any, mask: Any, vocabulary: int) -> bool:
    """Return whether all rows are valid; `_fault` finds the error."""
    lengths, others = (pc.list_value_length(column).to_numpy(zero_copy_only=False) for column in (ids, mask))
    if ids.null_count or mask.null_count or (lengths != others).any() or not (lengths > 1).all():
        return False
    tokens, supervised = (pc.list_flatten(column).to_numpy(zero_copy_only=False) for column in (ids, mask))
    ends = lengths.cumsum()
    carried = np.concatenate([[0], (supervised != 0).cumsum()])
    behind_first = carried[ends] - carried[ends - lengths + 1]
    return bool((behind_first > 0).all() and tokens.min() >= 0 and tokens.max() < vocabulary)


def _fault(ids: npt.NDArray[np.int64], mask: npt.NDArray[np.int64], vocabulary: int) -> str:
    """Return the error of one row; empty if it is valid."""
    if len(ids) != len(mask):
        return f"has {len(ids)} ids but a completion_mask of {len(mask)}"
    if not mask[1:].any():
        return "supervises no token"
    if ids.min() < 0 or ids.max() >= vocabulary:
        return f"has token id {int(ids.max() if ids.max() >= vocabulary else ids.min())}, outside 0..{vocabulary - 1}"
    return ""


def row_lengths(dataset: datasets.Dataset) -> npt.NDArray[np.int64]:
    """Return tokens per row, shape (rows,); the ids themselves are not loaded all at once."""
    lengths = [pc.list_value_length(ids).to_numpy(zero_copy_only=False) for ids, _ in _batches(dataset)]
    return np.concatenate(lengths).astype(np.int64)


def with_fillers(dataset: datasets.Dataset, count: int, pad_token_id: int) -> datasets.Dataset:
    """Append `count` filler rows of one unsupervised token each."""
    if not count:
        return dataset
    columns: dict[str, list[Any]] = {"input_ids": [[pad_token_id]] * count, "completion_mask": [[0]] * count}
    if WEIGHT in dataset.column_names:
        columns[WEIGHT] = [0.0] * count
    filler = datasets.Dataset.from_dict(columns, features=dataset.features)
    return datasets.concatenate_datasets([dataset, filler])
