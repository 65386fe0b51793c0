"""Planted errors are named, chance is not; steps, numbers and pages on hand-written cases."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from math import comb

import pytest

from tests.tasks.shared_data import SOURCE, needs_data, outputs
from tracedistill.errors import InputError
from tracedistill.evaluation.attribution import (
    LABELS,
    Attributed,
    Case,
    Label,
    PlanSamples,
    adherence,
    attribute,
    failures_to_read,
    propagated,
    render_case,
    render_cases,
    summarise,
)
from tracedistill.evaluation.attribution.labels import Count, p_worse
from tracedistill.files import to_json
from tracedistill.records import Problem, Step, StepVerdict, Verdict
from tracedistill.tasks import get_task
from tracedistill.tasks._steps import make_steps, read_steps

TASK = get_task("gsm8k")
UNDECIDED, CORRECT = Verdict("undecided"), Verdict("correct")
INCORRECT = Verdict(
    "incorrect", steps=(StepVerdict(0, "plan", "correct"), StepVerdict(1, "plan", "incorrect", "wrong operand: 77 ..."))
)
SUSPECT = Verdict("undecided", steps=(StepVerdict(2, "plan", "undecided", "like gold", {"other_operand": 1.0}),))


def trial(plan: Count, gold: Count, verdict: Verdict = UNDECIDED, again: Count | None = None) -> PlanSamples:
    return PlanSamples("p", plan, gold, again, verdict)


# ---- the rules


@pytest.mark.parametrize(
    ("plan", "gold", "again", "verdict", "label", "basis"),
    [
        # one sample a problem: only the verdict decides
        ((1, 1), (1, 1), None, UNDECIDED, "solved", "counts"),
        ((0, 1), (1, 1), None, UNDECIDED, "undecided", "none"),
        ((0, 1), (1, 1), None, INCORRECT, "teacher", "verdict"),
        ((0, 1), (1, 1), None, CORRECT, "student", "verdict"),
        ((0, 1), (0, 1), None, INCORRECT, "both", "verdict"),
        ((0, 1), (0, 1), None, UNDECIDED, "student", "counts"),
        # five: the counts can
        ((0, 5), (5, 5), None, UNDECIDED, "teacher", "counts"),
        ((0, 5), (3, 5), None, UNDECIDED, "teacher", "counts"),
        ((1, 5), (4, 5), None, UNDECIDED, "undecided", "none"),
        ((1, 5), (2, 5), None, UNDECIDED, "student", "counts"),
        ((0, 5), (1, 5), None, INCORRECT, "both", "verdict"),
        ((2, 5), (4, 5), None, INCORRECT, "teacher", "verdict"),
        ((3, 5), (5, 5), None, UNDECIDED, "solved", "counts"),
        ((5, 5), (0, 5), None, UNDECIDED, "solved", "counts"),
        ((5, 5), (5, 5), None, INCORRECT, "solved", "counts"),
        # judges err too, but it takes more to say so
        ((0, 5), (3, 5), None, CORRECT, "undecided", "none"),
        ((0, 5), (5, 5), None, CORRECT, "teacher", "counts"),
        # another sample of the plan brings it back: not the teacher's, unless the plan's verdict says so
        ((0, 5), (5, 5), (5, 5), UNDECIDED, "undecided", "none"),
        ((0, 5), (5, 5), (2, 5), UNDECIDED, "teacher", "counts"),
        ((0, 5), (5, 5), (5, 5), SUSPECT, "teacher", "counts"),
        ((0, 5), (5, 5), (5, 5), INCORRECT, "teacher", "verdict"),
        ((0, 1), (1, 1), (1, 1), INCORRECT, "teacher", "verdict"),
        # more than half right, and yet clearly worse
        ((32, 50), (50, 50), None, UNDECIDED, "teacher", "counts"),
        ((5, 50), (26, 50), None, UNDECIDED, "both", "counts"),
        # nothing to go by
        ((0, 0), (5, 5), None, INCORRECT, "undecided", "none"),
        ((0, 5), (0, 0), None, INCORRECT, "undecided", "none"),
    ],
)
def test_the_rules(plan: Count, gold: Count, again: Count | None, verdict: Verdict, label: str, basis: str) -> None:
    found = attribute(trial(plan, gold, verdict, again))
    assert (found.label, found.basis) == (label, basis), found.why
    assert f"{plan[0]} of {plan[1]}" in found.why


def test_what_stands_beside_the_label() -> None:
    found = attribute(trial((1, 5), (4, 5), INCORRECT, (3, 5)))
    assert (found.first_wrong_step, found.kind, found.outcome) == (2, "wrong operand", "incorrect")
    assert found.differences.gold == pytest.approx(0.6)
    assert found.differences.again == pytest.approx(0.4)
    assert found.differences.own == pytest.approx(0.25)
    assert found.came_back
    assert found.failed
    assert attribute(trial((0, 5), (5, 5), SUSPECT)).kind == "suspect operand"
    missing = attribute(trial((0, 5), (5, 5), Verdict("undecided", figures={"missing": 1.0})))
    assert (missing.first_wrong_step, missing.kind) == (None, "missing step")


@pytest.mark.parametrize("counts", [((3, 2), (0, 1)), ((0, 1), (-1, 1))])
def test_counts_out_of_a_total(counts: tuple[Count, Count]) -> None:
    with pytest.raises(ValueError, match="not a count"):
        trial(*counts)


# ---- error rates, exactly: every outcome of k samples with its probability


def chances(k: int, rate: float) -> list[float]:
    return [comb(k, hits) * rate**hits * (1 - rate) ** (k - hits) for hits in range(k + 1)]


def rates(k: int, plan: float, gold: float, verdict: Verdict, again: float | None = None) -> Counter[Label]:
    """Probability of each label where the true success rates are these."""
    found: Counter[Label] = Counter()
    repeats = [(None, 1.0)] if again is None else [((hits, k), p) for hits, p in enumerate(chances(k, again))]
    for (right, p), (gold_right, q), (repeat, r) in product(
        enumerate(chances(k, plan)), enumerate(chances(k, gold)), repeats
    ):
        found[attribute(trial((right, k), (gold_right, k), verdict, repeat)).label] += p * q * r  # type: ignore[assignment]
    return found


@pytest.mark.parametrize("k", [1, 2, 3, 5, 10])
def test_equally_good_plans_are_seldom_a_teachers_error(k: int) -> None:
    """Regression to the mean: whatever the student's rate, under 5 % of equal plans are called worse."""
    for rate in (0.05, 0.2, 0.35, 0.4, 0.5, 0.65, 0.8, 0.95):
        found = rates(k, rate, rate, UNDECIDED)
        assert found["teacher"] + found["both"] < 0.05, rate
        again = rates(k, rate, rate, UNDECIDED, rate)
        assert again["teacher"] + again["both"] <= found["teacher"] + found["both"] + 1e-12
        judged = rates(k, rate, rate, CORRECT)
        assert judged["teacher"] + judged["both"] < 0.02


