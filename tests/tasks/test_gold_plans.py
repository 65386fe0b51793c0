"""Plans made from gold: they say what to do, and give no result away."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

import pytest

from tests.conftest import ROOT
from tests.tasks.shared_data import SOURCE, needs_data
from tracedistill.arithmetic.calculations import find_calculations
from tracedistill.arithmetic.expressions import Value, magnitude
from tracedistill.arithmetic.gold_plans import calculation_plan
from tracedistill.arithmetic.grounding import grounds
from tracedistill.records import Problem, Step
from tracedistill.tasks import Source, get_task
from tracedistill.tasks._steps import make_steps
from tracedistill.teachers.rules import teach_gold_plans

GSM8K = get_task("gsm8k")

CASES: list[tuple[str, str, list[str], list[str]]] = [
    # why, question, gold lines, plan lines; no plan: an empty list
    ("the published example", "48 clips in April, half as many in May", ["48/2 = 24 clips", "48+24 = 72 clips"],
     ["Divide 48 by 2.", "Add 48 and the result of step 1."]),
    ("a sum of many is one step", "3, 4 and 5 eggs", ["3 + 4 + 5 = 12 eggs"], ["Add 3, 4 and 5."]),
    ("a product of many", "2 rows of 3 boxes of 7", ["2 * 3 * 7 = 42"], ["Multiply 2, 3 and 7 with each other."]),
    ("one step per operation", "16 eggs, 3 and 4 are eaten, $2 each", ["16 - 3 - 4 = 9", "9 * 2 = 18"],
     ["Subtract 3 from 16.", "Subtract 4 from the result of step 1.", "Multiply the result of step 2 by 2."]),
    ("parentheses", "2 and 5 pens, 3 each", ["(2 + 5) * 3 = 21"],
     ["Add 2 and 5.", "Multiply the result of step 1 by 3."]),
    ("both sides composite", "2 at 5, 3 at 7", ["2 * 5 + 3 * 7 = 31"],
     ["Multiply 2 by 5.", "Multiply 3 by 7.", "Add the result of step 1 and the result of step 2."]),
    ("sides that say the same again", "5 twos and 3", ["5 * 2 + 3 = 10 + 3 = 13"],
     ["Multiply 5 by 2.", "Add the result of step 1 and 3."]),
    ("a running equals sign", "16 eggs, 3 and 4 are eaten", ["16 - 3 = 13 - 4 = 9"],
     ["Subtract 3 from 16.", "Subtract 4 from the result of step 1."]),
    ("a percentage", "20% of 350", ["20% * 350 = 70", "350 - 70 = 280"],
     ["Multiply 20% by 350.", "Subtract the result of step 1 from 350."]),
    ("a share stays one quantity", "2/3 of 30 men", ["2/3 * 30 = 20"], ["Multiply 2/3 by 30."]),
    ("a share that was reached", "200 of 300 men, 60 days", ["200/300 = 2/3", "60 / (2/3) = 90"],
     ["Divide 200 by 300.", "Divide 60 by the result of step 1."]),
    ("a rounded result", "100 in 3 parts, 2 of them", ["100 / 3 = 33.33", "33.33 * 2 = 66.66"],
     ["Divide 100 by 3.", "Multiply the result of step 1 by 2."]),
    ("a power", "a square of 5", ["5^2 = 25"], ["Take 5 to the power of 2."]),
    ("a constant", "4 days of work", ["4 * 24 = 96 hours"], ["Multiply 4 by 24."]),
    ("equal results are told apart", "10 and 2, 4 and 3", ["10 + 2 = 12", "4 * 3 = 12", "12 + 12 = 24"],
     ["Add 10 and 2.", "Multiply 4 by 3.", "Add the result of step 1 and the result of step 2."]),
    ("a result that the question names", "8 and 4; later 12 more", ["8 + 4 = 12", "12 + 12 = 24"],
     ["Add 8 and 4.", "Add the result of step 1 and 12."]),
    ("worked out in the head before", "a box of eggs", ["It holds 37 eggs.", "37 * 2 = 74"], []),
    ("a result that the question names from the start", "240 hours in days", ["240 / 24 = 10", "10 * 24 = 240"],
     ["Divide 240 by 24.", "Multiply the result of step 1 by 24."]),
    ("a constant that is a result later", "How many hours are 2 days?", ["2 * 24 = 48", "48 / 2 = 24"], []),
    ("nothing calculated", "How many?", ["Five, as one sees."], []),
]  # fmt: skip


@pytest.mark.parametrize(("why", "question", "gold", "plan"), CASES, ids=[case[0] for case in CASES])
def test_a_gold_trace_in_words(why: str, question: str, gold: list[str], plan: list[str]) -> None:
    assert [step.text for step in calculation_plan(question, make_steps(gold))] == plan, why


SCALES = {"": 1, "hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "dozen": 12}
_REFERENCE = re.compile(r"the result of step (\d+)(?P<share> as a percentage)?")


def carried_out(plan: Sequence[Step]) -> Fraction:
    """What one gets who follows the plan: a reader of its sentences that knows nothing of how they are made."""
    results: list[Fraction] = []

    def value(words: str) -> Fraction:
        words = words.strip().replace(",", "")
        if found := _REFERENCE.fullmatch(words):
            return results[int(found[1]) - 1] / (100 if found["share"] else 1)
        if words.startswith("minus "):
            return -value(words.removeprefix("minus "))
        if words.endswith("%"):
            return Fraction(words[:-1]) / 100
        number, _, scale = words.partition(" ")
        top, _, bottom = number.partition("/")
        return Fraction(top) / Fraction(bottom or 1) * SCALES[scale.lower()]

    for step in plan:
        verb, _, rest = step.text.rstrip(".").partition(" ")
        parts = re.split(r" with each other|, | and | by | from | to the power of ", rest)
        terms = [value(part) for part in parts if part]
        result = terms[0]
        for term in terms[1:]:
            if verb == "Add":
                result += term
            elif verb == "Multiply":
                result *= term
            elif verb == "Subtract":
                result = term - result
            elif verb == "Divide":
                result /= term
            else:
                result = Fraction(result**term)
        results.append(result)
    return results[-1]


def named(plan_text: str) -> set[Value]:
    return set(grounds(re.sub(r"the result of step \d+|^\d+\. ", " ", plan_text, flags=re.MULTILINE)).numbers)


def leaks(problem: Problem, text: str) -> set[Value]:
    """Results of gold calculations that stand in the plan and not in the question."""
    reached = {
        magnitude(calculation.result)
        for step in problem.gold_steps
        for calculation in find_calculations(step.text)
        if calculation.result is not None
    }
    return (reached - set(grounds(problem.question).numbers)) & named(text)


@pytest.mark.slow  # every problem of GSM8K
@needs_data("gsm8k")
@pytest.mark.parametrize(("split", "share"), [("train", 0.88), ("test", 0.87)])
def test_all_of_gsm8k(split: str, share: float) -> None:
    problems = {problem.problem_id: problem for problem in GSM8K.load(split, SOURCE)}
    plans = list(teach_gold_plans(GSM8K, problems.values(), "gold"))
    assert len(plans) > share * len(problems)
    told = []
    reached = 0
    outcomes: Counter[str] = Counter()
    for number, plan in enumerate(plans):
        problem = problems[plan.problem_id]
        told += [(plan.problem_id, found) for found in [leaks(problem, plan.text)] if found]
        gold = Fraction(problem.answers[0].replace(",", ""))
        reached += abs(carried_out(plan.steps) - gold) * 100 <= abs(gold)
        if not number % 10:
            outcomes[GSM8K.judge_plan(problem, plan.steps).outcome] += 1
            assert GSM8K.parse_trace(plan.text).steps == plan.steps
        assert (plan.teacher, plan.oracle, plan.answer) == ("gold", True, None)
        assert {step.kind for step in plan.steps} == {"plan"}
    print(f"{split}: {len(plans)} of {len(problems)} have a plan, {reached} lead to the answer; {outcomes}; {told}")
    assert told == []
    assert reached == len(plans)
    assert not outcomes["incorrect"]


@needs_data("other")
def test_svamp() -> None:
    task = get_task("svamp")
    problems = {problem.problem_id: problem for problem in task.load("test", SOURCE)}
    plans = list(teach_gold_plans(task, problems.values(), "gold"))
    assert len(plans) > 970
    for plan in plans:
        problem = problems[plan.problem_id]
        assert not leaks(problem, plan.text)
        assert carried_out(plan.steps) == Fraction(problem.answers[0])
        assert task.judge_plan(problem, plan.steps).outcome != "incorrect"


@needs_data("math")
def test_math_where_every_step_calculates() -> None:
    task = get_task("math")
    problems = {problem.problem_id: problem for problem in task.load("math500", SOURCE)}
    plans = list(teach_gold_plans(task, problems.values(), "gold"))
    assert 0 < len(plans) < 0.2 * len(problems)
    for plan in plans:
        assert not leaks(problems[plan.problem_id], plan.text)


def test_the_sample_of_the_repository() -> None:
    rows = [json.loads(line) for line in (ROOT / "data" / "arithmetic_sample.jsonl").read_text("utf-8").splitlines()]
    for row in rows:
        lines = re.sub(r"<<[^<>]*>>", "", row["answer"]).split("\n")[:-1]
        problem = Problem(row["id"], "gsm8k", "train", row["question"], (row["final"],), gold_steps=make_steps(lines))
        plan = GSM8K.gold_plan(problem)
        assert plan is not None, row["id"]
        assert not leaks(problem, plan.text)
        assert carried_out(plan.steps) == Fraction(row["final"])
        assert GSM8K.judge_plan(problem, plan.steps).outcome != "incorrect"


def test_gold_that_does_not_lead_to_the_answer_makes_no_plan() -> None:
    steps = make_steps(["2 * 3 = 6"])
    assert GSM8K.gold_plan(Problem("p", "gsm8k", "train", "2 and 3", ("7",), gold_steps=steps)) is None
    assert GSM8K.gold_plan(Problem("p", "gsm8k", "train", "2 and 3", ("6",), gold_steps=steps)) is not None
    assert GSM8K.gold_plan(Problem("p", "gsm8k", "train", "2 and 3", ("6",))) is None


def test_a_users_own_file() -> None:
    task = get_task("file")
    steps = make_steps(["3 * 4 = 12 pens"])
    problem = Problem("p", "file", "train", "3 boxes of 4 pens", ("12",), gold_steps=steps, meta={"judge": "number"})
    plan = task.gold_plan(problem)
    assert plan is not None
    assert plan.text == "1. Multiply 3 by 4."
    words = Problem("p", "file", "train", "Which?", ("red",), gold_steps=make_steps(["It is red."]))
    assert task.gold_plan(words) is None


def test_tasks_without_gold_traces_have_none() -> None:
    problem = Problem("p", "arc_challenge", "test", "Which?", ("A",), choices=(("A", "this"), ("B", "that")))
    assert get_task("arc_challenge").gold_plan(problem) is None


RETRIEVAL = [
    pytest.param("babi", "train", Source(seed=3, size=2000), id="babi"),
    pytest.param("acre", "train", Source(seed=3, size=1000), id="acre"),
    pytest.param("cotempqa", "train", SOURCE, marks=needs_data("cotempqa"), id="cotempqa"),
    pytest.param("msmarco", "sample", SOURCE, marks=needs_data("msmarco"), id="msmarco"),
]


@pytest.mark.parametrize(("name", "split", "source"), RETRIEVAL)
def test_plans_of_facts_name_neither_class_nor_fact_nor_answer(name: str, split: str, source: Source) -> None:
    task = get_task(name)
    problems = {problem.problem_id: problem for problem in task.load(split, source)}
    plans = list(teach_gold_plans(task, problems.values(), "gold"))
    assert len(plans) >= 0.9 * len(problems)
    texts: dict[str, set[int]] = {}
    for plan in plans:
        problem = problems[plan.problem_id]
        texts.setdefault(plan.text, set()).add(len(problem.gold_steps[1].facts))
        assert len(plan.steps) == 3
        assert {step.kind for step in plan.steps} == {"plan"}
        for label in task.classes:
            assert re.search(rf"(?<![\w-]){re.escape(label)}(?![\w-])", plan.text, re.IGNORECASE) is None
        for answer in problem.answers:
            assert re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", plan.text) is None, answer
        assert not any(fact in plan.text for fact in problem.context)
        assert task.judge_plan(problem, plan.steps).outcome != "incorrect"
        # no line of it is taken for a step of a solution
        assert not task.parse_trace(plan.text).steps
    # the number of facts is all that differs
    assert len(texts) == len(set().union(*texts.values()))
