"""Grids out of files and out of what models write."""

import gzip
import json
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracedistill.chat import formats
from tracedistill.errors import InputError
from tracedistill.records import Problem, Step
from tracedistill.tasks._base import Source
from tracedistill.tasks._overlap import overlap
from tracedistill.tasks.arc_agi import ArcAgi, read_grids, tidy, write_grid

DATA = Path(os.environ.get("TRACEDISTILL_DATA", Path(__file__).parents[3] / "shared" / "data"))
TASK = ArcAgi()
GOLD = ((0, 7, 7), (7, 0, 7))
PROBLEM = Problem("x", "arc_agi", "training", "7 0\n0 7", (write_grid(GOLD),), ("Input:\n1\nOutput:\n2",))


@pytest.mark.parametrize(
    "written",
    [
        "0 7 7\n7 0 7",
        "0,7,7\n7,0,7",
        "0, 7, 7\n7, 0, 7",
        "[0, 7, 7]\n[7, 0, 7]",
        "[[0, 7, 7], [7, 0, 7]]",
        "[[0,7,7],[7,0,7]]",
        "[[0, 7, 7],\n [7, 0, 7]]",
        "[\n  [0, 7, 7],\n  [7, 0, 7]\n]",
        "[[0 7 7]\n [7 0 7]]",
        "| 0 | 7 | 7 |\n|---|---|---|\n| 7 | 0 | 7 |",
        "077\n707",
        "```\n0 7 7\n7 0 7\n```",
        "Row 1: 0 7 7\nRow 2: 7 0 7",
        "  0  7  7\n  7  0  7",
        "The output is [[0, 7, 7], [7, 0, 7]].",
        "0 7 7\r\n7 0 7\r\n",
    ],
)
def test_grids_as_models_write_them(written):
    assert read_grids(written) == [GOLD]
    for text in (f"Answer:\n{written}", f"I see.\n**Answer:**\n{written}\n", f"<answer>{written}</answer>"):
        assert TASK.judge_answer(PROBLEM, text).answer.ok, text
    assert TASK.judge_answer(PROBLEM, f"The input is\n1 2\n3 4\n\nso the output is\n\n{written}").answer.ok


@pytest.mark.parametrize(
    ("text", "outcome", "reason"),
    [
        ("Answer:\n0 7 7\n7 0 0", "incorrect", "1 of 6 cells differ"),
        ("Answer:\n0 7 7", "incorrect", "1 x 3 cells, not 2 x 3"),
        ("Answer:\n0 7 7\n7 0", "incorrect", "rows of different lengths"),
        ("Answer: I do not know", "missing", "no grid after the marker"),
        ("There were 12 cells in 1968.", "missing", "no grid in the text"),
        ("1968", "missing", "no grid in the text"),
        ("", "missing", "no grid in the text"),
    ],
)
def test_what_is_wrong_is_said(text, outcome, reason):
    verdict = TASK.judge_answer(PROBLEM, text).answer
    assert (verdict.outcome, verdict.reason) == (outcome, reason)


def test_the_body_is_read_apart_from_the_statement():
    text = f"It becomes\n{write_grid(GOLD)}\nAnswer:\n7 7 7\n7 7 7"
    found = TASK.judge_answer(PROBLEM, text)
    assert (found.answer.outcome, found.derived.outcome) == ("incorrect", "correct")
    assert found.answer.figures["cells_right"] == pytest.approx(4 / 6)
    only = TASK.judge_answer(PROBLEM, f"Answer:\n{write_grid(GOLD)}")
    assert (only.answer.outcome, only.derived.outcome) == ("correct", "missing")


def test_the_last_marker_wins_and_the_first_grid_after_it():
    text = f"Answer:\n1 1\nNo, wait.\nFinal answer:\n{write_grid(GOLD)}\n\nCheck of the input:\n7 0\n0 7"
    assert TASK.judge_answer(PROBLEM, text).answer.ok


def test_one_cell_is_an_answer_only_where_one_is_stated():
    cell = Problem("x", "arc_agi", "training", "1 1", ("8",))
    assert TASK.judge_answer(cell, "Answer: 8").answer.ok
    assert TASK.judge_answer(cell, "8").answer.outcome == "missing"
    assert TASK.audit(cell) == []


def test_no_gold_is_ungradable():
    assert TASK.judge_answer(PROBLEM.blind(), "Answer:\n0 7 7\n7 0 7").answer.outcome == "ungradable"


grids = st.tuples(st.integers(1, 30), st.integers(1, 30)).flatmap(
    lambda size: st.lists(
        st.lists(st.integers(0, 9), min_size=size[1], max_size=size[1]).map(tuple), min_size=size[0], max_size=size[0]
    ).map(tuple)
)


@given(grids)
def test_grids_are_read_back(grid):
    assert read_grids(write_grid(grid), alone=True) == [grid]
    assert read_grids(json.dumps(grid), alone=True) == [grid]


tidied = st.text(st.characters(exclude_categories=("Cs",)), max_size=60).map(tidy).filter(bool)


