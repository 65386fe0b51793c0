"""What a student learns is what the teacher wrote, character for character; steps are a reading of it."""

from __future__ import annotations

import gzip
import inspect
import json
import pydoc
import re
import shutil
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.families import tokenizer
from tests.tasks.shared_data import DATA, needs_data
from tracedistill.chat.formats import Format, parse_completion, trimmed, write_completion
from tracedistill.chat.rendering import completion_text, render_example
from tracedistill.interventions import INTERVENTIONS, broken, intervene, measure
from tracedistill.recipes import TeacherConfig
from tracedistill.records import Example, Message, Problem, Trace
from tracedistill.review.drafts import edited_trace, lines_of
from tracedistill.review.trace_review import TraceReview
from tracedistill.tasks import get_task
from tracedistill.tasks._base import Source
from tracedistill.tasks._spans import extents, lay_out, one_line
from tracedistill.teachers.parser import parse_teacher_text, trace_from
from tracedistill.teachers.recorded import read_recorded
from tracedistill.teachers.rules import teach_by_rules

PROMPT = (Message("user", "How many?"),)

FENCED = """Let me write it down.

```python
def total(boxes):
    count = 0
    for box in boxes:
        count += box * 4

    return count
```

So 3 * 4 = 12 pens."""
BULLETS = (
    "Given:\n\n- 3 boxes\n  - of 4 pens each\n\n* 3 * 4 = 12 pens\n\n| box | pens |\n|-----|------|\n| 1   | 4    |"
)
THOUGHTS = (
    "Okay, so I need the number of pens.\n\n1. N = b * p\n\n2. b = 3\n\nWait, no.  Let me   re-check:\n\n\t3 * 4 = 12"
)
TEXTS = {
    "code in fences": FENCED,
    "bullets and a table": BULLETS,
    "thoughts with lists inside": THOUGHTS,
    "indented first line": "    x = 3\n    y = 4\nx * y = 12",
    "a list in another style": "Step 1:  3 boxes.\n\nStep 2:  3 * 4 = 12 pens.",
    "one line": "3 * 4 = 12. The answer is 12",
    "CRLF": "3 * 4 = 12\r\n\r\n12 + 1 = 13",
    "not to be read": "The answer is 12",
}
TASKS_WITH_TEXT = ("gsm8k", "math", "svamp", "arc_agi", "file", "babi", "cotempqa", "msmarco", "arc_challenge")


def problem(task: str = "gsm8k") -> Problem:
    return Problem("p", task, "train", "Ana has 3 boxes of 4 pens. How many pens has she?", answers=("12",))


def recorded(task: str, text: str, reads: str = "solution", *, numbered: bool = False) -> Trace:
    read = parse_teacher_text(get_task(task), text, reads)
    return trace_from(get_task(task), "p", "t", read, numbered=numbered, sample=0, oracle=False, meta={})


def decoded(text: str, format: Format = "plain", family: str = "chatml") -> str:
    """What stands in the row of this trace, out of its supervised tokens."""
    row = render_example(tokenizer(family), Example("p", "a", PROMPT, write_completion(text, "12", format)), format)
    ids = [token for token, learnt in zip(row.input_ids, row.completion_mask, strict=True) if learnt]
    return str(tokenizer(family).decode(ids[:-1]))


# ---- the text of a trace


@pytest.mark.parametrize("task", TASKS_WITH_TEXT)
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_the_trace_is_the_teachers_text(task: str, text: str) -> None:
    trace = recorded(task, text)
    assert trace.text == text
    assert parse_completion(decoded(trace.text)).trace == text


@pytest.mark.parametrize("task", ["gsm8k", "math", "svamp", "file", "babi"])
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_plan_is_the_teachers_text(task: str, text: str) -> None:
    assert recorded(task, text, "plan").text == text


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_an_answer_behind_a_marker_is_kept_apart(text: str) -> None:
    trace = recorded("gsm8k", f"\n\n{text}\n\nAnswer: 12\n")
    assert (trace.text, trace.answer) == (text, "12")


def test_structured_steps_keep_their_lines() -> None:
    steps = [{"kind": "text", "text": "Write\n    x = 3\n    y = 4"}, {"kind": "calculation", "text": "3 * 4 =  12"}]
    trace = recorded("gsm8k", json.dumps({"steps": steps, "answer": 12}), "structured")
    assert trace.text == "1. Write\n    x = 3\n    y = 4\n2. 3 * 4 =  12"
    assert [step.text for step in trace.steps] == ["Write x = 3 y = 4", "3 * 4 = 12"]
    assert trace.text[slice(*trace.steps[1].spans[0])] == "3 * 4 =  12"


def test_numbered_is_an_option_that_says_what_it_loses() -> None:
    trace = recorded("gsm8k", BULLETS, numbered=True)
    assert trace.text.startswith("1. Given: 3 boxes\n2. of 4 pens each\n3. 3 * 4 = 12 pens\n")
    assert [trace.text[slice(*step.spans[0])] for step in trace.steps] == [step.text for step in trace.steps]


