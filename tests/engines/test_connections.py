import asyncio
import contextlib
import socket
import threading

import pytest

from tests.engines.server_kit import KEY, ask, engine_at, many, running
from tests.fault_server import Behaviour
from tracedistill.engines.calls import Pacing, StopRunError
from tracedistill.engines.client import generate
from tracedistill.engines.transport import classify_loss

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


@contextlib.contextmanager
def serving(raw):
    """The address of a raw server in a thread."""
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
        yield f"http://127.0.0.1:{port[0]}"
    finally:
        stop[0].call_soon_threadsafe(stop[1].set)
        thread.join(10)


def answers_of(raw, count):
    """What `count` requests, one after another, get from a raw server."""
    with serving(raw) as url:
        return list(generate(many(count), engine_at(f"{url}/v1", pacing=ONE)))


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


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # aiohttp's advice above 1 MB; 2 ms a call
def test_huge_requests_and_many_connections():
    with running(Behaviour(latency=0.05)) as server:
        requests = [ask(index, "x" * 2_000_000) for index in range(3)] + list(many(200, "small"))
        pacing = Pacing(concurrency=100, start=100)
        assert {a.finish for a in generate(requests, engine_at(server.url, timeout=10.0, pacing=pacing))} == {"stop"}
        assert server.ledger.peak > 64


def unused_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def finished(work):
    """What a coroutine comes to; the server's ends of its connections are closed too."""

    async def all_of_it():
        found = await work
        await asyncio.sleep(0.05)
        return found

    return asyncio.run(all_of_it())


@pytest.mark.parametrize(
    ("base_url", "proxy", "words"),
    [
        ("http://127.0.0.1:{unused}/v1", None, "no connection: Cannot connect"),
        ("https://127.0.0.1:{unused}/v1", None, "no connection: Cannot connect"),
        ("http://no-such-host.invalid/v1", None, "no connection: Cannot connect"),
        ("https://127.0.0.1:{plain}/v1", None, "no connection"),  # no TLS there
        ("https://api.example/v1", "http://127.0.0.1:{unused}", "no connection"),
        ("https://api.example/v1", "http://127.0.0.1:{plain}", "no connection: 403"),
    ],
)
def test_what_never_left_is_told_as_such_and_costs_nothing(base_url, proxy, words, monkeypatch):
    clear_proxies(monkeypatch)

    async def main():
        async def forbid(reader, writer):
            await reader.read(100)
            writer.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(forbid, "127.0.0.1", 0)
        ports = {"unused": unused_port(), "plain": server.sockets[0].getsockname()[1]}
        if proxy is not None:
            monkeypatch.setenv("https_proxy", proxy.format(**ports))
        engine = engine_at(base_url.format(**ports), timeout=20.0)
        async with server, engine.session():
            return await engine.attempt(ask(1))

    outcome = finished(main())
    assert outcome.cause.startswith(words)
    assert outcome.unreachable
    assert not outcome.billed


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [("abort", "connection lost"), ("close", "connection lost"), ("half", "connection lost"), ("wait", "time-out")],
)
def test_what_may_have_arrived_may_have_been_billed(behaviour, words):
    async def main():
        async def serve(reader, writer):
            await reader.readuntil(b"}]")
            if behaviour == "half":
                writer.write(whole()[:-20])
            if behaviour == "wait":
                await reader.read()  # until the client has gone
            if behaviour == "abort":
                writer.transport.abort()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        engine = engine_at(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", timeout=0.5)
        async with server, engine.session():
            return await engine.attempt(ask(1))

    outcome = finished(main())
    assert outcome.cause.startswith(words)
    assert outcome.billed
    assert not outcome.unreachable


def test_a_proxy_of_the_environment_is_used(monkeypatch):
    clear_proxies(monkeypatch)
    asked = []

    async def main():
        async def forward(reader, writer):
            head = await reader.readuntil(b"}]")
            asked.append(head.split(b"\r\n")[0])
            writer.write(whole(b"connection: close\r\n"))
            writer.close()

        proxy = await asyncio.start_server(forward, "127.0.0.1", 0)
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}")
        engine = engine_at("http://api.example/v1")
        async with proxy, engine.session():
            return await engine.attempt(ask(1))

    assert finished(main()).generation.text == "fine"
    assert asked == [b"POST http://api.example/v1/chat/completions HTTP/1.1"]


def clear_proxies(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_the_error_that_tells_most_is_found_behind_the_others():
    inner = ConnectionRefusedError("refused")
    outer = RuntimeError("wrapped")
    outer.__cause__ = inner
    assert classify_loss(outer)[0] is outer, "neither aiohttp's nor httpx2's: as it came"
    assert classify_loss(outer)[1], "in doubt it may be billed"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_and_quotes_no_key(status):
    """Another address is another server: it gets neither prompt nor key, and is not taken for the first."""
    elsewhere = Raw(whole(), hang_up=True)
    with serving(elsewhere) as other:
        place = f"{other}/v1?key={KEY}".encode()
        moved = b"HTTP/1.1 %d Moved\r\nlocation: %b\r\nwww-authenticate: %b\r\ncontent-length: 0\r\n\r\n"
        with serving(Raw(moved % (status, place, KEY.encode()), hang_up=True)) as url:
            engine = engine_at(f"{url}/v1", key_env="K", environment={"K": KEY}, pacing=ONE)
            with pytest.raises(StopRunError, match=rf"a redirect \(HTTP {status} to {other}/v1\)") as caught:
                list(generate(many(1), engine))
    assert KEY not in str(caught.value)
    assert elsewhere.connections == 0
