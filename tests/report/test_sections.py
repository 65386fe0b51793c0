"""Context check, grids, forced traces, the Trace-of-Thought study's figures, and all sections together."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest

from tests.sections_kit import STUDENT, FakeRun, column, columns_from, line, problems_of, table, verdicts
from tracedistill import stats
from tracedistill.files import write_json, write_jsonl
from tracedistill.recipes import Arm, TeacherConfig
from tracedistill.report.combine import combine
from tracedistill.report.format import dollars, number
from tracedistill.report.runs import view_of_folder
from tracedistill.report.sections import all_sections
from tracedistill.report.sections.context import context
from tracedistill.report.sections.forced import forced
from tracedistill.report.sections.grid import grid
from tracedistill.report.sections.scores import paired, scores_of
from tracedistill.report.sections.trace_of_thought import trace_of_thought

# ---- context check


@pytest.mark.parametrize("hidden", [True, False])
def test_a_fall_with_length_that_is_the_difficultys(tmp_path: Path, hidden: bool) -> None:
    """Accuracy falls with difficulty alone (hidden), or with the plan's length within each difficulty."""
    rng = np.random.default_rng(1)
    n = 1200
    problems = problems_of(n, difficulty=(1, 2, 3, 4))
    steps = {p.problem_id: (p.difficulty or 0) + int(rng.integers(1, 4)) for p in problems}
    chance = {
        p.problem_id: 0.9 - (0.2 * (p.difficulty or 0) if hidden else 0.12 * steps[p.problem_id]) for p in problems
    }
    rows = [line(key, bool(rng.random() < chance[key]), tokens=(20 + 10 * steps[key], 5)) for key in steps]
    run = FakeRun(tmp_path, {"plan": Arm(prompt="trace-of-thought")}, {"plan": rows}, problems)
    run.plans("plan", {key: ["\n".join(f"Step {k}." for k in range(steps[key]))] for key in steps})
    section = context(run.view())
    found = table(section, "slopes")
    assert column(found, "dose") == ["steps of the plan shown", "prompt tokens"]
    raw, within = float(found.rows[0][2]), float(found.rows[0][6])
    assert raw < -6
    assert found.rows[0][5] == found.rows[0][9] == n
    if hidden:
        assert abs(within) < 4
        assert float(found.rows[0][8]) > 0.05
    else:
        assert within < -8
        assert found.rows[0][8] == "< 0.0001"
    bands = [row for row in table(section, "accuracy in bands").rows if row[1] == "steps of the plan shown"]
    assert sum(row[3] for row in bands) == n


def test_several_plans_belong_to_their_samples(tmp_path: Path) -> None:
    rows = [line(f"p{n}", sample < 2, sample=sample) for n in range(8) for sample in range(4)]
    run = FakeRun(tmp_path, {"plan": Arm(prompt="trace-of-thought", plans=2, samples=2)}, {"plan": rows})
    run.plans("plan", {f"p{n}": ["one", "one\ntwo\nthree"] for n in range(8)})
    bands = table(context(run.view()), "accuracy in bands").rows
    assert bands[0][2:] == ("1", 16, "100.0%"), "samples 0 and 1 saw the first plan"
    assert bands[1][2:] == ("3", 16, "0.0%")


def test_nothing_varies_nothing_is_said(tmp_path: Path) -> None:
    assert context(FakeRun(tmp_path, {"a": Arm()}, {"a": verdicts([True, False])}).view()) is None


# ---- grids


def gridded(tmp_path: Path, **plans: str) -> FakeRun:
    arms = {
        f"plan@{student}+{teacher}": Arm(student=student, teacher=teacher, prompt="trace-of-thought")
        for student in ("small", "large")
        for teacher in ("weak", "strong")
    }
    right = {"small+weak": 2, "small+strong": 5, "large+weak": 4, "large+strong": 8}
    attempts = {f"plan@{key}": verdicts(place < count for place in range(10)) for key, count in right.items()}
    teachers = {"weak": TeacherConfig(), "strong": TeacherConfig()}
    run = FakeRun(
        tmp_path, arms, attempts, students={"small": STUDENT, "large": STUDENT}, teachers=teachers,
    )  # fmt: skip
    for name in arms:
        teacher = name.rpartition("+")[2]
        run.plans(name, {f"p{n}": [plans.get(name.partition("@")[2].replace("+", "_"), teacher)] for n in range(10)})
    write_json(
        tmp_path / "validation" / "weak.report.json", {"outcomes": {"correct": 4, "incorrect": 5, "unparsed": 1}}
    )
    write_json(
        tmp_path / "validation" / "strong.report.json", {"outcomes": {"correct": 9, "incorrect": 1, "undecided": 2}}
    )
    return run


