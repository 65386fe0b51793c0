"""`tracedistill review` without the browser, and what it fills the store from."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.review.kit import problem, trace
from tracedistill import pipeline
from tracedistill.cli import main
from tracedistill.errors import InputError
from tracedistill.files import read_jsonl, write_jsonl
from tracedistill.records import Problem, Trace
from tracedistill.review import server
from tracedistill.review.outcomes import decide, remaining, reviewed_of
from tracedistill.review.queue import Filter, lines
from tracedistill.review.rating import order_for, rate
from tracedistill.review.sources import fill_from_file, fill_from_run, read_labels
from tracedistill.review.store import ReviewStore


def data_dir(tmp_path: Path, n: int = 6) -> Path:
    """GSM8K's own form of the kit's problems, and a file of their traces."""
    folder = tmp_path / "data" / "gsm8k"
    folder.mkdir(parents=True)
    rows = [
        {"id": one.problem_id, "question": one.question, "answer": "\n".join(
            [*(step.text for step in one.gold_steps), f"#### {one.answers[0]}"])}
        for one in map(problem, range(n))
    ]  # fmt: skip
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write_jsonl(tmp_path / "traces.jsonl", [trace(number) for number in range(n)])
    return tmp_path / "data"


def review(tmp_path: Path, *more: str) -> int:
    words = ["review", str(tmp_path / "traces.jsonl"), "--task", "gsm8k", "--data-dir", str(tmp_path / "data")]
    return main([*words, "--reviewer", "ana", *more])


def store_of(tmp_path: Path) -> Path:
    return tmp_path / "traces.jsonl.review.sqlite"


def test_a_file_of_traces_by_spreadsheet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data_dir(tmp_path)
    sheet = tmp_path / "sheet.csv"
    assert review(tmp_path, "--export", str(sheet)) == 0
    assert "6 traces to review" in capsys.readouterr().out
    text = sheet.read_text(encoding="utf-8-sig").replace("11*3 = 34", "11*3 = 33").replace(",open,", ",approved,")
    sheet.write_text(text, encoding="utf-8")
    assert review(tmp_path, "--import", str(sheet)) == 0
    assert "6 traces changed" in capsys.readouterr().out
    assert [one.status for one in reviewed_of(store_of(tmp_path), "t")] == [
        "approved", "edited", "approved", "approved", "approved", "approved",
    ]  # fmt: skip
    sheet.write_text(text.replace(",approved,", ",good,", 1), encoding="utf-8")
    assert review(tmp_path, "--import", str(sheet)) == 2
    assert "not imported: line 2: status 'good'" in capsys.readouterr().out


def test_a_sample_of_a_teacher_is_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data_dir(tmp_path)
    sheet = tmp_path / "sheet.csv"
    assert review(tmp_path, "--export", str(sheet), "--sample", "2", "--seed", "5", "--teacher", "t") == 0
    with sheet.open(encoding="utf-8-sig", newline="") as stream:
        ids = {row["trace_id"] for row in csv.DictReader(stream)}
    with ReviewStore(store_of(tmp_path)) as store:
        drawn = lines(store, "ana", Filter(sample=2, seed=5, teacher="t"))
        assert ids == {line.trace_id for line in drawn}
        decide(store, drawn[0].item, "ana", 0, "approved", 1.0)
    assert remaining(store_of(tmp_path), "t", 2, 5) == 1  # the page's sample is the pipeline's
    assert review(tmp_path, "--teacher", "nobody", "--export", str(sheet)) == 2
    assert "no trace of this teacher" in capsys.readouterr().err


def test_agreement_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data_dir(tmp_path)
    assert review(tmp_path, "--agreement") == 0
    assert "no trace has been decided by two reviewers" in capsys.readouterr().out
    with ReviewStore(store_of(tmp_path)) as store:
        for item in (1, 2, 3):
            decide(store, item, "ana", 0, "approved", 1.0)
            decide(store, item, "ben", 0, "approved" if item < 3 else "rejected", 1.0)
    assert review(tmp_path, "--agreement") == 0
    said = capsys.readouterr().out
    assert "ana, ben: 2 of 3 the same (66.7%" in said
    assert "1 disputed and not settled" in said


def test_ratings_are_exported_and_summarised(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tracedistill.review.commands import Options, ReviewTarget, _rating

    data_dir(tmp_path)
    for kind in ("one", "two"):
        write_jsonl(tmp_path / f"{kind}.jsonl", [trace(number, teacher=kind) for number in range(6)])
    plan = tmp_path / "plan.yaml"
    plan.write_text('kinds: {one: one.jsonl, two: two.jsonl}\nscales: [{name: "=clear", ask: "Clear?"}]\nproblems: 4\n')
    out = tmp_path / "ratings.csv"
    assert review(tmp_path, "--rate", str(plan), "--export", str(out)) == 2
    assert "nothing is rated yet" in capsys.readouterr().err
    rating = _rating(ReviewTarget("gsm8k", store_of(tmp_path)), Options(rate=plan, data_dir=tmp_path / "data"))
    with ReviewStore(store_of(tmp_path)) as store:
        for card in order_for(rating, 0):
            rate(store, rating, "ana", card, {"=clear": 4 if card.kind == "one" else 2}, 3.0)
    assert review(tmp_path, "--rate", str(plan), "--export", str(out)) == 0
    said = capsys.readouterr().out
    assert "=clear, one: mean 4.00 (4.00 to 4.00), n = 4" in said
    assert "one - two: +2.00" in said
    with out.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 8
    assert {row["scale"] for row in rows} == {"'=clear"}


def test_a_study_is_validated_and_opened(
    study_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    opened = []
    monkeypatch.setattr(server, "serve", lambda session, **more: opened.append((session, more)))
    study = study_file(arms={"few-shot": {"prompt": "few-shot", "shots": 2, "shots_with_traces": True}}, comparisons=[])
    assert main(["review", str(study), "--no-browser", "--sample", "3", "--reviewer", "ana", "--port", "8765"]) == 0
    ((session, more),) = opened
    assert (session.reviewer, session.keep, session.default, more["port"], more["browser"]) == (
        "ana", "correct", Filter(sample=3), 8765, False,
    )  # fmt: skip
    folder = tmp_path / "run"
    assert session.store.path == folder / "review" / "review.sqlite"
    traces = list(read_jsonl(folder / "traces" / "rules.jsonl", Trace))
    assert [one.trace_id for one in reviewed_of(session.store.path, "rules")] == [one.trace_id for one in traces]
    # the store lies in the run folder and no stage takes it for something of its own
    assert {state.kind for node, state in pipeline.status(pipeline.load(study)) if node.stage == "validate"} == {
        "complete"
    }


def test_the_page_begins_with_what_the_recipe_wants_reviewed(
    study_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    opened: list[Filter] = []
    monkeypatch.setattr(server, "serve", lambda session, **more: opened.append(session.default))
    study = study_file(
        seed=5, review={"required": True, "sample": 3, "teachers": ["rules"]}, teachers={"rules": {}},
        arms={"few-shot": {"prompt": "few-shot", "shots": 2, "shots_with_traces": True}}, comparisons=[],
    )  # fmt: skip
    for more in ([], ["--sample", "0", "--seed", "1"]):
        assert main(["review", str(study), "--reviewer", "ana", *more]) == 0
    assert opened == [Filter(sample=3, seed=5, teacher="rules"), Filter(teacher="rules", seed=1)]
    store = tmp_path / "run" / "review" / "review.sqlite"
    assert remaining(store, "rules", 3, 5) == 3


def test_a_run_is_read_again_only_where_it_changed(study_file: Callable[..., Path], tmp_path: Path) -> None:
    study = study_file(arms={"few-shot": {"prompt": "few-shot", "shots": 2, "shots_with_traces": True}}, comparisons=[])
    loaded = pipeline.load(study)
    pipeline.run(loaded, "validate", quiet=True)
    folder = loaded.study.folder
    with ReviewStore(tmp_path / "r.sqlite") as store:
        n = fill_from_run(store, folder, "babi", ["rules"])
        assert n == 41
        assert fill_from_run(store, folder, "babi", ["rules"]) == 0
        path = folder / "traces" / "rules.jsonl"
        traces = list(read_jsonl(path, Trace))
        write_jsonl(path, [replace(traces[0], trace_id="other"), *traces[1:]])
        assert fill_from_run(store, folder, "babi", ["rules"]) == 1
        assert len(reviewed_of(tmp_path / "r.sqlite", "rules")) == n
        problem_id = traces[1].problem_id
        fill_from_run(store, folder, "babi", ["rules"], {problem_id: "both", traces[2].problem_id: "student"})
        assert [line.problem_id for line in lines(store, "ana", Filter(need="teacher"))] == [problem_id]
        with pytest.raises(InputError, match=r"nobody\.jsonl: no such file; first run"):
            fill_from_run(store, folder, "babi", ["nobody"])
        assert isinstance(store.problem(problem_id), Problem)


def test_plain_rows_are_traces(tmp_path: Path) -> None:
    data = data_dir(tmp_path)
    path = tmp_path / "plain.csv"
    path.write_text('problem_id,text,answer\np1,"1. 11*3 = 33 pens\n2. 33-4 = 29 pens",29\np2,11*3 = 34 pens,\n')
    with ReviewStore(tmp_path / "r.sqlite") as store:
        assert fill_from_file(store, path, "gsm8k", data) == 2
        assert fill_from_file(store, path, "gsm8k", data) == 0
        first, second = store.trace(1), store.trace(2)
        assert (len(first.steps), first.answer, first.teacher) == (2, "29", "plain")
        assert second.answer is None
        assert [line.problem_id for line in lines(store, "ana", Filter(need="failed"))] == ["p2"]


MESSAGES = [
    (["review", "{tmp}/traces.jsonl"], "needs --task NAME"),
    (["review", "{tmp}/traces.jsonl", "--task", "gsm8k", "a=b"], "takes no key=value"),
    (["review", "{tmp}/nothing.jsonl", "--task", "gsm8k"], "no such file"),
    (["review", "{tmp}/nothing.yaml"], "no such recipe"),
    (["review", "{tmp}/traces.jsonl", "--task", "gsm8k", "--sample", "-1"], "--sample must not be negative"),
    (["review", "{tmp}/unknown.jsonl", "--task", "gsm8k", "--data-dir", "{tmp}/data"], "row 2: no problem 'p9'"),
    (["review", "{tmp}/broken.jsonl", "--task", "gsm8k", "--data-dir", "{tmp}/data"], "row 1: a trace needs"),
    (["review", "{tmp}/traces.jsonl", "--task", "gsm8k", "--data-dir", "{tmp}/data", "--reviewer", " "], "--reviewer"),
    (["review", "{tmp}/traces.jsonl", "--task", "gsm8k", "--data-dir", "{tmp}/data", "--port", "99999"], "--port"),
    (["review", "{tmp}/traces.jsonl", "--task", "gsm8k", "--data-dir", "{tmp}/data", "--read", "5"], "needs a study"),
    (
        ["review", "{tmp}/traces.jsonl", "--task", "gsm8k", "--data-dir", "{tmp}/data", "--rate", "{tmp}/no.yaml"],
        "plan",
    ),
]


@pytest.mark.parametrize(("words", "message"), MESSAGES)
def test_messages(tmp_path: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    data_dir(tmp_path)
    (tmp_path / "unknown.jsonl").write_text(
        '{"problem_id": "p1", "text": "1+1 = 2"}\n{"problem_id": "p9", "text": "x"}\n'
    )
    (tmp_path / "broken.jsonl").write_text('{"problem_id": "p1"}\n')
    assert main([word.replace("{tmp}", str(tmp_path)) for word in words]) == 2
    told = capsys.readouterr().err
    assert told.startswith("tracedistill: ")
    assert message in told


def test_labels(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("problem_id,label\np1,teacher\np2,student\n")
    assert read_labels(path) == {"p1": "teacher", "p2": "student"}
    path.write_text("problem,label\np1,teacher\n")
    with pytest.raises(InputError, match="row 2: needs the columns problem_id"):
        read_labels(path)


# ---- nothing that holds somebody's work is written over


def test_an_export_replaces_no_sheet_unasked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data_dir(tmp_path)
    sheet = tmp_path / "sheet.csv"
    assert review(tmp_path, "--export", str(sheet)) == 0
    sheet.write_text("edited for an hour")
    assert review(tmp_path, "--export", str(sheet)) == 2
    assert "may contain edits that were not imported" in capsys.readouterr().err
    assert sheet.read_text() == "edited for an hour"
    assert review(tmp_path, "--export", str(sheet), "--overwrite") == 0
    assert sheet.read_text(encoding="utf-8-sig").startswith("trace_id")


@pytest.mark.parametrize("name", ["traces.jsonl", "traces.jsonl.review.sqlite", "./sub/../traces.jsonl"])
def test_an_export_never_replaces_what_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    data_dir(tmp_path)
    (tmp_path / "sub").mkdir()
    before = (tmp_path / "traces.jsonl").read_bytes()
    assert review(tmp_path, "--export", str(tmp_path / name), "--overwrite") == 2
    assert "is an input file" in capsys.readouterr().err
    assert (tmp_path / "traces.jsonl").read_bytes() == before


def test_reviewers_may_start_together(tmp_path: Path, study_file: Callable[..., Path]) -> None:
    """Who comes second waits for the traces, and does not wait for a training where they are there."""
    import fcntl
    import threading

    loaded = pipeline.load(study_file())
    pipeline.run(loaded, "validate", quiet=True)
    with (loaded.study.folder / ".lock").open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        assert pipeline.run(loaded, "validate", quiet=True, wait=True) == []
        (loaded.study.folder / "validation" / "rules.jsonl.manifest.json").unlink()
        made: list[list[str]] = []
        waiting = threading.Thread(target=lambda: made.append(pipeline.run(loaded, "validate", quiet=True, wait=True)))
        waiting.start()
        waiting.join(0.5)
        assert waiting.is_alive()
        fcntl.flock(stream, fcntl.LOCK_UN)
    waiting.join(60)
    assert made == [["validate:rules"]]
