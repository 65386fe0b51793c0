"""Duplicates, overlap and samples."""

import gzip
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracedistill.records import Problem
from tracedistill.tasks._overlap import duplicates, normal_text, overlap, sample

DATA = Path(os.environ.get("TRACEDISTILL_DATA", Path(__file__).parents[3] / "shared" / "data"))


def problem(n, question, context=(), answer="a"):
    return Problem(f"p-{n}", "any", "test", question, (answer,), context)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Where is John?", "where is  john", True),
        ("What is 3 + 4?", "What is 3 - 4?", False),
        ("What is 3.5?", "What is 35?", False),
        ("It’s “red”.", "it's red", True),
        ("He said “red”.", "He said red", True),
        ("a\u00a0b", "a b", True),
        ("", "", True),
    ],
)
def test_normal_text(one, other, same):
    assert (normal_text(problem(0, one)) == normal_text(problem(1, other))) == same


def test_context_and_choices_count():
    assert normal_text(problem(0, "Where?", ("A is here.",))) != normal_text(problem(0, "Where?", ("B is here.",)))


def test_duplicates_and_contradictions():
    found = duplicates([problem(0, "Q?"), problem(1, "R?"), problem(2, "q", answer="b"), problem(3, "r")])
    assert [(repeat.ids, repeat.same_answers) for repeat in found] == [
        (("p-0", "p-2"), False),
        (("p-1", "p-3"), True),
    ]


def test_overlap_names_both_sides():
    found = overlap([problem(0, "Q?"), problem(1, "R?")], [problem(8, "q"), problem(9, "S?")])
    assert (found.n, found.found) == (2, 1)
    assert found.repeats[0].ids == ("p-0",)
    assert found.repeats[0].others == ("p-8",)


def test_18_published_babi_test_questions_occur_in_train():
    path = DATA / "babi" / "eleven_categories.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"no {path}: set TRACEDISTILL_DATA")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    test, train = (
        [
            Problem(row["id"], "babi", split, row["question"], (row["answer"],), tuple(row["facts"]))
            for row in rows
            if row["split"] == split
        ]
        for split in ("test", "train")
    )
    found = overlap(test, train)
    assert (found.n, found.found) == (376, 18)


@given(st.lists(st.integers(0, 10_000), unique=True, max_size=60), st.integers(0, 70), st.integers(0, 5), st.randoms())
def test_a_sample_depends_on_seed_and_ids_alone(numbers, n, seed, shuffler):
    problems = [problem(number, "Q") for number in numbers]
    chosen = sample(problems, n, seed)
    assert len(chosen) == min(n, len(problems))
    ids = [one.problem_id for one in chosen]
    assert [one.problem_id for one in problems if one.problem_id in set(ids)] == ids
    shuffled = problems.copy()
    shuffler.shuffle(shuffled)
    assert {one.problem_id for one in sample(shuffled, n, seed)} == set(ids)
    assert {one.problem_id for one in sample(problems, max(0, n - 3), seed)} <= set(ids)


def test_seeds_draw_different_samples():
    problems = [problem(number, "Q") for number in range(100)]
    assert sample(problems, 10, 0) != sample(problems, 10, 1)
    with pytest.raises(ValueError):
        sample(problems, -1, 0)
