"""Retries: decide whether a finished call is stored, retried or held back, or whether it ends the run."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from tracedistill.engines import Generation, Request
from tracedistill.engines.calls import CallOutcome, Pacing, StopRunError
from tracedistill.engines.circuit_breaker import CircuitBreaker
from tracedistill.engines.error_messages import gist
from tracedistill.engines.ledger import NOTHING, Spending
from tracedistill.engines.progress import Statistics
from tracedistill.engines.rate_limits import Concurrency, Pace, backoff, until
from tracedistill.engines.remedies import remedy_of
from tracedistill.engines.usage import TokenUsage

_REPEATS = 2  # calls per row if the reply would probably be the same again


@dataclass(slots=True)
class PendingRequest:
    """A request in progress. Times are the loop's."""

    key: bytes
    request: Request
    worst: TokenUsage
    """The most tokens that a call can take."""
    attempts: int = 0
    """Failed calls."""
    refusals: int = 0
    """Calls that were refused for the moment."""
    refused_since: float | None = None
    claimed: bool = False
    """Whether the cache holds this process's claim to the key."""
    stake: Spending = NOTHING
    """Stake of the call in flight."""
    paid: Spending = NOTHING
    """Cost of all its calls."""
    repeats: int = 0
    """Replies that a retry would probably get again."""
    spared: bool = False
    """Whether it was tried again after an outage, which happens once."""
    sent: float = 0.0
    first_sent: float = 0.0


Stored = list[tuple[PendingRequest, Generation]]
"""Rows with the generations to store for them."""


class Retries:
    """Decides about the finished calls of one run.

    `put_off` takes a row and the time of its next call; `halt` ends the run with the given reason.
    """

    def __init__(
        self,
        pacing: Pacing,
        concurrency: Concurrency,
        pace: Pace,
        statistics: Statistics,
        put_off: Callable[[PendingRequest, float], None],
        halt: Callable[[BaseException], None],
    ) -> None:
        self.breaker: CircuitBreaker[PendingRequest] = CircuitBreaker()
        """Rows that failed since the last answer."""
        self.failing_since: float | None = None
        """Time of the first failure after the last answer; None: no failure."""
        self.trouble = ""
        """Why there are no answers, for the panel."""
        self._pacing, self._concurrency, self._pace, self._statistics = pacing, concurrency, pace, statistics
        self._put_off, self._halt = put_off, halt
        self._answered_at = float("-inf")
        self._jitter = random.Random(0)

    def judge(self, row: PendingRequest, outcome: CallOutcome, now: float, *, stopping: bool) -> Stored:
        """Return what to store now: nothing if the row is retried or the run ends."""
        if outcome.generation is not None:
            self._concurrency.answered(row.sent, now)
            if outcome.suspect:
                self.breaker.hold(row, outcome.generation, outcome.suspect, again=False)
                return []
            return [*(self._answered(now) if outcome.billed else ()), (row, outcome.generation)]
        if outcome.wait is not None and outcome.wait > self._pacing.patience:
            self._halt(later_than_patience(outcome.wait, outcome.cause))
            stopping = True
        if stopping:
            self._put_off(row, now)  # its claim is given up at the end
            return []
        if outcome.refused or outcome.loading:
            return self._refused(row, outcome, now)
        return self._failed(row, outcome, now)

    def _answered(self, now: float) -> Stored:
        """Handle an answer: it shows that the server works, so held failures are retried once or returned."""
        self._answered_at, self.failing_since, self.trouble = now, None, ""
        failures = []
        for held in self.breaker.release():
            if held.again and not held.row.spared:
                held.row.attempts, held.row.repeats, held.row.spared = 0, 0, True
                self._put_off(held.row, now)
            else:
                failures.append((held.row, held.generation))
        return failures

    def _failed(self, row: PendingRequest, outcome: CallOutcome, now: float) -> Stored:
        """Handle a failed call: retry it, fail the row, or end the run."""
        row.attempts += 1
        self.failing_since = now if self.failing_since is None else self.failing_since
        if outcome.wait is not None:
            self._pace.pause(outcome.wait, now)
        # if other rows were answered meanwhile, this row is at fault; otherwise it may be an outage
        silent = self._answered_at < row.first_sent
        failing, ever = now - self.failing_since, self._answered_at > float("-inf")
        patient = silent and not outcome.billed and failing < self._pacing.outage and (ever or not outcome.unreachable)
        row.repeats += outcome.repeats
        if (row.attempts < self._pacing.attempts and row.repeats < _REPEATS) or patient:
            self._statistics.retried += 1
            if silent and row.attempts > 1:
                self.trouble = f"no answer for {failing:.0f} s, {outcome.cause}"
            self._put_off(row, now + max(outcome.wait or 0.0, backoff(row.attempts, self._jitter)))
            return []
        if outcome.unreachable and silent:
            self._halt(
                StopRunError(f"{outcome.cause}; check base_url and that the server is up, then run again to continue")
            )
            self._put_off(row, now)
            return []
        failure = _failure(row, f"{outcome.cause} ({row.attempts} attempts)")
        if silent:
            self.breaker.hold(row, failure, gist(outcome.cause), again=not outcome.billed)
            return []
        return [(row, failure)]

    def _refused(self, row: PendingRequest, outcome: CallOutcome, now: float) -> Stored:
        """Handle a temporary refusal: too many calls, or a model that is loading."""
        if outcome.loading:
            self.trouble = "the server is loading its model"
        else:
            self._statistics.limited += 1
            self._concurrency.refused(row.sent, now)
        row.refusals += 1
        row.refused_since = now if row.refused_since is None else row.refused_since
        waited = now - row.refused_since
        if waited > self._pacing.patience:
            if self._answered_at > row.refused_since:
                return [(row, _failure(row, f"{outcome.cause} (refused for {waited:.0f} s)"))]
            self._halt(
                StopRunError(
                    f"no answer for {waited / 60:.0f} minutes: {outcome.cause}; "
                    f"{remedy_of(outcome.cause) or 'check the server'}, then run the same command again to continue"
                )
            )
        if outcome.wait is not None:
            self._pace.pause(outcome.wait, now)
        self._put_off(row, now + max(outcome.wait or 0.0, backoff(row.refusals, self._jitter)))
        return []


def _failure(row: PendingRequest, cause: str) -> Generation:
    return Generation(row.request.request_id, "", "error", error=cause)


def later_than_patience(seconds: float, cause: str) -> StopRunError:
    """Explain why the run ends instead of waiting, and until when to wait."""
    moment = until(seconds, time.time())
    return StopRunError(f"the server refuses all requests until {moment}: {cause}; run the same command again then")
