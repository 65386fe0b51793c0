from __future__ import annotations

import dataclasses
import json
import os
import signal
import string
import subprocess
import sys
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import ROOT
from tracedistill import files as store
from tracedistill import records
from tracedistill.errors import InputError
from tracedistill.files import (
    content_id,
    from_json,
    read_json,
    read_jsonl,
    read_value,
    to_json,
    unlinked,
    write_json,
    write_jsonl,
)
from tracedistill.records import AnswerVerdicts, Attempt, Example, Message, Problem, Score, Step, Trace, Verdict

RECORDS = [
    value
    for value in vars(records).values()
    if isinstance(value, type) and dataclasses.is_dataclass(value) and value.__module__ == records.__name__
]
# every code point, NUL and lone surrogates among them: models write anything
TEXT = st.text(st.characters(exclude_categories=()), max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
FIGURES = st.dictionaries(TEXT, st.floats(allow_nan=False), max_size=3)


def drawn(kind: Any) -> st.SearchStrategy[Any]:
    """Values of this type, as far as records use types."""
    if kind in RECORDS:
        hints = typing.get_type_hints(kind)
        return st.builds(kind, **{field.name: drawn(hints[field.name]) for field in dataclasses.fields(kind)})
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return st.sampled_from(arguments)
    if origin is tuple:
        if arguments[1:] == (...,):
            return st.lists(drawn(arguments[0]), max_size=3).map(tuple)
        return st.tuples(*map(drawn, arguments))
    if origin is types.UnionType:
        return st.none() | drawn(arguments[0])
    if origin is Mapping:
        return FIGURES if arguments[1] is float else st.dictionaries(TEXT, JSON, max_size=3)
    return {str: TEXT, int: st.integers(), bool: st.booleans(), float: st.floats(allow_nan=False)}[kind]


ANY_RECORD = st.one_of([drawn(kind) for kind in RECORDS])


def test_all_record_classes_are_met() -> None:
    assert {Problem, Step, Trace, Verdict, Example, Attempt, Score, Message, AnswerVerdicts} <= set(RECORDS)


# ---- round trip


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ANY_RECORD)
def test_every_record_survives_json(made: Any) -> None:
    line = store.dumps(made)
    assert "\n" not in line
    assert from_json(type(made), json.loads(line)) == made
    assert from_json(type(made), json.loads(json.dumps(to_json(made, defaults=True)))) == made


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(drawn(Attempt), max_size=4))
def test_files_of_records(tmp_path: Path, made: list[Attempt]) -> None:
    path = tmp_path / "deep" / "attempts.jsonl"
    assert write_jsonl(path, made) == len(made)
    assert list(read_jsonl(path, Attempt)) == made


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb", "\x00", "\r\n", "\u2028\u2029\x85", "\ufeff", "é\U0001f600"])
def test_characters_that_break_files(tmp_path: Path, text: str) -> None:
    attempt = Attempt("a/p/0", "p", "a", "s", text, "stop", 1, 2, 0.5)
    write_jsonl(tmp_path / "x.jsonl", [attempt, attempt])
    assert list(read_jsonl(tmp_path / "x.jsonl", Attempt)) == [attempt, attempt]
    write_json(tmp_path / "x.json", {text: [text]})
    assert read_json(tmp_path / "x.json") == {text: [text]}


def test_defaults_are_left_out_and_text_stays_readable() -> None:
    line = store.dumps(Problem("p", "babi", "test", "Où?"))
    assert line == '{"problem_id": "p", "task": "babi", "split": "test", "question": "Où?"}'


def test_the_reader_of_types() -> None:
    score = Score("a/p/0", "p", "a", AnswerVerdicts(*[Verdict("correct")] * 3), Verdict("none"), cut_off=False)
    assert from_json(Score, json.loads(store.dumps(score))) == score
    problem = Problem("p", "t", "s", "q", choices=(("A", "x"),), gold_steps=(Step("retrieval", "t", facts=("f",)),))
    read = from_json(Problem, json.loads(store.dumps(problem)))
    assert isinstance(read.gold_steps[0], Step)
    assert isinstance(read.choices[0], tuple)


# ---- ids


def test_content_ids_never_change() -> None:
    assert content_id("rules", "babi-s0-train-0", 0, "Question type: counting.") == "a8c76c65408554c3"
    assert content_id({"b": [1, 2.5, None], "a": "é\ud800"}, Step("plan", "x")) == "1a5875e748268f45"


def test_content_ids_know_content_alone() -> None:
    assert content_id({"a": 1, "b": 2}) == content_id({"b": 2, "a": 1})
    assert content_id((1, 2)) == content_id([1, 2])
    assert content_id("a", "b") != content_id("ab")
    assert content_id(["a"], "b") != content_id("a", ["b"])
    assert len(content_id("x")) == 16
    assert set(content_id("x")) <= set(string.hexdigits)


@given(JSON, JSON)
def test_equal_ids_mean_equal_content(one: Any, other: Any) -> None:
    assert (content_id(one) == content_id(other)) == (store.canonical(one) == store.canonical(other))


# ---- bad lines

GOOD = '{"problem_id": "p", "task": "t", "split": "s", "question": "q"}'