def test_gradients_over_teachers_and_students(tmp_path: Path) -> None:
    section = grid(gridded(tmp_path).view())
    teachers = table(section, "teachers at a fixed student")
    assert [(row[0], row[1], row[3], row[6]) for row in teachers.rows] == [
        ("weak", "small", "40.0%", "20.0%"), ("strong", "small", "90.0%", "50.0%"),
        ("weak", "large", "40.0%", "40.0%"), ("strong", "large", "90.0%", "80.0%"),
    ]  # fmt: skip
    assert [row[4:6] for row in teachers.rows] == [(10, 0), (10, 2)] * 2
    assert teachers.rows[1][-1].startswith("+30.0 (")
    assert teachers.rows[0][-1] is None
    students = table(section, "students at a fixed teacher")
    assert column(students, "plans of all students") == ["same"] * 4
    assert not students.flagged


def test_a_plan_that_differs_between_students_is_flagged(tmp_path: Path) -> None:
    students = table(grid(gridded(tmp_path, large_weak="another").view()), "students at")
    rows = {students.rows[row][2] for row, _ in students.flagged}
    assert rows == {"plan@small+weak", "plan@large+weak"}
    assert {students.heads[place] for _, place in students.flagged} == {"plans of all students"}


def test_a_teacher_whose_plans_nobody_could_judge_has_no_quality(tmp_path: Path) -> None:
    run = gridded(tmp_path)
    write_json(tmp_path / "validation" / "strong.report.json", {"outcomes": {"undecided": 12}})
    teachers = table(grid(run.view()), "teachers at a fixed student")
    assert [(row[0], row[3], row[5]) for row in teachers.rows[:2]] == [("strong", None, 12), ("weak", "40.0%", 0)]


def test_arms_that_differ_in_more_are_no_grid(tmp_path: Path) -> None:
    arms = {"a": Arm(student="small"), "b": Arm(student="large", prompt="chain-of-thought")}
    attempts = {name: verdicts([True]) for name in arms}
    run = FakeRun(tmp_path, arms, attempts, students={"small": STUDENT, "large": STUDENT})
    assert grid(run.view()) is None


# ---- forced traces


def test_forced_traces_say_what_follows_and_what_changed(tmp_path: Path) -> None:
    free = [line(f"p{n}", n < 6, said="right" if n < 6 else "wrong") for n in range(10)]
    # 6 answers follow, 2 do not, 2 cannot be told; p0 to p3 change from right to wrong, p9 from wrong to another wrong
    put = [
        line(f"p{n}", 4 <= n < 6, said="planted" if n < 4 else "right" if n < 6 else "wrong" if n < 9 else "planted",
             follows=None if n in (4, 5) else n not in (6, 7))
        for n in range(10)
    ]  # fmt: skip
    arms = {"free": Arm(tune="correct"), "put": Arm(adapter="free", forced="wrong-facts", max_tokens=16)}
    section = forced(FakeRun(tmp_path, arms, {"free": free, "put": put}).view())
    assert table(section, "answers that follow").rows[0][:3] == ("put", "wrong-facts", "75.0%")
    assert table(section, "answers that follow").rows[0][4:8] == (8, 2, 0, "20.0%")
    assert table(section, "compared with the same").rows[0] == ("put", "free", 10, 5, "50.0%", 4, 0)
    assert section is not None
    assert "in 6 of 8 attempts (75.0%)" in section.notes[0]
    assert "this share is causal" in section.notes[0]


