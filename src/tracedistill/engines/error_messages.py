"""Parse an error body of any shape: its message in one line, its code, and how long to wait."""

from __future__ import annotations

import contextlib
import html
import json
import re
from dataclasses import dataclass
from typing import Any

from tracedistill.engines.rate_limits import seconds_of

MOST = 500
"""Characters kept of a message."""

MAX_READ = 100_000
"""Bytes of a body that are parsed."""

_TEXTS = (
    "message", "msg", "Message", "detail", "details", "error", "errors", "reason", "error_message", "error_msg",
    "error_description", "description", "title", "faultstring", "fault", "raw", "metadata", "text", "violations",
)  # fmt: skip
"""Fields that hold the message, or an object that holds it, in order of preference."""
_CODES = ("code", "type", "error_type", "status", "errorCode", "error_code", "quotaId")
_MARKUP = re.compile(
    r"<(script|style|head)\b.{0,6000}?</\1\s{0,9}>|<!--.{0,6000}?-->|<[^<>]{0,2000}>", re.DOTALL | re.IGNORECASE
)
_TITLE = re.compile(r"<title[^<>]{0,200}>([^<]{1,300})</title", re.IGNORECASE)
_AGAIN = re.compile(
    r"\b(?:try again|retry|wait|available)\b\D{0,40}?\b(?:in|after|for)\s{1,5}"
    r"(?:(?P<short>(?:\d{1,9}(?:\.\d{1,9})?(?:ms|[smhd])){1,4})\b"
    r"|(?P<number>\d{1,9}(?:\.\d{1,9})?)\s{0,3}(?P<unit>millisecond|second|sec|minute|min|hour|day)s?\b)",
    re.IGNORECASE,
)
_UNITS = {"millisecond": "ms", "second": "s", "sec": "s", "minute": "m", "min": "m", "hour": "h", "day": "d"}


@dataclass(frozen=True, slots=True)
class ErrorMessage:
    """The message of an error body."""

    text: str = ""
    """The message in one line, at most 500 characters; empty if there is none."""
    code: str = ""
    """Its codes and types, in lower case, separated by spaces."""
    wait: float | None = None
    """Seconds that the body asks to wait; None: not stated."""
    error: bool = False
    """Whether the body is marked as an error, for replies with status 200."""

    def __str__(self) -> str:
        """Return the text, with the first code that it does not contain."""
        if not self.text:
            return self.code or "the server gave no details"
        new = [code for code in self.code.split() if code not in self.text.casefold()]
        return f"{self.text} ({new[0]})" if new else self.text


def read_error_message(data: bytes | Any, wall: float = 0.0) -> ErrorMessage:
    """Parse a body: JSON of any shape, HTML or text. `wall`: the Unix time, for waits until a moment."""
    body = data
    if isinstance(data, bytes):
        body = text = data[:MAX_READ].decode("utf-8", "replace")
        with contextlib.suppress(ValueError, RecursionError):
            body = json.loads(text)
    if isinstance(body, str):
        message = one_line(_without_markup(body))
        return ErrorMessage(message, wait=_wait_in_text(message))
    texts: list[str] = []
    codes: list[str] = []
    _collect(body, texts, codes, 0)
    message = one_line("; ".join(dict.fromkeys(texts)))
    wait = _wait_in_fields(body, wall, 0)
    code = " ".join(dict.fromkeys(codes))[:200]
    return ErrorMessage(message, code, wait if wait is not None else _wait_in_text(message), _is_error(body))


def one_line(text: str, most: int = MOST) -> str:
    """Put a text on one line of at most `most` characters; control characters and runs of blanks become one space."""
    plain = "".join(char if char.isprintable() else " " for char in text[: 20 * most])
    plain = " ".join(plain.split())
    return plain if len(plain) <= most else plain[: most - 1] + "…"


def gist(text: str) -> str:
    """Reduce a message to what equal errors share: the text without numbers, ids and quoted parts."""
    text = re.sub(r"[\"'`][^\"'`]{40,}+[\"'`]", "…", text[: 2 * MOST])
    return re.sub(r"\b(?=\w*\d)[\w-]{1,200}+", "#", text).casefold()[:200]


def _collect(value: Any, texts: list[str], codes: list[str], depth: int) -> None:
    """Collect texts and codes of a body, outer ones first, also from JSON inside strings."""
    if depth > 6 or len(texts) >= 5:
        return
    if isinstance(value, str):
        inner = _inner_json(value)
        if inner is not None:
            _collect(inner, texts, codes, depth + 1)
        elif value.strip() and value.strip() not in texts:
            texts.append(value.strip()[: 4 * MOST])
        return
    if isinstance(value, list):
        for item in value[:5]:
            _collect(item, texts, codes, depth + 1)
        return
    if not isinstance(value, dict):
        return
    for name in _CODES:
        code = value.get(name)
        if isinstance(code, str) and 0 < len(code) <= 80 and code != "error" and not code.isdigit():
            codes.append(code.casefold())
    for name in _TEXTS:
        inner = value.get(name)
        if inner in (None, "", [], {}) or isinstance(inner, bool | int | float):
            continue
        _collect(inner, texts, codes, depth + 1)
    if "loc" in value and "msg" in value and texts:  # FastAPI names the field
        place = ".".join(str(part) for part in value["loc"]) if isinstance(value["loc"], list) else str(value["loc"])
        texts[-1] = f"{texts[-1]}: {place}"


def _inner_json(text: str) -> Any:
    if not text.lstrip().startswith(("{", "[")) or len(text) > MAX_READ:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _is_error(body: Any) -> bool:
    if isinstance(body, list):
        return bool(body) and _is_error(body[0])
    return isinstance(body, dict) and (bool(body.get("error")) or body.get("object") == "error")


def _without_markup(text: str) -> str:
    if "<" not in text:
        return text
    text = text[:8000]
    title = _TITLE.search(text)
    plain = html.unescape(_MARKUP.sub(" ", text))
    return plain if title is None or title[1].strip() in plain else f"{html.unescape(title[1])}: {plain}"


def _wait_in_fields(value: Any, wall: float, depth: int) -> float | None:
    """Read the seconds to wait in fields: retryDelay (Google), estimated_time (Hugging Face), reset headers."""
    if depth > 6:
        return None
    items: list[Any] = []
    if isinstance(value, dict):
        for name, inner in value.items():
            key = str(name).casefold().replace("_", "-")
            if key in ("retrydelay", "estimated-time", "retry-after", "retry-after-seconds", "x-ratelimit-reset"):
                seconds = seconds_of(str(inner), wall)
                if seconds is not None:
                    return seconds
        items = list(value.values())[:50]
    elif isinstance(value, list):
        items = value[:10]
    waits = (_wait_in_fields(item, wall, depth + 1) for item in items)
    return next((wait for wait in waits if wait is not None), None)


def _wait_in_text(text: str) -> float | None:
    """Parse the seconds of `Please try again in 6m0s`."""
    match = _AGAIN.search(text)
    if match is None:
        return None
    short = match["short"] or match["number"] + _UNITS[match["unit"].casefold()]
    return seconds_of(short.casefold(), 0.0)
