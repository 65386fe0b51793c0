"""The OpenAI Batch API: half the price, within a day, many batches at once, robust to interruption.

Batches in progress are recorded in a state file (batch_state.py). In the ledger they are a stake of a holder that
outlives the process, until their rows are merged back.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from tracedistill.engines import Generation, Request
from tracedistill.engines.batch_files import CHAT, outcome_of_line
from tracedistill.engines.batch_state import ROWS, Submitted, lines_of, load_state, parts_of, save_state
from tracedistill.engines.blame import Blame
from tracedistill.engines.budget import BATCH_DISCOUNT, Worst
from tracedistill.engines.calls import Outcome, StopRunError
from tracedistill.engines.ledger import NOTHING, Spending, batch_holder
from tracedistill.engines.words import gist, one_line
from tracedistill.files import content_id

if TYPE_CHECKING:
    import openai

    from tracedistill.engines.server import ServerEngine

_OVER = {"completed", "failed", "expired", "cancelled"}
_LISTED = 500  # most recent batches searched for one created just before a kill
_AT_ONCE = 20  # batches in progress at a time: a million rows, whose requests are held in memory
_GONE = {404, 410}
_FULL = "token_limit_exceeded"  # the account's limit of queued tokens is reached: retry later

_T = TypeVar("_T")
Charge = Callable[[Spending], None]


class _GoneError(StopRunError):
    """The server no longer has the object, which it purges after some weeks."""


class BatchEngine:
    """Sends requests as batches through a server engine's endpoint; the cache treats both as the same engine.

    `state` is the state file, one per study; `poll` the seconds between checks, `wait` the seconds after which
    StopRunError asks to come back later; `rounds` the submissions before a row is a counted failure; `at_once` the
    batches in progress at a time; `on_wait` receives a line on a batch's progress at each check, and on errors.
    """

    def __init__(
        self,
        server: ServerEngine,
        state: str | Path,
        *,
        poll: float = 30.0,
        wait: float = 48 * 3600.0,
        rounds: int = 3,
        at_once: int = _AT_ONCE,
        rows: int = ROWS,
        price_factor: float = BATCH_DISCOUNT,
        sleep: Callable[[float], None] = time.sleep,
        on_wait: Callable[[str], None] | None = None,
    ) -> None:
        self._server, self._path = server, Path(state)
        self.server = server
        """The engine of single calls to the same endpoint."""
        self._poll, self._wait, self._rounds, self._sleep = poll, wait, rounds, sleep
        self._at_once, self._rows = at_once, min(rows, ROWS)
        self._tell = on_wait or (lambda _: None)
        self.prices = server.prices.scaled(price_factor)
        self.chunk = at_once * self._rows
        """Rows processed at a time."""
        self.holder = batch_holder(content_id(str(self._path.resolve())))
        """Name of the ledger's holder for batches in progress."""

    def describe(self) -> dict[str, Any]:
        """Describe the engine as the server engine does: the same model at the same endpoint gives the same answers."""
        return self._server.describe()

    def worst_case(self, request: Request) -> Worst:
        """Bound one row's tokens from above."""
        return self._server.worst_case(request)

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
    ) -> Iterator[Outcome]:
        """Yield final outcomes in the order in which batches end.

        A batch is forgotten once all its outcomes were consumed.

        `stakes`: what each request may cost, by id. `charge` receives costs besides the outcomes: calls without an
        answer, and batches that the server has lost.
        """
        pending: dict[str, Request] = {}
        for request in requests:
            try:
                self._server.batch_body(request)
            except ValueError as error:
                failure = Generation(request.request_id, "", "error", error=f"request cannot be sent: {error}")
                yield Outcome(failure)
                continue
            pending[self._name(request)] = request
        with asyncio.Runner() as runner:
            client = self._server.open_client()

            def ask(call: Callable[[], Awaitable[_T]]) -> _T:
                return runner.run(self._asked(call))

            try:
                yield from _Round(self, client, ask, pending, stakes, charge).outcomes()
            finally:
                runner.run(client.close())

    def _name(self, request: Request) -> str:
        """Return the custom_id of a request's row."""
        from tracedistill.engines.client import request_key

        return request_key(json.dumps(self.describe(), sort_keys=True), request).hex()[:48]

    async def _asked(self, call: Callable[[], Awaitable[_T]]) -> _T:
        """Await one call to the API, with errors reworded for the user."""
        import openai

        try:
            return await call()
        except openai.OpenAIError as error:
            kind = _GoneError if getattr(error, "status_code", None) in _GONE else StopRunError
            raise kind(
                f"{self._server.config.base_url}: the batch API says {self._server.cleaned(error)}; what was submitted "
                f"is recorded in {self._path}; run again to continue"
            ) from error


