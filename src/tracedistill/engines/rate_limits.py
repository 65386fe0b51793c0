"""Call rates: adaptive concurrency, rates from the server or the recipe, waits before retries."""

from __future__ import annotations

import datetime
import email.utils
import random
import re
import time
from collections.abc import Mapping

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_EPOCH = 1e9  # a larger number of seconds is no duration (31 years) but a date (from 2001 to 2096)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class Concurrency:
    """Number of concurrent calls: grows while it helps, shrinks when refused (AIMD). Times in seconds.

    It doubles after each full round of answers until the first refusal or until doubling no longer pays, then adds one
    per round. A refusal takes three tenths away, once for all calls that were sent before the last cut.
    """

    def __init__(self, start: int, maximum: int) -> None:
        self.maximum = max(1, maximum)
        self.limit = min(max(1, start), self.maximum)
        self._doubling = True
        self._cut_at = float("-inf")
        self._round_start: float | None = None
        self._answers = 0
        self._before: tuple[int, float] | None = None
        self._hold = 0

    def answered(self, sent: float, now: float) -> None:
        """Count one answer to a call sent at `sent`."""
        if self._round_start is None:
            self._round_start = sent
        self._answers += 1
        if self._answers < self.limit:
            return
        rate = self._answers / max(now - self._round_start, 1e-6)
        self._answers, self._round_start = 0, None
        self._grow(rate)

    def refused(self, sent: float, now: float) -> None:
        """Record that the server answered 429 to a call sent at `sent`."""
        if sent <= self._cut_at:
            return  # sent before the last cut: already handled
        self._cut_at = now
        self._doubling = False
        self.limit = max(1, int(self.limit * 0.7))
        self._answers, self._round_start, self._before = 0, None, None

    def _grow(self, rate: float) -> None:
        if self._hold > 0:
            self._hold -= 1
            return
        if self._before is not None and self.limit > self._before[0]:
            smaller, slower = self._before
            # growing pays if at least a quarter of the added calls turned into added rate
            if rate < slower * (1 + 0.25 * (self.limit / smaller - 1)):
                self.limit, self._before, self._doubling, self._hold = smaller, None, False, 10
                return
        if self.limit < self.maximum:
            # while one is added at a time, rates are compared over steps wide enough to exceed the noise
            if self._before is None or self._doubling or self.limit >= self._before[0] * 1.25:
                self._before = (self.limit, rate)
            self.limit = min(self.maximum, self.limit * 2 if self._doubling else self.limit + 1)


RATE_HEADERS = (
    ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests", "requests"),
    ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens", "tokens"),
    ("anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset", "requests"),
    ("anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset", "tokens"),
    ("x-ratelimit-remaining", "x-ratelimit-reset", "requests"),
    ("ratelimit-remaining", "ratelimit-reset", "requests"),
)
"""(header with the remainder, header with its reset time, unit): spellings of several servers."""


class Pace:
    """When the next call may be sent, by the recipe's rates per minute and the server's headers.

    Call `wait` before a call, `sent` after it, and `read_headers` with each reply's headers. Times in seconds.
    """

    def __init__(self, requests_per_minute: float | None = None, tokens_per_minute: float | None = None) -> None:
        self._requests = _Bucket(requests_per_minute)
        self._tokens = _Bucket(tokens_per_minute)
        self._paused_until = float("-inf")
        self._left: dict[str, tuple[float, float]] = {}

    def wait(self, tokens: int, now: float) -> float:
        """Return the seconds until a call of this many tokens may be sent; 0: now."""
        waits = (self.server_wait(tokens, now), self._requests.wait(1, now), self._tokens.wait(tokens, now))
        return max(0.0, *waits)

    def server_wait(self, tokens: int, now: float) -> float:
        """Return the seconds to wait by the server's limits, without the recipe's rates."""
        waits = [self._paused_until - now]
        for name, need in (("requests", 1), ("tokens", tokens)):
            left, reset = self._left.get(name, (float("inf"), now))
            if reset <= now:
                self._left.pop(name, None)
            elif left < need:
                waits.append(reset - now)
        return max(0.0, *waits)

    def sent(self, tokens: int, now: float) -> None:
        """Record a sent call with its expected tokens."""
        self._requests.take(1, now)
        self._tokens.take(tokens, now)
        for name, used in (("requests", 1), ("tokens", tokens)):
            if name in self._left:
                left, reset = self._left[name]
                self._left[name] = (left - used, reset)

    def corrected(self, expected: int, actual: int) -> None:
        """Correct the bucket by a call's actual tokens."""
        self._tokens.give(expected - actual)

    def pause(self, seconds: float, now: float) -> None:
        """Send nothing for this long (Retry-After)."""
        self._paused_until = max(self._paused_until, now + seconds)

    def read_headers(self, headers: Mapping[str, str], in_flight: int, now: float, wall: float = 0.0) -> None:
        """Read the remaining calls and tokens, and when they are reset.

        `in_flight`: calls that the server may not have counted yet. `wall`: the Unix time, for absolute resets.
        """
        for left_name, reset_name, name in RATE_HEADERS:
            left = _number(headers.get(left_name))
            if left is None:
                continue
            reset = seconds_of(headers.get(reset_name, ""), wall)
            if reset is None:
                continue
            left -= in_flight if name == "requests" else 0
            old = self._left.get(name)
            if old is not None and old[1] > now:
                left = min(left, old[0]) if old[1] >= now + reset else left
            self._left[name] = (left, now + reset)


