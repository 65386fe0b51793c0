"""A Ray cluster: jobs as tasks on any number of machines, which share the run folder's file system.

Ray is an extra (`pip install 'tracedistill[ray]'`), needed on every machine with tracedistill itself. A task whose
machine is lost runs again on another one.
"""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from tracedistill.compute.actors import Actors
from tracedistill.compute.jobs import In, Job, Out
from tracedistill.compute.worker import Answer, OpenJob, Packed, pack, result_of
from tracedistill.errors import InputError

TRIES = 5
"""Most attempts at a task whose machine or process is lost."""
PATIENCE = 10.0
"""Seconds to wait for a listener at a cluster's address."""
AHEAD = 4
"""Most tasks in flight or ready per core of the cluster, which limits memory."""

_opened = OpenJob()


class RayCluster:
    """Runs jobs on a Ray cluster."""

    def __init__(self, address: str | None = None) -> None:
        self.address = address
        """`host:port` or `ray://host:port`; None: RAY_ADDRESS, else a cluster running on this machine, else a new one
        on this machine's cores."""
        self._ray: Any = None
        self._actors: Actors[Any, Any] | None = None

    @property
    def ray(self) -> Any:
        """The library, connected. Raises InputError if it is not installed, or no cluster answers at the address."""
        if self._ray is None:
            self._ray = _connected(self.address)
        return self._ray

    def map(self, job: Job[In, Out], items: Sequence[In]) -> Iterator[Out]:
        """Yield the result for each item in order. Raises InputError if an item's machine is lost repeatedly."""
        ray = self.ray
        packed = ray.put(pack(job))
        task = ray.remote(num_cpus=1, max_retries=TRIES - 1)(_answer)
        most = AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))
        waiting: deque[Any] = deque()
        left = iter(items)
        place = 0
        try:
            while True:
                while len(waiting) < most and (item := next(left, None)) is not None:
                    waiting.append(task.remote(packed, item))
                if not waiting:
                    return
                try:
                    answer: Answer = ray.get(waiting[0])
                except ray.exceptions.RayError as error:
                    raise InputError(
                        f"the Ray task on {items[place]} was lost: {str(error).splitlines()[0]}. What is ready is "
                        "kept, and the same command continues"
                    ) from error
                waiting.popleft()
                place += 1
                yield result_of(answer)
        finally:
            for reference in waiting:
                ray.cancel(reference, force=True)

    def hold(self, job: Job[In, Out]) -> Actors[In, Out]:
        """Return processes that open a job once and keep it, for a job that loads a model; the last ones are ended."""
        self.close()
        self._actors = Actors[In, Out](self.ray, job)
        return self._actors

    def close(self) -> None:
        """End the processes that hold a job. The connection stays, which takes seconds to make and costs nothing."""
        if self._actors is not None:
            self._actors.close()
            self._actors = None


def _answer(job: Packed, item: Any) -> Answer:
    """Run a task in a process of the cluster, which keeps the job open for the next one."""
    return _opened.answer_packed(job, item)


def _connected(address: str | None) -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no usage reports about a run
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise InputError(
            "Ray is not installed: pip install 'tracedistill[ray]' here and on every machine of the cluster, or leave "
            "--on and compute out to use the cores of this machine"
        ) from error
    _check_listening(address)
    try:
        ray.init(
            address=address,
            namespace="tracedistill",
            ignore_reinit_error=True,
            logging_level="ERROR",
            log_to_driver=False,
            **({} if address else {"include_dashboard": False}),
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = f"at {address}" if address else "on this machine"
        raise InputError(f"no Ray cluster answers {where}: {str(error).splitlines()[0]}") from error
    return ray


def _check_listening(address: str | None) -> None:
    """Raise InputError if nothing listens at an address: Ray itself would try for minutes."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"no Ray cluster answers at {address}: {error}") from error
