"""Keys: refused where no header can carry them, found in every spelling, left out of what is written."""

from __future__ import annotations

import base64
import html
import json
import string
import urllib.parse

import pytest

from tests.engines.server_kit import KEY, Endpoint, JumpingLoop, ask, completion, engine_at, failure, running
from tests.fault_server import Behaviour
from tracedistill.engines import Generation
from tracedistill.engines.batch import BatchEngine
from tracedistill.engines.calls import StopRunError
from tracedistill.engines.client import generate
from tracedistill.engines.secrets import Cleaner, read_key
from tracedistill.errors import InputError
from tracedistill.recipes.endpoints import endpoint_faults, looks_like_key

ODD_KEY = "sk-Zq9+/x\"T'<&>%41\\k3Y-" + "wErTy8uI0p" * 4

SPELLINGS = {
    "as it is": lambda key: key,
    "as JSON": lambda key: json.dumps(key)[1:-1],
    "as JSON in JSON": lambda key: json.dumps(json.dumps(key)),
    "as Python shows it": repr,
    "in a URL": lambda key: urllib.parse.quote(key, safe=""),
    "in HTML": html.escape,
    "in numbers of HTML": lambda key: "".join(f"&#{ord(char)};" for char in key),
    "in Unicode escapes": lambda key: "".join(f"\\u{ord(char):04x}" for char in key),
    "in upper case": str.upper,
    "broken over two lines": lambda key: f"{key[:20]}\n  {key[20:]}",
    "broken over two lines, as JSON": lambda key: json.dumps(f"{key[:20]}\n{key[20:]}"),
    "with a zero-width space": lambda key: f"{key[:20]}\u200b{key[20:]}",
    "its beginning": lambda key: f"{key[:16]}********",
    "its end": lambda key: f"****{key[-16:]}",
    "in base64": lambda key: base64.b64encode(key.encode()).decode(),
    "in base64 behind Bearer": lambda key: base64.b64encode(f"Bearer {key}".encode()).decode(),
    "in base64 of a URL, behind a user": lambda key: base64.urlsafe_b64encode(f"me:{key}".encode()).decode(),
    "in hexadecimal": lambda key: key.encode().hex(),
    "in hexadecimal, with colons": lambda key: key.encode().hex(":"),
    "as numbers of hexadecimal": lambda key: " ".join(f"0x{ord(char):02x}" for char in key),
    "as a list of codes": lambda key: str([*key.encode()]),
    "in octal": lambda key: "".join(f"\\{ord(char):03o}" for char in key),
    "as code points": lambda key: "".join(f"\\u{{{ord(char):x}}}" for char in key),
    "in long code points": lambda key: "".join(f"\\U{ord(char):08x}" for char in key),
    "in a URL in a URL": lambda key: "".join(f"%25{ord(char):02x}" for char in key),
    "in HTML in HTML": lambda key: "".join(f"&amp;#{ord(char)};" for char in key),
    "in a mail": lambda key: "".join(f"={ord(char):02X}" for char in key),
    "in base64 of a URL in a URL": lambda key: urllib.parse.quote(base64.b64encode(f"Bearer {key}".encode()).decode()),
    "in base64 of several lines": lambda key: base64.encodebytes(key.encode() * 3).decode(),
    "with NUL between": "\0".join,
    "with soft hyphens": "\u00ad".join,
    "in colour": lambda key: f"{key[:8]}\x1b[0m{key[8:16]}\x1b[31m{key[16:]}",
    "in parts that code joins": lambda key: f'{key[:10]}" + "{key[10:20]}" + "{key[20:]}',
}
"""Name -> how a server may quote a key."""


@pytest.mark.parametrize("key", [KEY, ODD_KEY], ids=["plain", "odd"])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_key_is_found_in_every_spelling(spelling: str, key: str) -> None:
    quoted = SPELLINGS[spelling](key)
    cleaned = Cleaner(key).text(f"the server got all: {quoted} and said no")
    assert cleaned.startswith("the server got all")
    assert cleaned.endswith("said no")
    assert "[key]" in cleaned
    longest = max((len(run) for run in cleaned.split("[key]") if run), default=0)
    assert longest <= 45, cleaned
    for start in range(len(quoted) - 14):
        assert quoted[start : start + 14] not in cleaned


@pytest.mark.parametrize("key", ["abcd1234", "k3y-5ecret", "a.b.c.d.e.f.g"])
def test_a_short_key_is_found_whole(key: str) -> None:
    for quoted in (key, key.upper(), SPELLINGS["as a list of codes"](key), SPELLINGS["in hexadecimal"](key)):
        assert Cleaner(key).text(f"it got: {quoted} / no").replace("[[key]]", "[key]") == "it got: [key] / no"


def test_other_texts_stay_as_they_are() -> None:
    cleaner = Cleaner(KEY)
    for text in ("", "x", r"\frac{3}{4} of 12 & 5\% is 9\n", string.printable * 50, "sk-test-", "nul \0 \ud800 ß İ"):
        assert cleaner.text(text) == text
        assert Cleaner("").text(text) == text
    record = Generation("r1", "fine", "stop")
    assert cleaner.record(record) is record


