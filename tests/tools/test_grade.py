from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import DATA, ROOT
from tracedistill.cli import main
from tracedistill.errors import InputError
from tracedistill.records import Problem
from tracedistill.tools.grade import grade, second_checker

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="no shared data here (set TRACEDISTILL_DATA)")


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_gold_in_the_row(tmp_path: Path) -> None:
    verdicts, summary = tmp_path / "verdicts.jsonl", tmp_path / "summary.json"
    figures = grade(ROOT / "data" / "outputs_sample.jsonl", "gsm8k", out=verdicts, summary=summary)
    assert (figures["n"], figures["correct"], figures["incorrect"]) == (8, 5, 3)
    assert json.loads(summary.read_text()) == figures
    lines = [json.loads(line) for line in verdicts.read_text().splitlines()]
    assert [line["id"] for line in lines] == [f"out-{number}" for number in range(8)]
    assert lines[2]["trace"] == "incorrect"
    assert "80 - 20 is 60, not 70" in lines[2]["reason"]
    assert sum(figures["joint"]) == 8
    wanted = {"id", "answer", "derived", "candidate", "extracted", "trace", "steps", "reason"}
    assert all(wanted <= line.keys() for line in lines)


def graded_by(tmp_path: Path, name: str, cores: int) -> tuple[dict[str, Any], bytes]:
    rows = [{"text": f"{n} + 1 = {n + 1 + (n % 3 == 0)}\n#### {n}", "gold": n, "kind": n % 2} for n in range(20)]
    out = tmp_path / f"{name}.jsonl"
    return grade(write(tmp_path / "rows.jsonl", *rows), "gsm8k", by=("kind",), out=out, cores=cores), out.read_bytes()


def test_blocks_and_parts_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = graded_by(tmp_path, "whole", 1)
    monkeypatch.setattr("tracedistill.tools.grade.BLOCK", 7)
    monkeypatch.setattr("tracedistill.compute.parts.ROWS", 3)
    assert graded_by(tmp_path, "small", 1) == whole


@pytest.mark.slow
def test_two_cores_judge_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = graded_by(tmp_path, "one", 1)
    monkeypatch.setattr("tracedistill.compute.parts.ROWS", 3)
    monkeypatch.setattr("tracedistill.compute.processes.PATIENCE", 0.0)
    assert graded_by(tmp_path, "two", 2) == one


def test_no_cores_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--cores 0: must be at least 1"):
        graded_by(tmp_path, "none", 0)


def test_no_row_ever_leaves_the_denominator(tmp_path: Path) -> None:
    path = write(
        tmp_path / "rows.jsonl",
        {"text": "Answer: 3", "gold": "3"},
        {"text": "Answer: 3"},
        {"text": "", "gold": "3"},
        {"text": "Answer: 4", "gold": ""},
        {"text": "Answer: 4", "gold": None},
        {"text": "Answer: 3", "gold": 3},
    )
    figures = grade(path, "gsm8k")
    counts = {name: figures[name] for name in ("correct", "incorrect", "missing", "ungradable")}
    assert counts == {"correct": 2, "incorrect": 0, "missing": 1, "ungradable": 3}
    assert figures["n"] == sum(counts.values()) == 6
    assert "row 2: no column 'problem_id' and column 'gold' has no gold" in figures["troubles"][0]


def test_formulas_that_cannot_be_read_are_counted_by_side(tmp_path: Path) -> None:
    path = write(
        tmp_path / "rows.jsonl",
        {"text": r"\boxed{x \star y}", "gold": "3"},
        {"text": r"\boxed{3}", "gold": r"x \star y"},
        {"text": r"\boxed{3}", "gold": "3"},
    )
    figures = grade(path, "math")
    assert (figures["correct"], figures["ungradable"]) == (1, 2)
    assert (figures["unread_golds"], figures["unread_answers"]) == (1, 1)


@needs_data
def test_joined_by_id_over_all_splits_and_unknown_ids_counted(tmp_path: Path) -> None:
    path = write(
        tmp_path / "rows.jsonl",
        {"problem_id": "gsm8k-test-0", "text": "16 - 3 - 4 = 9 eggs. 9 * 2 = 18. The answer is 18."},
        {"problem_id": "gsm8k-train-0", "text": "72"},
        {"problem_id": "gsm8k-test-99999", "text": "72"},
        {"problem_id": "gsm8k-test-99999", "text": "72", "gold": "72"},
    )
    figures = grade(path, "gsm8k", data_dir=DATA)
    assert (figures["correct"], figures["ungradable"]) == (3, 1)
    assert "row 3: problem 'gsm8k-test-99999' is unknown" in figures["troubles"][0]


