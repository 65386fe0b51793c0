"""Classify calls without a reply.

The adapter between openai and aiohttp reports a refused, a closed and a slow connection alike as ConnectTimeout.
aiohttp's own error is its cause and distinguishes them.
"""

from __future__ import annotations

from dataclasses import dataclass

import aiohttp
import httpx2

NEVER_SENT = (
    aiohttp.ClientConnectorError,  # refused, no such host, no TLS; also the way to a proxy
    aiohttp.ClientHttpProxyError,  # the proxy rejected the call
    aiohttp.ConnectionTimeoutError,
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.ProxyError,
)
"""The request was not sent, so it cannot have been billed."""
SLOW = (TimeoutError, httpx2.TimeoutException)
"""No answer in time; aiohttp's time-outs are TimeoutErrors."""


@dataclass(frozen=True, slots=True)
class Loss:
    """How a call was lost."""

    error: BaseException
    """The most informative error: aiohttp's, if there is one."""
    sent: bool
    """Whether the request may have reached the server, which may then bill it."""
    slow: bool
    """Whether it was a time-out."""


def loss_of(error: BaseException) -> Loss:
    """Read the chain of causes behind an error of the `openai` client or its transport."""
    chain = [error]
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    for kinds in ((aiohttp.ClientError,), (httpx2.HTTPError, TimeoutError), (BaseException,)):
        told = next((link for link in chain if isinstance(link, kinds)), None)
        if told is not None:
            break
    assert told is not None
    return Loss(told, sent=not isinstance(told, NEVER_SENT), slow=isinstance(told, SLOW))
