"""Any OpenAI-compatible chat endpoint, called through the `openai` client.

The client's retries are off: they give up on a Retry-After above two minutes and know nothing of the other calls. Its
typed parsing is not used, since it takes more CPU time per call than the rest of the program.
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

from tracedistill.engines import Generation, Request
from tracedistill.engines.budget import Prices
from tracedistill.engines.calls import CallOutcome, Pacing, StopRunError
from tracedistill.engines.error_messages import MAX_READ, gist
from tracedistill.engines.http_errors import HttpError, classify
from tracedistill.engines.remedies import remedy_of
from tracedistill.engines.replies import Dialect, ErrorReplyError, UnusableReplyError, read_reply, request_body
from tracedistill.engines.secrets import Cleaner, read_key
from tracedistill.engines.usage import TokenUsage
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
    key_env: str = ""
    """NAME of the environment variable that holds the key; empty: no key."""
    timeout: float = 600.0
    """Seconds for one call from start to end."""
    pacing: Pacing = field(default_factory=Pacing)
    prices: Prices = field(default_factory=Prices)
    dialect: Dialect = field(default_factory=Dialect)
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the request body (`reasoning_effort`, `chat_template_kwargs`, `top_k`, ...)."""
    endpoint: str = ""
    """Name in cache keys and manifests instead of base_url, for a server whose address changes."""


