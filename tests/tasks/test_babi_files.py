from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from tests.tasks.shared_data import SOURCE, cases, needs_data, outputs, write_rows
from tracedistill.errors import InputError
from tracedistill.records import Problem
from tracedistill.tasks._base import Source
from tracedistill.tasks._retrieval_task import judge_class_retrieval
from tracedistill.tasks.babi import grammar as babi_grammar
from tracedistill.tasks.babi.files import load, published_verdict
from tracedistill.tasks.babi.task import Babi

TASK = Babi()
ORIGINAL = {
    "id": "babi-qa8-test-0",
    "task_name": "lists-sets",
    "facts": [[1, "Mary took the milk."], [3, "Mary took the apple."]],
    "question": "What is Mary carrying?",
    "answer": "milk,apple",
    "support": [3, 1],
}
PUBLISHED = {
    "id": "paperbabi-test-0",
    "split": "test",
    "category": "basic-induction",
    "facts": ["Lily is a swan.", "Lily is green."],
    "question": "What color is Lily?",
    "answer": "green",
    "support_text": ["Lily is green."],
}


@pytest.mark.parametrize("case", cases("babi_traces"))
def test_traces_are_read_as_models_write_them(case: dict[str, Any]) -> None:
    parsed = babi_grammar.COMPACT.parse(case["text"])
    labels = [step.value for step in parsed.steps if step.kind == "class"]
    cited = [fact for step in parsed.steps for fact in step.facts]
    assert (labels, cited, parsed.reason) == ([case["class"]] if case["class"] else [], case["facts"], case["reason"])


def test_the_types_are_the_twenty_tasks_in_order() -> None:
    assert len(babi_grammar.BABI_TYPES) == len(set(babi_grammar.BABI_TYPES)) == 20
    assert set(babi_grammar.PUBLISHED_TYPES) < set(babi_grammar.BABI_TYPES)


def test_an_original_row(tmp_path: Any) -> None:
    (problem,) = load("test", write_rows(tmp_path, "babi/test.jsonl", [ORIGINAL]))
    assert problem.answers == ("milk", "apple")
    assert problem.context == ("Mary took the milk.", "Mary took the apple.")
    assert [step.facts for step in problem.gold_steps] == [(), ("Mary took the apple.", "Mary took the milk.")]
    assert problem.category == problem.gold_steps[0].value == "lists-sets"


def test_a_path_is_one_answer(tmp_path: Any) -> None:
    row = ORIGINAL | {"task_name": "path-finding", "answer": "w,n"}
    (problem,) = load("test", write_rows(tmp_path, "babi/test.jsonl", [row]))
    assert problem.answers == ("w,n",)


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("Answer: w,n", "correct"),
        ("Answer: w, n", "correct"),
        ("W , N.", "correct"),
        ("<think>x</think> <answer>w,n</answer>", "correct"),
        ("Answer: n,w", "incorrect"),
        ("Answer: w", "incorrect"),
        ("Answer: w,n,n", "incorrect"),
    ],
)
def test_the_order_of_a_path_counts(text: str, outcome: str) -> None:
    problem = Problem("p", "babi", "test", "How do you go from the hall to the den?", ("w,n",), category="path-finding")
    assert TASK.judge_answer(problem, text).answer.outcome == outcome


