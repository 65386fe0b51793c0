"""Rendered rows on disk: what is read back is what was rendered, and the file is whole or not there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import tiny
from tracedistill.chat.formats import ANSWER_TASK, RATIONALE_TASK
from tracedistill.chat.rendering import render_example
from tracedistill.compute import Processes, parts
from tracedistill.engines.tokenizers import load_tokenizer
from tracedistill.errors import InputError
from tracedistill.files import Records, write_jsonl
from tracedistill.pipeline.train import Kept
from tracedistill.recipes import StudentConfig
from tracedistill.records import Example, Message
from tracedistill.training import rows as rows_module
from tracedistill.training.collator import BATCH, row_dataset, row_lengths
from tracedistill.training.rows import (
    is_rationale,
    open_rows,
    render_file,
    render_rows,
    supervised_tokens,
    write_rows,
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load_tokenizer(str(tiny.build(tmp_path_factory.mktemp("tiny"))))


def examples(count: int, mark: str = "") -> Iterator[Example]:
    for number in range(count):
        asked = Message("user", f"{mark}Where is Mary {number % 7}?")
        yield Example(f"p{number}", "arm", (asked,), f"Answer: {'kitchen ' * (number % 5)}hall")


def test_what_is_read_is_what_was_rendered(tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "GROUP", 4)
    assert write_rows(render_rows(tokenizer, examples(11), "plain"), tmp_path / "rows.arrow") == 11
    found = open_rows(tmp_path / "rows.arrow")
    wanted = [render_example(tokenizer, row) for row in examples(11)]
    assert [(row["input_ids"], row["completion_mask"]) for row in found] == [
        (row.input_ids, row.completion_mask) for row in wanted
    ]
    assert found[10]["input_ids"] == wanted[10].input_ids, "drawn out of order, as a sampler does"
    assert [path.name for path in tmp_path.iterdir()] == ["rows.arrow"]


def test_equal_rows_give_equal_files(tokenizer: Any, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_rows(render_rows(tokenizer, examples(9), "plain"), tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_rows_of_a_file_are_rendered_on_all_cores_with_equal_bytes(
    tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "ROWS", 7)
    student = StudentConfig(str(tiny.build(tmp_path / "model")))
    write_jsonl(tmp_path / "rows.jsonl", examples(30, RATIONALE_TASK))
    kept = Records(tmp_path / "rows.jsonl", Example, Kept(frozenset({"p3", "p28", "p29"})))
    write_rows(render_rows(tokenizer, kept, "plain"), tmp_path / "here", (1.0, 2.0))
    for cores in (1, 2):
        with closing(Processes(cores, patience=0.0)) as compute:
            found = render_file(compute, student, kept, "plain")
            assert write_rows(found, tmp_path / f"cores{cores}", (1.0, 2.0)) == 27
        assert (tmp_path / f"cores{cores}").read_bytes() == (tmp_path / "here").read_bytes()


def test_no_rows_are_a_file_of_none(tokenizer: Any, tmp_path: Path) -> None:
    assert write_rows(render_rows(tokenizer, (), "plain"), tmp_path / "rows.arrow") == 0
    assert len(open_rows(tmp_path / "rows.arrow")) == 0


def test_two_targets_have_their_weights(tokenizer: Any, tmp_path: Path) -> None:
    both = [*examples(3, ANSWER_TASK), *examples(2, RATIONALE_TASK)]
    assert [is_rationale(row) for row in both] == [False] * 3 + [True] * 2
    rendered = [sum(render_example(tokenizer, row).completion_mask) for row in both]
    assert supervised_tokens(render_rows(tokenizer, both, "plain")) == (sum(rendered[:3]), sum(rendered[3:]))
    write_rows(render_rows(tokenizer, both, "plain"), tmp_path / "rows.arrow", weights=(0.5, 2.0))
    assert open_rows(tmp_path / "rows.arrow")["weight"][:] == [0.5] * 3 + [2.0] * 2


def test_a_row_that_cannot_be_rendered_leaves_nothing(tokenizer: Any, tmp_path: Path) -> None:
    bad = Example("bad", "arm", (Message("user", "q"),), "\ud800")
    with pytest.raises(InputError, match="a tokenizer cannot encode"):
        write_rows(render_rows(tokenizer, [*examples(3), bad], "plain"), tmp_path / "rows.arrow")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_told(tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rows_module.pa.ipc, "new_stream", full)
    with pytest.raises(InputError, match="No space left on device"):
        write_rows(render_rows(tokenizer, examples(3), "plain"), tmp_path / "rows.arrow")
    assert not list(tmp_path.iterdir())


def test_the_first_fault_is_named_behind_a_whole_batch_of_sound_rows() -> None:
    generator = np.random.Generator(np.random.PCG64(0))
    lengths = generator.integers(2, 9, BATCH + 40)
    made = [{"input_ids": [3] * n, "completion_mask": [0] * (n - 1) + [1]} for n in lengths.tolist()]
    assert row_lengths(row_dataset(made, name="training", vocabulary=5)).tolist() == lengths.tolist()
    for fault, message in (
        ({"input_ids": [3, 5], "completion_mask": [0, 1]}, "token id 5"),
        ({"input_ids": [3, 3], "completion_mask": [1, 0]}, "supervises no token"),
        ({"input_ids": [], "completion_mask": []}, "supervises no token"),
        ({"input_ids": [3, 3], "completion_mask": [0, 1, 1]}, "has 2 ids but a completion_mask of 3"),
    ):
        bad = [*made[: BATCH + 7], fault, *made[BATCH + 7 :], fault]
        with pytest.raises(InputError, match=rf"row {BATCH + 7} \(counted from 0\) .*{message}"):
            row_dataset(bad, name="training", vocabulary=5)