class ServerEngine:
    """Calls one endpoint; give it to `tracedistill.engines.client.generate`.

    Raises InputError for a missing or invalid key, secrets in the settings, and reserved extra fields. `transport` and
    `environment` replace the network and os.environ in tests.
    """

    path = "/chat/completions"
    """Path of the calls below the base URL."""

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
        """Describe the endpoint, the model and everything that shapes bodies and replies; no key, speed or price."""
        config, dialect = self.config, self.config.dialect
        return {
            "engine": "server",
            "endpoint": config.endpoint or config.base_url.rstrip("/"),
            "model": config.model,
            "extra": dict(config.extra),
            "dialect": {
                "max_tokens_field": dialect.max_tokens_field,
                "schema": dialect.schema,
                "omit": sorted(dialect.omit),
                "prefill": "none",  # constants, so that answers cached when they were options stay valid
            },
            "split_think": True,
        }

    def generate(self, requests: Sequence[Request]) -> Iterator[Generation]:
        """Yield generations as they complete, without cache or budget."""
        from tracedistill.engines.client import generate

        return generate(requests, self)

    def body(self, request: Request) -> dict[str, Any]:
        """Return a request as the body of a call to `path`. Raises ValueError if that cannot express it."""
        return self.batch_body(request)

    def batch_body(self, request: Request) -> dict[str, Any]:
        """Return a request as the body of a chat completion, for files of requests. Raises ValueError like `body`."""
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
        """Open an `openai` client over its aiohttp transport, without its own retries; the environment sets proxies."""
        import httpx2
        import openai

        from tracedistill.engines.transport import limit_body

        # 0: no limit of connections, since the scheduler limits the calls; uvicorn, which many model servers run on,
        # closes an idle connection after 5 s
        limits = httpx2.Limits(max_connections=0, keepalive_expiry=4.5)
        return openai.AsyncOpenAI(
            base_url=self.config.base_url,
            # never empty: the client would send OPENAI_API_KEY to this endpoint
            api_key=self._key or "none",
            max_retries=0,
            timeout=httpx2.Timeout(None, connect=30.0),
            http_client=openai.DefaultAioHttpClient(
                transport=self._transport,
                limits=limits,
                event_hooks={"response": [limit_body]},
                follow_redirects=False,  # another address is another server, which the recipe does not name
            ),
        )

    async def attempt(self, request: Request) -> CallOutcome:
        """Make one call. Raises StopRunError if every further call would fail in the same way."""
        import aiohttp
        import httpx2
        import openai

        from tracedistill.engines.transport import limit_reply_to

        assert self._client is not None, "attempt() needs an open session()"
        try:
            data = json.dumps(self.body(request), separators=(",", ":")).encode()
        except (TypeError, ValueError) as error:
            return CallOutcome(Generation(request.request_id, "", "error", error=f"request cannot be sent: {error}"))
        limit_reply_to(request)
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
            generation, usage = self.read(response.content, request, seconds)
        except ErrorReplyError as error:
            return self._refused(request, error.status, response, error.usage)
        except UnusableReplyError as error:
            cause = self.cleaner.refusal(str(error))
            return CallOutcome(
                cause=cause, billed=error.billed, usage=error.usage, headers=response.headers, repeats=error.repeats
            )
        return CallOutcome(generation, billed=True, usage=usage, headers=response.headers)

    def read(
        self, data: bytes | Mapping[str, Any], request: Request, seconds: float
    ) -> tuple[Generation, TokenUsage | None]:
        """Parse a chat completion as a generation without the key, with the reported usage.

        Raises UnusableReplyError.
        """
        generation, usage = read_reply(data, request)
        return self.cleaner.record(replace(generation, seconds=round(seconds, 4))), usage

    def read_error(self, status: int, headers: Mapping[str, str], body: bytes | Any) -> HttpError:
        """Classify an error reply, without the key in its texts."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        # cleaned before it is parsed: cutting texts to their length might leave half a key
        text = self.cleaner.text(data[:MAX_READ].decode("utf-8", "replace"))
        error = classify(status, headers, text.encode(), time.time())
        return replace(error, cause=self.cleaner.refusal(error.cause), code=self.cleaner.refusal(error.code))

    def failed(self, request: Request, status: int, error: HttpError) -> CallOutcome:
        """Return the outcome of an error reply: final if no retry can help."""
        if error.finish is None:
            return CallOutcome(cause=error.cause)
        failure = Generation(request.request_id, "", error.finish, error=error.cause)
        suspect = "" if error.finish == "refusal" else f"{status} {error.code} {gist(error.cause)}"
        return CallOutcome(failure, error.cause, suspect=suspect)

    def _refused(
        self, request: Request, status: int, response: httpx2.Response, usage: TokenUsage | None = None
    ) -> CallOutcome:
        """Return the outcome of an error reply of a live call. Raises StopRunError if it ends the run."""
        error, config = self.read_error(status, response.headers, response.content), self.config
        if error.meaning == "stop":
            key = config.key_env or "that key_env names"
            remedy = remedy_of(error.why) or remedy_of(error.cause) or f"check base_url, model and the variable {key}"
            raise StopRunError(
                f"{config.base_url}, model {config.model}: {error.why} ({error.cause}); {remedy}. Answers so "
                "far are kept"
            )
        return replace(
            self.failed(request, status, error),
            wait=error.wait,
            headers=response.headers,
            usage=usage,
            billed=usage is not None,
            refused=error.meaning == "busy",
            loading=error.meaning == "loading",
        )

    def _lost(self, error: BaseException) -> CallOutcome:
        """Return the outcome of a call without a usable reply: a time-out, a lost connection, an oversized reply."""
        from tracedistill.engines.transport import ReplyTooLargeError, classify_loss

        if isinstance(flood := error.__cause__ or error, ReplyTooLargeError):
            return CallOutcome(cause=str(flood), billed=True, repeats=True)
        error, sent, timed_out = classify_loss(error)
        if timed_out:
            cause = f"time-out after {self.config.timeout:g} s" if sent else "time-out while connecting"
        else:
            cause = f"{'connection lost' if sent else 'no connection'}: {self.cleaned(error)}"
        return CallOutcome(cause=cause, billed=sent, unreachable=not sent)

    def cleaned(self, error: BaseException) -> str:
        """Return an error's text without the key, which some servers repeat."""
        return self.cleaner.refusal(str(error) or type(error).__name__)
