"""No dollar uncounted: the ledger beside a server's real bill, for every shape of reply, over kills and processes."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.engines.kill_worker import PRICES
from tests.engines.server_kit import engine_at, many, running
from tests.fault_server import Behaviour
from tracedistill.engines.budget import Budget, BudgetReachedError, worst_case
from tracedistill.engines.cache import GenerationCache
from tracedistill.engines.calls import Pacing
from tracedistill.engines.client import generate
from tracedistill.engines.usage import TokenUsage

WORKER = Path(__file__).with_name("kill_worker.py")
SHAPES = {
    # markers in the prompt -> whether the server tells what it bills
    "": True,
    "[[no-usage]]": False,
    "[[nonsense]]": False,
    "[[hidden]]": True,
    "[[total]]": True,
    "[[template]]": True,
    "[[floats]]": True,
    "[[cached]]": True,
    "[[empty]]": True,
    "[[empty]][[hidden]]": True,
    "[[empty]][[no-usage]]": False,
    "[[garbage]]": False,
    "[[length]]": True,
    "[[refusal]]": True,
    "[[reasoning]][[total]]": True,
    "[[error]]": True,
    "[[503]]": True,
    "[[400]]": True,
}
UNANSWERED = ("[[empty]]", "[[garbage]]", "[[error]]", "[[503]]", "[[400]]")
"""Nothing but such replies ends a run by itself."""
KINDS = pytest.mark.parametrize(("shape", "told"), SHAPES.items(), ids=list(SHAPES))


def dollars(bill):
    read, wrote, cached = bill
    return PRICES.charge(TokenUsage(read, wrote, cached))


def most(shape):
    """The worst case of one call."""
    worst = worst_case(next(many(1, shape)))
    return PRICES.cost(worst.tokens_in + 1000, worst.tokens_out + 3100)


@KINDS
def test_the_ledger_is_the_bill_or_above_it_where_nothing_is_told(shape, told, tmp_path):
    with running(Behaviour(latency=0.001, bill_all=True)) as server, GenerationCache(tmp_path / "c.db") as cache:
        engine = engine_at(server.url, prices=PRICES, pacing=Pacing(4, 4, attempts=3, outage=0))
        # fewer than the equal failures that would end the run
        answers = list(generate(many(6, shape), engine, cache, Budget(scope="study")))
        balance, bill, paid = cache.balance("study"), dollars(server.ledger.bill()), sum(server.ledger.paid.values())
        stored = list(cache.lookup(keys_of(cache)).values())
    assert len(answers) == 6
    assert balance.others.calls == 0, "nothing is at stake any more"
    assert balance.spent.usd == pytest.approx(sum(entry.usd for entry in stored)), "every dollar stands by its answer"
    assert balance.spent.calls == paid
    if told:
        assert balance.spent.usd == pytest.approx(bill)
    else:
        assert bill < balance.spent.usd <= paid * most(shape)


def keys_of(cache):
    return [bytes(key) for (key,) in cache._reader.execute("SELECT key FROM generations")]


def work(server, folder, shape, *, count=4000, concurrency=1, limits=None):
    """A run in a process of its own, on the cache of `folder`."""
    command = [sys.executable, str(WORKER), server.url, str(folder / "cache.db"), str(folder / "out.jsonl"), str(count)]
    command += [str(concurrency), shape, json.dumps({"scope": "study", **(limits or {})})]
    environment = {name: value for name, value in os.environ.items() if name != "TEACHER_KEY"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def killed(server, folder, shape, moment, **options):
    """Start a run and kill it a moment after its first new answer; whether it was still at work."""
    before = sum(server.ledger.paid.values())
    with work(server, folder, shape, **options) as process:
        deadline = time.monotonic() + 60
        while sum(server.ledger.paid.values()) <= before and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(moment)
        at_work = process.poll() is None
        process.send_signal(signal.SIGKILL)
    wait_for_calm(server)
    return at_work


def wait_for_calm(server):
    deadline = time.monotonic() + 30
    while server.ledger.in_flight and time.monotonic() < deadline:
        time.sleep(0.01)


def check_kills(shape, told, folder, kills, concurrency):
    """`~fault` in a shape's place: four calls in ten meet that fault."""
    draw = random.Random(shape)
    faults = {"faults": 0.4, "kinds": (shape[1:],)} if shape.startswith("~") else {}
    with running(Behaviour(latency=0.05, bill_all=True, bill_dropped=True, **faults)) as server:
        done = sum(killed(server, folder, shape, draw.random() * 0.3, concurrency=concurrency) for _ in range(kills))
        with GenerationCache(folder / "cache.db") as cache:
            spent, paid, bill = cache.balance("study").spent, sum(server.ledger.paid.values()), server.ledger.bill()
    assert done == kills, "every kill met a run at work"
    assert paid > kills
    assert dollars(bill) - 1e-9 <= spent.usd
    assert 0 <= spent.calls - paid <= kills * concurrency
    if told:
        assert spent.usd <= dollars(bill) + kills * concurrency * most(shape)


