"""What `init` recognises by columns and by kinds of files, what it refuses, and what it says."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tracedistill import pipeline
from tracedistill.cli import main
from tracedistill.errors import InputError
from tracedistill.tools.init import Wanted, start_study

N = 20
THINK = "<think>\nAdd {n} and 2.\n</think>\n\nThe sum is \\boxed{{{m}}}."


def filled(value: Any, n: int) -> Any:
    if isinstance(value, str):
        return value.replace("{n}", str(n)).replace("{m}", str(n + 2)).replace("{{", "{").replace("}}", "}")
    if isinstance(value, list):
        return [filled(item, n) for item in value]
    if isinstance(value, dict):
        return {key: filled(item, n) for key, item in value.items()}
    return value(n) if callable(value) else value


def write(path: Path, row: dict[str, Any], rows: int = N) -> Path:
    path.write_text("".join(json.dumps(filled(row, n)) + "\n" for n in range(rows)), encoding="utf-8")
    return path


OPTIONS = ["red{n}", "green{n}", "blue{n}", "grey{n}"]
LABELLED = {"text": OPTIONS, "label": ["A", "B", "C", "D"]}
SHAPES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("MedMCQA", {"id": "m{n}", "question": "Which {n}?", "opa": "red{n}", "opb": "green{n}", "opc": "blue", "opd": "x",
                 "cop": lambda n: n % 4, "exp": "Because {n} is red.", "subject_name": "Anatomy"},
     {"choices": ["opa", "opb", "opc", "opd"], "answer": "cop", "id": "id", "judge": "choice", "trace": "exp"}),
    ("ARC", {"id": "a{n}", "question": "Which {n}?", "choices": LABELLED, "answerKey": lambda n: "ABCD"[n % 4]},
     {"choices": "choices", "answer": "answerKey", "id": "id", "judge": "choice"}),
    ("CSQA", {"id": "c{n}", "question": "Where {n}?", "question_concept": "x{n}", "choices": LABELLED,
              "answerKey": lambda n: "ABCD"[n % 4]},
     {"choices": "choices", "answer": "answerKey", "judge": "choice", "unused": ["question_concept"]}),
    ("MMLU", {"question": "Which {n}?", "subject": lambda n: "ab"[n % 2], "choices": OPTIONS,
              "answer": lambda n: n % 4},
     {"choices": "choices", "answer": "answer", "judge": "choice", "unused": []}),
    ("MMLU in columns", {"question": "Which {n}?", "A": "red{n}", "B": "green", "C": "blue", "D": "x",
                         "answer": lambda n: "ABCD"[n % 4]},
     {"choices": ["A", "B", "C", "D"], "answer": "answer", "judge": "choice", "unused": []}),
    ("options from 1", {"question": "Which {n}?", "option1": "red{n}", "option2": "green",
                        "answer": lambda n: 1 + n % 2},
     {"choices": ["option1", "option2"], "judge": "choice"}),
    ("HellaSwag", {"ctx": "She {n}", "endings": OPTIONS, "label": lambda n: str(n % 4)},
     {"question": "ctx", "choices": "endings", "answer": "label", "judge": "choice"}),
    ("R1", {"prompt": "What is {n} + 2?", "response": THINK},
     {"question": "prompt", "answer": "response", "trace": "response", "judge": "number"}),
    ("R1 with gold", {"problem": "What is {n} + 2?", "response": THINK, "expected_answer": "{m}"},
     {"question": "problem", "answer": "expected_answer", "trace": "response", "judge": "number"}),
    ("OpenThoughts", {"problem": "What is {n} + 2?", "deepseek_reasoning": "Add {n} and 2.",
                      "ground_truth_solution": "{m}", "domain": "math", "source": "x"},
     {"question": "problem", "trace": "deepseek_reasoning", "answer": "ground_truth_solution", "judge": "number"}),
    ("OpenR1", {"problem": "What is {n} + 2?", "solution": "Add.", "answer": "{m}", "generations": [THINK],
                "uuid": "u{n}"},
     {"question": "problem", "trace": "generations.0", "answer": "answer", "judge": "number"}),
    ("verl", {"data_source": "x", "prompt": "What is {n} + 2?",
              "reward_model": {"style": "rule", "ground_truth": "{m}"}},
     {"question": "prompt", "answer": "reward_model.ground_truth", "judge": "number"}),
    ("HumanEval", {"task_id": "HE/{n}", "prompt": "def f{n}(x):\n    '''Add {n}.'''\n",
                   "canonical_solution": "    return x + {n}\n", "test": "def check(f): ...", "entry_point": "f{n}"},
     {"question": "prompt", "answer": "canonical_solution", "id": "task_id", "unused": ["test", "entry_point"]}),
    ("MBPP", {"task_id": lambda n: n, "text": "Write a function that adds {n}.",
              "code": "def f(x):\n    return x + {n}", "test_list": ["assert f(1) == {n} + 1"]},
     {"question": "text", "answer": "code", "id": "task_id", "judge": "exact", "unused": ["test_list"]}),
    ("text, label", {"text": "Film {n} was a joy.", "label": lambda n: n % 2,
                     "label_text": lambda n: ["bad", "good"][n % 2]},
     {"question": "text", "answer": "label_text", "judge": "label", "labels": {"bad": 10, "good": 10}}),
    ("prompt, completion", {"prompt": "What is {n} + 2?", "completion": "{m}"},
     {"question": "prompt", "answer": "completion", "judge": "number"}),
    ("text, category", {"text": "Ticket {n}", "category": lambda n: ["billing", "other"][n % 2]},
     {"question": "text", "answer": "category", "judge": "label"}),
    ("ground_truth", {"query": "What is {n} + 2?", "ground_truth": "{m}", "note": "x"},
     {"question": "query", "answer": "ground_truth", "unused": ["note"]}),
    ("SVAMP", {"ID": "s{n}", "Body": "Ana has {n} pens and gets 2.", "Question": "How many pens?", "Answer": "{m}"},
     {"question": "Question", "context": "Body", "answer": "Answer", "id": "ID", "unused": []}),
    ("context", {"passage": "Ana has {n} pens.", "question": "How many pens?", "answers": ["{n}", "{n} pens"]},
     {"question": "question", "context": "passage", "answer": "answers"}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "row", "facts"), SHAPES, ids=[name for name, *_ in SHAPES])
def test_columns_tell_what_a_file_is(
    name: str, row: dict[str, Any], facts: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "own.jsonl", row)
    assert main(["init", str(path), "--out", str(tmp_path / "s.yaml"), "--json"]) == 0, name
    found = json.loads(capsys.readouterr().out)
    assert {key: found[key] for key in facts} == facts
    assert (found["rows"], found["failing_golds"]) == (N, 0)
    recipe = pipeline.load(tmp_path / "s.yaml", [f"run_dir={tmp_path / 'run'}"])
    assert pipeline.run(recipe, "assemble", quiet=True)[-1] == "assemble"


def sums(n: int) -> dict[str, Any]:
    return {"question": f"What is {n} + 2?", "answer": n + 2}


def as_file(folder: Path, kind: str) -> Path:
    """Twenty sums in a file of this kind."""
    rows, path = [sums(n) for n in range(N)], folder / f"own.{kind}"
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    table = {"csv": ",", "tsv": "\t", "semi.csv": ";", "utf16.csv": ",", "bom.csv": ","}
    if kind in table:
        encoding = {"utf16.csv": "utf-16", "bom.csv": "utf-8-sig"}.get(kind, "utf-8")
        with path.open("w", newline="", encoding=encoding) as stream:
            writer = csv.DictWriter(stream, rows[0], delimiter=table[kind])
            writer.writeheader()
            writer.writerows(rows)
    elif kind == "json":
        path.write_text(json.dumps(rows))
    elif kind == "data.json":
        path.write_text(json.dumps({"version": 1, "data": rows}))
    elif kind == "columns.json":
        path.write_text(json.dumps({key: [row[key] for row in rows] for key in rows[0]}))
    elif kind.endswith(".gz"):
        path.write_bytes(gzip.compress(lines.encode()))
    elif kind == "parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif kind == "shards":
        path.mkdir()
        for split, part in (("train", rows[:12]), ("validation", rows[12:14]), ("test", rows[14:])):
            (path / f"{split}-00000-of-00001.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
        (path / "README.md").write_text("# mine")
    elif kind == "parts":
        path.mkdir()
        for number in range(2):
            part = rows[10 * number : 10 * number + 10]
            (path / f"part-{number}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    elif kind == "{split}.jsonl":
        for split, part in (("train", rows[:14]), ("test", rows[14:])):
            (folder / f"own.{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    else:
        path.write_text(lines)
    return path


@pytest.mark.parametrize(
    ("kind", "splits"),
    [
        *((kind, {"train": 16, "validation": 2, "test": 2}) for kind in (
            "jsonl", "ndjson", "json", "data.json", "columns.json", "csv", "tsv", "semi.csv", "utf16.csv", "bom.csv",
            "parquet", "jsonl.gz", "parts")),
        ("shards", {"train": 12, "validation": 2, "test": 6}),
        ("{split}.jsonl", {"train": 14, "test": 6}),
    ],
)  # fmt: skip
def test_kinds_of_files(kind: str, splits: dict[str, int], tmp_path: Path) -> None:
    found = start_study(as_file(tmp_path, kind), tmp_path / "s.yaml", {}, "x").facts()
    assert (found["splits"], found["judge"], found["question"]) == (splits, "number", "question")
    loaded = pipeline.load(tmp_path / "s.yaml", [f"run_dir={tmp_path / 'run'}"])
    pipeline.run(loaded, "assemble", quiet=True)
    sizes = json.loads((tmp_path / "run" / "problems.report.json").read_text())["sizes"]
    # a missing validation split is taken from train, for the study
    assert (sizes["test"], sizes["validation"] > 0, sum(sizes.values())) == (splits["test"], True, N)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("own.csv", "question,answer\nWas heißt das?,ja\n".encode("latin-1"), "iconv -f LATIN1 -t UTF-8 'own.csv'"),
        ("own.csv", b"question,answer\na,b,c\n", "number of fields differs from the header's (separated by ',')"),
        ("own.json", b'{"question": "a", "answer": 1}\n{"question": "b", "answer": 2}\n', "name the file .jsonl"),
        ("own.json", b"3", "must be a list of objects"),
        ("own.json", b"[1, 2]", "row 1: not a JSON object"),
        ("own.txt", b"a", "use .jsonl, .json, .csv or .tsv"),
        ("own.parquet", b"a", "not a readable Parquet file"),
        ("own.csv", b"eins,zwei\na,b\n", "which column is the question? It has: eins, zwei"),
        ("own.csv", b"question,note\na,b\nb,c\n", "which column is the answer?"),
    ],
)
def test_broken_files_say_the_remedy(
    name: str, content: bytes, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    assert main(["init", str(tmp_path / name), "--out", str(tmp_path / "s.yaml")]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "s.yaml").exists()


def test_a_data_set_that_neither_exists_here_nor_can_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)  # as without a network, but without its waiting
    with pytest.raises(InputError, match=r"cannot load .* from the hub: .*; there is no such file either"):
        start_study(Path("nobody-at-all/nothing-there"), tmp_path / "s.yaml", {}, "x")


def test_blank_golds_are_all_counted_and_stop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [sums(n) if n % 10 else {**sums(n), "answer": ""} for n in range(300)]
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    arguments = ["init", str(path), "--out", str(tmp_path / "s.yaml"), "--json"]
    assert main(arguments) == 2
    assert "30 of 300 do not pass their own judge" in capsys.readouterr().err
    assert main([*arguments, "--failing-golds", "0.2"]) == 0
    assert json.loads(capsys.readouterr().out)["failing_golds"] == 30
    assert yaml.safe_load((tmp_path / "s.yaml").read_text())["task"]["failing_golds"] == 0.2


def test_the_page_shows_prompt_judge_columns_and_what_comes_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"subject": "Bill {n}", "body": "It is wrong.", "queue": lambda n: ["billing", "other"][n % 2], "x": "{n}"}
    path = write(tmp_path / "own.jsonl", row)
    assert main(["init", str(path), "--out", str(tmp_path / "s.yaml")]) == 0
    shown = capsys.readouterr().out
    for words in (
        "question  <- '{subject}\\n{body}'", "not used: x",
        "answers are judged as label: 20 golds are 2 different texts",
        "labels: billing 10, other 10", "train: 16 problems, validation: 2 problems, test: 2 problems",
        "  | Choose the label that fits the text below.", "  | Answer with one of: billing, other",
        "  | Answer: billing", "so task.instruction was added", "next: tracedistill run",
    ):  # fmt: skip
        assert words in shown, words


@pytest.mark.parametrize(
    ("row", "wanted", "words"),
    [
        (
            {"text": "Film {n} was a joy.", "answer": "It is {n} in all."},
            {},
            "nothing tells an untuned student what to do",
        ),
        ({"text": "Film {n} was a joy.", "answer": "It is {n} in all."}, {"instruction": "Rate it."}, ""),
        ({"question": "Which {n}?", "sql": "SELECT {n}"}, {}, "--judge module:function with a function that runs them"),
        (
            {"question": "Why {n}?", "answer": "Because it is so, and has been so since the year {n}." * 3},
            {},
            "long texts",
        ),
        ({"question": "What does {n} cost?", "price": "{n}.95"}, {}, "--tolerance 2% (or 0.5)"),
        ({"question": "What does {n} cost?", "price": "{n}.95"}, {"tolerance": {"relative": 0.02}}, ""),
    ],
)
def test_notes(row: dict[str, Any], wanted: dict[str, Any], words: str, tmp_path: Path) -> None:
    found = start_study(write(tmp_path / "own.jsonl", row), tmp_path / "s.yaml", {}, Wanted("x", **wanted))
    if words:
        assert words in found.missing
    else:
        assert not any(part in found.missing for part in ("untuned", "tolerance"))


def test_a_model_teacher_is_put_in_by_name_of_its_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "own.jsonl", {"question": "What is {n} + 2?", "answer": "{m}"})
    teacher = ["--teacher", "https://api.openai.com/v1", "--model", "gpt-4o-mini", "--student", "some/model"]
    assert main(["init", str(path), "--out", str(tmp_path / "s.yaml"), *teacher]) == 0
    study = pipeline.load(tmp_path / "s.yaml").study
    config = study.teachers["teacher"]
    assert (config.model, config.base_url, config.key_env) == (
        "gpt-4o-mini",
        "https://api.openai.com/v1",
        "OPENAI_API_KEY",
    )
    assert study.arms["correct-trace"].tune == "correct"
    assert study.students["student"].model == "some/model"
    assert "no traces" not in capsys.readouterr().out
    assert main(["init", str(path), "--out", str(tmp_path / "t.yaml"), "--teacher", "http://x/v1"]) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--columns", "answer"], "must be FIELD=COLUMN"),
        (["--columns", "answers=answer"], "no such field; fields are question"),
        (["--columns", "answer=nope"], "no column 'nope'"),
        (["--columns", "question={nope}"], "no column 'nope' for the template"),
        (["--judge", "exactly"], "unknown judge 'exactly'"),
        (["--tolerance", "two"], "must be a share such as 2%"),
        (["--judge", "no.module:here"], "cannot import no.module:here"),
    ],
)
def test_arguments_that_make_no_sense(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "own.jsonl", {"question": "What is {n} + 2?", "answer": "{m}"})
    assert main(["init", str(path), "--out", str(tmp_path / "s.yaml"), *arguments]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "s.yaml").exists()
