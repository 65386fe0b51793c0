from __future__ import annotations

import itertools
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tasks.shared_data import ROOT
from tracedistill.errors import InputError
from tracedistill.files import content_id
from tracedistill.records import Problem
from tracedistill.tasks import Source, get_task
from tracedistill.tasks.babi.rules import read_story
from tracedistill.tasks.babi.stories import COUNTS, OBJECTS, PEOPLE, PLACES, TYPE_WEIGHTS, Story, generate
from tracedistill.tasks.babi.task import Babi

TASK = Babi()
LINES = (ROOT / "tests" / "cases" / "babi_answers.jsonl").read_text(encoding="utf-8").splitlines()
CASES = [pytest.param(row, id=row["why"]) for row in map(json.loads, LINES)]


@pytest.fixture(scope="module")
def stories() -> list[Story]:
    return list(generate("train", 2000, 3))


@pytest.fixture(scope="module")
def problems() -> list[Problem]:
    return list(TASK.load("test", Source(seed=5, size=1000)))


def fingerprint(story: Story) -> tuple[tuple[str, ...], str]:
    return story.lines, story.question


# ---- the generator


def test_these_problems_never_change() -> None:
    made = list(TASK.load("train", Source(seed=0, size=20)))
    fields = [(p.problem_id, p.context, p.question, p.answers, p.category, p.gold_steps) for p in made]
    assert content_id(fields) == "21c586f4c7f47f78"


def test_same_seed_same_stories_and_a_longer_draw_begins_alike() -> None:
    assert list(generate("test", 30, 1)) == list(generate("test", 30, 1))
    assert list(generate("test", 50, 1))[:30] == list(generate("test", 30, 1))
    assert list(generate("test", 30, 1)) != list(generate("test", 30, 2))
    assert list(generate("test", 0, 1)) == []


def test_splits_are_disjoint_over_seeds_and_sizes() -> None:
    drawn = {
        split: {fingerprint(story) for seed in range(3) for story in generate(split, 150 + 50 * seed, seed)}
        for split in ("train", "validation", "test")
    }
    assert not drawn["train"] & drawn["test"]
    assert not drawn["train"] & drawn["validation"]
    assert not drawn["validation"] & drawn["test"]


def test_no_story_comes_twice_and_no_two_lines_are_alike(stories: Sequence[Story]) -> None:
    assert len({fingerprint(story) for story in stories}) == len(stories)
    assert all(len(set(story.lines)) == len(story.lines) for story in stories)
    assert {len(story.lines) for story in stories} == {5, 6, 7}


def test_each_type_has_its_share(stories: Sequence[Story]) -> None:
    drawn, total = Counter(story.type for story in stories), sum(TYPE_WEIGHTS.values())
    assert set(drawn) == set(TYPE_WEIGHTS)
    for kind, weight in TYPE_WEIGHTS.items():
        share = weight / total
        # five standard deviations of a binomial draw
        assert abs(drawn[kind] / len(stories) - share) < 5 * (share * (1 - share) / len(stories)) ** 0.5


def test_answers_do_not_give_themselves_away(stories: Sequence[Story]) -> None:
    verdicts = Counter(story.answers[0] for story in stories if story.type == "yes-no-questions")
    assert abs(verdicts["yes"] - verdicts["no"]) < 5 * sum(verdicts.values()) ** 0.5
    places = Counter(story.answers[0] for story in stories if story.question.startswith("Where"))
    assert set(places) == set(PLACES)
    assert max(places.values()) < 2 * min(places.values())
    assert {answer for story in stories for answer in story.answers} <= {
        *PLACES, *PEOPLE, *OBJECTS, *COUNTS, "yes", "no", "nothing",
    }  # fmt: skip


def test_the_support_is_what_the_answer_hangs_on(stories: Sequence[Story]) -> None:
    """Read from the supporting lines alone, the story gives the same answer; without one of them it need not."""
    for story in stories:
        assert list(story.support) == sorted(set(story.support))
        assert all(0 <= line < len(story.lines) for line in story.support)
        alone = read_story([story.lines[line] for line in story.support], story.question)
        assert alone is not None
        assert set(alone.answers) == set(story.answers)
        for line in story.support:
            if story.type in ("single-supporting-fact", "two-supporting-facts", "three-arg-relations"):
                rest = [story.lines[other] for other in story.support if other != line]
                left = read_story(rest, story.question)
                assert left is None or left.answers != story.answers or len(left.facts) < len(story.support)


