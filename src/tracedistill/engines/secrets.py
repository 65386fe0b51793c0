"""Keys: read from the environment, refused where they cannot be sent, and taken out of every text from outside."""

from __future__ import annotations

import base64
import html
import re
import urllib.parse
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from tracedistill.errors import InputError

T = TypeVar("T")

SHORTEST = 8
"""A shorter key is a placeholder (`EMPTY`, `ollama`), and may be a common word: only refusals are cleaned of it."""

_RUN = 12  # characters in a row that give a key away
_ODD = {"\n": "a line break", "\r": "a line break", "\t": "a tab", " ": "a space"}
_ESCAPE = (
    r"\\+(?:u(?P<u>[0-9a-fA-F]{4})|x(?P<x>[0-9a-fA-F]{2}))"
    r"|%(?P<p>[0-9a-fA-F]{2})|&(?P<h>#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|amp|lt|gt|quot|apos);?|\\+[nrt]?"
)
_BLANK = r"[\s\u200b-\u200f\u2060\ufeff]+"
_BLANKS = re.compile(_BLANK)
_ESCAPED = re.compile(_ESCAPE)
_ESCAPED_OR_BLANK = re.compile(f"{_ESCAPE}|{_BLANK}")


def read_key(key_env: str, environment: Mapping[str, str]) -> str:
    """Read the key from an environment variable; empty without a variable.

    Raises InputError, by the variable's name, for one that is not set and for a value that no header can carry.
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
    """Takes a key out of texts, in every spelling in which a server may quote it.

    Found are the key and any twelve characters of it in a row: as they are, in other case, escaped as in JSON, URLs
    and HTML, broken over lines, in base64 (also within `Bearer key` or `user:key`) and in hexadecimal.
    """

    def __init__(self, key: str) -> None:
        self._short = key if key and len(key) < SHORTEST else ""
        self._size = min(_RUN, len(key))
        self._runs: frozenset[str] = frozenset()
        self._halves: frozenset[str] = frozenset()
        if len(key) >= SHORTEST:
            plain = key.replace("\\", "")
            spelt = [plain, _spelt_out(key)[0], key.encode().hex(), *_in_base64(key)]
            spelt = [text for text in spelt if len(text) >= SHORTEST]
            self._size = min(_RUN, *map(len, spelt))
            self._runs = frozenset(run for text in spelt for run in _runs_of(text.casefold(), self._size))
            self._halves = frozenset(half for run in self._runs for half in _runs_of(run, self._size // 2))

    def refusal(self, text: str) -> str:
        """Clean a server's or error's words; placeholder keys are removed too if they occur as words."""
        if self._short:
            return re.sub(rf"(?<!\w){re.escape(self._short)}(?!\w)", "[key]", text)
        return self.text(text)

    def text(self, text: str) -> str:
        """Clean any text from outside, a model's answer included."""
        if not self._suspected(text):
            return text
        spelt, places = _spelt_out(text)
        size, lower = self._size, spelt.casefold()
        if len(lower) != len(spelt):  # a few letters change their number with their case
            lower = spelt.lower() if len(spelt.lower()) == len(spelt) else spelt
        found: list[tuple[int, int]] = []
        for at in range(len(lower) - size + 1):
            if lower[at : at + size] in self._runs:
                start, end = places[at][0], places[at + size - 1][1]
                if found and start <= found[-1][1]:
                    found[-1] = (found[-1][0], max(end, found[-1][1]))
                else:
                    found.append((start, end))
        for start, end in reversed(found):
            text = f"{text[:start]}[key]{text[end:]}"
        return text

    def _suspected(self, text: str) -> bool:
        """Return whether the key may occur in the text; quick for texts without it."""
        if not self._runs or len(text) < self._size:
            return False
        if "\\" in text or "%" in text or "&" in text:
            text = _ESCAPED.sub(_char_of, text)
        if not text.isascii():
            text = _BLANKS.sub("", text)
        text, half = "".join(text.split()).casefold(), self._size // 2
        # of twelve characters in a row, six at a multiple of six stand whole
        return any(text[at : at + half] in self._halves for at in range(0, len(text) - half + 1, half))

    def record(self, record: T) -> T:
        """Clean all texts of a frozen record."""
        if not self._runs or not is_dataclass(record) or isinstance(record, type):
            return record
        changed: dict[str, Any] = {}
        for item in fields(record):
            value = getattr(record, item.name)
            if isinstance(value, str) and value and item.name != "request_id":
                clean = self.text(value)
                if clean != value:
                    changed[item.name] = clean
        return replace(record, **changed) if changed else record


def _runs_of(text: str, size: int) -> set[str]:
    return {text[at : at + size] for at in range(len(text) - size + 1)}


def _in_base64(key: str) -> list[str]:
    """Return the key's forms within base64 at each of its three offsets, in both alphabets."""
    found = []
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + key.encode()).decode().rstrip("=")
        # characters that also hold bits of the neighbours are left out
        inner = encoded[(0, 2, 3)[before] : len(encoded) - (1 if (before + len(key)) % 3 else 0)]
        found += [inner, inner.replace("+", "-").replace("/", "_")]
    return found


def _spelt_out(text: str) -> tuple[str, list[tuple[int, int]]]:
    """Return (the text without escapes, blanks and backslashes, each character's place in the text)."""
    chars: list[str] = []
    places: list[tuple[int, int]] = []
    at = 0
    for found in _ESCAPED_OR_BLANK.finditer(text):
        chars.extend(text[at : found.start()])
        places.extend((place, place + 1) for place in range(at, found.start()))
        at = found.end()
        char = _char_of(found)
        if char:
            chars.append(char)
            places.append(found.span())
    chars.extend(text[at:])
    places.extend((place, place + 1) for place in range(at, len(text)))
    return "".join(chars), places


def _char_of(found: re.Match[str]) -> str:
    for name in ("u", "x"):
        if found[name]:
            return chr(int(found[name], 16))
    if found["p"]:
        return urllib.parse.unquote(f"%{found['p']}", errors="replace")[:1]
    if found["h"]:
        return html.unescape(f"&{found['h']};")[:1]
    return ""
