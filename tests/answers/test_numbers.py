"""The number of the final statement, and apart from it the number that the body reaches: one case per line."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from tracedistill.answers import NUMBER, AnswerPolicy, read_answer, read_derived

CASES = Path(__file__).parents[1] / "cases"


def rows(name: str) -> list[list[str]]:
    lines = (CASES / name).read_text(encoding="utf-8").splitlines()
    return [line.replace("\\n", "\n").split("\t") for line in lines if line and not line.startswith("#")]


@pytest.mark.parametrize(("question", "text", "value"), rows("answers_number.tsv"))
def test_final_statement(question: str, text: str, value: str) -> None:
    found = read_answer(text, question, NUMBER)
    assert found.value == (None if value == "-" else Fraction(value)), found
    if found.span is not None:
        assert text[found.span[0] : found.span[1]] == found.text


@pytest.mark.parametrize(("question", "text", "stated", "derived"), rows("answers_derived.tsv"))
def test_statement_and_body_apart(question: str, text: str, stated: str, derived: str) -> None:
    assert read_answer(text, question, NUMBER).value == Fraction(stated)
    assert read_derived(text, question, NUMBER).value == Fraction(derived)


def test_there_are_sixty_contradictions() -> None:
    cases = rows("answers_derived.tsv")
    assert len([case for case in cases if Fraction(case[2]) != Fraction(case[3])]) >= 60


def test_units_can_be_left_alone() -> None:
    text = "The trip takes 1.5 hours."
    assert read_answer(text, "How many minutes does it take?", NUMBER).value == 90
    assert read_answer(text, "How many minutes does it take?", AnswerPolicy(kind="number", units="ignore")).value == 1.5


def test_decimal_comma_is_left_ungraded_unless_accepted() -> None:
    assert read_answer("The answer is 2,74.", "", NUMBER).unsure
    assert not read_answer("The answer is 2,740.", "", NUMBER).unsure