def test_a_forced_trace_that_nobody_corrupted_shows_no_cause(tmp_path: Path) -> None:
    rows = verdicts([True, True], follows=True)
    section = forced(
        FakeRun(tmp_path, {"a": Arm(forced="own"), "b": Arm(prompt="few-shot")}, {"a": rows, "b": rows}).view()
    )
    assert section is not None
    assert "causes" not in section.notes[0]
    assert len(section.tables) == 1, "no twin, nothing to hold it against"


def test_without_forced_arms_there_is_no_section(tmp_path: Path) -> None:
    assert forced(FakeRun(tmp_path, {"a": Arm()}, {"a": verdicts([True])}).view()) is None


# ---- the Trace-of-Thought study


PUBLISHED = [
    # right of 200 each, published z and p
    (172, 151, "2.6632", 0.00774),
    (169, 147, "2.7007", 0.00694),
    (187, 189, "-0.4211", 0.67448),
    (141, 132, "0.9667", 0.33204),
    (36, 24, "1.6803", 0.09296),
]


@pytest.mark.parametrize(("first", "second", "z", "p"), PUBLISHED)
def test_published_z_values_from_attempts_and_from_counts(
    tmp_path: Path, first: int, second: int, z: str, p: float
) -> None:
    exact = stats.two_proportion_z(first, 200, second, 200)
    assert f"{exact[0]:.4f}" == z
    tabled = 2 * round(NormalDist().cdf(-abs(round(exact[0], 2))), 5)
    # the first was computed, the others were read off a table at a z of two decimals
    assert (round(exact[1], 5) == p) == (first == 172)
    assert (round(tabled, 5) == p) == (first != 172)
    counts = {"tot": first, "cot": second}
    arms = {"tot": Arm(prompt="trace-of-thought"), "cot": Arm(prompt="chain-of-thought")}
    attempts = {name: verdicts(place < count for place in range(200)) for name, count in counts.items()}
    section = trace_of_thought(FakeRun(tmp_path, arms, attempts, comparisons=[("tot", "cot")]).view())
    row = table(section, "two-sample z-test").rows[0]
    assert row[1:7] == (first, 200, second, 200, z, f"{exact[1]:.5f}")
    assert row[7] == "exact McNemar"
    assert section is not None
    assert "computed from a z rounded" in " ".join(section.notes)


def test_relative_changes_and_ranges_by_method(tmp_path: Path) -> None:
    right = {
        "small": {"standard": 10, "chain-of-thought": 20, "trace-of-thought": 45},
        "large": {"standard": 80, "trace-of-thought": 90},
    }
    arms = {f"{s} {m}": Arm(student=s, prompt=m) for s, by in right.items() for m in by}
    attempts = {
        f"{s} {m}": verdicts(place < count for place in range(100))
        for s, by in right.items()
        for m, count in by.items()
    }
    section = trace_of_thought(FakeRun(tmp_path, arms, attempts, students={"small": STUDENT, "large": STUDENT}).view())
    assert table(section, "best alternative").rows == (
        ("small", "trace-of-thought", "chain-of-thought", "20.0%", "45.0%", "+25.0", "+125.0%", 100),
        ("large", "trace-of-thought", "standard", "80.0%", "90.0%", "+10.0", "+12.5%", 100),
    )
    assert table(section, "lowest, highest").rows[0] == ("standard", 2, "10.0%", "80.0%", "45.0%")


def test_variants_of_one_method_are_no_alternatives_to_each_other(tmp_path: Path) -> None:
    arms = {
        "mine": Arm(prompt="trace-of-thought"),
        "wrong": Arm(prompt="trace-of-thought", plan="foreign"),
        "cot": Arm(),
    }
    attempts = {name: verdicts(n < right for n in range(10)) for name, right in (("mine", 6), ("wrong", 9), ("cot", 3))}
    found = table(trace_of_thought(FakeRun(tmp_path, arms, attempts).view()), "best alternative")
    assert [(row[1], row[2], row[5]) for row in found.rows] == [
        ("trace-of-thought (mine)", "standard", "+30.0"), ("trace-of-thought (wrong)", "standard", "+60.0"),
    ]  # fmt: skip


