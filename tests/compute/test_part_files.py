"""Files written by parts: the same bytes however they are made, and nothing made twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compute.jobs import Questions
from tracedistill.compute import Compute, Processes, cut, write_by_parts
from tracedistill.compute.parts import ROWS
from tracedistill.errors import InputError
from tracedistill.files import read_jsonl, write_jsonl
from tracedistill.records import Problem

N = 5 * ROWS + 7
PARTS = 6


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "problems.jsonl"
    write_jsonl(path, (Problem(f"p{n}", "t", "test", f"Question {n}?", ("1",)) for n in range(N)))
    return path


@pytest.fixture(params=["here", "processes"])
def compute(request: pytest.FixtureRequest) -> Iterator[Compute]:
    found: Compute = Processes(1) if request.param == "here" else Processes(2, patience=0)
    yield found
    found.close()


class Written:
    """A folder in which a file is written by parts, and notes of the parts made."""

    def __init__(self, folder: Path, source: Path, compute: Compute) -> None:
        self.output, self.parts, self.notes = folder / "out.jsonl", folder / "parts", folder / "notes"
        self.source, self.compute = source, compute
        self.summaries: list[int] = []
        self.notes.mkdir()

    def write(self, **changes: int) -> list[tuple[int, int]]:
        """Write it; returns what was said of its progress."""
        told: list[tuple[int, int]] = []
        self.summaries.clear()
        for note in self.notes.iterdir():
            note.unlink()
        write_by_parts(
            self.compute, Questions(self.notes, **changes), [self.source], self.output, self.parts,
            take=lambda summary: self.summaries.append(summary["rows"]), progress=lambda *figures: told.append(figures),
        )  # fmt: skip
        return told

    def made(self) -> list[int]:
        """The parts that were made."""
        return sorted(int(note.name.split(".")[0]) for note in self.notes.iterdir())


@pytest.fixture
def written(tmp_path: Path, source: Path, compute: Compute) -> Written:
    return Written(tmp_path, source, compute)


def wanted() -> bytes:
    return "".join(f'{{"question": "Question {n}?"}}\n' for n in range(N)).encode()


def test_a_file_is_its_parts_in_order(written: Written) -> None:
    told = written.write()
    assert written.output.read_bytes() == wanted()
    assert written.summaries == [ROWS] * 5 + [7]
    assert told[0] == (0, N)
    assert told[-1] == (N, N)
    assert written.made() == list(range(PARTS))


def test_parts_that_are_ready_are_not_made_again(written: Written) -> None:
    with pytest.raises(InputError, match=f"rows {3 * ROWS + 1} to {4 * ROWS} of .*problems.jsonl: no"):
        written.write(refused=3)
    assert not written.output.exists()
    before = written.made()
    assert {0, 1, 2} <= set(before)
    told = written.write()
    assert written.made() == sorted(set(range(PARTS)) - set(before))
    assert told[0] == (sum(min(ROWS, N - part * ROWS) for part in before), N)
    assert written.output.read_bytes() == wanted()
    assert written.summaries == [ROWS] * 5 + [7]


@pytest.mark.parametrize("damage", ["missing", "cut short", "empty", "of something else"])
def test_a_part_that_is_not_whole_is_made_again(written: Written, damage: str) -> None:
    written.write()
    part = written.parts / "0000002.part"
    data = part.read_bytes()
    if damage == "missing":
        part.unlink()
    else:
        part.write_bytes({"cut short": data[:-5], "empty": b"", "of something else": b"[1]\n"}[damage])
    written.write()
    assert written.made() == [2]
    assert written.output.read_bytes() == wanted()
    assert part.read_bytes() == data


def test_an_empty_file_gives_an_empty_one(written: Written) -> None:
    written.source.write_text("")
    written.write()
    assert written.output.read_bytes() == b""


def test_a_row_that_is_no_record_is_named_as_by_the_reader(written: Written) -> None:
    lines = written.source.read_text(encoding="utf-8").splitlines(keepends=True)
    lines[2 * ROWS + 3] = '{"problem_id": 3}\n'
    written.source.write_text("".join(lines), encoding="utf-8")
    with pytest.raises(InputError) as read:
        list(read_jsonl(written.source, Problem))
    with pytest.raises(InputError) as made:
        written.write()
    assert str(made.value) == str(read.value)
    assert f"line {2 * ROWS + 4}:" in str(made.value)


def test_a_part_that_kills_its_process_is_named(tmp_path: Path, source: Path) -> None:
    processes = Processes(2, patience=0)
    written = Written(tmp_path, source, processes)
    with pytest.raises(InputError, match=f"worked on rows {ROWS + 1} to {2 * ROWS} of .* ended by signal 9"):
        written.write(dies=1)
    processes.close()
    assert 0 in written.made()


def test_parts_of_several_files(tmp_path: Path, source: Path) -> None:
    other = tmp_path / "other.jsonl"
    write_jsonl(other, [Problem("q", "t", "test", "Another?", ("1",))])
    parts = cut(source, other)
    assert [part.number for part in parts] == list(range(PARTS + 1))
    assert parts[-1].path == other
    assert [one.problem_id for one in parts[-1].records(Problem)] == ["q"]
    assert sum(part.rows for part in parts) == N + 1


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone.jsonl: no such file"):
        cut(tmp_path / "gone.jsonl")
