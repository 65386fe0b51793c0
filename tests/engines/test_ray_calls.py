"""Calls made on the machines of a cluster: one budget, one cache, and what a lost machine costs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.compute.pretend_ray import PretendRay
from tests.engines.server_kit import KEY, LocalServer, ask, many, running
from tests.fault_server import Behaviour
from tracedistill.compute.cluster import RayCluster
from tracedistill.engines.budget import Budget, Prices
from tracedistill.engines.cache import GenerationCache
from tracedistill.engines.calls import Pacing, StopRunError
from tracedistill.engines.client import generate
from tracedistill.engines.ray_calls import RayCalls
from tracedistill.engines.server import ServerConfig, ServerEngine


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with running(Behaviour(latency=0.002)) as found:
        yield found


def calls_at(url: str, ray: Any, **fields: Any) -> RayCalls:
    config = ServerConfig(url, "stub", pacing=Pacing(concurrency=8, start=8), prices=Prices(0.0, 10.0), **fields)
    cluster = RayCluster()
    cluster._ray = ray
    return RayCalls(ServerEngine(config), cluster)


def test_answers_are_those_of_this_machine_and_calls_go_round(server: LocalServer) -> None:
    ray = PretendRay()
    engine = calls_at(server.url, ray)
    found = {made.request_id: made.text for made in generate(many(40), engine)}
    assert found == {made.request_id: made.text for made in generate(many(40), engine.server)}
    assert len(ray.actors) == 2
    assert min(actor.calls for actor in ray.actors) > 5
    assert sorted(ray.killed) == [0, 1], "the processes end with the run"


def test_a_lost_machine_costs_its_calls_in_flight_once(server: LocalServer, tmp_path: Path) -> None:
    ray = PretendRay(loses=lambda actor, call: actor == 0 and call >= 5)
    engine, budget = calls_at(server.url, ray), Budget(usd=1.0, scope="study")
    with GenerationCache(tmp_path / "cache.sqlite") as cache:
        made = list(generate(many(60), engine, cache, budget))
        spent = cache.balance("study").spent.usd
        assert {each.finish for each in made} == {"stop"}
        assert server.ledger.summary()["paid"] == 60, "no answer is called for again"
        lost = ray.actors[0].calls - 4
        worst = lost * 10.0 * 64 / 1e6
        assert 1 <= lost <= 8
        answers = sum(each.tokens_out for each in made) * 10.0 / 1e6
        assert spent == pytest.approx(answers + worst), "a lost call counts as billed"
        assert len(ray.actors) == 3, "the lost process is replaced"
        again = list(generate(many(60), engine, cache, budget))
    assert all(each.cached for each in again)
    assert len(ray.actors) == 3, "what is in the cache needs no process"


def test_the_budget_holds(server: LocalServer, tmp_path: Path) -> None:
    engine = calls_at(server.url, PretendRay())
    with GenerationCache(tmp_path / "cache.sqlite") as cache, pytest.raises(Exception, match="budget"):
        list(generate(many(60), engine, cache, Budget(calls=20, scope="study")))
    assert server.ledger.summary()["paid"] <= 20


def test_a_machine_without_the_key_stops_the_run(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEACHER_KEY", KEY)
    engine = calls_at(server.url, PretendRay(), key_env="TEACHER_KEY")
    monkeypatch.delenv("TEACHER_KEY")
    with pytest.raises(StopRunError, match=r"TEACHER_KEY.*a machine of the Ray cluster"):
        list(generate(many(5), engine))
    assert server.ledger.summary()["calls"] == 0


def test_a_refusal_that_no_call_can_escape_stops_the_run(server: LocalServer) -> None:
    with pytest.raises(StopRunError, match="stub"):
        list(generate([ask(1, "[[401]]")], calls_at(server.url, PretendRay())))


def test_a_cluster_without_the_program_says_so(server: LocalServer) -> None:
    with pytest.raises(StopRunError, match=r"no process could be started .*No module named 'tracedistill'"):
        list(generate(many(5), calls_at(server.url, PretendRay(starts=lambda actor: False))))


def test_without_ray_the_message_names_the_extra(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(StopRunError, match=r"tracedistill\[ray\]"):
        list(generate(many(5), calls_at(server.url, None)))
