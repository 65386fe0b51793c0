"""Classify error replies: about one row, about the moment, or about the whole run. A new wording costs one line."""

from __future__ import annotations

import contextlib
import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tracedistill.engines import Finish
from tracedistill.engines.error_messages import one_line, read_error_message
from tracedistill.engines.rate_limits import retry_after

Meaning = Literal["stop", "busy", "loading", "retry", "too-long", "moderated", "rejected"]
"""stop: no call of this run can succeed; busy: too many calls now; loading: the server is not ready yet; retry: a
failure that may pass; too-long: the prompt does not fit; moderated: this prompt was refused; rejected: permanent, and
other rows must show whether the row or the run is at fault."""

_FINISHES: dict[str, Finish] = {"too-long": "too-long", "moderated": "refusal", "rejected": "error"}


@dataclass(frozen=True, slots=True)
class HttpError:
    """A classified error reply."""

    meaning: Meaning
    cause: str
    """The server's message; `classify` does not remove secrets."""
    why: str = ""
    """Our explanation, if the run stops."""
    wait: float | None = None
    """Seconds to wait, as requested by the server."""
    code: str = ""
    """The server's code, to compare errors."""

    @property
    def finish(self) -> Finish | None:
        """How the row ends; None if a retry may help."""
        return _FINISHES.get(self.meaning)


ACCOUNT = re.compile(
    r"\b(?:account|organi[sz]ation|project|api key|team|workspace|subscription|user)\b.{0,40}"
    r"(?:flagged|blocked|banned|suspended|disabled|violat|denied|not allowed|permission)",
    re.IGNORECASE,
)
"""Messages about the account that resemble moderation."""

NO_CREDIT = re.compile(
    r"insufficient[_ ](?:quota|balance|credits?|funds)|balance.{0,12}insufficient|positive balance|余额不足|欠费"
    r"|billing[_ ](?:hard[_ ]limit|not[_ ]active|inactive)|exceeded your monthly"
    r"|exceeded[_ ](?:your[_ ])?current[_ ]quota"
    r"|(?:no|out of|not enough|used all (?:available|your)|exhausted your|n['’]t have any) credits?"
    r"|credit[_ ](?:balance|limit)|payment required|monthly (?:spend|usage|budget)|spend(?:ing)? limit"
    r"|key limit exceeded|budget[_ ](?:has been )?exceeded|exceeded ?budget|over budget"
    r"|account.{0,20}(?:in arrears|overdue)|arrearage|quota[_ ]exhausted",
    re.IGNORECASE,
)
"""Messages of an account without credit, whatever the status."""

A_DAY = re.compile(r"per[ _-]?day|\bdaily\b|\b[rt]pd\b", re.IGNORECASE)
"""Messages of a limit that resets tomorrow."""

MODERATED = re.compile(
    r"content[_ ]?(?:filter|policy|management|moderation)|responsible[_ ]?ai|moderat|flagged|prohibited[_ ]content"
    r"|data_?inspection_?failed|inappropriate content|usage (?:guidelines|polic)|safety (?:system|filter|polic|check)"
    r"|unsafe content|sensitive content|prompt was (?:blocked|rejected)|blocked by (?:the )?(?:safety|guardrail)"
    r"|guardrail|\b1301\b",
    re.IGNORECASE,
)
"""Messages about one prompt, not about the account."""

TOO_LONG = re.compile(
    r"context[_ ]?(?:length|window|size|limit)|maximum context|prompt is too long"
    r"|(?:input|prompt|request) (?:\(?\d[\d,]* tokens\)? )?(?:is )?(?:longer than|too (?:long|large))"
    r"|string_above_max_length|too many (?:input )?tokens|(?:inputs?|prompt) tokens? \+ `?max_(?:new_)?tokens"
    r"|`?inputs`? (?:must have less|tokens)|(?:token count|(?:input|prompt) length).{0,40}exceeds|range of input length"
    r"|max_model_len|max_tokens must be at least 1, got -",
    re.IGNORECASE,
)

PER_MINUTE_SIZE = re.compile(r"request too large|too large for .{0,80}per min", re.IGNORECASE)
"""Messages of a single call above the whole minute's allowance: waiting does not help."""

LOADING = re.compile(
    r"(?:model|server|engine|weights?).{0,60}(?:is |are )(?:currently |still )?(?:loading|starting|initiali[sz]ing)"
    r"|loading (?:the )?(?:model|weights)|model .{0,60}not (?:yet )?(?:loaded|ready)|cold start|warming up"
    r"|still (?:loading|starting)",
    re.IGNORECASE,
)

BUSY = re.compile(
    r"overloaded|\bbusy\b|(?:no|at|insufficient) capacity|capacity[_ ](?:exceeded|exhausted)|pending requests"
    r"|queue is full|too many (?:concurrent )?requests|high (?:traffic|demand|load)\b",
    re.IGNORECASE,
)
"""Messages of a temporarily overloaded server."""

_STOPS = {401: "the key is wrong or missing", 402: "no credit"}
_RETRIED = {408, 409, 425, 498, 499}  # 498: Groq's flex tier has no room


def _address(location: str) -> str:
    """Return where a redirect leads, without its query and user."""
    with contextlib.suppress(ValueError):
        parts = urllib.parse.urlsplit(one_line(location, 300))
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}" if parts.netloc else parts.path
    return "an address that cannot be read"


def classify(status: int, headers: Mapping[str, str], body: bytes | object, wall: float) -> HttpError:
    """Classify a reply with a status other than 200 or an error in its body. `wall`: the Unix time."""
    message = read_error_message(body, wall)
    text = f"{message.code} {message.text}"
    cause = f"HTTP {status}: {message}"
    wait = retry_after(headers, wall)
    wait = message.wait if wait is None else wait

    def error(meaning: Meaning, why: str = "") -> HttpError:
        return HttpError(meaning, cause, why, wait, message.code.split()[0] if message.code else "")

    if status in _STOPS:
        return error("stop", _STOPS[status])
    if 300 <= status < 400:
        cause = f"HTTP {status} to {_address(headers.get('location', ''))}"
        return error("stop", "a redirect")
    if LOADING.search(text) and (status >= 500 or status in {404, 409, 425, 429}):
        return error("loading")
    if status == 429:
        if NO_CREDIT.search(message.code) or (wait is None and NO_CREDIT.search(message.text)):
            return error("stop", "no credit")
        if "perday" in message.code or (wait is None and A_DAY.search(text)):
            return error("stop", "the daily allowance is used up")
        return error("rejected" if PER_MINUTE_SIZE.search(text) else "busy")
    if status >= 500 or status in _RETRIED:
        if TOO_LONG.search(text):
            return error("too-long")  # llama.cpp
        return error("busy" if BUSY.search(text) else "retry")
    if status == 451 or (MODERATED.search(text) and not ACCOUNT.search(text)):
        return error("moderated")
    if NO_CREDIT.search(text):
        return error("stop", "no credit")
    return error("too-long" if TOO_LONG.search(text) and not PER_MINUTE_SIZE.search(text) else "rejected")
