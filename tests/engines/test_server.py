import json
import logging
import re
import time

import httpx2
import pytest

from tests.engines.server_kit import (
    KEY,
    Endpoint,
    JumpingLoop,
    ask,
    completion,
    counts,
    engine_at,
    failure,
    fast_platform,
    many,
)
from tracedistill.engines import Sampling
from tracedistill.engines.budget import Budget, Prices
from tracedistill.engines.cache import GenerationCache
from tracedistill.engines.calls import Pacing, StopRunError
from tracedistill.engines.client import generate
from tracedistill.errors import InputError

SLOW = Pacing(concurrency=1, start=1)


@pytest.fixture(autouse=True)
def _platform(monkeypatch):
    fast_platform(monkeypatch)


def run(endpoint, requests=None, **options):
    fields = {name: options.pop(name) for name in ("pacing", "environment", "key_env", "dialect") if name in options}
    engine = endpoint.engine(**fields)
    requests = [ask(1)] if requests is None else requests
    return list(generate(requests, engine, loop_factory=JumpingLoop, **options))


@pytest.mark.parametrize(
    ("first", "seconds"),
    [
        (failure(429, headers={"retry-after": "300"}), 300),
        (failure(429, headers={"retry-after": "1800"}), 1800),
        (failure(429, headers={"retry-after-ms": "2500"}), 2.5),
        (failure(503, headers={"retry-after": "200"}), 200),
        (failure(429), 0.25),
        (failure(500), 0.25),
        (failure(408), 0.25),
        (failure(409), 0.25),
        (httpx2.ConnectError("refused"), 0.25),
        (httpx2.ReadError("reset"), 0.25),
        (httpx2.RemoteProtocolError("gone"), 0.25),
        (httpx2.ReadTimeout("slow"), 0.25),
        (httpx2.ConnectTimeout("slow"), 0.25),
        (b'{"choices": [{"mess', 0.25),
        (completion(""), 0.25),
    ],
)
def test_what_passes_is_tried_again_after_the_time_asked(first, seconds):
    endpoint = Endpoint(first, completion("fine"))
    (answer,) = run(endpoint)
    assert (answer.text, answer.finish) == ("fine", "stop")
    assert seconds <= endpoint.times[1] - endpoint.times[0] <= seconds + 1


@pytest.mark.parametrize(
    ("always", "cause"),
    [
        (httpx2.ReadError("reset by peer"), "connection lost: reset by peer"),
        (httpx2.ReadTimeout("slow"), "time-out"),
        (b'{"choices": [{"mess', "not JSON"),
        ({"choices": []}, "no message"),
    ],
)
def test_what_does_not_pass_is_a_counted_failure_with_its_cause(always, cause):
    endpoint = Endpoint(always)
    (answer,) = run(endpoint)
    assert (answer.finish, answer.text) == ("error", "")
    assert re.search(cause, answer.error)
    assert len(endpoint.times) == 6
    gaps = [later - earlier for earlier, later in zip(endpoint.times, endpoint.times[1:], strict=False)]
    assert all(0.25 * 2**n <= gap <= 0.5 * 2**n + 0.2 for n, gap in enumerate(gaps))


def test_an_empty_answer_at_temperature_0_is_paid_twice_and_not_six_times():
    endpoint = Endpoint(completion(""))
    (answer,) = run(endpoint)
    assert (answer.finish, answer.error) == ("error", "empty content (2 attempts)")
    assert len(endpoint.times) == 2
    endpoint = Endpoint(completion(""))
    run(endpoint, [ask(1, sampling=Sampling(64, temperature=0.7))])
    assert len(endpoint.times) == 6


def test_what_costs_nothing_is_tried_for_two_minutes_before_it_fails():
    endpoint = Endpoint(failure(500, message="upstream died"))
    (answer,) = run(endpoint)
    assert re.fullmatch(r"HTTP 500: upstream died \(\d+ attempts\)", answer.error)
    assert 120 <= endpoint.times[-1] - endpoint.times[0] <= 200


