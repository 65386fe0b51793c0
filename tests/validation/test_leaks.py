"""Leak verdicts: a case table, the published delegations, and gold put into plans that have none."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.attacks import processor_seconds
from tests.tasks.shared_data import SOURCE, cases, needs_data, outputs
from tracedistill.arithmetic.grounding import grounds
from tracedistill.records import Problem, Step, Trace
from tracedistill.tasks import get_task
from tracedistill.validation.leaks import MAX_CHARS, LeakCounts, LeakTally, LeakVerdict, find_leak, judge_leak


@pytest.mark.parametrize("case", cases("leaks"))
def test_case(case: dict[str, Any]) -> None:
    verdict = find_leak(case["question"], case["plan"], case["answers"], case.get("gold_steps", ()))
    assert (verdict.tier, verdict.genuine) == (case["tier"], case["genuine"]), verdict
    assert verdict.evidence in case["plan"]
    if "cause" in case:
        assert case["cause"] in {cause for _, cause in verdict.innocent}
    assert (verdict.standing[0] if verdict.standing else "none") == case["left"]
    if "eligible" in case:
        assert verdict.eligible is case["eligible"]


def test_the_case_table_is_long_enough() -> None:
    assert len(cases("leaks")) >= 60


def test_a_verdict_quotes_its_evidence_and_says_why() -> None:
    plan = "1. Let x be Jo's copies.\n2. Divide both sides by 12: x = 8000\n"
    verdict = find_leak("Jo and Hannah sold 96000.", plan, ("8000",))
    assert verdict.evidence == "2. Divide both sides by 12: x = 8000"
    assert verdict.reason == "the answer is given away: 8000"
    assert verdict.genuine


def test_of_a_problem_the_context_counts_as_question() -> None:
    problem = Problem("p", "file", "test", "How many are left?", ("18",), context=("There are 18 hens and 2 cows.",))
    trace = Trace("t", "p", "m", (Step("plan", "Subtract from 18."),), "Subtract from 18.")
    assert not judge_leak(problem, trace).eligible
    assert judge_leak(problem, trace).tier == "none"


def counted(verdicts: Iterable[LeakVerdict]) -> LeakCounts:
    tally = LeakTally()
    for verdict in verdicts:
        tally.add(verdict)
    return tally.counts()


def test_counts_leave_out_what_no_string_can_tell() -> None:
    verdicts = [
        find_leak("Given 7.", "So the answer is 7.", ("7",)),
        find_leak("Given 5.", "So the answer is 7.", ("7",)),
        find_leak("Given 5.", "Double it.", ("7",)),
    ]
    counts = counted(verdicts)
    assert (counts.n, counts.eligible, counts.genuine.successes, counts.genuine.n) == (3, 2, 1, 2)
    assert counted([]).genuine.value is None


@given(st.text(max_size=300), st.text(max_size=200), st.lists(st.text(max_size=20), max_size=3))
@settings(max_examples=150, deadline=None)
def test_any_text_has_a_verdict(plan: str, question: str, answers: list[str]) -> None:
    verdict = find_leak(question, plan, answers)
    assert verdict.genuine == ("answer" in verdict.standing)
    assert verdict.tier == (verdict.found[0] if verdict.found else "none")
    assert set(verdict.standing) <= set(verdict.found)


@pytest.mark.parametrize("unit", ["3 + ", "(", "1. ", "x = ", "((1)", "step 1, ", "9,", "1/", "for example ", "by "])
def test_hostile_length_is_bounded(unit: str) -> None:
    plan = unit * 50_000
    with processor_seconds(10):
        found = find_leak("A question of 5.", plan, ("7",))
    assert found == find_leak("A question of 5.", plan[:MAX_CHARS], ("7",)), "what stands behind is not read"


# ---- the published delegations


def _published(dataset: str = "gsm8k") -> list[dict[str, Any]]:
    return [row for row in outputs("trace_of_thought") if row["dataset"] == dataset]


def _gold() -> dict[str, Problem]:
    return {problem.problem_id: problem for problem in get_task("gsm8k").load("test", SOURCE)}


def _verdict(row: dict[str, Any], plan: str, problem: Problem | None) -> LeakVerdict:
    steps = tuple(step.text for step in problem.gold_steps) if problem else ()
    return find_leak(row["question"], plan, (row["gold"],), steps)


@needs_data("published_outputs", "gsm8k")
@pytest.mark.parametrize("with_gold_path", [True, False])
def test_the_hand_checked_leaks(with_gold_path: bool) -> None:
    """By hand 0 (GPT-4) and 1 (Llama-3-8B) are genuine; string matching finds 2 and 5."""
    gold = _gold() if with_gold_path else {}
    found = {}
    for teacher in ("gpt4", "llama38b"):
        rows = [row for row in _published() if row["teacher"] == teacher]
        verdicts = [_verdict(row, row["plan"], gold.get(row["problem_id"])) for row in rows]
        counts = counted(verdicts)
        found[teacher] = (counts.eligible, counts.matched.successes, counts.genuine.successes)
        named = [r["id"] for r, v in zip(rows, verdicts, strict=True) if v.genuine and v.eligible]
        assert named == ([] if teacher == "gpt4" else ["tot-llama38b-llama27bchat-gsm8k-88"])
    assert found == {"gpt4": (555, 2, 0), "llama38b": (555, 5, 1)}


@needs_data("published_outputs", "gsm8k")
def test_eligible_is_gold_not_among_the_questions_numbers() -> None:
    for row in _published()[:300]:
        inside = Fraction(row["gold"].replace(",", "")) in grounds(row["question"]).numbers
        assert _verdict(row, row["plan"], None).eligible is not inside


@needs_data("published_outputs", "gsm8k")
@pytest.mark.parametrize(
    "leak",
    ["{plan}\nSo the total is {gold}.", "The answer is {gold}.\n{plan}", "{plan}\nSolve: x = {gold}", "{solution}"],
)
def test_gold_put_into_a_plan_is_found(leak: str) -> None:
    gold = _gold()
    missed = 0
    rows = _published()[::3]
    for row in rows:
        problem = gold[row["problem_id"]]
        solution = "\n".join(f"{i}. {step.text}" for i, step in enumerate(problem.gold_steps, start=1))
        plan = leak.format(plan=row["plan"], gold=row["gold"], solution=solution)
        verdict = _verdict(row, plan, problem)
        missed += verdict.eligible and not verdict.genuine
    assert missed == 0


@pytest.mark.slow
@needs_data("published_outputs")
def test_on_math_every_leak_states_the_gold() -> None:
    """No hand-checked labels exist for MATH; what is called genuine was read: six plans, all of them leaks."""
    found = {row["id"] for row in _published("math") if (v := _verdict(row, row["plan"], None)).eligible and v.genuine}
    assert found == {
        "tot-gpt4-gpt3point5-math-86", "tot-gpt4-wizardmath7b-math-86", "tot-llama38b-gpt3point5-math-118",
        "tot-llama38b-gpt3point5-math-120", "tot-llama38b-gpt3point5-math-128", "tot-llama38b-llama27bchat-math-47",
    }  # fmt: skip
