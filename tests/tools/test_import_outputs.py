from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import DATA
from tests.run_folders import TASK, problems_of, right, write_run, wrong
from tracedistill.cli import main
from tracedistill.errors import InputError
from tracedistill.files import file_hash
from tracedistill.report import write_view
from tracedistill.report.reader import read_report
from tracedistill.report.runs import view_of_folder
from tracedistill.tools import import_outputs as importing
from tracedistill.tools.import_outputs import ColumnNames, import_outputs

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="no shared data here (set TRACEDISTILL_DATA)")

ROWS = [
    {"problem_id": "p-0", "text": "Answer: 3", "gold": "3"},
    {"problem_id": "p-1", "text": "Answer: 4", "gold": "3"},
    {"problem_id": "p-2", "text": "", "gold": "7"},
]


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def arms_of(folder: Path) -> dict[str, dict[str, Any]]:
    """The report's arms by name."""
    return {arm.name: arm for arm in write_view(view_of_folder(folder)).arms}


def lines_of(folder: Path, arm: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "attempts" / f"{arm}.jsonl").read_text().splitlines()]


def test_outputs_become_attempts_with_verdicts(tmp_path: Path) -> None:
    path = write(tmp_path / "theirs.jsonl", *ROWS)
    found = import_outputs(path, "gsm8k", "theirs", tmp_path / "run")
    assert (found.rows, found.problems, found.empty, found.refused) == (3, 3, 1, 0)
    assert found.sha256 == file_hash(path)
    lines = lines_of(tmp_path / "run", "theirs")
    assert [line["answer"]["outcome"] for line in lines] == ["correct", "incorrect", "missing"]
    assert [line["attempt_id"] for line in lines] == ["theirs/p-0/0", "theirs/p-1/0", "theirs/p-2/0"]
    arm = arms_of(tmp_path / "run")["theirs"]
    assert (arm.kind, arm.n, arm.correct, arm.missing) == ("imported", 3, 1, 1)
    assert arm.source["source"] == "theirs.jsonl"


