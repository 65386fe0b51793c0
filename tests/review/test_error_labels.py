"""Failed attempts: whose error, and does the program say the same?"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.review.kit import HOST, Browser, filled, problem, small_reading, trace
from tracedistill import pipeline
from tracedistill.errors import InputError
from tracedistill.review.agreement import cohen_kappa
from tracedistill.review.error_labels import (
    ErrorReading,
    FailedAttempt,
    label,
    labels_of,
    load_reading,
    reading_agreement,
)
from tracedistill.review.trace_review import Conflict


def test_one_button_for_each_error(tmp_path: Path) -> None:
    with filled(tmp_path / "r.sqlite") as store:
        browser = Browser(store, reading=small_reading())
        browser.open("/read")
        assert "Answer: 29" in browser.page
        assert "the program's" not in browser.page  # its own word comes after the reader's
        browser.press("student")
        assert browser.at.endswith("/read/1")
        browser.press("both")
        assert browser.at.endswith("/read/2")
        assert "2 attempts were labelled. The program attributes 1 of them." in browser.page
        assert "Same label: <b>0.0%</b>" in browser.page
        browser.open("/read/0")
        assert "your label: student; the program's: teacher" in browser.page
        browser.press("teacher")
        assert labels_of(store, small_reading())["ana"] == {"arm/p1/0": ("teacher", 2), "arm/p2/0": ("both", 1)}


def test_a_label_of_another_tab_is_not_lost(tmp_path: Path) -> None:
    with filled(tmp_path / "r.sqlite") as store:
        one, other = (Browser(store, reading=small_reading()) for _ in range(2))
        one.open("/read/0")
        other.open("/read/0")
        one.press("student")
        assert "nothing was overwritten" in other.press("teacher")
        assert other.status == 409
        assert labels_of(store, small_reading())["ana"]["arm/p1/0"] == ("student", 1)


@pytest.mark.parametrize(("form", "status"), [({"version": "0", "do": "nobody"}, 400), ({"do": "both"}, 400)])
def test_broken_forms(tmp_path: Path, form: dict[str, str], status: int) -> None:
    with filled(tmp_path / "r.sqlite") as store:
        browser = Browser(store, reading=small_reading())
        browser.open("/read/0")
        address = browser.at
        answer = browser.client.post(address, data=form, headers={"Origin": f"http://{HOST}"})
        assert answer.status_code == status
        assert labels_of(store, small_reading()) == {}


def test_agreement_with_the_program(tmp_path: Path) -> None:
    program = ["teacher", "teacher", "student", "student", "both", "undecided", "solved"]
    reader = ["teacher", "student", "student", "student", "both", "neither", "teacher"]
    items = tuple(FailedAttempt(f"arm/p{n}/0", f"p{n}", "arm", "", None, "") for n in range(7))
    reading = ErrorReading(items, {}, {f"p{n}": said for n, said in enumerate(program)})
    with filled(tmp_path / "r.sqlite") as store:
        for item, said in zip(items, reader, strict=True):
            label(store, reading, "ana", item, said, 0, 1.0)
        with pytest.raises(Conflict):
            label(store, reading, "ana", items[0], "both", 0, 1.0)
        (found,) = reading_agreement(store, reading)
        assert (found.read, found.same.successes, found.same.n) == (7, 4, 5)
        assert found.kappa == cohen_kappa(reader[:5], program[:5])
        assert dict(found.cells)["student", "teacher"] == 1


def test_the_failed_attempts_of_a_run(study_file: Callable[..., Path]) -> None:
    arms = {"standard": {}, "planned": {"prompt": "trace-of-thought"}}
    students = {"solver": {"model": "scripted:tests.scripts:half"}}
    loaded = pipeline.load(study_file(arms=arms, students=students, comparisons=[]))
    pipeline.run(loaded, "evaluate", quiet=True)
    folder = loaded.study.folder
    lines = [json.loads(line) for line in (folder / "attempts" / "planned.jsonl").read_text().splitlines()]
    wrong = {line["attempt_id"] for line in lines if line["answer"]["outcome"] != "correct" and line.get("trace_id")}
    everything = load_reading(folder, 500)
    assert {item.attempt_id for item in everything.items} == wrong
    assert wrong
    assert all(item.plan is not None and item.plan.problem_id == item.problem_id for item in everything.items)
    some = load_reading(folder, 2, seed=3)
    assert some == load_reading(folder, 2, seed=3)
    assert len(some.items) == 2
    with pytest.raises(InputError, match="no such file"):
        load_reading(folder, 2, arm="nothing")
    with pytest.raises(InputError, match="no failed attempt"):
        load_reading(folder, 2, arm="standard")


def test_an_attempt_stands_beside_plan_and_gold(tmp_path: Path) -> None:
    item = FailedAttempt("arm/p1/0", "p1", "arm", "I say 30", trace(1), "30 is not 29")
    with filled(tmp_path / "r.sqlite") as store:
        page = Browser(store, reading=ErrorReading((item,), {"p1": problem(1)})).open("/read")
        for said in ("They pack 11 boxes", "They pack 11*3 = 34 pens.", "I say 30", "30 is not 29", "Answer: 29"):
            assert said in page
