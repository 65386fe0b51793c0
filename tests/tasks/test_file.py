"""A user's own file: columns, kinds, splits, errors, judges."""

import csv
import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracedistill.chat import formats
from tracedistill.errors import InputError
from tracedistill.records import Step
from tracedistill.tasks._base import Source
from tracedistill.tasks._rows import read_rows
from tracedistill.tasks.file.task import UserFile
from tracedistill.teachers.rules import teach_by_rules
from tracedistill.validation import validate

TASK = UserFile()


def jsonl(folder, rows, name="own.jsonl"):
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def load(path, split="test", **columns):
    return list(TASK.load(split, Source(path=str(path), columns=columns)))


def one(folder, row, **columns):
    return load(jsonl(folder, [{**row, "split": "test"}]), **columns)[0]


# ---- formats, columns, ids


def test_three_formats_hold_the_same_problems(tmp_path):
    rows = [
        {"question": "3 boxes of 4 pens?", "answer": "12", "split": "test"},
        {"question": "Half of 8?", "answer": "4", "split": "test"},
    ]
    first = load(jsonl(tmp_path, rows))
    with (tmp_path / "own.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    with gzip.open(tmp_path / "zipped.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "own.parquet")
    for name in ("own.csv", "own.parquet", "zipped.jsonl.gz"):
        assert load(tmp_path / name) == first, name
    assert [problem.problem_id for problem in first] == ["file-test-0", "file-test-1"]


def test_columns_are_mapped(tmp_path):
    row = {"nr": 7, "prompt": "Who?", "target": "Ana", "facts": ["Ana came.", "Bo left."], "type": "person"}
    names = {"id": "nr", "question": "prompt", "answer": "target", "context": "facts", "category": "type"}
    path = jsonl(tmp_path, [{**row, "part": "dev"}])
    (problem,) = TASK.load("dev", Source(path=str(path), columns={**names, "split": "part"}))
    assert (problem.problem_id, problem.question, problem.answers) == ("7", "Who?", ("Ana",))
    assert (problem.context, problem.category, problem.split) == (("Ana came.", "Bo left."), "person", "dev")
    assert TASK.render_problem(problem) == "Ana came.\nBo left.\nWho?"


@pytest.mark.parametrize(
    ("value", "context"),
    [
        (["a", "b"], ("a", "b")),
        ('["a", "b"]', ("a", "b")),
        ("['a', \"b\"]", ("a", "b")),
        ("a\nb", ("a", "b")),
        ("a | b", ("a", "b")),
        ("a", ("a",)),
        ([{"text": "a", "selected": True}, {"text": "b", "selected": False}], ("a", "b")),
        ({"passage_text": ["a", "b"], "is_selected": [1, 0]}, ("a", "b")),
        ("[sic] a", ("[sic] a",)),
        ("", ()),
        (None, ()),
    ],
)
def test_lists_in_a_cell(tmp_path, value, context):
    assert one(tmp_path, {"question": "Q?", "answer": "x", "context": value}).context == context


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        (
            [{"prompt": "Q", "answer": 1}],
            {},
            r"row 1: no column 'question'; it has: answer, prompt; name it .*question: <",
        ),
        ([{"question": "Q", "gold": 1}], {}, "row 1: no column 'answer'; it has: gold, question"),
        ([{"question": "Q", "answer": 1}], {"context": "facts"}, "row 1: no column 'facts'; it has: answer, question"),
        ([{"question": "Q", "answer": 1}, {"question": "R"}], {}, "row 2: no column 'answer'"),
        ([{"question": " ", "answer": 1}], {}, "row 1: column 'question' is blank"),
        ([{"question": None, "answer": 1}], {}, "row 1: column 'question' is blank"),
        (
            [{"id": name, "question": name, "answer": 1} for name in ("a", "b", "a")],
            {},
            "rows 1 and 3: the same id 'a'",
        ),
        ([{"question": "Q", "answer": 1}], {"answers": "answer"}, "no field 'answers'; fields are question, answer"),
        (
            [{"question": "Q", "answer": 1, "split": "dev"}],
            {},
            "no rows of split 'test'; its splits are: dev",
        ),
        ([{"question": "Q", "answer": "A", "choices": '{"a'}], {}, "row 1: column 'choices': not valid JSON"),
        ([{"question": "Q", "answer": "A", "choices": {"label": ["A"], "text": []}}], {}, "1 labels for 0 choices"),
        ([{"question": "Q", "answer": "A", "choices": list(map(str, range(27)))}], {}, "27 choices; at most 26"),
        ([], {}, "no rows"),
    ],
)
def test_errors_name_file_and_row(tmp_path, rows, columns, message):
    path = jsonl(tmp_path, rows)
    with pytest.raises(InputError, match=message) as raised:
        load(path, **columns)
    assert "columns: no field" in str(raised.value) or "own.jsonl" in str(raised.value)


