"""Numbers in digits: their places in a step, their calculations, and others of the same shape."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from tracedistill.arithmetic.calculations import Calculation, find_calculations
from tracedistill.arithmetic.expressions import Refused, Value, magnitude, number

_NUMBER = re.compile(
    r"(?<![\w.])(?<!\d,)(?:\d{1,3}(?:,\d{3})+(?!\d)|\d{1,15})(?:\.\d{1,12})?(?!\d)|(?<![\w.])\.\d{1,12}(?!\d)"
)
_REFERENCE = re.compile(
    r"\b(?:steps?|prompts?|parts?|questions?|problems?|equations?|lines?)\s*[(#]?\d{1,2}"
    r"(?:\s*(?:,|and|&|or|to|-)\s*(?:steps?\s*)?[(#]?\d{1,2}(?!\.?\d))*|\d+(?:st|nd|rd|th)\b|^\s*\(?\d{1,2}[.)]\s",
    re.IGNORECASE,
)
"""Numbers that count steps, and ordinals, which are no quantities."""


@dataclass(frozen=True, slots=True)
class Token:
    """One number in digits."""

    start: int
    """Index of its first character in the step's text."""
    end: int
    text: str
    """As written."""
    value: Value


@dataclass(frozen=True, slots=True)
class LocatedCalculation:
    """A calculation and the places of its numbers in the step's text."""

    calculation: Calculation
    tokens: tuple[Token, ...]
    """One per operand of all sides, in their order."""


def wrong_number(written: str, rng: random.Random) -> str:
    """Draw another number of the same shape: digits, decimals, commas and trailing zeros.

    A wrong number thus reveals only the shape of the right one, neither direction nor distance.
    """
    whole = "." not in written
    digits = [at for at, sign in enumerate(written) if sign.isdigit()]
    if whole:
        kept = len(written) - len(written.rstrip("0,"))
        free = [at for at in digits if at < len(written) - kept] or digits[:1]
    else:
        # `0.50` stays below one; trailing zeros of decimals are how money is written
        free = [at for at in digits if not (at == 0 and written.startswith("0."))]
        while len(free) > 1 and written[free[-1]] == "0" and free[-1] > written.index(".") + 1:
            free.pop()
    signs = list(written)
    while True:
        for place, at in enumerate(free):
            lowest = 1 if (place == 0 and at == 0) or place == len(free) - 1 else 0
            signs[at] = str(rng.randint(lowest, 9))
        drawn = "".join(signs)
        if drawn != written:
            return drawn


@lru_cache(maxsize=4096)
def tokens_of(text: str) -> tuple[Token, ...]:
    """Find numbers in digits, in order."""
    tokens = []
    for match in _NUMBER.finditer(text):
        try:
            tokens.append(Token(match.start(), match.end(), match[0], number(match[0])[0]))
        except Refused:
            continue
    return tuple(tokens)


def located_in(text: str) -> Sequence[LocatedCalculation]:
    """Locate calculations whose numbers are all in digits, in order."""
    located = []
    tokens = tokens_of(text)
    start = 0
    for calculation in find_calculations(text):
        operands = [operand for side in calculation.sides for operand in side.operands]
        wanted = [operand.value for operand in operands]
        for at in range(start, len(tokens) - len(wanted) + 1):
            if [token.value for token in tokens[at : at + len(wanted)]] == wanted:
                located.append(LocatedCalculation(calculation, tuple(tokens[at : at + len(wanted)])))
                start = at + len(wanted)
                break
    return located


def result_of(located: LocatedCalculation) -> Token | None:
    """Return the number after the last equality sign; None if an expression follows it, or nothing is calculated."""
    last = located.calculation.sides[-1]
    return located.tokens[-1] if not last.operators and located.calculation.true else None


def counts_steps(text: str, token: Token) -> bool:
    """Return whether a number counts steps or is an ordinal."""
    return any(match.start() <= token.start < match.end() for match in _REFERENCE.finditer(text))


def edited(text: str, edits: Mapping[tuple[int, int], str]) -> str:
    """Replace the text at (start, end)."""
    for (start, end), new in sorted(edits.items(), reverse=True):
        text = text[:start] + new + text[end:]
    return text


def near(scale: Fraction) -> bool:
    """Return whether a written result is the computed value up to rounding."""
    return abs(scale - 1) * 50 <= 1


def spelled_like(value: Value, like: str) -> str:
    """Format a value like a neighbouring number: with its commas and decimals, at least two if it is not whole."""
    value = magnitude(value)
    decimals = len(like.partition(".")[2])
    if isinstance(value, Fraction):
        decimals = max(decimals, 2 if value >= 1 else 4)
    scaled = round(Fraction(value) * 10**decimals)
    whole, part = divmod(scaled, 10**decimals)
    text = f"{whole:,}" if "," in like else str(whole)
    if not decimals:
        return text
    shown = f"{part:0{decimals}d}"
    if len(like.partition(".")[2]) < decimals:
        shown = shown.rstrip("0")
    return f"{text}.{shown}" if shown else text
