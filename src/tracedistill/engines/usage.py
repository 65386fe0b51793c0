"""Token usage: servers' reports of it, read so that no bill is ever underestimated."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Tokens of one call: as the server reports them, or the most that they can be."""

    tokens_in: int
    """Prompt tokens, cached ones included."""
    tokens_out: int
    """Generated tokens, hidden thinking included; may exceed `max_tokens`."""
    cached_in: int = 0
    """Prompt tokens from the server's prompt cache."""
    usd: float | None = None
    """US dollars, if the server reports a price."""


def read_usage(body: Any) -> TokenUsage | None:
    """Read the usage in a reply's body; None if it is missing or invalid.

    If `total_tokens` exceeds prompt and completion, the difference counts as generated: Gemini's endpoint reports
    hidden thinking only there. So does thinking that exceeds the completion. A report of zero tokens is believed only
    if the reply contains no text.
    """
    usage = body.get("usage") if isinstance(body, Mapping) else None
    if not isinstance(usage, Mapping):
        return None
    tokens_in, tokens_out = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    total = _count(usage.get("total_tokens"))
    if tokens_in is None and tokens_out is None and (tokens_in := _count(usage.get("input_tokens"))) is not None:
        tokens_out = _count(usage.get("output_tokens"))  # Anthropic's names; it counts cached tokens separately
        tokens_in += sum(_count(usage.get(f"cache_{kind}_input_tokens")) or 0 for kind in ("read", "creation"))
    if tokens_in is None or (tokens_out is None and total is None):
        return None
    thinking = _most(_detail(usage, "completion_tokens", "reasoning_tokens"), usage.get("reasoning_tokens"))
    tokens_out = max(tokens_out or 0, (total or 0) - tokens_in, thinking)
    if not tokens_in and (tokens_out or not _is_empty(body)):
        return None
    # the fields of OpenAI, DeepSeek and Anthropic
    names = ("prompt_cache_hit_tokens", "cache_read_input_tokens")
    cached = _most(_detail(usage, "prompt_tokens", "cached_tokens"), *map(usage.get, names))
    return TokenUsage(tokens_in, tokens_out, min(tokens_in, cached), _dollars(usage))


def _detail(usage: Mapping[str, Any], of: str, name: str) -> Any:
    details = usage.get(f"{of}_details")
    return details.get(name) if isinstance(details, Mapping) else None


def _most(*values: Any) -> int:
    return max(_count(value) or 0 for value in values)


def _number(value: Any, below: float) -> float | None:
    """Read a non-negative number; some proxies send it as text."""
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            value = float(value[:40])
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < below:
        return None
    return value


def _count(value: Any) -> int | None:
    """Read a token count below a trillion; a fraction is rounded up."""
    number = _number(value, 1e12)
    return None if number is None else math.ceil(number)


def _dollars(usage: Mapping[str, Any]) -> float | None:
    """Read the price that the server reports; the highest if there are several.

    `cost` is OpenRouter's, or an object (Perplexity); `estimated_cost` is DeepInfra's, `cost_in_usd_ticks` xAI's.
    With the user's own key at OpenRouter, the provider's cost is added to OpenRouter's fee.
    """
    cost, details = usage.get("cost"), usage.get("cost_details")
    prices = [_number(cost.get("total_cost") if isinstance(cost, Mapping) else cost, 1e9)]
    prices.append(_number(usage.get("estimated_cost"), 1e9))
    ticks = _number(usage.get("cost_in_usd_ticks"), 1e19)
    prices.append(None if ticks is None else ticks / 1e10)
    if usage.get("is_byok") is True and isinstance(details, Mapping):
        prices.append((prices[0] or 0.0) + (_number(details.get("upstream_inference_cost"), 1e9) or 0.0))
    return max((float(price) for price in prices if price is not None), default=None)


def _is_empty(body: Mapping[str, Any]) -> bool:
    """Return whether no choice of a reply contains text."""
    choices = body.get("choices")
    if not isinstance(choices, list):
        return True
    messages = [choice.get("message") for choice in choices if isinstance(choice, Mapping)]
    texts = ("content", "reasoning_content", "reasoning", "refusal", "tool_calls")
    return not any(message.get(name) for message in messages if isinstance(message, Mapping) for name in texts)