def test_a_path_is_needed_and_must_be_there(tmp_path):
    with pytest.raises(InputError, match="give `path`"):
        list(TASK.load("test", Source()))
    with pytest.raises(InputError, match="no such file"):
        load(tmp_path / "none.csv")


# ---- splits


def test_one_file_per_split(tmp_path):
    for split in ("train", "test"):
        jsonl(tmp_path, [{"question": f"{split}?", "answer": 1}], f"{split}.jsonl")
    for split in ("train", "test"):
        (problem,) = load(tmp_path / "{split}.jsonl", split)
        assert (problem.problem_id, problem.question) == (f"file-{split}-0", f"{split}?")
    (problem,) = TASK.load("test", Source(data_dir=tmp_path, path="{split}.jsonl"))
    assert problem.question == "test?"


def test_a_file_without_splits_is_cut_and_stays_cut(tmp_path):
    rows = [{"question": f"What is {n} + 1?", "answer": n + 1} for n in range(300)]
    # the same question twice falls to one split
    path = jsonl(tmp_path, [*rows, {"question": "what is 7 + 1", "answer": 8}])
    cut = {split: load(path, split) for split in TASK.splits}
    assert sum(map(len, cut.values())) == 301
    assert [len(cut[split]) for split in TASK.splits] == [241, 30, 30]
    homes = [
        split for split, problems in cut.items() for p in problems if p.question.lower().startswith("what is 7 + 1")
    ]
    assert len(homes) == 2
    assert len(set(homes)) == 1
    more = jsonl(tmp_path, [*rows, *({"question": f"And {n}?", "answer": n} for n in range(20))], "more.jsonl")
    assert len({p.question for p in load(more, "test")} & {p.question for p in cut["test"]}) >= 25
    other = list(TASK.load("test", Source(path=str(path), seed=1)))
    assert {p.question for p in other} != {p.question for p in cut["test"]}


def test_groups_stay_together(tmp_path):
    rows = [{"question": f"Q{n}?", "answer": n, "patient": f"p{n % 20}"} for n in range(200)]
    path = jsonl(tmp_path, rows)
    cut = {split: load(path, split, group="patient") for split in TASK.splits}
    homes = {split: {int(p.question[1:-1]) % 20 for p in problems} for split, problems in cut.items()}
    assert {split: len(groups) for split, groups in homes.items()} == {"train": 16, "validation": 2, "test": 2}
    assert not homes["train"] & homes["test"]
    assert not homes["validation"] & homes["test"]


def test_a_split_that_nothing_falls_to_says_so(tmp_path):
    path = jsonl(tmp_path, [{"question": "Q?", "answer": 1}])
    empty = [split for split in TASK.splits if split != next(s for s in TASK.splits if _loads(path, s))]
    with pytest.raises(InputError, match="add a column `split`"):
        load(path, empty[0])


def _loads(path, split):
    try:
        return bool(load(path, split))
    except InputError:
        return False


# ---- kinds and answers


@pytest.mark.parametrize(
    ("golds", "kind"),
    [
        ([12, 3.5, "1,200", "$5", "60%", "3/4", "-2"], "number"),
        (["12", "twelve pens"], "exact"),
        (["-", "12"], "exact"),
        ([r"\frac{1}{2}", "3"], "math"),
        (["yes", "no"], "exact"),
    ],
)
def test_the_kind_is_told_by_the_golds(tmp_path, golds, kind):
    rows = [{"question": f"Q{n}?", "answer": gold, "split": "test"} for n, gold in enumerate(golds)]
    assert {problem.meta["judge"] for problem in load(jsonl(tmp_path, rows))} == {kind}


