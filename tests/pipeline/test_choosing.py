"""The sides of the page's decision are chosen on validation problems: who is asked them, what is made, what is said."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.test_arms import arithmetic_study, rows, run
from tracedistill import pipeline
from tracedistill.files import read_jsonl
from tracedistill.pipeline.nodes import Graph
from tracedistill.pipeline.offline import take_answers, write_requests
from tracedistill.pipeline.screen import Screen
from tracedistill.pipeline.study_run import StudyRun
from tracedistill.recipes import Arm, EvaluationConfig, StudentConfig, Study, TaskConfig, candidates
from tracedistill.records import Problem

OWN = TaskConfig(name="file", path="own.csv")
ARMS = {
    "standard": Arm(student="s"),
    "few-shot": Arm(student="s", prompt="few-shot"),
    "answer-only": Arm(student="s", tune="none"),
    "correct-trace": Arm(student="s", tune="correct"),
    "told": Arm(student="s", adapter="answer-only"),
    "forced": Arm(student="s", forced="correct"),
    "other": Arm(student="t"),
    "other-few": Arm(student="t", prompt="few-shot"),
}
ONE_EACH = ("standard", "answer-only")


@pytest.mark.parametrize(
    ("names", "task", "choose_on", "chosen"),
    [
        (ONE_EACH, OWN, None, ()),
        (("standard", "few-shot", "answer-only"), OWN, None, ("standard", "few-shot")),
        (("standard", "answer-only", "correct-trace"), OWN, None, ("answer-only", "correct-trace")),
        (("standard", "few-shot", "answer-only", "told"), OWN, None, ("standard", "few-shot", "answer-only", "told")),
        # nothing to decide between, or nobody who prompts the student that is tuned
        (("standard", "few-shot"), OWN, None, ()),
        (("other", "answer-only", "correct-trace"), OWN, None, ()),
        (("standard", "other", "other-few", "answer-only"), OWN, None, ()),
        # forced arms are no way to use a student
        (("standard", "forced", "answer-only"), OWN, None, ()),
        (("standard", "few-shot", "answer-only"), OWN, 0, ()),
        (("standard", "few-shot", "answer-only"), TaskConfig(name="file", validation=0), None, ()),
        (("standard", "few-shot", "answer-only"), TaskConfig(name="my_tasks:Mine"), None, ("standard", "few-shot")),
        (("standard", "few-shot", "answer-only"), TaskConfig(name="babi"), None, ()),
        (("standard", "few-shot", "answer-only"), TaskConfig(name="babi"), 50, ("standard", "few-shot")),
    ],
)
def test_who_is_asked_validation_problems(
    names: tuple[str, ...], task: TaskConfig, choose_on: int | None, chosen: tuple[str, ...]
) -> None:
    study = Study(
        study="x",
        task=task,
        students={"s": StudentConfig(model="a"), "t": StudentConfig(model="b")},
        arms={name: ARMS[name] for name in names},
        evaluation=EvaluationConfig(choose_on=choose_on),
    )
    assert tuple(candidates(study)) == chosen


def study_at(tmp_path: Path, **changes: Any) -> Path:
    """A student behind an endpoint, which serves a tuned model too."""
    return arithmetic_study(
        tmp_path,
        **{
            "task": {"name": "gsm8k", "data_dir": str(tmp_path / "data"), "validation": 10},
            "students": {"far": {"model": "stub", "base_url": "http://127.0.0.1:9/v1"}},
            "arms": {
                "standard": {},
                "plan": {"prompt": "trace-of-thought"},
                "few-shot": {"prompt": "few-shot", "shots": 2},
                "tuned": {"served": "my-adapter"},
            },
            "evaluation": {"batch_size": 4, "choose_on": 6},
            **changes,
        },
    )


def answered(line: str) -> str:
    """Answer one request: examples help on validation problems, and hurt on test problems."""
    request = json.loads(line)
    body = request["body"]
    prompt = "\n".join(message["content"] for message in body["messages"])
    boxes, pens, given = (
        int(n) for n in re.findall(r"Tom buys (\d+) boxes of (\d+) pens each and gives (\d+)", prompt)[-1]
    )
    few, test = prompt.count("Tom buys") > 1, pens >= 111
    right = body["model"] == "my-adapter" or (few != test)
    text = f"Answer: {boxes * pens - given if right else 0}"
    message = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    response = {
        "status_code": 200,
        "body": {"choices": [message], "usage": {"prompt_tokens": 5, "completion_tokens": 3}},
    }
    return json.dumps({"custom_id": request["custom_id"], "response": response}) + "\n"


def test_the_prompt_is_chosen_on_validation_problems_and_the_page_says_so(tmp_path: Path) -> None:
    loaded = pipeline.load(study_at(tmp_path))
    forecast = pipeline.dry_run(loaded)
    foreseen = {asking.arm: asking.lengths.requests for asking in forecast.evaluations if asking.lengths is not None}
    assert {name: n for name, n in foreseen.items() if "validation" in name} == dict.fromkeys(
        ("standard.validation", "plan.validation", "few-shot.validation"), 6
    )
    write_requests(loaded, tmp_path / "requests", 1, quiet=True)
    asked = [line for file in (tmp_path / "requests").rglob("*.jsonl") for line in file.read_text().splitlines()]
    assert len(asked) == sum(foreseen.values())
    (tmp_path / "answers.jsonl").write_text("".join(map(answered, asked)))
    take_answers(loaded, [tmp_path / "answers.jsonl"], quiet=True)
    held = {problem.problem_id for problem in read_jsonl(tmp_path / "run/problems.jsonl", Problem)
            if problem.split == "validation"}  # fmt: skip
    assert {row["problem_id"] for row in rows(tmp_path, "plan.validation")} < held
    assert pipeline.run(loaded, quiet=True) == ["report"]
    report = pipeline.report_of(loaded)
    right = {arm.name: (arm.correct, arm.validation and arm.validation.successes) for arm in report.arms}
    assert right == {"standard": (24, 0), "plan": (24, 0), "few-shot": (0, 6), "tuned": (24, None)}
    assert report.decision[0].startswith("Tune: tuned (tuned) answers 100.0% of 24 test problems right, few-shot (the")
    # the plan is made from gold, so that it is no choice
    assert report.decision[-1] == (
        "Chosen on validation problems, not on these test problems: few-shot, the best of 2 prompts (100.0% of 6 "
        "right there)."
    )
    # the same folder without that choice: what it left does not count
    report = run(study_at(tmp_path, evaluation={"batch_size": 4, "choose_on": 0}))
    assert report.decision[0].startswith("Cannot tell yet")
    assert "with more arms to choose from. Set evaluation.choose_on to choose on" in report.decision[-1]
    assert all(arm.validation is None for arm in report.arms)


def test_a_study_that_chooses_on_test_problems_keeps_its_pieces(tmp_path: Path) -> None:
    """What earlier versions made counts as it is: the new key changes no other piece's settings."""
    names = {}
    for choose_on in (0, 6):
        path = study_at(tmp_path, evaluation={"batch_size": 4, "choose_on": choose_on})
        loaded = pipeline.load(path)
        work = StudyRun(loaded, Screen(quiet=True))
        names[choose_on] = {node.name: node.params for node in Graph(work).nodes() if node.kind != "report"}
    assert all(names[6][name] == params for name, params in names[0].items() if name != "teach:rules")
    added = {name for name in names[6] if name not in names[0]}
    assert added == {
        f"{kind}:{arm}.validation" for kind in ("generate", "score") for arm in ("standard", "plan", "few-shot")
    }