class _Bucket:
    """A token bucket of at most a tenth of a minute's allowance, so that no minute exceeds it by more."""

    def __init__(self, per_minute: float | None) -> None:
        self.rate = per_minute / 60 if per_minute else None
        self.size = max(1.0, per_minute / 10) if per_minute else 0.0
        self.level = self.size
        self.at: float | None = None

    def wait(self, need: float, now: float) -> float:
        if self.rate is None:
            return 0.0
        if self.at is not None:
            self.level = min(self.size, self.level + (now - self.at) * self.rate)
        self.at = now
        # a call larger than the bucket is sent when the bucket is full, and leaves it in debt
        return max(0.0, (min(need, self.size) - self.level) / self.rate)

    def take(self, used: float, now: float) -> None:
        if self.rate is not None:
            self.wait(0, now)
            self.level -= used

    def give(self, back: float) -> None:
        if self.rate is not None:
            self.level = min(self.size, self.level + back)


def retry_after(headers: Mapping[str, str], wall: float) -> float | None:
    """Return the wait that a reply requests by `retry-after-ms` or `retry-after` (seconds or a date); None: no wait.

    `wall`: the Unix time, for dates.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return max(0.0, milliseconds / 1000)
    value = headers.get("retry-after")
    return None if value is None else seconds_of(value, wall)


def backoff(attempt: int, jitter: random.Random) -> float:
    """Return the seconds to wait after attempt number `attempt` (from 1): doubled each time, half of it random."""
    return min(60.0, 0.5 * 2.0 ** min(attempt - 1, 30)) * (0.5 + 0.5 * jitter.random())


def seconds_of(text: str, wall: float = 0.0) -> float | None:
    """Parse `1s`, `6m0s`, `12.5`, a Unix time in any unit, or a date as seconds from now; None for anything else.

    `wall`: the Unix time now.
    """
    text = text.strip()[:60]
    plain = _number(text)
    if plain is not None:
        for unit in (1.0, 1e3, 1e6, 1e9):  # as seconds, milliseconds, microseconds, nanoseconds since 1970
            if _EPOCH <= plain / unit < 4 * _EPOCH:
                return max(0.0, plain / unit - wall)
        return max(0.0, plain)
    parts = _DURATION.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        return sum(float(number) * _SECONDS[unit] for number, unit in parts)
    date = _date(text)
    return None if date is None else max(0.0, date - wall)


def until(seconds: float, wall: float) -> str:
    """Format a moment as `2026-12-01 09:30 (in 16 h 20 min)`, on this machine's clock."""
    minutes = max(1, round(seconds / 60))
    hours, minutes = divmod(minutes, 60)
    far = f"{hours} h {minutes} min" if hours else f"{minutes} min"
    try:
        return f"{time.strftime('%Y-%m-%d %H:%M', time.localtime(wall + seconds))} (in {far})"
    except (OverflowError, ValueError, OSError):
        return f"in {far}"


def _date(text: str) -> float | None:
    """Parse a date of HTTP headers or ISO 8601 as Unix time."""
    try:
        if text[:4].isdigit():
            moment = datetime.datetime.fromisoformat(text)
            return moment.replace(tzinfo=moment.tzinfo or datetime.UTC).timestamp()
        return email.utils.parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else None
    except ValueError:
        return None
    return value if value is None or -1e20 < value < 1e20 else None
