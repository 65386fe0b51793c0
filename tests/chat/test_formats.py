from __future__ import annotations

import json
import time
from typing import Any, get_args

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tests.conftest import ROOT
from tracedistill.chat.formats import Format, parse_completion, write_completion

LINES = (ROOT / "tests" / "cases" / "formats.jsonl").read_text(encoding="utf-8").splitlines()
CASES = [pytest.param(row, id=row["why"]) for row in map(json.loads, LINES)]
MARKERS = ("<think>", "</think>", "<answer>", "</answer>")
# pieces that look like markers but for one character, so that the draw comes near them
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.lists(
    st.sampled_from(
        ["answer", "Answer:", "final", ":", " ", "\n", "<think", "think>", "</", "<answer", ">", "x", "\r", "**", "#"]
    ),
    max_size=8,
).map("".join)


def free_of_markers(text: str) -> bool:
    """Whether a text holds no marker of either style, and none arises where it is joined."""
    low = text.lower()
    # lower() of some letters is longer or shorter than they are; such texts are no marker either
    return not any(marker in low for marker in MARKERS) and parse_completion(f"{text}\nx").reason == "no answer marker"


@pytest.mark.parametrize("case", CASES)
def test_styles_of_models(case: dict[str, Any]) -> None:
    parts = parse_completion(case["text"])
    assert (parts.trace, parts.answer) == (case["trace"], case["answer"])


def test_every_gap_has_a_reason() -> None:
    for row in map(json.loads, LINES):
        parts = parse_completion(row["text"])
        if parts.answer is None:
            assert parts.reason
    assert (
        parse_completion(write_completion("t", "a")).reason
        == parse_completion(write_completion("t", "a", "tags")).reason
        == ""
    )


@given(st.none() | TEXT, TEXT, st.sampled_from(get_args(Format)))
@example(None, "x", "plain")
@example("t", "a\nb", "tags")
@example("t", "a\nb", "plain")
@example("so final", "x", "plain")
@example("FINAL", "x", "plain")
def test_split_undoes_join(trace: str | None, answer: str, format: Format) -> None:
    trace = None if trace is None else trace.strip()
    answer = answer.strip()
    assume(answer and trace != "")
    # a blank line ends an answer that has no closing tag
    assume(format == "tags" or all(line.strip() for line in answer.split("\n")))
    assume(free_of_markers(answer) and (trace is None or free_of_markers(trace)))
    parts = parse_completion(write_completion(trace, answer, format))
    assert (parts.trace, parts.answer, parts.reason) == (trace, answer, "")


def test_an_answer_of_several_lines_in_plain_style() -> None:
    assert write_completion("t", "1 2\n3 4", "plain") == "t\nAnswer:\n1 2\n3 4"
    assert parse_completion(write_completion("t", "1 2\n3 4", "plain")).answer == "1 2\n3 4"


def test_a_think_tag_marks_the_trace_whichever_of_the_two_is_there() -> None:
    for text in ("<think>t</think> x", "t</think> x", "<think>t", "t</think><answer>x</answer>"):
        assert parse_completion(text).tagged
    assert not parse_completion("t\nAnswer: x").tagged


@given(TEXT | st.text(max_size=200))
def test_any_text_is_taken_apart(text: str) -> None:
    parts = parse_completion(text)
    for part in (parts.trace, parts.answer):
        assert part is None or part in text
    assert parts.trace != ""


def test_runaway_outputs_take_no_time() -> None:
    started = time.process_time()
    pieces = ("Answer:\n", "<think>", "<answer>", "</think>", "<", "final " * 9, " \t", "\n", "<think>x<answer>")
    dressed = ("**", "#", "# ", "- ", "**Answer**\n", "**Answer: x\n", "Question", "\n ", "answer ", "**answer", "\n#")
    for piece in pieces + dressed:
        parse_completion(piece * 20_000)
    for head in ("answer", "Answer:\nx", "final", "the ", "# ", "**answer", "x\n- "):
        parse_completion(head + " " * 100_000)
        parse_completion(f"x</think>{head}{' ' * 100_000}")
    assert time.process_time() - started < 5