def test_a_placeholder_is_no_secret_and_spoils_no_answer() -> None:
    cleaner = Cleaner("EMPTY")
    assert cleaner.text("an EMPTY set") == "an EMPTY set"
    assert cleaner.refusal("Incorrect key EMPTY!") == "Incorrect key [key]!"
    assert cleaner.refusal("EMPTYING") == "EMPTYING"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("sk-abc\ndef", "holds a line break at character 7 of 10"),
        ("sk-abc\r\ndef", "a line break"),
        ("sk-abc def", "a space"),
        ("sk-abc\tdef", "a tab"),
        ("sk-ab\u00e9def", "not ASCII"),
        ("sk-ab\u2013def", "not ASCII"),
        ("sk-abc\0def", "a control character"),
        (" \n", "is not set"),
    ],
)
def test_a_key_that_no_header_can_carry_is_refused_by_its_variable(value: str, words: str) -> None:
    with pytest.raises(
        InputError, match=rf"environment variable MY_KEY {words}|MY_KEY holds {words}|{words}"
    ) as caught:
        read_key("MY_KEY", {"MY_KEY": value})
    assert "MY_KEY" in str(caught.value)
    assert "abc" not in str(caught.value)
    assert "def" not in str(caught.value)


def test_blanks_around_a_key_are_no_part_of_it() -> None:
    assert read_key("K", {"K": f" {KEY}\n"}) == KEY
    assert read_key("", {}) == ""


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"base_url": "https://me:pw@host/v1"}, "base_url"),
        ({"base_url": "https://host/v1?key=1"}, "base_url"),
        ({"base_url": "https://host/v1#sk"}, "base_url"),
        ({"base_url": "https://host/sk-abcdef123456/v1"}, "base_url"),
        ({"base_url": "host/v1"}, "base_url"),
        ({"base_url": "https://ho st/v1"}, "base_url"),
        ({"base_url": "https://host:port/v1"}, "base_url"),
        ({"key_env": "sk-proj-abcdef"}, "key_env"),
        ({"key_env": "gsk_abcdefghijkl0123456789"}, "key_env"),
        ({"key_env": "hf_abcdefghijklmnopqrst"}, "key_env"),
        ({"key_env": "AIzaSyA1234567890abcdefgh"}, "key_env"),
        ({"key_env": "d41d8cd98f00b204e9800998ecf8427e"}, "key_env"),
        ({"key_env": "MY KEY"}, "key_env"),
        ({"extra": {"api_key": "x"}}, "extra.api_key"),
        ({"extra": {"headers": {"Authorization": "x"}}}, "extra.headers.Authorization"),
        ({"extra": {"metadata": {"note": "sk-abcdef"}}}, "extra.metadata.note"),
        ({"extra": {"provider": [{"auth_token": "x"}]}}, "extra.provider.0.auth_token"),
        ({"extra": {"n": 3}}, "extra.n"),
    ],
)
def test_secrets_in_settings_are_refused_without_being_quoted(fields: dict[str, object], field: str) -> None:
    given = {"base_url": "https://host/v1", "key_env": "", "extra": {}, **fields}
    ((name, fault),) = endpoint_faults(given["base_url"], given["key_env"], given["extra"])  # type: ignore[arg-type]
    assert name == field
    for secret in ("pw", "abcdef", "1234567890", "d41d8cd98f00"):
        assert secret not in fault


def test_ordinary_settings_are_no_secrets() -> None:
    extra = {"reasoning_effort": "low", "chat_template_kwargs": {"enable_thinking": False}, "top_k": 5,
             "response_format": {"type": "json_schema"}, "provider": {"order": ["DeepInfra", "Together"]},
             "max_thinking_tokens": 100, "reasoning": {"max_tokens": 10}}  # fmt: skip
    for url in ("https://api.openai.com/v1", "http://127.0.0.1:8000/v1", "https://x-1234.openai.azure.com/openai/v1"):
        assert list(endpoint_faults(url, "AZURE_OPENAI_KEY_2", extra)) == []
    for name in ("OPENAI_API_KEY", "OpenAI_Key_2024_Production", "TEACHER_KEY", "key1"):
        assert not looks_like_key(name)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_no_file_of_a_batch_holds_the_key_of_a_server_that_quotes_it(spelling, tmp_path, monkeypatch) -> None:
    """Answers, failures, the state file and what is said, in Batch mode."""
    quoted = SPELLINGS[spelling](KEY)
    with running(Behaviour()) as server:
        chat = server.service.chat

        def quoting(raw: bytes):
            status, headers, data, fault, key = chat(raw)
            body = json.loads(data)
            if "Problem 1 " in raw.decode():
                status, body = 400, {"error": {"message": f"bad key {quoted}", "code": quoted}}
            elif "choices" in body:
                body["choices"][0]["message"].update(content=f"4 {quoted}", reasoning_content=f"think {quoted}")
                body["model"] = quoted
            return status, headers, json.dumps(body).encode(), fault, key

        monkeypatch.setattr(server.service, "chat", quoting)
        engine = engine_at(server.url, key_env="K", environment={"K": KEY}, timeout=5.0)
        told: list[str] = []
        batch = BatchEngine(engine, tmp_path / "s.json", poll=0.01, sleep=lambda _: None, on_wait=told.append)
        answers = list(generate([ask(0), ask(1)], batch))
    shown = f"{answers} {told}"
    assert [answer.finish for answer in sorted(answers, key=lambda answer: answer.request_id)] == ["stop", "error"]
    assert shown.count("[key]") >= 3
    for start in range(len(quoted) - 14):
        assert quoted[start : start + 14] not in shown
    assert KEY not in (tmp_path / "s.json").read_text()


def test_a_stopped_run_does_not_quote_the_key() -> None:
    for reply in (failure(401, message=f"no {KEY}"), failure(400, message=f"no {KEY[:14]}..."), completion(KEY)):
        engine = Endpoint(reply).engine(key_env="K", environment={"K": KEY})
        try:
            told = str(list(generate([ask(n) for n in range(30)], engine, loop_factory=JumpingLoop)))
        except StopRunError as error:
            told = str(error)
        assert KEY[:12] not in told
        assert "[key]" in told