@pytest.mark.parametrize(
    ("reply", "finish"),
    [
        (failure(400, "bad_request"), "error"),
        (failure(422), "error"),
        (failure(413), "error"),
        (failure(400, "context_length_exceeded"), "too-long"),
    ],
)
def test_a_bad_request_is_one_call_and_a_counted_failure_of_its_row(reply, finish):
    endpoint = Endpoint(lambda body: reply if "Problem 1 " in str(body) else completion())
    answers = {answer.request_id: answer for answer in run(endpoint, list(many(4)))}
    assert answers["r1"].finish == finish
    assert answers["r1"].error.startswith("HTTP 4")
    assert [answers[f"r{i}"].finish for i in (0, 2, 3)] == ["stop"] * 3
    assert len(endpoint.times) == 4


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (failure(401, "invalid_api_key"), "key is wrong"),
        (failure(402), "no credit"),
        (failure(429, "insufficient_quota"), "no credit"),
        ((307, {}, {}), "a redirect"),
    ],
)
def test_what_no_call_can_survive_stops_the_run(reply, words, tmp_path):
    endpoint = Endpoint(reply)
    with GenerationCache(tmp_path / "c.db") as cache:
        with pytest.raises(StopRunError, match=words):
            run(endpoint, many(100_000), cache=cache, pacing=Pacing(concurrency=4, start=4))
        assert len(endpoint.times) <= 4
        assert counts(cache) == {}
        assert len(run(Endpoint(completion()), many(5), cache=cache)) == 5


def test_finished_rows_come_before_the_stop():
    endpoint = Endpoint(*[completion()] * 3, failure(401))
    got = []
    with pytest.raises(StopRunError):
        answers = generate(many(9), endpoint.engine(pacing=SLOW), loop_factory=JumpingLoop)
        got.extend(answer.request_id for answer in answers)
    assert got == ["r0", "r1", "r2"]


def test_no_server_at_all_stops_the_run_and_fails_no_row(tmp_path):
    with GenerationCache(tmp_path / "c.db") as cache:
        with pytest.raises(StopRunError, match="base_url"):
            run(Endpoint(httpx2.ConnectError("refused")), many(100), cache=cache, pacing=Pacing(attempts=3))
        assert counts(cache) == {}


@pytest.mark.parametrize("concurrency", [1, 64])
def test_an_outage_stops_the_run_and_fails_no_row(tmp_path, concurrency):
    with GenerationCache(tmp_path / "c.db") as cache:
        with pytest.raises(StopRunError, match=r"none was answered, with the same error: HTTP 500: no .*run the same"):
            run(Endpoint(failure(500)), many(1000), cache=cache, pacing=Pacing(concurrency, concurrency, attempts=2))
        assert counts(cache) == {}
        again = run(Endpoint(completion()), many(30), cache=cache)
        assert [answer.finish for answer in again] == ["stop"] * 30


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (failure(403, message="no permission"), "no permission"),
        (failure(404, "model_not_found", message="no model"), "no model .model_not_found.; check `model`"),
        (failure(400, message="'temperature' is not supported"), r"omit: \[temperature"),
        (failure(400, message="Unsupported parameter: use 'max_completion_tokens'"), "max_tokens_field: max_comp"),
        (failure(400, message="maximum context length is 10 tokens"), "lower max_tokens"),
        (completion("half", finish_reason=None), "finish_reason: none at all"),
        (completion(""), "raise max_tokens"),
    ],
)
@pytest.mark.parametrize("concurrency", [1, 16])
def test_equal_refusals_without_one_answer_stop_the_run(reply, words, concurrency, tmp_path):
    endpoint = Endpoint(reply)
    with GenerationCache(tmp_path / "c.db") as cache:
        with pytest.raises(StopRunError, match=words):
            run(endpoint, many(100_000), cache=cache, pacing=Pacing(concurrency, concurrency))
        assert len(endpoint.times) <= 6 * (8 + concurrency)
        assert counts(cache) == {}, "no row is at fault"
        assert len(run(Endpoint(completion()), many(5), cache=cache)) == 5, "nor claimed"


