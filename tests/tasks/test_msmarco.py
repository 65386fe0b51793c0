from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from tests.tasks.shared_data import SOURCE, needs_data, write_rows
from tracedistill.errors import InputError
from tracedistill.records import Problem
from tracedistill.tasks._base import Source
from tracedistill.tasks.msmarco import NO_ANSWER, MsMarco, best_overlap, bleu_1, rouge_l

TASK = MsMarco()
ROW = {
    "query_id": 7,
    "query": "cost to park at tampa airport",
    "query_type": "NUMERIC",
    "passages": [
        {"text": "Tampa is a city.", "selected": 0},
        {"text": "Parking costs $20 a day.", "selected": 1},
    ],
    "answers": ["$20 a day"],
}


def load(tmp_path: Any, **change: Any) -> Problem:
    (problem,) = TASK.load("sample", write_rows(tmp_path, "msmarco/sample.jsonl", [ROW | change]))
    return problem


def test_a_row_becomes_a_problem(tmp_path: Any) -> None:
    problem = load(tmp_path)
    assert problem.problem_id == "msmarco-sample-7"
    assert problem.gold_steps[0].value == "NUMERIC"
    assert problem.gold_steps[1].facts == ("Parking costs $20 a day.",)
    assert problem.meta == {"selected": [1]}
    assert TASK.audit(problem) == []
    trace = TASK.decompose(problem)
    assert trace is not None
    assert trace.oracle
    assert TASK.judge_output_trace(problem, trace.text).figures["selected"] == 1


def test_the_hub_s_form_of_passages(tmp_path: Any) -> None:
    hub = {"passage_text": ["Tampa is a city.", "Parking costs $20 a day."], "is_selected": [0, 1], "url": ["", ""]}
    assert load(tmp_path, passages=hub, query_type="numeric") == load(tmp_path)


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("Answer: $20 a day.", "correct"),
        ("20 A DAY", "correct"),
        ("Answer: $20", "incorrect"),
        ("Answer: No Answer Present.", "incorrect"),
        ("", "missing"),
        (
            "The type of the query is: NUMERIC.\nI need to use the following passage to answer the question: ['x']",
            "missing",
        ),
    ],
)
def test_normalised_exact_match(tmp_path: Any, text: str, outcome: str) -> None:
    assert TASK.judge_answer(load(tmp_path), text).answer.outcome == outcome


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("Answer: No Answer Present.", "correct"),
        ("Answer: no answer", "correct"),
        ("Answer: $20", "incorrect"),
        ("", "missing"),
    ],
)
def test_no_answer_present_is_its_own_case(tmp_path: Any, text: str, outcome: str) -> None:
    problem = load(tmp_path, answers=[NO_ANSWER])
    assert problem.gold_steps[1].facts == ()
    assert TASK.judge_answer(problem, text).answer.outcome == outcome
    assert "rouge_l" not in TASK.judge_answer(problem, "Answer: $20").answer.figures


def test_a_row_without_answers_is_ungradable(tmp_path: Any) -> None:
    for answers in ([], [" "]):
        problem = load(tmp_path, answers=answers)
        assert TASK.judge_answer(problem, "Answer: $20").answer.outcome == "ungradable"
        assert TASK.decompose(problem) is None
        assert TASK.audit(problem) == ["no answer is listed: ungradable"]


def test_rouge_l_and_bleu_1_take_the_best_of_several_answers() -> None:
    assert rouge_l("the cat sat", ("a dog", "the cat sat")) == 1
    # longest common subsequence 3 of 3 and 3 of 6: F1 = 2 * 1 * 0.5 / 1.5
    assert rouge_l("the cat sat", ("the cat sat on a mat",)) == pytest.approx(2 / 3)
    # 2 of 4 words, no brevity penalty
    assert bleu_1(["the cat ate fish"], [("the cat sat down",)]) == pytest.approx(0.5)
    assert bleu_1(["the cat", "a dog"], [("the cat",), ("a bird", "a dog")]) == pytest.approx(1)


def test_summary_counts_the_cases_apart(tmp_path: Any) -> None:
    problems = [load(tmp_path), load(tmp_path), load(tmp_path, answers=[NO_ANSWER]), load(tmp_path, answers=[])]
    figures = TASK.summarise(
        problems, ["Answer: $20 a day", "Answer: nothing", "Answer: No Answer Present.", "Answer: x"]
    )
    assert {
        name: figures[name] for name in ("n_answer", "n_no_answer", "n_ungradable", "em", "no_answer", "rouge_l")
    } == {
        "n_answer": 2,
        "n_no_answer": 1,
        "n_ungradable": 1,
        "em": 50,
        "no_answer": 100,
        "rouge_l": 50,
    }


def test_best_overlap_is_the_first_of_equals_or_nothing() -> None:
    assert best_overlap(("a b", "a b c", "c b a"), ("c b a",)) == ("a b c",)
    assert best_overlap(("a b",), ("x",)) == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"passages": [{"text": "x"}]}, r"msmarco/sample.jsonl, row 1: column 'passages' must list objects"),
        ({"query_type": "RECIPE"}, r"row 1: column 'query_type' must be one of DESCRIPTION"),
        ({"answers": None}, r"row 1: column 'answers' must be a list of texts"),
    ],
)
def test_bad_rows_name_file_and_row(tmp_path: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(tmp_path, **change)


def test_the_sample_needs_a_folder() -> None:
    with pytest.raises(InputError, match="give data_dir"):
        list(TASK.load("sample", Source()))


@needs_data("msmarco")
def test_every_gold_passes_or_is_listed() -> None:
    problems = list(TASK.load("sample", SOURCE))
    reasons = Counter(reason for problem in problems for reason in TASK.audit(problem))
    assert len(problems) == 200
    assert reasons == {
        "the best-overlap passage is not the annotator's": 41,
        "no answer is listed: ungradable": 7,
        "no passage is marked as the annotator's": 2,
    }