@pytest.mark.parametrize(("text", "outcome"), [("milk, apple", "correct"), ("apple,milk", "correct")])
def test_the_order_of_a_list_does_not(text: str, outcome: str) -> None:
    problem = Problem("p", "babi", "test", "What is Mary carrying?", ("milk", "apple"), category="lists-sets")
    assert TASK.judge_answer(problem, text).answer.outcome == outcome


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("assistant\n\ngreen", "none"),
        ("<think>The office is west of the bedroom.>", "unparsed"),
        ("Question type: counting.", "incorrect"),
        ("Supporting facts: Lily is green.", "incorrect"),
    ],
)
def test_an_answer_alone_is_no_trace_that_could_not_be_read(text: str, outcome: str) -> None:
    steps = babi_grammar.COMPACT.steps("basic-induction", ("Lily is green.",))
    problem = Problem("p", "babi", "test", "What color is Lily?", ("green",), gold_steps=steps)
    assert TASK.judge_output_trace(problem, text).outcome == outcome


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"support": [2]}, r"babi/test.jsonl, row 2: 'facts' must be pairs"),
        ({"facts": ["a", "b"]}, r"row 2: 'facts' must be pairs"),
        ({"support": None}, r"row 2: 'facts' must be pairs"),
        ({"task_name": "cooking"}, r"row 2: column 'task_name' must be one of"),
        ({"answer": ""}, r"row 2: column 'answer' must be text that is not empty"),
    ],
)
def test_bad_rows_name_file_and_row(tmp_path: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(load("test", write_rows(tmp_path, "babi/test.jsonl", [ORIGINAL, ORIGINAL | change])))


def test_unknown_split_missing_column_no_folder(tmp_path: Any) -> None:
    source = write_rows(tmp_path, "babi/eleven_categories.jsonl", [{**PUBLISHED, "support_text": "x"}])
    with pytest.raises(InputError, match="no split 'validation'; known: train, test, published_train, published_test"):
        list(load("validation", source))
    with pytest.raises(InputError, match="row 1: column 'support_text' must be a list of texts"):
        list(load("published_test", source))
    with pytest.raises(InputError, match="give data_dir"):
        list(load("test", Source()))


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("assistant\n\n<think>x</think> <answer>green</answer>", "correct"),
        ("assistant\n\ngreen", "correct"),
        ("<answer>Green.</answer>", "correct"),
        ("<answer>green or yellow</answer>", "incorrect"),
        ("<answer>yellow</answer>", "incorrect"),
        ("<answer></answer>", "missing"),
    ],
)
def test_the_published_exact_match(text: str, outcome: str) -> None:
    problem = Problem("p", "babi", "test", "What color is Lily?", ("green",))
    assert published_verdict(problem, text).outcome == outcome


@pytest.mark.slow
@needs_data("babi")
def test_every_gold_trace_passes_its_own_judge() -> None:
    seen: set[str] = set()
    for split, n in (("train", 20_000), ("test", 20_000), ("published_train", 3_773), ("published_test", 376)):
        problems = list(load(split, SOURCE))
        assert len(problems) == n
        for problem in problems:
            # the whole grammar for the smaller splits, the judge alone for the 40,000
            steps = problem.gold_steps
            if split.startswith("published"):
                steps = babi_grammar.COMPACT.parse(babi_grammar.COMPACT.render(steps)).steps
                assert steps == problem.gold_steps
            assert judge_class_retrieval(problem, steps).ok
        ids = {problem.problem_id for problem in problems}
        assert len(ids) == n
        assert not ids & seen
        seen |= ids


@needs_data("babi")
@pytest.mark.parametrize(
    ("split", "n"),
    [
        ("test", 2_000),
        ("published_test", 376),
        pytest.param("test", 20_000, marks=pytest.mark.slow),
        pytest.param("train", 20_000, marks=pytest.mark.slow),
        pytest.param("published_train", 3_773, marks=pytest.mark.slow),
    ],
)
def test_every_gold_answer_passes_its_own_judge(split: str, n: int) -> None:
    problems = random.Random(0).sample(list(load(split, SOURCE)), n)
    failing = {problem.problem_id: found for problem in problems if (found := TASK.audit(problem))}
    assert failing == {}
    paths = [problem for problem in problems if problem.category == "path-finding"]
    assert bool(paths) != split.startswith("published")
    for problem in paths:
        # the order counts: only paths that read alike from both ends may be turned round
        turned = ",".join(reversed(problem.answers[0].split(",")))
        assert TASK.judge_answer(problem, turned).answer.ok == (turned == problem.answers[0])


@needs_data("babi")
def test_train_and_test_of_the_published_split_share_18_items() -> None:
    train = {(problem.context, problem.question) for problem in load("published_train", SOURCE)}
    assert sum((problem.context, problem.question) in train for problem in load("published_test", SOURCE)) == 18


@needs_data("babi", "published_outputs")
def test_the_published_outputs() -> None:
    problems = {problem.problem_id: problem for problem in load("published_test", SOURCE)}
    counts: dict[str, Counter[str]] = {}
    for row in outputs("babi"):
        problem = problems[row["problem_id"]]
        trace = TASK.judge_output_trace(problem, row["text"])
        figures = {"answer": published_verdict(problem, row["text"]).ok, "trace": trace.ok}
        figures |= {name: trace.figures.get(name) == 1 for name in ("class", "facts_exact")}
        figures |= {name: trace.outcome == name for name in ("unparsed", "none")}
        counts.setdefault(row["arm"], Counter()).update(name for name, ok in figures.items() if ok)
    # the study notes' 94.4, 99.2, 93.9, 93.4; one output leaves out a colon ("asked is time-reasoning"): no class step
    assert counts["correct"] == {"answer": 355, "class": 373, "facts_exact": 353, "trace": 351}
    assert counts["incorrect"] == {"answer": 324, "class": 13, "facts_exact": 2, "unparsed": 36}
    assert counts["vanilla"] == {"answer": 363, "none": 376}
