"""The OpenAI Batch API: half the price, within a day, many batches at once, robust to interruption.

Batches in progress are recorded in a state file (batch_state.py). In the ledger they are a stake of a holder that
outlives the process, until their results are merged.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from tracedistill.engines import Generation, Request
from tracedistill.engines.batch_files import CHAT, outcome_of_line, request_line
from tracedistill.engines.batch_state import ROWS, SubmittedBatch, lines_of, load_state, parts_of, save_state
from tracedistill.engines.budget import BATCH_DISCOUNT
from tracedistill.engines.cache import request_key
from tracedistill.engines.calls import CallOutcome, StopRunError
from tracedistill.engines.circuit_breaker import CircuitBreaker
from tracedistill.engines.error_messages import gist, one_line
from tracedistill.engines.ledger import NOTHING, Spending, batch_holder
from tracedistill.files import content_id

if TYPE_CHECKING:
    import openai

    from tracedistill.engines.server import ServerEngine

_ENDED = {"completed", "failed", "expired", "cancelled"}
_SEARCHED = 500  # most recent batches searched for one created just before a kill
_AT_ONCE = 20  # batches in progress at a time: a million rows, whose requests are held in memory
_GONE = {404, 410}
_FULL = "token_limit_exceeded"  # the account's limit of queued tokens is reached: retry later

_T = TypeVar("_T")
Charge = Callable[[Spending], None]


class _GoneError(StopRunError):
    """The server no longer has the batch or file; it deletes them after some weeks."""


class BatchEngine:
    """Sends requests as batches through a server engine's endpoint; the cache treats both as the same engine.

    `state`: the state file, one per study. `name`: what it is called on every machine, if it moves between them.
    `poll`: seconds between checks. `wait`: seconds until StopRunError asks the user to come back later. `rounds`:
    submissions after which a row is a counted failure. `at_once`: batches in progress at a time. `on_wait` receives
    a line on a batch's progress at each check, and on errors.
    """

    def __init__(
        self,
        server: ServerEngine,
        state: str | Path,
        *,
        name: str = "",
        poll: float = 30.0,
        wait: float = 48 * 3600.0,
        rounds: int = 3,
        at_once: int = _AT_ONCE,
        rows: int = ROWS,
        sleep: Callable[[float], None] = time.sleep,
        on_wait: Callable[[str], None] | None = None,
    ) -> None:
        self.server, self._path = server, Path(state)
        self._poll, self._wait, self._rounds, self._sleep = poll, wait, rounds, sleep
        self._at_once, self._rows = at_once, min(rows, ROWS)
        self._tell = on_wait or (lambda _: None)
        self.prices = server.prices.scaled(BATCH_DISCOUNT)
        self.chunk = at_once * self._rows
        """Rows that `generate` passes at a time."""
        self.holder = batch_holder(content_id(name or str(self._path.resolve())))
        """Holder of the stakes of batches in progress."""

    def describe(self) -> dict[str, Any]:
        """Describe the engine like the server engine, whose answers are the same."""
        return self.server.describe()

    def generate(self, requests: Sequence[Request]) -> Iterator[Generation]:
        """Yield generations without cache or budget."""
        for outcome in self.outcomes(requests, {}, lambda _: None):
            assert outcome.generation is not None
            yield outcome.generation

    def under_way(self) -> Spending:
        """Return what submitted batches may cost."""
        return load_state(self._path).worst

    def submitted(self, requests: Sequence[Request]) -> set[str]:
        """Return the ids of the requests in unfinished batches."""
        names = {name for batch in load_state(self._path).open for name in batch.ids}
        return {request.request_id for request in requests if names and self._name(request) in names}

    def outcomes(
        self, requests: Sequence[Request], stakes: Mapping[str, Spending], charge: Charge
    ) -> Iterator[CallOutcome]:
        """Yield final outcomes in the order in which batches end.

        `stakes`: the most that each request may cost, by id. `charge` receives costs besides the outcomes: of calls
        without an answer, and of batches that the server has lost. A batch is forgotten once all its outcomes were
        consumed.
        """
        pending: dict[str, Request] = {}
        for request in requests:
            try:
                self.server.batch_body(request)
            except ValueError as error:
                failure = Generation(request.request_id, "", "error", error=f"request cannot be sent: {error}")
                yield CallOutcome(failure)
                continue
            pending[self._name(request)] = request
        with asyncio.Runner() as runner:
            client = self.server.open_client()
            try:
                yield from _BatchRun(self, client, runner, pending, stakes, charge).outcomes()
            finally:
                runner.run(client.close())

    def _name(self, request: Request) -> str:
        """Return the custom_id of a request's row."""
        return request_key(json.dumps(self.describe(), sort_keys=True), request).hex()[:48]


