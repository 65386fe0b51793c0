"""Any OpenAI-compatible chat endpoint, called through the `openai` client.

The client's own retries are off and its typed parsing is passed by: it spends more CPU on a call than the rest of
the program, gives up on a Retry-After above two minutes, and knows nothing of the other calls.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from tracedistill.engines import Finish, Generation, Request
from tracedistill.engines.budget import Prices, Worst, worst_case
from tracedistill.engines.calls import Outcome, Pacing, StopRunError
from tracedistill.engines.fates import Fate, fate_of
from tracedistill.engines.remedies import remedy_of
from tracedistill.engines.replies import (
    Dialect,
    ErrorReplyError,
    UnusableReplyError,
    read_reply,
    request_body,
)
from tracedistill.engines.secrets import Cleaner, read_key
from tracedistill.engines.usage import Used
from tracedistill.engines.words import MOST_READ, gist
from tracedistill.errors import InputError
from tracedistill.recipes.endpoints import endpoint_faults

if TYPE_CHECKING:
    import httpx2
    import openai


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """One endpoint and model, as a recipe names them."""

    base_url: str
    """Up to and including `/v1`."""
    model: str
    """Model name as the endpoint knows it."""
    key_env: str = ""
    """NAME of the environment variable that holds the key; empty: no key."""
    timeout: float = 600.0
    """Seconds for one call from start to end."""
    pacing: Pacing = field(default_factory=Pacing)
    """Concurrency, rates, retries."""
    prices: Prices = field(default_factory=Prices)
    """For money figures and `budget.usd`."""
    dialect: Dialect = field(default_factory=Dialect)
    """Where this server differs."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the request body (`reasoning_effort`, `chat_template_kwargs`, `top_k`, ...)."""
    split_think: bool = True
    """Keep thinking that stands in the text (engines.markers) apart from it."""
    endpoint: str = ""
    """Name in cache keys and manifests in base_url's place, for a server whose address changes (a cluster's node)."""


