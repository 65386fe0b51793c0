"""The connection to a server: limit the size of a reply, and say how a call without a reply was lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import TYPE_CHECKING

import aiohttp
import httpx2

if TYPE_CHECKING:
    from tracedistill.engines import Request

_MAX_BYTES = ContextVar("largest reply to the call in progress", default=1 << 30)  # files of batches may be large
_MAX_COMPRESSION = 20  # more than any text needs

NEVER_SENT = (
    aiohttp.ClientConnectorError,  # refused, no such host, no TLS; also the way to a proxy
    aiohttp.ClientHttpProxyError,  # the proxy rejected the call
    aiohttp.ConnectionTimeoutError,
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.ProxyError,
)
"""The request was not sent, so it cannot have been billed."""
TIMEOUTS = (TimeoutError, httpx2.TimeoutException)
"""No answer in time; aiohttp's time-outs are TimeoutErrors."""


class ReplyTooLargeError(httpx2.ReadError):
    """A reply is far longer than requested; the rest of it was not read."""


def limit_reply_to(request: Request) -> None:
    """Limit the reply to the next call of this task: one megabyte, plus one kilobyte per allowed token."""
    _MAX_BYTES.set((1 << 20) + (1 << 10) * request.sampling.max_tokens)


async def limit_body(response: httpx2.Response) -> None:
    """Limit the bytes of a body; a hook that the client calls before it reads the body."""
    most = _MAX_BYTES.get()
    if response.headers.get("content-encoding", "identity") != "identity":
        most //= _MAX_COMPRESSION
    if isinstance(response.stream, httpx2.AsyncByteStream):
        response.stream = _LimitedStream(response.stream, most)


class _LimitedStream(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream, most: int) -> None:
        self._stream, self._most = stream, most

    async def __aiter__(self) -> AsyncIterator[bytes]:
        read = 0
        async for part in self._stream:
            read += len(part)
            if read > self._most:
                raise ReplyTooLargeError(f"the reply is larger than {self._most >> 10:,d} kB; the rest was not read")
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


def classify_loss(error: BaseException) -> tuple[BaseException, bool, bool]:
    """Return (the most informative error, whether the request may have been sent, whether it was a time-out).

    The adapter between openai and aiohttp reports a refused, a closed and a slow connection alike as ConnectTimeout.
    aiohttp's own error is among its causes and distinguishes them.
    """
    chain = [error]
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    for kinds in ((aiohttp.ClientError,), (httpx2.HTTPError, TimeoutError)):
        if known := next((link for link in chain if isinstance(link, kinds)), None):
            error = known
            break
    return error, not isinstance(error, NEVER_SENT), isinstance(error, TIMEOUTS)
