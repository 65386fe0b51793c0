from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.run_folders import misled, problems_of, right, some, traced, write_run, wrong
from tests.sections_kit import columns_from
from tracedistill.cli import main
from tracedistill.errors import InputError
from tracedistill.recipes import Arm
from tracedistill.report import FILES, write_view
from tracedistill.report.attempts import (
    ANSWERS,
    FINISHES,
    STEP_KINDS,
    TRACES,
    UNKNOWN,
    AttemptColumns,
    kept,
    read_columns,
    read_row,
)
from tracedistill.report.combine import combine
from tracedistill.report.format import between
from tracedistill.report.runs import view_of_folder


def line(problem_id: str = "p-0", **changes: Any) -> dict[str, Any]:
    verdict = {"outcome": "correct", "extracted": "x"}
    plain = {
        "problem_id": problem_id, "finish": "stop", "tokens_in": 3, "tokens_out": 5, "seconds": 0.25, "answer": verdict,
        "derived": verdict, "candidate": verdict, "trace": {"outcome": "none"}, "answer_in_trace": None,
    }  # fmt: skip
    return {**plain, **changes}


# ---- columns


@pytest.mark.parametrize(
    ("changes", "column", "value"),
    [
        ({}, "answer", ANSWERS.index("correct")),
        ({"answer": {"outcome": "missing", "extracted": None}}, "answer", ANSWERS.index("missing")),
        ({"answer": {"outcome": "missing", "extracted": None}}, "extracted", UNKNOWN),
        ({"derived": {"outcome": "ungradable"}}, "derived", ANSWERS.index("ungradable")),
        ({"candidate": {"outcome": "incorrect"}}, "candidate", ANSWERS.index("incorrect")),
        ({"trace": {"outcome": "unparsed"}}, "trace", TRACES.index("unparsed")),
        ({"finish": "no-plan"}, "finish", FINISHES.index("no-plan")),
        ({}, "copied", UNKNOWN),
        ({"answer_in_trace": True}, "copied", 1),
        ({"answer_in_trace": False}, "copied", 0),
        ({}, "follows", UNKNOWN),
        ({"follows": True}, "follows", 1),
        ({"sample": 4}, "sample", 4),
        ({"seed": 2}, "seed", 2),
        ({"trace": {"outcome": "correct", "steps": []}}, "steps", 0),
    ],
)
def test_a_line_as_columns(changes: dict[str, Any], column: str, value: int) -> None:
    columns = columns_from([line("first"), line("second", **changes)])
    assert columns.ids == ("first", "second")
    assert getattr(columns, column)[1] == value


@pytest.mark.parametrize(
    ("steps", "marks"),
    [
        ([], {}),
        ([("class", "correct")], {"class": 1}),
        ([("class", "incorrect"), ("retrieval", "correct")], {"class": 0, "retrieval": 1}),
        ([("calculation", "correct"), ("calculation", "incorrect")], {"calculation": 0}),
        ([("calculation", "incorrect"), ("calculation", "correct")], {"calculation": 0}),
        ([("plan", "undecided")], {}),
        ([("plan", "undecided"), ("plan", "correct")], {"plan": 1}),
    ],
)
def test_a_kind_of_step_is_right_where_all_of_them_are(steps: list[tuple[str, str]], marks: dict[str, int]) -> None:
    judged = [{"kind": kind, "outcome": outcome} for kind, outcome in steps]
    (found,) = columns_from([line(trace={"outcome": "incorrect", "steps": judged})]).kinds.tolist()
    assert dict(zip(STEP_KINDS, found, strict=True)) == {kind: marks.get(kind, UNKNOWN) for kind in STEP_KINDS}


def test_equal_texts_have_equal_numbers_and_samples_one_problem() -> None:
    said = [line("a", answer={"outcome": "correct", "extracted": text}, sample=n) for n, text in enumerate("xyx")]
    columns = columns_from([*said, line("b")])
    assert columns.problem.tolist() == [0, 0, 0, 1]
    assert columns.extracted[0] == columns.extracted[2] == columns.extracted[3] != columns.extracted[1]
    assert columns.n == 4
    assert columns.right.all()


