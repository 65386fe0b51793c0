"""What a server says a reply used, read so that no bill is ever underestimated."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Used:
    """The usage report of one reply."""

    tokens_in: int
    """Prompt tokens, cached ones included."""
    tokens_out: int
    """Generated tokens, hidden thinking included; may exceed `max_tokens`."""
    cached_in: int = 0
    """Prompt tokens that the server took from its own prompt cache."""
    usd: float | None = None
    """US dollars, where the server names its price (OpenRouter's `cost`)."""


def read_usage(body: Any) -> Used | None:
    """Read the usage of a reply's body; None if the server gave no sensible one.

    Where `total_tokens` exceeds prompt and completion, the difference counts as generated: Gemini's endpoint counts
    hidden thinking there alone. A report of no tokens at all is believed only where nothing was written.
    """
    usage = body.get("usage") if isinstance(body, Mapping) else None
    if not isinstance(usage, Mapping):
        return None
    read, written = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    total = _count(usage.get("total_tokens"))
    if read is None or (written is None and total is None):
        return None
    written = max(written or 0, (total or 0) - read)
    if not read and (written or not _is_empty(body)):
        return None
    return Used(read, written, min(read, _cached(usage)), _dollars(usage.get("cost")))


def _cached(usage: Mapping[str, Any]) -> int:
    """Read the cached prompt tokens: OpenAI's field, or DeepSeek's."""
    details = usage.get("prompt_tokens_details")
    told = details.get("cached_tokens") if isinstance(details, Mapping) else usage.get("prompt_cache_hit_tokens")
    return _count(told) or 0


def _count(value: Any) -> int | None:
    """Read a token count: whole or nearly, not negative, below a trillion; some proxies send floats."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e12:
        return None
    return math.ceil(value)


def _dollars(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
        return None
    return float(value)


def _is_empty(body: Mapping[str, Any]) -> bool:
    """Return whether no choice of a reply contains text: then zero reported tokens are true."""
    choices = body.get("choices")
    if not isinstance(choices, list):
        return True
    messages = [choice.get("message") for choice in choices if isinstance(choice, Mapping)]
    texts = ("content", "reasoning_content", "reasoning", "refusal", "tool_calls")
    return not any(message.get(name) for message in messages if isinstance(message, Mapping) for name in texts)
