"""Traces that a person has reviewed, in a study: the pause, and what arms make of edits and rejections."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.pipeline.test_arms import arithmetic_study, rows
from tracedistill import pipeline
from tracedistill.cli import main
from tracedistill.errors import Paused
from tracedistill.files import read_jsonl
from tracedistill.pipeline.review import REVIEW_STORE
from tracedistill.records import Problem, Trace
from tracedistill.review.outcomes import decide
from tracedistill.review.store import ReviewStore
from tracedistill.review.trace_review import change
from tracedistill.validation import Validation

PROMPTS = {"trace-of-thought": "{problem}\n{steps}"}
ARMS = {
    "before": {"prompt": "trace-of-thought"},
    "after": {"prompt": "trace-of-thought", "traces": "reviewed"},
}


def filled(folder: Path, teacher: str) -> ReviewStore:
    """The store of a run folder, filled as `tracedistill review` does."""
    store = ReviewStore(folder / REVIEW_STORE)
    problems = list(read_jsonl(folder / "problems.jsonl", Problem))
    traces = list(read_jsonl(folder / "traces" / f"{teacher}.jsonl", Trace))
    verdicts = list(read_jsonl(folder / "validation" / f"{teacher}.jsonl", Validation))
    store.fill("gsm8k", problems, traces, verdicts)
    return store


def test_a_required_review_pauses_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = arithmetic_study(tmp_path, arms=ARMS, prompts=PROMPTS, review={"required": True, "sample": 2})
    assert main(["run", str(path), "--quiet"]) == 3
    said = capsys.readouterr().out
    assert f"tracedistill review {path}" in said
    assert not (tmp_path / "run" / "report.json").exists()
    assert (tmp_path / "run" / "validation" / "rules.jsonl").exists(), "everything before the review is made"
    with filled(tmp_path / "run", "rules") as store, pytest.raises(Paused, match="2 traces of rules need review"):
        assert store
        pipeline.run(pipeline.load(path), quiet=True)


def test_edits_and_rejections_reach_the_arms(tmp_path: Path) -> None:
    path = arithmetic_study(tmp_path, arms=ARMS, prompts=PROMPTS)
    loaded = pipeline.load(path)
    pipeline.run(loaded, quiet=True)
    assert rows(tmp_path, "after", "plans") == rows(tmp_path, "before", "plans"), "nothing was reviewed yet"
    shown = rows(tmp_path, "before", "plans")
    with filled(tmp_path / "run", "rules") as store:
        for place, status in enumerate(("edited", "rejected", "approved")):
            item = store.item_of(shown[place]["trace_id"])
            assert item is not None
            version = 0
            if status == "edited":
                lines = (*shown[place]["text"].splitlines()[:-1], "2. He keeps 900-1 = 899 pens.")
                draft = change(store, item, "ann", 0, "edit", lambda old, lines=lines: replace(old, lines=lines))
                version = draft.version
            decide(store, item, "ann", version, "rejected" if status == "rejected" else "approved", 3.0)
    made = pipeline.run(loaded, quiet=True)
    assert "review:rules" in made
    assert "generate:after" in made
    assert "generate:before" not in made
    after = {row["problem_id"]: row for row in rows(tmp_path, "after", "plans")}
    assert "899" in after[shown[0]["problem_id"]]["text"]
    assert after[shown[0]["problem_id"]]["parent_id"] == shown[0]["trace_id"]
    assert shown[1]["problem_id"] not in after
    assert after[shown[2]["problem_id"]]["text"] == shown[2]["text"]
    answers = {row["problem_id"]: row for row in rows(tmp_path, "after")}
    assert answers[shown[0]["problem_id"]]["answer"]["extracted"] == "899", "the student saw the edited plan"
    assert answers[shown[1]["problem_id"]]["finish"] == "no-plan"
    assembly = json.loads((tmp_path / "run" / "assembly.json").read_text())
    assert assembly["plans"]["after"]["edited"] == 1
    assert pipeline.run(loaded, quiet=True) == []
