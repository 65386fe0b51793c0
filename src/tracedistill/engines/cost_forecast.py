"""Forecast what a run would buy, before the first call is paid: the figures of `--dry-run`."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

from tracedistill.engines import Engine, Request
from tracedistill.engines.budget import Prices
from tracedistill.engines.cache import GenerationCache, request_key

_LOOKUP = 400


@dataclass(frozen=True, slots=True)
class CostForecast:
    """An estimate: prompts at four bytes a token, answers at their maximum."""

    requests: int
    """Total requests."""
    cached: int
    """Requests that are free: in the cache, or equal to another one."""
    calls: int
    """Answers to buy, retries not counted."""
    tokens_in: int
    """Prompt tokens of these calls, estimated."""
    tokens_out_most: int
    """Generated tokens of these calls if each reached its `max_tokens`."""
    usd_most: float
    """US dollars if each reached its `max_tokens`, by the engine's prices."""
    first: Request | None
    """The first request to buy."""


def forecast(requests: Iterable[Request], engine: Engine, cache: GenerationCache | None = None) -> CostForecast:
    """Examine requests without calling the engine; failures in the cache count as cached, as in `generate`.

    Holds one key of 32 bytes per request in memory.
    """
    name = "" if cache is None else cache.record_engine(engine.describe())
    total = tokens_in = tokens_out = 0
    first: Request | None = None
    bought: set[bytes] = set()
    rows = iter(requests)
    while some := [(request_key(name, request), request) for request in itertools.islice(rows, _LOOKUP)]:
        total += len(some)
        known = {} if cache is None else cache.lookup([key for key, _ in some])
        for key, request in some:
            if key in known or key in bought:
                continue
            bought.add(key)
            first = first or request
            tokens_in += sum(len(message.content.encode("utf-8", "surrogatepass")) for message in request.messages) // 4
            tokens_out += request.sampling.max_tokens
    prices: Prices = getattr(engine, "prices", None) or Prices()
    usd = prices.cost(tokens_in, tokens_out)
    return CostForecast(total, total - len(bought), len(bought), tokens_in, tokens_out, usd, first)