def test_chi_square_is_on_counts_and_not_on_pooled_samples(tmp_path: Path) -> None:
    flags = {"a": [True] * 30 + [False] * 20, "b": [True] * 20 + [False] * 30}
    arms = {"a": Arm(), "b": Arm(prompt="trace-of-thought"), "c": Arm(samples=2, temperature=1.0)}
    attempts = {name: verdicts(each) for name, each in flags.items()}
    attempts["c"] = [line(f"p{n}", True, sample=sample) for n in range(50) for sample in (0, 1)]
    found = table(trace_of_thought(FakeRun(tmp_path, arms, attempts).view()), "kinds of answers")
    assert [row[:4] for row in found.rows] == [("a", 50, 30, 20), ("b", 50, 20, 30)]
    expected = stats.chi_square([[30, 20], [20, 30]])
    assert f"counts: {number(expected.statistic)}, 1 degrees" in found.note


def test_z_is_left_out_where_rows_are_not_independent(tmp_path: Path) -> None:
    rows = [line(f"p{n}", n % 2 == 0, sample=sample) for n in range(10) for sample in range(2)]
    arms = {"a": Arm(samples=2), "b": Arm(samples=2, prompt="trace-of-thought")}
    run = FakeRun(tmp_path, arms, {"a": rows, "b": rows}, comparisons=[("a", "b")])
    row = table(trace_of_thought(run.view()), "two-sample z-test").rows[0]
    assert row[5:8] == (None, None, "paired t on per-problem means")


# ---- pairs, numbers, the whole


def test_pairs_join_problems_and_seeds() -> None:
    a = scores_of(columns_from([line("p0", True, seed=1), line("p0", False, seed=2), line("p1", True, seed=1)]))
    b = scores_of(columns_from([line("p1", False), line("p0", True)]))
    pair = paired(a, b)
    assert pair.first.tolist() == [[1.0, 0.0]], "p1 lacks a seed"
    assert pair.second.tolist() == [[1.0, 1.0]], "an arm of one seed stands against each"
    assert pair.seeds == 2
    assert paired(b, a).second.tolist() == [[1.0, 0.0]]
    common = paired(replace(a, seeds=(1, 2)), replace(a, seeds=(2, 3), values=a.values[:, ::-1]))
    assert common.seeds == 2


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, None), (0, "0"), (0.01234, "0.0123"), (12.345, "12.3"), (1234.5, "1,234"), (1e6, "1,000,000")],
)
def test_numbers_for_people(value: float | None, text: str | None) -> None:
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, None), (0, "$0.00"), (0.000123, "$0.000123"), (1234.5, "$1,234.50")]
)
def test_dollars(value: float | None, text: str | None) -> None:
    assert dollars(value) == text


def test_all_sections_of_a_plain_run_in_their_order(tmp_path: Path) -> None:
    arms = {"<b>a</b>": Arm(), "[red]b": Arm(prompt="chain-of-thought")}
    attempts = {name: verdicts([True, False]) for name in ("<b>a</b>".replace("/", ""), "[red]b")}
    arms = dict(zip(attempts, arms.values(), strict=True))
    sections = all_sections(FakeRun(tmp_path, arms, attempts, comparisons=[tuple(attempts)]).view())  # type: ignore[list-item]
    # no arm is the Trace-of-Thought study's, so its own tables are left out
    assert [each.key for each in sections] == ["accuracy", "comparisons", "costs", "differences"]
    assert len({each.key for each in sections}) == len(sections)
    cells = [cell for each in sections for found in each.tables for row in found.rows for cell in row]
    assert "[red]b" in cells, "names are text: what marks up is the renderers' affair"
    json.dumps([list(row) for each in sections for found in each.tables for row in found.rows])


def test_an_arm_without_attempts_breaks_nothing(tmp_path: Path) -> None:
    run = FakeRun(tmp_path, {"a": Arm(tune="correct"), "none": Arm(), "gone": Arm(forced="foreign", vote=True)},
                  {"a": verdicts([True, False], trace=True), "none": [], "gone": []},
                  comparisons=[("a", "none"), ("none", "gone")])  # fmt: skip
    sections = {each.key: each for each in all_sections(run.view())}
    assert table(sections["accuracy"], "answers right").rows[1][:5] == ("none", 0, 0, 0, None)
    assert sections["comparisons"].tables == ()
    (note,) = sections["comparisons"].notes
    assert "No common problems" in note
    assert "no forced trace determines an answer" in sections["forced"].notes[0]


