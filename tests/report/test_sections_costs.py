"""What arms cost, and from how many queries tuning pays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.sections_kit import STUDENT, FakeRun, line, table, verdicts
from tracedistill.files import write_json
from tracedistill.recipes import Arm, TeacherConfig
from tracedistill.report.sections.costs import break_even, cost_of, costs

ROWS = {f"p{n}": "A: b\nAnswer: c" for n in range(20)}


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ((100.0, 1.0, 0.0, 2.0), "from 100"),
        ((100.0, 1.0, 0.0, 1.3), "from 334"),
        ((0.3, 0.1, 0.0, 0.2), "from 3"),
        ((0.0, 1.0, 0.0, 2.0), "at once"),
        ((100.0, 2.0, 0.0, 2.0), "never"),
        ((100.0, 3.0, 0.0, 2.0), "never"),
        ((0.0, 3.0, 50.0, 2.0), "up to 50"),
        ((0.0, 2.0, 0.0, 2.0), "no difference"),
        ((None, 1.0, 0.0, 2.0), "unknown"),
        ((100.0, 1.0, 0.0, None), "unknown"),
    ],
)
def test_break_even(case: tuple[Any, Any, Any, Any], said: str) -> None:
    assert break_even(*case) == said


def costly(folder: Path, seconds: float = 40.0, **prices: float) -> FakeRun:
    """A tuned arm (10 tokens in, 2 out) and one that shows a model teacher's plan (30 in, 2 out)."""
    arms = {"tuned": Arm(tune="correct"), "plan": Arm(prompt="trace-of-thought")}
    attempts = {
        "tuned": verdicts([True] * 10, tokens=(10, 2), seconds=0.5),
        "plan": [line(f"p{n}", n < 5, tokens=(30, 2), seconds=3.0 if n == 0 else 1.0) for n in range(10)],
    }
    teacher = TeacherConfig(kind="model", model="m", usd_per_million_in=prices.get("teacher", 0.0))
    student = replace(STUDENT, usd_per_hour=prices.get("hour", 0.0), usd_per_million_in=prices.get("student", 0.0))
    run = FakeRun(folder, arms, attempts, students={"s": student}, teachers={"t": teacher})
    run.tuned("tuned", ROWS, seconds=360.0)
    run.plans("plan", {f"p{n}": ["Do it."] for n in range(10)})
    run.assembly["train_problems"] = 40
    write_json(folder / "sft" / "s.preflight.json", {"dropped": [], "arms": {"tuned": {"tokens": 800}}})
    # 20 requests: 100 tokens in and 50 out each
    usage = {
        "requests": 20,
        "bought": 20,
        "seconds": seconds,
        "tokens_in": 2000,
        "tokens_out": 1000,
        "usd": prices.get("paid", 0.0),
    }
    write_json(folder / "traces" / "t.usage.json", usage)
    run.manifest("teach:t", "traces/t.jsonl", {}, seconds=7.0)  # of the last try: what a resumed run took
    return run


def test_costs_by_hand(tmp_path: Path) -> None:
    view = costly(tmp_path, hour=36.0, paid=2.0).view()
    tuned, plan = cost_of(view, view.arm("tuned")), cost_of(view, view.arm("plan"))
    assert (tuned.student, tuned.teacher) == ((10.0, 2.0), (0.0, 0.0))
    assert (plan.student, plan.teacher) == ((30.0, 2.0), (100.0, 50.0))
    # money: 0.01 dollars a second; the teacher's 2 dollars over 20 requests; seconds: 40 over 20
    assert tuned.each == pytest.approx((0.005, 12.0, 0.5))
    assert plan.each == pytest.approx((0.012 + 0.1, 182.0, 1.2 + 2.0))
    # once: 360 s of training and 40 plans for the training rows; 800 tokens of one epoch and 40 * 150
    assert tuned.once == pytest.approx((3.6 + 4.0, 800 + 6000, 360 + 80))
    assert plan.once == (0.0, 0.0, 0.0)
    section = costs(view)
    even = table(section, "break-even").rows[0]
    assert even == ("tuned", "plan", "from 72", "from 40", "from 163", "100.0%", "50.0%", 10)
    spread = table(section, "money per query").rows[0]
    assert spread == ("tuned", "$0.005", "$7.60", "$7.60", "$0.081", "$0.00576", "$0.00501")
    assert table(section, "seconds per attempt").rows[1] == ("plan", 10, "1", "2.1")
    assert table(section, "tokens").rows[1] == ("plan", 10, 300, 20, "30", "2", "100", "50")


def test_one_adapter_is_paid_for_whatever_the_seeds(tmp_path: Path) -> None:
    run = costly(tmp_path, hour=36.0)
    run.manifest("train:tuned.seed1", "adapters/tuned.seed1", {}, seconds=720.0)
    run.manifest("train:tuned.seeds", "adapters/tuned.seeds", {}, seconds=9000.0)
    view = run.view()
    assert cost_of(view, view.arm("tuned")).once[0] == pytest.approx(5.4)


def test_token_prices_go_before_the_machines(tmp_path: Path) -> None:
    view = costly(tmp_path, hour=36.0, student=1000.0).view()
    assert cost_of(view, view.arm("tuned")).each[0] == pytest.approx(0.01)


def test_no_price_no_money(tmp_path: Path) -> None:
    section = costs(costly(tmp_path).view())
    assert section is not None
    assert not any("money" in found.title for found in section.tables)
    assert any("has no prices" in note for note in section.notes)
    assert table(section, "break-even").heads[2:4] == ("in tokens", "in seconds")


def test_answers_that_nobody_timed_say_nothing_of_the_teachers_seconds(tmp_path: Path) -> None:
    run = costly(tmp_path, seconds=0.0)
    plan = cost_of(run.view(), run.view().arm("plan"))
    assert plan.each[2] is None
    assert plan.each[1] == 182.0
    assert table(costs(run.view()), "break-even").rows[0][3] == "unknown"


def test_a_teacher_whose_usage_nobody_wrote_down_is_unknown(tmp_path: Path) -> None:
    run = costly(tmp_path)
    (tmp_path / "traces" / "t.usage.json").unlink()
    assert cost_of(run.view(), run.view().arm("plan")).teacher is None
    assert table(costs(run.view()), "break-even").rows[0][2] == "unknown"


def test_samples_and_seeds_belong_to_one_query_each(tmp_path: Path) -> None:
    rows = [
        line(f"p{n}", sample=sample, seed=seed, tokens=(10, 5))
        for n in range(4)
        for sample in range(3)
        for seed in (0, 1)
    ]
    run = FakeRun(tmp_path, {"a": Arm(samples=3, temperature=1.0)}, {"a": rows})
    found_ = cost_of(run.view(), run.view().arm("a"))
    assert (found_.queries, found_.student) == (8, (30.0, 15.0))


def test_what_was_never_asked_is_no_query(tmp_path: Path) -> None:
    rows = [line("p0", tokens=(10, 5)), line("p1", "missing", finish="no-plan", tokens=(0, 0), seconds=0.0)]
    run = FakeRun(tmp_path, {"a": Arm()}, {"a": rows})
    assert cost_of(run.view(), run.view().arm("a")).student == (10.0, 5.0)
