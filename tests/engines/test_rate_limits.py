import random

import pytest

from tracedistill.engines.rate_limits import Concurrency, Pace, backoff, retry_after, seconds_of


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *[("1s", 1), ("6m0s", 360), ("20ms", 0.02), ("1h2m3s", 3723), ("12.5", 12.5), ("1.5s", 1.5), ("0", 0)],
        *[("", None), ("soon", None), ("1s later", None), ("nan", None), ("inf", None), ("1x", None)],
    ],
)
def test_seconds_of(text, seconds):
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": "600"}, 600),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "Thu, 01 Jan 1970 00:16:50 GMT"}, 10),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0),
        ({"retry-after": "in a while"}, None),
        ({"retry-after": "-3"}, 0),
    ],
)
def test_retry_after(headers, seconds):
    assert retry_after(headers, 1000.0) == seconds


def test_backoff_doubles_with_jitter_and_is_bounded():
    draw = random.Random(1)
    waits = [[backoff(attempt, draw) for _ in range(200)] for attempt in range(1, 12)]
    for attempt, drawn in enumerate(waits):
        full = min(60, 0.5 * 2**attempt)
        assert full / 2 <= min(drawn) <= max(drawn) <= full
        assert max(drawn) - min(drawn) > full / 4
    assert backoff(10**6, draw) <= 60


def rounds(concurrency, count, rate, now=0.0):
    """Play full rounds against a server whose answers per second are a function of the concurrency."""
    for _ in range(count):
        size = concurrency.limit
        sent, now = now, now + size / rate(size)
        for _ in range(size):
            concurrency.answered(sent, now)
    return now


def test_concurrency_grows_to_the_maximum_while_it_helps():
    concurrency = Concurrency(4, 64)
    rounds(concurrency, 5, lambda size: size / 0.2)
    assert concurrency.limit == 64


def test_concurrency_stops_growing_where_it_does_not_help():
    concurrency = Concurrency(4, 256)
    rounds(concurrency, 200, lambda size: min(size, 20) / 0.2)
    assert 16 <= concurrency.limit <= 48


def test_concurrency_shrinks_once_for_calls_of_one_burst_and_grows_back_slowly():
    concurrency = Concurrency(40, 64)
    for _ in range(40):
        concurrency.refused(sent=0.0, now=1.0)
    assert concurrency.limit == 28
    concurrency.refused(sent=1.5, now=2.0)
    assert concurrency.limit == 19
    rounds(concurrency, 3, lambda size: size / 0.2, now=3.0)
    assert 19 < concurrency.limit <= 22
    for moment in range(100):
        concurrency.refused(10.0 + moment, 10.5 + moment)
    assert concurrency.limit == 1


def test_pace_keeps_requests_per_minute():
    pace, now, sent = Pace(requests_per_minute=60), 0.0, []
    while len(sent) < 200:
        wait = pace.wait(1, now)
        if wait:
            now += wait
            continue
        pace.sent(1, now)
        sent.append(now)
    in_first_minute = sum(moment < 60 for moment in sent)
    assert 60 <= in_first_minute <= 67
    assert sent[-1] == pytest.approx(194, abs=2)


def test_pace_keeps_tokens_per_minute_also_for_calls_above_the_bucket():
    pace, now, sent = Pace(tokens_per_minute=1000), 0.0, 0
    while now < 600:
        wait = pace.wait(400, now)
        if wait:
            now += max(wait, 1e-6)
            continue
        pace.sent(400, now)
        sent += 400
    assert sent <= 1000 * 10 + 1000
    assert sent >= 1000 * 9


def test_pace_gives_back_what_was_not_used():
    pace = Pace(tokens_per_minute=600)
    pace.sent(60, 0.0)
    assert pace.wait(60, 0.0) == pytest.approx(6)
    pace.corrected(60, 10)
    assert pace.wait(50, 0.0) == pytest.approx(0)


def test_pace_obeys_what_the_server_tells():
    pace = Pace()
    assert pace.wait(10**9, 0.0) == 0
    pace.read_headers(
        {"x-ratelimit-remaining-requests": "2", "x-ratelimit-reset-requests": "30s"}, in_flight=0, now=0.0
    )
    for _ in range(2):
        assert pace.wait(1, 0.0) == 0
        pace.sent(1, 0.0)
    assert pace.wait(1, 0.0) == 30
    assert pace.wait(1, 30.5) == 0
    pace.read_headers(
        {"x-ratelimit-remaining-tokens": "100", "x-ratelimit-reset-tokens": "6m0s"}, in_flight=3, now=40.0
    )
    assert pace.wait(100, 40.0) == 0
    assert pace.wait(101, 40.0) == 360
    pace.read_headers(
        {"x-ratelimit-remaining-requests": "lots", "x-ratelimit-reset-requests": "?"}, in_flight=0, now=500.0
    )
    assert pace.wait(1, 500.0) == 0


def test_pause_is_the_longest_asked():
    pace = Pace()
    pace.pause(600, 0.0)
    pace.pause(5, 1.0)
    assert pace.wait(1, 2.0) == 598
