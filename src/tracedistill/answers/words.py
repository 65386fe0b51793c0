"""Numbers written in English words."""

from __future__ import annotations

import re
from fractions import Fraction


def word_set(text: str) -> frozenset[str]:
    """Split a string into the set of its words, to keep long lists readable in code."""
    return frozenset(text.split())


def holds_any(text: str, parts: tuple[str, ...]) -> bool:
    """Return whether a text holds any of the parts: what a costly pattern needs is looked for first."""
    for part in parts:  # noqa: SIM110  (a generator costs twice as much)
        if part in text:
            return True
    return False


def _numbered(text: str, values: range) -> dict[str, int]:
    return dict(zip(text.split(), values, strict=True))


_ONES = _numbered(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen",
    range(20),
)
_TENS = _numbered("twenty thirty forty fifty sixty seventy eighty ninety", range(20, 100, 10))
_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9}
_PARTS = {"half": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7}
_PARTS |= {"eighth": 8, "ninth": 9, "tenth": 10}
_PARTS |= {"halves": 2} | {word + "s": parts for word, parts in _PARTS.items() if word != "half"}
_CARDINAL = "|".join(sorted([*_ONES, *_TENS], key=len, reverse=True))
_SCALE_WORDS = "|".join(_SCALES)
_PART_WORDS = "|".join(sorted(_PARTS, key=len, reverse=True))

WORD_NUMBER = (
    rf"(?:{_CARDINAL})(?:(?:[ -]|\s+and\s+)(?:{_CARDINAL}|{_SCALE_WORDS}))*"
    rf"(?:[ -](?:{_PART_WORDS})|\s+and\s+(?:a|one)[ -](?:half|third|quarter))?(?!\w)"
)
"""Regex source of a number in words, from `three` to `two thousand and five`, `two-thirds`, `one and a half`."""

_TOKENS = re.compile(r"[a-z]+")


def word_value(text: str) -> Fraction | None:
    """Return the value of a number in words, or None if the words make no number (`two three`)."""
    tokens = [token for token in _TOKENS.findall(text.lower()) if token not in {"and", "a"}]
    extra = Fraction(0)
    parts: int | None = None
    if tokens and tokens[-1] in _PARTS:
        parts = _PARTS[tokens.pop()]
        if " and a" in text.lower() or (tokens[-1:] == ["one"] and len(tokens) > 1):
            extra, parts = Fraction(1, parts), None
            if tokens[-1:] == ["one"] and len(tokens) > 1 and " and a" not in text.lower():
                tokens.pop()
    total, current, last = 0, 0, 0
    for token in tokens:
        if token in _SCALES:
            scale = _SCALES[token]
            current = max(current, 1) * scale
            if scale > 100:
                total, current = total + current, 0
            last = scale
            continue
        value = _ONES.get(token, _TENS.get(token, -1))
        if value < 0 or (last and last < 100 and not (last >= 20 and 0 < value < 10)):
            return None
        current, last = current + value, value
    whole = Fraction(total + current)
    return whole / parts if parts is not None else whole + extra


DOUBT = r"(?<!no )(?<!any )(?<!a )(?<!without )(?<!beyond )(?<!little )(?<!not )(?<!n't )doubt"
"""A pattern for a doubt that is one: `no doubt`, `without a doubt` and `I don't doubt it` are none."""
