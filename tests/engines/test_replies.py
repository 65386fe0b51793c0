import json

import pytest

from tests.engines.server_kit import ask, completion
from tracedistill.engines import Sampling
from tracedistill.engines.replies import Dialect, UnusableReplyError, read_reply, request_body
from tracedistill.engines.usage import TokenUsage as Usage

REQUEST = ask(1)


@pytest.mark.parametrize(
    ("body", "text", "reasoning", "finish"),
    [
        (completion("a"), "a", None, "stop"),
        (completion("a", finish_reason="eos"), "a", None, "stop"),
        (completion("a", finish_reason="length"), "a", None, "length"),
        (completion("", finish_reason="length"), "", None, "length"),
        (completion("a", finish_reason="content_filter"), "a", None, "refusal"),
        (completion(None, finish_reason="content_filter"), "", None, "refusal"),
        (completion(None, message={"refusal": "I cannot."}), "I cannot.", None, "refusal"),
        (completion("<think>t\nu</think>\n\na"), "a", "t\nu", "stop"),
        (completion("t</think> a"), "a", "t", "stop"),
        (completion("<think>never ends", finish_reason="length"), "", "never ends", "length"),
        (completion("a", message={"reasoning_content": "r"}), "a", "r", "stop"),
        (completion("<think>x</think>a", message={"reasoning_content": "r"}), "a", "r\n\nx", "stop"),
        (completion("a", message={"reasoning": "r"}), "a", "r", "stop"),
        (completion([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]), "ab", None, "stop"),
        (completion("nul \0 and \ud800"), "nul \0 and \ud800", None, "stop"),
    ],
)
def test_a_usable_reply(body, text, reasoning, finish):
    reply, usage = read_reply(json.dumps(body).encode(), REQUEST)
    assert (reply.text, reply.reasoning, reply.finish) == (text, reasoning, finish)
    assert (reply.tokens_in, reply.tokens_out, usage) == (10, 5, Usage(10, 5))


@pytest.mark.parametrize(
    ("data", "cause", "usage"),
    [
        (b"", "not JSON", None),
        (json.dumps(completion("a")).encode()[:40], "not JSON", None),
        (b"\xff\xfe", "not JSON", None),
        (b"[" * 100_000, "not JSON", None),
        (b"null", "no message", None),
        (b"[]", "no message", None),
        (b'"text"', "no message", None),
        (b'{"choices": []}', "no message", None),
        (b'{"choices": [{"message": "a"}]}', "no message", None),
        (b'{"choices": [{"message": {"content": 5}}]}', "no message", None),
        (b'{"error": {"message": "engine died"}}', "engine died", None),
        (json.dumps(completion("")).encode(), "empty content", Usage(10, 5)),
        (json.dumps(completion(" \n")).encode(), "empty content", Usage(10, 5)),
        (json.dumps(completion(None)).encode(), "empty content", Usage(10, 5)),
        (json.dumps(completion("<think>all of it</think>")).encode(), "empty content", Usage(10, 5)),
    ],
)
def test_an_unusable_reply_says_why_and_what_it_cost(data, cause, usage):
    with pytest.raises(UnusableReplyError, match=cause) as caught:
        read_reply(data, REQUEST)
    assert caught.value.usage == usage


@pytest.mark.parametrize(
    "usage",
    [
        *[None, {}, [], "many", {"prompt_tokens": 3}, {"prompt_tokens": -5, "completion_tokens": "many"}],
        *[{"prompt_tokens": 0, "completion_tokens": 0}, {"prompt_tokens": True, "completion_tokens": 2}],
        *[{"prompt_tokens": 1 << 60, "completion_tokens": 2}, {"completion_tokens": 2, "total_tokens": 5}],
    ],
)
def test_wrong_usage_is_estimated_and_marked_and_spoils_no_answer(usage):
    reply, reported = read_reply(json.dumps(completion("some words here", usage=usage)).encode(), REQUEST)
    assert reply.text == "some words here"
    assert reported is None
    assert reply.usage_estimated
    assert (reply.tokens_in, reply.tokens_out) == (3, 4)


@pytest.mark.parametrize(
    ("usage", "counted"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 10**6}, Usage(3, 10**6)),  # hidden thinking beyond max_tokens
        (
            {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 912},
            Usage(7, 905),
        ),  # Gemini's hidden thinking
        ({"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 0}, Usage(7, 5)),
        ({"prompt_tokens": 7, "total_tokens": 12}, Usage(7, 5)),
        ({"prompt_tokens": 2.5, "completion_tokens": 2.0}, Usage(3, 2)),
        (
            {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}},
            Usage(9, 2, 4),
        ),
        (
            {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 99}},
            Usage(9, 2, 9),
        ),
        ({"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": None}, Usage(9, 2)),
        ({"prompt_tokens": 9, "completion_tokens": 2, "prompt_cache_hit_tokens": 8}, Usage(9, 2, 8)),
        ({"prompt_tokens": 9, "completion_tokens": 2, "cost": 0.25}, Usage(9, 2, usd=0.25)),
        ({"prompt_tokens": 9, "completion_tokens": 2, "cost": -1}, Usage(9, 2)),
    ],
)
def test_what_the_server_says_is_what_counts(usage, counted):
    assert read_reply(completion("some words here", usage=usage), REQUEST)[1] == counted


@pytest.mark.parametrize(
    ("data", "billed"),
    [
        (b"<!doctype html><p>Bad gateway", False),
        (b'{"error": {"message": "no capacity"}}', False),
        (b'{"error": "no capacity"}', False),
        (b'{"error": {"message": "died late"}, "usage": {"prompt_tokens": 5, "completion_tokens": 9}}', True),
        (b'{"choices": []}', True),
        (b'{"choices": [{"mess', True),
        (b"", True),
        (json.dumps(completion("")).encode(), True),
    ],
)
def test_an_unusable_reply_may_have_been_billed_or_not(data, billed):
    with pytest.raises(UnusableReplyError) as caught:
        read_reply(data, REQUEST)
    assert caught.value.billed == billed


def test_a_report_of_no_tokens_is_believed_where_nothing_was_written():
    with pytest.raises(UnusableReplyError) as caught:
        read_reply(completion("", usage={"prompt_tokens": 0, "completion_tokens": 0}), REQUEST)
    assert caught.value.usage == Usage(0, 0)


def test_body_holds_what_the_request_says_and_nothing_else():
    request = ask(1, sampling=Sampling(99, 0.5, 0.9, ("END",)), seed=7, schema={"type": "object"})
    body = request_body(request, "m", Dialect(), {"top_k": 5})
    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": "Problem 1 "}],
        "max_tokens": 99,
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 7,
        "stop": ["END"],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True},
        },
        "top_k": 5,
    }


def test_dialects():
    request = ask(1, schema={"type": "object"})
    dialect = Dialect("max_completion_tokens", ("temperature", "seed"), "json_object")
    body = request_body(request, "m", dialect, {})
    assert "temperature" not in body
    assert "seed" not in body
    assert body["max_completion_tokens"] == 64
    assert body["response_format"] == {"type": "json_object"}
    with pytest.raises(ValueError, match="prefill"):
        request_body(ask(1, prefill="Step 1:"), "m", dialect, {})
