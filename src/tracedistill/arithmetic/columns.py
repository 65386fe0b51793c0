r"""Written columns: 248, below it `+ 175`, a line, 423. They are joined to one line and read as `248 + 175 = 423`.

The steps of a trace are lines of text, so `column_groups` says which lines are one calculation; `with_columns` writes
the joined line as an equation. In a long multiplication the partial products, shifted or not, are a side of their own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

_NUMBER = r"[$£€]?[ ]?\d[\d,]{0,20}(?:\.\d{1,10})?"
_SIGN = r"[-+−–×*xX÷/·]|\\times|\\div"
_GAP = r"(?:[ ]|&|\\[,;:! ]|\\q?quad(?![A-Za-z])|~|\\h?phantom\{[^{}]{0,20}\}){0,6}"
_END = r"(?:[ ]?&?[ ]?\\\\)?"
_FIRST = re.compile(rf"{_GAP}({_NUMBER}){_END}")
_ENTRY = re.compile(rf"{_GAP}({_SIGN})?{_GAP}({_NUMBER}){_END}")
_RULE = re.compile(r"[+]?(?:-{2,60}|_{2,60}|={2,60}|[─—–━]{2,60}|(?:- ){2,60}-)[+]?|\\hline")
_SIGNS = {"−": "-", "–": "-", "×": "*", "x": "*", "X": "*", "·": "*", "÷": "/", r"\times": "*", r"\div": "/"}
_MAX_LINES = 30


def column_groups(lines: Sequence[str]) -> list[tuple[int, int]]:
    """Return the first line and the end of each written column; lines have no blanks around them."""
    groups: list[tuple[int, int]] = []
    place = 0
    while place < len(lines):
        end = _end(lines, place)
        if end:
            groups.append((place, end))
        place = end or place + 1
    return groups


def is_rule(line: str) -> bool:
    """Return whether a line is drawn under a column."""
    return _RULE.fullmatch(line) is not None


def _end(lines: Sequence[str], start: int) -> int:
    """Return the end of the column that starts at a line; 0 if none does."""
    if not _FIRST.fullmatch(lines[start]):
        return 0
    place = start + 1
    signed = False
    while place < min(len(lines), start + _MAX_LINES) and (entry := _ENTRY.fullmatch(lines[place])):
        signed = signed or entry[1] is not None
        place += 1
    if not signed or not _ruled(lines, place):
        return 0
    place += 2
    partial = place
    while place < min(len(lines), start + _MAX_LINES) and _ENTRY.fullmatch(lines[place]):
        place += 1
    # behind a product come its parts, a second line and their sum
    return place + 2 if place > partial - 1 and _ruled(lines, place) else partial


def _ruled(lines: Sequence[str], place: int) -> bool:
    return place + 1 < len(lines) and is_rule(lines[place]) and _FIRST.fullmatch(lines[place + 1]) is not None


_RULED = f"(?:{_RULE.pattern})"
_JOINED = re.compile(
    rf"(?<![\w.,])(?P<top>{_NUMBER}(?: (?:{_SIGN})?[ ]?{_NUMBER}){{1,28}}) {_RULED} (?P<below>(?:{_SIGN})?[ ]?{_NUMBER}"
    rf"(?: (?:{_SIGN})?[ ]?{_NUMBER}){{0,28}})(?: {_RULED} (?P<sum>{_NUMBER}))?(?![\w.,]*\d)"
)
_ROW_END = re.compile(r" ?(?:\\\\|&) ?")
_SPACING = re.compile(r"(?:[ ]|\\[,;:! ]|\\q?quad(?![A-Za-z])|~|\\h?phantom\{[^{}]{0,20}\})+")
_PART = re.compile(rf"({_SIGN})?[ ]?({_NUMBER})")


def with_columns(text: str) -> str:
    """Write the joined lines of written columns as equations."""
    if r"\hline" in text:
        text = _SPACING.sub(" ", _ROW_END.sub(" ", text))
    return _JOINED.sub(_as_equation, text)


def _as_equation(match: re.Match[str]) -> str:
    top = _PART.findall(match["top"])
    last = next((_SIGNS.get(sign, sign) for sign, _ in reversed(top) if sign), "")
    numbers = [number for _, number in top]
    if not last or top[0][0] or (last in "*/" and len(numbers) != 2):
        return match.group()
    signs = [_SIGNS.get(sign, sign) or ("-" if last == "-" else "+") for sign, _ in top[1:]]
    signs[-1] = last
    left = numbers[0] + "".join(f" {sign} {number}" for sign, number in zip(signs, numbers[1:], strict=True))
    below = [number for _, number in _PART.findall(match["below"])]
    if match["sum"] is None:
        return f"{left} = {below[0]} " + " ".join(below[1:])
    values = [_value(number) for number in below]
    whole = _value(match["sum"])
    if sum(values) != whole and sum(value * 10**place for place, value in enumerate(values)) == whole:
        below = [f"{number}{'0' * place}" for place, number in enumerate(below)]  # 92 one place to the left is 920
    return f"{left} = {' + '.join(below)} = {match['sum']}"


def _value(number: str) -> Fraction:
    return Fraction(number.strip("$£€ ").replace(",", ""))
