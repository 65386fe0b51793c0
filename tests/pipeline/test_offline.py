"""`requests` and `answers`: a study whose models are asked by files, against a player of `vllm run-batch`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.batch_player import play
from tests.conftest import ROOT
from tests.engines.server_kit import running
from tests.fault_server import Behaviour, answer_of
from tracedistill import pipeline
from tracedistill.errors import InputError
from tracedistill.files import read_json, read_lines
from tracedistill.pipeline.offline import Received, Requested, take_answers, write_requests

StudyFile = Callable[..., Path]
NOWHERE = "http://127.0.0.1:9/v1"  # nothing listens there: a call would end the test
PLANNER: dict[str, Any] = {"kind": "model", "model": "big", "base_url": NOWHERE, "usd_per_million_out": 10.0}
ARMS = {"standard": {}, "planned": {"prompt": "trace-of-thought"}}


def study(study_file: StudyFile, *overrides: str, **changes: Any) -> pipeline.LoadedStudy:
    """A teacher and a student that are both asked elsewhere."""
    fields: dict[str, Any] = {
        "cache": str(study_file().parent / "cache.sqlite"),
        "task": {"name": "babi", "train": 5, "validation": 0, "test": 30},
        "students": {"small": {"model": "little", "base_url": NOWHERE}},
        "teachers": {"planner": PLANNER},
        "arms": ARMS,
        "comparisons": [],
    }
    return pipeline.load(study_file(**fields | changes), list(overrides))


def teacher_alone(study_file: StudyFile, *overrides: str, **changes: Any) -> pipeline.LoadedStudy:
    """The teacher alone is asked elsewhere; the student is scripted."""
    solver = {"solver": {"model": "scripted:tests.scripts:solver"}}
    return study(study_file, *overrides, students=solver, arms={"planned": ARMS["planned"]}, **changes)


def asked(loaded: pipeline.LoadedStudy, out: Path, parts: int = 3) -> tuple[Requested, list[Path]]:
    """The requests of a study's next stages, and their files."""
    found = write_requests(loaded, out, parts, quiet=True)
    return found, [out / name for group, one in found.groups.items() for name in one.files(group)]


def answered(files: list[Path], *models: str) -> list[Path]:
    return [play(path, path.parent / "answers" / path.name, *models) for path in files]


def rows(loaded: pipeline.LoadedStudy, name: str) -> list[dict[str, Any]]:
    return [row for _, row in read_lines(loaded.study.folder / name)]


def test_a_study_is_asked_by_files_alone(study_file: StudyFile, tmp_path: Path) -> None:
    """Teacher, then student; nothing listens at the endpoint, and the run that follows has nothing to ask."""
    loaded, out = study(study_file), tmp_path / "requests"
    first, files = asked(loaded, out)
    assert {group: sum(one.lines.values()) for group, one in first.groups.items()} == {
        "teachers.planner": 30, "students.small": 30
    }  # fmt: skip
    assert first.open_work.waits == {"generate:planned": "teach:planner"}
    assert len(files) == len({line["custom_id"] for path in files for _, line in read_lines(path)}) // 10
    found = take_answers(loaded, answered(files, "big", "little"), quiet=True)
    assert (found.lines, found.duplicates, found.strangers, found.unreadable) == (60, 0, 0, 0)
    assert [(one.taken, one.failed, one.lacking.total()) for one in found.groups.values()] == [
        (30, 0, 0),
        (30, 0, 30),
    ], "with the plans there, the second arm has something to ask"
    assert {"teach:planner", "generate:standard", "score:standard"} <= set(found.made)
    second, files = asked(loaded, out)
    assert second.groups["students.small"].requests == 30
    assert not (out / "teachers.planner.0.jsonl").exists(), "what earlier requests left is gone"
    take_answers(loaded, answered(files, "little"), quiet=True)
    pipeline.run(loaded, quiet=True)
    for arm in ARMS:
        attempts = rows(loaded, f"attempts/{arm}.jsonl")
        assert len(attempts) == 30
        assert {row["finish"] for row in attempts} == {"stop"}
    assert {row["answer"]["outcome"] for row in rows(loaded, "attempts/standard.jsonl")} == {"correct"}
    usage = read_json(loaded.study.folder / "traces" / "planner.usage.json")
    assert usage["bought"] == usage["requests"] == 30
    assert usage["usd"] > 0, "charged like any other"