@pytest.mark.parametrize("kind", ["jsonl", "jsonl.gz", "csv", "csv.gz", "parquet"])
def test_every_kind_of_file(tmp_path: Path, kind: str) -> None:
    rows = [{**row, "tokens_out": 7, "finish": "length"} for row in ROWS]
    path = tmp_path / f"rows.{kind}"
    if kind == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        opener = gzip.open if kind.endswith("gz") else open
        with opener(path, "wt", newline="") as stream:
            if kind.startswith("csv"):
                writer = csv.DictWriter(stream, rows[0])
                writer.writeheader()
                writer.writerows(rows)
            else:
                stream.writelines(json.dumps(row) + "\n" for row in rows)
    import_outputs(path, "gsm8k", "a", tmp_path / "run")
    arm = arms_of(tmp_path / "run")["a"]
    assert (arm.n, arm.correct, arm.cut_off, arm.tokens_out) == (3, 1, 3, 21)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        (
            "x.csv",
            "problem_id,text,gold,text\np-0,Answer: 3,3,Answer: 4\n",
            r"x\.csv, row 1: .* called 'text'; give each",
        ),
        ("x.csv", "\ufeffa,a,b,b,gold\n1,2,3,4,5\n", "called 'a', 'b'; give each"),
        ("x.csv.gz", "text,text,problem_id\n1,2,3\n", "called 'text'"),
        ("x.parquet.gz", "whatever", "run gunzip first"),
    ],
)
def test_files_that_cannot_be_meant(tmp_path: Path, name: str, text: str, told: str) -> None:
    content = text.encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    with pytest.raises(InputError, match=told):
        import_outputs(tmp_path / name, "gsm8k", "a", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_help_names_what_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["import", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert "(.jsonl, .csv, .parquet; also .jsonl.gz, .csv.gz)" in told


def test_further_columns_under_other_names(tmp_path: Path) -> None:
    row = {
        "id": "p-0",
        "out": "Answer: 3",
        "target": 3,
        "in": "12",
        "made": 4.0,
        "s": 0.5,
        "why": "EOS",
        "k": 2,
        "r": 1,
    }
    columns = ColumnNames("id", "target", "out", "in", "made", "s", "why", "k", "r")
    found = import_outputs(write(tmp_path / "x.jsonl", row), "gsm8k", "a", tmp_path / "run", columns=columns)
    (line,) = lines_of(tmp_path / "run", "a")
    told = ("tokens_in", "tokens_out", "seconds", "finish", "sample", "seed", "attempt_id")
    assert [line[name] for name in told] == [12, 4, 0.5, "stop", 2, 1, "a.seed1/p-0/2"]
    assert found.columns["text"] == "out"


def test_rows_of_one_problem_are_several_attempts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "x.jsonl", ROWS[0], ROWS[0], {**ROWS[0], "text": "Answer: 4"}, ROWS[1])
    assert main(["import", str(path), "--task", "gsm8k", "--arm", "a", "--run-dir", str(tmp_path / "run")]) == 0
    assert [line.get("sample", 0) for line in lines_of(tmp_path / "run", "a")] == [0, 1, 2, 0]
    assert "count as further attempts (2 more)" in capsys.readouterr().out


def test_a_second_arm_is_paired_by_id(tmp_path: Path) -> None:
    run = tmp_path / "run"
    import_outputs(write(tmp_path / "one.jsonl", *ROWS), "gsm8k", "one", run)
    better = [{"problem_id": row["problem_id"], "text": f"Answer: {row['gold']}"} for row in ROWS[::-1]]
    import_outputs(write(tmp_path / "two.jsonl", *better), "gsm8k", "two", run)
    report = write_view(view_of_folder(run))
    (entry,) = report.comparisons
    assert (entry.first, entry.second, entry.n) == ("two", "one", 3)
    assert (entry.only_first, entry.only_second) == (2, 0)
    assert any("Their seeds and settings are unknown" in line for line in report.limits)


def test_arms_of_other_problems_are_not_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    elsewhere = [{**row, "problem_id": f"far-{row['problem_id']}"} for row in ROWS]
    for arm, rows in (("one", ROWS), ("two", ROWS), ("far", elsewhere)):
        import_outputs(write(tmp_path / f"{arm}.jsonl", *rows), "gsm8k", arm, run)
    assert main(["report", str(run)]) == 0
    told = "No common problems, so not compared: far - one, far - two."
    assert told in capsys.readouterr().out.replace("\n", " ")
    report = read_report(run)
    (entry,) = report.comparisons
    assert {entry.first, entry.second} == {"one", "two"}
    assert (entry.family, len(report.not_compared)) == (1, 2)
    for page in ("report.html", "report.md"):
        assert told in (run / page).read_text(), page


def test_an_arm_is_replaced_only_by_the_same_source_or_on_demand(tmp_path: Path) -> None:
    run, first = tmp_path / "run", write(tmp_path / "one.jsonl", *ROWS)
    import_outputs(first, "gsm8k", "a", run)
    write(first, ROWS[0])
    import_outputs(first, "gsm8k", "a", run)
    assert len(lines_of(run, "a")) == 1
    other = write(tmp_path / "two.jsonl", *ROWS)
    with pytest.raises(InputError, match=r"arm 'a' came from one\.jsonl; add --replace"):
        import_outputs(other, "gsm8k", "a", run)
    assert len(lines_of(run, "a")) == 1
    import_outputs(other, "gsm8k", "a", run, over=True)
    assert len(lines_of(run, "a")) == 3


def test_one_problem_has_one_gold(tmp_path: Path) -> None:
    import_outputs(write(tmp_path / "one.jsonl", *ROWS), "gsm8k", "one", tmp_path / "run")
    other = write(tmp_path / "two.jsonl", {**ROWS[0], "gold": "5"})
    with pytest.raises(InputError, match=r"two\.jsonl, row 1: gold '5' of problem 'p-0' differs from '3'"):
        import_outputs(other, "gsm8k", "two", tmp_path / "run")


# ---- beside a study


def study_rows(n: int = 8) -> list[dict[str, str]]:
    return [{"problem_id": problem.problem_id, "text": right(problem)} for problem in problems_of(n)]


def test_beside_a_studys_arms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    write_run(run, {"standard": wrong}, 8)
    problems = (run / "problems.jsonl").read_bytes()
    path = write(tmp_path / "theirs.jsonl", *study_rows(), {"problem_id": "elsewhere-1", "text": "Answer: 1"})
    assert main(["import", str(path), "--task", "babi", "--arm", "theirs", "--run-dir", str(run)]) == 0
    assert (
        "1 rows refused, the first: row 9: problem 'elsewhere-1' is not a test problem of the study"
        in capsys.readouterr().out
    )
    arms = arms_of(run)
    assert [(name, arm.kind, arm.correct) for name, arm in arms.items()] == [
        ("standard", "in context", 0), ("theirs", "imported", 8)
    ]  # fmt: skip
    assert (run / "problems.jsonl").read_bytes() == problems, "the study's own files stay as they are"
    assert main(["report", str(run), "--compare", "theirs,standard"]) == 0
    assert "theirs answered 100.0 points more of the 8" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"arm": "standard"}, "'standard' is an arm of the study in this folder"),
        ({"policy": "published"}, "judged by the default metric; import into a --run-dir of its own"),
        ({"task_name": "gsm8k"}, "contains outputs on task babi, not gsm8k"),
        ({"arm": "a/b"}, "a name becomes a file name"),
    ],
)
def test_what_a_study_does_not_take(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    write_run(tmp_path / "run", {"standard": wrong}, 8)
    path = write(tmp_path / "x.jsonl", *study_rows())
    arguments = {"path": path, "task_name": "babi", "arm": "theirs", "run_dir": tmp_path / "run", **changes}
    with pytest.raises(InputError, match=words):
        import_outputs(**arguments)
    assert not (tmp_path / "run" / "imported.json").exists()


# ---- what cannot be imported


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([{"text": "3", "gold": "3"}], "row 1: no problem id in column 'problem_id'; it has: text, gold"),
        ([{"problem_id": "p", "output": "3", "gold": "3"}], "no column 'text'; it has: problem_id, output, gold"),
        ([ROWS[0], {**ROWS[1], "text": 5}], "row 2: column 'text' contains int, not text"),
        ([ROWS[0], {**ROWS[1], "tokens_in": -1}], "row 2: column 'tokens_in' contains -1, not a number >= 0"),
        ([{**ROWS[0], "tokens_in": "many"}], "row 1: column 'tokens_in' contains 'many'"),
        ([{**ROWS[0], "tokens_in": 1.5}], "row 1: column 'tokens_in' contains 1.5, not a whole number"),
        ([{**ROWS[0], "seconds": True}], "row 1: column 'seconds' contains True"),
        ([{**ROWS[0], "finish": "tired"}], "row 1: column 'finish' contains 'tired'; allowed: stop"),
        (
            [{**ROWS[0], "sample": 1}, {**ROWS[0], "sample": 1}],
            "row 2: problem 'p-0', sample 1, seed 0 is already in row 1",
        ),
        ([{**ROWS[0], "seed": 2**31}], "row 1: column 'seed' contains 2147483648"),
        ([], "no rows"),
    ],
)
def test_bad_rows_are_one_clear_error_and_leave_nothing(tmp_path: Path, rows: list[Any], words: str) -> None:
    path = write(tmp_path / "rows.jsonl", *rows)
    with pytest.raises(InputError, match=words) as caught:
        import_outputs(path, "gsm8k", "a", tmp_path / "run")
    assert "rows.jsonl" in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_missing_text_is_an_empty_attempt(tmp_path: Path) -> None:
    rows = [ROWS[0], {"problem_id": "p-1", "gold": "3"}, {"problem_id": "p-2", "gold": "3", "text": None}]
    found = import_outputs(write(tmp_path / "x.jsonl", *rows), "gsm8k", "a", tmp_path / "run")
    assert (found.rows, found.empty) == (3, 2)
    assert [line["answer"]["outcome"] for line in lines_of(tmp_path / "run", "a")] == ["correct", "missing", "missing"]


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(InputError, match="is not empty and not a run folder"):
        import_outputs(write(tmp_path / "x.jsonl", *ROWS), "gsm8k", "a", tmp_path)


