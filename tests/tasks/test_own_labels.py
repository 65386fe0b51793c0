"""Agreement with the labels of 100 outputs written for this purpose, so that it is guarded in a plain clone too."""

from __future__ import annotations

import json
from pathlib import Path

from tracedistill.tasks import get_task

ROWS = [
    json.loads(line)
    for line in (Path(__file__).parents[1] / "data" / "labelled_outputs.jsonl").read_text(encoding="utf-8").splitlines()
]
TASK = get_task("gsm8k")


def test_answers_and_traces_as_labelled() -> None:
    assert len(ROWS) == 100
    assert {row["answer"] for row in ROWS} == {True, False}
    wrong = []
    for row in ROWS:
        problem = TASK.problem_of_row(row["id"], row["question"], (row["gold"],))
        answer = TASK.judge_answer(problem, row["text"]).answer
        trace = TASK.judge_output_trace(problem, row["text"])
        if answer.ok != row["answer"]:
            wrong.append(f"{row['id']}: answer {answer.outcome}, {answer.reason}")
        if trace.outcome != row["trace"]:
            wrong.append(f"{row['id']}: trace {trace.outcome}, {trace.reason}")
    assert wrong == []
