"""Calls of an endpoint from the machines of a Ray cluster; budget, ledger, claims and cache stay in this process.

Each machine makes calls from one process (a Ray actor). If one is lost, its calls in flight count as possibly billed,
as after a lost connection, and are made again elsewhere.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tracedistill.compute.actors import PATIENCE, last_line, not_started
from tracedistill.compute.cluster import RayCluster
from tracedistill.engines import Generation, Request
from tracedistill.engines.calls import CallOutcome, StopRunError
from tracedistill.engines.server import ServerConfig, ServerEngine
from tracedistill.errors import InputError


class RayCalls:
    """An endpoint's engine whose calls are made on other machines, which reach it at the same address.

    Keys are not sent: each machine reads its own variable.
    """

    def __init__(self, server: ServerEngine, cluster: RayCluster) -> None:
        self.server = server
        """The engine in this process, which describes the endpoint and makes no calls."""
        self.pacing, self.prices = server.pacing, server.prices
        self._cluster = cluster
        self._callers: _Callers | None = None

    def describe(self) -> dict[str, Any]:
        """Describe the endpoint like the engine in this process, whose answers are the same."""
        return self.server.describe()

    def generate(self, requests: Sequence[Request]) -> Iterator[Generation]:
        """Yield generations as they complete, without cache or budget."""
        from tracedistill.engines.client import generate

        return generate(requests, self)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[None]:
        """Let the first call start the processes, and end them."""
        try:
            yield
        finally:
            if self._callers is not None:
                self._callers.close()
                self._callers = None

    async def attempt(self, request: Request) -> CallOutcome:
        """Make one call on some machine. Raises StopRunError if no further call can succeed."""
        if self._callers is None:
            try:
                # connecting blocks the loop, but no calls are in flight yet
                self._callers = _Callers(self._cluster.ray, self.server.config)
            except InputError as error:
                raise StopRunError(str(error)) from error
        return await self._callers.attempt(request)


class _Callers:
    """The calling processes, one per machine."""

    def __init__(self, ray: Any, config: ServerConfig) -> None:
        self._ray, self._config = ray, config
        kind = ray.remote(max_restarts=0, num_cpus=1, scheduling_strategy="SPREAD")(_Caller)
        self._kind = kind.options(max_concurrency=config.pacing.concurrency)
        self._turn = itertools.count()
        self._ready: list[Any] = []
        self._starting: dict[asyncio.Task[None], Any] = {}
        self._change = asyncio.Event()
        self._why = self._refused = ""
        machines = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU", 0) >= 1]
        for _ in range(max(1, len(machines))):
            self._start()

    async def attempt(self, request: Request) -> CallOutcome:
        """Make one call; return an outcome even if it is lost. Raises StopRunError if no call can succeed."""
        caller = await self._next()
        try:
            outcome: CallOutcome | str = await caller.attempt.remote(request)
        except self._ray.exceptions.RayError:
            if caller in self._ready:
                self._ready.remove(caller)
                self._ray.kill(caller)  # it may only be unreachable
                self._start()
            return CallOutcome(cause="the machine that made the call was lost", billed=True)
        if isinstance(outcome, str):
            raise StopRunError(outcome)
        return outcome

    async def _next(self) -> Any:
        """Return the processes in turn. Raises StopRunError if there is none, or if a machine lacks the key."""
        while not self._ready or self._refused:
            if self._refused:
                raise StopRunError(self._refused)
            if not self._starting:
                raise StopRunError(not_started(self._why))
            self._change.clear()
            try:
                await asyncio.wait_for(self._change.wait(), PATIENCE)
            except TimeoutError as error:
                why = f"none within {PATIENCE:g} s; cores are gone or taken by other work"
                raise StopRunError(not_started(why)) from error
        return self._ready[next(self._turn) % len(self._ready)]

    def _start(self) -> None:
        caller = self._kind.remote(self._config, [entry or str(Path.cwd()) for entry in sys.path])
        task = asyncio.ensure_future(self._await_start(caller))
        self._starting[task] = caller
        task.add_done_callback(lambda ended: self._starting.pop(ended, None))

    async def _await_start(self, caller: Any) -> None:
        try:
            refused = await caller.ready.remote()
        except self._ray.exceptions.RayError as error:  # not replaced, since the next could not start either
            self._why = last_line(error)
        else:
            self._refused = self._refused or refused
            self._ready.append(caller)
        asyncio.get_running_loop().call_soon(self._change.set)  # when this task is no longer listed as starting

    def close(self) -> None:
        """End the processes."""
        callers = [*self._ready, *self._starting.values()]
        for task in list(self._starting):
            task.cancel()
        for caller in callers:
            self._ray.kill(caller)


class _Caller:
    """An actor: a process that makes calls."""

    def __init__(self, config: ServerConfig, path: Sequence[str]) -> None:
        sys.path.extend(entry for entry in path if entry not in sys.path)
        self._config = config
        self._server: ServerEngine | None = None
        self._open = AsyncExitStack()

    async def ready(self) -> str:
        """Prepare to call; return why this machine cannot, or an empty text."""
        try:
            self._server = ServerEngine(self._config)
        except InputError as error:
            return f"{error} (on {socket.gethostname()}, a machine of the Ray cluster)"
        await self._open.enter_async_context(self._server.session())
        return ""

    async def attempt(self, request: Request) -> CallOutcome | str:
        """Make one call; return a text if no further call can succeed."""
        assert self._server is not None, "ready() comes first"
        try:
            outcome = await self._server.attempt(request)
        except StopRunError as error:
            return str(error)
        return replace(outcome, headers={name.lower(): value for name, value in outcome.headers.items()})
