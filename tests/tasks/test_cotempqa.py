from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.tasks.shared_data import SOURCE, cases, needs_data, outputs, write_rows
from tracedistill.chat import formats
from tracedistill.errors import InputError
from tracedistill.records import Problem, Verdict
from tracedistill.stats import joint_table
from tracedistill.tasks._base import Source
from tracedistill.tasks.cotempqa.gold import audit_gold, parse_fact, relation
from tracedistill.tasks.cotempqa.metric import candidates, entities
from tracedistill.tasks.cotempqa.task import GRAMMAR, CoTempQA

TASK = CoTempQA()
DATED = (
    "Ana works for Intel from 1968 to 2004.",
    "Ana works for IBM in 1950.",
    "Ana works for Xerox from 1970 to 1980.",
)
ROW = {
    "id": "cotempqa-during-x",
    "category": "during",
    "triple_element": "S1_R1_O2",
    "sft_split": "test",
    "question": "While Ana was working for Xerox, which employer did Ana work for at the same time?",
    "facts": list(DATED),
    "answer": ["Intel"],
}
PROBLEM = Problem(
    "cotempqa-during-x",
    "cotempqa",
    "test",
    str(ROW["question"]),
    ("Intel",),
    DATED,
    category="during",
    gold_steps=(GRAMMAR.class_step("during"), GRAMMAR.retrieval_step(DATED[:1])),
    meta={"triple_element": "S1_R1_O2"},
)


@pytest.fixture(scope="module")
def problems() -> dict[str, Problem]:
    return {problem.problem_id: problem for split in TASK.splits for problem in TASK.load(split, SOURCE)}


# ---- grammar and metric on authored cases


@pytest.mark.parametrize("case", cases("cotempqa_traces"))
def test_traces_are_read_as_models_write_them(case: dict[str, Any]) -> None:
    parsed = TASK.parse_trace(case["text"])
    labels = [step.value for step in parsed.steps if step.kind == "class"]
    cited = [fact.replace("\xa0", " ") for step in parsed.steps for fact in step.facts]
    assert (labels, cited, parsed.reason) == ([case["class"]] if case["class"] else [], case["facts"], case["reason"])


@pytest.mark.parametrize("case", cases("cotempqa_answers"))
def test_answers_under_both_policies(case: dict[str, Any]) -> None:
    assert TASK.judge_answer(PROBLEM, case["text"], "published").answer.outcome == case["published"]
    assert TASK.judge_answer(PROBLEM, case["text"]).answer.outcome == case["default"]


def test_the_entity_kind_is_the_only_side_that_differs() -> None:
    assert candidates(DATED, ("Intel",), "object") == ["intel", "xerox", "ibm"]
    assert candidates(DATED, ("Intel",), "subject") == ["intel", "ana"]
    assert entities("JP/Politikens Hus is owned by Jørn Lund from 2017 to 2020.") == ("JP/Politikens Hus", "Jørn Lund")
    assert entities("Nothing of the kind.") is None


def test_whole_answers_give_precision_and_recall() -> None:
    two = Problem("p", "cotempqa", "test", PROBLEM.question, ("Intel", "Apple"), DATED, meta=PROBLEM.meta)
    figures = TASK.judge_answer(two, "Answer: ['Intel', 'IBM']").answer.figures
    assert figures == {"em": 0.0, "f1": 0.5, "p": 0.5, "r": 0.5}


def test_derived_is_what_the_cited_facts_name() -> None:
    text = GRAMMAR.render(PROBLEM.gold_steps) + "\nAnswer: IBM"
    verdicts = TASK.judge_answer(PROBLEM, text)
    assert (verdicts.answer.outcome, verdicts.derived.outcome, verdicts.candidate.outcome) == (
        "incorrect",
        "correct",
        "missing",
    )


def test_gold_that_cannot_be_judged() -> None:
    blind = PROBLEM.blind()
    assert TASK.judge_answer(blind, "Answer: Intel").answer.outcome == "ungradable"
    assert TASK.decompose(blind) is None
    assert TASK.judge_output_trace(PROBLEM, None).outcome == "none"


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("assistant\n\n['Maersk']", "none"),
        ("Intel", "none"),
        (" ", "none"),
        ("<think>Ana works for Intel.</think> <answer>Intel</answer>", "unparsed"),
        ("\n</think>\n\n ['Intel']", "unparsed"),
        ("Temporal relation: during", "incorrect"),
        ("Supporting facts: ['Ana works for IBM in 1950.']", "incorrect"),
    ],
)
def test_an_answer_alone_is_no_trace_that_could_not_be_read(text: str, outcome: str) -> None:
    assert TASK.judge_output_trace(PROBLEM, text).outcome == outcome