@given(st.lists(tidied, max_size=5))
def test_render_then_parse_is_the_identity(texts):
    steps = tuple(Step("text", text) for text in texts if "<" not in text and "answer" not in text.lower())
    assert TASK.parse_trace(TASK.render_trace(steps)).steps == steps


def test_a_grid_inside_a_step_keeps_its_rows():
    steps = (Step("text", f"The top becomes\n{write_grid(GOLD)}"), Step("text", "The rest stays."))
    text = formats.write_completion(TASK.render_trace(steps), write_grid(GOLD), "plain")
    assert TASK.parse_trace(text).steps == steps
    assert TASK.answer_in_trace(PROBLEM, steps)
    assert not TASK.answer_in_trace(PROBLEM, steps[1:])


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("Here are the steps:\n1) Look.\n2) Copy.\nAnswer:\n0 7", ["Look.", "Copy."]),
        ("**Step 1:** Look.\n**Step 2:** Copy.", ["Look.", "Copy."]),
        ("- Look.\n- Copy.", ["Look.", "Copy."]),
        ("  1. Look.\n  2. Copy.", ["Look.", "Copy."]),
        ("Look.\nCopy.", ["Look.", "Copy."]),
        ("<think>1. Look.</think><answer>0 7</answer>", ["Look."]),
        ("Answer: 0 7", []),
    ],
)
def test_steps_as_models_write_them(text, steps):
    found = TASK.parse_trace(text)
    assert [step.text for step in found.steps] == steps
    assert bool(found.reason) == (not steps)


def test_traces_are_not_judged_by_rules():
    assert TASK.decompose(PROBLEM) is None
    found = TASK.judge_output_trace(PROBLEM, "1. Look.")
    assert (found.outcome, found.steps[0].outcome) == ("not judged", "undecided")
    assert "a model judge is needed" in found.reason
    assert TASK.judge_output_trace(PROBLEM, None).outcome == "none"


def test_right_size_is_summarised():
    texts = ["Answer:\n1 1 1\n1 1 1", "Answer:\n1 1", "no"]
    assert TASK.summarise([PROBLEM] * 3, texts) == {"right_size": pytest.approx(100 / 3)}
    assert TASK.summarise([], []) == {}


@pytest.mark.parametrize(
    "text", ["[" * 200_000, "0 " * 300_000, "7\n" * 200_000, "Answer:" * 50_000, "[[0,1],[" * 50_000]
)
def test_hostile_texts_take_little_time(text):
    start = time.process_time()
    TASK.judge_answer(PROBLEM, text)
    TASK.parse_trace(text)
    assert time.process_time() - start < 2


# ---- loading


def write(folder, rows):
    path = folder / "other" / "arc_agi1_training.jsonl.gz"
    path.parent.mkdir(parents=True)
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def test_one_problem_per_test_pair(tmp_path):
    pair = [[[1, 2]], [[2, 1]]]
    hub = {"input": [[1]], "output": [[2, 2]]}
    write(tmp_path, [{"id": "a", "train": [pair], "test": [pair]}, {"id": "b", "train": [hub], "test": [hub, hub]}])
    found = list(TASK.load("training", Source(data_dir=tmp_path)))
    assert [problem.problem_id for problem in found] == ["a", "b-0", "b-1"]
    assert [problem.category for problem in found] == ["same-size", "other-size", "other-size"]
    assert found[0].answers == ("2 1",)
    shown = TASK.render_problem(found[0])
    assert "Example 1\nInput:\n1 2\nOutput:\n2 1" in shown
    assert shown.endswith("Input:\n1 2")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": "a", "train": []}, "no column 'test'"),
        ({"id": "a", "train": [], "test": [[[[1]], [[1, 2], [3]]]]}, "rows of equal length"),
        ({"id": "a", "train": [], "test": [[[[1]], [[10]]]]}, "whole numbers 0-9"),
        ({"id": "a", "train": [], "test": [[[[1]]]]}, r"a pair must be \[input, output\]"),
        ({"id": "a", "train": [], "test": [[[[1]], []]]}, "rows of equal length"),
    ],
)
def test_bad_rows_name_file_and_row(tmp_path, row, message):
    write(tmp_path, [row])
    with pytest.raises(InputError, match=f"row 1: .*{message}"):
        list(TASK.load("training", Source(data_dir=tmp_path)))


def test_unknown_split_raises():
    with pytest.raises(InputError, match="training, evaluation"):
        list(TASK.load("test", Source()))


def test_the_corpus_passes_its_own_judge():
    if not (DATA / "other" / "arc_agi1_training.jsonl.gz").is_file():
        pytest.skip(f"no {DATA / 'other'}: set TRACEDISTILL_DATA")
    source = Source(data_dir=DATA)
    training, evaluation = (list(TASK.load(split, source)) for split in TASK.splits)
    assert (len(training), len(evaluation)) == (416, 419)
    assert len({problem.problem_id for problem in training + evaluation}) == 835
    assert [problem.problem_id for problem in training + evaluation if TASK.audit(problem)] == []
    # one task was published twice
    found = overlap(evaluation, training)
    assert [(repeat.ids, repeat.others) for repeat in found.repeats] == [(("070dd51e",), ("40853293",))]
