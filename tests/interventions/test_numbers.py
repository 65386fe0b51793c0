"""Wrong numbers: what follows from them is worked out, and they tell nothing of the right ones."""

from __future__ import annotations

import random
import statistics
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracedistill.arithmetic.calculations import find_calculations
from tracedistill.arithmetic.expressions import number
from tracedistill.interventions import intervene
from tracedistill.interventions.numerals import spelled_like, tokens_of, wrong_number
from tracedistill.records import Problem, Step, Trace
from tracedistill.tasks import get_task

TASK = get_task("gsm8k")


def made(question: str, *lines: str, answer: str = "1") -> tuple[dict[str, Problem], list[Trace]]:
    """Forty problems of one question and one trace, so that forty draws are seen."""
    steps = TASK.parse_trace("\n".join(f"{n}. {line}" for n, line in enumerate(lines, start=1))).steps
    problems = {f"p{n}": Problem(f"p{n}", "gsm8k", "train", question, (answer,), gold_steps=steps) for n in range(40)}
    traces = [Trace(f"t-{name}", name, "t", steps, TASK.render_trace(steps), answer=answer) for name in problems]
    return problems, traces


def results(steps: Sequence[Step]) -> list[bool | None]:
    return [calculation.true for step in steps for calculation in find_calculations(step.text)]


CHAIN = (
    "A farm has 48 cows and 26 pigs, and sells each animal for $35.",
    "The farm has 48 + 26 = 74 animals.",
    "The 74 animals bring 74 * 35 = $2590.",
    "After a tax of $590 that is 2590 - 590 = $2000.",
)


def test_one_number_is_wrong_and_the_rest_follows() -> None:
    problems, traces = made(*CHAIN, answer="2000")
    out = intervene("wrong-number", TASK, problems, traces, 0)
    assert len(out) == 40
    seen = set()
    for trace in out:
        truths = results(trace.steps)
        # a wrong operand leaves every calculation true, a wrong result makes its own one false
        assert truths.count(False) <= 1
        assert len(truths) == 3
        first, second, third = (find_calculations(step.text)[0] for step in trace.steps)
        assert first.sides[-1].operands[0].value == second.operands[0].value
        assert second.sides[-1].operands[0].value == third.operands[0].value
        assert trace.answer == third.sides[-1].operands[0].text != "2000"
        # words around the calculation say the same
        assert trace.steps[1].text.startswith(f"The {second.operands[0].text} animals")
        seen.add(truths.index(False) if False in truths else None)
    assert seen == {0, 1, 2, None}


def test_one_step_is_wrong_and_the_rest_stays() -> None:
    problems, traces = made(*CHAIN, answer="2000")
    out = intervene("wrong-number-one-step", TASK, problems, traces, 0)
    places: Counter[int] = Counter()
    for trace in out:
        truths = results(trace.steps)
        assert truths.count(False) == 1
        place = truths.index(False)
        places[place] += 1
        for index, (one, two) in enumerate(zip(trace.steps, traces[0].steps, strict=True)):
            assert (one.text == two.text) == (index != place)
        assert trace.answer == "2000"
    assert set(places) == {0, 1}, "never the last of several, so that the end is as it was"


def test_a_single_step_leads_to_its_own_wrong_result() -> None:
    problems, traces = made("Ann has 76 pens and sells 25.", "76 - 25 = 51", answer="51")
    for trace in intervene("wrong-number-one-step", TASK, problems, traces, 0):
        assert trace.answer == find_calculations(trace.steps[0].text)[0].sides[-1].operands[0].text != "51"


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (["10 * 12 / 100 = 1.2", "50 / 4 = 12.5", "12.5 - 1.2 = 11.3"], "decimals"),
        (["20% of 350 is 20/100 * 350 = 70", "350 - 70 = $280"], "percent"),
        (["2 * 1,250 = 2,500", "2,500 + 13 = 2,513"], "thousands with commas"),
        (["5 * 2 + 13 = 10 + 13 = 23", "23 * 3 = 69"], "a chain with an inner result"),
        (["16 - 3 = 13 - 4 = 9", "9 * 2 = 18"], "a running equals sign"),
        (["100 / 3 = 33.33", "33.33 * 2 = 66.66"], "rounding"),
        (["(40 + 20) * 3 = 180", "180 / 60 = 3"], "parentheses"),
    ],
)
def test_what_follows_is_true(lines: list[str], why: str) -> None:
    problems, traces = made("Nothing is given here.", *lines)
    before = results(traces[0].steps)
    assert all(before), why
    out = intervene("wrong-number", TASK, problems, traces, 0)
    assert len(out) >= 10, why
    for trace in out:
        after = results(trace.steps)
        assert len(after) == len(before)
        assert after.count(False) <= 1, trace.text
        assert 0.9 <= len(trace.text) / len(traces[0].text) <= 1.1


def test_nothing_falls_below_zero_and_wholes_stay_whole() -> None:
    problems, traces = made("Tom has 90 marbles, loses 30 and shares with 4 friends.", "90 - 30 = 60", "60 / 4 = 15")
    out = intervene("wrong-number", TASK, problems, traces, 0)
    for trace in out:
        tokens = [token for step in trace.steps for token in tokens_of(step.text)]
        assert all(token.value >= 0 for token in tokens)
        assert "-" not in trace.steps[0].text.replace(" - ", "")
    assert sum("." in step.text for trace in out for step in trace.steps) < 0.3 * len(out)