def test_a_world_that_holds_together(stories: Sequence[Story]) -> None:
    """Nobody drops or gives what they do not have, takes what somebody holds, or hands over from afar."""
    for story in stories:
        holder: dict[str, str] = {}
        place: dict[str, str] = {}
        for line in story.lines:
            words = line.rstrip(".").split()
            person, last = words[0], words[-1]
            if last in PLACES:
                assert place.get(person) != last, "nobody moves to where they are"
                place[person] = last
            elif last in PEOPLE:
                thing = words[words.index("to") - 1]
                assert holder[thing] == person
                assert place[person] == place[last]
                holder[thing] = last
            elif holder.get(last) == person:
                del holder[last]
            else:
                assert last not in holder
                assert person in place
                holder[last] = person


def test_loading(problems: Sequence[Problem]) -> None:
    assert len({problem.problem_id for problem in problems}) == len(problems) == 1000
    assert {problem.split for problem in problems} == {"test"}
    assert len(list(TASK.load("validation", Source()))) == 100
    with pytest.raises(InputError, match="no split 'dev'; known: train, validation, test"):
        list(TASK.load("dev", Source()))
    assert isinstance(get_task("babi"), Babi)


# ---- rules


def test_rules_agree_with_the_construction(stories: Sequence[Story]) -> None:
    for story in stories:
        reading = read_story(story.lines, story.question)
        assert reading is not None
        assert reading.type == story.type
        assert reading.facts == tuple(story.lines[line] for line in story.support)
        assert set(reading.answers) == set(story.answers)


def test_rules_never_see_gold(problems: Sequence[Problem]) -> None:
    for problem in problems:
        trace = TASK.decompose(problem.blind())
        assert trace is not None
        assert not trace.oracle
        assert TASK.judge_trace(problem, trace.steps).ok
        assert TASK.judge_answer(problem, f"Answer: {trace.answer}").answer.ok
        assert TASK.parse_trace(trace.text).steps == trace.steps
        assert trace == TASK.decompose(problem)


def test_gold_that_lies_does_not_sway_the_rules(problems: Sequence[Problem]) -> None:
    for problem, other in itertools.pairwise(problems):
        lying = Problem(
            problem.problem_id, "babi", "test", problem.question, other.answers, problem.context,
            category=other.category, gold_steps=other.gold_steps,
        )  # fmt: skip
        assert TASK.decompose(lying) == TASK.decompose(problem)


def test_a_question_that_rules_do_not_know_shows_gold_and_says_so(problems: Sequence[Problem]) -> None:
    known = problems[0]
    strange = Problem("x", "babi", "test", "Why?", known.answers, known.context, gold_steps=known.gold_steps)
    assert TASK.decompose(strange.blind()) is None
    trace = TASK.decompose(strange)
    assert trace is not None
    assert trace.oracle


@pytest.mark.parametrize(
    "question", ["", "Where is?", "Where is Nobody?", "Is John?", "Who gave the sun to Mary?", "\0"]
)
def test_questions_that_the_story_does_not_answer(question: str) -> None:
    assert read_story(("John went to the kitchen.",), question) is None


@given(st.lists(st.text(max_size=30), max_size=4), st.text(max_size=30))
def test_no_story_breaks_the_rules(story: list[str], question: str) -> None:
    read_story(story, question)


# ---- judges

STORY = (
    "John went to the kitchen.",
    "Mary took the milk.",
    "Mary gave the milk to John.",
    "Daniel went to the garden.",
)


@pytest.mark.parametrize("case", CASES)
def test_answers_as_models_write_them(case: dict[str, Any]) -> None:
    problem = Problem("p", "babi", "test", case["question"], tuple(case["answers"]), STORY, category=case["category"])
    verdicts = TASK.judge_answer(problem, case["text"])
    assert (verdicts.answer.outcome, verdicts.candidate.outcome) == (case["answer"], case["candidate"])
    assert verdicts.derived.outcome == "missing"
    assert verdicts.answer.ok or verdicts.answer.reason


