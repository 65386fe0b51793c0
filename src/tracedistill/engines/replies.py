"""Chat completions as JSON: bodies of requests, parsing of replies."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tracedistill.engines import Finish, Request
from tracedistill.engines.endings import finish_of, repeats
from tracedistill.engines.markers import split_thinking, without_controls
from tracedistill.engines.usage import Used, read_usage
from tracedistill.engines.words import one_line, words_of

_COMMENTS = re.compile(rb"\s*+(?::[^\n]*+(?:\n\s*+|\Z))++")


@dataclass(frozen=True, slots=True)
class Reply:
    """A usable reply."""

    text: str
    """The message's content without thinking and without control tokens at its ends."""
    reasoning: str | None
    """The thinking: a field or part of the message, or the text inside the marks of `markers.THINKING`."""
    finish: Finish
    """stop, length or refusal."""
    tokens_in: int
    """Prompt tokens."""
    tokens_out: int
    """Generated tokens."""
    used: Used | None
    """The server's usage report; None: missing or invalid, and the counts are ours, four bytes a token."""
    model: str = ""
    """Model named in the reply, with the provider if a router names one: `gpt-4o (Azure)`."""
    fingerprint: str = ""
    """The reply's `system_fingerprint`."""


class UnusableReplyError(Exception):
    """A complete reply with status 200 that is no answer."""

    def __init__(self, cause: str, used: Used | None = None, *, billed: bool = True, repeats: bool = False) -> None:
        super().__init__(cause)
        self.used = used
        """Reported usage; None: not reported."""
        self.billed = billed
        """Whether it may have been billed: an error in place of a completion and a web page are not."""
        self.repeats = repeats
        """Whether the same call would probably give the same result."""


class ErrorReplyError(UnusableReplyError):
    """A reply with status 200 that contains an error in place of a completion."""

    def __init__(self, body: Any, used: Used | None) -> None:
        super().__init__(f"reply contains no message: {words_of(body)}", used, billed=used is not None)
        self.body = body
        """The server's JSON."""

    @property
    def status(self) -> int:
        """Status stated in the error; 500 if none."""
        error = self.body[0] if isinstance(self.body, list) else self.body
        inner = error.get("error")
        told = [place.get(name) for place in (inner, error) if isinstance(place, dict) for name in ("code", "status")]
        return next((code for value in told if 400 <= (code := _whole(value)) < 600), 500)


def read_reply(data: bytes | Mapping[str, Any], request: Request, *, split_think: bool = True) -> Reply:
    """Parse a chat completion. Raises UnusableReplyError with the cause.

    A missing or invalid usage report does not spoil a whole answer: its counts are estimated, and it is charged like an
    unanswered call.
    """
    body = _parsed(data)
    used = read_usage(body)
    try:
        choice = body["choices"][0]
        message = choice.get("message")
        if message is None and finish_of(choice.get("finish_reason")) in {"refusal", "length"}:
            message = {}  # Azure and Gemini omit it if their filters stopped the answer
        content, refusal = message.get("content"), message.get("refusal")
        text, thought = _parts(content)
    except (KeyError, IndexError, TypeError, AttributeError):
        if words_of(body).error:
            raise ErrorReplyError(body, used) from None
        raise UnusableReplyError("reply contains no message", used) from None
    broken = choice.get("error") or body.get("error")
    if broken:  # the text beside it is incomplete, whatever the finish_reason says
        raise UnusableReplyError(f"the server broke off: {words_of(broken)}", used)
    reason = choice.get("finish_reason")
    finish = finish_of(reason)
    if isinstance(refusal, str) and refusal:
        finish, text = "refusal", text or refusal
    if finish is None:
        told = one_line(str(reason), 60) if reason is not None else "none at all"
        native = choice.get("native_finish_reason")
        native = f" ({one_line(native, 60)})" if isinstance(native, str) and native != reason else ""
        raise UnusableReplyError(f"finish_reason: {told}{native}", used, repeats=greedy(request) and repeats(reason))
    fields = (message.get(name) for name in ("reasoning_content", "reasoning", "thinking", "reasoning_details"))
    reasoning = next((told for value in fields if (told := _thought(value))), "") or thought or None
    if split_think:
        text, inside = split_thinking(text)
        reasoning = _joined(reasoning, inside)
    else:
        text = without_controls(text)
    if not text.strip() and finish == "stop":
        raise UnusableReplyError("empty content", used, repeats=greedy(request))
    if request.prefill and text.startswith(request.prefill):
        text = text[len(request.prefill) :]  # some servers repeat it
    counts = estimate(request, text + (reasoning or "")) if used is None else (used.tokens_in, used.tokens_out)
    return Reply(
        text,
        reasoning,
        finish,
        *counts,
        used=used,
        model=_model_of(body),
        fingerprint=_named(body, "system_fingerprint"),
    )