def test_equal_refusals_of_a_few_rows_are_theirs():
    """Nine rows that the server does not like, among others that it answers, do not end a study."""
    endpoint = Endpoint(lambda body: failure(400) if re.search(r"Problem \d ", str(body)) else completion())
    answers = {answer.request_id: answer.finish for answer in run(endpoint, list(many(60)), pacing=Pacing(60, 60))}
    assert answers == {f"r{n}": "error" if n < 10 else "stop" for n in range(60)}
    assert len(endpoint.times) == 60


def test_a_decision_waits_for_the_calls_in_flight():
    """Refusals come fast, answers slowly: eight of them at the beginning prove nothing."""
    import asyncio

    class Slow(Endpoint):
        async def __call__(self, request):
            response = await super().__call__(request)
            if response.status_code == 200:
                await asyncio.sleep(30)
            return response

    endpoint = Slow(lambda body: failure(400) if re.search(r"Problem \d ", str(body)) else completion())
    answers = run(endpoint, list(many(14)), pacing=Pacing(12, 12))
    assert sorted(answer.finish for answer in answers) == ["error"] * 10 + ["stop"] * 4


def test_one_moderated_prompt_after_another_ends_no_study():
    reply = (403, {}, {"error": {"message": "Your input was flagged"}})
    answers = run(Endpoint(reply), list(many(30)), pacing=SLOW)
    assert [answer.finish for answer in answers] == ["refusal"] * 30


def test_a_model_that_loads_for_a_minute_fails_no_row():
    loading = failure(503, "unavailable_error", message="Loading model")
    endpoint = Endpoint(lambda body: loading if endpoint.times[-1] - endpoint.times[0] < 60 else completion())
    seen = set()
    answers = run(endpoint, list(many(40)), pacing=Pacing(32, 32), on_progress=lambda s: seen.add(s.waiting))
    assert [answer.finish for answer in answers] == ["stop"] * 40
    assert "the server is loading its model" in seen


def test_a_gateway_that_is_down_for_a_minute_fails_no_row():
    down = (502, {}, {})
    endpoint = Endpoint(lambda body: down if endpoint.times[-1] - endpoint.times[0] < 60 else completion())
    answers = run(endpoint, list(many(40)), pacing=Pacing(32, 32))
    assert [answer.finish for answer in answers] == ["stop"] * 40


def test_an_endless_retry_after_stops_the_run_and_says_until_when():
    with pytest.raises(StopRunError, match=r"all requests until 20\d\d-\d\d-\d\d \d\d:\d\d \(in 24 h 0 min\)"):
        run(Endpoint(failure(429, headers={"retry-after": "86400"})))


@pytest.mark.parametrize("reset", ["23h59m", "86340", "unix seconds", "unix milliseconds"])
def test_a_rate_limit_that_ends_tomorrow_stops_the_run_and_says_until_when(reset):
    tomorrow = time.time() + 86340
    reset = {"unix seconds": f"{tomorrow:.0f}", "unix milliseconds": f"{tomorrow * 1000:.0f}"}.get(reset, reset)
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": reset}
    got = []
    with pytest.raises(StopRunError, match=r"until .* \(in 23 h 5\d min\)"):
        got.extend(
            generate(many(3), Endpoint((200, headers, completion())).engine(pacing=SLOW), loop_factory=JumpingLoop)
        )


def test_refusals_without_an_answer_end_the_run_after_the_patience(tmp_path):
    with GenerationCache(tmp_path / "c.db") as cache:
        with pytest.raises(StopRunError, match="no answer for 2 minutes: HTTP 429: no"):
            run(Endpoint(failure(429)), many(30), cache=cache, pacing=Pacing(patience=100.0))
        assert counts(cache) == {}