@pytest.mark.parametrize(
    "choices",
    [
        ["Rome", "Paris", "Oslo"],
        "Rome\nParis\nOslo",
        "A) Rome\nB) Paris\nC) Oslo",
        '["Rome", "Paris", "Oslo"]',
        {"label": ["1", "2", "3"], "text": ["Rome", "Paris", "Oslo"]},
        {"A": "Rome", "B": "Paris", "C": "Oslo"},
        [["A", "Rome"], ["B", "Paris"], ["C", "Oslo"]],
        '{"A": "Rome", "B": "Paris", "C": "Oslo"}',
    ],
)
def test_choices_in_every_form(tmp_path, choices):
    golds = ["Paris", "paris"] + (["2"] if isinstance(choices, dict) and "label" in choices else ["B", "(b)"])
    for gold in golds:
        problem = one(tmp_path, {"question": "Capital of France?", "choices": choices, "answer": gold})
        assert problem.answers == ("B",), gold
        assert problem.choices == (("A", "Rome"), ("B", "Paris"), ("C", "Oslo"))
        assert problem.meta["judge"] == "choice"
    assert TASK.render_problem(problem).endswith("A. Rome\nB. Paris\nC. Oslo")
    assert TASK.closed_answers(problem) == ("A. Rome", "B. Paris", "C. Oslo")
    assert TASK.judge_answer(problem, "Answer: B").answer.ok
    assert TASK.judge_answer(problem, "Answer: Paris").answer.ok
    assert TASK.judge_answer(problem, "Answer: C").answer.outcome == "incorrect"
    assert TASK.audit(problem) == []
    # the letter alone would stand in every text
    assert not TASK.answer_in_trace(problem, (Step("text", "A big city, Be it."),))
    assert TASK.answer_in_trace(problem, (Step("text", "It is Paris."),))


def test_numbers_are_judged_as_numbers(tmp_path):
    problem = one(tmp_path, {"question": "How many pens are in 3 boxes of 400 pens?", "answer": 1200.0})
    assert problem.answers == ("1200",)
    assert TASK.judge_answer(problem, "Answer: 1,200 pens").answer.ok
    assert TASK.judge_answer(problem, "Answer: 1300").answer.outcome == "incorrect"
    assert TASK.judge_answer(problem, "").answer.outcome == "missing"


def test_any_of_the_alternatives_will_do(tmp_path):
    problem = one(tmp_path, {"question": "Who wrote it?", "answer": ["Mark Twain", "Samuel Clemens"]})
    assert TASK.judge_answer(problem, "Answer: Samuel Clemens").answer.ok
    assert TASK.judge_answer(problem, "Answer: Mark Twain").answer.ok
    assert TASK.judge_answer(problem, "Answer: Jane Austen").answer.outcome == "incorrect"
    assert TASK.render_answer(problem) == "Mark Twain"


def test_a_text_answer_is_not_split(tmp_path):
    assert one(tmp_path, {"question": "Q?", "answer": "a, b | c"}).answers == ("a, b | c",)


@pytest.mark.parametrize(("closing", "learnt"), [("18", ""), ("17", "\n#### 17")])
def test_a_solution_that_closes_with_its_gold_is_learnt_without_that_line(tmp_path, closing, learnt):
    """GSM8K's last line is its answer, also where a column of its own has that; another number there stays in view."""
    solution = "4 * 12 = 48\n48 - 30 = 18"
    row = {"question": "How many rolls are left?", "answer": "18", "steps": f"{solution}\n#### {closing}"}
    (trace,) = teach_by_rules(TASK, [one(tmp_path, row)], "rules")
    assert trace.text == solution + learnt


def test_few_frequent_golds_are_a_closed_set(tmp_path):
    rows = [{"question": f"Q{n}?", "answer": "Yes" if n % 3 else "no", "split": "test"} for n in range(12)]
    problem = load(jsonl(tmp_path, rows))[0]
    assert TASK.closed_answers(problem) == ("no", "Yes")
    assert TASK.closed_answers(one(tmp_path, {"question": "Q?", "answer": "yes"})) == ()


