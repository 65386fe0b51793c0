"""What servers send and what must come of it: one line a case in tests/cases/server_replies.jsonl, on both routes."""

from __future__ import annotations

import asyncio
import json
import random
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.engines.server_kit import KEY, ask, completion, fast_platform
from tracedistill.engines import Sampling
from tracedistill.engines.batch_files import outcome_of_line
from tracedistill.engines.calls import CallOutcome, StopRunError
from tracedistill.engines.error_messages import gist
from tracedistill.engines.remedies import remedy_of
from tracedistill.engines.server import ServerConfig, ServerEngine
from tracedistill.engines.usage import TokenUsage

CASES = Path(__file__).parents[1] / "cases" / "server_replies.jsonl"
NOW = 1_800_000_000.0  # 15 January 2027, 08:00 UTC
FIELDS = {
    "from", "status", "headers", "body", "text_body", "content", "message", "finish", "native", "temperature",
    "usage", "comes", "text", "thinking", "says", "wait", "billed", "used",
}  # fmt: skip
FINISHES = {"answer": "stop", "cut-off": "length", "refusal": "refusal", "too-long": "too-long", "refused": "error"}
"""What comes of a case -> the finish of its row; the other words mean that the row is not over."""


def cases() -> list[dict[str, Any]]:
    return [json.loads(line) for line in CASES.read_text(encoding="utf-8").splitlines()]


def name(case: dict[str, Any]) -> str:
    return f"{case['from']}: {case['comes']}"


def data_of(case: dict[str, Any]) -> bytes:
    """The body that the server sends."""
    if "text_body" in case:
        return case["text_body"].replace("@5000@", "9" * 5000).encode()
    if "body" in case:
        return json.dumps(case["body"]).encode()
    choice = {"message": {"role": "assistant", "content": case.get("content"), **case.get("message", {})}}
    choice["finish_reason"] = case["finish"]
    if "native" in case:
        choice["native_finish_reason"] = case["native"]
    usage = {"usage": case["usage"]} if "usage" in case else {}
    return json.dumps({**completion(**usage), "choices": [choice]}).encode()


def request_of(case: dict[str, Any]) -> Any:
    return ask(1, sampling=Sampling(64, case.get("temperature", 0.0)))


