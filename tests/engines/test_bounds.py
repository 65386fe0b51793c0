"""A reply that does not end, or unpacks to far more than it weighs, is cut off."""

from __future__ import annotations

import asyncio
import gzip
import json

import pytest

from tests.engines.server_kit import ask, completion, engine_at
from tracedistill.engines import Sampling
from tracedistill.engines.calls import CallOutcome, Pacing

HEAD = b"HTTP/1.1 %d X\r\ncontent-type: application/json\r\nconnection: close\r\n"


def called(status: int, headers: bytes, parts: list[bytes], times: int) -> tuple[CallOutcome, int]:
    """(what a call comes to, bytes that the server could send) of a server that sends these parts so many times."""
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        try:
            writer.write(HEAD % status + headers + b"\r\n")
            for _ in range(times):
                for part in parts:
                    writer.write(part)
                    await writer.drain()
                    sent += len(part)
        except ConnectionError:
            pass
        writer.close()

    async def call() -> CallOutcome:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            engine = engine_at(f"http://127.0.0.1:{port}/v1", timeout=20.0, pacing=Pacing())
            async with engine.session():
                return await engine.attempt(ask(1, sampling=Sampling(max_tokens=100)))

    return asyncio.run(call()), sent


@pytest.mark.parametrize("status", [200, 400, 500])
@pytest.mark.parametrize("headers", [b"", b"content-length: 1000000000000\r\n"])
def test_a_flood_is_cut_off(status: int, headers: bytes) -> None:
    outcome, sent = called(status, headers, [b'"' + b"x" * 100_000], 10_000)
    assert outcome.cause.startswith("the reply is larger than 1,124 kB")
    assert (outcome.billed, outcome.repeats) == (True, True)
    assert sent < 10_000_000, "a gigabyte was to come"


def test_what_unpacks_to_a_thousand_times_its_size_is_cut_off() -> None:
    bomb = gzip.compress(b" " * 200_000_000)
    outcome, _ = called(200, b"content-encoding: gzip\r\n", [bomb[n : n + 4096] for n in range(0, len(bomb), 4096)], 1)
    assert "larger than 56 kB" in outcome.cause


@pytest.mark.parametrize("packed", [False, True])
def test_a_long_answer_is_none(packed: bool) -> None:
    data = json.dumps(completion("word " * 100_000)).encode()
    headers = b"content-encoding: gzip\r\n" if packed else b""
    outcome, _ = called(200, headers, [gzip.compress(data) if packed else data], 1)
    assert outcome.generation is not None
    assert len(outcome.generation.text) == 500_000
