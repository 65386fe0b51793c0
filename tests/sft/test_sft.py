from __future__ import annotations

import copy
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import TEMPLATE, build
from tracedistill.chat.formats import ANSWER_TASK, RATIONALE_TASK, Format, write_completion
from tracedistill.chat.prompts import PROMPTS
from tracedistill.chat.rendering import render_example
from tracedistill.errors import InputError
from tracedistill.recipes import Arm
from tracedistill.records import Example, Message, Problem, Trace
from tracedistill.sft.examples import examples_for, target_weights, two_targets
from tracedistill.sft.messages import PromptSpec
from tracedistill.sft.preflight import SHOWN, Limits, preflight
from tracedistill.tasks import Source, get_task
from tracedistill.teachers import teach_by_rules
from tracedistill.training.rows import is_rationale

TASK = get_task("babi")
PLAIN = PROMPTS["standard"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("tiny"), hidden=8, layers=1)


@pytest.fixture
def tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(folder))


@pytest.fixture(scope="module")
def problems() -> list[Problem]:
    return list(TASK.load("train", Source(seed=1, size=12)))


@pytest.fixture(scope="module")
def rows(problems: list[Problem]) -> list[Example]:
    traces = {trace.problem_id: trace for trace in teach_by_rules(TASK, problems, "rules")}
    return examples_for(PromptSpec(TASK, Arm(tune="correct"), PLAIN, None, "plain"), "correct-trace", problems, traces)


def example(completion: str = "Answer: x", question: str = "Where is Mary?", problem_id: str = "p") -> Example:
    return Example(problem_id, "a", (Message("user", question),), completion)


# ---- rows


def test_rows_are_problems_in_their_order(problems: list[Problem], rows: list[Example]) -> None:
    assert [row.problem_id for row in rows] == [problem.problem_id for problem in problems]
    for problem, row in zip(problems, rows, strict=True):
        assert row.completion.endswith(f"\nAnswer: {TASK.render_answer(problem)}")
        assert row.completion.startswith(f"Question type: {problem.category}.")
        assert row.trace_id is not None
        assert [message.role for message in row.prompt] == ["user"]


def test_arms_differ_in_the_completion_alone(problems: list[Problem], rows: list[Example]) -> None:
    answers = examples_for(PromptSpec(TASK, Arm(tune="none"), PLAIN, None, "plain"), "answer-only", problems, {})
    assert [row.prompt for row in answers] == [row.prompt for row in rows]
    assert all(row.completion == f"Answer: {TASK.render_answer(p)}" for row, p in zip(answers, problems, strict=True))
    assert {row.trace_id for row in answers} == {None}


def test_no_gold_stands_in_the_prompt(problems: list[Problem]) -> None:
    blind = [problem.blind() for problem in problems]
    shown = examples_for(PromptSpec(TASK, Arm(tune="none"), PLAIN, "Be brief.", "tags"), "a", problems, {})
    hidden = examples_for(PromptSpec(TASK, Arm(tune="none"), PLAIN, "Be brief.", "tags"), "a", blind, {})
    assert [row.prompt for row in shown] == [row.prompt for row in hidden]
    assert shown[0].prompt[0] == Message("system", "Be brief.")
    assert shown[0].completion == f"<answer>{TASK.render_answer(problems[0])}</answer>"


# ---- two targets


def test_two_targets_are_two_tasks_of_one_prompt(problems: list[Problem]) -> None:
    traces = {trace.problem_id: trace for trace in teach_by_rules(TASK, problems[1:], "rules")}
    answers = examples_for(PromptSpec(TASK, Arm(tune="none"), PLAIN, "Be brief.", "plain"), "a", problems, {})
    made = two_targets(answers, traces)
    assert len(made) == 2 * len(problems) - 1, "the first has no trace"
    first, second, third = made[:3]
    assert first.completion == answers[0].completion
    assert (second.completion, third.completion) == (answers[1].completion, traces[problems[1].problem_id].text)
    assert (second.trace_id, third.trace_id) == (None, traces[problems[1].problem_id].trace_id)
    for row, task in ((second, ANSWER_TASK), (third, RATIONALE_TASK)):
        assert row.prompt[0] == Message("system", "Be brief.")
        assert row.prompt[1].content == task + answers[1].prompt[1].content


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0, 3.0])
def test_weights_make_two_means_of_one_sum(weight: float) -> None:
    asked = Message("user", "q")
    rows = two_targets(
        [Example(f"p{n}", "a", (asked,), "x") for n in range(2)],
        {"p0": Trace("t", "p0", "rules", (), "trace"), "p1": Trace("u", "p1", "rules", (), "trace")},
    )
    tokens, losses = [2, 10, 3, 20], [1.0, 2.0, 4.0, 0.5]
    of_answers, of_rationales = target_weights(2 + 3, 10 + 20, weight)
    found = [of_rationales if is_rationale(row) else of_answers for row in rows]
    total = sum(w * n * loss for w, n, loss in zip(found, tokens, losses, strict=True)) / sum(tokens)
    answers, rationales = (2 * 1.0 + 3 * 4.0) / 5, (10 * 2.0 + 20 * 0.5) / 30
    assert total == pytest.approx((answers + weight * rationales) / (1 + weight))


