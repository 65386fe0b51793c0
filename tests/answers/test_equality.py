"""Equality, formulas and choices: one case per line of a table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tracedistill.answers import AnswerPolicy, equal, judge, read_answer
from tracedistill.answers.latex import spelled

CASES = Path(__file__).parents[1] / "cases"
OUTCOMES = {"c": "correct", "i": "incorrect", "u": "ungradable", "m": "missing"}


def rows(name: str) -> list[list[str]]:
    lines = (CASES / name).read_text(encoding="utf-8").splitlines()
    return [line.split("\t") for line in lines if line and not line.startswith("# ")]


def policy(text: str) -> AnswerPolicy:
    kind, *fields = text.split(",")
    chosen: dict[str, Any] = dict(field.split("=") for field in fields)
    return replace(AnswerPolicy(kind=kind, seconds=10), **chosen)  # type: ignore[arg-type]


@pytest.mark.parametrize(("how", "gold", "prediction", "outcome"), rows("answers_equality.tsv"))
def test_equality(how: str, gold: str, prediction: str, outcome: str) -> None:
    verdict = equal(gold, prediction, policy(how))
    assert verdict.outcome == OUTCOMES[outcome], verdict.reason
    assert verdict.reason


@pytest.mark.parametrize(("text", "answer"), rows("answers_math.tsv"))
def test_formula_of_the_final_statement(text: str, answer: str) -> None:
    found = read_answer(text.replace("\\n", "\n"))
    assert found.text is not None, found.reason
    assert spelled(found.text) == spelled(answer), found


@pytest.mark.parametrize(("choices", "text", "letter", "candidate"), rows("answers_choice.tsv"))
def test_choices(choices: str, text: str, letter: str, candidate: str) -> None:
    closed = tuple(choices.split("|"))
    kind = AnswerPolicy(kind="choice")
    verdicts = judge("B", text.replace("\\n", "\n"), "", kind, closed)
    expected = {"-": "missing", "B": "correct"}
    gold = "2" if closed[0].startswith("1") else "B"
    if gold == "2":
        verdicts = judge("2", text, "", kind, closed)
        expected = {"-": "missing", "2": "correct"}
    assert verdicts.answer.outcome == expected.get(letter, "incorrect"), verdicts.answer
    assert verdicts.candidate.outcome == expected.get(candidate, "incorrect"), verdicts.candidate


def test_a_choice_may_be_given_as_its_text() -> None:
    closed = ("A. cat", "B. dog")
    assert judge("dog", "The answer is B.", "", AnswerPolicy(kind="choice"), closed).answer.ok
    assert judge("horse", "The answer is B.", "", AnswerPolicy(kind="choice"), closed).answer.outcome == "ungradable"


def test_open_sets_have_no_candidate() -> None:
    verdicts = judge("18", "The answer is 18.", "", AnswerPolicy(kind="number"))
    assert verdicts.answer.ok
    assert verdicts.candidate.outcome == "missing"


def test_closed_set_of_words() -> None:
    verdicts = judge("kitchen", "Mary is in the kitchen.", "", AnswerPolicy(kind="text"), ("kitchen", "garden"))
    assert verdicts.candidate.ok


def test_unit_of_the_question_decides() -> None:
    number = AnswerPolicy(kind="number")
    question = "How many minutes does the trip take?"
    assert judge("95", "It takes 1 hour and 35 minutes.", question, number).answer.ok
    assert judge("95", "It takes 95 minutes, that is 1 h 35.", question, number).answer.ok
    assert not judge("95", "It takes 95 hours.", question, number).answer.ok


def test_words_of_a_text_answer() -> None:
    words = AnswerPolicy(kind="text")
    assert judge("bathroom", "Mary went there.\nAnswer: the bathroom.", "", words).answer.ok
    assert judge("bathroom", "<think>x</think> <answer>Bathroom</answer>", "", words).answer.ok
    assert judge("bathroom", "<think>x</think> <answer></answer>", "", words).answer.outcome == "missing"
