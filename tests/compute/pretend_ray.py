"""As much of Ray as the program needs, in this process: actors start, answer, and are lost where a test wants it."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Generator, Sequence
from types import SimpleNamespace
from typing import Any


class LostError(Exception):
    """Ray's error about a lost actor."""


class PretendRay:
    """A cluster of some machines; its references are the calls themselves, made once somebody waits for them."""

    exceptions = SimpleNamespace(RayError=LostError)

    def __init__(
        self,
        machines: Sequence[dict[str, float]] = ({"CPU": 1}, {"CPU": 1}),
        *,
        loses: Callable[[int, int], bool] = lambda actor, call: False,
        starts: Callable[[int], bool | None] = lambda actor: True,
    ) -> None:
        """`loses`: whether this call of this actor, both by number, is its last; `starts`: None for never."""
        self.machines = machines
        self.loses, self.starts = loses, starts
        self.actors: list[Actor] = []
        self.killed: list[int] = []

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": machine} for machine in self.machines]

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": sum(machine.get("CPU", 0) for machine in self.machines)}

    def put(self, value: Any) -> Any:
        return value

    def cancel(self, call: Any, *, force: bool) -> None:
        """Tasks are made once somebody waits for them: there is nothing to stop."""

    def remote(self, **needs: Any) -> Callable[[Any], Any]:
        def kind(cls: Any) -> Any:
            if inspect.isfunction(cls):
                return SimpleNamespace(remote=lambda *args: Task(cls, args))

            def start(*args: Any) -> Actor:
                self.actors.append(Actor(self, len(self.actors), cls, args))
                return self.actors[-1]

            return SimpleNamespace(remote=start, options=lambda **_: SimpleNamespace(remote=start), needs=needs)

        return kind

    def wait(self, calls: Sequence[Call], num_returns: int, timeout: float | None) -> tuple[list[Call], list[Call]]:
        able = [call for call in calls if call.actor.starting is not None]
        return able[-num_returns:], []  # the last first: nobody may count on an order

    def get(self, call: Call | Task) -> Any:
        value = call.value()
        return asyncio.run(value) if inspect.isawaitable(value) else value

    def kill(self, actor: Actor) -> None:
        self.killed.append(actor.number)


class Task:
    """A function's call."""

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self.value = functools.partial(function, *args)


class Actor:
    """One process."""

    def __init__(self, ray: PretendRay, number: int, cls: type, args: tuple[Any, ...]) -> None:
        self.ray, self.number, self.calls = ray, number, 0
        self.starting = ray.starts(number)
        self.own = cls(*args)

    def __getattr__(self, name: str) -> Any:
        return SimpleNamespace(remote=lambda *args: Call(self, name, args))


class Call:
    """One call of an actor, and the reference to its result."""

    def __init__(self, actor: Actor, name: str, args: tuple[Any, ...]) -> None:
        self.actor, self.name, self.args = actor, name, args
        if name != "ready":
            actor.calls += 1
            self.number = actor.calls

    def value(self) -> Any:
        if not self.actor.starting:
            raise LostError("The actor died.\nModuleNotFoundError: No module named 'tracedistill'")
        if self.name != "ready" and self.actor.ray.loses(self.actor.number, self.number):
            raise LostError("its node died")
        return getattr(self.actor.own, self.name)(*self.args)

    def __await__(self) -> Generator[Any, None, Any]:
        return self._awaited().__await__()

    async def _awaited(self) -> Any:
        while self.actor.starting is None:
            await asyncio.sleep(60)
        value = self.value()
        return await value if inspect.isawaitable(value) else value