@pytest.mark.parametrize(
    "line",
    [
        "", "{", "x", "5", "null", "[1]", '"text"', "{}", '{"problem_id": "p"}', GOOD[:-1] + ', "colour": 1}',
        GOOD[:-1] + ', "gold_steps": [5]}', GOOD[:-1] + ', "gold_steps": 5}', GOOD[:-1] + ', "choices": [["A"], 1]}',
        GOOD[:-1] + ', "choices": [["A", "b", "c"]]}', GOOD + GOOD, "[" * 100_000, '{"a": ' + "9" * 5000 + "}",
    ],
)  # fmt: skip
def test_bad_lines_are_named_by_file_and_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "problems.jsonl"
    path.write_text(f"{GOOD}\n{line}\n{GOOD}\n")
    with pytest.raises(InputError, match=r"problems.jsonl, line 2: .*delete the file to make it again"):
        list(read_jsonl(path, Problem))


@pytest.mark.parametrize("field", ['"answers": "yes"', '"difficulty": "two"', '"answers": [1]', '"context": {"a": 1}'])
def test_values_of_a_wrong_type_are_refused(tmp_path: Path, field: str) -> None:
    (tmp_path / "x.jsonl").write_text(f"{GOOD[:-1]}, {field}}}\n")
    with pytest.raises(InputError, match=r"x.jsonl, line 1"):
        list(read_jsonl(tmp_path / "x.jsonl", Problem))


def test_what_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b'{"a": "\xff"}\n')
    for path, message in (
        (tmp_path / "x", "not valid"),
        (tmp_path / "no", "no such file"),
        (tmp_path, "cannot be read"),
    ):
        with pytest.raises(InputError, match=message):
            list(store.read_lines(path))
        with pytest.raises(InputError, match=message):
            read_json(path)


def test_lines_of_other_systems_and_a_missing_last_newline(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(f"{GOOD}\r\n{GOOD}".encode())
    assert len(list(read_jsonl(tmp_path / "x.jsonl", Problem))) == 2


# ---- whole or not at all


def test_an_error_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    write_jsonl(path, [1])

    def broken() -> Any:
        yield 2
        raise RuntimeError("the model fell over")

    with pytest.raises(RuntimeError):
        write_jsonl(path, broken())
    assert path.read_text() == "1\n"
    assert [child.name for child in tmp_path.iterdir()] == ["x.jsonl"]


def test_a_value_that_json_cannot_say_leaves_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", 1)
    with pytest.raises(TypeError):
        write_json(tmp_path / "x.json", {"a": object()})
    assert read_value(tmp_path / "x.json") == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_a_killed_writer_leaves_nothing_under_the_name(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from tracedistill.files import atomic\n"
        "with atomic(Path(sys.argv[1])) as stream:\n"
        "    stream.write('half' * 100_000); stream.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / "x.jsonl"
    for before in (None, "old\n"):
        if before is not None:
            path.write_text(before)
        done = subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, check=False)
        assert done.returncode == -signal.SIGKILL
        assert (path.read_text() if path.exists() else None) == before
        assert all(child.name.startswith(".") for child in tmp_path.iterdir() if child != path)
    write_jsonl(path, [1])
    assert [child.name for child in tmp_path.iterdir()] == ["x.jsonl"], "the next try takes what the killed one left"


def test_a_folder_in_the_way_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write .*earlier complete files are kept"):
        write_json(tmp_path / "file" / "x.json", 1)
    (tmp_path / "x.json").mkdir()
    with pytest.raises(InputError, match="cannot write"):
        write_json(tmp_path / "x.json", 1)
    assert not list(tmp_path.rglob("*.partial"))


def test_a_full_disk_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_json(tmp_path / "x.json", "old")

    def no_space(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(InputError, match="No space left on device"):
        write_json(tmp_path / "x.json", "new")
    assert read_value(tmp_path / "x.json") == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_lost_connection_is_not_a_disk_error(tmp_path: Path) -> None:
    def engine() -> Any:
        raise ConnectionError("refused")
        yield

    with pytest.raises(ConnectionError):
        write_jsonl(tmp_path / "x.jsonl", engine())


def test_hashes_of_files_and_folders(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for folder in (one, other):
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "b").write_text("b")
        (folder / "a").write_text("a")
    assert store.file_hash(one) == store.file_hash(other)
    (other / "a").rename(other / "c")
    assert store.file_hash(one) != store.file_hash(other)
    assert store.file_hash(one / "a") == "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"


def test_records_are_read_anew_each_time(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    made = [Message("user", text) for text in "abc"]
    write_jsonl(file, made)
    some = store.Records(file, Message, lambda message: message.content != "b")
    assert list(some) == list(some) == [made[0], made[2]]
    write_jsonl(file, made[:1])
    assert list(some) == made[:1]


@given(st.lists(st.text()))
def test_the_id_of_a_list_that_is_not_held(texts: list[str]) -> None:
    ids = store.ListId()
    for text in texts:
        ids.add(text)
    assert (ids.id(), ids.n) == (store.content_id(texts), len(texts))


def test_a_link_in_a_run_folder_leads_no_write_elsewhere(tmp_path: Path) -> None:
    theirs = tmp_path / "elsewhere"
    theirs.write_text("mine")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / ".report.json.partial").symlink_to(theirs)
    (folder / "report.json").symlink_to(theirs)
    write_json(folder / "report.json", {"a": 1})
    assert theirs.read_text() == "mine"
    assert not (folder / "report.json").is_symlink()
    (folder / "x").symlink_to(tmp_path / "not there")
    assert not unlinked(folder / "x").is_symlink()
    assert not (tmp_path / "not there").exists()