class ServerEngine:
    """Calls one endpoint; give it to `tracedistill.engines.client.generate`.

    Raises InputError for a variable that is not set or holds no key, secrets in the settings, reserved extra fields.
    `transport` and `environment` replace the network and os.environ in tests.
    """

    path = "/chat/completions"
    """What calls go to, below the base URL."""

    def __init__(
        self,
        config: ServerConfig,
        *,
        transport: httpx2.AsyncBaseTransport | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.config = config
        self.pacing, self.prices = config.pacing, config.prices
        self._transport = transport
        self._client: openai.AsyncOpenAI | None = None
        for name, fault in endpoint_faults(config.base_url, config.key_env, config.extra):
            raise InputError(f"{name}: {fault}")
        self._key = read_key(config.key_env, os.environ if environment is None else environment)
        self.cleaner = Cleaner(self._key)

    def describe(self) -> dict[str, Any]:
        """Describe endpoint, model and all that shapes bodies and replies; no key, speed or price."""
        config = self.config
        dialect = {name: getattr(config.dialect, name) for name in ("max_tokens_field", "schema", "prefill")}
        return {
            "engine": "server",
            "endpoint": config.endpoint or config.base_url.rstrip("/"),
            "model": config.model,
            "extra": dict(config.extra),
            "dialect": {**dialect, "omit": sorted(config.dialect.omit)},
            "split_think": config.split_think,
        }

    def generate(self, requests: Sequence[Request]) -> Iterator[Generation]:
        """Yield generations as they complete, without cache or budget."""
        from tracedistill.engines.client import generate

        return generate(requests, self)

    def worst_case(self, request: Request) -> Worst:
        """Bound one call's tokens from above."""
        return worst_case(request)

    def body(self, request: Request) -> dict[str, Any]:
        """Return a request as the body of a call to `path`. Raises ValueError if the dialect cannot say it."""
        return self.batch_body(request)

    def batch_body(self, request: Request) -> dict[str, Any]:
        """Return a request as the body of a chat completion, for files of requests. Raises ValueError as `body`."""
        return request_body(request, self.config.model, self.config.dialect, self.config.extra)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[None]:
        """Open the client on the running loop."""
        self._client = self.open_client()
        try:
            yield
        finally:
            await self._client.close()
            self._client = None

    def open_client(self) -> openai.AsyncOpenAI:
        """Open an `openai` client without its own retries, over its aiohttp transport.

        Proxies come from the environment.
        """
        import httpx2
        import openai

        from tracedistill.engines.bounds import bound

        # 0: no limit of connections, the scheduler bounds the calls. uvicorn, which many model servers run on, closes
        # an idle connection after 5 s.
        limits = httpx2.Limits(max_connections=0, keepalive_expiry=4.5)
        return openai.AsyncOpenAI(
            base_url=self.config.base_url,
            # Always given, lest the client take OPENAI_API_KEY and send it to another endpoint.
            api_key=self._key or "none",
            max_retries=0,
            timeout=httpx2.Timeout(None, connect=30.0),
            http_client=openai.DefaultAioHttpClient(
                transport=self._transport,
                limits=limits,
                event_hooks={"response": [bound]},
                follow_redirects=False,  # another address is another server, which was not asked for
            ),
        )

    async def attempt(self, request: Request) -> Outcome:
        """Make one call. Raises StopRunError if every further call would fail in the same way."""
        import aiohttp
        import httpx2
        import openai

        from tracedistill.engines.bounds import expect_reply_to

        assert self._client is not None, "attempt() needs an open session()"
        try:
            data = json.dumps(self.body(request), separators=(",", ":")).encode()
        except (TypeError, ValueError) as error:
            return Outcome(Generation(request.request_id, "", "error", error=f"request cannot be sent: {error}"))
        expect_reply_to(request)
        start = time.perf_counter()
        try:
            async with asyncio.timeout(self.config.timeout):
                response = await self._client.post(
                    self.path,
                    cast_to=httpx2.Response,
                    content=data,
                    options={"headers": {"Content-Type": "application/json"}},
                )
        except openai.APIStatusError as error:
            return self._refused(request, error.status_code, error.response)
        except (TimeoutError, openai.APIConnectionError, httpx2.HTTPError, aiohttp.ClientError) as error:
            return self._lost(error)
        seconds = time.perf_counter() - start
        try:
            generation, used = self.read(response.content, request, seconds)
        except ErrorReplyError as error:
            return self._refused(request, error.status, response, error)
        except UnusableReplyError as error:
            cause = self.cleaner.refusal(str(error))
            return Outcome(
                cause=cause, billed=error.billed, used=error.used, headers=response.headers, repeats=error.repeats
            )
        return Outcome(generation, billed=True, used=used, headers=response.headers)

    def read(self, data: bytes | Mapping[str, Any], request: Request, seconds: float) -> tuple[Generation, Used | None]:
        """Parse a chat completion as a generation with its usage. Raises UnusableReplyError.

        No text contains the key.
        """
        reply = read_reply(data, request, split_think=self.config.split_think)
        generation = Generation(
            request_id=request.request_id,
            text=reply.text,
            finish=reply.finish,
            tokens_in=reply.tokens_in,
            tokens_out=reply.tokens_out,
            seconds=round(seconds, 4),
            reasoning=reply.reasoning,
            usage_estimated=reply.used is None,
            cached_in=0 if reply.used is None else reply.used.cached_in,
            model=reply.model,
            fingerprint=reply.fingerprint,
        )
        return self.cleaner.record(generation), reply.used

    def fate(self, status: int, headers: Mapping[str, str], body: bytes | Any) -> Fate:
        """Interpret a refusal, in words without the key."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        # cleaned before it is read: cutting the words to their length might leave half a key
        text = self.cleaner.text(data[:MOST_READ].decode("utf-8", "replace"))
        fate = fate_of(status, headers, text.encode(), time.time())
        return replace(fate, cause=self.cleaner.refusal(fate.cause), code=self.cleaner.refusal(fate.code))

    def _refused(
        self, request: Request, status: int, response: httpx2.Response, error: UnusableReplyError | None = None
    ) -> Outcome:
        """Decide about a refusal: stop the run, slow down, retry, or fail this row."""
        fate = self.fate(status, response.headers, response.content)
        if fate.meaning == "stop":
            raise StopRunError(self.stopped(fate))
        used = error.used if error is not None else None
        outcome = Outcome(
            cause=fate.cause,
            wait=fate.wait,
            headers=response.headers,
            used=used,
            billed=used is not None,
            refused=fate.meaning == "wait",
            loading=fate.meaning == "loading",
        )
        finish = finish_for(fate)
        if finish is None:
            return outcome
        failed = Generation(request.request_id, "", finish, error=fate.cause)
        suspect = "" if finish == "refusal" else f"{status} {fate.code} {gist(fate.cause)}"
        return replace(outcome, generation=failed, suspect=suspect)

    def stopped(self, fate: Fate) -> str:
        """Explain why a run ends at this refusal, and what to do."""
        config = self.config
        remedy = (
            remedy_of(fate.why)
            or remedy_of(fate.cause)
            or (f"check base_url, model and the variable {config.key_env or 'that key_env names'}")
        )
        where = f"{config.base_url}, model {config.model}"
        return f"{where}: {fate.why} ({fate.cause}); {remedy}. Answers so far are kept"

    def _lost(self, error: BaseException) -> Outcome:
        """Handle a call without a usable reply: time-out, no connection, connection lost, or an oversized reply."""
        from tracedistill.engines.bounds import ReplyTooLargeError
        from tracedistill.engines.connections import loss_of

        if isinstance(flood := error.__cause__ or error, ReplyTooLargeError):
            return Outcome(cause=str(flood), billed=True, repeats=True)
        loss = loss_of(error)
        if loss.slow:
            cause = f"time-out after {self.config.timeout:g} s" if loss.sent else "time-out while connecting"
        else:
            cause = f"{'connection lost' if loss.sent else 'no connection'}: {self.cleaned(loss.error)}"
        return Outcome(cause=cause, billed=loss.sent, unreachable=not loss.sent)

    def cleaned(self, error: BaseException) -> str:
        """Return an error's text without the key, which some servers repeat."""
        return self.cleaner.refusal(str(error) or type(error).__name__)


def finish_for(fate: Fate) -> Finish | None:
    """Return how a row ends that no retry can help; None if one may."""
    ends: dict[str, Finish] = {"too-long": "too-long", "refusal": "refusal", "refused": "error"}
    return ends.get(fate.meaning)
