"""Rows are checked, padded on the right, and supervised on their completion alone."""

from __future__ import annotations

from typing import Any

import datasets
import pytest

from tracedistill.errors import InputError
from tracedistill.training.collator import IGNORED, SupervisedCollator, row_dataset, row_lengths, with_fillers

ROWS = [
    {"input_ids": [5, 6, 7, 1], "completion_mask": [0, 0, 1, 1], "problem_id": "a"},
    {"input_ids": [5, 1], "completion_mask": [0, 1], "problem_id": "b"},
]


def test_only_the_completion_is_supervised_and_the_end_token_is() -> None:
    batch = SupervisedCollator(pad_token_id=1)(ROWS)  # pad = end token: masks decide, not ids
    assert batch["input_ids"].tolist() == [[5, 6, 7, 1], [5, 1, 1, 1]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 0, 0]]
    assert batch["labels"].tolist() == [[IGNORED, IGNORED, 7, 1], [IGNORED, 1, IGNORED, IGNORED]]


def test_processes_that_share_a_row_get_equal_parts() -> None:
    batch = SupervisedCollator(pad_token_id=1, multiple=3)(ROWS)
    assert [tensor.shape[1] for tensor in batch.values()] == [6, 6, 6]
    assert batch["labels"][0].tolist() == [IGNORED, IGNORED, 7, 1, IGNORED, IGNORED]


@pytest.mark.parametrize("wrap", [list, iter, datasets.Dataset.from_list])
def test_rows_of_any_kind(wrap: Any) -> None:
    dataset = row_dataset(wrap(ROWS), name="training", vocabulary=10)
    assert dataset.column_names == ["input_ids", "completion_mask"]
    assert row_lengths(dataset).tolist() == [4, 2]
    padded = with_fillers(dataset, 2, pad_token_id=0)
    assert padded[3] == {"input_ids": [0], "completion_mask": [0]}


BAD = [
    ([], "the dataset is empty"),
    ([ROWS[0], {"input_ids": [5, 6], "completion_mask": [0, 0]}], "row 1 .* supervises no token"),
    ([{"input_ids": [5, 6], "completion_mask": [1, 0]}], "row 0 .* supervises no token"),
    ([{"input_ids": [5, 6, 7], "completion_mask": [0, 1]}], "row 0 .* 3 ids but a completion_mask of 2"),
    ([{"input_ids": [5, 10], "completion_mask": [0, 1]}], "row 0 .* token id 10, outside 0..9"),
    ([{"input_ids": [-1, 1], "completion_mask": [0, 1]}], "row 0 .* token id -1, outside 0..9"),
    (datasets.Dataset.from_dict({"text": ["a"]}), "no column input_ids, completion_mask"),
]


@pytest.mark.parametrize(("rows", "message"), BAD)
def test_rows_that_cannot_be_trained_on(rows: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        row_dataset(rows, name="training", vocabulary=10)