def test_rows_are_found_again_by_their_offset(tmp_path: Path) -> None:
    path = tmp_path / "arm.jsonl"
    texts = ["ä", "\u2028\n", "\x00", "日本", "\ud800"]
    rows = [line(f"p-{n}", text=text, answer={"outcome": "correct", "extracted": text}) for n, text in enumerate(texts)]
    path.write_text("".join(json.dumps(row, ensure_ascii=n % 2 == 0) + "\n" for n, row in enumerate(rows)), "utf-8")
    columns = read_columns(path)
    assert [read_row(path, int(offset)) for offset in columns.offset] == rows
    assert len(set(columns.extracted.tolist())) == len(texts)


def test_no_attempts_are_no_error() -> None:
    columns = columns_from([])
    assert (columns.n, columns.ids, columns.kinds.shape) == (0, (), (0, len(STEP_KINDS)))


def test_kept_renumbers_problems() -> None:
    columns = columns_from([line("a"), line("b", tokens_in=9), line("c"), line("b", sample=1, tokens_in=8)])
    part = kept(columns, {"b", "c"})
    assert part.ids == ("b", "c")
    assert part.problem.tolist() == [0, 1, 0]
    assert part.tokens_in.tolist() == [9, 3, 8]
    assert len(part.kinds) == len(part.offset) == 3
    assert kept(columns, {"a", "b", "c", "d"}) is columns
    assert kept(columns, set()).n == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "arm.jsonl, line 2: not valid JSON"),
        (b"[]", "arm.jsonl, line 2: not an attempt: Expected `object`"),
        (b"{}", "arm.jsonl, line 2: not an attempt"),
        (json.dumps(line(finish="asleep")).encode(), "line 2: not an attempt: 'asleep'"),
        (json.dumps(line(tokens_in=None)).encode(), "not an attempt: Expected `int`, got `null`"),
        (json.dumps(line(tokens_in=2**31)).encode(), "line 2: not an attempt: Expected `int` <= 2147483647"),
        (json.dumps(line(seed=-1)).encode(), "line 2: not an attempt: Expected `int` >= 0"),
        (b'{"a": "\xff"}', "line 2: not valid UTF-8"),
        (b"[" * 200_000, "line 2"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "arm.jsonl"
    path.write_bytes(json.dumps(line()).encode() + b"\n" + content + b"\n")
    with pytest.raises(InputError, match=words):
        read_columns(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_columns(tmp_path / "arm.jsonl")


# ---- a run folder alone


def test_a_view_of_a_folder(tmp_path: Path) -> None:
    settings = {"b": Arm(tune="correct"), "c": Arm(adapter="b", prompt="chain-of-thought"), "d": Arm(served="x")}
    arms = {"a": right, "b": wrong, "c": traced, "d": right}
    write_run(tmp_path, arms, 8, comparisons=[("b", "a")], settings=settings, seed=3)
    view = view_of_folder(tmp_path)
    assert (view.name, view.task, view.seed, view.waiting) == ("small", "babi", 3, ())
    assert [(arm.name, arm.kind) for arm in view.arms] == [
        ("a", "in context"), ("b", "tuned"), ("c", "tuned"), ("d", "served")
    ]  # fmt: skip
    assert (view.arm("c").adapter, view.arm("c").student, view.arm("c").teacher) == ("b", "half", "rules")
    assert view.comparisons == (("b", "a"),)
    assert view.attempts("a").right.all()
    assert not view.attempts("b").right.any()
    assert view.attempts("a").ids is view.attempts("b").ids, "100,000 ids are kept once"
    assert list(view.problems()) == list(view.attempts("a").ids)
    with pytest.raises(KeyError):
        view.arm("z")


def test_arms_without_attempts_wait(tmp_path: Path) -> None:
    write_run(tmp_path, {"a": right, "b": wrong}, 4, comparisons=[("a", "b")])
    (tmp_path / "attempts" / "b.jsonl").unlink()
    view = view_of_folder(tmp_path)
    assert ([arm.name for arm in view.arms], view.waiting, view.comparisons) == (["a"], ("b",), ())
    write_view(view)
    assert "No attempts yet, so not in this report: b" in (tmp_path / "report.md").read_text()


def test_the_newest_manifest_tells_the_recipe(tmp_path: Path) -> None:
    write_run(tmp_path, {"a": right}, 4)
    first = (tmp_path / "problems.jsonl.manifest.json").read_text()
    write_run(tmp_path, {"a": right, "later": wrong}, 4)
    (tmp_path / "problems.jsonl.manifest.json").write_text(first)  # made before the arm was added
    assert [arm.name for arm in view_of_folder(tmp_path).arms] == ["a", "later"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: None, "no such run folder; give a run folder or a recipe"),
        (lambda folder: folder.mkdir(), "not a run folder"),
        (lambda folder: write_run(folder, {}, 2), "no attempts yet"),
        (lambda folder: folder.write_text("x"), "no such run folder"),
    ],
)
def test_what_is_no_run(tmp_path: Path, make: Any, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path / "run")
    assert main(["report", str(tmp_path / "run")]) == 2
    assert words in capsys.readouterr().err


