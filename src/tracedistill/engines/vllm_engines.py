"""Engines for a vLLM server that this program starts itself, when the first uncached answer is needed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from tracedistill.chat.formats import Format
from tracedistill.chat.rendering import for_other_programs, prompt_ids, prompt_template, read_completion
from tracedistill.engines import Generation, Request
from tracedistill.engines.calls import CallOutcome, StopRunError
from tracedistill.engines.error_messages import read_error_message
from tracedistill.engines.replies import UnusableReplyError, build_generation, finish_in, json_of, sampling_fields
from tracedistill.engines.server import ServerConfig, ServerEngine
from tracedistill.engines.usage import TokenUsage, read_usage
from tracedistill.engines.vllm import ServedModel
from tracedistill.errors import InputError

LENGTH_STEP = 256
"""The longest prompt is rounded up to a multiple of this many tokens, so that the next arm can often use the same
server."""
NOT_STARTED = "http://127.0.0.1:0/v1"
"""Placeholder for the address of a server that is not started yet."""


@dataclass(frozen=True, slots=True)
class TokenRendering:
    """How a student's prompts and answers are converted to and from tokens."""

    tokenizer: Any
    """Its tokenizer, with the chat template that it is trained with."""
    ends: tuple[int, ...]
    """Ids of the tokens that end an answer."""
    format: Format
    """The study's format."""
    window: int
    """The model's context window in tokens."""
    no_files: str = ""
    """Why its answers cannot come from files; empty if they can."""


class VllmChatEngine(ServerEngine):
    """Chat completions of a server that is started for the first uncached answer."""

    def __init__(self, config: ServerConfig, served: ServedModel) -> None:
        super().__init__(config)
        self.served = served
        self._starting = asyncio.Lock()

    @asynccontextmanager
    async def session(self) -> AsyncIterator[None]:
        """Open nothing yet; the first call starts the server."""
        self._starting = asyncio.Lock()
        try:
            yield
        finally:
            if self._client is not None:
                await self._client.close()
                self._client = None

    async def attempt(self, request: Request) -> CallOutcome:
        """Make one call. Raises StopRunError if the server cannot be started or has ended."""
        async with self._starting:
            if self._client is None:
                try:
                    address = await asyncio.to_thread(self.served.url)
                except asyncio.CancelledError:
                    self.served.host.cancel()
                    raise
                except InputError as error:
                    raise StopRunError(str(error)) from error
                self.config = replace(self.config, base_url=address)
                self._client = self.open_client()
        return await super().attempt(request)

    def _lost(self, error: BaseException) -> CallOutcome:
        if fault := self.served.host.fault():
            raise StopRunError(fault) from error
        return super()._lost(error)


class VllmTokenEngine(VllmChatEngine):
    """A student's prompts in its own tokens, as in training and `LocalEngine`, by the completions endpoint.

    A prefill is the end of the prompt. Files of requests hold the same prompts as chat completions, for a server that
    is started with `chat_template`.
    """

    path = "/completions"

    def __init__(
        self, config: ServerConfig, served: ServedModel, rendering: TokenRendering, identity: Mapping[str, Any]
    ) -> None:
        """`identity`: what determines answers besides the request."""
        super().__init__(config, served)
        self._rendering, self._identity = rendering, dict(identity)

    @property
    def chat_template(self) -> str:
        """The template with which a server that renders messages itself writes the same prompts."""
        return prompt_template(self._rendering.tokenizer, self._rendering.format)

    def describe(self) -> dict[str, Any]:
        """Describe what the server runs: model, adapter, dtype, format; nothing about speed or address."""
        return dict(self._identity)

    def prepare(self, requests: Sequence[Request]) -> None:
        """Receive all prompts of a schedule, so that the server is started with room for the longest."""
        longest = max((len(self._prompt(request)) + request.sampling.max_tokens for request in requests), default=0)
        self.served.max_length = min(-(-longest // LENGTH_STEP) * LENGTH_STEP, self._rendering.window)

    def body(self, request: Request) -> dict[str, Any]:
        """Return the body of a completion whose prompt is tokens."""
        return {
            **self._fields(request),
            "prompt": self._prompt(request),
            "return_token_ids": True,  # the text alone lacks its special tokens
        }

    def batch_body(self, request: Request) -> dict[str, Any]:
        """Return the body of a chat completion with the same prompt. Raises ValueError if no chat can express it."""
        rendering = self._rendering
        if rendering.no_files:
            raise ValueError(rendering.no_files)
        messages, variables = for_other_programs(rendering.tokenizer, request.messages, rendering.format)
        body = {**self._fields(request), "messages": messages, "chat_template_kwargs": variables}
        if request.prefill:
            if rendering.format == "reasoning":
                raise ValueError("a chat cannot express a prefill in the format reasoning; run the study with vLLM")
            messages.append({"role": "assistant", "content": request.prefill})
            body |= {"continue_final_message": True, "add_generation_prompt": False}
        return body

    def read(
        self, data: bytes | Mapping[str, Any], request: Request, seconds: float
    ) -> tuple[Generation, TokenUsage | None]:
        """Parse a completion, or a chat completion from a file of answers. Raises UnusableReplyError."""
        try:
            body = json_of(data) if isinstance(data, bytes) else data
            choice = body["choices"][0]
            message = choice.get("message") or {}
            text, ids = str(message.get("content") or choice.get("text") or ""), choice.get("token_ids")
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            cause = f"reply contains no completion: {read_error_message(data)}"
            raise UnusableReplyError(cause, billed=False) from None
        usage = read_usage(body)
        finish = finish_in(choice, request, usage)
        if isinstance(ids, list) and all(isinstance(token, int) for token in ids):
            rendering = self._rendering
            text = read_completion(rendering.tokenizer, ids, rendering.format, begun=bool(request.prefill))
        for stop in request.sampling.stop:
            text = text.split(stop, 1)[0]
        generation = build_generation(body, request, text, finish, usage)
        return self.cleaner.record(replace(generation, seconds=round(seconds, 4))), usage

    def _prompt(self, request: Request) -> list[int]:
        return prompt_ids(self._rendering.tokenizer, request.messages, request.prefill, self._rendering.format)

    def _fields(self, request: Request) -> dict[str, Any]:
        return {**sampling_fields(request, self.config.model), "stop_token_ids": list(self._rendering.ends)}