class _Round:
    """One call of `outcomes`: submits, polls and merges until nothing is pending."""

    def __init__(
        self,
        engine: BatchEngine,
        client: openai.AsyncOpenAI,
        ask: _Ask,
        pending: dict[str, Request],
        stakes: Mapping[str, Spending],
        charge: Charge,
    ) -> None:
        self._engine, self._client, self._ask = engine, client, ask
        self._patient = client.with_options(max_retries=5)
        self._server = engine._server
        self._pending, self._stakes, self._charge = pending, stakes, charge
        self._state = load_state(engine._path)
        self._full = False  # the server currently accepts no more
        self._answered = False  # unknown yet whether the server works

    def outcomes(self) -> Iterator[Outcome]:
        """Yield every pending row's outcome."""
        deadline = time.monotonic() + self._engine._wait
        while self._pending:
            self._submit()
            ended = 0
            for batch in list(self._state.open):
                if self._pending.keys().isdisjoint(batch.ids):
                    continue  # of another call; its rows are merged when requested
                try:
                    lines = self._fetch(batch)
                except _GoneError:
                    self._lose(batch)
                    ended += 1
                    continue
                if lines is None:
                    continue
                ended += 1
                asked = set(batch.ids) & self._pending.keys()
                # The caller stores each before it requests the next.
                yield from self._merge(batch, lines)
                batch.ids = [name for name in batch.ids if name not in asked]
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
        rows = ((name, self._line(name)) for name in self._pending if name not in covered)
        for names, data in parts_of(rows, self._engine._rows):
            uploaded = self._ask(
                lambda data=data: self._patient.files.create(  # type: ignore[misc]
                    file=("requests.jsonl", data), purpose="batch"
                )
            )
            worst = sum((self._stakes.get(self._pending[name].request_id, NOTHING) for name in names), NOTHING)
            batch = Submitted(self._own_id(uploaded.id), names, calls=len(names), tokens=worst.tokens, usd=worst.usd)
            for name in names:
                self._state.rounds[name] = self._state.rounds.get(name, 0) + 1
            self._state.open.append(batch)
            self._save()
            self._create(batch)
            room -= 1
            if not room:
                return

    def _tell(self, text: str) -> None:
        self._engine._tell(self._server.cleaner.refusal(text))

    def _own_id(self, told: str) -> str:
        """Check that an id from the server is not the key, since it is stored."""
        if self._server.cleaner.text(told) != told:
            raise StopRunError(
                f"{self._server.config.base_url}: the batch API returned the key as an id; it was not stored"
            )
        return told

    def _line(self, name: str) -> bytes:
        body = self._server.batch_body(self._pending[name])
        line = {"custom_id": name, "method": "POST", "url": CHAT, "body": body}
        return json.dumps(line, separators=(",", ":")).encode()

    def _create(self, batch: Submitted) -> None:
        created = self._ask(
            lambda: self._client.batches.create(
                input_file_id=batch.input_file_id, endpoint=CHAT, completion_window="24h"
            )
        )
        batch.batch_id = self._own_id(created.id)
        self._save()

    def _fetch(self, batch: Submitted) -> list[dict[str, Any]] | None:
        """Fetch the lines of a finished batch, good and bad; None while it runs."""
        if not batch.batch_id:  # killed around its creation: it may exist
            batch.batch_id = self._ask(lambda: _find(self._patient, batch.input_file_id))
            if not batch.batch_id:
                self._create(batch)
            self._save()
        found = self._ask(lambda: self._patient.batches.retrieve(batch.batch_id))
        if found.status not in _OVER:
            counts = found.request_counts
            far = f", {counts.completed} of {counts.total} done" if counts else ""
            self._tell(f"batch {batch.batch_id}: {found.status}{far}")
            return None
        if found.status == "failed":
            self._not_accepted(batch, found)
            return None
        lines: list[dict[str, Any]] = []
        for name in (found.output_file_id, found.error_file_id):
            if name:
                content = self._ask(lambda name=name: self._patient.files.content(name)).content  # type: ignore[misc]
                lines += lines_of(content)
        return lines

    def _not_accepted(self, batch: Submitted, found: Any) -> None:
        """Handle a batch that never ran: requeue it if the server's queue is full, else end the run."""
        self._state.open.remove(batch)
        told = found.errors.data if found.errors and found.errors.data else []
        if self._state.open and any(error.code == _FULL for error in told):
            for name in batch.ids:
                self._state.rounds[name] = max(0, self._state.rounds.get(name, 0) - 1)
            self._full = True
            self._save()
            self._tell(f"batch {batch.batch_id}: the server's queue is full; its rows wait until other batches end")
            return
        self._save()
        why = "; ".join(dict.fromkeys(self._server.cleaner.refusal(str(error.message)) for error in told[:5]))
        raise StopRunError(
            f"batch {batch.batch_id} was not accepted: {one_line(why) or 'no reason given'}; none of it ran"
        )

    def _lose(self, batch: Submitted) -> None:
        """Handle a batch or results lost on the server: it may have been billed, and its rows run again."""
        self._state.open.remove(batch)
        for name in batch.ids:
            self._state.rounds[name] = max(0, self._state.rounds.get(name, 0) - 1)
        self._save()
        if batch.batch_id:
            self._charge(batch.worst)
            paid = f"its worst case, ${batch.usd:.2f}, counts as spent"
            self._tell(f"batch {batch.batch_id} is no longer on the server; its rows are sent again and {paid}")

    def _merge(self, batch: Submitted, lines: list[dict[str, Any]]) -> Iterator[Outcome]:
        """Yield the outcomes of a batch's lines: answers and counted failures.

        Other rows stay pending for another round.

        Raises StopRunError if no row was answered and equal messages show that the run is at fault.
        """
        causes = dict.fromkeys(batch.ids, "the batch ended without this row")
        final: dict[str, tuple[Outcome, Generation]] = {}
        for line in lines:
            name = str(line.get("custom_id"))
            request = self._pending.get(name)
            if request is None or name not in causes or name in final:
                continue
            outcome = outcome_of_line(self._server, line, request)
            if outcome.generation is None:
                causes[name] = outcome.cause
                self._pay(name, request, outcome)
                continue
            final[name] = outcome, outcome.generation
        for name, cause in causes.items():
            rounds = self._state.rounds.get(name, 0)
            if name in self._pending and name not in final and rounds >= self._engine._rounds:
                told = f"batch: {cause} ({rounds} rounds)"
                failure = Generation(self._pending[name].request_id, "", "error", error=told)
                final[name] = Outcome(suspect=gist(cause)), failure
        self._check_sound(batch, final)
        for name, (outcome, generation) in final.items():
            del self._pending[name]
            self._state.rounds.pop(name, None)
            yield self._priced(name, outcome, generation)

    def _check_sound(self, batch: Submitted, final: Mapping[str, tuple[Outcome, Generation]]) -> None:
        """Raise StopRunError if a batch brought only failures, equal or many ones, before any answer has come."""
        self._answered |= any(outcome.billed for outcome, _ in final.values())
        if self._answered:
            return
        blame: Blame[str] = Blame()
        for name, (outcome, generation) in final.items():
            if outcome.suspect:
                blame.hold(name, generation, outcome.suspect, again=False)
        if not blame.deciding:
            return
        self._state.open.remove(batch)
        for name in batch.ids:  # they count as never sent: the next run sends them with the fixed settings
            self._state.rounds.pop(name, None)
        self._save()
        raise blame.stop()

    def _pay(self, name: str, request: Request, outcome: Outcome) -> None:
        """Charge a row that was billed without a result; recorded for the total beside its answer."""
        if outcome.billed:
            cost = self._stakes.get(request.request_id, NOTHING)
            if outcome.used is not None:
                used = outcome.used
                cost = Spending(1, used.tokens_in + used.tokens_out, self._engine.prices.charge(used))
            self._charge(cost)
            self._state.paid[name] = self._state.paid.get(name, 0.0) + cost.usd

    def _priced(self, name: str, outcome: Outcome, generation: Generation) -> Outcome:
        """Return a final outcome that includes the cost of earlier rounds."""
        return replace(outcome, generation=replace(generation, usd=self._state.paid.pop(name, 0.0)))

    def _save(self) -> None:
        save_state(self._engine._path, self._state)


class _Ask(Protocol):
    """Type of the function that runs one call on the engine's loop."""

    def __call__(self, call: Callable[[], Awaitable[_T]]) -> _T: ...  # pragma: no cover


async def _find(client: openai.AsyncOpenAI, input_file_id: str) -> str:
    """Return the id of the batch made from a file, among the latest; empty if there is none."""
    seen = 0
    async for batch in client.batches.list(limit=100):
        if batch.input_file_id == input_file_id:
            return batch.id
        seen += 1
        if seen >= _LISTED:
            break
    return ""
