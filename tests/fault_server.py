"""A local OpenAI-compatible server that fails on purpose, the same way each time for one seed.

Run it apart: `python tests/fault_server.py --port 0 --faults 0.2`; the first line of its output is its base URL.
It binds to 127.0.0.1 only. `GET /stats` tells what it did; a *paid* call is a usable 200 that was sent whole.
The answer depends on the request alone, never on the attempt, so that a healthy server gives the same texts.
Markers in a prompt ask for one behaviour always: [[length]] [[refusal]] [[empty]] [[garbage]] [[400]] [[401]]
[[404]] [[context]] [[quota]] [[think]] [[reasoning]] [[no-usage]] [[503]], and the shapes of usage in USAGE.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import itertools
import json
import random
import socket
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

FAULTS = ("429", "429-after", "500", "503", "stall", "reset", "half-body", "half-json", "empty", "usage", "slow")
"""What one call in five meets; `usage` (nonsense counts) and `slow` (dribbled) are usable answers nevertheless."""


Bill = tuple[int, int, int]
"""Prompt tokens, generated tokens, and how many of the prompt's were cached."""


def _told(read: float, wrote: float) -> dict[str, Any]:
    return {"prompt_tokens": read, "completion_tokens": wrote, "total_tokens": read + wrote}


USAGE: dict[str, Callable[[int, int], tuple[Any, Bill]]] = {
    # marker -> (tokens of the prompt and of the visible text) -> (the usage report, the bill)
    "[[no-usage]]": lambda read, wrote: (None, (read, wrote, 0)),
    "[[nonsense]]": lambda read, wrote: ({"prompt_tokens": -5, "completion_tokens": "many"}, (read, wrote, 0)),
    "[[hidden]]": lambda read, wrote: (_told(read, wrote + 3000), (read, wrote + 3000, 0)),
    "[[total]]": lambda read, wrote: ({**_told(read, wrote), "total_tokens": read + 5 * wrote}, (read, 5 * wrote, 0)),
    "[[template]]": lambda read, wrote: (_told(read + 900, wrote), (read + 900, wrote, 0)),
    "[[floats]]": lambda read, wrote: (_told(float(read), float(wrote)), (read, wrote, 0)),
    "[[cached]]": lambda read, wrote: (
        {**_told(read, wrote), "prompt_tokens_details": {"cached_tokens": read // 2}},
        (read, wrote, read // 2),
    ),
}
"""How a marked prompt's usage is told, and what is really billed."""


@dataclass
class Behaviour:
    """How the server behaves; every probability and time in one place."""

    faults: float = 0.0
    """Share of calls that meet a fault."""
    latency: float = 0.0
    """Seconds from request to answer."""
    stall: float = 3.0
    """Seconds that a stalled call hangs before the connection is dropped."""
    retry_after: float = 0.2
    """Seconds in the Retry-After header of `429-after`."""
    slow: float = 0.3
    """Seconds over which a slow answer is dribbled."""
    seed: int = 0
    """Seed of the faults."""
    in_a_row: int = 3
    """At most so many faults one after another for one prompt."""
    kinds: tuple[str, ...] = FAULTS
    """The faults drawn from."""
    canned: bool = False
    """Give every call the same good answer and do nothing else (benchmarks)."""
    bill_dropped: bool = False
    """Count a call whose client went away as paid, as providers do."""
    bill_all: bool = False
    """Count every 200 but an error in a reply's place as paid, usable or not, as providers do."""
    rejects: str = ""
    """Give a 400 to every prompt that holds this text."""
    capacity: int = 0
    """Calls at a time above which a 429 is given; 0: no limit."""
    batch_polls: int = 2
    """Polls after which a batch is complete."""
    batch_room: int = 0
    """Batches under way above which a further one fails, since the queue is full; 0: no limit."""
    batch_expires: int = 0
    """The first so many batches expire with half of their rows done."""


@dataclass
class Ledger:
    """What the server did."""

    calls: int = 0
    paid: Counter[str] = field(default_factory=Counter)
    bills: dict[str, Bill] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)
    attempts: Counter[str] = field(default_factory=Counter)
    streak: Counter[str] = field(default_factory=Counter)
    emptied: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0
    peak: int = 0
    dropped: int = 0
    authorizations: Counter[str] = field(default_factory=Counter)
    batches: int = 0
    most_batches: int = 0

    def bill(self) -> Bill:
        """Tokens that were really paid for: prompt, generated, and of the prompt's the cached ones."""
        rows = [tuple(count * tokens for tokens in self.bills[key]) for key, count in self.paid.items()]
        read, wrote, cached = (sum(column) for column in zip(*rows, strict=True)) if rows else (0, 0, 0)
        return read, wrote, cached

    def summary(self) -> dict[str, Any]:
        """Figures as JSON values."""
        return {
            "calls": self.calls,
            "paid": sum(self.paid.values()),
            "paid_keys": len(self.paid),
            "duplicates": sum(count - 1 for count in self.paid.values()),
            "faults": dict(self.faults),
            "in_flight": self.in_flight,
            "peak": self.peak,
            "dropped": self.dropped,
            "batches": self.batches,
        }


def answer_of(body: dict[str, Any]) -> dict[str, Any]:
    """The chat completion for a request body: a pure function of it."""
    prompt = "\n".join(str(message["content"]) for message in body["messages"])
    key = body_key(body)
    numbers = random.Random(key)
    steps = [f"Step {i + 1}: take {numbers.randint(2, 99)} and go on." for i in range(numbers.randint(2, 5))]
    text = "\n".join([*steps, f"Answer: {numbers.randint(1, 9999)}"])
    message: dict[str, Any] = {"role": "assistant", "content": text}
    finish = "stop"
    if "[[length]]" in prompt:
        message["content"], finish = text[:20], "length"
    if "[[refusal]]" in prompt:
        message = {"role": "assistant", "content": None, "refusal": "I cannot help with that."}
    if "[[think]]" in prompt:
        message["content"] = f"<think>first\nsecond</think>\n\n{text}"
    if "[[reasoning]]" in prompt:
        message["reasoning_content"] = "thought apart"
    reply: dict[str, Any] = {
        "id": f"chatcmpl-{key[:12]}",
        "object": "chat.completion",
        "created": 1,
        "model": body["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": finish, "logprobs": None}],
    }
    usage = usage_of(body, _text_of(reply))[0]
    return reply if usage is None else {**reply, "usage": usage}


def usage_of(body: dict[str, Any], text: str) -> tuple[Any, Bill]:
    """The usage report for a request and its answer, and what is billed for them."""
    prompt = "\n".join(str(message["content"]) for message in body["messages"])
    read, wrote = len(prompt.split()), len(text.split())
    shape = next((shape for marker, shape in USAGE.items() if marker in prompt), None)
    return (_told(read, wrote), (read, wrote, 0)) if shape is None else shape(read, wrote)


def _text_of(reply: dict[str, Any]) -> str:
    message = reply["choices"][0]["message"]
    return str(message["content"] or message.get("refusal"))


def body_key(body: dict[str, Any]) -> str:
    """Content hash of a request body."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


_TEXT = json.dumps(answer_of({"model": "stub", "messages": [{"role": "user", "content": "canned"}]})).encode()
CANNED = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(_TEXT) + _TEXT


class Service:
    """Answers one parsed HTTP request; knows nothing of sockets."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.ledger = Ledger()
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self._ids = itertools.count(1)

    def chat(self, raw: bytes) -> tuple[int, dict[str, str], bytes, str, str]:
        """(status, extra headers, body, fault or '', key of the request)."""
        body = json.loads(raw)
        key = body_key(body)
        prompt = "\n".join(str(message["content"]) for message in body["messages"])
        self.ledger.calls += 1
        for marker, status, code in (
            ("[[400]]", 400, "bad_request"),
            ("[[401]]", 401, "invalid_api_key"),
            ("[[404]]", 404, "model_not_found"),
            ("[[context]]", 400, "context_length_exceeded"),
            ("[[quota]]", 429, "insufficient_quota"),
            ("[[503]]", 503, "unavailable"),
        ):
            if marker in prompt:
                return status, {}, _error(f"asked for {marker}", code), str(status), key
        if self.behaviour.rejects and self.behaviour.rejects in prompt:
            return 400, {}, _error("this prompt is not liked", "bad_request"), "400", key
        if self.behaviour.capacity and self.ledger.in_flight > self.behaviour.capacity:
            self.ledger.faults["capacity"] += 1
            return 429, {}, _error("too many calls at a time", "rate_limit_exceeded"), "429", key
        if fault := self._draw(key):
            self.ledger.faults[fault] += 1
        if fault == "429":
            return 429, {}, _error("slow down", "rate_limit_exceeded"), fault, key
        if fault == "429-after":
            after = {"retry-after": f"{self.behaviour.retry_after:g}"}
            return 429, after, _error("slow down", "rate_limit_exceeded"), fault, key
        if fault in {"500", "503"}:
            return int(fault), {}, b"<html>upstream is unwell</html>", fault, key
        if "[[error]]" in prompt:
            return 200, {}, _error("the provider failed", "502"), "error", key
        reply = answer_of(body)
        self.ledger.bills[key] = usage_of(body, _text_of(reply))[1]
        if fault == "empty" or "[[empty]]" in prompt:
            reply["choices"][0]["message"]["content"] = ""
            fault = "empty"
        if fault == "usage":
            reply["usage"] = {"prompt_tokens": -5, "completion_tokens": "many"}
        data = json.dumps(reply).encode()
        if fault == "half-json" or "[[garbage]]" in prompt:
            data, fault = data[: len(data) // 2], "half-json"
        return 200, {}, data, fault, key

    def pays(self, status: int, fault: str) -> bool:
        """Whether a reply that was sent whole is paid."""
        return status == 200 and (fault in {"", "usage", "slow"} or (self.behaviour.bill_all and fault != "error"))

    def _draw(self, key: str) -> str:
        rules = self.behaviour
        self.ledger.attempts[key] += 1
        draw = random.Random(f"{rules.seed}/{key}/{self.ledger.attempts[key]}")
        if draw.random() >= rules.faults or self.ledger.streak[key] >= rules.in_a_row:
            self.ledger.streak[key] = 0
            return ""
        self.ledger.streak[key] += 1
        fault = draw.choice(rules.kinds)
        if fault == "empty":  # at temperature 0 a model that is empty twice is always so: a glitch comes once
            self.ledger.emptied[key] += 1
            fault = "empty" if self.ledger.emptied[key] == 1 else "500"
        return fault

    def other(self, method: str, path: str, headers: dict[str, str], raw: bytes) -> tuple[int, bytes]:
        """Everything but chat: statistics, files, batches."""
        if path == "/stats":
            return 200, json.dumps(self.ledger.summary()).encode()
        parts = path.removeprefix("/v1/").split("/")
        if method == "POST" and parts == ["files"]:
            boundary = headers["content-type"].split("boundary=")[1].encode()
            chunks = [part for part in raw.split(b"--" + boundary) if b"filename=" in part]
            name = f"file-{next(self._ids)}"
            self.files[name] = chunks[0].split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")
            return 200, json.dumps({"id": name, "object": "file", "purpose": "batch"}).encode()
        if method == "GET" and parts[0] == "files" and parts[-1] == "content":
            return (200, self.files[parts[1]]) if parts[1] in self.files else (404, _error("no such file", "404"))
        if method == "POST" and parts == ["batches"] and json.loads(raw)["input_file_id"] not in self.files:
            return 404, _error("no such file", "not_found")
        if method == "POST" and parts == ["batches"]:
            return 200, json.dumps(self._new_batch(json.loads(raw))).encode()
        if method == "GET" and parts == ["batches"]:
            listing = {"object": "list", "data": list(self.batches.values()), "has_more": False}
            return 200, json.dumps(listing).encode()
        if method == "GET" and parts[0] == "batches" and parts[1] in self.batches:
            return 200, json.dumps(self._poll(parts[1])).encode()
        return 404, _error(f"no such path {path}", "not_found")

    def _new_batch(self, asked: dict[str, Any]) -> dict[str, Any]:
        name = f"batch-{next(self._ids)}"
        self.ledger.batches += 1
        fresh = {"id": name, "object": "batch", "status": "validating", "created_at": 1, "polls": 0}
        under_way = sum(batch["status"] in {"validating", "in_progress"} for batch in self.batches.values())
        self.ledger.most_batches = max(self.ledger.most_batches, under_way + 1)
        self.batches[name] = {**asked, **fresh, "output_file_id": None, "error_file_id": None}
        if self.behaviour.batch_room and under_way >= self.behaviour.batch_room:
            full = {"code": "token_limit_exceeded", "message": "Enqueued token limit reached"}
            self.batches[name] |= {"status": "failed", "errors": {"object": "list", "data": [full]}}
        return self.batches[name]

    def _poll(self, name: str) -> dict[str, Any]:
        batch = self.batches[name]
        batch["polls"] += 1
        if batch["status"] in {"validating", "in_progress"}:
            batch["status"] = "in_progress"
            if batch["polls"] >= self.behaviour.batch_polls:
                self._finish(batch)
        return batch

    def _finish(self, batch: dict[str, Any]) -> None:
        good, bad = [], []
        rows = [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines() if line.strip()]
        expires = self.ledger.batches <= self.behaviour.batch_expires
        for index, row in enumerate(rows):
            if expires and index % 2:
                error = {"code": "batch_expired", "message": "This request could not be executed in time."}
                bad.append({"id": "r", "custom_id": row["custom_id"], "response": None, "error": error})
                continue
            status, _, data, fault, key = self.chat(json.dumps(row["body"]).encode())
            if self.pays(status, fault):
                self.ledger.paid[key] += 1
            try:
                parsed = json.loads(data)
            except ValueError:
                parsed = {"error": {"message": "garbage"}}
            line = {"id": "r", "custom_id": row["custom_id"], "error": None}
            line["response"] = {"status_code": status, "body": parsed}
            (good if status == 200 else bad).append(line)
        for field_name, lines in (("output_file_id", good), ("error_file_id", bad)):
            if lines:
                batch[field_name] = f"file-{next(self._ids)}"
                self.files[batch[field_name]] = "\n".join(json.dumps(line) for line in lines).encode()
        batch["status"] = "expired" if expires else "completed"


def _error(message: str, code: str) -> bytes:
    return json.dumps({"error": {"message": message, "code": code, "type": "fault"}}).encode()


class Connection(asyncio.Protocol):
    """One HTTP/1.1 connection with keep-alive; requests carry a Content-Length."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.buffer = bytearray()
        self.transport: asyncio.Transport | None = None
        self.pending: list[asyncio.TimerHandle] = []
        self.busy = False
        self.good_key = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connection_lost(self, exc: Exception | None) -> None:
        for handle in self.pending:
            handle.cancel()
        if self.busy:
            self.service.ledger.dropped += 1
            if self.service.behaviour.bill_dropped and self.good_key:
                self.service.ledger.paid[self.good_key] += 1
            self._leave()

    def _leave(self) -> None:
        if self.busy:
            self.busy = False
            self.service.ledger.in_flight -= 1

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0 or self.busy:
            return
        lines = self.buffer[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        length = int(headers.get("content-length", 0))
        if len(self.buffer) < end + 4 + length:
            return
        raw = bytes(self.buffer[end + 4 : end + 4 + length])
        del self.buffer[: end + 4 + length]
        method, path, _ = lines[0].split(" ", 2)
        self.service.ledger.authorizations[headers.get("authorization", "")] += 1
        self.handle(method, path.split("?")[0], headers, raw)

    def handle(self, method: str, path: str, headers: dict[str, str], raw: bytes) -> None:
        ledger, rules = self.service.ledger, self.service.behaviour
        if path != "/v1/chat/completions":
            self.send(*self.service.other(method, path, headers, raw))
            return
        if rules.canned:  # a benchmark's stub: as little work as can be
            ledger.calls += 1
            self.later(rules.latency, lambda: self.transport and self.transport.write(CANNED))
            return
        self.busy = True
        ledger.in_flight += 1
        ledger.peak = max(ledger.peak, ledger.in_flight)
        status, extra, data, fault, key = self.service.chat(raw)
        self.good_key = key if self.service.pays(status, fault) else ""
        if fault == "stall":
            self.later(rules.stall, self.cut)
        elif fault == "reset":
            self.later(rules.latency / 2, self.cut)
        elif fault == "half-body":
            self.later(rules.latency, lambda: (self.send(status, data, half=True), self.cut()))
        elif fault == "slow":
            self.later(rules.latency, lambda: self.dribble(data, key))
        else:
            self.later(rules.latency, lambda: self.finish(status, data, extra, fault, key))

    def later(self, delay: float, action: Callable[[], object]) -> None:
        self.pending = [asyncio.get_running_loop().call_later(delay, action)]

    def finish(self, status: int, data: bytes, extra: dict[str, str], fault: str, key: str) -> None:
        self.send(status, data, extra)
        if self.service.pays(status, fault):
            self.service.ledger.paid[key] += 1
        self._leave()

    def dribble(self, data: bytes, key: str) -> None:
        assert self.transport is not None
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
        self.transport.write(head.encode())
        pieces = [data[i : i + len(data) // 4 + 1] for i in range(0, len(data), len(data) // 4 + 1)]
        loop, pause = asyncio.get_running_loop(), self.service.behaviour.slow / len(pieces)
        self.pending = [loop.call_later(pause * i, self.transport.write, piece) for i, piece in enumerate(pieces)]

        def close_books() -> None:
            self.service.ledger.paid[key] += 1
            self._leave()

        self.pending.append(loop.call_later(pause * len(pieces), close_books))

    def send(self, status: int, data: bytes, extra: dict[str, str] | None = None, *, half: bool = False) -> None:
        assert self.transport is not None
        lines = "".join(f"{name}: {value}\r\n" for name, value in (extra or {}).items())
        head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{lines}content-length: {len(data)}\r\n\r\n"
        self.transport.write(head.encode() + (data[: len(data) // 2] if half else data))

    def cut(self) -> None:
        """Drop the connection without ceremony; a graceful close first flushes what was written."""
        assert self.transport is not None
        self._leave()
        self.transport.close()


async def serve(service: Service, port: int, ready: Callable[[int], None], stop: asyncio.Event | None = None) -> None:
    """Serve on 127.0.0.1 until cancelled or stopped; `ready` gets the port."""
    server = await asyncio.get_running_loop().create_server(lambda: Connection(service), "127.0.0.1", port, backlog=512)
    ready(server.sockets[0].getsockname()[1])
    async with server:
        await (stop or asyncio.Event()).wait()
        server.close()


def main(argv: list[str] | None = None) -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    for name in ("faults", "latency", "stall", "retry-after", "slow"):
        field_name = name.replace("-", "_")
        parser.add_argument(f"--{name}", type=float, default=getattr(Behaviour, field_name))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--in-a-row", type=int, default=3)
    parser.add_argument("--capacity", type=int, default=0)
    parser.add_argument("--bill-dropped", action="store_true")
    parser.add_argument("--canned", action="store_true")
    parser.add_argument("--kinds", default=",".join(FAULTS), help="faults to draw from, with commas")
    options = vars(parser.parse_args(argv))
    port, options["kinds"] = options.pop("port"), tuple(options["kinds"].split(","))

    def ready(chosen: int) -> None:
        print(f"http://127.0.0.1:{chosen}/v1", flush=True)

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(Service(Behaviour(**options)), port, ready))


if __name__ == "__main__":
    main(sys.argv[1:])