@pytest.mark.parametrize(("shape", "concurrency"), [("[[total]]", 8)])
def test_a_kill_costs_the_ledger_one_worst_case_for_each_call_in_flight(shape, concurrency, tmp_path):
    check_kills(shape, True, tmp_path, 2, concurrency)


ANSWERED = {shape: told for shape, told in SHAPES.items() if not set(UNANSWERED) & {shape[:9], shape}}


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "told"), [*ANSWERED.items(), ("~empty", True), ("~half-json", False)])
def test_kills_for_every_shape(shape, told, tmp_path):
    check_kills(shape, told, tmp_path, 3, 1)


def test_a_budget_holds_over_kills(tmp_path):
    with running(Behaviour(latency=0.03, bill_dropped=True)) as server:
        for _ in range(2):
            killed(server, tmp_path, "", 0.05, concurrency=8, limits={"calls": 40})
        with work(server, tmp_path, "", concurrency=8, limits={"calls": 40}) as last:
            assert b"40 calls spent" in last.stderr.read()
        assert last.returncode == 3
        assert 16 < sum(server.ledger.paid.values()) <= 40


def test_a_budget_holds_over_processes_at_once(tmp_path):
    with running(Behaviour(latency=0.02)) as server:
        runs = [
            work(server, tmp_path, f"of run {number}", count=100, concurrency=8, limits={"calls": 30})
            for number in range(3)
        ]
        told = [run.communicate(timeout=60)[1] for run in runs]
        assert [run.returncode for run in runs] == [3, 3, 3], told
        assert sum(server.ledger.paid.values()) == 30, "all of it can be spent, and no call more"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_budget_holds_over_two_processes_that_are_killed_at_any_moment(seed, tmp_path):
    """Both on one cache, as two run folders of a study are; each is killed and started again, four times in all."""
    draw, limits = random.Random(seed), {"calls": 60, "usd": 60 * most("")}
    with running(Behaviour(latency=0.03, bill_all=True, bill_dropped=True, faults=0.2)) as server:
        runs = [work(server, tmp_path, f"of run {name}", concurrency=8, limits=limits) for name in "ab"]
        for _ in range(4):
            time.sleep(draw.random() * 1.5)
            one = draw.randrange(2)
            with runs[one] as run:
                run.send_signal(signal.SIGKILL)
            runs[one] = work(server, tmp_path, f"of run {'ab'[one]}", concurrency=8, limits=limits)
        told = [run.communicate(timeout=120)[1] for run in runs]
        wait_for_calm(server)
        paid, bill = sum(server.ledger.paid.values()), dollars(server.ledger.bill())
    with GenerationCache(tmp_path / "cache.db") as cache:
        spent = cache.balance("study").spent
    assert [run.returncode for run in runs] == [3, 3], told
    assert 0 < paid <= spent.calls <= 60
    assert bill - 1e-9 <= spent.usd <= limits["usd"] + 1e-9


def test_a_budget_in_dollars_is_kept_though_a_server_writes_more_than_it_was_asked_for(tmp_path):
    """Its first replies show it; from then on each call is reckoned at what such a reply costs."""
    start = 2
    with running(Behaviour(latency=0.005)) as server, GenerationCache(tmp_path / "c.db") as cache:
        engine = engine_at(server.url, prices=PRICES, pacing=Pacing(8, start))
        with pytest.raises(BudgetReachedError):
            list(generate(many(500, "[[hidden]]"), engine, cache, Budget(usd=0.2, scope="study")))
        bill = dollars(server.ledger.bill())
        assert cache.balance("study").spent.usd == pytest.approx(bill)
        assert 0.15 < bill <= 0.2
        paid = sum(server.ledger.paid.values())
        with pytest.raises(BudgetReachedError):
            list(generate(many(500, "[[hidden]] again"), engine, cache, Budget(usd=0.2, scope="study")))
        assert sum(server.ledger.paid.values()) == paid, "a later run knows it from the start"


@pytest.mark.slow
def test_replies_that_cost_nothing_leave_the_budget_alone(tmp_path):
    limits = Budget(calls=4, scope="study")
    with running(Behaviour(latency=0.001)) as server, GenerationCache(tmp_path / "c.db") as cache:
        engine = engine_at(server.url, prices=PRICES, pacing=Pacing(2, 2, attempts=3, outage=0))
        for shape in ("[[error]]", "[[503]]", "[[400]]"):
            assert len(list(generate(many(6, shape), engine, cache, limits))) == 6
        assert cache.balance("study").spent.calls == 0
        assert len(list(generate(many(4), engine, cache, limits))) == 4