class _BatchRun:
    """One call of `outcomes`: submits, polls and merges until nothing is pending."""

    def __init__(
        self,
        engine: BatchEngine,
        client: openai.AsyncOpenAI,
        runner: asyncio.Runner,
        pending: dict[str, Request],
        stakes: Mapping[str, Spending],
        charge: Charge,
    ) -> None:
        self._engine, self._client, self._runner = engine, client, runner
        self._patient = client.with_options(max_retries=5)
        self.server = engine.server
        self._pending, self._stakes, self._charge = pending, stakes, charge
        self._state = load_state(engine._path)
        self._full = False  # the server currently accepts no more
        self._answered = False  # unknown yet whether the server works

    def outcomes(self) -> Iterator[CallOutcome]:
        """Yield every pending row's outcome."""
        deadline = time.monotonic() + self._engine._wait
        while self._pending:
            self._submit()
            ended = 0
            for batch in list(self._state.open):
                if self._pending.keys().isdisjoint(batch.ids):
                    continue  # a batch of another call, which merges it
                try:
                    lines = self._fetch(batch)
                except _GoneError:
                    self._lose(batch)
                    ended += 1
                    continue
                if lines is None:
                    continue
                ended += 1
                wanted = set(batch.ids) & self._pending.keys()
                yield from self._merge(batch, lines)  # the caller stores each outcome before it requests the next
                batch.ids = [name for name in batch.ids if name not in wanted]
                if not batch.ids:
                    self._state.open.remove(batch)
                self._save()
            if ended:
                self._full = False
            elif self._pending:
                if time.monotonic() > deadline:
                    raise StopRunError("the batch is not finished yet; run again later to wait for it")
                self._engine._sleep(self._engine._poll)

    def _submit(self) -> None:
        """Upload and create batches for rows that are in none, up to the limit in progress."""
        room = self._engine._at_once - len(self._state.open)
        if room <= 0 or self._full:
            return
        covered = {name for batch in self._state.open for name in batch.ids}
        rows = (
            (name, request_line(name, self.server.batch_body(request)).encode())
            for name, request in self._pending.items()
            if name not in covered
        )
        for names, data in parts_of(rows, self._engine._rows):
            uploaded = self._ask(
                lambda data=data: self._patient.files.create(  # type: ignore[misc]
                    file=("requests.jsonl", data), purpose="batch"
                )
            )
            worst = sum((self._stakes.get(self._pending[name].request_id, NOTHING) for name in names), NOTHING)
            batch = SubmittedBatch(
                self._checked_id(uploaded.id), names, calls=len(names), tokens=worst.tokens, usd=worst.usd
            )
            for name in names:
                self._state.rounds[name] = self._state.rounds.get(name, 0) + 1
            self._state.open.append(batch)
            self._save()
            self._create(batch)
            room -= 1
            if not room:
                return

    def _tell(self, text: str) -> None:
        self._engine._tell(self.server.cleaner.refusal(text))

    def _checked_id(self, identifier: str) -> str:
        """Check that an id from the server is not the key, since it is stored."""
        if self.server.cleaner.text(identifier) != identifier:
            raise StopRunError(
                f"{self.server.config.base_url}: the batch API returned the key as an id; it was not stored"
            )
        return identifier

    def _create(self, batch: SubmittedBatch) -> None:
        created = self._ask(
            lambda: self._client.batches.create(
                input_file_id=batch.input_file_id, endpoint=CHAT, completion_window="24h"
            )
        )
        batch.batch_id = self._checked_id(created.id)
        self._save()

    def _fetch(self, batch: SubmittedBatch) -> list[dict[str, Any]] | None:
        """Fetch the lines of a finished batch, good and bad; None while it runs."""
        if not batch.batch_id:  # killed around its creation: it may exist
            batch.batch_id = self._ask(lambda: _find(self._patient, batch.input_file_id))
            if not batch.batch_id:
                self._create(batch)
            self._save()
        reply = self._ask(lambda: self._patient.batches.retrieve(batch.batch_id))
        if reply.status not in _ENDED:
            counts = reply.request_counts
            far = f", {counts.completed} of {counts.total} done" if counts else ""
            self._tell(f"batch {batch.batch_id}: {reply.status}{far}")
            return None
        if reply.status == "failed":
            self._not_accepted(batch, reply)
            return None
        lines: list[dict[str, Any]] = []
        for name in (reply.output_file_id, reply.error_file_id):
            if name:
                content = self._ask(lambda name=name: self._patient.files.content(name)).content  # type: ignore[misc]
                lines += lines_of(content)
        return lines

    def _not_accepted(self, batch: SubmittedBatch, reply: Any) -> None:
        """Handle a batch that never ran: requeue it if the server's queue is full, else end the run."""
        self._state.open.remove(batch)
        errors = reply.errors.data if reply.errors and reply.errors.data else []
        if self._state.open and any(error.code == _FULL for error in errors):
            for name in batch.ids:
                self._state.rounds[name] = max(0, self._state.rounds.get(name, 0) - 1)
            self._full = True
            self._save()
            self._tell(f"batch {batch.batch_id}: the server's queue is full; its rows wait until other batches end")
            return
        self._save()
        why = "; ".join(dict.fromkeys(self.server.cleaner.refusal(str(error.message)) for error in errors[:5]))
        raise StopRunError(
            f"batch {batch.batch_id} was not accepted: {one_line(why) or 'no reason given'}; none of it ran"
        )

    def _lose(self, batch: SubmittedBatch) -> None:
        """Handle a batch or results lost on the server: charge it, since it may have been billed; requeue its rows."""
        self._state.open.remove(batch)
        for name in batch.ids:
            self._state.rounds[name] = max(0, self._state.rounds.get(name, 0) - 1)
        self._save()
        if batch.batch_id:
            self._charge(batch.worst)
            paid = f"its worst case, ${batch.usd:.2f}, counts as spent"
            self._tell(f"batch {batch.batch_id} is no longer on the server; its rows are sent again and {paid}")

    def _merge(self, batch: SubmittedBatch, lines: list[dict[str, Any]]) -> Iterator[CallOutcome]:
        """Yield the outcomes of a batch's lines: answers and counted failures; other rows stay pending.

        Raises StopRunError if no row was answered and equal messages show that the run is at fault.
        """
        causes = dict.fromkeys(batch.ids, "the batch ended without this row")
        final: dict[str, tuple[CallOutcome, Generation]] = {}
        for line in lines:
            name = str(line.get("custom_id"))
            request = self._pending.get(name)
            if request is None or name not in causes or name in final:
                continue
            outcome = outcome_of_line(self.server, line, request)
            if outcome.generation is None:
                causes[name] = outcome.cause
                self._pay(name, request, outcome)
                continue
            final[name] = outcome, outcome.generation
        for name, cause in causes.items():
            rounds = self._state.rounds.get(name, 0)
            if name in self._pending and name not in final and rounds >= self._engine._rounds:
                error = f"batch: {cause} ({rounds} rounds)"
                failure = Generation(self._pending[name].request_id, "", "error", error=error)
                final[name] = CallOutcome(suspect=gist(cause)), failure
        self._check_sound(batch, final)
        for name, (outcome, generation) in final.items():
            del self._pending[name]
            self._state.rounds.pop(name, None)
            # with the cost of earlier rounds
            yield replace(outcome, generation=replace(generation, usd=self._state.paid.pop(name, 0.0)))

    def _check_sound(self, batch: SubmittedBatch, final: Mapping[str, tuple[CallOutcome, Generation]]) -> None:
        """Raise StopRunError if the circuit breaker trips on a batch's failures before any row was answered."""
        self._answered |= any(outcome.billed for outcome, _ in final.values())
        if self._answered:
            return
        breaker: CircuitBreaker[str] = CircuitBreaker()
        for name, (outcome, generation) in final.items():
            if outcome.suspect:
                breaker.hold(name, generation, outcome.suspect, again=False)
        if not breaker.tripped:
            return
        self._state.open.remove(batch)
        for name in batch.ids:  # counted as never sent, so that the next run sends them with corrected settings
            self._state.rounds.pop(name, None)
        self._save()
        raise breaker.error()

    def _pay(self, name: str, request: Request, outcome: CallOutcome) -> None:
        """Charge a row that was billed without a result; its cost is added to that of its later answer."""
        if outcome.billed:
            stake = self._stakes.get(request.request_id, NOTHING)
            cost = stake if outcome.usage is None else self._engine.prices.spending(outcome.usage)
            self._charge(cost)
            self._state.paid[name] = self._state.paid.get(name, 0.0) + cost.usd

    def _save(self) -> None:
        save_state(self._engine._path, self._state)

    def _ask(self, call: Callable[[], Awaitable[_T]]) -> _T:
        """Make one call to the API, with errors reworded for the user."""
        import openai

        async def explained() -> _T:
            try:
                return await call()
            except openai.OpenAIError as error:
                kind = _GoneError if getattr(error, "status_code", None) in _GONE else StopRunError
                raise kind(
                    f"{self.server.config.base_url}: the batch API says {self.server.cleaned(error)}; what was "
                    f"submitted is recorded in {self._engine._path}; run again to continue"
                ) from error

        return self._runner.run(explained())


async def _find(client: openai.AsyncOpenAI, input_file_id: str) -> str:
    """Return the id of the batch made from a file, among the latest; empty if there is none."""
    seen = 0
    async for batch in client.batches.list(limit=100):
        if batch.input_file_id == input_file_id:
            return batch.id
        seen += 1
        if seen >= _SEARCHED:
            break
    return ""
