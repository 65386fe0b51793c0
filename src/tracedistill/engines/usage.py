"""Usage reports of servers, read so that no bill is ever underestimated."""

from __future__ import annotations

import contextlib
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
    """US dollars, where the server names its price."""


_CACHED = ("prompt_cache_hit_tokens", "cache_read_input_tokens")


def read_usage(body: Any) -> Used | None:
    """Read the usage of a reply's body; None if the server gave no sensible one.

    Where `total_tokens` exceeds prompt and completion, the difference counts as generated: Gemini's endpoint counts
    hidden thinking there alone. So does thinking that exceeds the completion. A report of no tokens at all is believed
    only where nothing was written.
    """
    usage = body.get("usage") if isinstance(body, Mapping) else None
    if not isinstance(usage, Mapping):
        return None
    read, written = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    total = _count(usage.get("total_tokens"))
    if read is None and written is None and (read := _count(usage.get("input_tokens"))) is not None:
        written = _count(usage.get("output_tokens"))  # Anthropic's names, which count cached tokens apart
        read += sum(_count(usage.get(f"cache_{what}_input_tokens")) or 0 for what in ("read", "creation"))
    if read is None or (written is None and total is None):
        return None
    thought = max(
        _count(_detail(usage, "completion_tokens", "reasoning_tokens")) or 0, _count(usage.get("reasoning_tokens")) or 0
    )
    written = max(written or 0, (total or 0) - read, thought)
    if not read and (written or not _is_empty(body)):
        return None
    return Used(read, written, min(read, _cached(usage)), _dollars(usage))


def _detail(usage: Mapping[str, Any], of: str, name: str) -> Any:
    details = usage.get(f"{of}_details")
    return details.get(name) if isinstance(details, Mapping) else None


def _cached(usage: Mapping[str, Any]) -> int:
    """Read the cached prompt tokens: OpenAI's field, DeepSeek's, or Anthropic's."""
    told = _detail(usage, "prompt_tokens", "cached_tokens")
    return max(_count(value) or 0 for value in (told, *map(usage.get, _CACHED)))


def _number(value: Any, below: float) -> float | None:
    """Read a number that is not negative; some proxies send it as text."""
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = float(value[:40])
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < below:
        return None
    return value


def _count(value: Any) -> int | None:
    """Read a token count: whole or nearly, below a trillion."""
    number = _number(value, 1e12)
    return None if number is None else math.ceil(number)


def _dollars(usage: Mapping[str, Any]) -> float | None:
    """Read the price that the server names: the most of what it says.

    `cost` is OpenRouter's, or an object (Perplexity); `estimated_cost` DeepInfra's; `cost_in_usd_ticks` xAI's.
    A call on a key of one's own costs what its provider takes beside OpenRouter's fee.
    """
    cost, details = usage.get("cost"), usage.get("cost_details")
    told = [_number(cost.get("total_cost") if isinstance(cost, Mapping) else cost, 1e9)]
    told.append(_number(usage.get("estimated_cost"), 1e9))
    ticks = _number(usage.get("cost_in_usd_ticks"), 1e19)
    told.append(None if ticks is None else ticks / 1e10)
    if usage.get("is_byok") is True and isinstance(details, Mapping):
        told.append((told[0] or 0.0) + (_number(details.get("upstream_inference_cost"), 1e9) or 0.0))
    return max((float(price) for price in told if price is not None), default=None)


def _is_empty(body: Mapping[str, Any]) -> bool:
    """Return whether no choice of a reply contains text: then zero reported tokens are true."""
    choices = body.get("choices")
    if not isinstance(choices, list):
        return True
    messages = [choice.get("message") for choice in choices if isinstance(choice, Mapping)]
    texts = ("content", "reasoning_content", "reasoning", "refusal", "tool_calls")
    return not any(message.get(name) for message in messages if isinstance(message, Mapping) for name in texts)