def test_a_grid_of_votes_shows_votes(tmp_path: Path) -> None:
    rows = [
        line(f"p{n}", place < 2, said="x" if place < 2 else "y", sample=place) for n in range(10) for place in range(3)
    ]
    arms = {name: Arm(student=name, samples=3, temperature=1.0, vote=True) for name in ("small", "large")}
    run = FakeRun(tmp_path, arms, dict.fromkeys(arms, rows), students={"small": STUDENT, "large": STUDENT})
    assert {row[6:9:2] for row in table(grid(run.view()), "students at").rows} == {("100.0%", 10)}


def test_several_runs_side_by_side(tmp_path: Path) -> None:
    arms = {"free": Arm(tune="correct"), "put": Arm(adapter="free", forced="foreign")}
    views = []
    for name, right in (("one", 30), ("two", 20)):
        rows = [line(f"p{n}", n < right, n % 3 == 0, steps=[("class", "correct")], follows=n < 9) for n in range(40)]
        run = FakeRun(tmp_path / name, arms, {"free": rows, "put": rows})
        run.tuned(
            "free", {f"p{n}": f"It is so: {n}.\nAnswer: x" for n in range(8)}, warmup=0.1 if name == "one" else 0.3
        )
        views.append(run.view())
    sections = {each.key: each for each in all_sections(combine(views[:1], against=views[1]))}
    tests = table(sections["comparisons"], "tests")
    assert tests.rows[0][:2] == ("one/free - two/free", 40)
    assert tests.rows[0][4] == "+25.0"
    compared = table(sections["differences"], "compared arms")
    assert ("one/free - two/free", "training: warmup", "0.1", "0.3", "not declared") in compared.rows
    assert table(sections["forced"], "compared with the same").rows[0][:4] == ("one/put", "one/free", 40, 0)
    spread = table(sections["costs"], "seconds per query")
    assert [row[2] for row in spread.rows] == ["100"] * 4, "the adapter's training counts for the arm that borrows it"
    assert table(sections["association"], "by kind of step").rows[0][2] == "40 of 40"


def test_imported_outputs_are_told_about_as_far_as_they_go(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "problems.jsonl", problems_of(12, difficulty=(1, 2)))
    for name, right in (("mine", 9), ("theirs", 3)):
        write_jsonl(tmp_path / "attempts" / f"{name}.jsonl", [line(f"p{n}", n < right, n % 2 == 0) for n in range(12)])
    write_json(tmp_path / "imported.json", {"task": "babi", "arms": {"mine": {"rows": 12}, "theirs": {"rows": 12}}})
    sections = {each.key: each for each in all_sections(view_of_folder(tmp_path))}
    assert list(sections) == ["accuracy", "comparisons", "association", "costs", "differences", "extras"]
    (row,) = table(sections["differences"], "compared arms").rows
    assert row[1:] == ("how they were made", "imported", "imported", "unknown, not checked")


def test_attempts_in_bulk_take_no_loop_over_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    n = 8_000
    rows = [
        line(f"p{k}", bool(right), bool(trace), tokens=(int(tokens), 5), steps=[("class", "correct")])
        for k, (right, trace, tokens) in enumerate(
            zip(rng.random(n) < 0.6, rng.random(n) < 0.5, rng.integers(50, 200, n), strict=True)
        )
    ]
    problems = problems_of(n, difficulty=(1, 2, 3), category=("x", "y"))
    arms = {"a": Arm(tune="correct"), "b": Arm(tune="incorrect")}
    view = FakeRun(tmp_path, arms, {"a": rows, "b": rows[::-1]}, problems, comparisons=[("a", "b")]).view()
    for name in arms:
        view.attempts(name)
    view.problems()
    all_sections(view)  # scipy and statsmodels are loaded
    started = time.process_time()
    all_sections(view)
    # 0.5 s for 16,000 attempts; the bound leaves room for a machine that is shared
    assert time.process_time() - started < 4
