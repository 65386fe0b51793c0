import itertools
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.engines.server_kit import KEY, TESTS, ask, counts, engine_at, many, running
from tests.fault_server import Behaviour
from tracedistill.engines import Generation, Sampling
from tracedistill.engines.budget import Budget
from tracedistill.engines.cache import GenerationCache, request_key
from tracedistill.engines.calls import Pacing
from tracedistill.engines.client import generate
from tracedistill.engines.scripted import ScriptedEngine
from tracedistill.errors import InputError

QUICK = Behaviour(latency=0.005)
FAULTY = Behaviour(faults=0.2, latency=0.005, stall=1.0, retry_after=0.05, slow=0.05)
WORKER = Path(__file__).with_name("kill_worker.py")


@pytest.fixture
def cache(tmp_path):
    with GenerationCache(tmp_path / "cache.db") as cache:
        yield cache


def summary(answers):
    return sorted((answer.request_id, answer.text, answer.finish) for answer in answers)


def battle(count, cache, concurrency=32):
    """(healthy answers, answers under faults, ledger of the faulty server)."""
    pacing = Pacing(concurrency=concurrency, start=concurrency)
    with running(QUICK) as server:
        healthy = list(generate(many(count), engine_at(server.url, pacing=pacing)))
    with running(FAULTY) as server:
        engine = engine_at(server.url, timeout=0.6, pacing=pacing)
        figures = []
        answers = list(generate(many(count), engine, cache, on_progress=figures.append, total=count))
        again = list(generate(many(count), engine, cache))
        assert all(answer.cached for answer in again)
        assert summary(again) == summary(answers)
    return healthy, answers, server.ledger, figures[-1]


def check_battle(count, cache, concurrency=32):
    healthy, answers, ledger, figures = battle(count, cache, concurrency)
    assert summary(healthy) == summary(answers)
    assert sum(ledger.faults.values()) > count * 0.15
    assert set(ledger.faults) == set(FAULTY.kinds)
    assert ledger.summary()["duplicates"] == 0
    assert len(ledger.paid) == count
    assert (figures.done, figures.finished, figures.failed, figures.cached) == (count, count, 0, 0)
    assert figures.estimated == sum(answer.usage_estimated for answer in answers) > 0
    assert figures.limited == ledger.faults["429"] + ledger.faults["429-after"]
    counts = {answer.request_id: (answer.tokens_in, answer.tokens_out) for answer in healthy}
    assert all(
        (answer.tokens_in, answer.tokens_out) == counts[answer.request_id]
        for answer in answers
        if not answer.usage_estimated
    )


def test_a_faulty_server_gives_the_same_answers_and_is_paid_once(cache):
    check_battle(300, cache)


@pytest.mark.slow
def test_five_thousand_problems_against_a_faulty_server(cache):
    check_battle(5000, cache, 64)


def test_rows_that_fail_always_are_counted_with_their_cause_and_the_rest_is_done(cache):
    marks = ["", "", "[[400]]", "[[garbage]]", "[[empty]]", "[[length]]", "[[refusal]]", "[[context]]", "[[503]]"]
    requests = [ask(index, marks[index % len(marks)]) for index in range(90)]
    with running(QUICK) as server:
        pacing = Pacing(attempts=2, concurrency=32, start=32)
        engine = engine_at(server.url, pacing=pacing)
        figures = []
        answers = list(generate(requests, engine, cache, on_progress=figures.append))
        by_mark = {
            mark: {
                (answer.finish, bool(answer.error))
                for answer in answers
                if marks[int(answer.request_id[1:]) % 9] == mark
            }
            for mark in marks
        }
        calls = server.ledger.calls
        assert by_mark == {
            "": {("stop", False)},
            "[[400]]": {("error", True)},
            "[[garbage]]": {("error", True)},
            "[[empty]]": {("error", True)},
            "[[503]]": {("error", True)},
            "[[length]]": {("length", False)},
            "[[refusal]]": {("refusal", False)},
            "[[context]]": {("too-long", True)},
        }
        last = figures[-1]
        assert (last.done, last.failed, last.cut_off, last.refused) == (20, 50, 10, 10)
        assert sum(last.causes.values()) == 50
        again = list(generate(requests, engine, cache))
        assert server.ledger.calls == calls
        assert summary(again) == summary(answers)
        list(generate(requests, engine, cache, retry_cut_off=True))
        assert server.ledger.calls == calls + 10
        list(generate(requests, engine, cache, retry_failed=True))
        assert server.ledger.calls == calls + 10 + 20 + 10 + 3 * 20


def test_equal_requests_are_paid_once():
    with running(Behaviour(latency=0.02)) as server:
        requests = [ask(index % 10) for index in range(200)]
        requests = [type(request)(f"q{n}", request.messages, request.sampling) for n, request in enumerate(requests)]
        answers = list(generate(requests, engine_at(server.url)))
        assert len({answer.request_id for answer in answers}) == len(answers) == 200
        assert server.ledger.calls == 10
        assert sum(answer.cached for answer in answers) == 190
        assert len({answer.text for answer in answers}) == 10


