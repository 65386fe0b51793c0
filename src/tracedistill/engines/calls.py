"""What an engine of single calls offers, what a call comes to, and how an answer is kept."""

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
    """What one call came to."""

    generation: Generation | None = None
    """Final: an answer, or a failure that no retry would mend."""
    cause: str = ""
    """Why there is no generation yet."""
    refused: bool = False
    """429: not a failure of the call, but of its moment."""
    wait: float | None = None
    """Seconds that the server asked to wait."""
    billed: bool = False
    """Whether it was or may have been billed."""
    used: Used | None = None
    """What the server says it used; None with `billed`: nobody knows, so the worst case counts."""
    unreachable: bool = False
    """Whether no connection could be made at all."""
    loading: bool = False
    """The server is not ready yet: the call's moment, not the call."""
    repeats: bool = False
    """Whether the same call would most likely come to the same: it is tried once more at most."""
    suspect: str = ""
    """Of a failure that no retry mends and that may be the run's (a field that the model refuses): what equal ones
    have in common."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """The reply's headers, for rate limits."""


@dataclass(frozen=True, slots=True)
class Pacing:
    """How a server wants to be called."""

    concurrency: int = 64
    """Most calls in flight."""
    start: int = 8
    """Calls in flight at the beginning."""
    requests_per_minute: float | None = None
    """Limit of the recipe; None: what the server tells."""
    tokens_per_minute: float | None = None
    """Likewise, prompt and generated tokens."""
    attempts: int = 6
    """Calls per request before it is a counted failure; 429 does not count."""
    outage: float = 120.0
    """Seconds without any answer that requests wait out beyond their `attempts`, where trying again costs nothing."""
    patience: float = 3600.0
    """Seconds of refusals (429) or of loading that are waited out; a longer wait ends the run and says until when."""


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
    """Under which name the ledger holds what is under way."""

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