@pytest.mark.parametrize(("k", "gold", "least"), [(3, 1.0, 1.0), (5, 0.9, 0.99), (5, 0.8, 0.94), (10, 0.8, 0.96)])
def test_a_plan_that_never_works_is_found_without_a_verdict(k: int, gold: float, least: float) -> None:
    assert rates(k, 0.0, gold, UNDECIDED)["teacher"] >= least


def test_a_student_who_nearly_always_fails_is_found() -> None:
    for k in (1, 3, 5, 10):
        assert rates(k, 0.05, 0.05, UNDECIDED)["student"] > (0.9 if k == 1 else 0.98)


def test_the_exact_test_keeps_its_level_and_beats_fishers() -> None:
    from scipy.stats import fisher_exact

    for plan, gold in product(range(6), repeat=2):
        p = p_worse((plan, 5), (gold, 5))
        fisher = fisher_exact([[plan, gold], [5 - plan, 5 - gold]], alternative="less").pvalue
        assert p <= fisher + 1e-9 or gold <= plan
        for rate in (0.1, 0.3, 0.5, 0.7):
            as_extreme = sum(
                x * y
                for (a, x), (b, y) in product(enumerate(chances(5, rate)), repeat=2)
                if p_worse((a, 5), (b, 5)) <= p + 1e-9
            )
            assert as_extreme <= p + 1e-6


# ---- planted errors: plans as text, judged by the task's own judges; students who carry them out


@dataclass(frozen=True, eq=False)
class Planned:
    """A problem with its plan from gold."""

    problem: Problem
    plan: tuple[str, ...]