def test_a_report_made_again_is_the_same_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path, {"a": some(0.1, traced, misled), "b": wrong}, 16, comparisons=[("a", "b")])
    assert main(["report", str(tmp_path)]) == 0
    before = {name: ((tmp_path / name).read_bytes(), (tmp_path / name).stat().st_mtime_ns) for name in FILES}
    assert main(["report", str(tmp_path), "--quiet"]) == 0
    assert {name: ((tmp_path / name).read_bytes(), (tmp_path / name).stat().st_mtime_ns) for name in FILES} == before
    assert "a answered" in capsys.readouterr().out


def test_a_studys_own_report_that_changed_is_made_again_by_its_next_run(tmp_path: Path) -> None:
    write_run(tmp_path, {"a": right, "b": wrong}, 8, comparisons=[("a", "b")])
    assert main(["report", str(tmp_path), "--quiet"]) == 0
    manifest = tmp_path / "report.json.manifest.json"
    from tracedistill.files import file_hash

    outputs = {name: {"sha256": file_hash(tmp_path / name), "bytes": 0, "mtime_ns": 0} for name in FILES}
    value = {"node": "report", "outputs": outputs, "seconds": 1.0, "peak_memory_bytes": 1, "libraries": {}}
    manifest.write_text(json.dumps(value))
    assert main(["report", str(tmp_path), "--quiet"]) == 0
    assert manifest.exists(), "nothing changed"
    (tmp_path / "attempts" / "b.jsonl").write_bytes((tmp_path / "attempts" / "a.jsonl").read_bytes())
    assert main(["report", str(tmp_path), "--quiet"]) == 0
    assert not manifest.exists()


def test_chosen_pairs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path, {"a": right, "b": wrong, "c": wrong}, 8, comparisons=[("a", "b")])
    assert main(["report", str(tmp_path), "--compare", "c,b", "--compare", "a,c", "--quiet"]) == 0
    entries = json.loads((tmp_path / "report.json").read_text())["comparisons"]
    assert [(entry["first"], entry["second"]) for entry in entries] == [("c", "b"), ("a", "c")]
    for pair in ("a", "a,a", "a,z"):
        assert main(["report", str(tmp_path), "--compare", pair]) == 2
        assert "from a, b, c" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["study.yaml", "--against", "x"], "take run folders, not a recipe"),
        (["study.yaml", "other.yaml"], "take run folders, not a recipe"),
        (["{run}", "seed=3"], "seed=3: overrides a recipe key"),
        (["{run}", "--section", "nonsense"], "no section 'nonsense'"),
    ],
)
def test_arguments_that_do_not_go_together(
    tmp_path: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path, {"a": right}, 4)
    assert main(["report", *(part.format(run=tmp_path) for part in arguments)]) == 2
    assert words in capsys.readouterr().err


# ---- several runs