# ---- loading


def test_a_row_becomes_a_problem(tmp_path: Any) -> None:
    assert list(TASK.load("test", write_rows(tmp_path, "cotempqa/problems.jsonl", [ROW]))) == [
        Problem(**{name: getattr(PROBLEM, name) for name in PROBLEM.__slots__} | {"difficulty": 1})
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"facts": None}, r"problems.jsonl, row 2: column 'facts' must be a list of texts"),
        ({"category": "never"}, r"row 2: column 'category' must be one of equal, mix, overlap, during, not 'never'"),
        ({"id": " "}, r"row 2: column 'id' must be text"),
        ({"triple_element": "S3"}, r"row 2: column 'triple_element'"),
        ({"answer": "Intel"}, r"row 2: column 'answer' must be a list of texts"),
    ],
)
def test_bad_rows_name_file_and_row(tmp_path: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        list(TASK.load("test", write_rows(tmp_path, "cotempqa/problems.jsonl", [ROW, ROW | change])))


def test_a_missing_column_split_or_folder(tmp_path: Any) -> None:
    less = {key: value for key, value in ROW.items() if key != "question"}
    with pytest.raises(InputError, match=r"row 1: no column 'question'; it has: answer, category"):
        list(TASK.load("test", write_rows(tmp_path, "cotempqa/problems.jsonl", [less])))
    with pytest.raises(InputError, match="no split 'dev'; known: train, test"):
        list(TASK.load("dev", SOURCE))
    with pytest.raises(InputError, match="give data_dir"):
        list(TASK.load("test", Source()))


# ---- gold


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("A works for B in 1974.", "A works for C from January 1, 1974 to December 31, 1974.", "equal"),
        ("A works for B in 1974.", "A works for C from 1970 to 1980.", "during"),
        ("A works for B from 1970 to 1980.", "A works for C in March, 1974.", "during"),
        ("A works for B from 1970 to 1975.", "A works for C from 1975 to 1980.", "overlap"),
        ("A works for B from 1970 to March, 1975.", "A works for C from April, 1975 to 1980.", None),
        ("A works for B from 1970.", "A works for C in 1999.", "during"),
    ],
)
def test_periods(one: str, other: str, expected: str | None) -> None:
    first, second = parse_fact(one), parse_fact(other)
    assert first is not None
    assert second is not None
    assert relation(first, second) == expected


@pytest.mark.parametrize(
    ("golds", "cited", "category", "found"),
    [
        (("Intel",), DATED[:1], "during", []),
        (("Intel",), DATED[:1], "equal", ["label"]),
        (("Intel",), DATED[:2], "during", ["cited"]),
        (("IBM",), DATED[1:2], "during", ["omitted", "disjoint", "label"]),
    ],
)
def test_audit_by_dates(golds: tuple[str, ...], cited: tuple[str, ...], category: str, found: list[str]) -> None:
    reasons = audit_gold(PROBLEM.question, DATED, "S1_R1_O2", golds, cited, category)
    assert [reason.split()[0] for reason in reasons] == found


def test_an_unreadable_question_is_said() -> None:
    assert audit_gold("Who?", DATED, "S1_R1_O2", ("Intel",), DATED[:1], "during") == [
        "unreadable question, or its own event is not among the facts"
    ]


@needs_data("cotempqa")
def test_every_gold_passes_and_its_doubts_are_counted(problems: dict[str, Problem]) -> None:
    kinds: Counter[tuple[str, str]] = Counter()
    for problem in problems.values():
        trace = TASK.decompose(problem)
        assert trace is not None
        assert trace.oracle
        assert TASK.parse_trace(trace.text).steps == problem.gold_steps
        assert TASK.answer_in_trace(problem, problem.gold_steps)
        kinds.update({(problem.split, reason.split()[0]) for reason in TASK.audit(problem)})
    assert len(problems) == 2779
    # none of kind "gold": every answer and every trace passes the task's own judges
    assert kinds == {
        ("train", "label"): 85,
        ("train", "cited"): 52,
        ("train", "omitted"): 43,
        ("train", "disjoint"): 29,
        ("test", "label"): 30,
        ("test", "cited"): 23,
        ("test", "omitted"): 51,
        ("test", "disjoint"): 8,
    }


