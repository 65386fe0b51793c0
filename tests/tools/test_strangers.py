"""Files whose columns have names of their own, and golds that are easily taken for something else.

Each is started by `init` without a word from the user; who answers with the gold is right, who answers otherwise wrong.
A new kind is a line of the table.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tracedistill.cli import main
from tracedistill.errors import InputError
from tracedistill.files import read_jsonl
from tracedistill.pipeline import load
from tracedistill.records import Problem
from tracedistill.tasks import Source, get_task
from tracedistill.tools.init.columns import guess

N = 30
Rows = list[dict[str, Any]]


def in_turn(*values: Any) -> Callable[[int], Any]:
    return lambda n: values[n % len(values)]


def rows_of(row: dict[str, Any]) -> Rows:
    def cell(value: Any, n: int) -> Any:
        return value(n) if callable(value) else value.replace("{n}", str(n)) if isinstance(value, str) else value

    return [{key: cell(value, n) for key, value in row.items()} for n in range(N)]


def table(rows: Rows, delimiter: str) -> str:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(rows[0]), delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def write(folder: Path, ending: str, rows: Rows) -> Path:
    path = folder / f"own{ending}"
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if ending == ".jsonl.gz":
        path.write_bytes(gzip.compress(lines.encode()))
    elif ending == ".parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif ending == ".json":
        path.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    elif ending == "/":
        path.mkdir()
        for number in range(2):
            (path / f"part-{number}.csv").write_text(table(rows[number::2], ","), encoding="utf-8")
    elif ending in (".csv", ".tsv", ".utf16.csv", ".comma.csv"):
        delimiter = {".csv": ";", ".tsv": "\t"}.get(ending, ",")
        path.write_text(table(rows, delimiter), encoding="utf-16" if "utf16" in ending else "utf-8-sig", newline="")
    else:
        path.write_text(lines, encoding="utf-8")
    return path


QUEUES = ("Zahlung & Rechnung", "Rückgabe", "Technischer Fehler", "Konto gesperrt", "Sonstiges")
STRANGERS: list[tuple[str, str, dict[str, Any], dict[str, Any], tuple[str, ...]]] = [
    # name, ending, a row, what init must say, what is wrong of row 7 (its gold does without saying)
    ("tickets", ".tsv", {"Betreff": "Anfrage {n}", "Nachricht": 'Mein "Auftrag" {n}\twird\nnicht bearbeitet.',
                         "Kategorie": in_turn(*QUEUES), "Ticket-Nr": "T-{n}"},
     {"question": "{Betreff}\n{Nachricht}", "answer": "Kategorie", "judge": "label", "unused": ["Ticket-Nr"]},
     ("Rückgabe", "Konto gesperrt")),
    ("Chinese choices", ".jsonl", {"题目": "第{n}题:哪个城市是首都?", "A": "北京{n}",
                                   "B": "东京", "C": "巴黎", "D": "伦敦",
                                   "答案": in_turn(*"ABCD")},
     {"question": "题目", "choices": ["A", "B", "C", "D"], "judge": "choice", "unused": []}, ("A", "东京")),
    ("amounts", ".jsonl", {"prompt": "What do {n} chairs cost?", "completion": lambda n: f"${1234 * n + 9.5:,.2f}"},
     {"answer": "completion", "judge": "number"}, ("$8,647.51", "8.6475")),
    ("truth", ".jsonl", {"claim": "{n} can be divided by 3", "evidence": "It is {n} in all.",
                         "label": lambda n: n % 3 == 0},
     {"question": "{claim}\n{evidence}", "answer": "label", "judge": "label", "unused": []}, ("True", "true.")),
    ("alternatives", ".jsonl", {"question": "Which city has {n} gates?", "answer": "Paris {n} | City of Paris {n}"},
     {"judge": "exact"}, ("Paris 8", "Paris 7 | City of Paris 7 | Rome")),
    ("dates", ".csv", {"id": "{n}", "frage": "Welcher Tag folgt auf Tag {n}?",
                       "datum": lambda n: f"2024-03-{n + 1:02d}"},
     {"question": "frage", "answer": "datum", "id": "id", "judge": "exact"}, ("2024-03-80", "2024-08-03")),
    ("extraction", ".json", {"document": "Invoice {n}: {n} pens and a book.", "entities": lambda n: {
        "number": n, "items": [{"name": "pen", "qty": n}, {"name": "book", "qty": 1}], "tags": ["a", "b"]}},
     {"question": "document", "answer": "entities", "judge": "json"},
     ('{"number": 7, "items": [{"name": "pen", "qty": 7}], "tags": ["a", "b"]}', '{"number": 7}')),
    ("queries", ".jsonl.gz", {"question": "Who is older than {n}?", "db_id": "x", "schema": "CREATE TABLE a (b INT)",
                              "query": "SELECT b FROM a WHERE b > {n}"},
     {"answer": "query", "context": "schema", "judge": "exact"}, ("SELECT b FROM a WHERE b < 7", "SELECT b FROM a")),
    ("programs", ".jsonl", {"instruction": "Write a function that adds {n}.",
                            "solution": "def add_{n}(x):\n    return x + {n}\n", "tests": ["assert True"]},
     {"answer": "solution", "judge": "exact"}, ("def add_7(x):\n    return x - 7", "def add_7(x):\n  return x + 7")),
    ("translations", ".parquet", {"id": lambda n: n, "translation": lambda n: {"en": f"House {n} is red.",
                                                                               "de": f"Haus {n} ist rot."}},
     {"question": "translation.en", "answer": "translation.de", "judge": "exact"}, ("House 7 is red.", "Haus 7 rot")),
    ("rankings", ".jsonl", {"query": "Sort {n}, 50 and 3!", "ranking": lambda n: sorted([n + 4, 50, 3])},
     {"answer": "ranking", "judge": "json"}, ("[50, 11, 3]", "3", "[3, 11]")),
    ("sets", ".jsonl", {"text": "Article {n} about things.", "labels": in_turn(["sport"], ["sport", "law"], ["law"])},
     {"answer": "labels", "judge": "json"}, ('["sport"]', '"law"', "sport")),
    ("codes", "/", {"address": "{n} Main Street, Boston", "zip": lambda n: f"0{2100 + n}"},
     {"question": "address", "answer": "zip", "judge": "exact"}, ("2107", "02170")),
    ("small numbers", ".utf16.csv", {"question": "What are {n} charges?",
                                     "final_answer": lambda n: f"{n + 1.5:.1f}e-19"},
     {"judge": "number"}, ("8.5e-18", "8.5")),
    ("faces", ".jsonl", {"tweet": "day {n}, oh my", "emoji": in_turn("😀", "😢", "😡")},
     {"question": "tweet", "answer": "emoji", "judge": "label"}, ("😀", "😡")),
    ("decimal commas", ".csv", {"Aufgabe": "Was ist die Hälfte von {n}?", "Ergebnis": lambda n: f"{n},5"},
     {"question": "Aufgabe", "answer": "Ergebnis", "judge": "number"}, ("75", "7,6", "7.4")),
    ("abstracts", ".jsonl", {"QUESTION": "Does drug {n} help?", "CONTEXTS": ["Trial {n}.", "It was small."],
                             "final_decision": in_turn("yes", "no", "maybe"), "LONG_ANSWER": "Since {n}, it may be."},
     {"question": "QUESTION", "context": "CONTEXTS", "answer": "final_decision", "judge": "label"}, ("yes", "maybe")),
    ("units", ".comma.csv", {"input": "Convert {n} km.", "target": lambda n: f"{n * 1000} m"},
     {"judge": "number"}, ("7 m", "7001 m")),
    ("moves", ".jsonl", {"position": "fen {n}", "best_move": in_turn("Nf3", "e4", "O-O", "Qxd5+", "bxc3")},
     {"question": "position", "answer": "best_move", "judge": "label"}, ("Nf3", "bxc3")),
    ("boxed", ".jsonl", {"problem": "Add {n} and a half.", "solution": "It is \\boxed{\\frac{{n}}{2}}.", "level": "1"},
     {"answer": "solution", "judge": "math"}, ("\\frac{8}{2}", "7")),
    ("shares", ".jsonl", {"q": "What share is {n} of 200?", "a": lambda n: f"{n / 2}%"},
     {"question": "q", "answer": "a", "judge": "number"}, ("7%", "35%")),
    ("entailment", ".jsonl", {"premise": "{n} men walk.", "hypothesis": "Somebody walks {n}.",
                              "label": in_turn("entailment", "neutral", "contradiction"), "annotator": "A"},
     {"question": "{premise}\n{hypothesis}", "answer": "label", "judge": "label", "unused": ["annotator"]},
     ("entailment", "contradiction")),
]  # fmt: skip


@pytest.mark.parametrize(("name", "ending", "row", "facts", "wrong"), STRANGERS, ids=[name for name, *_ in STRANGERS])
def test_no_second_try_is_needed_and_golds_alone_are_right(
    name: str,
    ending: str,
    row: dict[str, Any],
    facts: dict[str, Any],
    wrong: tuple[str, ...],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write(tmp_path, ending, rows_of(row))
    assert main(["init", str(path), "--out", str(tmp_path / "s.yaml"), "--json"]) == 0, name
    found = json.loads(capsys.readouterr().out)
    assert {key: found[key] for key in facts} == facts
    assert (found["rows"], found["failing_golds"]) == (N, 0)
    config, task = load(tmp_path / "s.yaml").study.task, get_task("file")
    source = Source(path=str(path), columns=config.columns, judge=config.judge, labels=config.labels)
    problems = [problem for split in found["splits"] for problem in task.load(split, source)]
    assert len(problems) == N
    for problem in problems:
        for gold in problem.answers:
            for text in (f"Let me see.\nAnswer: {gold}", f"Answer:\n{gold}"):
                verdict = task.judge_answer(problem, text).answer
                assert verdict.outcome == "correct", (problem.answers, text, verdict)
    (seventh,) = [problem for problem in problems if re.search(r"(?<!\d)7(?!\d)", problem.question)]
    for text in wrong:
        verdict = task.judge_answer(seventh, f"Let me see.\nAnswer: {text}").answer
        assert verdict.outcome in ("incorrect", "missing"), (seventh.answers, text, verdict)


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        # an explanation behind the answer is not shown with the question
        ({"fact": "Whale {n} swims.", "verdict_x": "no", "why": "It is a mammal of kind {n}, and so on."},
         {"question": "fact", "answer": "verdict_x"}),
        ({"a b": "one more text {n}", "url": "https://x/{n}", "c": "{n}7"}, {"question": "a b", "answer": "c"}),
        # nothing to go by: the user is asked
        ({"x": "{n}", "y": "{n}1"}, None),
        ({"text": "A text {n}.", "note": "{n}"}, None),
        ({"text": "A text {n}.", "constant": "1"}, None),
    ],
)  # fmt: skip
def test_columns_are_told_by_what_they_hold(row: dict[str, Any], columns: dict[str, str] | None) -> None:
    rows = rows_of({key: in_turn("yes", "no") if value == "no" else value for key, value in row.items()})
    if columns is None:
        with pytest.raises(InputError, match="which column is the"):
            guess(rows, {}, "own.jsonl")
    else:
        assert guess(rows, {}, "own.jsonl").columns == columns


def test_a_judge_that_was_named_takes_bars_and_lists_as_it_says(tmp_path: Path) -> None:
    rows = rows_of({"question": "Which {n}?", "answer": "a{n} | b{n}", "names": lambda n: [f"x{n}", f"y{n}"]})
    path = write(tmp_path, ".jsonl", [{**row, "split": "test"} for row in rows])
    task = get_task("file")

    def golds(**more: Any) -> tuple[str, ...]:
        return next(iter(task.load("test", Source(path=str(path), **more)))).answers

    assert golds() == ("a0", "b0")
    assert golds(judge="exact") == ("a0 | b0",)
    assert golds(columns={"answer": "names"}) == ("x0", "y0")
    assert golds(columns={"answer": "names"}, judge="json") == ('["x0", "y0"]',)


def test_golds_beside_which_nothing_is_left_out_reach_the_run(tmp_path: Path) -> None:
    """What init shows is what a run judges by: the problems of a run hold the same golds."""
    from tracedistill import pipeline

    path = write(tmp_path, ".jsonl", rows_of({"query": "Sort {n}, 50 and 3!", "ranking": lambda n: [3, n + 4, 50]}))
    assert (
        main(["init", str(path), "--out", str(tmp_path / "s.yaml"), "--student", "scripted:tests.scripts:solver"]) == 0
    )
    loaded = load(tmp_path / "s.yaml", [f"run_dir={tmp_path / 'run'}"])
    pipeline.run(loaded, "problems", quiet=True)
    drawn = list(read_jsonl(tmp_path / "run/problems.jsonl", Problem))
    assert {problem.meta["judge"] for problem in drawn} == {"json"}
    assert all(json.loads(problem.answers[0])[0] == 3 for problem in drawn)