def test_every_gold_passes_its_own_judges(problems: Sequence[Problem]) -> None:
    assert {problem.problem_id: found for problem in problems if (found := TASK.audit(problem))} == {}
    for problem in problems:
        verdicts = TASK.judge_answer(problem, TASK.render_answer(problem))
        assert verdicts.answer.ok
        assert verdicts.candidate.ok


def test_no_other_gold_passes(problems: Sequence[Problem]) -> None:
    """Another problem's answer to the same kind of question is incorrect, never missing, unless it is the same."""
    by_kind: dict[str, list[Problem]] = {}
    for problem in problems:
        by_kind.setdefault(problem.category, []).append(problem)
    for alike in by_kind.values():
        for problem, other in itertools.pairwise(alike):
            verdict = TASK.judge_answer(problem, f"Answer: {TASK.render_answer(other)}").answer
            assert verdict.outcome == ("correct" if set(other.answers) == set(problem.answers) else "incorrect")


def test_the_answer_is_judged_without_the_trace(problems: Sequence[Problem]) -> None:
    for problem, other in itertools.pairwise(problems):
        text = f"{TASK.render_trace(other.gold_steps)}\nAnswer: {TASK.render_answer(problem)}"
        assert TASK.judge_answer(problem, text).answer.ok
        assert TASK.judge_trace(problem, problem.gold_steps).ok
    swapped = Problem("x", "babi", "test", "Where is John?", ("nowhere",), STORY, gold_steps=problems[0].gold_steps)
    assert TASK.judge_trace(swapped, problems[0].gold_steps).ok


def test_no_gold_is_ungradable() -> None:
    verdicts = TASK.judge_answer(Problem("p", "babi", "test", "Where is John?", (), STORY), "Answer: kitchen")
    assert verdicts.answer.outcome == verdicts.candidate.outcome == "ungradable"


def test_a_closed_set_holds_every_gold(problems: Sequence[Problem]) -> None:
    for problem in problems:
        assert set(problem.answers) <= set(TASK.closed_answers(problem))
        assert TASK.closed_answers(problem) == TASK.closed_answers(problem.blind())


@given(st.text(st.characters(exclude_categories=()), max_size=60), st.sampled_from(["default", "published"]))
def test_no_output_breaks_the_judges(text: str, policy: Any) -> None:
    for question in ("Where is John?", "What is John carrying?", "Is John in the garden?", "Why?"):
        problem = Problem("p", "babi", "test", question, ("kitchen",), STORY)
        assert TASK.judge_answer(problem, text, policy).answer.outcome in ("correct", "incorrect", "missing")
        TASK.judge_output_trace(problem, text)


@pytest.mark.slow
def test_runaway_outputs_take_no_time() -> None:
    pieces = (
        "No. ",
        "not ",
        "no\n",
        "milk\n",
        "1. ",
        "the answer is ",
        "Answer: ",
        "nothing but ",
        "<",
        " ",
        "\n",
        "x",
    )
    for question in ("Where is John?", "What is John carrying?", "Is John in the garden?", "How many objects?"):
        problem = Problem("p", "babi", "test", question, ("milk",), STORY)
        gold = TASK.closed_answers(problem)[:1]
        for piece in pieces:
            for text in (piece * 5_000, f"not {piece * 5_000} x", f"Answer:\n{piece * 5_000}"):
                started = time.process_time()
                TASK.judge_answer(replace(problem, answers=gold), text)
                assert time.process_time() - started < 2


def test_the_problem_shows_no_gold(problems: Sequence[Problem]) -> None:
    for problem in problems[:50]:
        assert TASK.render_problem(problem) == TASK.render_problem(problem.blind())
        assert problem.category not in TASK.render_problem(problem)


def test_answer_in_trace_is_copying(problems: Sequence[Problem]) -> None:
    where = [problem for problem in problems if problem.category == "single-supporting-fact"]
    assert all(TASK.answer_in_trace(problem, problem.gold_steps) for problem in where)
    asked = [problem for problem in problems if problem.category in ("counting", "yes-no-questions")]
    assert not any(TASK.answer_in_trace(problem, problem.gold_steps) for problem in asked)
