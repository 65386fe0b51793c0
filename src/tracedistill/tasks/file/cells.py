"""Lists and mappings written in cells of a table: JSON, Python, and arrays as pandas writes them.

    ["Rome", "Paris"]                       JSON
    ['Rome', 'Paris']                       Python
    ['Rome' 'Paris']                        numpy, as pandas writes it: no commas, which Python would read as one text
    {'label': array(['A', 'B'], dtype=object), 'text': array(['Rome', 'Paris'], dtype=object)}

A cell is parsed and never evaluated.
"""

from __future__ import annotations

import ast
import io
import json
import tokenize
from typing import Any

from tracedistill.errors import InputError

_WORDS = {"null": None, "nan": None, "true": True, "false": False}
_LAYOUT = (tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)


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
        parsed = json.loads(text)
    except (json.JSONDecodeError, RecursionError):
        try:
            parsed = _value(ast.parse(_with_commas(text), mode="eval").body)
        except (ValueError, SyntaxError, tokenize.TokenError, RecursionError, MemoryError):
            return value  # text that begins with a bracket
    return parsed if isinstance(parsed, dict | list) else value


def _with_commas(text: str) -> str:
    """Return the cell with commas between items that only white space separates."""
    written: list[str] = []
    previous = ""  # the token before, if an item ends with it
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in _LAYOUT:
            continue
        whole = token.type in (tokenize.STRING, tokenize.NUMBER, tokenize.NAME) or token.string == "..."
        begins = whole or token.string in ("[", "(", "{", "-", "+")
        if previous and begins and not (previous == "array" and token.string == "("):
            written.append(",")
        written.append(token.string)
        previous = token.string if whole or token.string in ("]", ")", "}") else ""
    return " ".join(written)


def _value(node: ast.AST | None) -> Any:
    """Return the value of a literal; tuples and arrays become lists. Raises ValueError for anything else."""
    match node:
        case ast.Constant(value=value) if value is ...:
            raise InputError("an array that was shortened when it was written ('...'): write the whole table again")
        case ast.Constant(value=value):
            return value
        case ast.UnaryOp():
            return ast.literal_eval(node)
        case ast.Name(id=word) if word in _WORDS:
            return _WORDS[word]
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_value(item) for item in items]
        case ast.Dict(keys=keys, values=values):
            return {str(_value(key)): _value(item) for key, item in zip(keys, values, strict=True)}
        case ast.Call(func=ast.Name(id="array"), args=[items, *_]):
            return _value(items)
    raise ValueError("not a literal")
