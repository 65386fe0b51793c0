"""Claims of processes elsewhere: decided by the process where it can be seen, by a short lease where it cannot."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from tests.engines.server_kit import Endpoint, ask, completion
from tracedistill.engines import ledger
from tracedistill.engines.cache import GenerationCache, request_key
from tracedistill.engines.client import generate
from tracedistill.engines.progress import Statistics
from tracedistill.engines.scheduler import _HELD as HELD


def test_the_name_of_the_host_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container that is started again has another name, and its dead are dead at once."""
    mine = ledger.holder_name(0)
    monkeypatch.setattr(socket, "gethostname", lambda: "another-name")
    ledger._place.cache_clear()
    assert ledger.is_alive(mine, 0.0, 1.0), "this process, whatever its lease"
    place, _, started, number = mine.rsplit("|", 3)
    assert not ledger.is_alive(f"{place}|999999999|{started}|{number}", 1e12, 1.0), (
        "no such process, whatever its lease"
    )


def test_processes_elsewhere_are_given_up_after_their_lease() -> None:
    assert ledger.is_alive("elsewhere|1|5|0", until=10.0, now=9.0)
    assert not ledger.is_alive("elsewhere|1|5|0", until=10.0, now=10.0)
    assert ledger.LEASE <= 120


def test_a_wait_for_another_run_is_told(tmp_path: Path) -> None:
    request, endpoint = ask(0), Endpoint(completion("bought here"))
    engine = endpoint.engine()
    with GenerationCache(tmp_path / "c.sqlite") as cache:
        told: list[str] = []

        def look(figures: Statistics) -> None:
            told.append(figures.waiting)
            if figures.waiting == HELD:  # the other run gives up
                cache._writer.execute("DELETE FROM claims WHERE key = ?", (key,))

        key = request_key(cache.record_engine(engine.describe()), request)
        other = ledger.holder_name(99)  # a holder that is alive
        cache._writer.execute("INSERT INTO claims VALUES (?,?,?)", (key, other, time.time() + 600))
        (answer,) = generate([request], engine, cache, on_progress=look)
    assert answer.text == "bought here"
    assert HELD in told