# ---- published outputs


@needs_data("cotempqa", "published_outputs")
def test_every_reported_score_to_the_digit(problems: dict[str, Problem]) -> None:
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in outputs("cotempqa"):
        groups.setdefault((row["model"], row["arm"], row["category"]), []).append(row)
    reported = outputs("cotempqa_reported_scores")
    assert len(reported) == len(groups) == 32
    for score in reported:
        rows = groups[score["model"], score["arm"], score["category"]]
        figures = TASK.summarise(
            [problems[row["problem_id"]] for row in rows], [row["text"] for row in rows], policy="published"
        )
        ours = {name: round(figures[name], 1) for name in ("acc", "f1", "p", "r", "avg")}
        assert ours == {name: score[name] for name in ours}, (score["model"], score["arm"], score["category"])


def _judged(problems: dict[str, Problem], model: str) -> Iterator[tuple[bool, bool, bool, bool, bool, Verdict, str]]:
    for row in outputs("cotempqa"):
        if row["model"] == model and row["arm"] == "correct":
            problem, text = problems[row["problem_id"]], row["text"]
            trace = TASK.judge_output_trace(problem, formats.parse_completion(text).trace)
            yield (
                trace.figures.get("class") == 1,
                trace.figures.get("facts_exact") == 1,
                trace.ok,
                TASK.judge_answer(problem, text, "published").answer.ok,
                TASK.judge_answer(problem, text).answer.ok,
                # what counting the paraphrase as naming the class would give
                TASK.judge_output_trace(problem, re.sub(r"(?<=the event in )the (?=question|context)", "", text)),
                row["id"],
            )


@needs_data("cotempqa", "published_outputs")
@pytest.mark.parametrize(
    ("model", "category", "facts", "published", "corrected", "joint", "tie", "paraphrased"),
    [
        # 55.4, 37.5, 24.6 (= 234), 42.4, 39.8: the study notes' figures (39.7 there: a gold with a no-break space)
        (
            "Llama-3.2-1B-Instruct",
            *(526, 356, 403, 378, (232, 2, 171, 545), (0.991, 0.239, 0.656)),
            (533, (237, 2, 166, 545), ("430", "691", "1010", "1047", "1177", "2345", "2595")),
        ),
        (
            "Qwen3-1.7B",
            *(607, 433, 512, 452, (310, 5, 202, 433), (0.984, 0.318, 0.629)),
            (607, (310, 5, 202, 433), ()),
        ),
    ],
)
def test_the_corrected_figures_of_the_study(
    problems: dict[str, Problem],
    model: str,
    category: int,
    facts: int,
    published: int,
    corrected: int,
    joint: tuple[int, ...],
    tie: tuple[float, float, float],
    paraphrased: tuple[int, tuple[int, ...], tuple[str, ...]],
) -> None:
    rows = list(_judged(problems, model))
    assert len(rows) == 950
    assert tuple(sum(row[index] for row in rows) for index in (0, 1, 3, 4)) == (category, facts, published, corrected)
    cells = ((True, True), (True, False), (False, True), (False, False))
    counted = Counter((row[2], row[3]) for row in rows)
    assert tuple(counted[cell] for cell in cells) == joint
    table = joint_table([row[2] for row in rows], [row[3] for row in rows])
    found = (table.answer_if_trace_ok.value or 0, table.answer_if_trace_wrong.value or 0, table.phi or 0)
    assert tuple(round(value, 3) for value in found) == tie
    lenient = Counter((row[5].ok, row[3]) for row in rows)
    named = [row for row in rows if row[5].figures.get("class")]
    more = tuple(row[6].rpartition("-")[2] for row in named if not row[0])
    assert (len(named), tuple(lenient[cell] for cell in cells), more) == paraphrased


@needs_data("cotempqa", "published_outputs")
def test_the_arm_tuned_on_answers_alone_writes_no_traces(problems: dict[str, Problem]) -> None:
    outcomes = Counter(
        TASK.judge_output_trace(problems[row["problem_id"]], formats.parse_completion(row["text"]).trace).outcome
        for row in outputs("cotempqa")
        if row["arm"] == "vanilla"
    )
    assert outcomes == {"none": 1900}
