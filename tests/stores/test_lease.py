"""One driver at a time: refused, taken over, lost."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable

import pytest

from tests.stores.kit import URL, CountedStore, machine, mirror, put, quick, stored
from tracedistill.errors import InputError
from tracedistill.stores import lease
from tracedistill.stores.lease import LEASE, RENEWAL, SKEW, Lease
from tracedistill.stores.listing import OWN
from tracedistill.stores.objects import ObjectStore
from tracedistill.stores.push import LostError

__all__ = ["machine", "quick"]
pytestmark = pytest.mark.usefixtures("quick")
NAME = f"{OWN}/lease-000001.json"


class Clock:
    """A clock that sleeping moves; `during` happens in a sleep."""

    def __init__(self) -> None:
        self.now = 1_000_000.0
        self.during: Callable[[], object] = lambda: None

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if seconds > 2:
            self.during()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def contender(clock: Clock, copy: str) -> Lease:
    return Lease(ObjectStore(URL), copy, clock=clock, sleep=clock.sleep)


def ignore(_: str) -> None:
    pass


def test_a_second_run_is_refused(clock: Clock) -> None:
    contender(clock, "a").acquire(ignore)
    with pytest.raises(InputError) as caught:
        contender(clock, "b").acquire(ignore)
    text = str(caught.value)
    assert "process" in text
    assert "has been running here since 1970-01-12 13:46:40 UTC" in text
    assert f"lease ends at {time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(clock.now + LEASE))}" in text
    assert f"delete {URL}/{NAME}" in text


def test_a_released_lease_is_free(clock: Clock) -> None:
    first = contender(clock, "a")
    first.acquire(ignore)
    first.release()
    contender(clock, "b").acquire(ignore)


def test_a_dead_owner_in_this_copy_is_replaced_at_once(clock: Clock) -> None:
    contender(clock, "a").acquire(ignore)
    began = clock.now
    contender(clock, "a").acquire(ignore)
    assert clock.now == began


def test_a_copied_disk_is_another_machine(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    contender(clock, "a").acquire(ignore)
    monkeypatch.setattr("socket.gethostname", lambda: "elsewhere")
    with pytest.raises(InputError, match="two runs in one folder are refused"):
        contender(clock, "a").acquire(ignore)


@pytest.mark.parametrize("ago", [1.0, SKEW - 1, SKEW + 1])
def test_a_dead_owner_elsewhere_is_replaced_after_its_lease(ago: float, clock: Clock) -> None:
    first = contender(clock, "a")
    first.acquire(ignore)
    clock.now += LEASE + ago
    began, said = clock.now, list[str]()
    second = contender(clock, "b")
    second.acquire(said.append)
    assert clock.now - began == (1.5 * RENEWAL if ago < SKEW else 0)  # watched, unless it ended long ago
    assert len(said) == (ago < SKEW)
    assert stored(NAME) is None
    with pytest.raises(LostError, match=r"process .* has taken over this run folder"):
        first.renew()
    second.renew()


def test_an_owner_whose_clock_is_late_is_not_replaced(clock: Clock) -> None:
    first = contender(clock, "a")
    first.acquire(ignore)
    clock.now += LEASE + 1
    clock.during = first.renew
    with pytest.raises(InputError, match="two runs in one folder are refused"):
        contender(clock, "b").acquire(ignore)


def test_renewal_prolongs(clock: Clock) -> None:
    first = contender(clock, "a")
    first.acquire(ignore)
    for _ in range(20):
        clock.now += RENEWAL
        first.renew()
        with pytest.raises(InputError):
            contender(clock, "b").acquire(ignore)


def test_a_deleted_lease_is_lost(clock: Clock) -> None:
    first = contender(clock, "a")
    first.acquire(ignore)
    CountedStore.store.pop(f"/bucket/study/{NAME}")
    with pytest.raises(LostError):
        first.renew()


def test_half_a_lease_counts_as_held(clock: Clock) -> None:
    put(NAME, b'{"driver": "x", "co')
    with pytest.raises(InputError, match="one that has just begun"):
        contender(clock, "b").acquire(ignore)


def test_of_many_at_once_one_wins() -> None:
    outcomes: list[bool] = []
    barrier = threading.Barrier(8)

    def run(number: int) -> None:
        mine = Lease(ObjectStore(URL), str(number), sleep=lambda _: time.sleep(0.3))
        barrier.wait()
        try:
            mine.acquire(ignore)
            outcomes.append(True)
        except InputError:
            outcomes.append(False)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == [False] * 7 + [True]


@pytest.mark.parametrize("error", [None, NotImplementedError("xb"), ValueError("invalid mode xb")])
def test_stores_without_exclusive_creation(
    error: Exception | None, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They overwrite in silence, or refuse the mode: the last writer wins, and the other one sees it."""
    opened = CountedStore.open

    def weak(self: CountedStore, path: str, mode: str = "rb", **options: object) -> object:
        if "x" in mode and error is not None:
            raise error
        return opened(self, path, mode.replace("x", "w"), **options)

    monkeypatch.setattr(CountedStore, "open", weak)
    first, second = contender(clock, "a"), contender(clock, "b")
    monkeypatch.setattr(lease, "SETTLE", 3.0)
    clock.during = lambda: put(NAME, json.dumps({**json.loads(stored(NAME) or b""), "driver": "other"}).encode())
    with pytest.raises(InputError, match="two runs in one folder are refused"):
        first.acquire(ignore)
    CountedStore.clear()
    clock.during = ignore_all
    second.acquire(ignore)
    with pytest.raises(InputError):
        contender(clock, "c").acquire(ignore)


def ignore_all() -> None:
    pass


def test_a_run_that_lost_its_folder_ends(machine: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is interrupted, sends nothing more, and says who has taken over."""
    monkeypatch.setattr("tracedistill.stores.mirror.RENEWAL", 0.05)
    here = mirror()
    with pytest.raises(LostError, match="has taken over this run folder"), here.driven():
        (here.folder / "a").parent.mkdir(parents=True, exist_ok=True)
        (here.folder / "a").write_text("1")
        other = Lease(ObjectStore(URL), "other")
        other._number = 2
        put(f"{OWN}/lease-000002.json", other._content())
        time.sleep(20)
    assert stored("a") is None
    assert stored(f"{OWN}/lease-000002.json") is not None


def test_a_run_that_finds_another_ones_index_ends(machine: Callable[[str], None]) -> None:
    here = mirror()
    with pytest.raises(LostError, match="another run has written there"), here.driven():
        (here.folder / "a").parent.mkdir(parents=True, exist_ok=True)
        (here.folder / "a").write_text("1")
        put(f"{OWN}/index.json", json.dumps({"version": 7, "writer": "other"}).encode())
        here.publish()
        time.sleep(20)