def test_whatever_the_engine_receives_is_a_key_of_its_own():
    base = ask(1)
    variants = [
        *[base, ask(1, "one word"), ask(1, seed=1), ask(1, sample=1), ask(1, schema={"type": "object"})],
        *[ask(1, prefill="x"), ask(1, sampling=Sampling(max_tokens=65)), ask(1, sampling=Sampling(64, 0.1))],
        *[ask(1, sampling=Sampling(64, top_p=0.5)), ask(1, sampling=Sampling(64, stop=("x",)))],
    ]
    keys = {request_key(name, request) for name in ("e1", "e2") for request in variants}
    assert len(keys) == 2 * len(variants)
    assert request_key("e", ask(1)) == request_key("e", type(base)("other id", base.messages, base.sampling))
    whole = ask(1, sampling=Sampling(64, 0, 1))  # type: ignore[arg-type]
    assert request_key("e", whole) == request_key("e", base)


def test_only_a_few_requests_are_taken_ahead(cache):
    taken = itertools.count()
    requests = (ask(next(taken)) for _ in range(10**6))
    with running(QUICK) as server:
        answers = generate(requests, engine_at(server.url), cache)
        for _ in range(50):
            next(answers)
        answers.close()
        assert next(taken) < 600
        assert counts(cache)["stop"] == sum(server.ledger.paid.values())


def test_concurrency_adapts_to_what_the_server_takes():
    with running(Behaviour(latency=0.02, capacity=12)) as server:
        seen = []
        pacing = Pacing(concurrency=64, start=4)
        answers = list(
            generate(many(400), engine_at(server.url, pacing=pacing), on_progress=lambda s: seen.append(s.concurrency))
        )
        assert [answer.finish for answer in answers] == ["stop"] * 400
        assert server.ledger.faults["capacity"] < 120
        assert seen[-1] < 32


def test_first_interrupt_drains_and_keeps_everything(cache):
    before = signal.getsignal(signal.SIGINT)
    with running(Behaviour(latency=0.05)) as server:
        got = []
        with pytest.raises(KeyboardInterrupt):
            for answer in generate(many(10**5), engine_at(server.url), cache):
                got.append(answer)
                if len(got) == 40:
                    signal.raise_signal(signal.SIGINT)
        assert len(got) == sum(server.ledger.paid.values()) == counts(cache)["stop"] < 200
        assert server.ledger.dropped == 0
    assert signal.getsignal(signal.SIGINT) is before


def test_second_interrupt_does_not_wait(cache):
    def press(figures):
        if figures.in_flight:
            signal.raise_signal(signal.SIGINT)

    with running(Behaviour(latency=600.0)) as server:  # longer than a test may take
        with pytest.raises(KeyboardInterrupt):
            list(generate(many(100), engine_at(server.url, timeout=600.0), cache, on_progress=press))
        assert server.ledger.in_flight or server.ledger.dropped, "they were sent"
    assert cache.exchange(wanted=[b"any"]).granted


def test_leaving_early_keeps_what_was_in_flight(cache):
    with running(Behaviour(latency=0.05)) as server:
        answers = generate(many(10**5), engine_at(server.url), cache)
        next(answers)
        answers.close()
        assert counts(cache)["stop"] == sum(server.ledger.paid.values()) >= 16


def test_an_unusable_cache_ends_the_run_by_name(tmp_path):
    with running(QUICK) as server, GenerationCache(tmp_path / "c.db") as cache:
        cache._writer.execute("PRAGMA max_page_count = 12")
        with pytest.raises(InputError, match=r"c\.db.*free disk space"):
            list(generate(many(2000), engine_at(server.url), cache))
    with GenerationCache(tmp_path / "c.db") as cache:
        assert counts(cache)["stop"] > 0


