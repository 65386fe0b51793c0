from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from tests.review.kit import TASK, fill, filled, problem, trace
from tracedistill.errors import InputError
from tracedistill.records import StepVerdict, Trace, Verdict
from tracedistill.review.queue import Filter, lines
from tracedistill.review.store import ReviewStore
from tracedistill.review.trace_review import change, work_of
from tracedistill.validation import Validation, validate
from tracedistill.validation.judge_verdicts import PlanJudgement
from tracedistill.validation.leaks import LeakVerdict


def listed(store: ReviewStore, **chosen: object) -> list[str]:
    return [line.problem_id for line in lines(store, "ana", Filter(**chosen))]  # type: ignore[arg-type]


def test_filling_twice_adds_nothing_and_loses_nothing(tmp_path: Path) -> None:
    with filled(tmp_path / "r.sqlite", 4) as store:
        change(store, 1, "ana", 0, "text", lambda work: replace(work, comment="mine"))
        assert fill(store, [trace(number) for number in range(6)]) == 2
        assert fill(store, [trace(number) for number in range(6)]) == 0
        assert listed(store) == [f"p{number}" for number in range(6)]
        assert work_of(store, 1, "ana").comment == "mine"
        assert [store.trace(item + 1) for item in range(6)] == [trace(number) for number in range(6)]
        assert store.problem("p3") == problem(3)


def test_traces_that_are_gone_leave_the_queue_but_for_worked_ones(tmp_path: Path) -> None:
    with filled(tmp_path / "r.sqlite", 4) as store:
        change(store, 2, "ana", 0, "text", lambda work: replace(work, comment="mine"))
        fill(store, [trace(0), trace(9)], whole="t")
        assert listed(store) == ["p0", "p1", "p9"]
        fill(store, [trace(number) for number in range(4)], whole="t")
        assert listed(store) == ["p0", "p1", "p2", "p3"]


def test_texts_that_sqlite_and_utf8_choke_on(tmp_path: Path) -> None:
    odd = trace(0, "nul \x00, lone \ud800, tab\t, 1+1 = 2")
    with ReviewStore(tmp_path / "r.sqlite") as store:
        fill(store, [odd])
        assert store.trace(1) == odd


def test_verdicts_become_reasons_to_read(tmp_path: Path) -> None:
    plain = Verdict("correct")
    step = StepVerdict(0, "calculation", "incorrect")
    leak = LeakVerdict("answer", True, (), "", "", ("answer",), ("answer",))
    judged = PlanJudgement("j", "incorrect", "rule", disagree=True)
    cases = [
        (Validation("", "", True, "", plain, plain, False), ()),
        (Validation("", "", False, "no", plain, plain, False), ("validation failed",)),
        (Validation("", "", True, "", plain, plain, False, leak=leak), ("leak suspected",)),
        (Validation("", "", True, "", plain, plain, False, judged=judged), ("two checkers disagree",)),
        (Validation("", "", True, "", replace(plain, steps=(step,)), plain, False), ("teacher error suspected",)),
    ]
    traces = [trace(number) for number in range(len(cases))]
    verdicts = [
        replace(verdict, trace_id=one.trace_id, problem_id=one.problem_id)
        for one, (verdict, _) in zip(traces, cases, strict=True)
    ]
    with ReviewStore(tmp_path / "r.sqlite") as store:
        store.fill("gsm8k", [problem(number) for number in range(len(cases))], traces, verdicts)
        assert [line.needs for line in lines(store, "ana", Filter())] == [needs for _, needs in cases]
        assert store.verdict(1) == verdicts[0]
        # what is attributed counts for more than what rules find wrong
        store.fill("gsm8k", [], traces, [], blamed={"p0"})
        assert listed(store, need="teacher") == ["p0"]


def test_a_file_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE theirs (x)")
    db.close()
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"other\.sqlite: not a review store"):
        ReviewStore(path)
    assert path.read_bytes() == before
    (tmp_path / "text.sqlite").write_text("not a database at all, " * 100)
    with pytest.raises(InputError, match=r"text\.sqlite"):
        ReviewStore(tmp_path / "text.sqlite")


def test_an_error_inside_a_transaction_undoes_it(tmp_path: Path) -> None:
    def traces() -> object:
        yield trace(7)
        raise InputError("broken row")

    with filled(tmp_path / "r.sqlite", 2) as store:
        with pytest.raises(InputError, match="broken row"):
            store.fill("gsm8k", [problem(7)], traces(), whole="t")  # type: ignore[arg-type]
        assert listed(store) == ["p0", "p1"]


def test_the_verdicts_are_those_of_validation(tmp_path: Path) -> None:
    traces: list[Trace] = [trace(number) for number in range(6)]
    problems = {one.problem_id: problem(int(one.problem_id[1:])) for one in traces}
    with filled(tmp_path / "r.sqlite", 6) as store:
        expected = list(validate(TASK, problems, traces, "correct"))
        assert [store.verdict(item) for item in range(1, 7)] == expected
        assert listed(store, need="failed") == [one.problem_id for one in expected if not one.accepted] == ["p1", "p4"]
