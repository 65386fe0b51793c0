r"""Answers taken apart: lists, sets, tuples, vectors, intervals and unions, `\pm`, named parts, cases, congruences."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Form = Literal["single", "list", "set", "tuple", "vector", "interval", "union", "cases"]

_OPENERS, _CLOSERS = frozenset("([{"), frozenset(")]}")
_JOIN = re.compile(
    r"\s{0,12}(?:,|;)?\s{0,12}\b(?:as well as|and|or)\b(?:\s(?:also|then|by)\b){0,2}\s{0,12}", re.IGNORECASE
)
_MATRIX = re.compile(r"\\begin\{[pbB]?matrix\}(.*)\\end\{[pbB]?matrix\}", re.DOTALL)
_CASES = re.compile(
    r"(?:[a-zA-Z]\s{0,12}(?:\(\s{0,12}[a-z]\s{0,12}\))?\s{0,12}=\s{0,12})?\\begin\{cases\}(.*)\\end\{cases\}", re.DOTALL
)
_ROW_END = re.compile(r"\\\\")
_ANGLE = re.compile(r"\\langle\s{0,12}(.*)\\rangle", re.DOTALL)
_NAMES = re.compile(r"\(\s{0,12}[a-zA-Z]\w?(?:\s{0,12},\s{0,12}[a-zA-Z]\w?)+\s{0,12}\)\s{0,12}=\s{0,12}")
_NAMED = re.compile(r"([A-Za-z]\w{0,12}(?:\s{0,12}\([a-z]\))?)\s{0,12}=\s{0,12}([^=<>]{1,120})\Z")
_RELATION = re.compile(r"\s{0,12}(<|>|\\leq(?![a-z])|\\geq(?![a-z]))\s{0,12}")
_VARIABLE = re.compile(r"[a-zA-Z](?:_\w)?")
_CUP = re.compile(r"\s{0,12}\\cup(?![a-z])\s{0,12}")
_CONGRUENT = re.compile(
    r"([a-zA-Z]?)\s{0,12}(?:\\equiv|=)?\s{0,12}(-?\d{1,18})\s{0,12}(?:\\pmod|\\bmod|\\mod"
    r"|\(?\s{0,12}mod)\s{0,12}\{?\s{0,12}(\d{1,18})\s{0,12}[})]{0,12}"
)


@dataclass(frozen=True, slots=True)
class Shape:
    """An answer taken apart at its top level."""

    form: Form
    """single: no parts; list: `a, b`; set: `{a, b}`; tuple: `(a, b)`; vector: a matrix of one row or column, or angle
    brackets; interval: one bracket is square, or an inequality; union: of intervals; cases: rows of value and
    condition."""
    parts: tuple[str, ...]
    """The parts as written; of cases, each row with `&` between its cells."""
    brackets: str = ""
    """The opening and closing bracket of a tuple or interval; row, column or <> of a vector."""


def shape(spelling: str) -> Shape:
    """Take a `spelled` answer apart; what has no parts is `single`."""
    text = spelling
    names = _NAMES.match(text)
    if names and text[names.end() : names.end() + 1] in _OPENERS:
        text = text[names.end() :]
    if text.startswith("\\{") and text.endswith("\\}"):
        return Shape("set", tuple(split_top(text[2:-2])))
    if text[:1] in _OPENERS and text[-1:] in _CLOSERS and _spans(text):
        parts = split_top(text[1:-1])
        if text[0] == "{" and text[-1] == "}" and len(parts) > 1:
            return Shape("set", tuple(parts))
        if len(parts) > 1 and text[0] != "{":
            square = len(parts) == 2 and text[0] + text[-1] in {"[]", "(]", "[)"}
            return Shape("interval" if square else "tuple", tuple(parts), text[0] + text[-1])
    angle = _ANGLE.fullmatch(text)
    if angle:
        return Shape("vector", tuple(split_top(angle[1])), "<>")
    if "\\begin" in text:
        return _environment(text)
    if "\\cup" in text:
        parts = [part for part in _CUP.split(text) if part]
        return Shape("union", tuple(parts)) if len(parts) > 1 else Shape("single", (text,))
    joined = _JOIN.sub(",", text)
    parts = split_top(joined, ";")
    if len(parts) < 2:
        parts = split_top(joined, ",")
    if len(parts) > 1:
        return Shape("list", tuple(parts))
    both = spread(text)
    return Shape("list", both) if both else Shape("single", (text,))


def _environment(text: str) -> Shape:
    matrix = _MATRIX.fullmatch(text)
    if matrix:
        rows = [row.strip() for row in _ROW_END.split(matrix[1]) if row.strip()]
        if len(rows) > 1 and not any("&" in row for row in rows):
            return Shape("vector", tuple(rows), "column")
        if len(rows) == 1 and "&" in rows[0]:
            return Shape("vector", tuple(cell.strip() for cell in rows[0].split("&")), "row")
    cases = _CASES.fullmatch(text)
    if cases:
        rows = [row.strip().rstrip(",. ") for row in _ROW_END.split(cases[1]) if row.strip()]
        return Shape("cases", tuple(rows))
    return Shape("single", (text,))


def spread(text: str) -> tuple[str, str] | None:
    r"""Return the two values that one `\pm` stands for (`\mp` the other way round), or None, or several."""
    if text.count("\\pm") != 1 or "=" in text.partition("\\pm")[2]:
        return None
    plus = text.replace("\\pm", "+").replace("\\mp", "-")
    minus = text.replace("\\pm", "-").replace("\\mp", "+")
    head, equals, value = plus.partition("=")
    plus = f"{head}= {value.strip().removeprefix('+')}" if equals else plus.strip().removeprefix("+").strip()
    return plus, minus.strip()


def named(parts: tuple[str, ...]) -> list[tuple[str, str]] | None:
    """Return (name, value) of every part where each is `name = value`; None if one is not."""
    pairs = []
    for part in parts:
        match = _NAMED.match(part.strip())
        if match is None:
            return None
        pairs.append((match[1].replace(" ", ""), match[2].strip()))
    return pairs


def interval(text: str) -> tuple[str, Shape] | None:
    r"""Return (variable, interval) of `x > 3` or `2 \leq x < 5`; None if a text is no such inequality."""
    pieces = _RELATION.split(text.strip())
    if len(pieces) == 3:
        left, sign, right = pieces
        if _VARIABLE.fullmatch(left):
            variable, bound = left, right
        elif _VARIABLE.fullmatch(right):
            variable, bound, sign = right, left, _TURNED[sign]
        else:
            return None
        closed = sign.startswith("\\")
        if sign in {"<", "\\leq"}:
            return variable, Shape("interval", ("-\\infty", bound), "(" + ("]" if closed else ")"))
        return variable, Shape("interval", (bound, "\\infty"), ("[" if closed else "(") + ")")
    if len(pieces) == 5 and _VARIABLE.fullmatch(pieces[2]):
        low, first, variable, second, high = pieces
        if {first, second} <= {"<", "\\leq"}:
            return variable, Shape("interval", (low, high), _OPEN[first] + _SHUT[second])
        if {first, second} <= {">", "\\geq"}:
            return variable, Shape("interval", (high, low), _OPEN[second] + _SHUT[first])
    return None


_TURNED = {"<": ">", ">": "<", "\\leq": "\\geq", "\\geq": "\\leq"}
_OPEN = {"<": "(", ">": "(", "\\leq": "[", "\\geq": "["}
_SHUT = {"<": ")", ">": ")", "\\leq": "]", "\\geq": "]"}


def intervals(union: Shape) -> list[Shape] | None:
    """Return the intervals that a shape is the union of; None if it is not one."""
    if union.form == "interval" or (union.form == "tuple" and len(union.parts) == 2 and union.brackets == "()"):
        return [union]
    parts = union.parts if union.form in {"union", "list", "single"} else ()
    result = []
    variables = set()
    for part in parts:
        bound = interval(part)
        if bound is not None:
            variables.add(bound[0])
            result.append(bound[1])
            continue
        inner = shape(part)
        if union.form != "union" or inner.form not in {"interval", "tuple"} or len(inner.parts) != 2:
            return None
        result.append(Shape("interval", inner.parts, inner.brackets))
    return result if result and len(variables) < 2 else None


def congruence(text: str) -> tuple[str, int, int] | None:
    r"""Return (variable or nothing, residue, modulus) of `x \equiv 3 \pmod{7}`; None if a text is none."""
    match = _CONGRUENT.fullmatch(text.strip().rstrip("."))
    if match is None or int(match[3]) == 0:
        return None
    return match[1], int(match[2]) % int(match[3]), int(match[3])


def split_top(text: str, separators: str = ",;") -> list[str]:
    """Return parts between separators outside brackets; thousands separators do not separate."""
    parts, depth, start = [], 0, 0
    for index, char in enumerate(text):
        if char in _OPENERS:
            depth += 1
        elif char in _CLOSERS:
            depth -= 1
        elif char in separators and depth == 0 and not _thousands(text, index):
            parts.append(text[start:index])
            start = index + 1
    parts.append(text[start:])
    return [part.strip() for part in parts if part.strip()]


_GROUPED = re.compile(r"(?<![\d.])\d{1,3}(?:,\d{3})+(?![\d])")


def _thousands(text: str, index: int) -> bool:
    """Return whether a comma groups digits: `1,234` does, `1,2` and `12, 345` do not."""
    if text[index] != "," or not text[index + 1 : index + 2].isdigit() or not text[index - 1 : index].isdigit():
        return False
    return any(match.start() < index < match.end() for match in _GROUPED.finditer(text, max(0, index - 24), index + 24))


def _spans(text: str) -> bool:
    """Return whether the first bracket is closed by the last one, whatever kind each is."""
    depth = 0
    for index, char in enumerate(text):
        if char in _OPENERS:
            depth += 1
        elif char in _CLOSERS:
            depth -= 1
            if depth == 0:
                return index == len(text) - 1
    return False
