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
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tracedistill.engines import Generation, Request
from tracedistill.engines.budget import Prices, Worst, worst_case
from tracedistill.engines.calls import Outcome, Pacing, StopRunError
from tracedistill.engines.limits import retry_after
from tracedistill.engines.replies import Dialect, UnusableReplyError, read_reply, request_body
from tracedistill.errors import InputError

if TYPE_CHECKING:
    import httpx2
    import openai

_RESERVED = {"model", "messages", "n", "stream", "seed", "temperature", "top_p", "max_tokens", "max_completion_tokens"}
_SECRETS = ("api_key", "apikey", "authorization", "secret", "password")
_NO_CREDIT = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"}
_HOPELESS = {401: "the key is wrong or missing", 402: "no credit", 403: "the key may not use this", 404: "not found"}
_RETRIED = {408, 409, 425}


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
    """Keep what stands in leading <think> tags apart from the text."""
    endpoint: str = ""
    """Name in cache keys and manifests in base_url's place, for a server whose address changes (a cluster's node)."""


class ServerEngine:
    """Calls one endpoint; give it to `tracedistill.engines.client.generate`.

    Raises InputError for a key variable that is not set, a base_url with credentials in it, reserved extra fields.
    `transport` and `environment` replace the network and os.environ in tests.
    """

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
        self._key = _read_key(config, os.environ if environment is None else environment)
        _check(config)

    def describe(self) -> dict[str, Any]:
        """Endpoint, model and all that shapes bodies and replies; no key, nothing of speed or price."""
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
        """Generations as they complete, without cache or budget."""
        from tracedistill.engines.client import generate

        return generate(requests, self)

    def worst_case(self, request: Request) -> Worst:
        """Upper bound of one call's tokens."""
        return worst_case(request)

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
        """An `openai` client with its own retries off, over its aiohttp transport; proxies as the environment says."""
        import httpx2
        import openai

        # 0: no limit of connections, the scheduler bounds the calls. uvicorn, which many model servers run on, closes
        # an idle connection after 5 s.
        limits = httpx2.Limits(max_connections=0, keepalive_expiry=4.5)
        return openai.AsyncOpenAI(
            base_url=self.config.base_url,
            # Always given, lest the client take OPENAI_API_KEY and send it to another endpoint.
            api_key=self._key or "none",
            max_retries=0,
            timeout=httpx2.Timeout(None, connect=30.0),
            http_client=openai.DefaultAioHttpClient(transport=self._transport, limits=limits),
        )

    async def attempt(self, request: Request) -> Outcome:
        """One call. Raises StopRunError where every further call would fail in the same way."""
        import aiohttp
        import httpx2
        import openai

        assert self._client is not None, "attempt() needs an open session()"
        try:
            body = request_body(request, self.config.model, self.config.dialect, self.config.extra)
            data = json.dumps(body, separators=(",", ":")).encode()
        except (TypeError, ValueError) as error:
            return Outcome(Generation(request.request_id, "", "error", error=f"request cannot be sent: {error}"))
        start = time.perf_counter()
        try:
            async with asyncio.timeout(self.config.timeout):
                response = await self._client.post(
                    "/chat/completions",
                    cast_to=httpx2.Response,
                    content=data,
                    options={"headers": {"Content-Type": "application/json"}},
                )
        except openai.APIStatusError as error:
            return self._status(request, error)
        except (TimeoutError, openai.APIConnectionError, httpx2.HTTPError, aiohttp.ClientError) as error:
            return self._lost(error)
        seconds = time.perf_counter() - start
        headers = response.headers
        try:
            reply = read_reply(response.content, request, split_think=self.config.split_think)
        except UnusableReplyError as error:
            return Outcome(cause=self.cleaned(error), billed=error.billed, used=error.used, headers=headers)
        generation = Generation(
            request_id=request.request_id,
            text=reply.text,
            finish=reply.finish,
            tokens_in=reply.tokens_in,
            tokens_out=reply.tokens_out,
            seconds=round(seconds, 4),
            reasoning=reply.reasoning,
            usage_estimated=reply.used is None,
        )
        return Outcome(generation, billed=True, used=reply.used, headers=headers)

    def _status(self, request: Request, error: openai.APIStatusError) -> Outcome:
        """What a status other than 2xx means: stop the run, slow down, try again, or fail this row."""
        status, headers = error.status_code, error.response.headers
        said = self._said(error)[:500]
        if status in _HOPELESS or (status == 429 and error.code in _NO_CREDIT) or 300 <= status < 400:
            why = _HOPELESS.get(status, "no credit" if status == 429 else "a redirect")
            raise StopRunError(
                f"{self.config.base_url}, model {self.config.model}: {why} (HTTP {status}: {said}); "
                f"check base_url, model and the variable {self.config.key_env or 'key_env'}. What was answered is kept"
            )
        cause = f"HTTP {status}: {said}"
        wait = retry_after(headers, time.time())
        if status == 429:
            return Outcome(cause=cause, refused=True, wait=wait, headers=headers)
        if status >= 500 or status in _RETRIED:
            return Outcome(cause=cause, wait=wait, headers=headers)
        finish = "too-long" if error.code == "context_length_exceeded" else "error"
        return Outcome(Generation(request.request_id, "", finish, error=cause))  # type: ignore[arg-type]

    def _lost(self, error: BaseException) -> Outcome:
        """A call without a reply: a time-out, no connection, or one that broke off."""
        from tracedistill.engines.connections import loss_of

        loss = loss_of(error)
        if loss.slow:
            cause = f"time-out after {self.config.timeout:g} s" if loss.sent else "time-out while connecting"
        else:
            cause = f"{'connection lost' if loss.sent else 'no connection'}: {self.cleaned(loss.error)}"
        return Outcome(cause=cause, billed=loss.sent, unreachable=not loss.sent)

    def cleaned(self, error: BaseException) -> str:
        """An error's text without the key, which some servers repeat."""
        return self._without_key(str(error) or type(error).__name__)

    def _said(self, error: openai.APIStatusError) -> str:
        """The server's words; the client passes over those that do not stand under `message` (FastAPI's `detail`)."""
        body = error.body if isinstance(error.body, dict) else {}
        detail = body.get("detail")
        return self.cleaned(error) + (self._without_key(f" - {detail}") if detail and not body.get("message") else "")

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "[key]") if self._key else text


def _read_key(config: ServerConfig, environment: Mapping[str, str]) -> str:
    if not config.key_env:
        return ""
    key = environment.get(config.key_env, "").strip()
    if not key:
        raise InputError(
            f"key_env: the environment variable {_name_or_key(config.key_env)} is not set; export it, or leave key_env "
            "out for an endpoint without keys"
        )
    return key


def _name_or_key(name: str) -> str:
    """The variable's name; not what looks like a key that was pasted in its place."""
    return name if name.isidentifier() and len(name) <= 64 else "(not a variable's name: give the NAME, not the key)"


def _check(config: ServerConfig) -> None:
    url = urlsplit(config.base_url)
    if url.scheme not in {"http", "https"} or not url.hostname:
        raise InputError("base_url: give the endpoint's URL, such as https://api.openai.com/v1")
    if url.username or url.password or url.query:
        raise InputError("base_url: holds credentials or a query; give the key by key_env, it is never written down")
    wrong = sorted(_RESERVED & set(config.extra))
    if wrong:
        raise InputError(f"extra: {', '.join(wrong)} cannot be set here; use sampling, seed and model")
    secret = sorted(name for name in config.extra if any(word in name.lower() for word in _SECRETS))
    if secret:
        raise InputError(f"extra: {', '.join(secret)} looks like a secret and would be written down; use key_env")
