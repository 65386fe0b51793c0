"""What the tests of the teacher client share: requests, engines, a mock endpoint, a loop whose clock jumps."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import json
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2

from tests.fault_server import Behaviour, Ledger, Service, serve
from tracedistill.engines import Request, Sampling
from tracedistill.engines.cache import GenerationCache
from tracedistill.engines.calls import Pacing
from tracedistill.engines.server import ServerConfig, ServerEngine
from tracedistill.records import Message

TESTS = Path(__file__).resolve().parents[1]

KEY = "sk-test-5up3r-s3cr3t-k3y"


def ask(index: int | str, text: str = "", **fields: Any) -> Request:
    """One request about one problem."""
    sampling = fields.pop("sampling", Sampling(max_tokens=64))
    return Request(f"r{index}", (Message("user", f"Problem {index} {text}"),), sampling, **fields)


def many(count: int, text: str = "") -> Iterator[Request]:
    return (ask(index, text) for index in range(count))


def engine_at(url: str, *, environment: dict[str, str] | None = None, **fields: Any) -> ServerEngine:
    fields.setdefault("timeout", 1.0)
    fields.setdefault("pacing", Pacing(concurrency=32, start=16))
    return ServerEngine(ServerConfig(url, "stub", **fields), environment=environment)


def completion(text: str | None = "fine", **fields: Any) -> dict[str, Any]:
    """A chat completion's JSON; `message`, `finish_reason`, `usage` replace parts."""
    message = {"role": "assistant", "content": text, **fields.pop("message", {})}
    choice = {"index": 0, "message": message, "finish_reason": fields.pop("finish_reason", "stop")}
    usage = fields.pop("usage", {"prompt_tokens": 10, "completion_tokens": 5})
    return {"id": "x", "model": "stub", "choices": [choice], "usage": usage, **fields}


class Endpoint:
    """A scripted endpoint behind httpx2.MockTransport: each call takes the next step of the script, the last for ever.

    A step is a completion's dict, a (status, headers, body) triple, an exception, or a function of the body.
    `times` are the loop's times of the calls, `bodies` what they carried.
    """

    def __init__(self, *script: Any) -> None:
        self.script = list(script)
        self.times: list[float] = []
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[httpx2.Headers] = []

    async def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.times.append(asyncio.get_running_loop().time())
        self.bodies.append(json.loads(request.content))
        self.headers.append(request.headers)
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if callable(step) and not isinstance(step, type):
            step = step(self.bodies[-1])
        if isinstance(step, BaseException):
            raise step
        if isinstance(step, dict):
            return httpx2.Response(200, content=json.dumps(step).encode())
        if isinstance(step, bytes):
            return httpx2.Response(200, content=step)
        status, headers, body = step
        return httpx2.Response(status, headers=headers, json=body)

    def engine(self, *, environment: dict[str, str] | None = None, **fields: Any) -> ServerEngine:
        config = ServerConfig("http://127.0.0.1:9/v1", "stub", **fields)
        return ServerEngine(config, transport=httpx2.MockTransport(self), environment=environment)


def failure(status: int, code: str = "", headers: dict[str, str] | None = None, message: str = "no") -> Any:
    return status, headers or {}, {"error": {"message": message, "code": code}}


class JumpingLoop(asyncio.SelectorEventLoop):
    """A loop that does not wait for its timers: where nothing is ready, its clock jumps to the next one."""

    def __init__(self) -> None:
        super().__init__()
        self.skew = 0.0

    def time(self) -> float:
        return super().time() + getattr(self, "skew", 0.0)

    def _run_once(self) -> None:
        if not self._ready:  # type: ignore[attr-defined]
            events = self._selector.select(0.004)  # type: ignore[attr-defined]  # threads get their say first
            self._process_events(events)  # type: ignore[attr-defined]
        if not self._ready:  # type: ignore[attr-defined]
            waiting = [handle for handle in self._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]
            if waiting:
                self.skew += max(0.0, heapq.nsmallest(1, waiting)[0].when() - self.time())
        super()._run_once()  # type: ignore[misc]


def fast_platform(monkeypatch: Any) -> None:
    """Keep the openai client from looking the platform up in a thread while the clock jumps."""
    monkeypatch.setattr("openai._base_client.get_platform", lambda: "Linux")


class LocalServer:
    """The server in a thread of this process: `url`, `service.ledger` and `service.behaviour` at hand."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.service = Service(behaviour)
        self.url = ""

    @property
    def ledger(self) -> Ledger:
        return self.service.ledger


@contextlib.contextmanager
def running(behaviour: Behaviour) -> Iterator[LocalServer]:
    """A server in a thread, stopped at the end."""
    local = LocalServer(behaviour)
    up = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    def ready(port: int) -> None:
        local.url = f"http://127.0.0.1:{port}/v1"
        up.set()

    def work() -> None:
        loop.run_until_complete(serve(local.service, 0, ready, stop))
        loop.run_until_complete(asyncio.sleep(0.01))
        loop.close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert up.wait(10), "the fault server did not start"
    try:
        yield local
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)


def counts(cache: GenerationCache) -> dict[str, int]:
    """Answers in a cache by finish."""
    with contextlib.closing(sqlite3.connect(cache.path)) as db:
        return dict(db.execute("SELECT finish, count(*) FROM generations GROUP BY finish"))
