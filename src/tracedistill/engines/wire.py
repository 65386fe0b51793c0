"""A lean HTTP/1.1 transport for httpx2, because the stock one costs more CPU than all the rest of a call.

Protocol and TLS stay httpcore2's. Two things differ: head and body of a request leave in one system call, and an
idle connection is taken from a stack instead of being searched for in a pool (the scheduler above bounds the calls
in flight already). Measured by benchmarks/teacher_client.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import httpcore2
import httpx2

_KEEPALIVE = 4.5  # seconds; uvicorn, which many model servers run on, drops idle connections after 5
_HIGH_WATER = 1 << 20  # bytes received and not yet read above which reading pauses


class LeanTransport(httpx2.AsyncBaseTransport):
    """Connections kept alive per origin, the last used first; unbounded in number, so bound the calls."""

    def __init__(self) -> None:
        self._idle: dict[tuple[bytes, bytes, int | None], list[httpcore2.AsyncHTTPConnection]] = {}
        self._backend = _Backend()
        self._tls: ssl.SSLContext | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request; connection failures are raised as httpx2's."""
        url = request.url
        key = (url.raw_scheme, url.raw_host, url.port)
        inner = httpcore2.Request(
            method=request.method,
            url=httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        connection = await self._take(key, inner)
        try:
            with _translated():
                response = await connection.handle_async_request(inner)
        except BaseException:
            await connection.aclose()
            raise
        return httpx2.Response(
            status_code=response.status,
            headers=response.headers,
            stream=_Body(response, connection, self._idle.setdefault(key, [])),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        """Close the idle connections."""
        for connections in self._idle.values():
            while connections:
                await connections.pop().aclose()

    async def _take(
        self, key: tuple[bytes, bytes, int | None], request: httpcore2.Request
    ) -> httpcore2.AsyncHTTPConnection:
        idle = self._idle.setdefault(key, [])
        while idle:
            connection = idle.pop()
            if not connection.has_expired() and connection.is_available():
                return connection
            await connection.aclose()
        if key[0] == b"https" and self._tls is None:
            self._tls = httpx2.create_ssl_context()
        return httpcore2.AsyncHTTPConnection(
            origin=request.url.origin,
            ssl_context=self._tls,
            keepalive_expiry=_KEEPALIVE,
            network_backend=self._backend,
        )


class _Body(httpx2.AsyncByteStream):
    """A response's body; once closed, its connection is idle again."""

    def __init__(
        self,
        response: httpcore2.Response,
        connection: httpcore2.AsyncHTTPConnection,
        idle: list[httpcore2.AsyncHTTPConnection],
    ) -> None:
        self._response, self._connection, self._idle = response, connection, idle

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _translated():
            async for part in self._response.aiter_stream():
                yield part

    async def aclose(self) -> None:
        try:
            with _translated():
                await self._response.aclose()
        finally:
            if self._connection.is_idle():
                self._idle.append(self._connection)
            else:
                await self._connection.aclose()


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Raise httpcore2's errors under the same name of httpx2."""
    try:
        yield
    except (httpcore2.TimeoutException, httpcore2.NetworkError, httpcore2.ProtocolError) as error:
        kind = getattr(httpx2, type(error).__name__, httpx2.TransportError)
        raise kind(str(error)) from error


class _Backend(httpcore2.AsyncNetworkBackend):
    """Opens TCP connections on the running asyncio loop."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,  # noqa: ARG002
    ) -> httpcore2.AsyncNetworkStream:
        loop = asyncio.get_running_loop()
        local = None if local_address is None else (local_address, 0)
        try:
            async with asyncio.timeout(timeout):
                _, stream = await loop.create_connection(
                    _Stream, host, port, local_addr=local, happy_eyeballs_delay=0.25
                )
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout(f"no connection to {host}:{port} in {timeout} s") from error
        except OSError as error:
            raise httpcore2.ConnectError(str(error)) from error
        return stream


class _Stream(httpcore2.AsyncNetworkStream, asyncio.Protocol):
    """One connection. What is written leaves when the answer is read, so a small request is one packet."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._outgoing: list[bytes] = []
        self._ended = False
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._clogged = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        if len(self._received) > _HIGH_WATER and self._transport is not None:
            self._transport.pause_reading()
        _wake(self._waiter)

    def eof_received(self) -> bool:
        self._ended = True
        _wake(self._waiter)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended, self._error = True, exc
        _wake(self._waiter)
        _wake(self._drained)

    def pause_writing(self) -> None:
        self._clogged = True

    def resume_writing(self) -> None:
        self._clogged = False
        _wake(self._drained)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        await self._flush(timeout)
        if not self._received and not self._ended:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                if timeout is None:
                    await self._waiter
                else:
                    async with asyncio.timeout(timeout):
                        await self._waiter
            except TimeoutError as error:
                raise httpcore2.ReadTimeout(f"nothing received in {timeout} s") from error
            finally:
                self._waiter = None
        if not self._received and self._error is not None:
            raise httpcore2.ReadError(str(self._error)) from self._error
        data = bytes(self._received[:max_bytes])
        del self._received[:max_bytes]
        if self._transport is not None and len(self._received) <= _HIGH_WATER and not self._transport.is_closing():
            self._transport.resume_reading()
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if buffer:
            self._outgoing.append(bytes(buffer))
        if sum(map(len, self._outgoing)) > 1 << 16:
            await self._flush(timeout)

    async def aclose(self) -> None:
        if self._transport is not None:
            # A polite end of TLS takes a round trip that nobody waits for; the answer was read whole by its length.
            abrupt = self._clogged or self._transport.get_extra_info("ssl_object") is not None
            self._transport.abort() if abrupt else self._transport.close()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        assert self._transport is not None
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout):
                encrypted = await loop.start_tls(self._transport, self, ssl_context, server_hostname=server_hostname)
        except TimeoutError as error:
            self._transport.abort()
            raise httpcore2.ConnectTimeout(f"no TLS handshake in {timeout} s") from error
        except OSError as error:  # ssl.SSLError among them
            self._transport.abort()
            raise httpcore2.ConnectError(str(error)) from error
        self._transport = encrypted
        return self

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":  # an idle connection with something to read was closed by the server
            return bool(self._received) or self._ended
        assert self._transport is not None
        names = {"client_addr": "sockname", "server_addr": "peername"}
        return self._transport.get_extra_info(names.get(info, info))

    async def _flush(self, timeout: float | None) -> None:
        if self._outgoing:
            if self._ended or self._transport is None or self._transport.is_closing():
                self._outgoing.clear()
                raise httpcore2.WriteError("the server closed the connection")
            data = b"".join(self._outgoing)
            self._outgoing.clear()
            self._transport.write(data)
        if self._clogged and not self._ended:
            self._drained = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(timeout):
                    await self._drained
            except TimeoutError as error:
                raise httpcore2.WriteTimeout(f"the server took nothing in {timeout} s") from error
            finally:
                self._drained = None


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
