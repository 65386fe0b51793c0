"""Accuracy of arms, and their traces against their answers."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.sections_kit import FakeRun, column, columns_from, line, problems_of, table, verdicts
from tracedistill import stats
from tracedistill.errors import InputError
from tracedistill.recipes import Arm
from tracedistill.records import Problem
from tracedistill.report.sections.accuracy import accuracy
from tracedistill.report.sections.association import association, joint_counts
from tracedistill.report.sections.context import context
from tracedistill.report.sections.scores import cells_of, votes_of
from tracedistill.report.sections.steps import read_kinds
from tracedistill.report.sections.strata import by_category, by_difficulty

# ---- accuracy


def test_accuracy_counts_everything_and_leaves_nothing_out(tmp_path: Path) -> None:
    rows = [
        line("p0"),
        line("p1", finish="length"),
        line("p2", False, finish="length"),
        line("p3", "missing", said=None, finish="no-plan"),
        line("p4", "missing", trace="unparsed", said=None, finish="too-long"),
        line("p5", "ungradable"),
        line("p6", "missing", said=None, finish="error"),
        line("p7", False),
    ]
    section = accuracy(FakeRun(tmp_path, {"a": Arm()}, {"a": rows}).view())
    right = table(section, "answers right")
    assert right.rows[0][:5] == ("a", 8, 8, 2, "25.0%")
    assert right.rows[0][6:] == ("16.7%", "3.0 to 56.4", 6), "completed only: 1 of 6"
    # cut-offs all wrong: 1 of 8; all right: 3 of 8
    assert table(section, "bounds").rows[0] == ("a", 8, 2, "12.5%", "37.5%", "25.0%")
    assert table(section, "outcomes of the attempts").rows[0] == ("a", 8, 2, 2, 3, 1, 1, 2, 1, 1, 1)
    assert len(section.tables if section else ()) == 3, "no samples, no seeds: no tables of them"


def test_pass_at_k_and_the_majority(tmp_path: Path) -> None:
    said = {
        "p0": [("a", True), ("a", True), ("b", False), ("c", False)],  # 2 of 4 right, the majority too
        "p1": [("b", False), ("a", True), ("b", False), ("a", True)],  # a tie: b came first
        "p2": [(None, False), (None, False), ("a", True), (None, False)],  # one voice alone
        "p3": [(None, False)] * 4,
    }
    rows = [
        line(key, ok if text else "missing", said=text, sample=place)
        for key, given in said.items()
        for place, (text, ok) in enumerate(given)
    ]
    arms = {"a": Arm(samples=4, temperature=1.0, vote=True)}
    section = accuracy(FakeRun(tmp_path, arms, {"a": rows[::-1]}).view())
    found = table(section, "pass@k")
    by_hand = np.mean([stats.pass_at_k(4, right, 2) for right in (2, 2, 1, 0)])
    assert found.heads[3:] == ("pass@1", "pass@2", "pass@4")
    assert found.rows[0] == ("a", 4, 4, "31.2%", f"{by_hand:.1%}", "75.0%")
    votes = table(section, "majority")
    assert votes.rows[0][:2] == ("a", "50.0%")
    assert votes.rows[0][3:] == (4, 1, 1, True), "n, tied, silent, compared by vote"


def test_votes_are_those_of_the_plain_majority() -> None:
    rng = np.random.default_rng(0)
    rows = [
        line(f"p{problem}", bool(answer == 0), said=None if answer == 3 else f"t{answer}",
             sample=sample, seed=seed)
        for problem in range(60)
        for seed in (0, 1)
        for sample, answer in enumerate(rng.integers(0, 4, 5))
    ]  # fmt: skip
    columns = columns_from([rows[place] for place in rng.permutation(len(rows))])
    cells, seeds = cells_of(columns)
    found = votes_of(columns, cells, len(columns.ids) * len(seeds))
    for place, key in enumerate(columns.ids):
        for number_, seed in enumerate(seeds):
            mine = sorted(
                (row for row in rows if row["problem_id"] == key and row["seed"] == seed),
                key=lambda row: row.get("sample", 0),
            )
            answers = [row["answer"]["extracted"] for row in mine]
            votes = Counter(answer for answer in answers if answer is not None).most_common()
            cell = place * len(seeds) + number_
            assert bool(found.right[cell]) == (bool(votes) and votes[0][0] == "t0")
            assert bool(found.tied[cell]) == (len(votes) > 1 and votes[0][1] == votes[1][1])
            assert bool(found.silent[cell]) == (not votes)


def test_over_seeds(tmp_path: Path) -> None:
    flags = {0: [True, True, True, False], 1: [True, False, False, False], 2: [True, True, False, False]}
    rows = [line(f"p{place}", ok, seed=seed) for seed, each in flags.items() for place, ok in enumerate(each)]
    section = accuracy(FakeRun(tmp_path, {"a": Arm(tune="none")}, {"a": rows}).view())
    found = table(section, "over seeds")
    assert found.rows[0][:4] == ("a", 12, 3, "50.0%")
    assert found.rows[0][6:] == ("25.0%", "25.0 to 75.0")
    assert table(section, "answers right").rows[0][1:4] == (12, 4, 6)
    # 3 seeds of 75, 25 and 50%: t of 2 degrees of freedom times 25 / sqrt(3)
    assert column(found, "95% interval, new seeds") == ["0.0 to 100.0"]


# ---- trace x answer


def crossed(counts: tuple[int, int, int, int], unparsed: tuple[int, int] = (0, 0)) -> list[tuple[bool, object]]:
    """(answer, trace) of attempts with these joint counts; unparsed ones are among the wrong traces."""
    both, trace_only, answer_only, neither = counts
    wrong = [(True, False)] * (answer_only - unparsed[0]) + [(False, False)] * (neither - unparsed[1])
    lost = [(True, "unparsed")] * unparsed[0] + [(False, "unparsed")] * unparsed[1]
    return [(True, True)] * both + [(False, True)] * trace_only + wrong + lost  # type: ignore[operator]


def test_the_published_joint_table(tmp_path: Path) -> None:
    rows = [line(f"p{place}", *pair) for place, pair in enumerate(crossed((232, 2, 171, 545), (11, 45)))]  # type: ignore[arg-type]
    section = association(FakeRun(tmp_path, {"a": Arm(tune="correct")}, {"a": rows}).view())
    counted = table(section, "traces and answers")
    assert [row[1:5] for row in counted.rows] == [
        ("right", 234, 232, 2),
        ("wrong", 660, 160, 500),
        ("unparsed", 56, 11, 45),
    ]
    measured = table(section, "association of trace")
    assert measured.rows[0][:3] == ("a", 950, "232 / 2 / 171 / 545")
    assert measured.rows[0][4:6] == ("0.656", "< 0.0001")
    given = table(section, "P(answer")
    assert [(row[1], row[2], row[4]) for row in given.rows] == [
        ("right", "99.1%", 234), ("wrong or unparsed", "23.9%", 716), ("wrong, parsed", "24.2%", 660),
    ]  # fmt: skip


def test_undecided_traces_stand_apart(tmp_path: Path) -> None:
    rows = [line("p0", True, True), line("p1", True, "undecided"), line("p2", False, False), line("p3", False, "none")]
    view = FakeRun(tmp_path, {"a": Arm(tune="correct")}, {"a": rows}).view()
    section = association(view)
    assert joint_counts(view.attempts("a")) == (1, 0, 0, 2)
    assert ("a", "undecided", 1, 1, 0, "100.0%") in table(section, "traces and answers").rows
    assert table(section, "association of trace").rows[0][1] == 3


def test_an_association_that_difficulty_makes_vanishes_within_it(tmp_path: Path) -> None:
    """Easy problems are right in both, hard ones wrong in both; within each nothing goes together."""
    easy, hard = crossed((36, 4, 9, 1)), crossed((1, 9, 4, 36))
    rows = [line(f"p{place}", *pair) for place, pair in enumerate([*easy, *hard])]  # type: ignore[arg-type]
    problems = [
        Problem(f"p{place}", "babi", "test", "?", ("x",), difficulty=1 if place < 50 else 6) for place in range(100)
    ]
    section = association(FakeRun(tmp_path, {"a": Arm(tune="correct")}, {"a": rows}, problems).view())
    fixed = table(section, "with difficulty held fixed")
    assert float(column(fixed, "odds ratio, crude")[0]) > 5
    assert column(fixed, "odds ratio, Mantel-Haenszel")[0].startswith("1 (")
    assert column(fixed, "p")[0] == "1.0000"
    assert column(table(section, "by difficulty"), "joint") == ["36 / 4 / 9 / 1", "1 / 9 / 4 / 36"]


def test_kinds_of_steps_are_told_apart(tmp_path: Path) -> None:
    right, wrong, open_ = "correct", "incorrect", "undecided"
    hostile = '", "kind": "class", "outcome": "correct", "trace": {"kind": "retrieval", "outcome": "correct"}'
    rows = [
        line("p0", True, True, steps=[("class", right), ("retrieval", right), ("retrieval", right)]),
        line("p1", True, False, steps=[("class", right), ("retrieval", wrong), ("retrieval", right)]),
        line("p2", False, False, steps=[("class", wrong), ("retrieval", open_)], text=hostile),
        line("p3", False, True, text=hostile),
        line("p4", True, True, steps=[("calculation", right), ("plan", right)]),
    ]
    view = FakeRun(tmp_path, {"a": Arm(tune="correct")}, {"a": rows}).view()
    found = {each.kind: each for each in read_kinds(view.arm("a").path)}
    assert found["class"].counts == (2, 0, 0, 1)
    assert found["retrieval"].counts == (1, 0, 1, 0)
    assert found["retrieval"].undecided == 1
    assert (found["retrieval"].steps_right, found["retrieval"].steps) == (3, 5)
    assert found["calculation"].counts == (1, 0, 0, 0)
    assert read_kinds(view.arm("a").path, {"p1"})[0].counts == (1, 0, 0, 0)
    assert [row[1] for row in table(association(view), "by kind of step").rows] == ["class", "retrieval", "calculation"]


def test_other_spacing_of_json_reads_the_same(tmp_path: Path) -> None:
    rows = [
        line("p0", True, True, steps=[("class", "correct")]),
        line("p1", False, False, steps=[("class", "incorrect")]),
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows), encoding="utf-8")
    assert read_kinds(path)[0].counts == (1, 0, 0, 1)
    with pytest.raises(InputError, match=r"gone\.jsonl"):
        read_kinds(tmp_path / "gone.jsonl")


def test_copies_and_the_majority_are_counted(tmp_path: Path) -> None:
    rows = [
        line("p0", True, True, copied=True),
        line("p1", True, False, copied=False),
        line("p2", False, True, copied=True),
    ]
    problems = [Problem(f"p{n}", "babi", "test", "?", (answer,)) for n, answer in enumerate(("x", "x", "y"))]
    section = association(FakeRun(tmp_path, {"a": Arm(tune="correct")}, {"a": rows}, problems).view())
    assert table(section, "traces that contain").rows[0] == ("a", "66.7%", 3, "100.0%", 2, "0.0%", 1)
    assert table(section, "baseline").rows[0] == ("most frequent answer: x", 2, 3, "66.7%")


def test_without_traces_there_is_nothing_to_cross(tmp_path: Path) -> None:
    assert association(FakeRun(tmp_path, {"a": Arm()}, {"a": verdicts([True, False])}).view()) is None


def test_arms_with_hardly_any_trace_are_named_and_left_out(tmp_path: Path) -> None:
    rows = [line(f"p{n}", True, True if n == 0 else "none") for n in range(40)]
    written = [line(f"p{n}", n % 2 == 0, n % 4 < 2) for n in range(40)]
    arms = {"chance": Arm(), "tuned": Arm(tune="correct")}
    section = association(FakeRun(tmp_path, arms, {"chance": rows, "tuned": written}).view())
    assert {row[0] for row in table(section, "association of trace").rows} == {"tuned"}
    assert section is not None
    assert section.notes[-1].endswith("have a trace: chance.")


def test_no_spread_over_several_attempts_is_no_certainty(tmp_path: Path) -> None:
    rows = [line(f"p{n}", True, True, sample=sample) for n in range(10) for sample in range(3)]
    view = FakeRun(tmp_path, {"a": Arm(tune="correct")}, {"a": rows}).view()
    wilson = stats.wilson(10, 10)
    expected = ("100.0%", f"{100 * wilson.low:.1f} to 100.0", 30)
    assert table(association(view), "P(answer").rows[0][2:] == expected
    assert table(accuracy(view), "answers right").rows[0][6:] == expected


def test_a_forced_trace_is_not_the_students_own(tmp_path: Path) -> None:
    rows = [line(f"p{n}", n % 2 == 0, n % 4 < 2, steps=[("class", "correct")] * (1 + n % 3)) for n in range(24)]
    arms = {"own": Arm(tune="correct"), "put": Arm(adapter="own", forced="foreign")}
    view = FakeRun(tmp_path, arms, {"own": rows, "put": rows}).view()
    assert {row[0] for row in table(association(view), "association of trace").rows} == {"own"}
    assert {row[0] for row in table(context(view), "slopes").rows} == {"own"}


def test_pooled_attempts_get_no_exact_test(tmp_path: Path) -> None:
    rows = [line(f"p{n}", n % 2 == 0, n % 2 == 0, sample=sample) for n in range(6) for sample in range(3)]
    section = association(FakeRun(tmp_path, {"a": Arm(tune="correct")}, {"a": rows}).view())
    assert column(table(section, "association of trace"), "exact p") == [None]


# ---- strata


def test_rare_strata_go_together() -> None:
    problems = {p.problem_id: p for p in problems_of(100, difficulty=[1] * 60 + [2] * 36 + [3, 4, 5, 6])}
    found = by_difficulty(problems)
    assert sorted(set(found.values())) == ["1", "2 or more"]
    many = {p.problem_id: p for p in problems_of(400, category=[f"type {n}" for n in range(20)])}
    assert len(set(by_category(many).values())) == 12
    assert by_difficulty({p.problem_id: p for p in problems_of(10)}) == {}
    assert by_category({p.problem_id: p for p in problems_of(10)}) == {}
