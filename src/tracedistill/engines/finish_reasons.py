"""Servers' finish reasons, mapped to ours. A new word costs one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tracedistill.engines import Finish

WORDS: dict[str, Finish] = {
    # ended by itself
    "stop": "stop",  # OpenAI, vLLM, SGLang, llama.cpp, Gemini's STOP
    "eos": "stop",
    "eos_token": "stop",  # TGI
    "eos_found": "stop",
    "stop_sequence": "stop",  # TGI, Anthropic
    "end_turn": "stop",  # Anthropic
    "end_of_turn": "stop",
    "end_of_text": "stop",
    "endoftext": "stop",
    "complete": "stop",  # Cohere
    "completed": "stop",
    "finished": "stop",
    # cut off
    "length": "length",
    "max_tokens": "length",  # Anthropic, Gemini's MAX_TOKENS
    "max_output_tokens": "length",
    "max_new_tokens": "length",
    "max_length": "length",
    "model_length": "length",  # Mistral: the context window is full
    "token_limit": "length",
    "context_length": "length",
    "context_length_exceeded": "length",
    "model_context_window_exceeded": "length",  # Anthropic
    # refused or filtered
    "content_filter": "refusal",  # OpenAI, Azure
    "content_filtered": "refusal",
    "guardrail_intervened": "refusal",  # Bedrock
    "refusal": "refusal",  # Anthropic
    "safety": "refusal",  # Gemini
    "recitation": "refusal",  # Gemini
    "blocklist": "refusal",  # Gemini
    "prohibited_content": "refusal",  # Gemini
    "spii": "refusal",  # Gemini: personal data
    "sensitive": "refusal",  # Zhipu
    "moderation": "refusal",
    "image_safety": "refusal",  # Gemini
    "image_prohibited_content": "refusal",
    "image_recitation": "refusal",
}
"""`finish_reason` in lower case -> finish. A reply with another word, or none, is no answer."""

REPEATED = frozenset({
    "tool_calls", "function_call", "tool_use", "malformed_function_call", "unexpected_tool_call", "language",
    "repetition",  # vLLM: the model repeats itself
    "repeat",  # Kimi
})  # fmt: skip
"""Words that a retry would probably get again; all others are retried like any failure."""


def finish_of(reason: Any) -> Finish | None:
    """Map a `finish_reason` to a finish; None for an unknown word, or no word."""
    return WORDS.get(_plain(reason))


def repeats(reason: Any) -> bool:
    """Return whether the same call would probably end the same way."""
    return _plain(reason) in REPEATED


def _plain(reason: Any) -> str:
    """Normalise a word: lower case, without prefixes of enumerations (`FinishReason.STOP`, `FINISH_REASON_STOP`).

    Keep the first word of `content_filter: SAFETY` (Gemini), and the type of SGLang's `{"type": "stop", "matched": 2}`.
    """
    if isinstance(reason, Mapping):
        reason = reason.get("type")
    if not isinstance(reason, str):
        return ""
    word = reason.partition(":")[0].strip().casefold()
    return word.rpartition(".")[2].removeprefix("finish_reason_").replace("-", "_")
