"""Chat completions as JSON: bodies of requests, parsing of replies."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tracedistill.engines import Finish, Generation, Request
from tracedistill.engines.error_messages import one_line, read_error_message
from tracedistill.engines.finish_reasons import finish_of, repeats
from tracedistill.engines.thinking_marks import split_thinking
from tracedistill.engines.usage import TokenUsage, read_usage

_COMMENTS = re.compile(rb"\s*+(?::[^\n]*+(?:\n\s*+|\Z))++")


class UnusableReplyError(Exception):
    """A complete reply with status 200 that is no answer."""

    def __init__(
        self, cause: str, usage: TokenUsage | None = None, *, billed: bool = True, repeats: bool = False
    ) -> None:
        super().__init__(cause)
        self.usage = usage
        """Reported usage; None: not reported."""
        self.billed = billed
        """Whether it may have been billed: an error in place of a completion and a web page are not."""
        self.repeats = repeats
        """Whether the same call would probably give the same result."""


class ErrorReplyError(UnusableReplyError):
    """A reply with status 200 that contains an error in place of a completion."""

    def __init__(self, body: Any, usage: TokenUsage | None) -> None:
        super().__init__(f"reply contains no message: {read_error_message(body)}", usage, billed=usage is not None)
        self.body = body
        """The server's JSON."""

    @property
    def status(self) -> int:
        """Status stated in the error; 500 if none."""
        outer = self.body[0] if isinstance(self.body, list) else self.body
        places = [place for place in (outer.get("error"), outer) if isinstance(place, dict)]
        values = [str(place.get(name)) for place in places for name in ("code", "status")]
        return next((int(value) for value in values if re.fullmatch("[45][0-9]{2}", value)), 500)


def read_reply(data: bytes | Mapping[str, Any], request: Request) -> tuple[Generation, TokenUsage | None]:
    """Parse a chat completion as a generation with the reported usage. Raises UnusableReplyError."""
    body = _parsed(data)
    usage = read_usage(body)
    try:
        choice = body["choices"][0]
        message = choice.get("message")
        if message is None and finish_of(choice.get("finish_reason")) in {"refusal", "length"}:
            message = {}  # Azure and Gemini omit it if their filters stopped the answer
        content, refusal = message.get("content"), message.get("refusal")
        text, thinking = _parts(content)
    except (KeyError, IndexError, TypeError, AttributeError):
        if read_error_message(body).error:
            raise ErrorReplyError(body, usage) from None
        raise UnusableReplyError("reply contains no message", usage) from None
    broken = choice.get("error") or body.get("error")
    if broken:  # the text beside it is incomplete, whatever the finish_reason says
        raise UnusableReplyError(f"the server broke off: {read_error_message(broken)}", usage)
    refused = isinstance(refusal, str) and bool(refusal)
    finish = "refusal" if refused else finish_in(choice, request, usage)
    text = text or refusal if refused else text
    fields = (message.get(name) for name in ("reasoning_content", "reasoning", "thinking", "reasoning_details"))
    reasoning = next(filter(None, map(_thinking, fields)), "") or thinking or None
    text, inside = split_thinking(text)
    reasoning = _joined(reasoning, inside)
    if not text.strip() and finish == "stop":
        raise UnusableReplyError("empty content", usage, repeats=_greedy(request))
    return build_generation(body, request, text, finish, usage, reasoning), usage


def finish_in(choice: Mapping[str, Any], request: Request, usage: TokenUsage | None) -> Finish:
    """Return how a choice ended. Raises UnusableReplyError for an unknown or missing `finish_reason`."""
    reason, native = choice.get("finish_reason"), choice.get("native_finish_reason")
    if finish := finish_of(reason):
        return finish
    cause = f"finish_reason: {one_line(str(reason), 60) if reason is not None else 'none at all'}"
    if isinstance(native, str) and native != reason:
        cause += f" ({one_line(native, 60)})"
    raise UnusableReplyError(cause, usage, repeats=_greedy(request) and repeats(reason))


def build_generation(
    body: Any, request: Request, text: str, finish: Finish, usage: TokenUsage | None, reasoning: str | None = None
) -> Generation:
    """Build the generation of a usable reply.

    Without a usage report, tokens are estimated at four bytes each, and the call is charged like an unanswered one.
    """
    if usage is None:
        bytes_in = sum(len(_bytes(message.content)) for message in request.messages)
        bytes_out = len(_bytes(text + (reasoning or "")))
        counts = bytes_in // 4 + 1, min(bytes_out // 4 + 1, request.sampling.max_tokens)
    else:
        counts = usage.tokens_in, usage.tokens_out
    model, provider, fingerprint = (
        one_line(value, 120) if isinstance(value := body.get(name), str) else ""
        for name in ("model", "provider", "system_fingerprint")
    )
    return Generation(
        request_id=request.request_id,
        text=text,
        finish=finish,
        tokens_in=counts[0],
        tokens_out=counts[1],
        reasoning=reasoning,
        usage_estimated=usage is None,
        cached_in=0 if usage is None else usage.cached_in,
        model=f"{model} ({provider})" if provider else model,
        fingerprint=fingerprint,
    )


