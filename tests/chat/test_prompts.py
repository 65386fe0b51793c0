from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracedistill.chat.prompts import (
    PROMPTS,
    STUDENT_FIELDS,
    TEACHER_FIELDS,
    TEACHER_PROMPTS,
    field_fault,
    fill,
    needs_plan,
)

FIELDS = ("problem", "steps", "hint")


LEFT_OUT = {
    "standard-without-hint": "hint",
    "chain-of-thought-without-hint": "hint",
    "trace-of-thought-without-hint": "hint",
    "trace-of-thought-without-problem": "problem",
}
"""Ablations: what they leave out on purpose."""


@pytest.mark.parametrize("name", sorted(PROMPTS))
def test_every_prompt_shows_the_problem_once_and_ends_with_the_hint(name: str) -> None:
    text = PROMPTS[name]
    assert text.count("{problem}") == (LEFT_OUT.get(name) != "problem")
    assert text.endswith("{hint}") == (LEFT_OUT.get(name) != "hint")
    for field in FIELDS:
        text = text.replace(f"{{{field}}}", "")
    assert "{" not in text, "no field that nobody fills"


@pytest.mark.parametrize("name", sorted(PROMPTS))
def test_fields_are_filled(name: str) -> None:
    turn = fill(PROMPTS[name], problem="PROBLEM", hint="HINT", steps="STEPS")
    assert turn.count("PROBLEM") == (LEFT_OUT.get(name) != "problem")
    assert turn.count("HINT") == (LEFT_OUT.get(name) != "hint")
    assert turn.count("STEPS") == (1 if needs_plan(PROMPTS[name]) else 0)
    assert "{" not in turn


def test_only_trace_of_thought_shows_steps() -> None:
    showing = {name for name, text in PROMPTS.items() if needs_plan(text)}
    assert showing == {name for name in PROMPTS if name.startswith("trace-of-thought")}
    assert {"trace-of-thought", "trace-of-thought-published"} <= showing


def test_the_published_wording() -> None:
    assert fill(PROMPTS["trace-of-thought"], problem="P", hint="H", steps="S") == (
        "We are given the following problem: P\nUse the following steps to solve the problem:\nS\nH"
    )


BRACED = [*(f"{{{field}}}" for field in FIELDS), "{", "}", "{0}", "%s", "x", "\\1", "\\g<0>"]
TEXT = st.text(max_size=20) | st.lists(st.sampled_from(BRACED), max_size=5).map("".join)


@given(st.sampled_from(sorted(PROMPTS)), TEXT, TEXT, TEXT)
def test_braces_in_texts_are_text(name: str, problem: str, steps: str, hint: str) -> None:
    filled = PROMPTS[name]
    turn = fill(filled, problem=problem, steps=steps, hint=hint)
    values = dict(zip(FIELDS, (problem, steps, hint), strict=True))
    grown = sum(len(value) - len(field) - 2 for field, value in values.items() if f"{{{field}}}" in filled)
    assert len(turn) == len(filled) + grown, "each field was filled once and what filled it was not read again"
    assert problem in turn or LEFT_OUT.get(name) == "problem"
    assert turn.endswith(hint) or LEFT_OUT.get(name) == "hint"


def test_fields_that_nobody_fills_stay() -> None:
    assert fill("{problem} {other} {}", problem="P") == "P {other} {}"


OWN_PROMPTS = [
    # text of a student's prompt of the user's own, the fault named (empty: none)
    ("{problem} {hint}", ""),
    ("{problm}\n{hint}", "did you mean {problem}?"),
    ("{Problem}", "did you mean {problem}?"),
    ("{question}\n{hint}", "did you mean {problem}?"),
    ("{problem} {hnt}", "did you mean {hint}?"),
    ("{problem} {plan}", "did you mean {steps}?"),
    ("{problem} {answer}", "is not filled in here"),
    ("{problem} {trace}", "is not filled in here"),
    ("Solve it. {hint}", "every problem would get the same prompt"),
    ("{steps}\n{hint}", ""),
    (r"{problem} Write \\frac{a}{b}, or {json: 1}.", ""),
]


@pytest.mark.parametrize(("text", "fault"), OWN_PROMPTS)
def test_fields_of_own_prompts(text: str, fault: str) -> None:
    found = field_fault(text, STUDENT_FIELDS)
    assert fault in found
    assert bool(found) == bool(fault)


def test_fields_of_own_teacher_prompts() -> None:
    assert field_fault("{problem} {answer}", TEACHER_FIELDS) == ""
    assert "is not filled in here" in field_fault("{problem} {steps}", TEACHER_FIELDS)
    assert all(field_fault(text, TEACHER_FIELDS) == "" for text in TEACHER_PROMPTS.values())
    assert all(field_fault(text, STUDENT_FIELDS) == "" for text in PROMPTS.values())
