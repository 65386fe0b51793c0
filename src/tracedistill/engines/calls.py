"""Calls of paid engines: their interfaces, their pacing, and the outcome of one call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from tracedistill.engines import Generation, Request
from tracedistill.engines.budget import Prices
from tracedistill.engines.ledger import Spending
from tracedistill.engines.usage import TokenUsage
from tracedistill.errors import InputError


class StopRunError(InputError):
    """No further call makes sense (wrong key, no such model, no credit): the run ends after what is in flight."""


@dataclass(frozen=True, slots=True)
class CallOutcome:
    """The outcome of one call."""

    generation: Generation | None = None
    """Final: an answer, or a failure that no retry would fix."""
    cause: str = ""
    """Why there is no generation yet."""
    refused: bool = False
    """Whether the server refused it as one call too many (429): temporary, not a failure of the call."""
    wait: float | None = None
    """Seconds to wait, as requested by the server."""
    billed: bool = False
    """Whether it may have been billed."""
    usage: TokenUsage | None = None
    """Usage reported by the server; None with `billed`: unknown, so the worst case counts."""
    unreachable: bool = False
    """Whether no connection could be made at all."""
    loading: bool = False
    """Whether the server is not ready yet."""
    repeats: bool = False
    """Whether a retry would probably give the same result, so that it is tried only once more."""
    suspect: str = ""
    """The `gist` of a permanent failure for which the run may be at fault (such as a field that the model rejects)."""
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
    """The recipe's limit; None: as the server reports."""
    tokens_per_minute: float | None = None
    """The same for prompt and generated tokens together."""
    attempts: int = 6
    """Calls per request before it is a counted failure; 429 does not count."""
    outage: float = 120.0
    """Seconds without any answer for which free retries go beyond `attempts`."""
    patience: float = 3600.0
    """Longest wait in seconds for refusals (429) or loading; a longer one ends the run, stating until when."""


class CallEngine(Protocol):
    """An engine of single calls, many at a time."""

    pacing: Pacing
    prices: Prices

    def describe(self) -> dict[str, Any]:
        """See `Engine`."""
        ...

    def session(self) -> AbstractAsyncContextManager[object]:
        """Open what calls need on the running loop."""
        ...

    async def attempt(self, request: Request) -> CallOutcome:
        """Make one call without retries. Raises only StopRunError."""
        ...


@runtime_checkable
class LastingEngine(Protocol):
    """An engine whose calls outlive the process that sends them (the Batch API)."""

    holder: str
    """Name of the ledger's holder for calls in progress."""

    def under_way(self) -> Spending:
        """Return the most that calls in progress may cost, those of earlier processes included."""
        ...

    def submitted(self, requests: Sequence[Request]) -> set[str]:
        """Return the ids of unfinished requests."""
        ...

    def outcomes(
        self, requests: Sequence[Request], stakes: Mapping[str, Spending], charge: Callable[[Spending], None]
    ) -> Iterator[CallOutcome]:
        """Yield final outcomes. `stakes`: the most each request may cost, by id; `charge` receives other costs."""
        ...


def finishes_to_retry(retry_failed: bool, retry_cut_off: bool) -> frozenset[str]:
    """Return the finishes of cached answers that are bought again."""
    failures = {"error", "refusal", "too-long"} if retry_failed else set()
    return frozenset(failures | ({"length"} if retry_cut_off else set()))