def test_runs_side_by_side_are_paired_over_the_common_problems(tmp_path: Path) -> None:
    every = problems_of(12)
    write_run(tmp_path / "one", {"a": right, "b": wrong}, problems=every[:10], name="one", comparisons=[("a", "b")])
    write_run(tmp_path / "two", {"a": wrong}, problems=every[2:][::-1], name="two")
    assert main(["report", str(tmp_path / "one"), str(tmp_path / "two"), "--quiet"]) == 0
    report = json.loads((tmp_path / "one" / "compared" / "report.json").read_text())
    assert [arm["name"] for arm in report["arms"]] == ["one/a", "one/b", "two/a"]
    assert {arm["n"] for arm in report["arms"]} == {8}
    assert [(run["problems"], run["left_out"]) for run in report["runs"]] == [(10, 2), (10, 2)]
    pairs = {(entry["first"], entry["second"]): entry for entry in report["comparisons"]}
    assert list(pairs) == [("one/a", "one/b"), ("two/a", "one/a")]
    assert pairs["two/a", "one/a"]["difference"] == -1, "joined by id, not by place"
    assert report["arms"][2]["file"] == "../../two/attempts/a.jsonl"
    page = (tmp_path / "one" / "compared" / "report.html").read_text()
    assert 'href="../../two/attempts/a.jsonl"' in page
    assert not (tmp_path / "two" / "report.json").exists()


def test_a_problem_asked_otherwise_is_not_common(tmp_path: Path) -> None:
    from dataclasses import replace

    every = problems_of(6)
    changed = [replace(every[0], question="Where is everybody?"), *every[1:]]
    write_run(tmp_path / "one", {"a": right}, problems=every, name="one")
    write_run(tmp_path / "two", {"a": right}, problems=changed, name="two")
    view = combine([view_of_folder(tmp_path / "one"), view_of_folder(tmp_path / "two")])
    assert every[0].problem_id not in view.problems()
    assert [run.asked_otherwise for run in view.runs] == [1, 1]
    assert {view.attempts(arm.name).n for arm in view.arms} == {5}


def test_runs_of_one_study_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    for place in ("x/run", "y/run"):
        write_run(tmp_path / place, {"a": right}, 4)
    view = combine([view_of_folder(tmp_path / "x/run"), view_of_folder(tmp_path / "y/run")])
    assert [arm.name for arm in view.arms] == ["x/run/a", "y/run/a"]


@pytest.mark.parametrize("case", ["task", "twice", "disjoint"])
def test_runs_that_cannot_be_paired(tmp_path: Path, case: str) -> None:
    write_run(tmp_path / "one", {"a": right}, 4)
    other = tmp_path / "two"
    if case == "task":
        write_run(other, {"a": right}, 4)
        for path in other.rglob("*.manifest.json"):
            path.write_text(path.read_text().replace('"name": "babi"', '"name": "gsm8k"'))
    elif case == "disjoint":
        write_run(other, {"a": right}, 4, seed=9)
    else:
        other = tmp_path / "one"
    words = {"task": "different tasks", "twice": "given twice", "disjoint": "no problem in common"}[case]
    with pytest.raises(InputError, match=words):
        combine([view_of_folder(tmp_path / "one"), view_of_folder(other)])


def test_against_names_what_flipped_and_what_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    every = problems_of(10)
    ids = [problem.problem_id for problem in every]
    now = {ids[0], ids[1], ids[2]}
    before = {ids[2], ids[3]}
    write_run(
        tmp_path / "now", {"a": lambda p: right(p) if p.problem_id in now else wrong(p), "new": right}, problems=every,
        name="now", settings={"a": Arm(max_tokens=64)}, params={"batch": 8},
    )  # fmt: skip
    write_run(
        tmp_path / "then", {"a": lambda p: right(p) if p.problem_id in before else wrong(p)}, problems=every,
        name="then", params={"batch": 4},
    )  # fmt: skip
    out = tmp_path / "out"
    assert main(["report", str(tmp_path / "now"), "--against", str(tmp_path / "then"), "--out", str(out)]) == 0
    report = json.loads((out / "report.json").read_text())
    assert [(entry["first"], entry["second"]) for entry in report["comparisons"]] == [("now/a", "then/a")]
    section = next(section for section in report["sections"] if section["key"] == "against")
    flipped, which, settings = section["tables"]
    assert flipped["rows"] == [["now/a", "then/a", 2, 1, 7]]
    assert which["rows"] == [
        ["now/a", "right now, wrong before", 2, f"{ids[0]}, {ids[1]}"],
        ["now/a", "wrong now, right before", 1, ids[3]],
    ]
    assert ["now/a", "arm.max_tokens", "64", "128"] in settings["rows"]
    assert ["now/a", "generate.batch", "8", "4"] in settings["rows"]
    assert len(settings["rows"]) == 2
    assert "Arms that only one of the runs has: now/new." in section["notes"]
    printed = capsys.readouterr().out
    assert "Against then" in printed
    assert ids[3] in printed


