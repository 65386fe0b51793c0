"""The scheduler of paid calls: an asyncio loop in a thread that starts, retries, stores and returns calls.

One turn of the loop takes finished calls, chooses what to start, and commits both to the cache in one transaction.
Only then is an answer returned. A call keeps its slot until its answer is committed, so a kill loses at most as many
answers as calls were in flight.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import cast

from tracedistill.engines import Generation
from tracedistill.engines.budget import SpendMeter
from tracedistill.engines.cache import Claims, GenerationCache
from tracedistill.engines.calls import CallEngine, CallOutcome, StopRunError
from tracedistill.engines.ledger import LEASE
from tracedistill.engines.progress import Statistics
from tracedistill.engines.rate_limits import Concurrency, Pace
from tracedistill.engines.retries import PendingRequest, Retries, later_than_patience

_BUSY_POLL = 0.3  # seconds between checks for an answer that another process is buying
_HELD = f"another run is requesting the same answers (a run that was killed elsewhere times out after {LEASE:.0f} s)"


class CallScheduler:
    """Runs rows through an engine; every result is in the cache before it comes out of `results`.

    `submit`, `finish`, `stop` and `abort` may be called from any thread. `results` yields lists of (row, generation),
    and None once the run is over; `error` then says why it stopped early, if it did.
    """

    def __init__(
        self,
        engine: CallEngine,
        cache: GenerationCache,
        meter: SpendMeter,
        statistics: Statistics,
        *,
        rebuy: frozenset[str] = frozenset(),
        buyer: str = "",
        loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
    ) -> None:
        self.results: queue.SimpleQueue[list[tuple[PendingRequest, Generation]] | None] = queue.SimpleQueue()
        self.error: BaseException | None = None
        self._engine, self._cache, self._meter, self._statistics = engine, cache, meter, statistics
        self._rebuy, self._buyer = rebuy, buyer
        self._engine_name = cache.record_engine(engine.describe())
        self._known_overrun = meter.overrun
        pacing = engine.pacing
        self._pacing = pacing
        self._concurrency = Concurrency(pacing.start, pacing.concurrency)
        self._pace = Pace(pacing.requests_per_minute, pacing.tokens_per_minute)
        self._inbox: deque[PendingRequest] = deque()
        self._later: list[tuple[float, int, PendingRequest]] = []
        self._order = itertools.count()
        self._completed: list[tuple[PendingRequest, CallOutcome]] = []
        self._stored: deque[list[tuple[PendingRequest, Generation]]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._no_more = self._stopping = False
        self._retries = Retries(pacing, self._concurrency, self._pace, statistics, self._put_off, self._halt)
        self._timer: asyncio.TimerHandle | None = None
        self._pulse: asyncio.TimerHandle | None = None
        self._overdue = False  # a renewal is due: calls may take longer than the lease of their claims
        self._broke_until = 0.0  # the budget did not allow the last wanted call
        self._held_until = 0.0  # another process was buying what was wanted
        self._runner = asyncio.Runner(loop_factory=loop_factory)
        self._loop = self._runner.get_loop()
        self._turn = asyncio.Event()
        self._thread = threading.Thread(target=self._work, name="tracedistill-calls", daemon=True)
        self._thread.start()

    def submit(self, rows: Iterable[PendingRequest]) -> None:
        """Add rows to be bought."""
        self._inbox.extend(rows)
        self._signal()

    def finish(self) -> None:
        """Announce that no more rows will come."""
        self._no_more = True
        self._signal()

    def stop(self) -> None:
        """Start nothing more; what is in flight is awaited and stored."""
        self._stopping = True
        self._statistics.waiting = "draining"
        self._signal()

    def abort(self) -> None:
        """Abandon what is in flight, too."""
        self._stopping = True
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(lambda: [task.cancel() for task in self._tasks])
        self._signal()

    def join(self) -> None:
        """Wait for the thread's end."""
        self._thread.join()

    def _signal(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop may be closed already
            self._loop.call_soon_threadsafe(self._turn.set)

    def _work(self) -> None:
        try:
            with self._runner:
                self._runner.run(self._main())
        except BaseException as error:
            self.error = self.error or error
        finally:
            self.results.put(None)

    async def _main(self) -> None:
        async with self._engine.session():
            self._beat()
            try:
                while True:
                    self._step()
                    if not self._tasks and not self._completed and (self._stopping or self._idle()):
                        break
                    await self._turn.wait()
                    self._turn.clear()
            finally:
                for task in self._tasks:
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)
                for timer in (self._timer, self._pulse):
                    if timer is not None:
                        timer.cancel()
                self._hand_back()
                self._close_books()

    def _idle(self) -> bool:
        return self._no_more and not self._inbox and not self._later

    def _step(self) -> None:
        """Take finished rows, choose new ones, commit both, then return and start them."""
        now = self._loop.time()
        stored: list[tuple[PendingRequest, Generation]] = []
        completed, self._completed = self._completed, []
        in_flight = len(self._tasks)
        for row, outcome in completed:
            stored += self._paid(self._judge(row, outcome, in_flight, now))
        if completed:
            self._broke_until = 0.0
        if self._retries.breaker.tripped and not self._tasks and not self._stopping:
            self._halt(self._retries.breaker.error())
        chosen = [] if self._stopping else self._choose(now)
        if not chosen and not self._tasks and not self._stopping and self._idle():
            # no other row is left that could show what is at fault
            stored += self._paid((held.row, held.generation) for held in self._retries.breaker.release())
        results = list(stored)
        if self._meter.overrun != self._known_overrun:
            self._known_overrun = self._meter.overrun
            self._cache.record_overrun(self._engine_name, *self._known_overrun)
        wanted = {row.key: row for row in chosen}
        overdue, self._overdue = self._overdue, False
        booking = self._meter.booking({row.key: row.stake for row in chosen}, always=overdue)
        if stored or wanted or overdue or booking is not None:
            claims = self._cache.exchange(
                [(row.key, generation) for row, generation in stored],
                list(wanted),
                engine=self._engine_name,
                rebuy=self._rebuy,
                booking=booking,
            )
            results += self._start(wanted, claims, now)
        if results:
            # after the new calls have been sent, since the consuming thread then competes for the interpreter
            self._stored.append(results)
            self._loop.call_soon(self._hand_back)
        figures = self._statistics
        figures.usd, figures.unreported_usd = self._meter.spent.usd, self._meter.unreported_usd
        figures.concurrency, figures.in_flight = self._concurrency.limit, len(self._tasks)

    def _hand_back(self) -> None:
        while self._stored:
            self.results.put(self._stored.popleft())

    def _start(
        self, wanted: Mapping[bytes, PendingRequest], claims: Claims, now: float
    ) -> list[tuple[PendingRequest, Generation]]:
        """Send what was granted; return what another process has bought; put off the rest."""
        answered: list[tuple[PendingRequest, Generation]] = []
        for key, row in wanted.items():
            if key in claims.granted:
                row.claimed, row.sent = True, now
                row.first_sent = row.first_sent or now
                self._meter.sent(row.stake)
                self._tasks.add(self._loop.create_task(self._call(row)))
                continue
            self._turn.set()  # its slot is free again, and no call will end to signal that
            if key in claims.answered:
                answered.append((row, replace(claims.answered[key], request_id=row.request.request_id)))
                continue
            self._put_off(row, now + _BUSY_POLL)
            self._statistics.waiting = "answers that another run is requesting"
            if key in claims.unaffordable:
                self._broke_until = now + _BUSY_POLL
                self._statistics.waiting = "budget"
            else:
                self._held_until = now + 2 * _BUSY_POLL
                self._statistics.waiting = _HELD
        if claims.unaffordable and not self._tasks and not claims.balance.waiting:
            short = next(row for key, row in wanted.items() if key in claims.unaffordable)
            self._halt(self._meter.refusal(short.stake, claims.balance))
        return answered

    def _beat(self) -> None:
        self._overdue = bool(self._tasks or self._later)
        self._pulse = self._loop.call_later(LEASE / 3, self._beat)
        self._turn.set()

    def _choose(self, now: float) -> list[PendingRequest]:
        """Choose the rows to start now, within concurrency, pace and budget; set the timer for the waiting ones."""
        chosen: list[PendingRequest] = []
        wake: float | None = None
        held = _HELD if now < self._held_until else ""
        self._statistics.waiting = "budget" if now < self._broke_until else self._retries.trouble or held
        may = now >= self._broke_until and not self._retries.breaker.tripped
        while may and len(self._tasks) + len(chosen) < self._concurrency.limit:
            due = bool(self._later) and self._later[0][0] <= now
            if not due and (not self._inbox or self._in_trouble(len(chosen))):
                break
            row = self._later[0][2] if due else self._inbox[0]
            expected = _expected(row)
            wait = self._pace.wait(expected, now)
            if wait > 0:
                self._statistics.waiting = f"rate limit: {wait:.0f} s" if wait >= 1 else ""
                required = self._pace.server_wait(expected, now)
                if required > self._pacing.patience:
                    self._halt(later_than_patience(required, "its rate limit is used up"))
                    break
                wake = now + wait
                break
            if due:
                heapq.heappop(self._later)
            else:
                self._inbox.popleft()
            self._pace.sent(expected, now)
            row.stake = self._meter.stake(row.worst)
            chosen.append(row)
        # rows that are due already wait for a slot or the budget; a timer for them would fire without pause
        if now < self._broke_until:
            wake = self._broke_until
        elif wake is None and self._later and self._later[0][0] > now:
            wake = self._later[0][0]
        if self._timer is None or self._timer.when() != wake:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = None if wake is None else self._loop.call_at(wake, self._ring)
        return chosen

    def _in_trouble(self, chosen: int) -> bool:
        """Return whether no new row should start, because enough rows are trying and none was answered lately."""
        trying = len(self._tasks) + chosen + len(self._later)
        return self._retries.failing_since is not None and trying >= self._concurrency.limit

    def _ring(self) -> None:
        self._timer = None  # loops may fire a clock tick early; the next turn sets it again
        self._turn.set()

    async def _call(self, row: PendingRequest) -> None:
        try:
            outcome = await self._engine.attempt(row.request)
        except asyncio.CancelledError:  # a second Ctrl-C: unknown whether it was billed
            outcome = CallOutcome(cause="cancelled", billed=True)
        except BaseException as error:  # an internal error must not leave the run waiting
            self._halt(error)
            outcome = CallOutcome(cause=str(error), billed=not isinstance(error, StopRunError))
        # not in a done-callback, since the next turn must find the slot free
        self._tasks.discard(cast("asyncio.Task[None]", asyncio.current_task()))
        self._completed.append((row, outcome))
        self._turn.set()

    def _judge(
        self, row: PendingRequest, outcome: CallOutcome, in_flight: int, now: float
    ) -> list[tuple[PendingRequest, Generation]]:
        """Settle one outcome; return what to store now: nothing if the row is retried or the run ends."""
        row.paid += self._meter.settle(row.stake, row.worst, outcome.billed, outcome.usage)
        if outcome.usage is not None:
            self._pace.corrected(_expected(row), outcome.usage.tokens_in + outcome.usage.tokens_out)
        if outcome.headers:
            self._pace.read_headers(outcome.headers, in_flight, now, time.time())
        return self._retries.judge(row, outcome, now, stopping=self._stopping)

    def _paid(self, kept: Iterable[tuple[PendingRequest, Generation]]) -> list[tuple[PendingRequest, Generation]]:
        """Attach charge and buyer to the generations."""
        return [(row, replace(generation, usd=row.paid.usd, buyer=self._buyer)) for row, generation in kept]

    def _put_off(self, row: PendingRequest, until: float) -> None:
        heapq.heappush(self._later, (until, next(self._order), row))

    def _halt(self, error: BaseException) -> None:
        self.error = self.error or error
        self._stopping = True
        self._turn.set()

    def _close_books(self) -> None:
        """Give up the claims of rows that will not be bought; record what unanswered calls may have cost."""
        for row, outcome in self._completed:
            self._meter.settle(row.stake, row.worst, outcome.billed, outcome.usage)
        held = [row.key for _, _, row in self._later if row.claimed] + [row.key for row, _ in self._completed]
        held += [failure.row.key for failure in self._retries.breaker.held]
        self._cache.exchange(released=held, booking=self._meter.booking())
        self._statistics.usd = self._meter.spent.usd
        self._statistics.in_flight = 0


def _expected(row: PendingRequest) -> int:
    """Estimate the tokens of a call, for rates: four bytes a token, and the most it may generate."""
    return row.worst.tokens_in // 4 + row.worst.tokens_out
