"""Records by id, held or read when they are asked for: the same answers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tracedistill.compute import lookup
from tracedistill.errors import InputError
from tracedistill.files import write_jsonl
from tracedistill.records import Problem


def problem(key: str, question: str = "Why?") -> Problem:
    return Problem(key, "t", "test", question, ("1",))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "problems.jsonl"
    write_jsonl(path, [problem("a"), problem("straße/ü"), problem("a", "the second of this id"), problem("c\ud800")])
    return path


@pytest.mark.parametrize("held", [0, 10**9])
def test_records_by_id(path: Path, held: int) -> None:
    found = lookup(path, Problem, held=held)
    assert list(found) == ["a", "straße/ü", "c\ud800"]
    assert len(found) == 3
    assert found["a"].question == "Why?"
    assert found["straße/ü"] == problem("straße/ü")
    assert found["c\ud800"] == problem("c\ud800")
    assert "b" not in found
    assert found.get("b") is None
    with pytest.raises(KeyError):
        found["b"]
    assert bool(list(path.parent.glob(".*.index"))) is (held == 0)


def test_an_index_is_made_anew_for_another_file(path: Path) -> None:
    lookup(path, Problem, held=0)
    write_jsonl(path, [problem("d"), problem("e")])
    assert set(lookup(path, Problem, held=0)) == {"d", "e"}
    index = next(path.parent.glob(".*.index"))
    index.write_bytes(index.read_bytes()[:1000])
    assert set(lookup(path, Problem, held=0)) == {"d", "e"}
    before = index.stat().st_ino
    assert lookup(path, Problem, held=0)["e"] == problem("e")
    assert index.stat().st_ino == before


def test_a_row_without_an_id(path: Path) -> None:
    path.write_text('{"task": "t"}\n')
    with pytest.raises(InputError, match=r"problems.jsonl, line 1: has no 'problem_id'"):
        lookup(path, Problem, held=0)
    with pytest.raises(InputError, match=r"gone.jsonl: no such file"):
        lookup(path.with_name("gone.jsonl"), Problem, held=0)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(path: Path) -> None:
    path.parent.chmod(0o500)
    try:
        with pytest.raises(InputError, match="cannot write"):
            lookup(path, Problem, held=0)
    finally:
        path.parent.chmod(0o700)
