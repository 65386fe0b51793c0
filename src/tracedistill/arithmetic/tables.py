"""Tables whose cells are worked out: `| caps | 3 | $12 | $36 |` below `number`, `price`, `total` is `3 * $12 = $36`.

The operation is the one that holds in most rows, or the one that the heads name. A last row with one number adds up
its column. Cells that calculate themselves are read by `notation`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod

from tracedistill.arithmetic.ledgers import line_balances, table_balances
from tracedistill.arithmetic.listings import as_sums
from tracedistill.arithmetic.objects import with_pairs
from tracedistill.arithmetic.spoken import MAYBE

_ROW = re.compile(r"\|?([^|\n]{0,200}(?:\|[^|\n]{0,200}){1,12})\|?")
_LINE = re.compile(r"\|?[ :|-]{3,200}")
_CELL = re.compile(r"[*_]{0,2}[$£€]? ?(\d[\d,]{0,15}(?:\.\d{1,6})?)(?: ?[A-Za-z%°/.]{1,20}){0,3}[*_]{0,2}")
_CALCULATES = re.compile(r"\d ?[-+*/×÷·=−–] ?[$£€(]?\d")
_RESULT = re.compile(
    r"total|amount|cost|earn|revenue|sum|paid|pay|price|result|income|spent|money|value|left|all", re.IGNORECASE
)
_PRICE = re.compile(r"price|cost|rate|each|per|wage|hourly|points", re.IGNORECASE)
_COUNT = re.compile(r"number|quantit|qty|count|amount|how many|hours|days|items|units|#|no\.", re.IGNORECASE)
_SUM_ROW = re.compile(r"\b(?:total|all|sum|together|altogether|overall)\b", re.IGNORECASE)
_RATE = r" ?(?:each|ea\.?|apiece|(?:per|/) ?[A-Za-z]{1,12})"
_LEADER = r" ?(?:\.{2,80}|…{1,40}|_{2,80}| {2,80}|\t{1,9}|[:=]) ?"
_PRICED = re.compile(
    r"^(?:[-*• ]{0,4}[A-Za-z][A-Za-z ]{0,30}(?::|(?= \d)))? {0,4}[-*• ]{0,4}(?P<count>\d[\d,]{0,9})"
    r"(?: ?[A-Za-z][A-Za-z'’-]{0,20}){0,5} ?@ ?[$£€]?(?P<price>\d[\d,]{0,9}(?:\.\d{1,2})?)"
    rf"(?:(?:{_RATE})?{_LEADER}|{_RATE} | (?=[$£€]))[$£€]?(?P<amount>\d[\d,]{{0,12}}(?:\.\d{{1,2}})?)$"
)
"""A line of a receipt: `20 candles @ $2.00 ........ $40.00`."""
_OPERATIONS: dict[str, Callable[[Sequence[Fraction]], Fraction]] = {
    "*": lambda values: prod(values, start=Fraction(1)),
    "+": lambda values: sum(values, Fraction(0)),
    "-": lambda values: values[0] - sum(values[1:], Fraction(0)),
}


@dataclass(frozen=True, slots=True)
class _Row:
    """A row with the numbers of its cells."""

    index: int
    """Which step it is."""
    cells: tuple[str, ...]
    """Its cells."""
    numbers: tuple[tuple[int, str, Fraction], ...]
    """Column, digits and value of each cell that is a number."""


def written_out(texts: Sequence[str]) -> tuple[list[str], dict[int, tuple[str, ...]]]:
    """Write rows of tables, JSON and code as calculations; return also the lines of code that cannot be read."""
    if any("|" in text for text in texts):
        texts = with_sums(texts)
    if any(arrow in text for text in texts for arrow in ("->", "→", "=>", "⇒", "⟶", "➡")):
        changed = list(texts)
        for index, calculation in line_balances(texts):
            changed[index] = calculation
        texts = changed
    if any("@" in text for text in texts):
        texts = [_PRICED.sub(r"\g<count> * \g<price> = \g<amount>", text.strip()) for text in texts]
    if any('":' in text or "':" in text or '" :' in text for text in texts):
        texts = with_pairs(texts)
    return as_sums(texts)


def with_sums(texts: Sequence[str]) -> list[str]:
    """Write the worked out rows of tables as calculations; everything else stays."""
    written = list(texts)
    place = 0
    while place + 2 < len(texts):
        if "|" in texts[place] and _LINE.fullmatch(texts[place + 1]) and "|" in texts[place + 1]:
            end = place + 2
            while end < len(texts) and "|" in texts[end] and _ROW.fullmatch(texts[end]):
                end += 1
            for index, text in _calculations(_cells(texts[place]), [_row(i, texts[i]) for i in range(place + 2, end)]):
                written[index] = text
            place = end
        else:
            place += 1
    return written


def _cells(text: str) -> tuple[str, ...]:
    return tuple(cell.strip() for cell in text.strip().strip("|").split("|"))


def _row(index: int, text: str) -> _Row:
    cells = _cells(text)
    numbers = []
    for column, cell in enumerate(cells):
        match = _CELL.fullmatch(cell) if column or len(cells) == 1 else None
        if match:
            digits = match[1].replace(",", "")
            numbers.append((column, digits, Fraction(digits)))
    return _Row(index, cells, tuple(numbers))


def _calculations(heads: Sequence[str], rows: Sequence[_Row]) -> list[tuple[int, str]]:
    """Return the rows that are worked out, as calculations."""
    if balances := table_balances(heads, [(row.index, row.cells) for row in rows]):
        return balances
    if any(_CALCULATES.search(cell) for row in rows for cell in row.cells):
        return []
    last = len(heads) - 1
    worked = [row for row in rows if len(row.numbers) > 2 and row.numbers[-1][0] == last]
    sign = _operation(heads, worked)
    if not sign or not (_RESULT.search(heads[last]) or (sign == "*" and len(worked) > 1)):
        return _column_sum(rows, last)
    lines = [
        (row.index, f" {sign} ".join(digits for _, digits, _ in row.numbers[:-1]) + f" = {row.numbers[-1][1]}")
        for row in worked
    ]
    for row in rows:
        if len(row.numbers) == 1 and row.numbers[0][0] == last and _SUM_ROW.search(row.cells[0]):
            above = [other.numbers[-1][1] for other in worked if other.index < row.index]
            if len(above) > 1:
                lines.append((row.index, " + ".join(above) + f" = {row.numbers[0][1]}"))
    return lines


def _column_sum(rows: Sequence[_Row], last: int) -> list[tuple[int, str]]:
    """Return the last row as the sum of those above it, if it is called a total; a false one may be another figure."""
    *above, below = rows or [_Row(0, ("",), ())]
    summands = [row.numbers[0][1] for row in above if len(row.numbers) == 1 and row.numbers[0][0] == last]
    total = below.numbers[0] if len(below.numbers) == 1 and _SUM_ROW.search(below.cells[0]) else None
    if total is None or total[0] != last or len(summands) < 2 or len(summands) < len(above):
        return []
    sign = "=" if sum(map(Fraction, summands)) == total[2] else MAYBE
    return [(below.index, f"{' + '.join(summands)} {sign} {total[1]}")]


def _operation(heads: Sequence[str], rows: Sequence[_Row]) -> str:
    """Return the operation that makes the last column of the others; empty if none is known to."""
    if not rows:
        return ""
    columns = {tuple(column for column, _, _ in row.numbers) for row in rows}
    if len(columns) > 1:
        return ""
    named = ""
    first = [heads[column] for column, _, _ in rows[0].numbers[:-1]]
    if len(first) == 2 and any(map(_PRICE.search, first)) and any(map(_COUNT.search, first)):
        named = "*"
    for sign, operation in _OPERATIONS.items():
        holds = sum(operation([value for _, _, value in row.numbers[:-1]]) == row.numbers[-1][2] for row in rows)
        if 2 * holds > len(rows) or (named == sign and holds):
            return sign
    return named
