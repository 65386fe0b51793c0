"""report.json is a contract: its documentation is made of the records, and what is written is read back as it was."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.report_kit import arm, comparison, facts, report
from tests.run_folders import right, traced, write_run, wrong
from tracedistill.cli import main
from tracedistill.errors import InputError
from tracedistill.files import to_json, write_json
from tracedistill.report import write_view
from tracedistill.report.reader import read_report
from tracedistill.report.records import Report
from tracedistill.report.reference import _docs, _records, reference
from tracedistill.report.runs import view_of_folder

AGAIN = "python -m tracedistill.report.reference docs/report-json.md"


def test_the_committed_reference_is_that_of_the_records() -> None:
    assert (ROOT / "docs" / "report-json.md").read_text(encoding="utf-8") == reference(), AGAIN


@pytest.mark.parametrize("record", _records(Report), ids=lambda record: record.__name__)
def test_every_key_has_a_meaning(record: Any) -> None:
    meanings = _docs(record)
    for item in dataclasses.fields(record):
        assert meanings[item.name].endswith("."), item.name


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_run(tmp_path, {"a": right, "b": wrong, "traced": traced}, 6, comparisons=[("a", "b")])
    return tmp_path


def test_what_is_written_is_read_back(run: Path) -> None:
    written = write_view(view_of_folder(run))
    assert written.sections
    assert written.comparisons
    assert read_report(run) == written


def test_a_made_up_report_with_everything_is_read_back(tmp_path: Path) -> None:
    plan = facts(3, holding_answer=1, broken=("a sentence",), mix={"b": 1})
    whole = report(arm(joint=(1, 0, 2, 3), plan=plan, candidate=2), comparisons=[comparison(vote=("a",), mde=0.1)])
    write_json(tmp_path / "report.json", to_json(whole, defaults=True))
    assert read_report(tmp_path) == whole


Change = Callable[[dict[str, Any]], object]
LAST: dict[str, Change] = {
    "no version": lambda values: values.pop("version"),
    "classes": lambda values: values.update(
        baseline={"answer": "x", "answer_share": 0.5, "class": "", "class_share": 1}
    ),
    "no decision": lambda values: values.pop("decision"),
    "arms without mixes": lambda values: [each.pop("mix") for each in values["arms"]],
    "arms without sources": lambda values: [each.pop("source") for each in values["arms"]],
    "a key of a later version": lambda values: values.update(later=1),
}
"""How report.json of other versions differs."""


@pytest.mark.parametrize("change", LAST.values(), ids=LAST)
def test_other_versions_are_read(run: Path, change: Change) -> None:
    written = write_view(view_of_folder(run))
    values = json.loads((run / "report.json").read_text())
    change(values)
    write_json(run / "report.json", values)
    assert [each.accuracy for each in read_report(run).arms] == [each.accuracy for each in written.arms]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda values: values.update(version=2),
            "but this version reads 1; to write it again, run: tracedistill",
        ),
        (lambda values: values["arms"][0].update(n="six"), r"Expected `int`, got `str` - at `\$.arms\[0\].n`"),
        (lambda values: values.pop("arms"), "missing required field `arms`"),
    ],
)
def test_what_is_no_report_is_refused_by_name(run: Path, change: Change, words: str) -> None:
    write_view(view_of_folder(run))
    values = json.loads((run / "report.json").read_text())
    change(values)
    write_json(run / "report.json", values)
    with pytest.raises(InputError, match=words) as caught:
        read_report(run)
    assert str(run / "report.json") in str(caught.value)
    assert main(["report", str(run), "--quiet"]) == 0, "the remedy that the error names"
    read_report(run)