def greedy(request: Request) -> bool:
    """Return whether the same call gives the same text, as far as a server is deterministic."""
    return request.sampling.temperature == 0


def estimate(request: Request, written: str) -> tuple[int, int]:
    """Estimate tokens in and out if the server did not count them: four bytes a token."""
    read = sum(len(_bytes(message.content)) for message in request.messages)
    return read // 4 + 1, min(len(_bytes(written)) // 4 + 1, request.sampling.max_tokens)


@dataclass(frozen=True, slots=True)
class Dialect:
    """Differences between OpenAI-compatible servers."""

    max_tokens_field: str = "max_tokens"
    """`max_completion_tokens` for OpenAI's reasoning models."""
    omit: tuple[str, ...] = ()
    """Fields never sent, such as `temperature` or `seed`, for servers that reject them."""
    schema: str = "json_schema"
    """How a request's schema is sent: json_schema, json_object (the bare mode), or none."""
    prefill: str = "none"
    """How a prefill is sent: continue_final_message (vLLM, SGLang), assistant (a last assistant turn), or none."""


def request_body(request: Request, model: str, dialect: Dialect, extra: Mapping[str, Any]) -> dict[str, Any]:
    """Build the JSON body of a request. Raises ValueError if the dialect cannot express it."""
    sampling = request.sampling
    messages = [{"role": message.role, "content": message.content} for message in request.messages]
    body: dict[str, Any] = {
        "model": model,
        "messages": messages,
        dialect.max_tokens_field: sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": request.seed,
    }
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if request.schema is not None and dialect.schema == "json_schema":
        schema = {"name": "answer", "schema": dict(request.schema), "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif request.schema is not None and dialect.schema == "json_object":
        body["response_format"] = {"type": "json_object"}
    if request.prefill:
        if dialect.prefill == "none":
            raise ValueError("this endpoint is not set up for a prefill; set `prefill` in the teacher's recipe")
        messages.append({"role": "assistant", "content": request.prefill})
        if dialect.prefill == "continue_final_message":
            body["continue_final_message"], body["add_generation_prompt"] = True, False
    for name in dialect.omit:
        body.pop(name, None)
    return {**body, **extra}


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
    said = f": {words_of(data)}" if page else ""
    raise UnusableReplyError(f"reply is not JSON (cut or garbled){said}", billed=not page)


def json_of(data: bytes) -> Any:
    """Parse JSON of any depth and with numbers of any length. Raises ValueError only."""
    try:
        with contextlib.suppress(ValueError):
            return json.loads(data)
        return json.loads(data, parse_int=_bounded)  # Python rejects integers of more than 4,300 digits
    except RecursionError:
        raise ValueError("nested too deep") from None


def _bounded(digits: str) -> int:
    return int(digits) if len(digits) <= 4000 else 0


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
            thoughts.append(_thought(part))
    return "".join(text), "\n\n".join(filter(None, thoughts))


def _thought(value: Any, depth: int = 0) -> str:
    """Return thinking as text: a string, or parts as in Mistral, Anthropic and OpenRouter.

    Encrypted ones are left out.
    """
    if isinstance(value, str):
        return value
    if depth > 4:
        return ""
    if isinstance(value, list):
        return "\n\n".join(filter(None, (_thought(item, depth + 1) for item in value)))
    if isinstance(value, dict):
        names = ("thinking", "text", "summary", "content", "reasoning")
        return next((told for name in names if (told := _thought(value.get(name), depth + 1))), "")
    return ""


def _joined(told: str | None, inside: str | None) -> str | None:
    """Join the thinking of a field and of the text: once if both are equal."""
    if not told or not inside:
        return told or inside
    first, second = " ".join(told.split()), " ".join(inside.split())
    return told if second in first else inside if first in second else f"{told}\n\n{inside}"


def _model_of(body: Any) -> str:
    model, provider = _named(body, "model"), _named(body, "provider")
    return f"{model} ({provider})" if provider else model


def _named(body: Any, name: str) -> str:
    value = body.get(name)
    return one_line(value, 120) if isinstance(value, str) else ""


def _whole(value: Any) -> int:
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0