def _greedy(request: Request) -> bool:
    """Return whether the same call gives the same text, as far as a server is deterministic."""
    return request.sampling.temperature == 0


@dataclass(frozen=True, slots=True)
class Dialect:
    """Differences between OpenAI-compatible servers."""

    max_tokens_field: str = "max_tokens"
    """`max_completion_tokens` for OpenAI's reasoning models."""
    omit: tuple[str, ...] = ()
    """Fields never sent, such as `temperature` or `seed`, for servers that reject them."""
    schema: str = "json_schema"
    """How a request's schema is sent: json_schema, json_object (the bare mode), or none."""


def request_body(request: Request, model: str, dialect: Dialect, extra: Mapping[str, Any]) -> dict[str, Any]:
    """Build the JSON body of a request. Raises ValueError for a prefill, which chat endpoints cannot continue."""
    if request.prefill:
        raise ValueError("a chat endpoint cannot continue a prefilled answer")
    messages = [{"role": message.role, "content": message.content} for message in request.messages]
    body = {**sampling_fields(request, model, dialect.max_tokens_field), "messages": messages}
    if request.schema is not None and dialect.schema == "json_schema":
        schema = {"name": "answer", "schema": dict(request.schema), "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif request.schema is not None and dialect.schema == "json_object":
        body["response_format"] = {"type": "json_object"}
    for name in dialect.omit:
        body.pop(name, None)
    return {**body, **extra}


def sampling_fields(request: Request, model: str, max_tokens_field: str = "max_tokens") -> dict[str, Any]:
    """Return the model and the sampling settings as fields of a body."""
    sampling = request.sampling
    fields = {
        "model": model,
        max_tokens_field: sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": request.seed,
    }
    return fields | ({"stop": list(sampling.stop)} if sampling.stop else {})


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _parsed(data: bytes | Mapping[str, Any]) -> Any:
    if not isinstance(data, bytes):
        return data
    with contextlib.suppress(ValueError):
        return json_of(data)
    start = data[:200].lstrip()
    if start.startswith(b":"):  # a stream's keep-alive comments before a whole reply
        return _parsed(_COMMENTS.sub(b"", data, count=1))
    if start.startswith(b"data:"):
        raise UnusableReplyError("reply is an event stream, but none was requested", repeats=True)
    page = start.startswith(b"<")
    message = f": {read_error_message(data)}" if page else ""
    raise UnusableReplyError(f"reply is not JSON (cut or garbled){message}", billed=not page)


def json_of(data: bytes) -> Any:
    """Parse JSON of any depth and with numbers of any length. Raises ValueError only."""
    try:
        with contextlib.suppress(ValueError):
            return json.loads(data)
        # Python rejects integers of more than 4,300 digits
        return json.loads(data, parse_int=lambda digits: int(digits) if len(digits) <= 4000 else 0)
    except RecursionError:
        raise ValueError("nested too deep") from None


def json_object(data: bytes) -> dict[str, Any] | None:
    """Parse a JSON object; None for anything else."""
    with contextlib.suppress(ValueError):
        value = json_of(data)
        return value if isinstance(value, dict) else None
    return None


def _parts(content: Any) -> tuple[str, str]:
    """Split a message's content into (text, thinking): text, or a list of parts."""
    if content is None:
        return "", ""
    if isinstance(content, str):
        return content, ""
    text, thoughts = [], []
    for part in content:
        if isinstance(part, str):
            text.append(part)
            continue
        kind = part.get("type")
        if kind in {"text", "output_text"}:
            text.append(part["text"])
        elif kind in {"thinking", "reasoning"}:
            thoughts.append(_thinking(part))
    return "".join(text), "\n\n".join(filter(None, thoughts))


def _thinking(value: Any, depth: int = 0) -> str:
    """Return thinking as text: a string, or parts as in Mistral, Anthropic and OpenRouter.

    Encrypted ones are left out.
    """
    if isinstance(value, str):
        return value
    if depth > 4:
        return ""
    if isinstance(value, list):
        return "\n\n".join(filter(None, (_thinking(item, depth + 1) for item in value)))
    if isinstance(value, dict):
        names = ("thinking", "text", "summary", "content", "reasoning")
        return next(filter(None, (_thinking(value.get(name), depth + 1) for name in names)), "")
    return ""


def _joined(field: str | None, inside: str | None) -> str | None:
    """Join the thinking of a field and of the text; one of them if it contains the other."""
    if not field or not inside:
        return field or inside
    first, second = " ".join(field.split()), " ".join(inside.split())
    return field if second in first else inside if first in second else f"{field}\n\n{inside}"