def engine_for(status: int, headers: dict[str, str], data: bytes, key: str = "") -> ServerEngine:
    async def handle(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(status, headers=headers, content=data)

    config = ServerConfig("http://127.0.0.1:9/v1", "stub", key_env="K" if key else "")
    return ServerEngine(config, transport=httpx2.MockTransport(handle), environment={"K": key})


def outcome_of(engine: ServerEngine, request: Any) -> CallOutcome:
    async def call() -> CallOutcome:
        async with engine.session():
            return await engine.attempt(request)

    return asyncio.run(call())


def came_of(outcome: CallOutcome) -> str:
    """The word of the table for an outcome."""
    if outcome.generation is not None:
        finish = outcome.generation.finish
        return next(word for word, each in FINISHES.items() if each == finish)
    if outcome.refused or outcome.loading:
        return "wait" if outcome.refused else "loading"
    return "once-more" if outcome.repeats else "again"


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    fast_platform(monkeypatch)
    monkeypatch.setattr(time, "time", lambda: NOW)


@pytest.mark.parametrize("case", cases(), ids=name)
def test_what_comes_of_a_servers_reply(case: dict[str, Any]) -> None:
    assert set(case) <= FIELDS
    engine = engine_for(case.get("status", 200), case.get("headers", {}), data_of(case))
    if case["comes"] == "stop":
        with pytest.raises(StopRunError) as caught:
            outcome_of(engine, request_of(case))
        assert case.get("says", "") in str(caught.value)
        return
    outcome = outcome_of(engine, request_of(case))
    assert came_of(outcome) == case["comes"], outcome
    generation = outcome.generation
    assert case.get("says", "") in (generation.error if generation is not None else outcome.cause)
    if "text" in case:
        assert generation is not None
        assert generation.text == case["text"]
    if generation is not None:
        assert generation.reasoning == case.get("thinking")
        # a refusal by status may be the row's or the run's, unless it is about the prompt alone
        assert bool(outcome.suspect) == (case["comes"] in {"refused", "too-long"})
    if "wait" in case:
        assert outcome.wait == pytest.approx(case["wait"])
    if "billed" in case:
        assert outcome.billed == case["billed"]
    if "used" in case:
        assert outcome.usage == (None if case["used"] is None else TokenUsage(*case["used"]))


@pytest.mark.parametrize("case", [case for case in cases() if "text_body" not in case], ids=name)
def test_the_same_comes_of_it_in_a_batch(case: dict[str, Any]) -> None:
    body = json.loads(data_of(case))
    line = {"response": {"status_code": case.get("status", 200), "body": body}}
    outcome = outcome_of_line(engine_for(200, {}, b""), line, request_of(case))
    finish = FINISHES.get(case["comes"])
    if finish is None:
        assert outcome.generation is None, "a row that is sent again, in another batch"
        assert case["comes"] == "stop" or case.get("says", "") in outcome.cause
        return
    read = outcome.generation
    assert read is not None
    assert (read.finish, read.reasoning) == (finish, case.get("thinking"))
    assert case.get("text", read.text) == read.text


def test_the_table_is_large_and_its_lines_differ() -> None:
    lines = [json.dumps(case, sort_keys=True) for case in cases()]
    assert len(lines) == len(set(lines)) >= 80
    assert {case["comes"] for case in cases()} == {*FINISHES, "again", "once-more", "wait", "loading", "stop"}


def quoting(case: dict[str, Any]) -> dict[str, Any]:
    """The case by a server that puts the key behind the words that the case looks for."""
    quoted = json.dumps({**case, "from": ""})
    for word in (case.get("says", ""), case.get("text", ""), case.get("thinking", "")):
        plain = json.dumps(word)[1:-1]
        if len(plain) > 2:
            quoted = quoted.replace(plain, f"{plain} {KEY}")
    return json.loads(quoted)


@pytest.mark.parametrize("case", [case for case in cases() if KEY in str(quoting(case))], ids=name)
def test_no_reply_lets_the_key_through(case: dict[str, Any]) -> None:
    engine = engine_for(case.get("status", 200), case.get("headers", {}), data_of(quoting(case)), KEY)
    try:
        told = str(outcome_of(engine, request_of(case)))
    except StopRunError as error:
        told = str(error)
    assert KEY not in told
    assert KEY[:12] not in told


@pytest.mark.parametrize(
    "unit",
    ["<script", "<head>", "<!--", "<", "<title>", "try again in ", "retry 1", "model ", "insufficient ", "account ",
     "{", '"', "'" * 3, "9", "9s", " ", "too large for ", "loading ", '{"error":', "[", "&#", "%41", "\\", "\\u0041",
     "max_tokens "],
)  # fmt: skip
@pytest.mark.parametrize("status", [200, 403, 429, 503])
def test_words_of_hostile_length_take_no_time(unit: str, status: int) -> None:
    """A megabyte of what the patterns for servers' words look for, in a text and in a message."""
    text = unit * (1_000_000 // len(unit))
    engine = engine_for(status, {}, b"", KEY)
    start = time.process_time()
    for body in (text.encode(), json.dumps({"error": {"message": text, "code": text[:80]}}).encode()):
        remedy_of(gist(engine.read_error(status, {"retry-after": text[:5000]}, body).cause))
    assert time.process_time() - start < 2


def test_whatever_shape_a_body_has_it_is_read_or_refused() -> None:
    """Bodies of the table with parts left out, doubled and exchanged, by a server that quotes the key."""
    draw = random.Random(7)
    bodies = [json.loads(data_of(case)) for case in cases() if "text_body" not in case]
    atoms = [None, True, 0, -1, 1.5, "", KEY, [], {}, [[]], "9" * 30, "\ud800", "1e400", "\0", 10**400]

    def changed(value: Any) -> Any:
        if draw.random() < 0.08:
            return draw.choice(atoms)
        if isinstance(value, dict):
            return {
                name if draw.random() > 0.05 else draw.choice(["error", "message", "code"]): changed(inner)
                for name, inner in value.items()
                if draw.random() > 0.04
            }
        return [changed(inner) for inner in value if draw.random() > 0.04] if isinstance(value, list) else value

    engine = engine_for(200, {}, b"", KEY)
    for _ in range(5_000):
        body, status = changed(draw.choice(bodies)), draw.choice([200, 400, 403, 404, 429, 500, "x", None])
        outcome = outcome_of_line(engine, {"response": {"status_code": status, "body": body}}, ask(1))
        assert KEY not in f"{outcome.generation} {outcome.cause}"