def test_one_run_has_one_metric(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", *ROWS)
    import_outputs(path, "gsm8k", "a", tmp_path / "run")
    with pytest.raises(InputError, match=r"arm 'a' in .* is judged by default; a run has one metric"):
        import_outputs(path, "gsm8k", "b", tmp_path / "run", policy="published")


def test_only_some_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "x.jsonl", *({**row, "model": n % 2} for n, row in enumerate(ROWS)))
    command = ["import", str(path), "--task", "gsm8k", "--run-dir", str(tmp_path / "run"), "--arm", "a"]
    assert main([*command, "--where", "model=1"]) == 0
    assert len(lines_of(tmp_path / "run", "a")) == 1
    for where, words in (
        ("model=9", "3 left out by --where"),
        ("kind=1", "no column 'kind'"),
        ("model", "COLUMN=VALUE"),
    ):
        assert main([*command, "--where", where]) == 2
        assert words in capsys.readouterr().err


def test_a_problem_that_nobody_knows_stays_in_the_denominator(tmp_path: Path) -> None:
    data = tmp_path / "data" / "gsm8k"
    data.mkdir(parents=True)
    write(data / "test.jsonl", {"problem_id": "gsm8k-test-0", "question": "1 + 1?", "answer": "1+1=<<1+1=2>>2\n#### 2"})
    write(data / "train.jsonl", {"problem_id": "gsm8k-train-0", "question": "1?", "answer": "#### 1"})
    path = write(
        tmp_path / "x.jsonl", {"problem_id": "gsm8k-test-0", "text": "Answer: 2"}, {"problem_id": "u", "text": "2"}
    )
    import_outputs(path, "gsm8k", "a", tmp_path / "run", data_dir=tmp_path / "data")
    arm = arms_of(tmp_path / "run")["a"]
    assert (arm.n, arm.correct, arm.ungradable) == (2, 1, 1)