def test_a_row_that_is_refused_while_others_are_answered_is_a_counted_failure():
    endpoint = Endpoint(lambda body: failure(429) if "Problem 0 " in str(body) else completion())
    pacing = Pacing(4, 4, requests_per_minute=60, patience=60.0)
    answers = {answer.request_id: answer for answer in run(endpoint, list(many(150)), pacing=pacing)}
    assert "refused for" in answers["r0"].error
    assert {answer.finish for name, answer in answers.items() if name != "r0"} == {"stop"}


def test_time_out_of_a_whole_call_is_ours():
    import asyncio

    class Hanging(Endpoint):
        async def __call__(self, request):
            self.times.append(asyncio.get_running_loop().time())
            await asyncio.sleep(10_000)
            raise AssertionError

    endpoint = Hanging(completion())
    engine = endpoint.engine(timeout=50.0, pacing=Pacing(attempts=2))
    (answer,) = generate([ask(1)], engine, loop_factory=JumpingLoop)
    assert answer.error == "time-out after 50 s (2 attempts)"
    assert endpoint.times[1] - endpoint.times[0] == pytest.approx(50.4, abs=0.5)


def test_rates_of_the_recipe_are_kept():
    endpoint = Endpoint(completion())
    run(endpoint, many(40), pacing=Pacing(requests_per_minute=60))
    assert endpoint.times[-1] - endpoint.times[0] == pytest.approx(34, abs=3)
    assert sum(moment < endpoint.times[0] + 10 for moment in endpoint.times) <= 17


def test_rates_that_the_server_tells_are_kept():
    headers = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "45s"}
    endpoint = Endpoint((200, headers, completion()), completion())
    run(endpoint, many(3), pacing=SLOW)
    assert endpoint.times[1] - endpoint.times[0] == pytest.approx(45, abs=1)


def test_budget_stops_before_it_is_exceeded(tmp_path):
    prices = Prices(1000.0, 1000.0)  # 15 tokens of the mock are 0.015 usd; the worst case of a call is about 0.13
    for budget, most in [
        (Budget(calls=7), 7),
        (Budget(tokens=600), 40),
        (Budget(usd=0.6), 40),
    ]:
        endpoint = Endpoint(completion())
        engine = endpoint.engine(prices=prices, pacing=Pacing(concurrency=4, start=4))
        got = []
        with pytest.raises(InputError, match="budget"):
            got.extend(generate(many(1000), engine, budget=budget, loop_factory=JumpingLoop))
        assert len(got) == len(endpoint.times)
        assert len(got) * 15 <= 600
        assert 7 <= len(got) <= most
        assert all(answer.finish == "stop" for answer in got)


def test_budget_of_a_scope_counts_earlier_runs(tmp_path):
    with GenerationCache(tmp_path / "c.db") as cache:
        for limit in (5, 8, 8):
            endpoint = Endpoint(completion())
            with pytest.raises(InputError, match="budget"):
                list(generate(many(20), endpoint.engine(), cache, Budget(calls=limit, scope="study")))
        assert counts(cache) == {"stop": 8}
        assert cache.balance("study").spent.calls == 8


def test_budget_counts_calls_without_an_answer_at_their_worst(tmp_path):
    endpoint = Endpoint(httpx2.ReadTimeout("slow"))
    with pytest.raises(InputError, match="3 of 3 calls"):
        run(endpoint, budget=Budget(calls=3))
    assert len(endpoint.times) == 3
    endpoint = Endpoint(failure(500), failure(429), completion())
    (answer,) = run(endpoint, budget=Budget(calls=1))
    assert answer.finish == "stop"


def test_budget_in_usd_needs_prices():
    with pytest.raises(InputError, match="prices"):
        run(Endpoint(completion()), budget=Budget(usd=1.0))


