from __future__ import annotations

import re
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracedistill.records import Problem, Step
from tracedistill.tasks import msmarco
from tracedistill.tasks._retrieval import Grammar, normalise_class, normalise_fact
from tracedistill.tasks._retrieval_task import judge_class_retrieval
from tracedistill.tasks.babi.grammar import COMPACT
from tracedistill.tasks.cotempqa import task as cotempqa

TAGS = re.compile(r"(?i)</?think>|<answer>")
SENTENCES = re.compile(r"[.!?]\s+[A-Z]")
AWKWARD = st.one_of(st.sampled_from("ab'\"[]|\\,. \n:-“”‘’"), st.characters(exclude_categories=("Cs",)))
FACTS = st.lists(st.text(AWKWARD, max_size=30).filter(lambda fact: not TAGS.search(fact)), max_size=4).map(tuple)
PLAIN_FACTS = FACTS.map(
    lambda facts: tuple(fact.strip() for fact in facts if fact.strip() and not SENTENCES.search(fact.strip()))
)

PUBLISHED = replace(
    COMPACT,
    class_line=(
        "The category of the question represents what is being asked in that question. "
        "The category of the question asked is: {}."
    ),
    facts_line="I need to use the following text to answer the question: {}",
    bars=False,
)
"""bAbI as the published study writes it."""


def steps_of(grammar: Grammar, facts: st.SearchStrategy[tuple[str, ...]]) -> st.SearchStrategy[tuple[Step, ...]]:
    step = st.one_of(st.sampled_from(grammar.classes).map(grammar.class_step), facts.map(grammar.retrieval_step))
    return st.lists(step, max_size=4).map(tuple)


@settings(max_examples=150, deadline=None)
@given(steps_of(cotempqa.GRAMMAR, FACTS))
def test_a_rendered_list_is_read_back(steps: tuple[Step, ...]) -> None:
    assert cotempqa.GRAMMAR.parse(cotempqa.GRAMMAR.render(steps)).steps == steps


@settings(max_examples=100, deadline=None)
@given(steps_of(msmarco.GRAMMAR, FACTS))
def test_a_rendered_passage_is_read_back(steps: tuple[Step, ...]) -> None:
    assert msmarco.GRAMMAR.parse(msmarco.GRAMMAR.render(steps)).steps == steps


@settings(max_examples=150, deadline=None)
@given(steps_of(COMPACT, PLAIN_FACTS))
def test_bars_are_read_back(steps: tuple[Step, ...]) -> None:
    assert COMPACT.parse(COMPACT.render(steps)).steps == steps


@settings(max_examples=150, deadline=None)
@given(steps_of(PUBLISHED, PLAIN_FACTS))
def test_the_published_form_of_babi_is_read_back(steps: tuple[Step, ...]) -> None:
    assert COMPACT.parse(PUBLISHED.render(steps)).steps == steps


@settings(max_examples=200, deadline=None)
@given(st.text(st.one_of(st.sampled_from("'\"[]|\\,. \n:<>/think"), st.characters()), max_size=200))
def test_any_text_is_parsed_or_refused_with_a_reason(text: str) -> None:
    for parse in (cotempqa.GRAMMAR.parse, COMPACT.parse):
        parsed = parse("I need to use the following facts to answer the question: " + text)
        assert parsed.steps or parsed.reason
        parse(text)


@pytest.mark.parametrize(
    "unit",
    [
        "temporal relation is: \n",
        "use the following ",
        "['a', ",
        "'",
        "\\",
        "|",
        "[",
        "<think>",
        "- x\n",
        "Supporting facts: [\n",
    ],
)
def test_runaway_outputs_take_linear_time(unit: str) -> None:
    text = "I need to use the following facts to answer the question: " + unit * (200_000 // len(unit)) + " " * 100_000
    started = time.process_time()
    cotempqa.GRAMMAR.parse(text)
    COMPACT.parse(text)
    assert time.process_time() - started < 2


PROBLEM = Problem(
    "p",
    "babi",
    "test",
    "Where is Mary?",
    ("office",),
    gold_steps=COMPACT.steps("two-supporting-facts", ("Mary took the milk.", "Mary went to the office.")),
)


TYPE = "Question type: two-supporting-facts."
BOTH = "Mary took the milk. | Mary went to the office."


@pytest.mark.parametrize(
    ("text", "outcome", "figures"),
    [
        (f"{TYPE}\nSupporting facts: mary  took the milk | Mary went to the Office.", "correct", (1, 1, 1, 1)),
        (f"Question type: counting.\nSupporting facts: {BOTH}", "incorrect", (0, 1, 1, 1)),
        (f"{TYPE}\nSupporting facts: Mary took the milk.", "incorrect", (1, 0, 1, 0.5)),
        (f"{TYPE}\nSupporting facts: {BOTH} | Bill sat. | Bill ran.", "incorrect", (1, 0, 0.5, 1)),
        (TYPE, "incorrect", (1, 0, 0, 0)),
        (f"Supporting facts: {BOTH}", "incorrect", (0, 1, 1, 1)),
        (f"{TYPE}\nQuestion type: counting.", "incorrect", (0, 0, 0, 0)),
        (
            f"{TYPE}\nSupporting facts: Mary took the milk.\nSupporting facts: Mary went to the office.",
            "correct",
            (1, 1, 1, 1),
        ),
    ],
)
def test_class_and_facts_are_judged_apart(text: str, outcome: str, figures: tuple[float, ...]) -> None:
    verdict = judge_class_retrieval(PROBLEM, COMPACT.parse(text).steps)
    assert verdict.outcome == outcome
    assert tuple(verdict.figures[name] for name in ("class", "facts_exact", "precision", "recall")) == figures
    assert bool(verdict.reason) == (outcome != "correct")
    assert len(verdict.steps) == len(COMPACT.parse(text).steps)


def test_text_with_a_cue_or_a_tag_holds_a_trace() -> None:
    for grammar in (cotempqa.GRAMMAR, COMPACT, PUBLISHED, msmarco.GRAMMAR):
        for step in (grammar.class_step(grammar.classes[0]), grammar.retrieval_step(("A sat.",))):
            assert grammar.holds_trace(grammar.render((step,)))
        assert grammar.holds_trace("<THINK>x")
        assert grammar.holds_trace("x</think>")
        assert not grammar.holds_trace("assistant\n\n<answer>['Maersk']</answer>")


def test_a_problem_without_gold_steps_is_ungradable() -> None:
    assert judge_class_retrieval(PROBLEM.blind(), PROBLEM.gold_steps).outcome == "ungradable"


def test_facts_and_classes_are_compared_without_case_space_and_period() -> None:
    assert normalise_fact(" Mary  went to\xa0the Office. ") == normalise_fact("mary went to the office")
    assert normalise_class(" Two arg_relations. ") == "two-arg-relations"