def test_the_files_are_those_of_a_live_run(study_file: StudyFile, tmp_path: Path) -> None:
    """The same answers by calls and by files make the same traces, byte for byte."""
    arms = {"planned": ARMS["planned"]}
    with running(Behaviour()) as server:
        teachers = {"planner": {**PLANNER, "base_url": server.url, "model": "stub"}}
        live = study(study_file, f"run_dir={tmp_path}/live", teachers=teachers, arms=arms)
        pipeline.run(live, "validate", quiet=True)
        said = {row["problem_id"]: row["text"] for row in rows(live, "traces/planner.jsonl")}
        assert len(said) == 30
        apart = study(
            study_file, f"run_dir={tmp_path}/files", f"cache={tmp_path}/other.sqlite", teachers=teachers, arms=arms
        )
        _, files = asked(apart, tmp_path / "requests")
        answers = tmp_path / "answers.jsonl"
        with answers.open("w", encoding="utf-8") as stream:
            for path in files:
                for _, line in read_lines(path):
                    response = {"status_code": 200, "body": answer_of(line["body"])}
                    stream.write(json.dumps({"custom_id": line["custom_id"], "response": response}) + "\n")
    take_answers(apart, [answers], quiet=True)
    for name in ("traces/planner.jsonl", "traces/planner.failures.jsonl", "validation/planner.jsonl"):
        assert (live.study.folder / name).read_bytes() == (apart.study.folder / name).read_bytes(), name


def received(study_file: StudyFile, tmp_path: Path, change: Callable[[list[str]], list[str]]) -> Received:
    """What `answers` says of one file of 30 answers to the teacher's requests that was changed."""
    loaded = teacher_alone(study_file)
    _, files = asked(loaded, tmp_path / "requests", parts=1)
    (answers,) = answered(files, "big")
    answers.write_text("".join(change(answers.read_text().splitlines(keepends=True))))
    return take_answers(loaded, [answers], quiet=True)


def _failed(line: str, status: int, message: str) -> str:
    row = json.loads(line)
    row |= {"response": {"status_code": status, "body": None}, "error": {"error": {"message": message}}}
    return json.dumps(row) + "\n"


def _as_row(line: str, **fields: Any) -> str:
    """The answer as a row of a data set, as Ray Data's LLM processor writes them."""
    row = json.loads(line)
    text = row["response"]["body"]["choices"][0]["message"]["content"]
    return json.dumps({"custom_id": row["custom_id"], "generated_text": text, **fields}) + "\n"


