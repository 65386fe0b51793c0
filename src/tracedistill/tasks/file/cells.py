"""Lists and mappings as cells of a table hold them: JSON, Python, and what pandas makes of arrays.

    ["Rome", "Paris"]                       JSON
    ['Rome', 'Paris']                       Python
    ['Rome' 'Paris']                        numpy, as pandas writes it: no commas, which Python would read as one text
    {'label': array(['A', 'B'], dtype=object), 'text': array(['Rome', 'Paris'], dtype=object)}

A cell is never evaluated: its tokens are read.
"""

from __future__ import annotations

import ast
import io
import json
import tokenize
from typing import Any

from tracedistill.errors import InputError

_WORDS = {"None": None, "null": None, "nan": None, "True": True, "true": True, "False": False, "false": False}
_CLOSING = {"[": "]", "(": ")", "{": "}"}


class _Unreadable(Exception):  # noqa: N818 - never leaves this file
    """The cell is text that begins with a bracket."""


def structured(value: Any) -> Any:
    """Return the list or mapping that a cell is or spells; any other value unchanged.

    Raises InputError for an array that was abbreviated when written (`['a' 'b' ... 'z']`): its middle is lost.
    """
    if not isinstance(value, str):
        return value
    text = value.strip()
    if not text.startswith(("[", "{", "array(")) or not text.endswith(("]", "}", ")")):
        return value
    try:
        read = json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        try:
            read = _LiteralReader(text).whole()
        except (_Unreadable, RecursionError):
            return value
    return read if isinstance(read, dict | list) else value


class _LiteralReader:
    """Parses the tokens of one cell."""

    def __init__(self, text: str) -> None:
        try:
            tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
        except (tokenize.TokenError, SyntaxError) as error:
            raise _Unreadable from error
        skipped = (tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
        self.tokens = [(token.type, token.string) for token in tokens if token.type not in skipped]
        self.at = 0

    def whole(self) -> Any:
        value = self.value()
        if self.at < len(self.tokens):
            raise _Unreadable
        return value

    def peek(self) -> str:
        return self.tokens[self.at][1] if self.at < len(self.tokens) else ""

    def take(self) -> tuple[int, str]:
        if self.at >= len(self.tokens):
            raise _Unreadable
        self.at += 1
        return self.tokens[self.at - 1]

    def value(self) -> Any:
        kind, text = self.take()
        if kind == tokenize.STRING:
            return self.literal(text)
        if text in ("-", "+") or kind == tokenize.NUMBER:
            number = text + (self.take()[1] if text in ("-", "+") else "")
            return self.literal(number)
        if text in _WORDS:
            return _WORDS[text]
        if text == "array" and self.peek() == "(":
            self.take()
            items = self.value()
            while self.peek() != ")":  # dtype=object
                self.take()
            self.take()
            return items
        if text in ("[", "("):
            return self.items(_CLOSING[text])
        if text == "{":
            return self.pairs()
        raise _Unreadable

    def items(self, closing: str) -> list[Any]:
        found = []
        while self.peek() != closing:
            if self.peek() == "...":
                raise InputError("an array that was shortened when it was written ('...'): write the table again whole")
            found.append(self.value())
            if self.peek() == ",":
                self.take()
        self.take()
        return found

    def pairs(self) -> dict[str, Any]:
        found = {}
        while self.peek() != "}":
            key = self.value()
            if self.take()[1] != ":":
                raise _Unreadable
            found[str(key)] = self.value()
            if self.peek() == ",":
                self.take()
        self.take()
        return found

    def literal(self, text: str) -> Any:
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError) as error:
            raise _Unreadable from error
