"""Running balances: `| Sold | -30 | 90 |` below `| Start | 120 | 120 |`, or `Sold: -30 -> 90`, is `120 - 30 = 90`.

A change has its sign, and what is left after it stands in the last column or behind an arrow. Rows are calculations if
the column's head says so, or if one of them holds: a false one is then found, since the others are no coincidence.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

_AMOUNT = r"[$£€]? ?(\d[\d,]{0,15}(?:\.\d{1,6})?)"
_UNIT = r"(?: ?(?!per\b|each\b)[A-Za-z%°.]{1,20}){0,2}"
_CHANGE = re.compile(rf"[*_]{{0,2}}([-+−–]) ?{_AMOUNT}{_UNIT}[*_]{{0,2}}")
_LEFT = re.compile(rf"[*_]{{0,2}}{_AMOUNT}{_UNIT}[*_]{{0,2}}")
_BALANCE = re.compile(r"balance|remain|left|running|stock|cumulative|so far|after|total", re.IGNORECASE)
_KEEPS = re.compile(r"\b(?:balance|remaining|running|left)\b", re.IGNORECASE)
"""Heads of a column that can only hold what there is after each row."""
_START = re.compile(rf"[-*• ]{{0,4}}[A-Za-z][^\d:\n]{{0,40}}: ?{_AMOUNT}{_UNIT}[.;]?")
_STEP = re.compile(
    rf"[-*• ]{{0,4}}(?:[A-Za-z][^\d:\n]{{0,40}}: ?)?([-+−–]) ?{_AMOUNT}{_UNIT}(?: ?(\([^()\n]{{1,60}}\)))?"
    rf" ?(?:->|→|=>|⇒|⟶|➡) ?{_AMOUNT}{_UNIT}[.;]?"
)


@dataclass(frozen=True, slots=True)
class Change:
    """One row of a ledger."""

    index: int
    """Which line or row it is."""
    sign: str
    """`+` or `-`; empty in the first row, which only says what there was."""
    amount: str
    """Digits of the change."""
    left: str
    """Digits of what is left after it."""
    note: str = ""
    """How the amount was found, in parentheses."""


def table_balances(heads: Sequence[str], rows: Sequence[tuple[int, Sequence[str]]]) -> list[tuple[int, str]]:
    """Return (index, calculation) of each row of a table that keeps a balance; empty for other tables.

    `rows`: index and cells of each row.
    """
    changes: list[Change] = []
    for index, cells in rows:
        left = _LEFT.fullmatch(cells[-1]) if len(cells) > 1 else None
        signed = [match for cell in cells[1:-1] if (match := _CHANGE.fullmatch(cell))]
        plain = [match for cell in cells[1:-1] if (match := _LEFT.fullmatch(cell))]
        if left is None or len(signed) > 1 or len(signed) + len(plain) > 1 or (changes and not (signed or plain)):
            return []
        sign = _sign(signed[0][1]) if changes and signed else ""
        amount = signed[0][2] if signed else plain[0][1] if plain else left[1]
        changes.append(Change(index, sign, _digits(amount), _digits(left[1])))
    named = _KEEPS.search(heads[-1]) is not None
    if len(changes) < (2 if named else 3) or _value(changes[0].amount) != _value(changes[0].left):
        return []
    if not all(change.sign for change in changes[1:]):
        if not named:
            return []
        changes = [
            replace(change, sign=change.sign or ("-" if _value(change.left) < _value(before.left) else "+"))
            for before, change in zip(changes[:1] + changes, changes, strict=False)
        ]
    return list(_calculations(changes, named=bool(_BALANCE.search(heads[-1]))))


def line_balances(texts: Sequence[str]) -> list[tuple[int, str]]:
    """Return (index, calculation) of each line that changes a balance: `Sold: -30 -> 90` below `Start: 120`."""
    written: list[tuple[int, str]] = []
    changes: list[Change] = []
    for index, text in enumerate(texts):
        line = text.strip()
        step = _STEP.fullmatch(line)
        start = None if step else _START.fullmatch(line)
        if step and changes:
            changes.append(Change(index, _sign(step[1]), _digits(step[2]), _digits(step[4]), step[3] or ""))
            continue
        written += _calculations(changes, named=False)
        changes = [Change(index, "", _digits(start[1]), _digits(start[1]))] if start else []
    return [*written, *_calculations(changes, named=False)]


def _calculations(changes: Sequence[Change], *, named: bool) -> Iterator[tuple[int, str]]:
    """Yield the changes as calculations, from what the row before says or, if that was wrong, should say."""
    if len(changes) < 2:
        return
    shown = true = _value(changes[0].left)
    holds = 0
    lines = []
    for change in changes[1:]:
        step = _value(change.amount) * (-1 if change.sign == "-" else 1)
        left, true = _value(change.left), true + step
        from_true = left == true
        holds += from_true or left == shown + step
        before = true - step if from_true else shown
        note = f" ; {change.amount} {change.note}" if change.note else ""
        lines.append((change.index, f"{_written(before)} {change.sign} {change.amount} = {change.left}{note}"))
        shown = left
    if holds or named:
        yield from lines


def _sign(sign: str) -> str:
    return "+" if sign == "+" else "-"


def _digits(amount: str) -> str:
    return amount.replace(",", "")


def _value(digits: str) -> Fraction:
    return Fraction(digits)


def _written(value: Fraction) -> str:
    return str(value.numerator) if value.denominator == 1 else str(float(value))