def test_against_a_run_without_the_same_arm(tmp_path: Path) -> None:
    write_run(tmp_path / "one", {"a": right}, 4, name="one")
    write_run(tmp_path / "two", {"b": right}, 4, name="two")
    with pytest.raises(InputError, match="no arm of the same name; it has b, the others a"):
        combine([view_of_folder(tmp_path / "one")], view_of_folder(tmp_path / "two"))


def test_columns_are_small(tmp_path: Path) -> None:
    """A million attempts fit: about 60 bytes each beside the ids."""
    columns = columns_from(line(f"p-{n}") for n in range(100))
    arrays = [
        value
        for value in (getattr(columns, name) for name in AttemptColumns.__slots__)
        if isinstance(value, np.ndarray)
    ]
    assert sum(array.nbytes for array in arrays) / 100 <= 64
    assert all(array.base is None or array.base.nbytes <= array.nbytes for array in arrays), "no view of a larger table"


def test_attempts_at_problems_that_are_gone_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    write_run(folder, {"a": right}, 8)
    lines = (folder / "problems.jsonl").read_text().splitlines(keepends=True)
    (folder / "problems.jsonl").write_text("".join(lines[:-1]))
    with pytest.raises(InputError, match=r"a\.jsonl: attempts at problem '.*', which .*problems\.jsonl does not have"):
        write_view(view_of_folder(folder))


@pytest.mark.parametrize("share", [1.0, 0.0, 0.5])
def test_the_arms_table_has_the_intervals_of_the_accuracy_section(tmp_path: Path, share: float) -> None:
    """Of several attempts per problem: clustered, and no certainty where all agree."""
    folder = tmp_path / "run"
    write_run(folder, {"a": right}, 12)
    path = folder / "attempts" / "a.jsonl"
    rows = [json.loads(row) for row in path.read_text().splitlines()]
    for number, row in enumerate(rows):
        row["answer"]["outcome"] = "correct" if number < share * len(rows) else "incorrect"
    drawn = [{**row, "sample": sample, "finish": "length" if sample else "stop"} for row in rows for sample in range(3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in drawn))
    report = write_view(view_of_folder(folder))
    (section,) = (each for each in report.sections if each.key == "accuracy")
    told = section.tables[0].rows[0]
    accuracy = report.arms[0].accuracy
    for share, cell in ((accuracy.raw, told[5]), (accuracy.completed, told[7])):
        assert cell == between(share.low, share.high)
    assert 0.2 < accuracy.raw.high - accuracy.raw.low < 0.7, "12 problems, not 36 rows"
    assert (accuracy.raw.n, accuracy.completed.n, accuracy.cut_off) == (36, 12, 24)


def test_a_run_that_lies_in_another_ones_folder_is_not_part_of_it(tmp_path: Path) -> None:
    write_run(tmp_path / "run", {"a": right, "b": wrong}, 8)
    before = view_of_folder(tmp_path / "run")
    write_run(tmp_path / "run" / "backup" / "other", {"c": right}, 8, name="other")
    after = view_of_folder(tmp_path / "run")
    assert (after.name, [arm.name for arm in after.arms]) == (before.name, ["a", "b"])
    assert after.manifests == before.manifests
    with pytest.raises(InputError, match="not a run folder"):
        view_of_folder(tmp_path / "run" / "backup")