Make = Callable[[int, int, int], tuple[str, list[str], list[str], int]]


def _rolls(a: int, b: int, c: int) -> tuple[str, list[str], list[str], int]:
    return (
        f"A baker makes {a} trays of {b} rolls and sells {c} of them. How many rolls are left?",
        [f"{a} trays hold {a} * {b} = {a * b} rolls.", f"{a * b} - {c} = {a * b - c} rolls are left."],
        [f"Multiply the {a} trays by the {b} rolls on each tray.", f"Subtract the {c} rolls sold from all the rolls."],
        a * b - c,
    )


def _books(a: int, b: int, c: int) -> tuple[str, list[str], list[str], int]:
    return (
        f"A library buys {b} novels and {c} atlases, and each book costs ${a}. What do the books cost?",
        [f"The library buys {b} + {c} = {b + c} books.", f"The books cost {b + c} * {a} = ${(b + c) * a}."],
        [f"Add the {b} novels and the {c} atlases that the library buys.",
         f"Multiply the number of books by the {a} dollars that each book costs."],
        (b + c) * a,
    )  # fmt: skip


def _coins(a: int, b: int, c: int) -> tuple[str, list[str], list[str], int]:
    return (
        f"Mia saves {a} coins a day for {b} days and finds {c} coins in a drawer. How many coins does she have?",
        [f"She saves {a} * {b} = {a * b} coins.", f"With the drawer she has {a * b} + {c} = {a * b + c} coins."],
        [f"Multiply the {a} coins that she saves a day by the {b} days.",
         f"Add the {c} coins in the drawer to the coins that she saves."],
        a * b + c,
    )  # fmt: skip


MAKERS: tuple[Make, ...] = (_rolls, _books, _coins)


@cache
def planned(n: int = 120) -> tuple[Planned, ...]:
    out = []
    for index in range(n):
        draw = random.Random(f"problem/{index}")
        a, b, c = draw.randrange(6, 12), draw.randrange(21, 45), draw.randrange(46, 99)
        question, gold, plan, answer = MAKERS[index % len(MAKERS)](a, b, c)
        problem = Problem(
            f"p{index}", "gsm8k", "test", question, (str(answer),), gold_steps=make_steps(gold), difficulty=2
        )
        out.append(Planned(problem, tuple(plan)))
    return tuple(out)


def with_wrong_operand(one: Planned, how: str) -> tuple[str, ...]:
    """The plan with the last number of its first step changed."""
    draw = random.Random(f"plant/{how}/{one.problem.problem_id}")
    numbers = list(re.finditer(r"\d+", one.plan[0]))
    last = numbers[-1]
    other = {
        "from nowhere": str(draw.randrange(101, 199)),
        "near": str(int(last[0]) + draw.choice((-2, -1, 1, 2))),
        "of the question": next(
            n for n in re.findall(r"\d+", one.problem.question) if n not in {m[0] for m in numbers}
        ),
    }[how]
    return (one.plan[0][: last.start()] + other + one.plan[0][last.end() :], *one.plan[1:])


OPERATIONS: Mapping[str, Callable[[int, int], int]] = {
    "Multiply": lambda x, y: x * y,
    "Add": lambda x, y: x + y,
    "Subtract": lambda x, y: y - x,
}
SIGNS = {"Multiply": "*", "Add": "+", "Subtract": "-"}


def carry_out(plan: tuple[str, ...], slips: float, draw: random.Random) -> str:
    """A student's output: every step of the plan as it says, each result wrong with probability `slips`."""
    value: int | None = None
    lines = []
    for step in plan:
        verb = step.split()[0]
        numbers = [int(number) for number in re.findall(r"\d+", step)]
        if value is not None:
            numbers = [numbers[0], value]
        left, right = numbers[::-1] if verb == "Subtract" else numbers
        value = OPERATIONS[verb](*numbers)
        if draw.random() < slips:
            value += draw.randrange(1, 10)  # upwards, so that two slips never cancel
        lines.append(f"{left} {SIGNS[verb]} {right} = {value}")
    return "\n".join([*lines, f"The answer is {value}."])


@cache
def successes(one: Planned, plan: tuple[str, ...], slips: float, k: int, name: str) -> Count:
    draws = (random.Random(f"{name}/{one.problem.problem_id}/{sample}") for sample in range(k))
    done = sum(TASK.judge_answer(one.problem, carry_out(plan, slips, draw)).answer.ok for draw in draws)
    return done, k


