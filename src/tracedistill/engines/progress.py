"""Live figures of a run of `generate`, for the command line's panel."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from tracedistill.engines import Generation
from tracedistill.engines.error_messages import gist

_WINDOW = 60.0  # seconds over which rates are computed


class Statistics:
    """Counts of one run; only the client writes them, and they can be read at any time."""

    def __init__(self, total: int | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.total = total
        """Total requests, if known."""
        self.done = 0
        """Good answers, cached ones included."""
        self.failed = 0
        """Counted failures (finish error or too-long)."""
        self.cut_off = 0
        """Answers that reached max_tokens."""
        self.refused = 0
        """Refusals and filtered answers."""
        self.cached = 0
        """Of all these, those that were free."""
        self.retried = 0
        """Calls sent again after a failure."""
        self.limited = 0
        """Calls that the server refused as too many (429)."""
        self.estimated = 0
        """Answers whose token counts are our estimate."""
        self.tokens_in = 0
        """Prompt tokens of bought answers."""
        self.tokens_out = 0
        """Generated tokens of bought answers."""
        self.usd = 0.0
        """Spent so far in this run, at the recipe's prices."""
        self.unreported_usd = 0.0
        """The part of `usd` assumed for calls without a usage report (time-outs, cut connections)."""
        self.concurrency = 0
        """Calls allowed in flight now."""
        self.in_flight = 0
        """Calls in flight now."""
        self.waiting = ""
        """Why nothing is being sent (rate limit, budget, draining); empty otherwise."""
        self.causes: dict[str, int] = {}
        """Counted failures by cause; causes that differ only in numbers and ids count as one."""
        self._gists: dict[str, str] = {}
        self._clock = clock
        self._started = clock()
        self._recent: deque[tuple[int, int, int]] = deque()  # second, tokens, answers

    @property
    def finished(self) -> int:
        """Finished requests, whatever their outcome."""
        return self.done + self.failed + self.cut_off + self.refused

    @property
    def seconds(self) -> float:
        """Wall seconds since the start."""
        return self._clock() - self._started

    @property
    def tokens_per_minute(self) -> float:
        """Tokens in and out over the last minute."""
        return self._rate(1) * 60

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds to the end; None if the total or the rate is unknown."""
        rate = self._rate(2)
        if self.total is None or rate <= 0:
            return 0.0 if self.total == self.finished else None
        return (self.total - self.finished) / rate

    @property
    def usd_projected(self) -> float | None:
        """Estimated US dollars at the end; None if the total is unknown or nothing was bought yet."""
        bought = self.finished - self.cached
        if self.total is None or bought <= 0:
            return None
        return self.usd + self.usd / bought * (self.total - self.finished)

    def count(self, generation: Generation) -> None:
        """Add one finished request."""
        if generation.finish == "stop":
            self.done += 1
        elif generation.finish == "length":
            self.cut_off += 1
        elif generation.finish == "refusal":
            self.refused += 1
        else:
            self.failed += 1
            cause = generation.error or generation.finish
            cause = self._gists.setdefault(gist(cause), cause) if len(self._gists) < 50 else cause
            if cause in self.causes or len(self.causes) < 50:  # causes quote servers; a run must not hoard them
                self.causes[cause] = self.causes.get(cause, 0) + 1
        if generation.cached:
            self.cached += 1
            return
        self.estimated += generation.usage_estimated
        self.tokens_in += generation.tokens_in
        self.tokens_out += generation.tokens_out
        tokens, second = generation.tokens_in + generation.tokens_out, int(self._clock())
        if self._recent and self._recent[-1][0] == second:
            _, before, count = self._recent.pop()
            self._recent.append((second, before + tokens, count + 1))
        else:
            self._recent.append((second, tokens, 1))
        while self._recent[0][0] < second - _WINDOW:
            self._recent.popleft()

    def _rate(self, column: int) -> float:
        now = self._clock()
        recent = [row for row in tuple(self._recent) if row[0] >= now - _WINDOW]
        span = min(_WINDOW, self.seconds)
        return sum(row[column] for row in recent) / span if span > 0 else 0.0
