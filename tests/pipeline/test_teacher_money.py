"""What a teach stage costs: usage.json beside a server's bill, a budget over folders, and any number of problems."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engines.server_kit import KEY, ask, running
from tests.fault_server import Behaviour
from tests.pipeline.test_teacher_server import recipe, teach
from tracedistill import pipeline
from tracedistill.engines import Request
from tracedistill.engines.budget import BudgetReachedError
from tracedistill.engines.cache import GenerationCache
from tracedistill.engines.scripted import ScriptedEngine
from tracedistill.engines.usage import TokenUsage
from tracedistill.files import read_json, read_lines
from tracedistill.pipeline.ordered_output import OrderedOutput, ResumeMark
from tracedistill.pipeline.paid_calls import Usage, buy, prices_of
from tracedistill.pipeline.screen import Screen
from tracedistill.pipeline.study_run import StudyRun

StudyFile = Callable[..., Path]
PRICED = {"usd_per_million_in": 1.0, "usd_per_million_out": 4.0, "usd_per_million_in_cached": 0.25}


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEACHER_KEY", KEY)


@pytest.mark.parametrize(
    ("behaviour", "system"),
    [
        (Behaviour(bill_all=True), "plain"),
        (Behaviour(bill_all=True), "[[cached]]"),
        (Behaviour(bill_all=True), "[[total]]"),
        (Behaviour(bill_all=True, faults=0.4, kinds=("empty",)), "paid but empty"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_usage_is_what_the_server_bills(
    behaviour: Behaviour, system: str, study_file: StudyFile, tmp_path: Path
) -> None:
    with running(behaviour) as server:
        loaded = pipeline.load(recipe(study_file, tmp_path / "one", server.url, 20, system=system, **PRICED))
        pipeline.run(loaded, "teach", quiet=True)
        read, wrote, cached = server.ledger.bill()
        usage = read_json(loaded.study.folder / "traces" / "planner.usage.json")
        with GenerationCache(tmp_path / "one" / "cache.sqlite") as cache:
            spent = cache.balance(loaded.study.study).spent
    bill = prices_of(loaded.study.teachers["planner"]).charge(TokenUsage(read, wrote, cached))
    assert usage["usd"] == pytest.approx(bill) == pytest.approx(spent.usd)
    assert usage["requests"] == usage["bought"] == 20
    assert bool(usage["cached_in"]) == (system == "[[cached]]")


def test_two_folders_at_once_spend_one_budget(study_file: StudyFile, tmp_path: Path) -> None:
    with running(Behaviour(latency=0.03)) as server:
        file = recipe(study_file, tmp_path / "one", server.url, 60)
        text = file.read_text(encoding="utf-8") + "\nbudget: {calls: 25}\n"
        other = file.with_name("other.yaml")
        file.write_text(text, encoding="utf-8")
        other.write_text(text.replace("one/run", "one/other").replace("seed: 0", "seed: 7"), encoding="utf-8")
        log = tmp_path / "log.txt"
        runs = [teach(file, log), teach(other, log)]
        assert [run.wait(120) for run in runs] == [2, 2], log.read_text()
        assert server.ledger.summary()["paid"] == 25, log.read_text()
    assert "25 of 25 calls spent" in log.read_text()


def test_the_first_call_is_made_before_all_requests_are_looked_through(study_file: StudyFile, tmp_path: Path) -> None:
    loaded = pipeline.load(recipe(study_file, tmp_path / "one", "http://127.0.0.1:9/v1", 5))
    work = StudyRun(loaded, Screen(quiet=True))
    work.run.claim()
    taken = itertools.count()

    def endless() -> Iterator[Request]:
        while True:
            yield ask(next(taken))

    config = loaded.study.teachers["planner"]
    engine = ScriptedEngine(lambda request: request.request_id)
    answers = buy(work, "planner", config, engine, endless(), Usage(), 10**9)
    assert [next(answers).text for _ in range(3)] == ["r0", "r1", "r2"]
    answers.close()
    assert next(taken) < 5_000


def test_traces_and_failures_stand_in_the_problems_order(study_file: StudyFile, tmp_path: Path) -> None:
    with running(Behaviour(latency=0.004, faults=0.3, kinds=("slow", "500"), slow=0.05)) as server:
        loaded = pipeline.load(recipe(study_file, tmp_path / "one", server.url, 40, samples=3, temperature=1.0))
        pipeline.run(loaded, "teach", quiet=True)
    folder = loaded.study.folder
    made = [(row["problem_id"], row.get("sample", 0)) for _, row in read_lines(folder / "traces" / "planner.jsonl")]
    drawn = [row["problem_id"] for _, row in read_lines(folder / "problems.jsonl") if row["split"] == "test"]
    assert made == [(problem, sample) for problem in drawn for sample in range(3)]
    assert not list((folder / "traces").glob(".*")), "no spool is left"


def test_a_run_that_was_ended_starts_where_it_was(
    study_file: StudyFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tracedistill.pipeline.teach.NOTED", 5)
    monkeypatch.setattr("tracedistill.pipeline.paid_calls.LOOKED_AT", 5)
    order: list[str] = []
    with running(Behaviour(latency=0.002)) as server:
        file = recipe(study_file, tmp_path / "one", server.url, 60, concurrency=1)
        loaded = pipeline.load(file, ["budget.calls=40"])
        with pytest.raises(BudgetReachedError):
            pipeline.run(loaded, "teach", quiet=True)
        mark = ResumeMark(loaded.study.folder / "traces" / "planner.jsonl")
        place = mark.read()
        assert 5 + 25 <= place <= 5 + 40, "training problems stand before them"
        chat = server.service.chat
        monkeypatch.setattr(server.service, "chat", lambda raw: order.append(raw.decode()) or chat(raw))
        loaded = pipeline.load(file)
        pipeline.run(loaded, "teach", quiet=True)
        assert len(order) == 20
    assert not mark.path.exists()
    made = [row["problem_id"] for _, row in read_lines(loaded.study.folder / "traces" / "planner.jsonl")]
    drawn = [
        row["problem_id"] for _, row in read_lines(loaded.study.folder / "problems.jsonl") if row["split"] == "test"
    ]
    assert made == drawn
    mark.note(17)
    mark.path.write_text("1x", encoding="ascii")
    assert mark.read() == 0, "a hint that cannot be read is none"


def test_a_spool_gives_lines_back_in_their_order_by_kind(tmp_path: Path) -> None:
    with OrderedOutput(tmp_path / "traces" / "t.jsonl") as spool:
        for place in (5, 0, 3, 1, 4):
            spool.put(place, "f" if place == 3 else "t", f"line {place} é")
        assert list(spool.lines("t")) == [f"line {place} é\n" for place in (0, 1, 4, 5)]
        assert list(spool.lines("f")) == ["line 3 é\n"]
        assert spool.path.exists()
    assert not spool.path.exists()


def test_a_reviser_works_on_the_first_trace_and_says_what_had_none(study_file: StudyFile, tmp_path: Path) -> None:
    def teachers(url: str) -> dict[str, Any]:
        planner = {"kind": "model", "model": "stub", "base_url": url, "max_tokens": 64, "system": "[[length]]"}
        return {"planner": planner, "reviser": {**planner, "prompt": "critique-and-revise", "source": "planner"}}

    with running(Behaviour()) as server:
        file = recipe(study_file, tmp_path / "one", server.url, 6)
        made = study_file(
            run_dir=str(tmp_path / "run"), cache=str(tmp_path / "cache.sqlite"), comparisons=[],
            arms={"trace-of-thought": {"prompt": "trace-of-thought", "teacher": "reviser"}},
            task={"name": "babi", "train": 5, "validation": 0, "test": 6}, teachers=teachers(server.url),
        )  # fmt: skip
        assert file != made
        loaded = pipeline.load(made)
        pipeline.run(loaded, "teach", quiet=True)
    failures = [row for _, row in read_lines(loaded.study.folder / "traces" / "reviser.failures.jsonl")]
    assert [row["cause"] for row in failures] == ["planner made no traces to work on"] * 6
