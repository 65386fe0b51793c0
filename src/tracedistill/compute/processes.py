"""Processes on all cores of this machine; this one hands out items and orders the results.

They are started by `subprocess`, not `multiprocessing`, whose workers import the caller's main module again and wait
forever if their parent is killed. Our workers exit when their socket closes, however this process ends.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, cast

from tracedistill.compute.jobs import In, Job, Out
from tracedistill.compute.worker import Answer, result_of

PATIENCE = 8.0
"""Seconds of remaining work on one core above which starting processes pays off. Each takes about half a second of a
core to start, four if it loads a tokenizer."""
AHEAD = 8
"""Most items per process that are finished ahead of their turn, which limits memory."""
TRIES = 3
"""Attempts at an item whose process dies, after which it is an error."""


class Processes:
    """Runs jobs on several processes of this machine if there is enough to do, else in this one."""

    def __init__(self, cores: int, patience: float | None = None) -> None:
        self.cores = cores
        self.patience = PATIENCE if patience is None else patience
        self._workers: list[_Worker] = []

    def map(self, job: Job[In, Out], items: Sequence[In]) -> Iterator[Out]:
        """Yield the result for each item in order. The first items are run here to estimate the rest.

        Raises InputError if a process is killed repeatedly over one item.
        """
        if self.cores > 1 and len(items) > 1 and self.patience <= 0:
            yield from self._spread(job, items)
            return
        work, spent = job.open(), 0.0
        for place, item in enumerate(items):
            begun = time.perf_counter()
            result = work(item)
            spent += time.perf_counter() - begun
            yield result
            left = len(items) - place - 1
            if self.cores > 1 and left > 1 and spent / (place + 1) * left > self.patience:
                yield from self._spread(job, items[place + 1 :])
                return

    def close(self) -> None:
        """End the processes."""
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.end()

    def _spread(self, job: Job[In, Out], items: Sequence[In]) -> Iterator[Out]:
        packed = pickle.dumps(job)
        count = min(self.cores, len(items))
        ready: dict[int, Answer] = {}
        begun = turn = 0
        again: list[int] = []
        tries: dict[int, int] = {}
        idle: list[_Worker] = []
        busy: dict[Connection, _Worker] = {}
        whole = False
        try:
            while len(self._workers) < count:
                self._workers.append(_Worker())
            for worker in self._workers[:count]:
                worker.opens(packed)
            idle = self._workers[:count]
            while turn < len(items):
                while idle and (again or (begun < len(items) and begun - turn < AHEAD * count)):
                    place = again.pop(0) if again else begun
                    begun += place == begun
                    worker = idle.pop()
                    worker.begin(place, items[place])
                    busy[worker.connection] = worker
                for connection in wait(list(busy)):
                    worker = busy.pop(cast(Connection, connection))
                    place = worker.place
                    answer = worker.answer()
                    if answer is not None:
                        ready[place] = answer
                        idle.append(worker)
                        continue
                    tries[place] = tries.get(place, 0) + 1
                    code = worker.end()
                    self._workers.remove(worker)
                    if tries[place] == TRIES:
                        ready[place] = ("refused", _lost(items[place], code))
                    else:
                        again.append(place)
                    fresh = _Worker()
                    self._workers.append(fresh)
                    fresh.opens(packed)
                    idle.append(fresh)
                while turn in ready:
                    turn += 1
                    yield result_of(ready.pop(turn - 1))
            whole = True
        finally:
            if not whole:  # workers may be busy with items that are no longer wanted
                self.close()


def _lost(item: Any, code: int) -> str:
    how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
    return (
        f"the process that worked on {item} ended {how}, {TRIES} times in a row. If memory ran out, set fewer cores; "
        "what is ready is kept, and the same command continues"
    )


_WORKER = "from tracedistill.compute.worker import main; main()"


class _Worker:
    """One process and its socket."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(  # noqa: S603 - our own command
                [sys.executable, "-P", "-c", _WORKER, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=environment(),
            )
        self.connection: Connection = Connection(ours.detach())
        self.place = -1

    def opens(self, packed: bytes) -> None:
        """Send a job to open before the next item."""
        self._send(("open", packed))

    def begin(self, place: int, item: Any) -> None:
        """Send an item to work on."""
        self.place = place
        self._send(("item", item))

    def _send(self, message: object) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it is dead, which `answer` will report
            self.connection.send(message)

    def answer(self) -> Answer | None:
        """Return its answer; None if it is dead."""
        try:
            return cast(Answer, self.connection.recv())
        except (EOFError, ConnectionResetError):
            return None

    def end(self) -> int:
        """Kill it; return its exit code."""
        self.connection.close()
        if self.process.poll() is None:
            try:
                self.process.wait(0.05)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait()


def environment() -> dict[str, str]:
    """Return the environment of a worker process: one thread, since the processes already occupy all cores."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path),
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