def attributed(how: str | None, slips: float, k: int = 5, again: str | None = None) -> Iterator[Attributed]:
    """Every problem with a wrong operand planted (or none), by a student who slips; `again`: see there."""
    for one in planned():
        plan = one.plan if how is None else with_wrong_operand(one, how)
        repeat = {None: None, "repeats": plan, "recovers": one.plan}[again]
        yield attribute(
            PlanSamples(
                one.problem.problem_id,
                successes(one, plan, slips, k, "plan"),
                successes(one, one.plan, slips, k, "gold"),
                None if repeat is None else successes(one, repeat, slips, k, "again"),
                TASK.judge_plan(one.problem, make_steps(plan)),
            )
        )


def named(found: Iterator[Attributed]) -> tuple[float, Counter[Label]]:
    labels = Counter(one.label for one in found)
    return labels.most_common(1)[0][1] / labels.total(), labels


@pytest.mark.parametrize("how", ["from nowhere", "near", "of the question"])
@pytest.mark.parametrize("slips", [0.0, 0.05])
@pytest.mark.parametrize("again", [None, "repeats"])
def test_planted_wrong_operands_are_the_teachers(how: str, slips: float, again: str | None) -> None:
    share, labels = named(attributed(how, slips, again=again))
    assert labels.most_common(1)[0][0] == "teacher", labels
    assert share >= 0.95, labels


def test_a_wrong_operand_that_the_judge_names_stays_the_teachers_when_another_plan_succeeds() -> None:
    found = list(attributed("from nowhere", 0.05, again="recovers"))
    assert sum(one.label == "teacher" for one in found) >= 0.95 * len(found)
    assert {one.outcome for one in found} == {"incorrect"}
    assert {(one.first_wrong_step, one.kind) for one in found} == {(1, "wrong operand")}


@pytest.mark.parametrize("slips", [0.7, 0.9])
@pytest.mark.parametrize("again", [None, "repeats"])
def test_planted_miscalculations_are_the_students(slips: float, again: str | None) -> None:
    share, labels = named(attributed(None, slips, again=again))
    assert labels.most_common(1)[0][0] == "student", labels
    assert share >= 0.95, labels


def test_both_errors_planted() -> None:
    share, labels = named(attributed("from nowhere", 0.8))
    assert labels.most_common(1)[0][0] == "both", labels
    assert share >= 0.95, labels


def test_with_one_sample_the_verdict_decides() -> None:
    share, labels = named(attributed("from nowhere", 0.0, k=1))
    assert (labels.most_common(1)[0][0], share >= 0.95) == ("teacher", True), labels
    share, labels = named(attributed(None, 0.9, k=1))
    assert (labels.most_common(1)[0][0], share >= 0.9) == ("student", True), labels


def test_a_weak_student_under_equal_plans_is_no_teachers_error() -> None:
    """Each calculation fails three times in ten: about half of all samples are right."""
    for k in (1, 5, 10):
        found = list(attributed(None, 0.3, k=k, again="repeats"))
        assert 0.35 < sum(one.plan[0] for one in found) / (k * len(found)) < 0.65
        assert sum(one.label in ("teacher", "both") for one in found) < 0.05 * len(found)


def test_a_lucky_student_is_solved_with_the_verdict_beside_it() -> None:
    """A student who does not follow the wrong plan but the right one."""
    for one in planned()[:20]:
        wrong = with_wrong_operand(one, "from nowhere")
        count = successes(one, one.plan, 0.0, 5, "lucky")
        found = attribute(PlanSamples("p", count, count, None, TASK.judge_plan(one.problem, make_steps(wrong))))
        assert (found.label, found.outcome, found.failed) == ("solved", "incorrect", False)
        assert found.first_wrong_step == 1


# ---- steps

DUCKS = Problem(
    "ducks", "gsm8k", "test",
    "Janet's ducks lay 16 eggs per day. She eats three for breakfast every morning and bakes muffins for her friends "
    "every day with four. She sells the remainder for $2 per fresh duck egg. How much does she make every day?",
    ("18",),
    gold_steps=make_steps(["Janet sells 16 - 3 - 4 = 9 duck eggs a day.", "She makes 9 * 2 = $18 every day."]),
)  # fmt: skip
DUCK_PLAN = (
    "Determine the number of eggs that the ducks lay per day.",
    "Subtract the eggs eaten for breakfast and the eggs baked into muffins from the eggs laid.",
    "Multiply the leftover eggs by the price per egg.",
    "Check your answer.",
)


