"""Remedies of failed calls: which setting to change, found by the words of the error."""

from __future__ import annotations

import re

_REFUSED = (
    r"(?:un|not )support|unrecogni[sz]ed|unexpected|unknown|extra inputs|not (?:permitted|allowed)|deprecated"
    r"|only the default"
)
_SAMPLING = r"\b(?:temperature|top_p|seed|stop)\b"

REMEDIES: dict[str, str] = {
    r"max_completion_tokens": "set max_tokens_field: max_completion_tokens",
    rf"{_SAMPLING}.{{0,200}}(?:{_REFUSED}|does not|cannot)|(?:{_REFUSED}).{{0,120}}{_SAMPLING}": (
        "leave out the field that the error names: omit: [temperature, top_p, seed]"
    ),
    r"max_tokens.{0,60}too (?:large|high)|at most \d+ completion tokens": "lower max_tokens",
    r"output limit was reached": "raise max_tokens (a model that thinks may spend them all on it)",
    r"^a redirect$": "set base_url to the address that answers; redirects are not followed",
    r"response_format|json_schema|structured output|guided": "set structured: json_object, or none",
    r"request too large|too large for .{0,80}per min": (
        "lower max_tokens or shorten the prompt: one call is more than a whole minute's allowance"
    ),
    r"context[_ ](?:length|window|size)|maximum context|too long|max_model_len": (
        "lower max_tokens or shorten the prompt, or serve the model with a larger context window"
    ),
    rf"{_REFUSED}|additional propert": "remove the field that the error names from `extra`, or add it to `omit`",
    r"no credit|credit balance|insufficient_|billing|payment|exceeded your current quota": (
        "add credit to the account and run the same command again"
    ),
    r"per[ _-]?day|\bdaily\b": "run the same command again tomorrow, or raise the limit",
    r"no endpoints found|not a valid model|model.{0,80}(?:not[ _](?:found|exist)|does not exist)|HTTP 404": (
        "check `model`, and that base_url is its server, up to and including /v1"
    ),
    r"finish_reason: (?:tool_calls|function_call|tool_use)": (
        "the model called a tool instead of answering; set extra: {tool_choice: none}"
    ),
    r"finish_reason: none": (
        "without a finish_reason a complete answer looks like a cut one; use a server that sends it"
    ),
    r"empty content": "raise max_tokens (a model that thinks may spend them all on it), or change the prompt",
    r"time-out": "raise timeout, or lower concurrency or max_tokens",
    r"stream of events": "remove `stream` from `extra`, or switch streaming off in the proxy",
    r"larger than \d": "the server sends far more than requested; check base_url",
    r"no connection": "check base_url and that the server is up",
}
"""Pattern of a cause -> remedy; the first match counts. A new one costs one line."""

_COMPILED = [(re.compile(pattern, re.IGNORECASE), remedy) for pattern, remedy in REMEDIES.items()]


def remedy_of(cause: str) -> str:
    """Return the remedy of a cause; empty if the server's own message is the best advice."""
    return next((remedy for pattern, remedy in _COMPILED if pattern.search(cause[:1000])), "")