CASES: dict[str, tuple[Callable[[list[str]], list[str]], dict[str, int]]] = {
    "all there": (lambda lines: lines, {"taken": 30}),
    "cut off by a kill": (lambda lines: [*lines[:9], lines[9][:40]], {"taken": 9, "lacking": 21, "unreadable": 1}),
    "every answer twice": (lambda lines: lines + lines, {"taken": 30, "duplicates": 30}),
    "answers to other requests": (
        lambda lines: [*lines, '{"custom_id": "other", "response": {}}\n', '{"custom_id": "00", "response": {}}\n'],
        {"taken": 30, "strangers": 2},
    ),
    "no JSON, no object, no id": (
        lambda lines: [*lines, "no JSON\n", "[1]\n", '{"id": 3}\n', "\n"],
        {"taken": 30, "unreadable": 3},
    ),
    "failures that may pass": (
        lambda lines: [_failed(lines[0], 500, "out of memory"), _failed(lines[1], 429, "slow down"), *lines[2:]],
        {"taken": 28, "lacking": 2, "unusable": 2},
    ),
    "a failure, then an answer": (lambda lines: [_failed(lines[0], 500, "x"), *lines], {"taken": 30, "duplicates": 1}),
    "failures for good": (
        lambda lines: [_failed(lines[0], 400, "max_tokens=9 cannot be greater than max_model_len=8"), *lines[1:]],
        {"taken": 30, "failed": 1},
    ),
    "a model that is not there": (
        lambda lines: [_failed(line, 404, "The model `big` does not exist.") for line in lines],
        {"taken": 0, "lacking": 30, "unusable": 30},
    ),
    "completions without the envelope": (
        lambda lines: [
            json.dumps({"custom_id": json.loads(line)["custom_id"], **json.loads(line)["response"]["body"]}) + "\n"
            for line in lines
        ],
        {"taken": 30},
    ),
    "rows of a data set": (lambda lines: [_as_row(line, finish_reason="stop") for line in lines], {"taken": 30}),
    "rows with numbers of tokens": (
        lambda lines: [
            _as_row(line, num_generated_tokens=512 if at == 0 else 9, num_input_tokens=40)
            for at, line in enumerate(lines)
        ],
        {"taken": 30, "cut_off": 1},
    ),
    "rows that say not how they ended": (
        lambda lines: [_as_row(line) for line in lines], {"taken": 0, "lacking": 30, "unusable": 30}
    ),
    "hostile rows": (
        lambda lines: [
            json.dumps(json.loads(lines[0]) | {"response": {"status_code": 200, "body": body}}) + "\n"
            for body in ([], "x", {"choices": [{"message": {"content": ["a", 1]}}]}, {"choices": "no"})
        ] + ["[" * 100_000 + "\n"] + lines[1:],
        {"taken": 29, "lacking": 1, "unusable": 1, "unreadable": 1, "duplicates": 3},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_is_counted(study_file: StudyFile, tmp_path: Path, case: str) -> None:
    change, expected = CASES[case]
    found = received(study_file, tmp_path, change)
    (group,) = found.groups.values()
    counts = {
        "taken": group.taken, "failed": group.failed, "cut_off": group.cut_off, "lacking": group.lacking.total(),
        "unusable": group.unusable.total(), "duplicates": found.duplicates, "strangers": found.strangers,
        "unreadable": found.unreadable,
    }  # fmt: skip
    assert counts == dict.fromkeys(counts, 0) | expected
    assert ("teach:planner" in found.made) == (group.lacking.total() == 0)


def test_answers_count_once_however_often_they_are_given(study_file: StudyFile, tmp_path: Path) -> None:
    loaded = teacher_alone(study_file)
    _, files = asked(loaded, tmp_path / "requests", parts=1)
    answers = answered(files, "big")
    first = take_answers(loaded, answers, quiet=True)
    spent = rows_of_spending(loaded)
    again = take_answers(loaded, [answers[0].parent], quiet=True)
    assert first.groups["teachers.planner"].usd > 0
    assert rows_of_spending(loaded) == spent
    assert again.groups == {}, "its traces are complete"
    assert (again.lines, again.strangers) == (30, 0)
    other = teacher_alone(study_file, f"run_dir={tmp_path}/other")
    taken = take_answers(other, answers, quiet=True).groups["teachers.planner"]
    assert (taken.cached, taken.taken) == (30, 0)
    assert rows_of_spending(loaded) == spent


def rows_of_spending(loaded: pipeline.LoadedStudy) -> list[Any]:
    import sqlite3

    with sqlite3.connect(loaded.study.cache) as db:
        found = db.execute("SELECT * FROM spending").fetchall() + db.execute("SELECT * FROM stakes").fetchall()
    db.close()
    return found


def test_a_missing_part_is_named_and_asked_again(study_file: StudyFile, tmp_path: Path) -> None:
    loaded, out = study(study_file, arms={"planned": ARMS["planned"]}), tmp_path / "requests"
    _, files = asked(loaded, out, parts=3)
    answers = answered(files, "big")
    found = take_answers(loaded, [answers[0], answers[2]], quiet=True).groups["teachers.planner"]
    assert found.missing_parts() == [1]
    before = files[1].read_bytes()
    again, files = asked(loaded, out, parts=3)
    assert [path.name for path in files] == ["teachers.planner.1.jsonl"]
    assert files[0].read_bytes() == before, "a request stands in the same part each time"
    assert again.groups["teachers.planner"].cached == 30 - found.lacking.total()


def test_nothing_is_lost_by_a_kill_between_two_transactions(
    study_file: StudyFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tracedistill.pipeline import request_files

    loaded = teacher_alone(study_file)
    _, files = asked(loaded, tmp_path / "requests")
    answers = answered(files, "big")
    monkeypatch.setattr(request_files, "_AT_ONCE", 10)
    count, line = 0, request_files.outcome_of_line

    def killed(*args: Any) -> Any:
        nonlocal count
        count += 1
        if count == 15:
            raise MemoryError
        return line(*args)

    with monkeypatch.context() as once, pytest.raises(MemoryError):
        once.setattr(request_files, "outcome_of_line", killed)
        take_answers(loaded, answers, quiet=True)
    found = take_answers(loaded, answers, quiet=True).groups["teachers.planner"]
    assert (found.cached, found.taken, found.lacking.total()) == (10, 20, 0)
    ((_, calls, _, _),) = rows_of_spending(loaded)
    assert calls == 30, "each answer is charged once"


def test_equal_requests_are_written_once(study_file: StudyFile, tmp_path: Path) -> None:
    loaded = study(study_file, arms={"one": {}, "two": {}}, teachers={"rules": {"kind": "rules"}})
    found, files = asked(loaded, tmp_path / "requests")
    assert sum(found.groups["students.small"].lines.values()) == 30
    taken = take_answers(loaded, answered(files, "little"), quiet=True)
    assert {"score:one", "score:two"} <= set(taken.made)


def test_a_model_judge_is_asked_by_files(study_file: StudyFile, tmp_path: Path) -> None:
    teachers = {
        "gold": {"kind": "gold"},
        "judge": {"kind": "model", "model": "big", "base_url": NOWHERE, "max_tokens": 200},
    }
    loaded = study(
        study_file, teachers=teachers, validation={"judge": "judge", "judge_asks": "all"},
        task={"name": "babi", "train": 5, "validation": 0, "test": 5},
        arms={"planned": {"prompt": "trace-of-thought", "teacher": "gold"}},
        students={"solver": {"model": "scripted:tests.scripts:solver"}},
    )  # fmt: skip
    found, files = asked(loaded, tmp_path / "requests")
    if not files:
        pytest.skip("no gold plan here leaves anything to judge")
    assert set(found.groups) == {"teachers.judge"}
    taken = take_answers(loaded, answered(files, "big"), quiet=True)
    assert "validate:gold" in taken.made


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda out: out.write_text("x"), "is a file"),
        (lambda out: (out.mkdir(), (out / "mine.txt").write_text("x")), "holds no earlier requests"),
        (lambda out: (out.mkdir(), (out / "requests.json").write_text('{"study": "other"}')), "of study 'other'"),
    ],
)
def test_folders_that_requests_are_not_written_to(
    study_file: StudyFile, tmp_path: Path, prepare: Callable[[Path], Any], message: str
) -> None:
    out = tmp_path / "out"
    prepare(out)
    with pytest.raises(InputError, match=message):
        write_requests(study(study_file), out, 2, quiet=True)