@pytest.mark.parametrize(
    ("output", "ok", "fates"),
    [
        (  # in the plan's order, in signs
            (
                "1. The ducks lay 16 eggs per day.\n2. 16 - 7 = 9 eggs are left over.\n3. They bring 9 * 2 = 18."
                "\n4. The answer is 18."
            ),
            True,
            "followed followed followed redundant",
        ),
        (  # in words
            (
                "The ducks lay 16 eggs. We subtract the 7 eggs eaten and baked from the 16 eggs to get 9. "
                "Then we multiply the 9 leftover eggs by the price of $2, which gives $18."
            ),
            True,
            "followed followed followed redundant",
        ),
        (  # by way of a result in between
            (
                "The ducks lay 16 eggs per day.\n16 - 3 = 13 eggs are left after the eggs eaten for breakfast.\n"
                "13 - 4 = 9 eggs are left after the eggs baked into muffins.\nThe leftover eggs bring 9 * 2 = $18."
            ),
            True,
            "followed split followed redundant",
        ),
        (  # a fact that is used but not told, a step forgotten
            "She has 16 - 7 = 9 leftover eggs, eaten and baked ones taken away. The answer is 9.",
            False,
            "redundant followed ignored redundant",
        ),
        (  # the same operation on something else does not count for two steps
            "The ducks lay 16 eggs per day. The price of the leftover eggs is 16 * 2 = 32. The answer is 32.",
            False,
            "followed ignored followed redundant",
        ),
        (  # the plan copied, nothing done
            "\n".join(f"{number}. {text}" for number, text in enumerate(DUCK_PLAN, start=1)),
            False,
            "ignored ignored ignored ignored",
        ),
        ("", False, "ignored ignored ignored ignored"),
        ("The answer is: 18.", True, "redundant redundant redundant redundant"),
    ],
)
def test_what_became_of_each_step(output: str, ok: bool, fates: str) -> None:
    found = adherence(DUCKS, make_steps(DUCK_PLAN), output, answer_ok=ok)
    assert [one.fate for one in found.per_step] == fates.split(), found
    counted = (found.followed, found.split, found.skipped, found.ignored)
    assert counted == tuple(fates.split().count(fate) for fate in ("followed", "split", "redundant", "ignored"))
    assert found.misaligned == ("ignored" in fates)


def test_the_answers_verdict_only_tells_redundant_from_ignored() -> None:
    output = "She has 16 - 7 = 9 leftover eggs, eaten and baked ones taken away."
    right_, wrong, unknown = (
        adherence(DUCKS, make_steps(DUCK_PLAN), output, answer_ok=ok) for ok in (True, False, None)
    )
    assert (right_.followed, right_.split) == (wrong.followed, wrong.split)
    assert wrong == unknown
    assert (right_.ignored, wrong.ignored) == (0, 1)


def test_evidence_is_quoted_from_the_output() -> None:
    output = "The ducks lay 16 eggs per day.\n16 - 7 = 9 eggs are left over.\n9 * 2 = 18 dollars for the eggs."
    for one in adherence(DUCKS, make_steps(DUCK_PLAN), output).per_step:
        assert all(statement in output for statement in one.by)
        assert bool(one.by) == (one.fate in ("followed", "split"))


def test_a_runaway_output_is_bounded() -> None:
    found = adherence(DUCKS, make_steps(DUCK_PLAN), "So 9 * 2 = 18 dollars for the leftover eggs. " * 3000)
    assert found.per_step[2].fate in ("followed", "split")


@needs_data("published_outputs")
def test_steps_of_another_problem_are_found_to_be_left_out() -> None:
    """A step put in from elsewhere, on published outputs."""
    rows = [row for row in outputs("trace_of_thought") if row["dataset"] == "gsm8k"][::12]
    steps = [step for one in planned()[:9] for step in make_steps(one.plan)]
    fates: Counter[str] = Counter()
    for index, row in enumerate(rows):
        problem = Problem(row["problem_id"], "gsm8k", "test", row["question"], (row["gold"],))
        plan = (*read_steps(row["plan"]).steps, steps[index % len(steps)])
        fates[adherence(problem, plan, row["text"]).per_step[-1].fate] += 1
    assert fates["ignored"] >= 0.75 * fates.total(), fates


