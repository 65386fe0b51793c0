"""Items on all cores: in order, bounded, and what happens to a process that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compute.jobs import Doubled, Dying, Loaded, Noted, Where
from tests.conftest import ROOT
from tracedistill.compute import Processes
from tracedistill.compute.processes import AHEAD, TRIES
from tracedistill.errors import InputError


@pytest.fixture
def two() -> Iterator[Processes]:
    """Two processes, which start for the first item."""
    processes = Processes(2, patience=0)
    yield processes
    processes.close()


def test_results_come_in_the_order_of_the_items(two: Processes) -> None:
    wanted = [2 * number for number in range(50)]
    assert list(Processes(1).map(Doubled(), range(50))) == wanted
    assert list(two.map(Doubled(), range(50))) == wanted
    assert list(two.map(Doubled(), [])) == []
    assert list(two.map(Doubled(), [4])) == [8]


def test_processes_serve_one_job_after_another(two: Processes) -> None:
    first, second = set(two.map(Where(), range(20))), set(two.map(Where(), range(20)))
    assert len(first) == 2
    assert second == first
    assert os.getpid() not in first


def test_little_work_stays_in_this_process() -> None:
    processes = Processes(2)
    assert set(processes.map(Where(), range(1000))) == {os.getpid()}
    assert set(Processes(1, patience=0).map(Where(), range(10))) == {os.getpid()}


@pytest.mark.parametrize(
    ("job", "error", "message"),
    [
        (Doubled(refused=7), InputError, "^7 is too large$"),
        (Doubled(broken=7), RuntimeError, "(?s)a process of tracedistill failed.*nobody thought of it"),
    ],
)
def test_an_error_is_raised_in_its_turn(two: Processes, job: Doubled, error: type[Exception], message: str) -> None:
    results = two.map(job, range(30))
    assert [next(results) for _ in range(7)] == [0, 2, 4, 6, 8, 10, 12]
    with pytest.raises(error, match=message):
        next(results)


def test_no_more_is_worked_on_than_has_its_turn_soon(two: Processes, tmp_path: Path) -> None:
    results = two.map(Noted(tmp_path), range(1000))
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]
    assert len(list(tmp_path.iterdir())) <= 1 + 2 * AHEAD
    assert list(two.map(Doubled(), [1, 2])) == [2, 4]


def test_what_a_killed_process_worked_on_is_worked_on_again(two: Processes, tmp_path: Path) -> None:
    assert list(two.map(Dying(5, TRIES - 1, tmp_path), range(10))) == list(range(10))
    assert len(list(tmp_path.iterdir())) == TRIES - 1


def test_an_item_that_kills_every_process_is_named(two: Processes, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"worked on 5 ended by signal 9, {TRIES} times in a row"):
        list(two.map(Dying(5, 99, tmp_path), range(10)))
    assert len(list(tmp_path.iterdir())) == TRIES


def test_processes_load_nothing_heavy(two: Processes) -> None:
    loaded = set(next(two.map(Loaded(), [0, 1])))
    assert not loaded & {"torch", "transformers", "datasets", "numpy", "tracedistill.cli"}


DRIVER = """
import os, signal, sys
from tests.compute.jobs import Where
from tracedistill.compute import Processes
print(*set(Processes(2, patience=0).map(Where(), range(20))), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_processes_end_with_the_one_that_is_killed() -> None:
    driver = subprocess.run([sys.executable, "-c", DRIVER], cwd=ROOT, capture_output=True, text=True, check=False)
    assert driver.returncode == -signal.SIGKILL
    workers = [int(word) for word in driver.stdout.split()]
    assert len(workers) == 2
    deadline = time.monotonic() + 60
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(map(alive, workers))


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
