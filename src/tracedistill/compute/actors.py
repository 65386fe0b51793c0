"""Jobs that load a model, on a Ray cluster: one process per GPU, or per machine if there are no GPUs.

Each process (a Ray actor) opens the job once. If one is lost, its item is given to another, and a new one is started.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import Any, Generic, cast

from tracedistill.compute.jobs import In, Job, Out
from tracedistill.compute.worker import Answer, OpenJob, Packed, pack, result_of
from tracedistill.errors import InputError

TRIES = 3
"""Attempts at an item whose process is lost, after which it is an error."""
PATIENCE = 300.0
"""Seconds to wait for the start of a process if none is running."""


class Actors(Generic[In, Out]):
    """The processes that hold one job."""

    def __init__(self, ray: Any, job: Job[In, Out]) -> None:
        self._ray = ray
        self._packed = ray.put(pack(job))
        self._most, needs = places(ray)
        # a lost one is replaced here; Ray would restart it and delay its item until then
        self._kind = ray.remote(max_restarts=0, scheduling_strategy="SPREAD", **needs)(_Holder)
        self._starting: dict[Any, Any] = {}
        self._idle: list[Any] = []
        self._busy: dict[Any, tuple[Any, int]] = {}
        self._why = ""

    def map(self, items: Sequence[In]) -> Iterator[tuple[int, Out]]:
        """Yield (place, result) of each item as it is finished.

        Raises InputError if an item is refused, if its process is lost repeatedly, or if none can be started.
        """
        waiting, tries = deque(range(len(items))), Counter[int]()
        for _ in range(min(self._most, len(items)) - len(self._starting) - len(self._idle)):
            self._start()
        whole = False
        try:
            while waiting or self._busy:
                while waiting and self._idle:
                    actor, place = self._idle.pop(), waiting.popleft()
                    self._busy[actor.answer.remote(self._packed, items[place])] = (actor, place)
                for reference in self._ended():
                    answer = self._answer(reference)
                    if reference in self._starting:  # not replaced if it fails, since the next would fail too
                        actor = self._starting.pop(reference)
                        self._idle += [] if answer is None else [actor]
                        continue
                    actor, place = self._busy.pop(reference)
                    if answer is not None:
                        self._idle.append(actor)
                        yield place, result_of(answer)
                        continue
                    self._ray.kill(actor)  # it may only be unreachable
                    tries[place] += 1
                    if tries[place] == TRIES:
                        raise InputError(
                            f"the Ray process that worked on part {place + 1} of {len(items)} was lost {TRIES} times "
                            "in a row, most often because memory ran out. What is ready is kept, and the same command "
                            "continues"
                        )
                    waiting.appendleft(place)
                    self._start()
            whole = True
        finally:
            if not whole:
                self.close()

    def close(self) -> None:
        """End the processes."""
        for actor in [*self._starting.values(), *self._idle, *(actor for actor, _ in self._busy.values())]:
            self._ray.kill(actor)
        self._starting, self._idle, self._busy = {}, [], {}

    def _start(self) -> None:
        actor = self._kind.remote()
        self._starting[actor.ready.remote()] = actor

    def _ended(self) -> list[Any]:
        """Wait for an answer or the start of a process. Raises InputError if none is running and none starts."""
        if not self._busy and not self._starting:
            raise InputError(not_started(self._why))
        patience = None if self._busy else PATIENCE
        ended, _ = self._ray.wait([*self._busy, *self._starting], num_returns=1, timeout=patience)
        if not ended:
            raise InputError(not_started(f"none within {PATIENCE:g} s; GPUs or cores are gone or taken by other work"))
        return list(ended)

    def _answer(self, reference: Any) -> Answer | None:
        """Return an answer; None if its process was lost."""
        try:
            return cast(Answer, self._ray.get(reference))
        except self._ray.exceptions.RayError as error:
            self._why = last_line(error)
            return None


def not_started(why: str) -> str:
    """Return the message that no process is left on a cluster."""
    return (
        f"no process could be started on the Ray cluster: {why}. What is ready is kept, and the same command continues"
    )


def last_line(error: Exception) -> str:
    """Return the last line of Ray's long message."""
    return (str(error).strip() or type(error).__name__).splitlines()[-1].strip()


class _Holder:
    """An actor: a process that holds the job."""

    def __init__(self) -> None:
        self._opened = OpenJob()

    def ready(self) -> Answer:
        """Show that the process has started."""
        return "done", None

    def answer(self, job: Packed, item: Any) -> Answer:
        """Run the job on an item."""
        return self._opened.answer_packed(job, item)


def places(ray: Any) -> tuple[int, dict[str, int]]:
    """Return how many processes a cluster has room for, and the resources that each needs."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = sum(int(resources.get("GPU", 0)) for resources in machines)
    if gpus:
        return gpus, {"num_gpus": 1}
    cores = [count for resources in machines if (count := int(resources.get("CPU", 0)))]
    least = min(cores, default=1)
    return max(1, sum(count // least for count in cores)), {"num_cpus": least}