# ---- numbers


@pytest.mark.parametrize(
    ("plan", "wrong"),
    [
        (DUCK_PLAN, ()),
        (("Subtract 3 and 4 from 16.", "Multiply by 2."), ()),
        (("Multiply the leftover eggs by 77.",), ("77",)),
        (("Subtract 3 and 4 from 16 to get 9.", "Multiply the 9 eggs by 2."), ()),  # a leak, but no error
        (("3 + 4 = 8 eggs are used.", "Subtract the 8 eggs from 16."), ("8",)),
        (("A week has 7 days, so multiply by 7.",), ()),
        (("Repeat step 12 for the 24 hours of a day.",), ()),
    ],
)
def test_wrong_numbers_of_a_plan(plan: tuple[str, ...], wrong: tuple[str, ...]) -> None:
    assert propagated(make_steps(plan), DUCKS, "", None).wrong_numbers == wrong


@pytest.mark.parametrize(
    ("output", "answer", "seen", "used", "answered", "carried"),
    [
        ("16 - 7 = 9. 9 * 77 = 693. The answer is 693.", "693", ("77",), ("77",), (), True),
        ("9 * 77 = 693. 693 + 5 = 698.", "698", ("77",), ("77",), (), True),
        ("The plan says 77, but an egg costs $2: 9 * 2 = 18.", "18", ("77",), (), (), False),
        ("The answer is 77.", "77", (), (), ("77",), True),
        ("9 * 2 = 18", "18", (), (), (), False),
        ("1. Multiply the leftover eggs by 77.\n2. 9 * 2 = 18", "18", (), (), (), False),
        ("9 * 77 = 693", None, ("77",), ("77",), (), False),
    ],
)
def test_where_a_wrong_number_comes_back(
    output: str,
    answer: str | None,
    seen: tuple[str, ...],
    used: tuple[str, ...],
    answered: tuple[str, ...],
    carried: bool,
) -> None:
    found = propagated(make_steps(["Multiply the leftover eggs by 77."]), DUCKS, output, answer)
    assert (found.calculated_with, found.reappear_in_answer, found.carried) == (used, answered, carried)
    assert found.reappear_in_trace == seen


def test_a_planted_number_is_told_by_its_parent() -> None:
    parent = make_steps(["Subtract 3 and 4 from 16.", "Multiply by 2."])
    changed = make_steps(["Subtract 3 and 4 from 16.", "Multiply by 4."])
    assert propagated(changed, DUCKS, "9 * 4 = 36", "36").wrong_numbers == ()
    found = propagated(changed, DUCKS, "16 - 7 = 9\n9 * 4 = 36", "36", parent)
    assert (found.planted_numbers, found.calculated_with, found.carried) == (("4",), ("4",), True)


def test_planted_operands_are_carried_into_the_answer() -> None:
    """A student who carries the plan out makes its answer from the wrong number; one who follows gold does not."""
    for one in planned():
        wrong = with_wrong_operand(one, "from nowhere")
        text = carry_out(wrong, 0.0, random.Random(0))
        found = propagated(make_steps(wrong), one.problem, text, text.split()[-1])
        assert len(found.wrong_numbers) == 1
        assert found.carried
        sound = carry_out(one.plan, 0.0, random.Random(0))
        assert not propagated(make_steps(wrong), one.problem, sound, sound.split()[-1]).carried


# ---- the table and the pages


@cache
def cases() -> tuple[Case, ...]:
    out = []
    for one, found in zip(planned(), attributed("from nowhere", 0.3), strict=True):
        plan = make_steps(with_wrong_operand(one, "from nowhere"))
        text = carry_out(tuple(step.text for step in plan), 0.3, random.Random(one.problem.problem_id))
        out.append(
            Case(
                found, one.problem, plan, TASK.judge_plan(one.problem, plan), text, text.split()[-1], "T", "S",
                adherence(one.problem, plan, text), propagated(plan, one.problem, text, text.split()[-1]),
            )
        )  # fmt: skip
    return tuple(out)


