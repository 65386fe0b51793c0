"""Limits on reply sizes: a flooding server is cut off before it fills the memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import TYPE_CHECKING

import httpx2

if TYPE_CHECKING:
    from tracedistill.engines import Request

_AT_MOST = ContextVar("bytes of the reply to the call under way", default=1 << 30)  # files of batches may be large
_COMPRESSED = 20  # most times a compressed body may shrink: more than any text needs


class ReplyTooLargeError(httpx2.ReadError):
    """A reply is far longer than requested; the rest of it was not read."""


def expect_reply_to(request: Request) -> None:
    """Bound the reply to the next call of this task: one megabyte, plus one kilobyte per allowed token."""
    _AT_MOST.set((1 << 20) + (1 << 10) * request.sampling.max_tokens)


async def bound(response: httpx2.Response) -> None:
    """Limit the bytes of a body: a hook of the client, before the body is read."""
    most = _AT_MOST.get()
    if response.headers.get("content-encoding", "identity") != "identity":
        most //= _COMPRESSED
    if isinstance(response.stream, httpx2.AsyncByteStream):
        response.stream = _Bounded(response.stream, most)


class _Bounded(httpx2.AsyncByteStream):
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
