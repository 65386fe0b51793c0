"""The client of all engines: requests in, finished generations out; nothing is paid twice."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import queue
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from tracedistill.engines import Engine, Generation, Request
from tracedistill.engines.budget import Budget, Prices, SpendMeter, worst_case
from tracedistill.engines.cache import GenerationCache, request_key
from tracedistill.engines.calls import CallEngine, CallOutcome, LastingEngine, finishes_to_retry
from tracedistill.engines.ledger import Balance, Spending
from tracedistill.engines.progress import Statistics
from tracedistill.engines.retries import PendingRequest
from tracedistill.engines.scheduler import CallScheduler
from tracedistill.engines.usage import TokenUsage
from tracedistill.errors import InputError

_LOOKUP = 64  # requests looked up in the cache at a time
_LOOKUP_BUSY = 8  # the same while calls are in flight
_TICK = 0.25  # seconds between reports of progress

Progress = Callable[[Statistics], None]


def generate(
    requests: Iterable[Request],
    engine: Engine,
    cache: GenerationCache | None = None,
    budget: Budget | None = None,
    on_progress: Progress | None = None,
    *,
    total: int | None = None,
    prices: Prices | None = None,
    retry_failed: bool = False,
    retry_cut_off: bool = False,
    buyer: str = "",
    chunk: int = 256,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
) -> Iterator[Generation]:
    """Run requests through an engine and yield each generation once, as it completes, never as a gap.

    Cached answers are served (`cached`), refusals, cut-offs and failures too, each under its own `finish`;
    `retry_failed` buys errors and refusals again, `retry_cut_off` cut-offs. Everything bought is in the cache before it
    is yielded. Equal requests of one call are paid once. `requests` may be a generator of any length: a few hundred are
    held at a time. Without a cache, one in a temporary folder serves this call. `buyer` is stored with every answer
    bought, so that an interrupted run recognises what it has paid for.

    `on_progress` gets a live `Statistics` four times a second, in the caller's thread. `total` (else the length of
    `requests`) lets it project time and money. `prices` are for an engine without its own. An engine that works in
    batches gets `chunk` requests at a time.

    First Ctrl-C: nothing more is sent, what is in flight is awaited, stored and yielded, then KeyboardInterrupt. Second
    Ctrl-C: at once. Raises BudgetReachedError before the budget could be exceeded, StopRunError if no call can succeed
    (wrong key, no such model), InputError for an unusable cache; each after yielding what is finished.
    """
    if total is None and isinstance(requests, Sized):
        total = len(requests)
    pacing_engine = cast(CallEngine, engine) if hasattr(engine, "attempt") else None
    prices = getattr(engine, "prices", None) or prices or Prices()
    budget = budget or Budget()
    rebuy = finishes_to_retry(retry_failed, retry_cut_off)
    if budget.usd is not None and prices == Prices():
        raise InputError("budget.usd: the teacher has no prices; add them to the recipe, or limit tokens or calls")
    run = _Session(iter(requests), engine, cache, budget, prices, on_progress, Statistics(total), rebuy, buyer)
    if pacing_engine is not None:
        return run.calls(pacing_engine, loop_factory)
    return run.batches(int(getattr(engine, "chunk", chunk)))


@dataclass
class _Session:
    """One call of `generate`, in the caller's thread."""

    requests: Iterator[Request]
    engine: Engine
    cache: GenerationCache | None
    budget: Budget
    prices: Prices
    on_progress: Progress | None
    statistics: Statistics
    rebuy: frozenset[str]
    buyer: str = ""
    followers: dict[bytes, list[Request]] = field(default_factory=dict)
    """Keys in progress, with equal requests that wait for the same answer."""
    began: float = 0.0
    """Unix time of the start."""
    reported: float = 0.0
    """Monotonic time of the last report of progress."""

    def calls(
        self, engine: CallEngine, loop_factory: Callable[[], asyncio.AbstractEventLoop] | None
    ) -> Iterator[Generation]:
        """Make many concurrent calls in another thread, and yield their generations."""
        with self._open_cache() as cache:
            name = cache.record_engine(engine.describe())
            meter = SpendMeter(self.budget, self.prices, cache.overrun(name))
            scheduler = CallScheduler(
                engine, cache, meter, self.statistics, rebuy=self.rebuy, buyer=self.buyer, loop_factory=loop_factory
            )
            window = max(4 * engine.pacing.concurrency, 2 * _LOOKUP)
            with _Interrupts(scheduler) as interrupts:
                try:
                    yield from self._exchange(scheduler, cache, name, window)
                except BaseException:
                    # the caller left (GeneratorExit) or failed; what is in flight is still awaited and stored
                    scheduler.stop()
                    raise
                finally:
                    scheduler.finish()
                    scheduler.join()
                    self._close(cache, meter)
                    self._report(force=True)
                if scheduler.error is not None:
                    raise scheduler.error
                if interrupts.count:
                    raise KeyboardInterrupt

    def _exchange(
        self, scheduler: CallScheduler, cache: GenerationCache, name: str, window: int
    ) -> Iterator[Generation]:
        more, over = True, False
        while not over:
            while more and len(self.followers) < window:
                # small portions while calls are in flight, since their loop waits for the interpreter meanwhile
                more, hits, misses = self._pull(cache, name, _LOOKUP_BUSY if self.followers else _LOOKUP)
                scheduler.submit([PendingRequest(key, request, worst_case(request)) for key, request in misses])
                if not more:
                    scheduler.finish()
                yield from hits
                self._report()
                if not scheduler.results.empty():
                    break
            if not more and not self.followers:
                break
            results: list[tuple[PendingRequest, Generation]] | None
            try:
                results = scheduler.results.get(timeout=_TICK)
            except queue.Empty:
                results = []
            over = results is None
            for row, generation in results or ():
                yield from self._give(row.key, generation)
            self._report()

    def batches(self, chunk: int) -> Iterator[Generation]:
        """Generate a chunk of requests at a time, in the caller's thread, for engines that work in batches."""
        with self._open_cache() as cache:
            name = cache.record_engine(self.engine.describe())
            lasting = self.engine if isinstance(self.engine, LastingEngine) else None
            holder = "" if lasting is None else lasting.holder
            meter = SpendMeter(self.budget, self.prices, cache.overrun(name), holder)
            if lasting is not None:
                meter.resume(lasting.under_way())
            waiting: list[tuple[bytes, Request]] = []
            more = True
            try:
                while more or waiting:
                    while more and len(waiting) < chunk:
                        more, hits, misses = self._pull(cache, name, chunk - len(waiting))
                        waiting += misses
                        yield from hits
                    if waiting:
                        waiting = yield from self._batch(cache, name, meter, lasting, waiting)
            finally:
                self._close(cache, meter)
            self._report(force=True)

    def _batch(
        self,
        cache: GenerationCache,
        name: str,
        meter: SpendMeter,
        lasting: LastingEngine | None,
        some: list[tuple[bytes, Request]],
    ) -> Generator[Generation, None, list[tuple[bytes, Request]]]:
        """Run what the budget allows of a chunk; return the rest."""
        worst = {key: worst_case(request) for key, request in some}
        stakes = {key: meter.stake(most) for key, most in worst.items()}
        ahead = set[str]() if lasting is None else lasting.submitted([request for _, request in some])
        wanted = {key: stakes[key] for key, request in some if request.request_id not in ahead}
        granted = self._granted(cache, meter, wanted, needed=not ahead)
        fitting = [(key, request) for key, request in some if key in granted or request.request_id in ahead]
        open_keys = {request.request_id: key for key, request in fitting}

        def charge(amount: Spending) -> None:
            meter.charge(amount)
            cache.exchange(booking=meter.booking())

        try:
            for outcome in self._answers(lasting, [request for _, request in fitting], open_keys, stakes, charge):
                generation, known = outcome.generation, meter.overrun
                key = None if generation is None else open_keys.pop(generation.request_id, None)
                if generation is None or key is None:
                    continue  # an answer to no request, or a repeated one
                paid = meter.settle(stakes[key], worst[key], outcome.billed, outcome.usage)
                if meter.overrun != known:
                    cache.record_overrun(name, *meter.overrun)
                bought = replace(generation, usd=(generation.usd or 0.0) + paid.usd, buyer=self.buyer)
                cache.exchange([(key, bought)], engine=name, booking=meter.booking())
                self.statistics.usd, self.statistics.in_flight = meter.spent.usd, len(open_keys)
                yield from self._give(key, bought)
                self._report()
        finally:
            if lasting is not None:
                meter.resume(lasting.under_way())
            else:  # a local engine: unanswered requests cost nothing
                for key in open_keys.values():
                    meter.settle(stakes[key], worst[key], False, None)
        left = {key for key, _ in fitting}
        return [(key, request) for key, request in some if key not in left]

    def _answers(
        self,
        lasting: LastingEngine | None,
        requests: list[Request],
        unanswered: Mapping[str, bytes],
        stakes: Mapping[bytes, Spending],
        charge: Callable[[Spending], None],
    ) -> Iterator[CallOutcome]:
        """Yield the engine's generations for a chunk, and a counted failure for each request that it omits."""
        self.statistics.in_flight = len(requests)
        if lasting is not None:
            by_id = {request_id: stakes[key] for request_id, key in unanswered.items()}
            yield from lasting.outcomes(requests, by_id, charge)
        else:
            for answer in self.engine.generate(requests):
                billed = answer.finish not in {"error", "too-long"} or answer.tokens_out > 0
                yield CallOutcome(answer, billed=billed, usage=TokenUsage(answer.tokens_in, answer.tokens_out))
        for request_id in list(unanswered):
            cause = "the engine returned nothing for this request"
            yield CallOutcome(Generation(request_id, "", "error", error=cause))

    def _granted(
        self, cache: GenerationCache, meter: SpendMeter, stakes: dict[bytes, Spending], *, needed: bool
    ) -> frozenset[bytes]:
        """Return the calls of a chunk that the budget allows. If one is `needed`, wait for other runs' calls to end."""
        while True:
            booking = meter.booking(stakes)
            if booking is None:
                granted, balance = list(stakes), Balance()
            else:
                granted, balance = cache.stake(list(stakes), booking)
            for key in granted:
                meter.sent(stakes[key])
            if granted or not needed:
                return frozenset(granted)
            if not balance.waiting:
                raise meter.refusal(next(iter(stakes.values())), balance)
            self.statistics.waiting = "budget"
            self._report()
            time.sleep(_TICK)

    def _pull(
        self, cache: GenerationCache, name: str, count: int
    ) -> tuple[bool, list[Generation], list[tuple[bytes, Request]]]:
        """Take up to `count` requests: (whether there may be more, cached answers, requests to buy)."""
        requests = list(itertools.islice(self.requests, count))
        keyed = [(request_key(name, request), request) for request in requests]
        known = cache.lookup(list({key for key, _ in keyed if key not in self.followers}))
        hits: list[Generation] = []
        misses: list[tuple[bytes, Request]] = []
        for key, request in keyed:
            answer = known.get(key)
            if key in self.followers:
                self.followers[key].append(request)
            # what this run has bought again once is not bought a third time
            elif answer is not None and (answer.finish not in self.rebuy or answer.created >= self.began):
                hits.append(replace(answer, request_id=request.request_id))
            else:
                self.followers[key] = []
                misses.append((key, request))
        for generation in hits:
            self.statistics.count(generation)
        return len(requests) == count, hits, misses

    def _give(self, key: bytes, generation: Generation) -> Iterator[Generation]:
        """Yield one finished generation, and its copies for equal requests."""
        self.statistics.count(generation)
        yield generation
        for request in self.followers.pop(key, ()):
            copy = replace(generation, request_id=request.request_id, cached=True)
            self.statistics.count(copy)
            yield copy

    def _report(self, *, force: bool = False) -> None:
        now = time.monotonic()
        if self.on_progress is not None and (force or now - self.reported >= _TICK):
            self.reported = now
            self.on_progress(self.statistics)

    def _close(self, cache: GenerationCache, meter: SpendMeter) -> None:
        """Book what is open, and forget an account that was for this run alone."""
        booking = meter.booking()
        if booking is not None:
            cache.exchange(booking=booking)
        if not meter.budget.scope:
            cache.forget(meter.scope)

    @contextlib.contextmanager
    def _open_cache(self) -> Iterator[GenerationCache]:
        self.began = time.time()
        if self.cache is not None:
            yield self.cache
            return
        folder = tempfile.TemporaryDirectory(prefix="tracedistill-")
        with folder as name, GenerationCache(Path(name) / "generations.db") as own:
            yield own


class _Interrupts:
    """Turns the first Ctrl-C into a drain and the second into an exit, while a run is in the main thread."""

    def __init__(self, scheduler: CallScheduler) -> None:
        self._scheduler = scheduler
        self._before: Any = None
        self.count = 0

    def __enter__(self) -> _Interrupts:
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._before)

    def _handle(self, *_: object) -> None:
        self.count += 1
        if self.count == 1:
            self._scheduler.stop()
            return
        self._scheduler.abort()
        raise KeyboardInterrupt
