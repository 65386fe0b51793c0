"""A circuit breaker: decide whether rows or the whole run are at fault when calls fail in a row."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Generic, TypeVar

from tracedistill.engines import Generation
from tracedistill.engines.calls import StopRunError
from tracedistill.engines.remedies import remedy_of

MOST_EQUAL = 8
"""Consecutive failures with the same message, without an answer, that trip the breaker."""
MOST = 20
"""The same for failures with any message."""

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class HeldFailure(Generic[R]):
    """A row that has failed permanently, unless the run is at fault."""

    row: R
    generation: Generation
    """The failure to return for it."""
    gist: str
    """What equal failures have in common."""
    again: bool
    """Whether to try it again once the server answers: after an outage, not after a refusal."""


class CircuitBreaker(Generic[R]):
    """The failures since the last answer.

    Once an answer arrives, the rows were at fault. After `MOST_EQUAL` failures with the same message, or `MOST` with
    any, the breaker trips: nothing more should be sent until the calls in flight are over. If none of these is
    answered, the run is at fault, and no row counts as failed.
    """

    def __init__(self) -> None:
        self.held: list[HeldFailure[R]] = []

    def hold(self, row: R, generation: Generation, gist: str, *, again: bool) -> None:
        """Hold a failure back."""
        self.held.append(HeldFailure(row, generation, gist, again))

    def release(self) -> list[HeldFailure[R]]:
        """Release the held failures, once the rows are known to be at fault or the run is over."""
        released, self.held = self.held, []
        return released

    @property
    def tripped(self) -> bool:
        """Whether enough failures are held to doubt the run."""
        return len(self.held) >= MOST or max(self._counts().values(), default=0) >= MOST_EQUAL

    def error(self) -> StopRunError:
        """Explain why the run ends, quoting the server, and what to do."""
        last = self.held[-1]
        same = "with the same error" if self._counts()[last.gist] == len(self.held) else "the last with this error"
        cause = last.generation.error
        remedy = remedy_of(cause) or "check the server and the recipe's request settings"
        return StopRunError(
            f"{len(self.held)} requests in a row failed and none was answered, {same}: {cause}; {remedy}. None of them "
            "counts as failed: run the same command again to continue"
        )

    def _counts(self) -> Counter[str]:
        return Counter(failure.gist for failure in self.held)
