"""What a user of `teach` reads and keeps when servers refuse, mix models or quote keys."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.engines.server_kit import KEY, LocalServer, running
from tests.fault_server import Behaviour
from tests.pipeline.test_teacher_server import files_below, recipe
from tracedistill import cli, pipeline
from tracedistill.engines.progress import Statistics
from tracedistill.errors import InputError
from tracedistill.files import read_json
from tracedistill.pipeline import screen as screens
from tracedistill.pipeline.screen import Screen

StudyFile = Callable[..., Path]
Answer = Callable[[int, dict[str, Any]], tuple[int, Any]]
"""(number of the call, the reply of a healthy server) -> (status, body)."""


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEACHER_KEY", KEY)


@contextmanager
def answering(monkeypatch: pytest.MonkeyPatch, answer: Answer) -> Iterator[LocalServer]:
    """A server whose replies are changed on their way."""
    with running(Behaviour(latency=0.002)) as server:
        chat = server.service.chat

        def changed(raw: bytes) -> tuple[int, dict[str, str], bytes, str, str]:
            _, headers, data, fault, name = chat(raw)
            status, body = answer(server.ledger.calls, json.loads(data))
            return status, headers, json.dumps(body).encode(), fault, name

        monkeypatch.setattr(server.service, "chat", changed)
        yield server


def test_a_field_that_the_model_refuses_ends_the_run_with_words_and_remedy(
    study_file: StudyFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead."
    with answering(monkeypatch, lambda *_: (400, {"error": {"message": said}})) as server:
        file = recipe(study_file, tmp_path / "one", server.url, 200)
        assert cli.main(["teach", str(file)]) == 2
        assert server.ledger.calls <= 24, "not one for every problem"
    shown = capsys.readouterr().err
    assert said in shown
    assert "set max_tokens_field: max_completion_tokens" in shown
    with running(Behaviour()) as server:
        loaded = pipeline.load(file, [f"teachers.planner.base_url={server.url}"])
        pipeline.run(loaded, "teach", quiet=True)
    assert (loaded.study.folder / "traces" / "planner.jsonl").read_text().count("\n") == 200


def test_a_few_problems_that_all_fail_end_with_an_error_and_not_with_nothing(
    study_file: StudyFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(monkeypatch, lambda *_: (400, {"detail": "Unexpected fields: {'top_k'}"})) as server:
        file = recipe(study_file, tmp_path / "one", server.url, 4)
        assert cli.main(["teach", str(file)]) == 2
        shown = capsys.readouterr()
        assert "4 failed: HTTP 400: Unexpected fields: {'top_k'}; remove the field" in shown.out
        assert "no trace was made: all 4 requests failed" in shown.err
        assert cli.main(["teach", str(file)]) == 2, "and so it stays, without a call"
        assert server.ledger.calls == 4


def test_the_commonest_causes_are_shown_with_what_to_do(
    study_file: StudyFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(number: int, reply: dict[str, Any]) -> tuple[int, Any]:
        if number % 3 == 0:
            return 400, {"error": {"message": f"maximum context length is 8{number} tokens"}}
        if number % 10 == 1:
            reply["choices"][0]["finish_reason"] = "length"
        return 200, reply

    with answering(monkeypatch, answer) as server:
        pipeline.run(pipeline.load(recipe(study_file, tmp_path / "one", server.url, 30)), "teach")
    shown = capsys.readouterr().out
    assert "planner: 10 failed: HTTP 400: maximum context length is 8" in shown
    assert "; lower max_tokens or shorten the prompt" in shown
    assert "set retry_failed: true" in shown
    assert "cut off: raise max_tokens" in shown


def test_answers_of_more_than_one_model_are_told_and_counted(
    study_file: StudyFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(number: int, reply: dict[str, Any]) -> tuple[int, Any]:
        return 200, {**reply, "model": "small" if number % 4 == 0 else "large", "system_fingerprint": "fp_1"}

    with answering(monkeypatch, answer) as server:
        loaded = pipeline.load(recipe(study_file, tmp_path / "one", server.url, 20))
        pipeline.run(loaded, "teach")
    assert "answers came from 2 models: large as fp_1 (15), small as fp_1 (5)" in capsys.readouterr().out
    usage = read_json(loaded.study.folder / "traces" / "planner.usage.json")
    assert usage["models"] == {"large as fp_1": 15, "small as fp_1": 5}
    again = pipeline.load(tmp_path / "one" / "study.yaml", [f"run_dir={tmp_path}/again"])
    pipeline.run(again, "teach", quiet=True)
    assert read_json(again.study.folder / "traces" / "planner.usage.json")["models"] == usage["models"], (
        "from the cache"
    )


def test_no_file_holds_the_key_of_a_server_that_quotes_it_everywhere(
    study_file: StudyFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = f"{KEY[:11]}\\n{KEY[11:]}"

    def answer(number: int, reply: dict[str, Any]) -> tuple[int, Any]:
        if number % 5 == 0:
            return 400, {"error": {"message": f"bad header b'Bearer {broken}'", "code": KEY}}
        reply["choices"][0]["message"]["content"] += f" {KEY}"
        return 200, {**reply, "model": KEY, "system_fingerprint": KEY.upper()}

    with answering(monkeypatch, answer) as server:
        pipeline.run(pipeline.load(recipe(study_file, tmp_path / "one", server.url, 30)))
    shown = capsys.readouterr()
    for text in [shown.out, shown.err, *(path.read_bytes().decode("latin-1") for path in files_below(tmp_path))]:
        for part in (KEY, KEY.upper(), KEY[:12], KEY[12:], broken):
            assert part not in text
    assert "[key]" in shown.out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"base_url": f"http://me:{KEY}@127.0.0.1:9/v1"}, "teachers.planner.base_url"),
        ({"extra": {"api_key": KEY}}, "teachers.planner.extra.api_key"),
        ({"key_env": KEY}, "teachers.planner.key_env"),
    ],
)
def test_a_secret_in_a_recipe_is_refused_before_any_file_holds_it(
    study_file: StudyFile, tmp_path: Path, change: dict[str, Any], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = recipe(study_file, tmp_path / "one", "http://127.0.0.1:9/v1", 5, **change)
    for command in ("teach", "status", "run"):
        assert cli.main([command, str(file)]) == 2
    shown = capsys.readouterr()
    assert words in shown.err
    assert KEY not in shown.err + shown.out
    assert not (tmp_path / "one" / "run").exists()
    overridden = recipe(study_file, tmp_path / "two", "http://127.0.0.1:9/v1", 5)
    assert (
        cli.main(
            [
                "teach",
                str(overridden),
                f"teachers.planner.{next(iter(change))}={json.dumps(next(iter(change.values())))}",
            ]
        )
        == 2
    )
    assert not (tmp_path / "two" / "run").exists()


def test_a_key_that_cannot_be_sent_is_refused_before_another_teacher_is_paid(
    study_file: StudyFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER_KEY", f"{KEY[:9]}\n{KEY[9:]}")
    with running(Behaviour()) as server:
        file = recipe(study_file, tmp_path / "one", server.url, 5)
        other = {"kind": "model", "model": "stub", "base_url": server.url, "key_env": "OTHER_KEY"}
        arms = {
            "a": {"prompt": "trace-of-thought", "teacher": "planner"},
            "b": {"prompt": "trace-of-thought", "teacher": "z"},
        }
        loaded = pipeline.load(file, [f"teachers.z={json.dumps(other)}", f"arms={json.dumps(arms)}"])
        with pytest.raises(InputError, match=r"teachers.z.key_env: .* OTHER_KEY holds a line break") as caught:
            pipeline.run(loaded, "teach", quiet=True)
        student = {"model": "stub", "base_url": server.url, "key_env": "OTHER_KEY"}
        asking = pipeline.load(file, [f"students={json.dumps({'far': student})}"])
        with pytest.raises(InputError, match=r"students.far.key_env: .* OTHER_KEY holds a line break"):
            pipeline.run(asking, quiet=True)
        assert server.ledger.calls == 0
    assert KEY[:9] not in str(caught.value)
    for path in files_below(tmp_path):
        assert KEY[9:].encode() not in path.read_bytes()


def test_without_a_terminal_a_plain_line_says_where_the_run_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(range(0, 10_000, 25))
    monkeypatch.setattr(screens.time, "monotonic", lambda: next(clock))
    figures = Statistics(100, clock=lambda: 1.0)
    figures.done, figures.waiting = 7, "the server is loading its model"
    with Screen().panel("planner") as update:
        for _ in range(9):
            update(figures)
    with Screen().bar("arm") as count:
        for number in range(6):
            count(number, 6)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert [line for line in lines if "planner: 7/100" in line and "waiting: the server is loading" in line]
    assert 3 <= sum("planner:" in line for line in lines) <= 5, "one a minute, and the last"
    assert any("arm: " in line and " of 6" in line for line in lines)


def test_the_guide_says_what_comes_of_replies() -> None:
    guide = (ROOT / "docs" / "teachers.md").read_text(encoding="utf-8")
    for word in ("model_length", "RECITATION", "until when", "tests/cases/server_replies.jsonl"):
        assert word in guide
