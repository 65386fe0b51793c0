"""Interfaces of engines of single calls, outcomes of calls, and conversion to cache entries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from tracedistill.engines import Generation, Request
from tracedistill.engines.budget import Prices, Worst
from tracedistill.engines.cache_rows import Entry
from tracedistill.engines.ledger import Spending
from tracedistill.engines.usage import Used
from tracedistill.errors import InputError


class StopRunError(InputError):
    """No further call makes sense (wrong key, no such model, no credit): the run ends after what is in flight."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of one call."""

    generation: Generation | None = None
    """Final: an answer, or a failure that no retry would fix."""
    cause: str = ""
    """Why there is no generation yet."""
    refused: bool = False
    """429: a temporary refusal, not a failure of the call."""
    wait: float | None = None
    """Seconds to wait, as requested by the server."""
    billed: bool = False
    """Whether it was or may have been billed."""
    used: Used | None = None
    """Usage reported by the server; None with `billed`: unknown, so the worst case counts."""
    unreachable: bool = False
    """Whether no connection could be made at all."""
    loading: bool = False
    """The server is not ready yet: temporary."""
    repeats: bool = False
    """Whether a retry would probably give the same result: it is tried at most once more."""
    suspect: str = ""
    """For a permanent failure that may be the run's (a field that the model rejects): the common message of equal ones.
    """
    headers: Mapping[str, str] = field(default_factory=dict)
    """The reply's headers, for rate limits."""


@dataclass(frozen=True, slots=True)
class Pacing:
    """Rate settings of a server."""

    concurrency: int = 64
    """Most concurrent calls."""
    start: int = 8
    """Concurrent calls at the beginning."""
    requests_per_minute: float | None = None
    """Limit of the recipe; None: as the server reports."""
    tokens_per_minute: float | None = None
    """Likewise, prompt and generated tokens."""
    attempts: int = 6
    """Calls per request before it is a counted failure; 429 does not count."""
    outage: float = 120.0
    """Seconds without any answer that requests wait beyond their `attempts`, if retries are free."""
    patience: float = 3600.0
    """Longest wait in seconds for refusals (429) or loading; a longer one ends the run, stating until when."""


class CallEngine(Protocol):
    """An engine of single calls, many at a time."""

    pacing: Pacing
    prices: Prices

    def describe(self) -> dict[str, Any]:
        """Describe everything that determines the output besides the request; JSON."""
        ...

    def session(self) -> AbstractAsyncContextManager[object]:
        """Open what calls need on the running loop."""
        ...

    def worst_case(self, request: Request) -> Worst:
        """Return the most a call can cost."""
        ...

    async def attempt(self, request: Request) -> Outcome:
        """Make one call without retries. Raises nothing but StopRunError."""
        ...


@runtime_checkable
class LastingEngine(Protocol):
    """An engine whose calls outlive the process that sends them (the Batch API)."""

    holder: str
    """Name of the ledger's holder for calls in progress."""

    def under_way(self) -> Spending:
        """Return what calls sent by this and earlier processes may still cost."""
        ...

    def submitted(self, requests: Sequence[Request]) -> set[str]:
        """Return the ids of unfinished requests."""
        ...

    def outcomes(
        self, requests: Sequence[Request], stakes: Mapping[str, Spending], charge: Callable[[Spending], None]
    ) -> Iterator[Outcome]:
        """Yield final outcomes. `stakes`: what each request may cost, by id; `charge` receives other costs."""
        ...


def entry_of(generation: Generation, engine: str) -> Entry:
    """Convert a generation to a cache entry."""
    return Entry(
        finish=generation.finish,
        text=generation.text,
        reasoning=generation.reasoning,
        error=generation.error,
        tokens_in=generation.tokens_in,
        tokens_out=generation.tokens_out,
        estimated=generation.usage_estimated,
        seconds=generation.seconds,
        engine=engine,
        usd=generation.usd,
        cached_in=generation.cached_in,
        buyer=generation.buyer,
        model=generation.model,
        fingerprint=generation.fingerprint,
    )


def generation_of(entry: Entry, request_id: str) -> Generation:
    """Convert a cache entry to a generation marked as cached."""
    return Generation(
        request_id=request_id,
        text=entry.text,
        finish=entry.finish,  # type: ignore[arg-type]  # the cache holds what entry_of wrote
        tokens_in=entry.tokens_in,
        tokens_out=entry.tokens_out,
        seconds=entry.seconds,
        reasoning=entry.reasoning,
        error=entry.error,
        cached=True,
        usage_estimated=entry.estimated,
        usd=entry.usd,
        cached_in=entry.cached_in,
        buyer=entry.buyer,
        model=entry.model,
        fingerprint=entry.fingerprint,
    )
