"""Engines for a server that this program starts itself, when the first answer is lacking."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

from tracedistill.chat.formats import Format
from tracedistill.chat.rendering import for_other_programs, prompt_ids, prompt_template, read_completion
from tracedistill.engines import Generation, Request
from tracedistill.engines.calls import Outcome, StopRunError
from tracedistill.engines.endings import finish_of
from tracedistill.engines.replies import UnusableReplyError, estimate, json_of
from tracedistill.engines.server import ServerConfig, ServerEngine
from tracedistill.engines.usage import Used, read_usage
from tracedistill.engines.words import one_line, words_of
from tracedistill.errors import InputError

ROUND = 256
"""The longest prompt is rounded up to a multiple of so many tokens: the next arm may do with the same server."""
NOT_STARTED = "http://127.0.0.1:0/v1"
"""Stands for the address of a server that has none yet."""


class Host(Protocol):
    """Starts the server."""

    def url(self) -> str:
        """Return the server's base URL; start it first where it does not run. Raises InputError if it cannot be."""
        ...

    def expect(self, tokens: int) -> None:
        """Say how long prompt and answer will be at most."""
        ...

    @property
    def max_length(self) -> int | None:
        """Return what was expected; None: nothing."""
        ...

    def arguments(self) -> tuple[str, list[str]]:
        """Return the model and the flags that `vllm run-batch` needs for the same answers."""
        ...

    @property
    def facts(self) -> Mapping[str, Any]:
        """What a manifest says of the server; empty if none was started."""
        ...

    def fault(self) -> str:
        """Return why the server is no longer there; empty while it runs."""
        ...

    def cancel(self) -> None:
        """Give up waiting for its start."""
        ...


@dataclass(frozen=True, slots=True)
class TokenRendering:
    """How a student's prompts and answers are said in tokens."""

    tokenizer: Any
    """Its tokenizer, with the chat template that it is trained with."""
    ends: tuple[int, ...]
    """Ids of the tokens that end an answer."""
    format: Format
    """The study's format."""
    window: int
    """Tokens that the model has room for."""
    alone: str = ""
    """Why its answers cannot come from files; empty if they can."""


class ServedEngine(ServerEngine):
    """Chat completions of a server that is started when the first answer is lacking, and not before."""

    def __init__(self, config: ServerConfig, host: Host) -> None:
        super().__init__(config)
        self.host = host
        """Who starts the server."""
        self._starting = asyncio.Lock()

    @asynccontextmanager
    async def session(self) -> AsyncIterator[None]:
        """Open nothing yet: whether a server is needed at all, the first call tells."""
        self._starting = asyncio.Lock()
        try:
            yield
        finally:
            if self._client is not None:
                await self._client.close()
                self._client = None

    async def attempt(self, request: Request) -> Outcome:
        """Return one call. Raises StopRunError where the server does not come up, or has ended."""
        async with self._starting:
            if self._client is None:
                try:
                    address = await asyncio.to_thread(self.host.url)
                except asyncio.CancelledError:
                    self.host.cancel()
                    raise
                except InputError as error:
                    raise StopRunError(str(error)) from error
                self.config = replace(self.config, base_url=address)
                self._client = self.open_client()
        return await super().attempt(request)

    def _lost(self, error: BaseException) -> Outcome:
        if fault := self.host.fault():
            raise StopRunError(fault) from error
        return super()._lost(error)


class TokensEngine(ServedEngine):
    """A student's prompts in its own tokens, by the completions endpoint: what training and `LocalEngine` render.

    A begun answer is the end of the prompt. Files of requests have the same as chat completions, for a server that is
    started with `chat_template`.
    """

    path = "/completions"

    def __init__(self, config: ServerConfig, host: Host, said: TokenRendering, identity: Mapping[str, Any]) -> None:
        """`identity`: what determines answers besides the request."""
        super().__init__(config, host)
        self._said, self._identity = said, dict(identity)

    @property
    def chat_template(self) -> str:
        """The template with which a server that renders messages itself writes the same prompts."""
        return prompt_template(self._said.tokenizer, self._said.format)

    def describe(self) -> dict[str, Any]:
        """Return what the server was given: model, adapter, dtype, format; nothing of speed or address."""
        return dict(self._identity)

    def prepare(self, requests: Sequence[Request]) -> None:
        """Learn all prompts of a plan: the server is started with room for the longest."""
        longest = max((len(self._prompt(each)) + each.sampling.max_tokens for each in requests), default=0)
        self.host.expect(min(-(-longest // ROUND) * ROUND, self._said.window))

    def body(self, request: Request) -> dict[str, Any]:
        """Return the body of a completion whose prompt is tokens."""
        return {
            **self._sampling(request),
            "prompt": self._prompt(request),
            "return_token_ids": True,  # a text without its special tokens does not say all that was written
        }

    def batch_body(self, request: Request) -> dict[str, Any]:
        """Return the body of a chat completion of the same prompt. Raises ValueError if no chat says it."""
        if self._said.alone:
            raise ValueError(self._said.alone)
        messages, variables = for_other_programs(self._said.tokenizer, request.messages, self._said.format)
        found = {**self._sampling(request), "messages": messages, "chat_template_kwargs": variables}
        if request.prefill:
            if self._said.format == "reasoning":
                raise ValueError("a begun answer of format reasoning cannot be said as a chat; run the study with vLLM")
            messages.append({"role": "assistant", "content": request.prefill})
            found |= {"continue_final_message": True, "add_generation_prompt": False}
        return found

    def read(self, data: bytes | Mapping[str, Any], request: Request, seconds: float) -> tuple[Generation, Used | None]:
        """Read a completion, or a chat completion out of a file of answers; raises UnusableReplyError."""
        try:
            body = json_of(data) if isinstance(data, bytes) else data
            choice = body["choices"][0]
            message = choice.get("message") or {}
            text, ids = message.get("content") or choice.get("text") or "", choice.get("token_ids")
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            raise UnusableReplyError(f"reply holds no completion: {words_of(data)}", billed=False) from None
        reason, used = choice.get("finish_reason"), read_usage(body)
        finish = finish_of(reason)
        if finish is None or not isinstance(text, str):
            raise UnusableReplyError(f"finish_reason: {one_line(str(reason), 60)}", used)
        if isinstance(ids, list) and all(isinstance(each, int) for each in ids):
            text = read_completion(self._said.tokenizer, ids, self._said.format, begun=bool(request.prefill))
        for stop in request.sampling.stop:
            text = text.split(stop, 1)[0]
        counts = estimate(request, text) if used is None else (used.tokens_in, used.tokens_out)
        model, build = body.get("model"), body.get("system_fingerprint")
        generation = Generation(
            request_id=request.request_id, text=text, finish=finish, tokens_in=counts[0], tokens_out=counts[1],
            seconds=round(seconds, 4), usage_estimated=used is None,
            model=one_line(model, 120) if isinstance(model, str) else "",
            fingerprint=one_line(build, 120) if isinstance(build, str) else "",
        )  # fmt: skip
        return self.cleaner.record(generation), used

    def _prompt(self, request: Request) -> list[int]:
        return prompt_ids(self._said.tokenizer, request.messages, request.prefill, self._said.format)

    def _sampling(self, request: Request) -> dict[str, Any]:
        sampling = request.sampling
        found: dict[str, Any] = {
            "model": self.config.model,
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": request.seed,
            "stop_token_ids": list(self._said.ends),
        }
        if sampling.stop:
            found["stop"] = list(sampling.stop)
        return found
