"""Interventions, prompts and engines from outside the package, by dotted path as tasks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tracedistill import pipeline
from tracedistill.cli import main
from tracedistill.errors import InputError
from tracedistill.files import read_json

ARMS = {
    "standard": {"prompt": "tests.extensions:CAREFUL"},
    "shown": {"prompt": "tests.extensions:WITH_STEPS"},
    "reversed": {"prompt": "tests.extensions:WITH_STEPS", "plan": "tests.extensions:REVERSED"},
}


@pytest.fixture
def recipe(study_file: Callable[..., Path]) -> Path:
    students = {"solver": {"model": "scripted:tests.extensions:Echoing"}}
    return study_file(teachers={"rules": {"kind": "rules"}}, students=students, arms=ARMS, comparisons=[])


def test_a_study_of_extensions_runs_to_its_report(recipe: Path, tmp_path: Path) -> None:
    loaded = pipeline.load(recipe)
    pipeline.run(loaded, quiet=True)
    plans = {}
    for name in ("shown", "reversed"):
        lines = (tmp_path / "run" / "plans" / f"{name}.jsonl").read_text().splitlines()
        plans[name] = {line["problem_id"]: line for line in map(json.loads, lines)}
    first = next(iter(plans["shown"]))
    assert plans["reversed"][first]["steps"] == plans["shown"][first]["steps"][::-1]
    assembly = read_json(tmp_path / "run" / "assembly.json")
    assert assembly["plans"]["reversed"]["broken"] == []
    assert [arm.correct for arm in pipeline.report_of(loaded).arms] == [16, 16, 16]
    assert not pipeline.run(pipeline.load(recipe), quiet=True), "nothing has changed"


def test_a_teacher_of_ones_own(study_file: Callable[..., Path], tmp_path: Path) -> None:
    config = {"kind": "model", "model": "scripted:tests.extensions:Echoing", "prompt": "tests.extensions:CAREFUL"}
    arms = {"standard": {}, "answer-only": {"tune": "none"}, "correct": {"tune": "tests.extensions:REVERSED"}}
    recipe = study_file(teachers={"mine": config}, arms=arms, comparisons=[])
    pipeline.run(pipeline.load(recipe), "validate", quiet=True)
    report = read_json(tmp_path / "run" / "validation" / "mine.report.json")
    assert report["traces"] == report["accepted"] > 0


def test_another_code_of_an_intervention_makes_its_datasets_again(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline.run(pipeline.load(recipe), "assemble", quiet=True)
    states = {node.name: state for node, state in pipeline.status(pipeline.load(recipe))}
    assert states["assemble"].kind == "complete"
    monkeypatch.setattr("tracedistill.interventions.module_hash", lambda _: "other")
    states = {node.name: state for node, state in pipeline.status(pipeline.load(recipe))}
    assert states["assemble"].kind == "stale"
    assert "intervention_code" in states["assemble"].reason


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("arms.shown.plan", "tests.extensions:NOWHERE", "arms.shown.plan: .*cannot be imported: AttributeError"),
        ("arms.shown.plan", "tests.nowhere:X", "arms.shown.plan: .*cannot be imported: ModuleNotFoundError"),
        ("arms.shown.plan", "tests.extensions:NUMBER", "must be a tracedistill.interventions.Intervention"),
        ("arms.shown.plan", "tests.extensions:MISDECLARED", "keeps 'colour'; known: everything"),
        ("arms.shown.plan", "reversd", "unknown name 'reversd'"),
        ("arms.shown.prompt", "tests.extensions:NOWHERE", "prompt 'tests.extensions:NOWHERE': cannot be imported"),
        ("arms.shown.prompt", "tests.extensions:NUMBER", "must be a text with {problem} in it, got int"),
        ("arms.shown.prompt", "tests.extensions:NOT_FILLED_IN", "{trace} is not filled in here"),
        ("arms.shown.prompt", "standrd", "unknown name 'standrd'"),
    ],
)
def test_what_cannot_be_used_is_an_error_of_the_recipe(recipe: Path, key: str, value: str, message: str) -> None:
    with pytest.raises(InputError, match=message.replace("{", r"\{").replace("}", r"\}")):
        pipeline.load(recipe, [f"{key}={value}"])


def test_an_engine_that_cannot_be_imported_is_one_line(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(recipe), "students.solver.model=scripted:tests.extensions:Nowhere"]) == 2
    assert "cannot import it" in capsys.readouterr().err