# ---- the published outputs


@pytest.mark.slow
@needs_data
@pytest.mark.parametrize(
    ("model", "joint", "phi", "answers"),
    [("Llama-3.2-1B-Instruct", [232, 2, 171, 545], 0.656, 403), ("Qwen3-1.7B", [310, 5, 202, 433], 0.629, 512)],
)
def test_published_joint_tables(tmp_path: Path, model: str, joint: list[int], phi: float, answers: int) -> None:
    run = tmp_path / "run"
    command = ["import", str(DATA / "published_outputs" / "cotempqa.jsonl.gz"), "--task", "cotempqa", "--data-dir"]
    command += [str(DATA), "--policy", "published", "--run-dir", str(run), "--where", f"model={model}"]
    assert main([*command, "--where", "arm=correct", "--arm", "correct"]) == 0
    assert main(["report", str(run), "--quiet"]) == 0
    (arm,) = read_report(run).arms
    assert (arm.n, arm.joint, arm.correct) == (950, tuple(joint), answers)
    assert round(arm.association.phi, 3) == phi


@needs_data
def test_published_babi(tmp_path: Path) -> None:
    path = DATA / "published_outputs" / "babi.jsonl.gz"
    for name in ("correct", "vanilla"):
        import_outputs(
            path, "babi", name, tmp_path, policy="published", data_dir=DATA, where={"arm": name}, over=True
        )  # fmt: skip
    arms = arms_of(tmp_path)
    assert (arms["correct"].n, round(100 * arms["correct"].accuracy.raw.value, 1)) == (376, 94.4)
    assert len(write_view(view_of_folder(tmp_path)).comparisons) == 1