def test_progress_tells_rates_money_and_time_left(cache):
    from tracedistill.engines.budget import Prices

    with running(Behaviour(latency=0.05)) as server:
        seen = []

        def look(figures):
            seen.append((figures.finished, figures.usd, figures.usd_projected, figures.seconds_left, figures.in_flight))

        engine = engine_at(server.url, prices=Prices(100.0, 200.0), pacing=Pacing(concurrency=8, start=8))
        answers = list(generate(many(200), engine, cache, total=200, on_progress=look))
        spent = sum(answer.tokens_in * 100 + answer.tokens_out * 200 for answer in answers) / 1e6
        assert seen[-1][:2] == (200, pytest.approx(spent))
        middle = seen[len(seen) // 2]
        assert middle[2] == pytest.approx(spent, rel=0.3)
        assert 0 < middle[3] < 10
        assert max(row[4] for row in seen) == 8


def test_two_runs_share_a_cache_and_buy_nothing_twice(tmp_path):
    path = tmp_path / "shared.db"
    with running(Behaviour(latency=0.02)) as server:
        results = {}

        def work(name):
            with GenerationCache(path) as cache:
                pacing = Pacing(concurrency=8, start=8)
                results[name] = list(generate(many(150), engine_at(server.url, pacing=pacing), cache))

        threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert summary(results["a"]) == summary(results["b"])
        assert len(results["a"]) == 150
        assert server.ledger.calls == 150


@contextmanager
def apart(*options):
    """A fault server in a process of its own: its URL."""
    command = [sys.executable, str(TESTS / "fault_server.py"), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def stats(url):
    with urllib.request.urlopen(url.removesuffix("/v1") + "/stats", timeout=10) as reply:
        return json.load(reply)


def claims_left(path):
    """Requests that a killed run had claimed and not written down."""
    if not path.exists():
        return 0
    with closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT count(*) FROM claims").fetchone()[0]


def check_kills(tmp_path, count, kills, concurrency, patience):
    faults = ("--faults", "0.2", "--latency", "0.02", "--stall", "1.0", "--retry-after", "0.05", "--bill-dropped")
    moments = random.Random(count)
    environment = {**os.environ, "TEACHER_KEY": KEY}
    command = [sys.executable, str(WORKER)]
    rest = [str(count), str(concurrency)]
    with apart(*faults) as url:
        out = tmp_path / "killed.jsonl"
        command += [url, str(tmp_path / "cache.db"), str(out), *rest]
        done = in_flight = 0
        for _ in range(kills):
            before = stats(url)["calls"]
            with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment) as process:
                deadline = time.monotonic() + patience
                while stats(url)["calls"] == before and process.poll() is None and time.monotonic() < deadline:
                    time.sleep(0.02)
                time.sleep(moments.random() * 0.5)
                done += process.poll() is None
                process.kill()
            in_flight += claims_left(tmp_path / "cache.db")
        subprocess.run(command, stdout=subprocess.DEVNULL, env=environment, check=True, timeout=patience)
        ledger = stats(url)
    with apart("--latency", "0.01") as url:
        calm = tmp_path / "calm.jsonl"
        command = [sys.executable, str(WORKER), url, str(tmp_path / "calm.db"), str(calm), *rest]
        subprocess.run(command, stdout=subprocess.DEVNULL, env=environment, check=True, timeout=patience)
    print({"kills": done, "in flight at the kills": in_flight, "excess": ledger["paid"] - count, **ledger})
    assert out.read_bytes() == calm.read_bytes()
    assert len(out.read_text().splitlines()) == ledger["paid_keys"] == count
    assert done >= kills * 0.8
    assert 0 <= ledger["paid"] - count <= min(in_flight, concurrency * done)
    for path in tmp_path.rglob("*"):
        assert KEY.encode() not in path.read_bytes()


def test_kills_lose_only_what_was_in_flight(tmp_path):
    check_kills(tmp_path, 250, 2, 16, 60)


@pytest.mark.slow
def test_twenty_kills_lose_only_what_was_in_flight(tmp_path):
    check_kills(tmp_path, 5000, 20, 32, 300)


def test_engines_that_work_in_batches_are_served_too(cache):
    engine = ScriptedEngine(lambda request: f"to {request.messages[0].content}")
    first = list(generate(many(30), engine, cache, chunk=7))
    assert summary(first) == sorted((f"r{n}", f"to Problem {n} ", "stop") for n in range(30))
    again = list(generate(many(40), engine, cache, chunk=7))
    assert sum(answer.cached for answer in again) == 30
    with pytest.raises(InputError, match="10 of 10 calls"):
        list(generate(many(100, "x"), engine, cache, Budget(calls=10, scope="s"), chunk=9))
    assert counts(cache) == {"stop": 50}


def test_a_batch_engine_that_forgets_and_repeats(cache):
    class Odd:
        def describe(self):
            return {"engine": "odd"}

        def generate(self, requests):
            yield Generation("unknown", "?", "stop")
            for request in requests[::2]:
                yield Generation(request.request_id, "a", "stop")
                yield Generation(request.request_id, "b", "stop")

    answers = {answer.request_id: answer for answer in generate(many(4), Odd(), cache)}
    assert [answers[f"r{n}"].text for n in range(4)] == ["a", "", "a", ""]
    assert "returned nothing" in answers["r1"].error


def test_a_retry_that_waits_for_a_slot_does_not_keep_the_processor_busy(cache):
    """A row whose time has come, while every slot is taken by slow calls, once rang its timer without pause."""
    pacing = Pacing(concurrency=2, start=2)
    with running(Behaviour(faults=0.7, latency=0.6, kinds=("500",), in_a_row=1)) as server:
        cpu = time.process_time()
        answers = list(generate(many(5), engine_at(server.url, timeout=5.0, pacing=pacing), cache))
        spent = time.process_time() - cpu
    assert len(answers) == 5
    assert server.ledger.faults["500"] >= 2, "some rows had to wait"
    assert spent < 0.5