@needs_data
@pytest.mark.parametrize(
    ("model", "joint", "category", "facts", "phi"),
    [
        ("Llama-3.2-1B-Instruct", [232, 2, 171, 545], 55.4, 37.5, 0.656),
        ("Qwen3-1.7B", [310, 5, 202, 433], 63.9, 45.6, 0.629),
    ],
)
def test_published_cotempqa_figures(
    tmp_path: Path, model: str, joint: list[int], category: float, facts: float, phi: float
) -> None:
    with gzip.open(DATA / "published_outputs" / "cotempqa.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [row for row in map(json.loads, lines) if (row["model"], row["arm"]) == (model, "correct")]
    figures = grade(write(tmp_path / "rows.jsonl", *rows), "cotempqa", policy="published", data_dir=DATA)
    assert (figures["n"], figures["joint"]) == (950, joint)
    assert (figures["category"], figures["facts_exact"]) == (category, facts)
    assert round(figures["phi"], 3) == phi


def test_groups(tmp_path: Path) -> None:
    path = write(
        tmp_path / "rows.jsonl",
        {"text": "Answer: 3", "gold": "3", "arm": "a"},
        {"text": "Answer: 4", "gold": "3", "arm": "b"},
        {"text": "Answer: 3", "gold": "3", "arm": "b"},
    )
    groups = grade(path, "gsm8k", by=("arm",))["groups"]
    assert [(group["arm"], group["n"], group["correct"]) for group in groups] == [("a", 1, 1), ("b", 2, 1)]


def test_second_checker_counts_agreement(tmp_path: Path) -> None:
    def always(problem: Problem, text: str) -> bool | None:
        return True if text else None

    path = write(
        tmp_path / "rows.jsonl",
        {"text": "Answer: 3", "gold": "3"},
        {"text": "4", "gold": "3"},
        {"text": "", "gold": "3"},
    )
    second = grade(path, "gsm8k", second=always)["second"]
    cells = ("both", "only_ours", "only_theirs", "neither", "second_found_nothing")
    assert [second[name] for name in cells] == [1, 0, 1, 1, 1]
    assert second["disagreements"] == ["row-2"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no rows"),
        (b'{"text": "a"}\n{"text": \n', "line 2: not valid JSON"),
        (b'{"text": "a", "gold": "1"}\n[1]\n', "line 2: not a JSON object"),
        (b'{"output": "a", "gold": "1"}\n', "row 1: no text in column 'text'; it has: output, gold"),
        (b'{"text": 5, "gold": "1"}\n', "row 1: no text in column 'text'"),
        (b'{"text": "\xff", "gold": "1"}\n', "not valid UTF-8"),
    ],
)
def test_bad_files_are_one_clear_error(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    out = tmp_path / "out.jsonl"
    with pytest.raises(InputError, match=words) as caught:
        grade(path, "gsm8k", out=out)
    assert "rows.jsonl" in str(caught.value)
    assert not out.exists()


def test_missing_data_dir(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", {"problem_id": "x", "text": "a"})
    with pytest.raises(InputError, match="no such folder"):
        grade(path, "gsm8k", data_dir=tmp_path / "nowhere")
    with pytest.raises(InputError, match="no problems of task gsm8k"):
        grade(path, "gsm8k", data_dir=tmp_path)


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(ROOT / "data" / "outputs_sample.jsonl")
    assert main(["grade", file, "--task", "gsm8k", "--summary", str(tmp_path / "s.json")]) == 0
    assert "62.5%" in capsys.readouterr().out
    assert main(["grade", file, "--task", "gsm9k"]) == 2
    assert "unknown task 'gsm9k'" in capsys.readouterr().err


def test_users_own_golds_are_read_as_what_they_are(tmp_path: Path) -> None:
    path = write(
        tmp_path / "rows.jsonl",
        {"text": "So the answer is 1,200 litres.", "gold": "1200"},
        {"text": "The answer is Paris.", "gold": "paris"},
        {"text": "Answer: red", "gold": ["crimson", "red"]},
    )
    assert grade(path, "file")["correct"] == 3


def test_math_verify_as_second_checker(tmp_path: Path) -> None:
    path = write(
        tmp_path / "rows.jsonl",
        {"text": "The answer is 3.", "gold": "3"},
        {"text": "She needs 14 crates to last for 2 months.", "gold": "14"},
        {"text": "I do not know.", "gold": "3"},
    )
    second = grade(path, "gsm8k", second=second_checker("math-verify"))["second"]
    cells = ("both", "only_ours", "only_theirs", "neither", "second_found_nothing")
    assert [second[name] for name in cells] == [1, 1, 0, 1, 1]
    with pytest.raises(InputError, match="unknown second checker"):
        second_checker("oracle")


@pytest.mark.parametrize("flag", ["out", "summary"])
def test_the_file_that_is_read_is_not_written_over(tmp_path: Path, flag: str) -> None:
    path = write(tmp_path / "rows.jsonl", {"text": "Answer: 3", "gold": "3"})
    before = path.read_bytes()
    (tmp_path / "link.jsonl").symlink_to(path)
    for out in (path, tmp_path / "link.jsonl"):
        with pytest.raises(InputError, match="is an input file"):
            grade(path, "gsm8k", **{flag: out})
    with pytest.raises(InputError, match="is an input file"):
        grade(path, "gsm8k", out=tmp_path / "new", summary=tmp_path / "new")
    assert path.read_bytes() == before