def test_the_tasks_own_judges_judge(tmp_path: Path) -> None:
    """What `import` says of an output is what a study says of it."""
    problem = problems_of(1)[0]
    write_run(tmp_path / "study", {"a": right}, problems=[problem])
    row = {"problem_id": problem.problem_id, "text": right(problem), "gold": list(problem.answers)}
    import_outputs(write(tmp_path / "x.jsonl", row), TASK.name, "b", tmp_path / "study")
    (own,), (theirs,) = lines_of(tmp_path / "study", "a"), lines_of(tmp_path / "study", "b")
    for reading in ("answer", "derived", "candidate"):
        assert own[reading] == theirs[reading]


@pytest.mark.parametrize("done", [0, 1, 2])
def test_an_import_that_was_killed_can_be_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done: int
) -> None:
    """Killed before its first, second and third file; in between another arm comes in."""
    path = write(tmp_path / "theirs.jsonl", *ROWS)
    wanted = import_outputs(path, "gsm8k", "a", tmp_path / "undisturbed")
    written: list[str] = []

    def dies(name: str) -> Any:
        real = getattr(importing, name)

        def write_some(place: Path, *rest: Any) -> Any:
            written.append(place.name)
            if len(written) > done + 1:
                raise KeyboardInterrupt
            return real(place, *rest)

        return write_some

    with monkeypatch.context() as patched:
        for name in ("write_json", "write_jsonl"):
            patched.setattr(importing, name, dies(name))
        with pytest.raises(KeyboardInterrupt):
            import_outputs(path, "gsm8k", "a", tmp_path / "run")
    import_outputs(path, "gsm8k", "b", tmp_path / "run")
    assert list(arms_of(tmp_path / "run")) == ["b"]
    assert import_outputs(path, "gsm8k", "a", tmp_path / "run") == wanted
    assert lines_of(tmp_path / "run", "a") == lines_of(tmp_path / "undisturbed", "a")
    assert set(json.loads((tmp_path / "run" / "imported.json").read_text())) == {"task", "arms"}


def test_two_imports_into_one_folder_do_not_meet(tmp_path: Path) -> None:
    path = write(tmp_path / "theirs.jsonl", *ROWS)
    import_outputs(path, "gsm8k", "a", tmp_path / "run")
    with importing._held(tmp_path / "run"), pytest.raises(InputError, match="using this folder"):
        import_outputs(path, "gsm8k", "b", tmp_path / "run")
    import_outputs(path, "gsm8k", "b", tmp_path / "run")


def test_a_failed_import_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        import_outputs(write(tmp_path / "x.jsonl", {"id": "a"}), "gsm8k", "a", tmp_path / "run")
    assert not (tmp_path / "run").exists()
    (tmp_path / "other").mkdir()
    write(tmp_path / "other" / "letter.txt", "mine")
    with pytest.raises(InputError, match="not a run folder"):
        import_outputs(write(tmp_path / "x.jsonl", *ROWS), "gsm8k", "a", tmp_path / "other")
    assert [child.name for child in (tmp_path / "other").iterdir()] == ["letter.txt"]


def test_an_arm_that_the_study_has_made_since_is_the_studys(tmp_path: Path) -> None:
    path = write(tmp_path / "theirs.jsonl", *ROWS)
    import_outputs(path, "gsm8k", "a", tmp_path / "run")
    (tmp_path / "run" / "attempts" / "a.jsonl.manifest.json").write_text("{}")
    with pytest.raises(InputError, match="arm of the study"):
        import_outputs(path, "gsm8k", "a", tmp_path / "run")


def test_a_number_too_large_for_a_float_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "theirs.jsonl", {**ROWS[0], "tokens_in": 10**400})
    with pytest.raises(InputError, match="row 1: column 'tokens_in'"):
        import_outputs(path, "gsm8k", "a", tmp_path / "run")