def test_the_table_adds_up() -> None:
    made = cases()
    found = [case.attributed for case in made]
    table = summarise(
        found, "T", "S",
        {case.problem.problem_id: case.adherence for case in made if case.adherence},
        {case.problem.problem_id: case.propagation for case in made if case.propagation},
    )  # fmt: skip
    assert [cell.label for cell in table.cells] == list(LABELS)
    assert sum(cell.of_items.successes for cell in table.cells) == table.items == len(found)
    assert table.failures == sum(one.failed for one in found)
    assert sorted(name for cell in table.cells for name in cell.ids) == sorted(one.problem_id for one in found)
    for cell in table.cells:
        assert len(cell.ids) == cell.of_items.successes == sum(cell.outcomes.values())
        assert cell.of_items.low <= len(cell.ids) / len(found) <= cell.of_items.high
        assert (cell.of_failures is None) == (cell.label == "solved")
    assert table.wrong_plans_among_failures.value == 1.0
    assert table.kinds == {"wrong operand": table.failures}
    assert table.first_wrong_steps == {"1": table.failures}
    assert table.propagation is not None
    assert table.propagation.with_wrong_number == len(found)
    assert table.propagation.calculated_with.value == 1.0
    assert table.adherence is not None
    assert sum(table.adherence.fates.values()) == table.adherence.steps == 2 * len(found)
    assert json.loads(json.dumps(to_json(table, defaults=True)))["teacher"] == "T"


def test_an_empty_table_and_a_problem_twice() -> None:
    assert summarise([], "T", "S").wrong_plans_among_failures.value is None
    one = attribute(trial((0, 1), (1, 1)))
    with pytest.raises(InputError, match="problem 'p' is attributed twice"):
        summarise([one, one], "T", "S")


def test_the_sample_to_read_is_of_failures_seeded_and_grows() -> None:
    made = cases()
    drawn = failures_to_read(made, 20, seed=1)
    assert len(drawn) == 20
    assert all(case.attributed.failed for case in drawn)
    assert failures_to_read(list(reversed(made)), 20, seed=1) == drawn
    assert failures_to_read(made, 30, seed=1)[:20] == drawn
    assert failures_to_read(made, 20, seed=2) != drawn
    assert len(failures_to_read(made, 10_000)) == sum(case.attributed.failed for case in made)


def test_a_page_holds_what_a_reader_needs() -> None:
    case = next(one for one in cases() if one.attributed.label == "teacher")
    page = render_case(case)
    for part in (
        case.problem.question, case.output, "**teacher**", "wrong operand", "comes from nowhere", "student: followed",
        "teacher T, S", f"Answer: {case.problem.answers[0]}", case.problem.gold_steps[0].text, "calculated with",
        "calculated from them",
    ):  # fmt: skip
        assert part in page, part
    assert render_cases([case, case]).count("## ") - 2 == 2 * page.count("### ")


def test_hostile_text_stays_inside_its_fence() -> None:
    problem = replace(DUCKS, problem_id="a](x) <script>", question="```\n# Not a heading\n````")
    found = replace(attribute(trial((0, 1), (0, 1))), problem_id=problem.problem_id)
    page = render_case(Case(found, problem, (Step("plan", "`````"),), UNDECIDED, "</style>" + "x" * 10_000, "<b>"))
    assert "<script>" not in page.replace("\\<script\\>", "")
    fences = re.findall(r"^(`{3,})text$", page, re.MULTILINE)
    assert fences[0] == "`" * 5
    assert "[cut: 10008 characters]" in page


# ---- the plans of a real teacher


@pytest.mark.slow
@needs_data("gsm8k")
def test_gold_steps_read_as_followed_by_gold() -> None:
    """Each gold step as its own plan is carried out by the gold solution, and holds no wrong number."""
    problems = list(TASK.load("test", SOURCE))[:100]
    fates: Counter[str] = Counter()
    wrong = 0
    for problem in problems:
        text = "\n".join(step.text for step in problem.gold_steps)
        fates.update(one.fate for one in adherence(problem, problem.gold_steps, text).per_step)
        wrong += bool(propagated(problem.gold_steps, problem, text, problem.answers[0]).wrong_numbers)
    assert fates["ignored"] <= 0.02 * fates.total(), fates
    assert wrong <= 2
