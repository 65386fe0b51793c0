import asyncio
import threading

import pytest

from tests.engines.server_kit import ask, engine_at, many, running
from tests.fault_server import Behaviour
from tracedistill.engines.calls import Pacing
from tracedistill.engines.client import generate
from tracedistill.engines.server import _proxied
from tracedistill.engines.wire import LeanTransport

BODY = b'{"choices": [{"message": {"content": "fine"}, "finish_reason": "stop"}], "usage": null}'
ONE = Pacing(concurrency=1, start=1)


class Raw:
    """A server that answers each request with the next of its byte strings, and hangs up after it where asked."""

    def __init__(self, *answers, hang_up):
        self.answers, self.hang_up = list(answers), hang_up
        self.connections = 0

    async def serve(self, reader, writer):
        self.connections += 1
        while self.answers:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            writer.write(self.answers.pop(0))
            await writer.drain()
            if self.hang_up:
                break
        writer.close()


def answers_of(raw, count):
    """What `count` requests, one after another, get from a raw server."""
    started, port, stop = threading.Event(), [], []

    async def main():
        server = await asyncio.start_server(raw.serve, "127.0.0.1", 0)
        port.append(server.sockets[0].getsockname()[1])
        stop.extend([asyncio.get_running_loop(), asyncio.Event()])
        started.set()
        await stop[1].wait()
        server.close()

    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    assert started.wait(10)
    try:
        return list(generate(many(count), engine_at(f"http://127.0.0.1:{port[0]}/v1", pacing=ONE)))
    finally:
        stop[0].call_soon_threadsafe(stop[1].set)
        thread.join(10)


def whole(extra=b""):
    return b"HTTP/1.1 200 OK\r\n" + extra + b"content-length: %d\r\n\r\n" % len(BODY) + BODY


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
CHUNKED += b"%x\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (20, BODY[:20], len(BODY) - 20, BODY[20:])
UNSIZED = b"HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n" + BODY


@pytest.mark.parametrize(
    ("answer", "hang_up", "connections"),
    [
        (whole(), False, 1),
        (CHUNKED, False, 1),
        (whole(b"connection: close\r\n"), True, 3),
        (UNSIZED, True, 3),
        (whole(), True, 3),  # hangs up without saying so: noticed before the next request
    ],
)
def test_replies_of_every_kind_and_connections_kept_where_they_can_be(answer, hang_up, connections):
    raw = Raw(*[answer] * 3, hang_up=hang_up)
    answers = answers_of(raw, 3)
    assert [(a.text, a.finish) for a in answers] == [("fine", "stop")] * 3
    assert raw.connections >= connections if hang_up else raw.connections == connections


def test_what_is_no_http_is_tried_again():
    raw = Raw(b"SSH-2.0-OpenSSH\r\n\r\n", whole(), hang_up=True)
    assert [a.text for a in answers_of(raw, 1)] == ["fine"]


def test_huge_requests_and_many_connections():
    with running(Behaviour(latency=0.05)) as server:
        requests = [ask(index, "x" * 2_000_000) for index in range(3)] + list(many(200, "small"))
        pacing = Pacing(concurrency=100, start=100)
        assert {a.finish for a in generate(requests, engine_at(server.url, timeout=10.0, pacing=pacing))} == {"stop"}
        assert server.ledger.peak > 64


def test_the_stock_transport_serves_proxies(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    assert not _proxied("https://api.example/v1")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:3128")
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    assert _proxied("https://api.example/v1")
    assert not _proxied("http://api.example/v1")
    assert not _proxied("https://localhost:8000/v1")
    engine = engine_at("https://api.example/v1")
    client = engine.open_client()
    assert not isinstance(client._client._transport, LeanTransport)
    asyncio.run(client.close())