def test_key_travels_in_the_header_alone(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    echo = failure(400, message=f"Incorrect key {KEY}!")
    endpoint = Endpoint(lambda body: echo if "Problem 1 " in str(body) else completion())
    engine = endpoint.engine(key_env="TEACHER_KEY", environment={"TEACHER_KEY": KEY})
    seen = []
    with GenerationCache(tmp_path / "c.db") as cache:
        answers = list(generate(many(5), engine, cache, on_progress=lambda figures: seen.append(vars(figures))))
        (failed,) = [answer for answer in answers if answer.finish == "error"]
        assert failed.error == "HTTP 400: Incorrect key [key]!"
        assert all(headers["authorization"] == f"Bearer {KEY}" for headers in endpoint.headers)
    stopping = Endpoint(failure(401, message=f"no {KEY}")).engine(key_env="K", environment={"K": KEY})
    with pytest.raises(StopRunError) as caught:
        list(generate(many(1), stopping))
    told = f"{caught.value} {answers} {seen} {engine.describe()} {engine.config} {caplog.text}"
    assert KEY not in told
    for path in tmp_path.rglob("*"):
        assert KEY.encode() not in path.read_bytes()


def test_no_key_of_the_environment_goes_to_an_endpoint_without_one(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    endpoint = Endpoint(completion())
    run(endpoint)
    assert KEY not in str(endpoint.headers)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"key_env": "NOT_SET_ANYWHERE"}, "NOT_SET_ANYWHERE is not set"),
        ({"key_env": KEY}, "NAME, not the key"),
        ({"extra": {"n": 3}}, "n cannot be set"),
        ({"extra": {"api_key": "x"}}, "secret"),
    ],
)
def test_unusable_settings_are_refused(fields, words):
    with pytest.raises(InputError, match=words) as caught:
        engine_at("http://127.0.0.1:9/v1", **fields)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("url", ["api.openai.com/v1", "http://me:pw@host/v1", "http://host/v1?key=1", "ftp://host"])
def test_unusable_urls_are_refused(url):
    with pytest.raises(InputError, match="base_url"):
        engine_at(url)


def test_a_request_that_cannot_be_sent_is_a_counted_failure():
    answers = run(Endpoint(completion()), [ask(1, prefill="Step 1:"), ask(2)])
    assert {answer.request_id: answer.finish for answer in answers} == {"r1": "error", "r2": "stop"}


def test_any_text_is_sent(tmp_path):
    endpoint = Endpoint(completion("fine \ud800"))
    (answer,) = run(endpoint, [ask(1, "nul \0, lone \ud800")])
    assert answer.text == "fine \ud800"
    assert endpoint.bodies[0]["messages"][0]["content"] == "Problem 1 nul \0, lone \ud800"


def test_description_holds_what_shapes_the_answer():
    engine = Endpoint(completion()).engine(extra={"top_k": 1})
    described = json.dumps(engine.describe(), sort_keys=True)
    for word in ("127.0.0.1:9/v1", "stub", "top_k", "split_think", "prefill"):
        assert word in described
    faster = Endpoint(completion()).engine(extra={"top_k": 1}, pacing=Pacing(concurrency=3), prices=Prices(1, 1))
    assert faster.describe() == engine.describe()
    moved = engine_at("http://node7:8000/v1", endpoint="our vllm")
    assert moved.describe() == engine_at("http://node8:8000/v1", endpoint="our vllm").describe()


def test_engine_protocol_without_a_cache():
    answers = list(Endpoint(completion()).engine().generate([ask(1), ask(2, sampling=Sampling(max_tokens=5))]))
    assert {answer.request_id for answer in answers} == {"r1", "r2"}


def test_the_words_of_a_server_that_says_detail():
    """FastAPI's way (transformers serve, vLLM): the client library drops them, and the key may stand in them."""
    said = {"detail": f"Unexpected fields in the request: {{'top_k'}} {KEY}"}
    engine = Endpoint((422, {}, said)).engine(key_env="TEACHER_KEY", environment={"TEACHER_KEY": KEY})
    (answer,) = generate([ask(0)], engine)
    assert answer.finish == "error"
    assert answer.error == "HTTP 422: Unexpected fields in the request: {'top_k'} [key]"