def test_algebra_is_let_alone() -> None:
    """An equation with an unknown cannot be worked out anew: no change reaches into one."""
    problems, traces = made("Nothing is given.", "2 * 30 = 60", "5x = 60", "60 / 5 = 12")
    for trace in intervene("wrong-number", TASK, problems, traces, 0):
        assert trace.steps[1].text == "5x = 60"


PLAN = ("Write down the 48 clips of April.", "Divide the 48 clips by 2.", "Add 48 and the result of step 2.")


def test_a_plan_gets_one_number_exchanged_wherever_it_is_named() -> None:
    problems, traces = made("Natalia sold 48 clips in April and half as many in May.", *PLAN)
    assert {step.kind for step in traces[0].steps} == {"plan"}
    texts = {trace.text for trace in intervene("wrong-number", TASK, problems, traces, 0)}
    for text in texts:
        assert "the result of step 2." in text, "a reference is no quantity"
        changed = [line for line, old in zip(text.split("\n"), traces[0].text.split("\n"), strict=True) if line != old]
        assert changed
    assert any("by 2." not in text for text in texts)
    consistent = [text for text in texts if "by 2." in text and "April" in text.split("\n")[0] and "48" not in text]
    assert consistent


def test_a_plan_without_numbers_is_left_out() -> None:
    problems, traces = made("Natalia sold 48 clips.", "Halve the clips of April.", "Add both months, as step 1 says.")
    assert intervene("wrong-number", TASK, problems, traces, 0) == []


def test_a_wrong_operand_comes_from_nowhere() -> None:
    problems, traces = made(*CHAIN, answer="2000")
    for trace in intervene("wrong-number", TASK, problems, traces, 0):
        assert TASK.judge_trace(problems[trace.problem_id], trace.steps).outcome == "incorrect"


# ---- the drawing of a wrong number


@given(st.integers(0, 10**9), st.integers(0, 1000))
def test_a_wrong_number_has_the_shape_of_the_right_one(value: int, seed: int) -> None:
    for written in (str(value), f"{value:,}", f"{value / 100:.2f}"):
        drawn = wrong_number(written, random.Random(seed))
        assert drawn != written
        assert [sign.isdigit() for sign in drawn] == [sign.isdigit() for sign in written]
        assert number(drawn)[0] != number(written)[0]
        if value >= 10 and "." not in written:
            assert drawn[0] != "0"
            plain = drawn.replace(",", "")
            assert len(plain) - len(plain.rstrip("0")) == len(str(value)) - len(str(value).rstrip("0"))


def test_a_wrong_number_tells_no_more_than_the_shape() -> None:
    """Neither side nor distance: for right numbers low, middling and high, the wrong ones are spread alike."""
    rng = random.Random(0)
    drawn = {right: [int(wrong_number(str(right), rng)) for _ in range(4000)] for right in (11, 48, 55, 99)}
    for right, wrongs in drawn.items():
        assert right not in wrongs
        # all two-digit numbers that do not end in zero: mean 55, each equally often
        rest = [one for one in range(11, 100) if one % 10 and one != right]
        assert abs(statistics.mean(wrongs) - statistics.mean(rest)) < 1.5
        counts = Counter(wrongs)
        assert set(counts) == set(rest)
        assert max(counts.values()) < 2 * len(wrongs) / len(rest)


def test_wrong_results_are_spread_alike_in_real_traces() -> None:
    """Rows with different right results, one step each: right and wrong are not correlated beyond leaving one out."""
    problems, traces = {}, []
    rng = random.Random(1)
    for n in range(3000):
        one, two = rng.randint(11, 50), rng.randint(1, 40)
        if (one + two) % 10 == 0 or not 11 <= one + two <= 99:
            continue
        steps = (Step("calculation", f"{one} + {two} = {one + two}", str(one + two)),)
        problems[f"p{n}"] = Problem(f"p{n}", "gsm8k", "train", f"{one} and {two}", (str(one + two),), gold_steps=steps)
        traces.append(Trace(f"t{n}", f"p{n}", "t", steps, TASK.render_trace(steps), answer=str(one + two)))
    out = intervene("wrong-number-one-step", TASK, problems, traces, 0)
    pairs = [(int(problems[trace.problem_id].answers[0]), int(trace.answer or "")) for trace in out]
    assert len(pairs) > 2000
    assert abs(statistics.correlation(*zip(*pairs, strict=True))) < 0.06
    # beside the same right numbers, wrong ones lie below and above as a draw that does not know them would
    expected = statistics.mean((99 - right) / 88 for right, _ in pairs)
    assert abs(statistics.mean(wrong > right for right, wrong in pairs) - expected) < 0.04


@pytest.mark.parametrize(
    ("value", "like", "text"),
    [
        ("48", "24", "48"),
        ("2500", "1,000", "2,500"),
        ("7/2", "3.50", "3.50"),
        ("10/3", "5", "3.33"),
        ("1/300", "2", "0.0033"),
        ("5", "2.5", "5.0"),
        ("99999/1000", "5", "100"),
    ],
)
def test_a_number_is_written_like_its_neighbour(value: str, like: str, text: str) -> None:
    top, _, bottom = value.partition("/")
    exact = Fraction(int(top), int(bottom)) if bottom else int(top)
    assert spelled_like(exact, like) == text