def test_a_blank_answer_is_counted_as_ungradable(tmp_path):
    for blank in ("", None, []):
        problem = one(tmp_path, {"question": "Q?", "answer": blank})
        assert problem.answers == ()
        assert TASK.judge_answer(problem, "Answer: 3").answer.outcome == "ungradable"


# ---- traces

STEPS = {"question": "Ana has 3 boxes of 4 pens and loses 2. How many?", "answer": 10}


@pytest.mark.parametrize(
    "steps",
    [
        ["3 * 4 = 12 pens", "12 - 2 = 10 pens"],
        "3 * 4 = 12 pens\n12 - 2 = 10 pens",
        "1. 3 * 4 = 12 pens\n2. 12 - 2 = 10 pens",
        '["3 * 4 = 12 pens", "12 - 2 = 10 pens"]',
        [{"q": "3 * 4 =", "a": "12 pens"}, {"q": "12 - 2 =", "a": "10 pens"}],
    ],
)
def test_gold_steps_and_their_trace(tmp_path, steps):
    problem = one(tmp_path, {**STEPS, "steps": steps})
    assert [(step.kind, step.text) for step in problem.gold_steps] == [
        ("calculation", "3 * 4 = 12 pens"),
        ("calculation", "12 - 2 = 10 pens"),
    ]
    assert problem.difficulty == 2
    trace = TASK.decompose(problem)
    assert trace.oracle
    assert TASK.parse_trace(trace.text).steps == problem.gold_steps
    assert TASK.audit(problem) == []


@pytest.mark.parametrize(
    ("steps", "trace", "outcome"),
    [
        (None, "3 * 4 = 12\n12 - 2 = 10", "correct"),
        (None, "3 * 4 = 13\n13 - 2 = 11", "incorrect"),
        (None, "3 * 4 = 12\n12 - 7 = 5", "incorrect"),
        (None, "Multiply the boxes by the pens.\nTake away the lost ones.", "not judged"),
        ("Multiply.\nSubtract.", "Multiply.\nSubtract.", "correct"),
        ("Multiply.\nSubtract.", "multiply.\nsubtract.", "correct"),
        ("Multiply.\nSubtract.", "Add.\nSubtract.", "not judged"),
        ("Multiply.\nSubtract.", "3 * 4 = 12\n12 - 2 = 10", "correct"),
        (None, "", "none"),
        ("Multiply.\nSubtract.", "", "none"),
        ("Multiply.\nSubtract.", "The answer is 10.", "unparsed"),
    ],
)
def test_traces_are_judged_as_far_as_rules_go(tmp_path, steps, trace, outcome):
    problem = one(tmp_path, {**STEPS, "steps": steps})
    verdict = TASK.judge_output_trace(problem, trace)
    assert verdict.outcome == outcome, verdict
    if outcome == "not judged":
        assert "a model judge" in verdict.reason
        assert ("no gold steps" in verdict.reason) == (steps is None)


def test_steps_without_gold_stay_open(tmp_path):
    verdict = TASK.judge_trace(one(tmp_path, STEPS), (Step("text", "Look."), Step("plan", "Multiply.")))
    assert (verdict.outcome, [step.outcome for step in verdict.steps]) == ("not judged", ["undecided", "undecided"])


PROSE = "The parcel left on Monday.\nIt is late, so the carrier is asked.\nThe label is shipping."


