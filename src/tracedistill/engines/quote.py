"""Forecast of what a run would buy, before the first call is paid: the figures of `--dry-run`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tracedistill.engines import Engine, Request
from tracedistill.engines.budget import Prices
from tracedistill.engines.cache import GenerationCache
from tracedistill.engines.client import request_key

_LOOKUP = 400


@dataclass(frozen=True, slots=True)
class Forecast:
    """An estimate: prompts at four bytes a token, answers at their maximum."""

    requests: int
    """Total requests."""
    cached: int
    """Of these, served from the cache or equal to another one, and so free."""
    calls: int
    """Answers to buy, retries not counted."""
    tokens_in: int
    """Prompt tokens of these calls, estimated."""
    tokens_out_most: int
    """Generated tokens of these calls if each ran to its `max_tokens`."""
    usd_most: float
    """US dollars if each ran to its `max_tokens`, by the engine's prices."""
    first: Request | None
    """The first request that would be bought."""


def forecast(requests: Iterable[Request], engine: Engine, cache: GenerationCache | None = None) -> Forecast:
    """Examine requests without calling the engine; failures in the cache count as cached, as in `generate`.

    Holds one key of 32 bytes per request in memory.
    """
    name = "" if cache is None else cache.record_engine(engine.describe())
    seen: set[bytes] = set()
    total = cached = calls = tokens_in = tokens_out = 0
    first: Request | None = None
    chunk: list[tuple[bytes, Request]] = []

    def count() -> None:
        nonlocal cached, calls, tokens_in, tokens_out, first
        known = {} if cache is None else cache.lookup([key for key, _ in chunk])
        for key, request in chunk:
            if key in known or key in seen:
                cached += 1
                continue
            seen.add(key)
            first = first or request
            calls += 1
            tokens_in += sum(len(message.content.encode("utf-8", "surrogatepass")) for message in request.messages) // 4
            tokens_out += request.sampling.max_tokens
        chunk.clear()

    for request in requests:
        total += 1
        chunk.append((request_key(name, request), request))
        if len(chunk) == _LOOKUP:
            count()
    count()
    prices: Prices = getattr(engine, "prices", None) or Prices()
    return Forecast(total, cached, calls, tokens_in, tokens_out, prices.cost(tokens_in, tokens_out), first)
