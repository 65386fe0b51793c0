from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracedistill.records import Problem, Step
from tracedistill.tasks import msmarco
from tracedistill.tasks._retrieval import Grammar, judge_class_retrieval, normalise_class, normalise_fact
from tracedistill.tasks.babi import grammar as babi_grammar
from tracedistill.tasks.cotempqa import task as cotempqa

TAGS = re.compile(r"(?i)</?think>|<answer>")
SENTENCES = re.compile(r"[.!?]\s+[A-Z]")
AWKWARD = st.one_of(st.sampled_from("ab'\"[]|\\,. \n:-“”‘’"), st.characters(exclude_categories=("Cs",)))
FACTS = st.lists(st.text(AWKWARD, max_size=30).filter(lambda fact: not TAGS.search(fact)), max_size=4).map(tuple)
PLAIN_FACTS = FACTS.map(
    lambda facts: tuple(fact.strip() for fact in facts if fact.strip() and not SENTENCES.search(fact.strip()))
)


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
@given(steps_of(babi_grammar.COMPACT, PLAIN_FACTS))
def test_bars_are_read_back(steps: tuple[Step, ...]) -> None:
    assert babi_grammar.parse(babi_grammar.render(steps)).steps == steps


@settings(max_examples=150, deadline=None)
@given(steps_of(babi_grammar.PUBLISHED, PLAIN_FACTS))
def test_the_published_form_of_babi_is_read_back(steps: tuple[Step, ...]) -> None:
    assert babi_grammar.parse(babi_grammar.render(steps, published=True)).steps == steps


@settings(max_examples=200, deadline=None)
@given(st.text(st.one_of(st.sampled_from("'\"[]|\\,. \n:<>/think"), st.characters()), max_size=200))
def test_any_text_is_parsed_or_refused_with_a_reason(text: str) -> None:
    for parse in (cotempqa.GRAMMAR.parse, babi_grammar.parse):
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
    babi_grammar.parse(text)
    assert time.process_time() - started < 2


PROBLEM = Problem(
    "p",
    "babi",
    "test",
    "Where is Mary?",
    ("office",),
    gold_steps=(
        babi_grammar.class_step("two-supporting-facts"),
        babi_grammar.retrieval_step(("Mary took the milk.", "Mary went to the office.")),
    ),
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
    verdict = judge_class_retrieval(PROBLEM, babi_grammar.parse(text).steps)
    assert verdict.outcome == outcome
    assert tuple(verdict.figures[name] for name in ("class", "facts_exact", "precision", "recall")) == figures
    assert bool(verdict.reason) == (outcome != "correct")
    assert len(verdict.steps) == len(babi_grammar.parse(text).steps)


def test_text_with_a_cue_or_a_tag_holds_a_trace() -> None:
    for grammar in (cotempqa.GRAMMAR, babi_grammar.COMPACT, babi_grammar.PUBLISHED, msmarco.GRAMMAR):
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
