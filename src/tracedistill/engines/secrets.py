"""API keys: read from the environment, checked, and removed from every text from outside."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from tracedistill.errors import InputError

T = TypeVar("T")

SHORTEST = 8
"""A shorter key is a placeholder (`EMPTY`, `ollama`), maybe a common word; only error messages are cleaned of it."""

_RUN = 12  # consecutive characters that reveal a key
_DECODED = 3  # most levels of escaping
_ODD = {"\n": "a line break", "\r": "a line break", "\t": "a tab", " ": "a space"}
_ESCAPED = re.compile(
    r"\\+(?:u(?P<u>[0-9a-fA-F]{4})|u\{(?P<b>[0-9a-fA-F]{1,6})\}|U(?P<w>[0-9a-fA-F]{8})|x(?P<x>[0-9a-fA-F]{2})|(?P<o>[0-7]{3}))"
    r"|%(?P<p>[0-9a-fA-F]{2})|=(?P<q>[0-9A-F]{2})|0x(?P<z>[0-9a-fA-F]{2})"
    r"|&(?P<h>#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|amp|lt|gt|quot|apos);?|\x1b\[[\d;]{0,20}[a-zA-Z]|\\+[nrt]?"
)
_ESCAPES = ("\\", "%", "&", "=", "0x", "\x1b")
_BLANKS = bytes(code for code in range(256) if not 32 < code < 127 or code == 92)  # backslashes too
_MARKS = bytes(code for code in range(256) if code > 127 or not chr(code).isalnum())


def read_key(key_env: str, environment: Mapping[str, str]) -> str:
    """Read the key from an environment variable; return an empty text if no variable is named.

    Raises InputError if the variable is not set or its value cannot be sent in a header.
    """
    if not key_env:
        return ""
    key = environment.get(key_env, "").strip()
    if not key:
        raise InputError(
            f"key_env: the environment variable {key_env} is not set; export it, or leave key_env out for an endpoint "
            "without keys"
        )
    odd = next((place for place, char in enumerate(key) if not "!" <= char <= "~"), None)
    if odd is not None:
        what = _ODD.get(key[odd], "a character that is not ASCII" if key[odd] > "~" else "a control character")
        raise InputError(
            f"key_env: the environment variable {key_env} holds {what} at character {odd + 1} of {len(key)}; a key is "
            "one line of printable ASCII without spaces. Export the key alone; nothing was sent"
        )
    return key


class Cleaner:
    """Removes a key from texts, in every spelling in which a server may quote it.

    Any twelve consecutive characters count, or twelve letters and digits with anything between them. They may be in
    another case, escaped up to three times as in JSON, URLs, HTML and mails, in base64 (also within `Bearer key` or
    `user:key`), in hexadecimal, or a list of codes.
    """

    def __init__(self, key: str) -> None:
        self._key = key
        self._forms: list[tuple[bytes, int, frozenset[bytes]]] = []
        """(characters ignored, length of a run, the runs in lower case)."""
        self._sieve: dict[bytes, frozenset[bytes]] = {}
        self._half = _RUN // 2  # any twelve consecutive characters contain six that start at a multiple of six
        if len(key) < SHORTEST:
            return
        codes = "".join(str(ord(char)) for char in key)  # long runs, since texts contain many digits
        forms = [(_BLANKS, _RUN, [key, _unescaped(key), *_in_base64(key)]), (_MARKS, _RUN, [key])]
        for left_out, size, spelt in [*forms, (_MARKS, 20, [key.encode().hex()]), (_MARKS, 30, [codes])]:
            bare = [text for text in (_bare(spelling, left_out) for spelling in spelt) if len(text) >= SHORTEST]
            size = min([size, *map(len, bare)])
            runs = frozenset(run for text in bare for run in _runs_of(text, size))
            self._forms.append((left_out, size, runs))
        self._half = min(size for _, size, _ in self._forms) // 2
        for left_out, _, runs in self._forms:
            halves = frozenset(half for run in runs for half in _runs_of(run, self._half))
            self._sieve[left_out] = self._sieve.get(left_out, frozenset()) | halves

    def refusal(self, text: str) -> str:
        """Clean a message of a server or error; placeholder keys are removed too if they occur as words."""
        if 0 < len(self._key) < SHORTEST:
            return re.sub(rf"(?<!\w){re.escape(self._key)}(?!\w)", "[key]", text)
        return self.text(text)

    def text(self, text: str) -> str:
        """Clean any text from outside, a model's answer included."""
        if not self._suspected(text):
            return text
        text = text.replace(self._key, "[key]")
        places = [(at, at + 1) for at in range(len(text))]
        decoded, spans = text, list[tuple[int, int]]()
        for _ in range(1 + _DECODED):
            spans += self._spans(decoded, places)
            decoded, places = _decoded(decoded, places)
        for start, end in reversed(_joined(spans)):
            text = f"{text[:start]}[key]{text[end:]}"
        return text

    def _spans(self, text: str, places: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Return the spans of the key in a decoded text, as places in the original text."""
        spans: list[tuple[int, int]] = []
        for left_out, size, runs in self._forms:
            at = [number for number, char in enumerate(text) if char.isascii() and ord(char) not in left_out]
            bare = _bare(text, left_out)
            spans += [
                (places[at[first]][0], places[at[first + size - 1]][1])
                for first in range(len(bare) - size + 1)
                if bare[first : first + size] in runs
            ]
        return spans

    def _suspected(self, text: str) -> bool:
        """Return quickly whether the text may contain the key."""
        if not self._forms:
            return False
        half = self._half
        for _ in range(1 + _DECODED):
            for left_out, halves in self._sieve.items():
                bare = _bare(text, left_out)
                if not halves.isdisjoint([bare[at : at + half] for at in range(0, len(bare) - half + 1, half)]):
                    return True
            if not any(mark in text for mark in _ESCAPES) or (decoded := _unescaped(text)) == text:
                return False
            text = decoded
        return False

    def record(self, record: T) -> T:
        """Clean all texts of a frozen record."""
        if not self._forms or not is_dataclass(record) or isinstance(record, type):
            return record
        changed: dict[str, Any] = {}
        for item in fields(record):
            value = getattr(record, item.name)
            if isinstance(value, str) and value and item.name != "request_id":
                clean = self.text(value)
                if clean != value:
                    changed[item.name] = clean
        return replace(record, **changed) if changed else record


def _runs_of(text: bytes, size: int) -> set[bytes]:
    return {text[at : at + size] for at in range(len(text) - size + 1)}


def _bare(text: str, left_out: bytes) -> bytes:
    """Return the ASCII characters of a text without some of them, in lower case."""
    return text.encode("ascii", "ignore").translate(None, left_out).lower()


def _joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join spans that overlap or touch."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def _in_base64(key: str) -> list[str]:
    """Return the key's forms within base64 at each of its three offsets."""
    forms = []
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + key.encode()).decode().rstrip("=")
        # without characters that also encode bits of their neighbours
        forms.append(encoded[(0, 2, 3)[before] : len(encoded) - (1 if (before + len(key)) % 3 else 0)])
    return forms


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(_char_of, text)


def _decoded(text: str, places: list[tuple[int, int]]) -> tuple[str, list[tuple[int, int]]]:
    """Decode a text once. `places`: its characters' places in the original text; those of the result are returned."""
    chars: list[str] = []
    kept: list[tuple[int, int]] = []
    at = 0
    for escape in _ESCAPED.finditer(text):
        chars.append(text[at : escape.start()])
        kept += places[at : escape.start()]
        at = escape.end()
        if char := _char_of(escape):
            chars.append(char)
            kept.append((places[escape.start()][0], places[at - 1][1]))
    return "".join(chars) + text[at:], kept + places[at:]


def _char_of(escape: re.Match[str]) -> str:
    name = escape.lastgroup
    if name is None:
        return ""
    if name == "h":
        return html.unescape(f"&{escape['h']};")[:1]
    code = int(escape[name], 8 if name == "o" else 16)
    return chr(code) if code < 0x110000 else ""
