from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import yaml

from tracedistill import pipeline
from tracedistill.cli import main
from tracedistill.errors import InputError
from tracedistill.tools.init import start_study


def a_csv(path: Path, rows: int, **more: str) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["prompt", "target", *more])
        for number in range(rows):
            values = [value.format(n=number, m=number + 2) for value in more.values()]
            writer.writerow([f"What is {number} + 2?", number + 2, *values])
    return path


def test_from_a_csv_to_a_study_that_runs(tmp_path: Path) -> None:
    recipe = tmp_path / "study.yaml"
    started = start_study(a_csv(tmp_path / "sums.csv", 60), recipe, {}, "scripted:tests.scripts:half")
    assert started.columns == {"question": "prompt", "answer": "target"}
    assert "no gold steps" in started.missing
    raw = yaml.safe_load(recipe.read_text())
    assert raw["task"]["path"] == "sums.csv"
    assert "correct-trace" not in raw["arms"]
    loaded = pipeline.load(recipe, [f"run_dir={tmp_path / 'run'}"])
    assert pipeline.run(loaded, "assemble", quiet=True) == ["problems", "assemble"]


def test_worked_solutions_become_steps(tmp_path: Path) -> None:
    path = tmp_path / "solved.jsonl"
    worked = "First add the two numbers that are given: {n} + 2 = {m}. So the sum which was asked for is {m}."
    rows = [
        {"q": 0, "question": f"What is {n} + 2?", "answer": worked.format(n=n, m=n + 2), "final": n + 2}
        for n in range(60)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = tmp_path / "study.yaml"
    started = start_study(path, recipe, {}, "scripted:tests.scripts:half")
    assert started.columns == {"question": "question", "answer": "final", "steps": "answer"}
    assert "correct-trace" in yaml.safe_load(recipe.read_text())["arms"]
    loaded = pipeline.load(recipe, [f"run_dir={tmp_path / 'run'}"])
    pipeline.run(loaded, "assemble", quiet=True)
    rows_of = (tmp_path / "run" / "sft" / "correct-trace.jsonl").read_text().splitlines()
    assert "+ 2 = " in json.loads(rows_of[0])["completion"]
    assert len(rows_of) == len((tmp_path / "run" / "sft" / "answer-only.jsonl").read_text().splitlines())


def test_what_cannot_be_guessed_is_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "odd.csv"
    path.write_text("eins,zwei\n" + "".join(f"{n}+{n},{2 * n}\n" for n in range(40)))
    with pytest.raises(InputError, match="which column is the question"):
        start_study(path, tmp_path / "s.yaml", {}, "x")
    assert not (tmp_path / "s.yaml").exists()
    columns = ["--columns", "question=eins", "--columns", "answer=zwei"]
    assert main(["init", str(path), "--out", str(tmp_path / "s.yaml"), *columns]) == 0
    assert yaml.safe_load((tmp_path / "s.yaml").read_text())["task"]["columns"] == {
        "question": "eins",
        "answer": "zwei",
    }
    assert "wrote" in capsys.readouterr().out
    assert main(["init", str(path), "--out", str(tmp_path / "s.yaml")]) == 2
    assert "already exists" in capsys.readouterr().err
    assert main(["init", str(path), "--out", str(tmp_path / "t.yaml"), "--columns", "answer=nope"]) == 2
    assert "no column 'nope'" in capsys.readouterr().err


def test_what_is_learnt_is_shown_as_the_rows_have_it(tmp_path: Path) -> None:
    path = tmp_path / "pens.jsonl"
    rows = [
        {
            "question": f"Ana has {n} pens and gets 2. How many?",
            "steps": f"Add them.\n{n} + 2 = {n + 2}",
            "answer": n + 2,
        }
        for n in range(40)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = tmp_path / "pens.yaml"
    shown = start_study(path, recipe, {}, "x").completion
    assert main(["assemble", str(recipe), f"run_dir={tmp_path / 'run'}", "--quiet"]) == 0
    made = (tmp_path / "run" / "sft" / "correct-trace.jsonl").read_text().splitlines()
    assert shown in [json.loads(line)["completion"] for line in made]


def test_a_tolerance_is_told_by_init_and_by_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "prices.csv"
    path.write_text("question,price\n" + "".join(f"How much are {n} kg of rice?,{n}.50 EUR\n" for n in range(40)))
    recipe = tmp_path / "prices.yaml"
    assert main(["init", str(path), "--out", str(recipe), "--tolerance", "2%"]) == 0
    assert "an answer may differ from its gold by 2%" in capsys.readouterr().out
    assert main(["run", str(recipe), "--dry-run", f"run_dir={tmp_path / 'run'}"]) == 0
    assert "an answer may differ from its gold by 2%" in capsys.readouterr().out


def test_golds_that_are_sentences_are_pointed_out(tmp_path: Path) -> None:
    path = tmp_path / "chat.csv"
    path.write_text(
        "question,answer\n" + "".join(f"How many are {n} pens?,There are **{n}** pens.\n" for n in range(40))
    )
    notes = start_study(path, tmp_path / "s.yaml", {}, "x").notes
    assert sum("whole sentences" in note for note in notes) == 1
    path.write_text("question,answer\n" + "".join(f"Which is river {n}?,River number {n}\n" for n in range(40)))
    assert not any("whole sentences" in note for note in start_study(path, tmp_path / "t.yaml", {}, "x").notes)


def test_chinese_column_names_are_known(tmp_path: Path) -> None:
    path = tmp_path / "maths.csv"
    rows = "".join(f"{n}加1等于几？,{n}+1={n + 1},{n + 1}个\n" for n in range(40))
    path.write_text(f"题目,解答,答案\n{rows}")
    found = start_study(path, tmp_path / "s.yaml", {}, "x").columns
    assert found == {"question": "题目", "steps": "解答", "answer": "答案"}


@pytest.mark.parametrize(("content", "words"), [("", "no rows"), ("question,answer\n", "no rows")])
def test_empty_files(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "empty.csv").write_text(content)
    with pytest.raises(InputError, match=words):
        start_study(tmp_path / "empty.csv", tmp_path / "s.yaml", {}, "x")
