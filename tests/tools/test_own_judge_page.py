"""docs/your-own-judge.md, run as it stands; and a data set of the hub out of a cache folder, without a network."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT
from tracedistill.chat.formats import write_completion
from tracedistill.cli import main
from tracedistill.tasks import Source, get_task

PAGE = (ROOT / "docs" / "your-own-judge.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the page's files, and its data made."""
    for kind, block in BLOCKS:
        if kind == "python":
            name = block.splitlines()[0].removeprefix("# ")
            (tmp_path / name).write_text(block)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_judge", raising=False)
    subprocess.run([sys.executable, "make_data.py"], check=True)
    return tmp_path


def test_the_commands_of_the_page(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (commands,) = (block for kind, block in BLOCKS if kind == "sh")
    lines = [shlex.split(line) for line in commands.splitlines()]
    assert [words[0] for words in lines] == ["python", "tracedistill", "tracedistill"]
    assert main(lines[1][1:]) == 0
    said = capsys.readouterr().out
    assert "answers are judged as my_judge:same_rows" in said
    assert "do not pass their own judge" not in said
    assert yaml.safe_load((folder / "study.yaml").read_text())["task"]["judge"] == "my_judge:same_rows"


GOLD = "SELECT COUNT(*) FROM orders WHERE total > 10"


@pytest.mark.parametrize(
    ("answer", "outcome", "reason"),
    [
        (GOLD, "correct", "verdict of my_judge:same_rows"),
        ("SELECT SUM(total >= 11) FROM orders", "correct", "verdict of my_judge:same_rows"),
        ("SELECT COUNT(*) FROM orders", "incorrect", "verdict of my_judge:same_rows"),
        ("SELECT", "incorrect", "the query fails: incomplete input"),
        ("DROP TABLE orders", "incorrect", "the query fails: attempt to write a readonly database"),
        ("", "missing", "nothing is stated"),
    ],
)
def test_what_the_example_judges(folder: Path, answer: str, outcome: str, reason: str) -> None:
    task, source = get_task("file"), Source(path=str(folder / "queries.jsonl"), judge="my_judge:same_rows")
    problems = [problem for split in ("train", "validation", "test") for problem in task.load(split, source)]
    (problem,) = (each for each in problems if each.answers == (GOLD,))
    verdict = task.judge_answer(problem, write_completion(None, answer) if answer else "").answer
    assert (verdict.outcome, verdict.reason) == (outcome, reason)


def test_a_judge_that_raises_makes_no_answer_wrong(folder: Path) -> None:
    (folder / "shop.db").unlink()
    task, source = get_task("file"), Source(path=str(folder / "queries.jsonl"), judge="my_judge:same_rows")
    problem = next(iter(task.load("test", source)))
    verdict = task.judge_answer(problem, write_completion(None, GOLD)).answer
    assert verdict.outcome == "ungradable"
    assert "my_judge:same_rows failed: OperationalError" in verdict.reason


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The hub id of a data set that lies in the cache alone, as `datasets` leaves it after a download."""
    import datasets

    cache = tmp_path / "cache"
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    rows: list[dict[str, Any]] = [{"question": f"What is {n} plus 2?", "answer": str(n + 2)} for n in range(60)]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    made = datasets.load_dataset("json", data_files={"train": str(file)}, cache_dir=str(cache))
    source = Path(made["train"].cache_files[0]["filename"]).parent
    target = cache / "me___sums" / "default" / "0.0.0" / source.name
    shutil.copytree(source, target)
    for arrow in target.glob("json-*.arrow"):
        arrow.rename(arrow.with_name(arrow.name.replace("json-", "sums-")))
    facts = json.loads((target / "dataset_info.json").read_text())
    names = {"builder_name": "sums", "dataset_name": "sums", "config_name": "default"}
    (target / "dataset_info.json").write_text(json.dumps({**facts, **names}))
    return "me/sums"


def test_a_hub_id_is_read_out_of_the_cache(
    cached: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has `train` alone, as many have: the splits are drawn."""
    monkeypatch.chdir(tmp_path)
    assert main(["init", cached, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["rows"], found["judge"]) == (60, "number")
    assert found["splits"] == {"train": 48, "validation": 6, "test": 6}