def test_recorded_traces_are_read_verbatim_or_numbered(tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    path.write_text(json.dumps({"problem_id": "p", "text": FENCED + "\nAnswer: 12"}) + "\n", encoding="utf-8")
    for traces, wanted in (("verbatim", FENCED), ("numbered", "1. Let me write it down.\n2. ```python")):
        config = TeacherConfig(kind="recorded", path=str(path), traces=traces)  # type: ignore[arg-type]
        (trace,) = read_recorded(get_task("gsm8k"), config, path, {"p"}, "t", "solution")
        assert trace.text.startswith(wanted)
        assert trace.answer == "12"


def test_a_files_own_steps_are_learnt_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "own.jsonl"
    rows = [{"question": f"{n}?", "answer": "12", "steps": FENCED, "split": "train"} for n in range(3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    task = get_task("file")
    (trace, *_) = teach_by_rules(task, task.load("train", Source(path=str(path))), "rules")
    assert trace.text == FENCED


# ---- property: whatever the text

PIECES = st.sampled_from(
    ["```python\n", "```", "\n", "\n\n", "    ", "\t", "- ", "* ", "1. ", "2) ", "**Step 3:** ", "x = 3", "3 * 4 = 12",
     ".", " ", "The answer is 7", "| a | b |", "# head", "Wait, no", "\r\n", "é", "数", "{", "}", "\\boxed{3}", ":"]
)  # fmt: skip
ANY = st.one_of(st.lists(PIECES, max_size=40).map("".join), st.text(st.characters(exclude_categories=["Cs"])))


@settings(deadline=None, max_examples=300)
@given(ANY, st.sampled_from(["gsm8k", "math", "file", "arc_agi", "babi"]))
def test_every_step_stands_where_it_says(text: str, task: str) -> None:
    for step in get_task(task).read_trace(text):
        assert not step.spans or one_line(" ".join(text[a:b] for a, b in step.spans)) == one_line(step.text)


@settings(deadline=None, max_examples=300)
@given(ANY)
def test_what_stands_in_the_row_is_the_teachers_text(text: str) -> None:
    trace = recorded("gsm8k", text)
    if parse_completion(text).answer is None:
        assert trace.text == trimmed(text)
    if trace.text:
        assert decoded(trace.text).startswith(f"{trace.text}\nAnswer:")


@settings(deadline=None, max_examples=200)
@given(ANY, st.lists(st.text(max_size=5), max_size=6))
def test_laying_out_changes_the_slots_alone(text: str, bodies: list[str]) -> None:
    slots = extents(recorded("gsm8k", text, "plan").steps)
    if not slots:
        return
    own = recorded("gsm8k", text, "plan").text
    same, _ = lay_out(own, slots, [own[a:b] for a, b in slots])
    assert same == own
    made, places = lay_out(own, slots, bodies)
    assert [made[a:b] for a, b in places] == bodies
    assert made.endswith(own[slots[-1][1] :])


# ---- interventions edit at the step

EDITS = {
    "wrong-number": BULLETS,
    "wrong-number-one-step": FENCED,
    "shuffled": THOUGHTS,
    "dropped-step": THOUGHTS,
}


@pytest.mark.parametrize("name", EDITS)
@pytest.mark.parametrize("text", [BULLETS, FENCED, THOUGHTS, TEXTS["a list in another style"]])
def test_an_intervention_leaves_the_rest(name: str, text: str) -> None:
    task, own = get_task("gsm8k"), problem()
    before = recorded("gsm8k", text)
    after = intervene(name, task, {"p": own}, [before], 3)
    assert not broken(INTERVENTIONS[name], measure(task, {"p": own}, [before], after))
    for trace in after:
        assert trace.text != before.text
        if name.startswith("wrong-number"):  # the same text but for numbers
            assert re.split(r"\d+", trace.text) == re.split(r"\d+", before.text)
        else:  # what stands before and between the steps is where it was
            slots = extents(before.steps) or []
            marks = [text[a:b] for a, b in zip([0, *(end for _, end in slots)], [a for a, _ in slots], strict=False)]
            at = 0
            for mark in marks[: len(trace.steps)]:
                at = trace.text.index(mark, at) + len(mark)


def test_a_changed_result_is_stated_at_the_end_too() -> None:
    text = "Look.\n\n- 3 * 4 = 12 pens\n- 12 - 5 = 7 left\n\nThe answer is 7"
    for seed in range(5):
        (after,) = intervene("wrong-number", get_task("gsm8k"), {"p": problem()}, [recorded("gsm8k", text)], seed)
        reached = after.steps[-1].value
        assert after.text.endswith(f"\n\nThe answer is {reached}")
        assert reached != "7"


def test_a_class_and_facts_are_exchanged_where_they_stand() -> None:
    context = ("Mary went to the kitchen.", "John went to the garden.", "Mary got the milk.")
    own = Problem("p", "babi", "train", "Where is Mary?", ("kitchen",), context, category="single-supporting-fact")
    text = "Hm.\n\nQuestion type: single-supporting-fact.\n\nSupporting facts: Mary went to the kitchen.\n\nThat is it."
    task = get_task("babi")
    before = recorded("babi", text)
    (after,) = intervene("wrong-facts", task, {"p": own}, [before], 0)
    fact = after.steps[-1].facts[0]
    assert fact in context[1:]
    assert after.text == text.replace("Mary went to the kitchen.", fact)


# ---- a person's edits


def test_a_reviewers_edit_changes_its_step_alone() -> None:
    before = recorded("gsm8k", BULLETS)
    lines = list(lines_of(before))
    place = next(place for place, line in enumerate(lines) if "12" in line)
    lines[place] = lines[place].replace("12", "twelve")
    after = edited_trace(get_task("gsm8k"), before, replace(TraceReview(), lines=tuple(lines)), "ann")
    assert after.text == BULLETS.replace("= 12 pens", "= twelve pens")


def test_a_line_taken_out_or_added_keeps_the_others_as_they_are() -> None:
    text = "Plan:\n\n1.  Count the  boxes.\n\n2.  Count the pens.\n\n3.  Multiply."
    before = recorded("gsm8k", text, "plan")
    lines = lines_of(before)
    assert lines == ("Count the boxes.", "Count the pens.", "Multiply.")

    def edited(*new: str) -> str:
        return edited_trace(get_task("gsm8k"), before, replace(TraceReview(), lines=new), "ann").text

    assert edited(lines[0], lines[2]) == "Plan:\n\n1.  Count the  boxes.\n\n2.  Multiply."
    assert edited(*lines, "Check it.") == f"{text}\n\n4.  Check it."
    assert edited(lines[0], "Count all pens.", lines[2]) == text.replace("Count the pens", "Count all pens")


# ---- two thousand real traces of four kinds


def _rows(name: str) -> Iterator[dict[str, Any]]:
    with gzip.open(DATA / f"{name}.jsonl.gz", "rt", encoding="utf-8") as stream:
        for line in stream:
            yield json.loads(line)


def _code() -> Iterator[str]:
    """Code with indentation: functions of Python's own library, in a fence behind a sentence."""
    for module in (textwrap, pydoc, shutil, inspect, json, gzip):
        for name, function in sorted(vars(module).items()):
            if inspect.isfunction(function) and function.__module__ == module.__name__:
                yield f"We use `{name}`:\n\n```python\n{inspect.getsource(function).rstrip()}\n```\n\nThat is all."


def real_traces() -> dict[str, list[str]]:
    return {
        "GSM8K solutions": [row["answer"].rpartition("\n####")[0] for row in _rows("gsm8k/train")][:700],
        "Llama and Gemini, short and long": [
            text for row in list(_rows("teacher_traces/gsm8k_llama_gemini"))[:280] for text, _ in row["traces"].values()
        ],
        "DeepSeek-R1": [row["thinking"] for row in _rows("teacher_traces/r1_math_sample")],
        "code": list(_code()),
    }


@pytest.mark.slow
@needs_data("gsm8k", "teacher_traces")
@pytest.mark.parametrize(("format", "family", "every"), [("plain", "chatml", 1), ("reasoning", "qwen3", 5)])
def test_two_thousand_real_traces_come_through_unchanged(format: Format, family: str, every: int) -> None:
    kinds = real_traces()
    assert sum(map(len, kinds.values())) >= 2000
    assert {kind: len(texts) for kind, texts in kinds.items() if len(texts) < 10} == {}
    for kind, texts in kinds.items():
        for text in texts[::every]:
            trace = recorded("file" if kind == "code" else "gsm8k", text)
            assert trace.text == trimmed(text), kind
            said = decoded(trace.text, format, family)
            assert said == completion_text(
                tokenizer(family), PROMPT, write_completion(trace.text, "12", format), format
            )
            assert trace.text in said
            parts = parse_completion(said)
            assert (parts.trace, parts.answer) == (trace.text, "12"), kind


# ---- a user's own file is passed on as it is

CELLS = {
    "code": "def f(x):\n    if x:\n\n        return 1\n    return 0",
    "indented code": "    return x\nelse:\n    return y",
    "a Markdown table": "| box | pens |\n|-----|------|\n| 1   | 4    |",
    "one row of a table": "| box | pens |",
    "JSON": '{"name": "Ana",\n  "boxes": [1, 2],   "open": true}',
    "bullets": "- one\n\n  - two",
}


@pytest.mark.parametrize("field", ["question", "context", "answer"])
@pytest.mark.parametrize("text", CELLS.values(), ids=CELLS)
def test_a_cell_is_passed_on_as_it_is(tmp_path: Path, field: str, text: str) -> None:
    row = {"question": "What is it?", "answer": "an answer", "split": "train"} | {field: text}
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    task = get_task("file")
    (own,) = task.load("train", Source(path=str(path)))
    shown = task.render_answer(own) if field == "answer" else task.render_problem(own)
    assert text in shown
