"""Chat completions as JSON: the body of a request, and what a reply says."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tracedistill.engines import Finish, Request
from tracedistill.engines.usage import Used, read_usage

_THINK = re.compile(r"\A\s*<think>(.*?)(?:</think>|\Z)", re.DOTALL)
_UNOPENED = re.compile(r"\A(.*?)</think>", re.DOTALL)  # some templates put the opening tag into the prompt


@dataclass(frozen=True, slots=True)
class Reply:
    """A usable reply."""

    text: str
    """The message's content without the thinking."""
    reasoning: str | None
    """The thinking: `reasoning_content`, `reasoning` or <think> tags."""
    finish: Finish
    """stop, length or refusal."""
    tokens_in: int
    """Prompt tokens."""
    tokens_out: int
    """Generated tokens."""
    used: Used | None
    """The server's usage report; None: it told none that makes sense, and the counts are ours, four bytes a token."""


class UnusableReplyError(Exception):
    """A reply came whole with status 200, and is no answer."""

    def __init__(self, cause: str, used: Used | None = None, *, billed: bool = True) -> None:
        super().__init__(cause)
        self.used = used
        """Usage as reported; None: not told."""
        self.billed = billed
        """Whether it may have been billed: an error in a completion's place and a web page are not."""


def read_reply(data: bytes | Mapping[str, Any], request: Request, *, split_think: bool = True) -> Reply:
    """Read a chat completion; raises UnusableReplyError with the cause.

    A usage report that is missing or makes no sense does not spoil a whole answer: its counts are estimated, and it is
    charged like a call that nobody answered.
    """
    try:
        body = json.loads(data) if isinstance(data, bytes) else data
    except (ValueError, RecursionError):
        page = isinstance(data, bytes) and data.lstrip().startswith(b"<")
        raise UnusableReplyError("reply is not JSON (cut or garbled)", billed=not page) from None
    used = read_usage(body)
    try:
        choice = body["choices"][0]
        message = choice["message"]
        content, refusal = message.get("content"), message.get("refusal")
        text = _text(content)
    except (KeyError, IndexError, TypeError, AttributeError):
        detail = _error_of(body)
        told = f"reply holds no message{': ' + detail if detail else ''}"
        raise UnusableReplyError(told, used, billed=used is not None or not detail) from None
    reasoning = message.get("reasoning_content") or message.get("reasoning")
    if not isinstance(reasoning, str):
        reasoning = None
    if reasoning is None and split_think:
        text, reasoning = split_thinking(text)
    finish = _finish(choice.get("finish_reason"))
    if isinstance(refusal, str) and refusal:
        finish, text = "refusal", text or refusal
    if not text.strip() and finish == "stop":
        raise UnusableReplyError("empty content", used)
    if request.prefill and text.startswith(request.prefill):
        text = text[len(request.prefill) :]  # some servers repeat it
    counts = estimate(request, text + (reasoning or "")) if used is None else (used.tokens_in, used.tokens_out)
    return Reply(text, reasoning, finish, *counts, used=used)


def split_thinking(text: str) -> tuple[str, str | None]:
    """(text, thinking): what stands in leading <think> tags is kept apart; an unclosed one takes everything."""
    found = _THINK.match(text) or _UNOPENED.match(text)
    if found is None:
        return text, None
    return text[found.end() :].lstrip(), found.group(1).strip()


def estimate(request: Request, written: str) -> tuple[int, int]:
    """Tokens in and out where nobody counted them: four bytes a token."""
    read = sum(len(_bytes(message.content)) for message in request.messages)
    return read // 4 + 1, min(len(_bytes(written)) // 4 + 1, request.sampling.max_tokens)


@dataclass(frozen=True, slots=True)
class Dialect:
    """Where OpenAI-compatible servers differ."""

    max_tokens_field: str = "max_tokens"
    """`max_completion_tokens` for OpenAI's reasoning models."""
    omit: tuple[str, ...] = ()
    """Fields never sent, such as `temperature` or `seed`, where the server refuses them."""
    schema: str = "json_schema"
    """How a request's schema is sent: json_schema, json_object (the bare mode), or none."""
    prefill: str = "none"
    """How a prefill is sent: continue_final_message (vLLM, SGLang), assistant (a last assistant turn), or none."""


def request_body(request: Request, model: str, dialect: Dialect, extra: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON body that a request is sent as; raises ValueError where the dialect cannot say it."""
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


def _text(content: Any) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content if part.get("type") in {"text", "output_text"})


def _finish(reason: Any) -> Finish:
    if reason in {"length", "max_tokens"}:
        return "length"
    return "refusal" if reason == "content_filter" else "stop"


def _error_of(body: Any) -> str:
    error = body.get("error") if isinstance(body, dict) else None
    message = error.get("message") if isinstance(error, dict) else error
    return message[:300] if isinstance(message, str) else ""
