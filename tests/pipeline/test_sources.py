"""Data files and the code of one's own task are inputs: they count by their content."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tracedistill import pipeline
from tracedistill.errors import InputError

StudyFile = Callable[..., Path]


def rows(n: int, answer: str = "{i}") -> str:
    return "".join(
        json.dumps({"id": str(i), "question": f"What is {i} + 0?", "answer": answer.format(i=i)}) + "\n"
        for i in range(n)
    )


@pytest.fixture
def own_data(study_file: StudyFile, tmp_path: Path) -> Path:
    """A study on a file of the user's own, finished."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "sums.jsonl").write_text(rows(40))
    recipe = study_file(
        task={"name": "file", "path": str(tmp_path / "data" / "sums.jsonl"), "test": 8},
        students={"s": {"model": "scripted:tests.pipeline.test_sources:knows"}},
        arms={"standard": {}},
        comparisons=[],
    )
    pipeline.run(pipeline.load(recipe), quiet=True)
    return recipe


def knows(request: object) -> str:
    """A scripted student that always says the same."""
    return "Answer: 1"


def states(recipe: Path) -> dict[str, tuple[str, str]]:
    return {node.name: (state.kind, state.reason) for node, state in pipeline.status(pipeline.load(recipe))}


def test_an_unchanged_file_is_complete_under_a_new_stamp_too(own_data: Path, tmp_path: Path) -> None:
    assert {kind for kind, _ in states(own_data).values()} == {"complete"}
    path = tmp_path / "data" / "sums.jsonl"
    path.write_bytes(path.read_bytes())
    path.touch()
    assert {kind for kind, _ in states(own_data).values()} == {"complete"}
    assert pipeline.run(pipeline.load(own_data), quiet=True) == []


@pytest.mark.parametrize("text", [rows(40, "{i}0"), rows(40, "x{i}"), rows(41)], ids=["golds", "kind", "a row more"])
def test_a_changed_file_is_read_again(own_data: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "data" / "sums.jsonl").write_text(text)
    assert states(own_data)["problems"] == ("stale", "data file sums.jsonl has changed")
    assert "problems" in pipeline.run(pipeline.load(own_data), quiet=True)
    assert {kind for kind, _ in states(own_data).values()} == {"complete"}


def test_a_deleted_file_is_missed(own_data: Path, tmp_path: Path) -> None:
    (tmp_path / "data" / "sums.jsonl").unlink()
    assert states(own_data)["problems"] == ("stale", "data file sums.jsonl is missing")
    with pytest.raises(InputError, match="no such file"):
        pipeline.run(pipeline.load(own_data), quiet=True)


def test_the_manifest_names_data_files_without_their_folder(own_data: Path, tmp_path: Path) -> None:
    text = (tmp_path / "run" / "problems.jsonl.manifest.json").read_text()
    assert list(json.loads(text)["sources"]) == ["sums.jsonl"]


def test_files_of_a_data_folder_count(study_file: StudyFile, tmp_path: Path) -> None:
    folder = tmp_path / "sets" / "gsm8k"
    folder.mkdir(parents=True)
    for split in ("train", "test"):
        with gzip.open(folder / f"{split}.jsonl.gz", "wt") as stream:
            for i in range(12):
                question = f"Ana has {i + 2} {split} pens and buys 3. How many?"
                answer = f"{i + 2}+3=<<{i + 2}+3={i + 5}>>{i + 5}\n#### {i + 5}"
                stream.write(json.dumps({"question": question, "answer": answer, "final": str(i + 5)}) + "\n")
    recipe = study_file(
        task={"name": "gsm8k", "data_dir": str(tmp_path / "sets"), "train": 6, "validation": 2, "test": 4},
        students={"s": {"model": "scripted:tests.pipeline.test_sources:knows"}},
        arms={"standard": {}},
        comparisons=[],
    )
    pipeline.run(pipeline.load(recipe), quiet=True)
    assert {kind for kind, _ in states(recipe).values()} == {"complete"}
    (folder / "test.jsonl.gz").write_bytes(gzip.compress(b""))
    assert states(recipe)["problems"] == ("stale", "data file gsm8k/test.jsonl.gz has changed")


def test_the_code_of_an_own_task_counts(study_file: StudyFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "package_of_mine"
    own.mkdir()
    (own / "__init__.py").write_text("")
    (own / "helper.py").write_text("WORD = 'one'\n")
    (own / "tasks.py").write_text(
        "from tracedistill.tasks.babi.task import Babi\nclass Mine(Babi):\n    name = 'mine'\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    recipe = study_file(task={"name": "package_of_mine.tasks:Mine", "train": 4, "validation": 2, "test": 4})
    pipeline.run(pipeline.load(recipe), quiet=True)
    assert {kind for kind, _ in states(recipe).values()} == {"complete"}
    (own / "helper.py").write_text("WORD = 'two'\n")
    found = states(recipe)
    for name in ("problems", "score:standard", "validate:rules"):
        kind, reason = found[name]
        assert kind == "stale"
        assert reason.startswith("task_code was ")
    for name in [name for name in sys.modules if name.startswith("package_of_mine")]:
        monkeypatch.delitem(sys.modules, name)