@pytest.mark.parametrize(
    ("answer", "steps", "trace", "outcome"),
    [
        ("shipping", None, PROSE, "not judged"),
        ("shipping", None, f"{PROSE}\n1 + 1 = 2", "not judged"),
        ("shipping", None, f"1 + 1 = 2\n{PROSE}", "not judged"),
        ("shipping", None, "The label is shipping.\n1 + 1 = 2", "not judged"),
        ("shipping", None, f"{PROSE}\n1 + 1 = 3", "incorrect"),
        ("shipping", "The parcel is late.\nThat is shipping.", f"{PROSE}\n1 + 1 = 2", "not judged"),
        ("10", "Multiply.\nSubtract.", f"{PROSE}\n3 * 4 = 12", "not judged"),
        ("10 pens", None, "First the pens: 3 * 4 = 12.\nThen the lost ones: 12 - 2 = 10.\nTen are left.", "correct"),
        ("10 pens", "3 * 4 = 12\n12 - 2 = 10", "There are boxes.\nThey hold pens.\n3 * 4 = 12", "correct"),
        ("10", None, "There are boxes.\nThey hold pens.\n3 * 4 = 12", "correct"),
    ],
)
def test_a_stray_calculation_makes_no_text_right(tmp_path, answer, steps, trace, outcome):
    problem = one(tmp_path, {**STEPS, "answer": answer, "steps": steps})
    verdict = TASK.judge_output_trace(problem, trace)
    assert verdict.outcome == outcome, verdict


def test_gold_steps_that_begin_with_verbs_are_no_plan(tmp_path):
    problem = one(tmp_path, {**STEPS, "answer": "shipping", "steps": "Check the parcel.\nNote that it is late."})
    trace = TASK.decompose(problem)
    assert [step.kind for step in trace.steps] == ["plan", "plan"]
    (verdict,) = validate(TASK, {problem.problem_id: problem}, [trace], "correct", leaks="drop")
    assert (verdict.trace.outcome, verdict.answer.outcome, verdict.plan) == ("correct", "correct", False)
    assert verdict.accepted


@pytest.mark.parametrize(
    ("steps", "plan", "outcome"),
    [
        (
            "3 * 4 = 12 pens\n12 - 2 = 10 pens",
            "Multiply the 3 boxes by the 4 pens.\nSubtract the 2 lost pens from the total.",
            "correct",
        ),
        (
            "3 * 4 = 12 pens\n12 - 2 = 10 pens",
            "Multiply the 3 boxes by the 4 pens.\nSubtract the 2 lost pens.\nDivide the rest by 57.",
            "incorrect",
        ),
        ("Multiply.\nSubtract.", "Multiply the boxes by the pens.\nSubtract the lost ones.", "undecided"),
        (None, "Multiply the boxes by the pens.\nSubtract the lost ones.", "undecided"),
    ],
)
def test_plans_are_judged_against_the_gold_calculations(tmp_path, steps, plan, outcome):
    problem = one(tmp_path, {**STEPS, "steps": steps})
    verdict = TASK.judge_plan(problem, TASK.parse_trace(plan).steps)
    assert verdict.outcome == outcome, verdict


def test_without_gold_steps_there_is_no_rule_trace(tmp_path):
    assert TASK.decompose(one(tmp_path, STEPS)) is None


def test_only_true_calculations_are_asked_of_texts(tmp_path):
    problem = one(tmp_path, {"question": "Was Bach older than 60 when he died?", "answer": "yes"})
    assert TASK.judge_output_trace(problem, "1750 - 1685 = 65").outcome == "correct"


words = st.text("abcdefghij klmnop", min_size=1, max_size=30).map(lambda text: " ".join(text.split())).filter(bool)
numbers = st.integers(0, 99)
sums = st.tuples(numbers, numbers).map(lambda pair: f"Add {pair[0]} + {pair[1]} = {sum(pair)} pens")


@given(st.lists(st.one_of(words, sums), min_size=1, max_size=5))
def test_render_then_parse_is_the_identity(texts):
    from tracedistill.tasks._steps import make_steps

    steps = make_steps(texts)
    assert TASK.parse_trace(TASK.render_trace(steps)).steps == steps


def test_a_whole_output_is_taken_apart(tmp_path):
    problem = one(tmp_path, STEPS)
    text = formats.write_completion("1. 3 * 4 = 12\n2. 12 - 2 = 10", "10", "tags")
    assert TASK.judge_answer(problem, text).answer.ok
    assert TASK.judge_output_trace(problem, formats.parse_completion(text).trace).ok


def test_empty_columns_of_a_spreadsheet_are_no_columns_of_one_name(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("id,question,answer,, \n1,What?,a,,\n")
    assert [row["answer"] for _, row in read_rows(tmp_path / "x.csv")] == ["a"]