# ---- preflight


def test_preflight_counts(tokenizer: Any, rows: list[Example]) -> None:
    found = preflight(tokenizer, rows, 512, "error", "a")
    assert found.rows == len(rows)
    assert found.longest <= 512
    assert 0 < found.supervised < found.tokens
    assert found.dropped == ()
    assert len(found.shown) == SHOWN
    assert [supervised for _, supervised in found.shown] == [f"{row.completion}<|im_end|>" for row in rows[:SHOWN]]


def test_too_long_rows_are_listed_and_dropped(tokenizer: Any) -> None:
    whole = preflight(tokenizer, [example(), example(question="where " * 100, problem_id="long")], 512, "drop", "a")
    limit = whole.longest - 1
    found = preflight(tokenizer, [example(), example(question="where " * 100, problem_id="long")], limit, "drop", "a")
    assert (found.rows, found.dropped) == (1, (("long", whole.longest),))
    assert found.longest < limit


def test_a_row_of_exactly_the_limit_stays(tokenizer: Any) -> None:
    longest = preflight(tokenizer, [example()], 512, "error", "a").longest
    assert preflight(tokenizer, [example()], longest, "error", "a").rows == 1


def test_too_long_rows_stop_the_run_where_the_recipe_says_so(tokenizer: Any) -> None:
    with pytest.raises(
        InputError, match=r"arm a, p: \d+ tokens, over training.max_length=10; raise it or set too_long"
    ):
        preflight(tokenizer, [example()], 10, "error", "a")


def test_what_is_written_while_training_must_fit_the_window() -> None:
    limits = Limits(512, "error", "a", window=100, drawn=40)
    limits.check_room(60, "arm a, p")
    with pytest.raises(InputError, match=r"arm a, p: a prompt of 61 tokens with a completion of up to 40 .* is 100"):
        limits.check_room(61, "arm a, p")
    for other in (replace(limits, window=None), replace(limits, drawn=0)):
        other.check_room(1000, "arm a, p")


def test_nothing_left(tokenizer: Any) -> None:
    with pytest.raises(InputError, match=r"arm a: nothing to train on: all 2 rows are over training.max_length=5"):
        preflight(tokenizer, [example(), example()], 5, "drop", "a")
    with pytest.raises(InputError, match="arm a: nothing to train on: it has no rows"):
        preflight(tokenizer, [], 512, "drop", "a")


FAULTS = {
    "the end token in the trace": (
        write_completion("one <|im_end|> two", "x"),
        "x",
        "plain",
        "the end token before its end",
    ),
    "another special token": (
        write_completion("one <|im_start|> two", "x"),
        "x",
        "plain",
        r"contains '<\|im_start\|>'",
    ),
    "an answer with blank lines": (
        write_completion("one", "x = 1\n\ny = 2"),
        "x = 1\n\ny = 2",
        "plain",
        "its answer is",
    ),
    "a think tag in the trace": (write_completion("one </think> two", "x", "tags"), "x", "tags", "its trace is"),
    "an answer tag in the trace": (write_completion("one <answer>7</answer>", "x"), "x", "plain", "its trace is"),
}


