"""The OpenAI Batch API: half the price, within a day, and a state file that survives any interruption.

The state file lists what was submitted and not yet merged back: ids and names only, no prompts, no key. A batch is
written there before it is created, so that a run killed at any moment finds it again instead of paying twice.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from tracedistill.engines import Generation, Request
from tracedistill.engines.budget import Worst
from tracedistill.engines.calls import StopRunError
from tracedistill.engines.replies import ErrorReplyError, UnusableReplyError, request_body
from tracedistill.engines.server import finish_for
from tracedistill.engines.words import one_line
from tracedistill.errors import InputError
from tracedistill.store import unlinked

if TYPE_CHECKING:
    import openai

    from tracedistill.engines.server import ServerEngine

_OVER = {"completed", "failed", "expired", "cancelled"}
_ROWS = 50_000  # the API's limits for one batch
_BYTES = 100_000_000
_LISTED = 500  # most recent batches searched for one that was created just before a kill

_T = TypeVar("_T")


@dataclass
class Submitted:
    """One batch that is not merged back yet."""

    input_file_id: str
    """The uploaded file; written down before the batch is created."""
    ids: list[str]
    """custom_id of each of its rows."""
    batch_id: str = ""
    """Empty: the run ended between upload and creation, or just after."""


@dataclass
class State:
    """What the state file holds."""

    open: list[Submitted] = field(default_factory=list)
    """Batches not merged back."""
    rounds: dict[str, int] = field(default_factory=dict)
    """How often a row was submitted, for rows that came back without an answer."""


class BatchEngine:
    """Sends requests as batches through a server engine's endpoint; the cache takes both for the same engine.

    `state` is the state file, one for each study; `poll` the seconds between looks, `wait` the seconds after which
    StopRunError tells to come back later; `rounds` the submissions before a row is a counted failure; `on_wait` gets
    a line on how far a batch is at each look.
    """

    chunk = _ROWS

    def __init__(
        self,
        server: ServerEngine,
        state: str | Path,
        *,
        poll: float = 30.0,
        wait: float = 48 * 3600.0,
        rounds: int = 3,
        price_factor: float = 0.5,
        sleep: Callable[[float], None] = time.sleep,
        on_wait: Callable[[str], None] | None = None,
    ) -> None:
        self._server, self._path = server, Path(state)
        self._poll, self._wait, self._rounds, self._sleep = poll, wait, rounds, sleep
        self._on_wait = on_wait
        self.prices = server.prices.scaled(price_factor)

    def describe(self) -> dict[str, Any]:
        """The server engine's: the same model at the same endpoint gives the same answers."""
        return self._server.describe()

    def worst_case(self, request: Request) -> Worst:
        """Upper bound of one row's tokens."""
        return self._server.worst_case(request)

    def generate(self, requests: Sequence[Request]) -> Iterator[Generation]:
        """Generations in the order in which batches end; each batch is forgotten once all of it was taken."""
        config = self._server.config
        pending: dict[str, Request] = {}
        bodies: dict[str, bytes] = {}
        for request in requests:
            try:
                body = request_body(request, config.model, config.dialect, config.extra)
            except ValueError as error:
                yield Generation(request.request_id, "", "error", error=f"request cannot be sent: {error}")
                continue
            name = _custom_id(self.describe(), request)
            line = {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body}
            pending[name], bodies[name] = request, json.dumps(line, separators=(",", ":")).encode()
        state = self._load()
        deadline = time.monotonic() + self._wait
        with asyncio.Runner() as runner:
            client = self._server.open_client()

            def ask(call: Callable[[], Awaitable[_T]]) -> _T:
                return runner.run(self._asked(call))

            try:
                while pending:
                    covered = {name for batch in state.open for name in batch.ids}
                    self._submit([bodies[name] for name in pending if name not in covered], state, client, ask)
                    merged = False
                    for batch in list(state.open):
                        if not pending.keys() & set(batch.ids):
                            continue  # of another call; its rows are merged when they are asked for
                        lines = self._fetch(batch, state, client, ask)
                        if lines is None:
                            continue
                        merged = True
                        # Each is stored by the caller before it comes back for more.
                        yield from self._merge(batch, lines, state, pending)
                        state.open.remove(batch)
                        self._save(state)
                    if pending and not merged:
                        if time.monotonic() > deadline:
                            raise StopRunError("the batch is not done yet; run again later, it is waited for then")
                        self._sleep(self._poll)
            finally:
                runner.run(client.close())

    def _submit(self, lines: list[bytes], state: State, client: openai.AsyncOpenAI, ask: _Ask) -> None:
        """Upload and create batches for rows that are in none."""
        for part in _parts(lines):
            data = b"\n".join(part)
            uploaded = ask(
                lambda data=data: client.with_options(max_retries=5).files.create(  # type: ignore[misc]
                    file=("requests.jsonl", data), purpose="batch"
                )
            )
            batch = Submitted(uploaded.id, [json.loads(line)["custom_id"] for line in part])
            for name in batch.ids:
                state.rounds[name] = state.rounds.get(name, 0) + 1
            state.open.append(batch)
            self._save(state)
            self._create(batch, state, client, ask)

    def _create(self, batch: Submitted, state: State, client: openai.AsyncOpenAI, ask: _Ask) -> None:
        created = ask(
            lambda: client.batches.create(
                input_file_id=batch.input_file_id, endpoint="/v1/chat/completions", completion_window="24h"
            )
        )
        batch.batch_id = created.id
        self._save(state)

    def _fetch(
        self, batch: Submitted, state: State, client: openai.AsyncOpenAI, ask: _Ask
    ) -> list[dict[str, Any]] | None:
        """The lines of a batch that is over, good and bad; None while it runs."""
        patient = client.with_options(max_retries=5)
        if not batch.batch_id:  # killed around its creation: it may exist
            batch.batch_id = ask(lambda: _find(patient, batch.input_file_id))
            if not batch.batch_id:
                self._create(batch, state, client, ask)
            self._save(state)
        found = ask(lambda: patient.batches.retrieve(batch.batch_id))
        if found.status not in _OVER:
            if self._on_wait is not None:
                counts = found.request_counts
                far = f", {counts.completed} of {counts.total} done" if counts else ""
                self._on_wait(self._server.cleaner.refusal(f"batch {batch.batch_id}: {found.status}{far}"))
            return None
        if found.status == "failed":
            state.open.remove(batch)
            self._save(state)
            told = found.errors.data if found.errors and found.errors.data else []
            why = "; ".join(dict.fromkeys(self._server.cleaner.refusal(str(error.message)) for error in told[:5]))
            why = one_line(why) or "no reason given"
            raise StopRunError(f"batch {batch.batch_id} was not accepted: {why}; nothing of it was run")
        lines: list[dict[str, Any]] = []
        for name in (found.output_file_id, found.error_file_id):
            if name:
                content = ask(lambda name=name: patient.files.content(name)).content  # type: ignore[misc]
                lines += _lines(content)
        return lines

    def _merge(
        self, batch: Submitted, lines: list[dict[str, Any]], state: State, pending: dict[str, Request]
    ) -> Iterator[Generation]:
        """What a batch's lines come to: answers, counted failures; other rows stay pending for another round."""
        causes = dict.fromkeys(batch.ids, "the batch ended without this row")
        for line in lines:
            name = str(line.get("custom_id"))
            request = pending.get(name)
            if request is None:
                continue
            outcome = self._read(line, request)
            if isinstance(outcome, str):
                causes[name] = outcome
                continue
            del pending[name]
            state.rounds.pop(name, None)
            yield outcome
        for name in batch.ids:
            if name in pending and state.rounds.get(name, 0) >= self._rounds:
                rounds = state.rounds.pop(name)
                cause = f"batch: {causes[name]} ({rounds} rounds)"
                yield Generation(pending.pop(name).request_id, "", "error", error=cause)

    def _read(self, line: dict[str, Any], request: Request) -> Generation | str:
        """One line: a generation, or why it should be submitted again."""
        response, error = line.get("response"), line.get("error")
        if not isinstance(response, dict):
            return self._server.fate(500, {}, error).cause if error else "no response"
        status, body = response.get("status_code"), response.get("body")
        try:
            if status == 200:
                return self._server.read(body if isinstance(body, dict) else {}, request, 0.0)[0]
            fate = self._server.fate(status if isinstance(status, int) else 500, {}, body)
        except ErrorReplyError as problem:
            fate = self._server.fate(problem.status, {}, problem.body)
        except UnusableReplyError as problem:
            return self._server.cleaner.refusal(str(problem))
        finish = finish_for(fate)
        if finish is None:
            return fate.cause
        return Generation(request.request_id, "", finish, error=fate.cause)

    async def _asked(self, call: Callable[[], Awaitable[_T]]) -> _T:
        """Await one call to the API; its errors in the user's words."""
        import openai

        try:
            return await call()
        except openai.OpenAIError as error:
            where = self._server.config.base_url
            raise StopRunError(
                f"{where}: the batch API says {self._server.cleaned(error)}; what was submitted is noted in "
                f"{self._path}, run again to go on"
            ) from error

    def _load(self) -> State:
        if not self._path.exists():
            return State()
        try:
            raw = json.loads(self._path.read_text(encoding="utf-8"))
            return State([Submitted(**batch) for batch in raw["open"]], dict(raw["rounds"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{self._path}: not a batch state file ({error}); restore it, or move it away and lose sight of "
                "batches that still run"
            ) from error

    def _save(self, state: State) -> None:
        beside = self._path.with_name(self._path.name + ".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with unlinked(beside).open("w", encoding="utf-8") as file:
                json.dump(asdict(state), file)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._path)
        except OSError as error:
            raise InputError(f"{self._path}: {error}; make the folder writable and run again") from error


class _Ask(Protocol):
    """Type of the function that runs one call on the engine's loop."""

    def __call__(self, call: Callable[[], Awaitable[_T]]) -> _T: ...  # pragma: no cover


async def _find(client: openai.AsyncOpenAI, input_file_id: str) -> str:
    """Name of the batch made of a file, among the latest; empty: there is none."""
    seen = 0
    async for batch in client.batches.list(limit=100):
        if batch.input_file_id == input_file_id:
            return batch.id
        seen += 1
        if seen >= _LISTED:
            break
    return ""


def _custom_id(description: dict[str, Any], request: Request) -> str:
    from tracedistill.engines.client import request_key

    return request_key(json.dumps(description, sort_keys=True), request).hex()[:48]


def _parts(lines: list[bytes]) -> Iterator[list[bytes]]:
    """Rows in parts within the API's limits."""
    part: list[bytes] = []
    size = 0
    for line in lines:
        if part and (len(part) == _ROWS or size + len(line) > _BYTES):
            yield part
            part, size = [], 0
        part.append(line)
        size += len(line) + 1
    if part:
        yield part


def _lines(content: bytes) -> list[dict[str, Any]]:
    """JSON objects of a result file; lines that are none are left out, and their rows run again."""
    rows: list[dict[str, Any]] = []
    for line in content.splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows
