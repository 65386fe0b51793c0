"""Engines run models: requests in, generations out.

`scripted` answers from a function, `local` runs transformers, `server` calls an endpoint, `vllm_engines` starts one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from tracedistill.records import Message

Finish = Literal["stop", "length", "refusal", "error", "too-long"]
"""stop: ended by itself; length: cut off at max_tokens; refusal: content filter; error: no usable reply; too-long: the
prompt does not fit the context window, and nothing was generated."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are sampled. Temperature 0 is greedy."""

    max_tokens: int = 256
    """Limit of generated tokens; a generation that reaches it is `length`."""
    temperature: float = 0.0
    top_p: float = 1.0
    """Nucleus sampling; 1 keeps all."""
    stop: tuple[str, ...] = ()
    """Strings that end the generation (not included in the text)."""


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt for one model. A cache key holds every field but `request_id`."""

    request_id: str
    """Unique within one call of `generate`, and copied to the generation."""
    messages: tuple[Message, ...]
    """The chat so far; the model writes the next assistant turn."""
    sampling: Sampling = field(default_factory=Sampling)
    seed: int = 0
    sample: int = 0
    """Index among several samples of one prompt."""
    schema: Mapping[str, Any] | None = None
    """JSON schema that the answer must follow (structured output), if the engine supports it."""
    prefill: str = ""
    """Prefilled start of the assistant's turn; the generation continues it and does not repeat it."""


@dataclass(frozen=True, slots=True)
class Generation:
    """The result of one request."""

    request_id: str
    text: str
    """Generated text without special tokens; empty on error."""
    finish: Finish
    tokens_in: int = 0
    """Prompt tokens, counted by the engine."""
    tokens_out: int = 0
    """Generated tokens, counted by the engine."""
    seconds: float = 0.0
    """Wall seconds of the call; for a batch, its seconds divided by its rows."""
    reasoning: str | None = None
    """Thinking that the engine reports separately from the text."""
    error: str = ""
    """Cause, if finish is `error`."""
    cached: bool = False
    """Whether it came from the generation cache or was a copy, so that nothing was paid."""
    usage_estimated: bool = False
    """Whether the token counts are an estimate, because the server reported none or invalid ones."""
    usd: float | None = None
    """US dollars charged for it, including calls without an answer; None: not recorded."""
    cached_in: int = 0
    """Prompt tokens served from the server's prompt cache."""
    buyer: str = ""
    """Buyer, as passed to `generate`."""
    model: str = ""
    """Model named in the reply, which may differ from the requested one behind a router."""
    fingerprint: str = ""
    """The reply's `system_fingerprint`, which identifies the backend."""
    created: float = 0.0
    """Unix time at which it was cached; 0: not taken from the cache."""


class Engine(Protocol):
    """Runs a model."""

    def describe(self) -> dict[str, Any]:
        """Describe what determines the output besides the request (model, dtype, template hash, ...): JSON, no keys."""
        ...

    def generate(self, requests: Sequence[Request]) -> Iterator[Generation]:
        """Yield one generation per request, in any order; a failure has finish `error`, never a gap."""
        ...


def batches_of(requests: Sequence[Request], size: int) -> list[list[Request]]:
    """Group requests by length into the batches of a run.

    The batches depend on the requests alone, so an interruption changes nothing.
    """
    order = sorted(requests, key=lambda item: (sum(len(message.content) for message in item.messages), item.request_id))
    return [order[start : start + size] for start in range(0, len(order), size)]