@pytest.mark.parametrize(("completion", "answer", "format", "why"), FAULTS.values(), ids=FAULTS)
def test_a_row_that_would_be_read_as_another_is_refused_alone(
    tokenizer: Any, completion: str, answer: str, format: Format, why: str
) -> None:
    def row(number: int, text: str, said: str) -> Example:
        return replace(example(text, problem_id=f"p{number}"), answer=said)

    bad = row(0, completion, answer)
    good = [row(n, write_completion("a", "b", format), "b") for n in range(1, 40)]
    found = preflight(tokenizer, [bad, *good], 512, "drop", "a", format)
    assert (found.rows, [problem_id for problem_id, _ in found.refused]) == (39, ["p0"])
    assert re.search(why, found.refused[0][1])
    with pytest.raises(InputError, match=why):  # where it is every row, the format is at fault
        preflight(tokenizer, [bad], 512, "drop", "a", format)


def test_rows_longer_than_an_arm_may_write_are_counted(tokenizer: Any) -> None:
    rows = [replace(example(f"Answer: {'x ' * n}x", problem_id=f"p{n}"), answer=f"{'x ' * n}x") for n in range(10)]
    found = preflight(tokenizer, rows, 512, "drop", "a", limits={"a": 10, "roomy": 100})
    ((arm, limit, count),) = found.short
    lengths = [sum(render_example(tokenizer, row).completion_mask) for row in rows]
    assert (arm, limit, count, found.most) == ("a", 10, sum(length > 10 for length in lengths), max(lengths))


def test_prompts_that_leave_no_room_to_answer_are_counted(tokenizer: Any) -> None:
    rows = [replace(example(question="x " * 8 * n, problem_id=f"p{n}"), answer="x") for n in range(1, 11)]
    prompts = [render_example(tokenizer, row).completion_mask.index(1) for row in rows]
    found = preflight(tokenizer, rows, 512, "drop", "a", window=400, limits={"a": 300, "roomy": 10})
    assert found.crowded == (("a", 300, sum(length + 300 > 400 for length in prompts)),)
    assert 0 < found.crowded[0][2] < 10
    assert preflight(tokenizer, rows, 512, "drop", "a", limits={"a": 300}).crowded == (), "its window is not known"


def test_the_task_reads_the_answer_too(tokenizer: Any) -> None:
    row = replace(example("Answer: x"), answer="x")
    with pytest.raises(InputError, match="arm a, p: not the same"):
        preflight(tokenizer, [row], 512, "drop", "a", judge=lambda _row, _text: "not the same")


def test_the_end_token_in_the_middle(tokenizer: Any) -> None:
    with pytest.raises(InputError, match="arm a, p: the completion contains the end token before its end"):
        preflight(tokenizer, [example("Answer<|im_end|>: x")], 512, "drop", "a")


@pytest.mark.parametrize(
    ("change", "completion"),
    [
        (lambda text: text.replace("m['content']", "m['content'].split('</think>')[-1]"), "<think>t</think> x"),
        (lambda text: text.replace("<|im_start|>assistant", "<|im_start|>model"), "Answer: x"),
    ],
    ids=["drops the thinking", "another role at inference"],
)
def test_templates_that_write_something_else(tokenizer: Any, change: Callable[[str], str], completion: str) -> None:
    own = copy.deepcopy(tokenizer)
    own.chat_template = change(TEMPLATE)
    with pytest.raises(InputError, match="differs from what the model's own chat template writes"):
        preflight(own, [example(completion)], 512, "drop", "a")


def test_a_template_without_an_end_token_is_told(tokenizer: Any) -> None:
    own = copy.deepcopy(tokenizer)
    own.chat_template = TEMPLATE.replace("<|im_end|>", "\n\n")
    note, text = preflight(own, [example("Answer: x")], 512, "drop", "a").shown[0]
    assert (note, text) == ("note", "the chat template ends no turn with a token; rows end with '<|im_end|>'")


def test_a_pad_token_that_is_the_end_token_is_told(tokenizer: Any) -> None:
    tokenizer.pad_token = tokenizer.eos_token
    found = preflight(tokenizer, [example()], 512, "drop", "a")
    assert found.shown[0][0] == "note"
    assert found.supervised == sum(1 for _ in tokenizer("Answer: x")["input_ids"]) + 1


def test_a_note_takes_no_rows_place(tokenizer: Any, rows: list[Example]) -> None:
    tokenizer.pad_token = tokenizer.eos_token
    shown = preflight(tokenizer, rows, 512, "drop", "a").shown
    assert sum(kind != "note" for kind, _ in shown) == SHOWN