def test_what_is_refused(study_file: StudyFile, tmp_path: Path) -> None:
    loaded, out = study(study_file), tmp_path / "requests"
    for parts in (0, 501):
        with pytest.raises(InputError, match=r"--parts \d+: must be from 1 to 500"):
            write_requests(loaded, out, parts, quiet=True)
    _, files = asked(loaded, out)
    with pytest.raises(InputError, match=r"contains \d+ requests, not answers"):
        take_answers(loaded, files, quiet=True)
    with pytest.raises(InputError, match="no such file"):
        take_answers(loaded, [tmp_path / "nothing.jsonl"], quiet=True)
    other = study(study_file, "teachers.planner.model=another", "students.small.model=another")
    with pytest.raises(InputError, match=r"none of the \d+ answers belongs to a request .* have changed"):
        take_answers(other, answered(files, "big", "little"), quiet=True)
    here = pipeline.load(study_file())
    with pytest.raises(InputError, match="no model of this study runs elsewhere"):
        write_requests(here, tmp_path / "none", 1, quiet=True)


def test_no_key_is_needed_and_none_is_written(
    study_file: StudyFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teachers = {"planner": {**PLANNER, "key_env": "TEACHER_KEY"}}
    monkeypatch.delenv("TEACHER_KEY", raising=False)
    loaded = teacher_alone(study_file, teachers=teachers)
    _, files = asked(loaded, tmp_path / "requests")
    monkeypatch.setenv("TEACHER_KEY", "sk-test-5up3r-s3cr3t-k3y")
    answers = answered(files, "big")
    answers[0].write_text(answers[0].read_text().replace("Find out", "sk-test-5up3r-s3cr3t-k3y"))
    take_answers(loaded, answers, quiet=True)
    written = [path for path in tmp_path.rglob("*") if path.is_file() and path not in answers]
    assert not [path for path in written if b"5up3r" in path.read_bytes()], "nor one that an answer repeats"


def test_the_slurm_array_of_the_docs(study_file: StudyFile, tmp_path: Path) -> None:
    """The script in docs/serving.md, run as three tasks of an array; the player stands in for `vllm`."""
    page = (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"```bash\n(#!/bin/bash\n.*?)```", page, re.DOTALL)
    (tmp_path / "array.sh").write_text(script)
    fake = tmp_path / "bin" / "vllm"
    fake.parent.mkdir()
    fake.write_text(f'#!/bin/sh\necho run >> {tmp_path}/runs\nexec {sys.executable} -m tests.batch_player "$@"\n')
    fake.chmod(0o755)
    loaded, out = teacher_alone(study_file), tmp_path / "requests"
    _, files = asked(loaded, out, parts=3)
    for task in (0, 1, 2, 3, 0):  # one more than there are parts; one that is started again
        environment = {**os.environ, "PATH": f"{fake.parent}:{os.environ['PATH']}", "SLURM_ARRAY_TASK_ID": str(task)}
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "src")])
        command = ["bash", str(tmp_path / "array.sh"), str(out), "teachers.planner", "big"]
        subprocess.run(command, env=environment, check=True)
    assert (tmp_path / "runs").read_text().count("run") == len(files) == 3
    found = take_answers(loaded, [out / "answers"], quiet=True)
    assert "teach:planner" in found.made


def test_the_commands_say_what_to_do_next(
    study_file: StudyFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from tracedistill.cli import main

    recipe, out = str(study(study_file).recipe), str(tmp_path / "requests")
    assert main(["requests", recipe, "--out", out, "--parts", "2"]) == 0
    said = capsys.readouterr().out
    assert "teachers.planner (big): 30 requests, 0 answered before; 30 in 2 files" in said
    assert "generate:planned waits for teach:planner" in said
    assert f"vllm run-batch --model big -i {out}/teachers.planner.0.jsonl" in said
    answers = answered([Path(out) / "teachers.planner.0.jsonl"], "big")
    assert main(["answers", recipe, str(answers[0]), "seed=0"]) == 0
    said = capsys.readouterr().out
    assert "no answer to any request of teachers.planner.1.jsonl" in said
    assert f"`tracedistill requests {recipe} --out DIR` writes them" in said
    assert main(["answers", recipe, "seed=0"]) == 2
    assert "at least one file of answers" in capsys.readouterr().err
