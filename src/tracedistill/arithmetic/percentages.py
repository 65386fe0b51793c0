"""Shares that name no whole: `10% = 6, so 30% = 18` of 60 becomes `10% of 60 = 6, so 30% of 60 = 18`."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from fractions import Fraction

from tracedistill.arithmetic.expressions import Value, magnitude

_SHARE = re.compile(
    r"(?P<before>^\s*|[.,;:(\n]\s*|\b(?:so|and|then|that|thus|while|since|because|means|therefore) )"
    r"(?P<share>\d{1,3}(?:\.\d{1,2})?)%(?P<is> ?= ?| (?:is|are|equals|would be|will be|makes|gives) )"
    r"(?P<amount>[$£€]?(?:\d{1,3}(?:,\d{3})+|\d{1,12})(?:\.\d{1,4})?)"
    r"(?![\d%]|[.,]\d| ?[-+*/×÷=^(]| (?:out )?of\b| ?per ?cent)",
    re.IGNORECASE,
)
_USUAL = frozenset({1, 5, 10, 15, 20, 25, 30, 40, 50, 60, 70, 75, 80, 90})


def with_wholes(text: str, given: Sequence[Value], earlier: Collection[Value]) -> str:
    """Name the whole of every share that names none: a known number that it is a share of, else the largest given.

    A share that reaches a known number from a known percentage stays: there the whole is what is asked for.
    """
    return _SHARE.sub(lambda match: _with_whole(match, given, earlier), text)


def _with_whole(match: re.Match[str], given: Sequence[Value], earlier: Collection[Value]) -> str:
    share = Fraction(match["share"])
    amount = Fraction(match["amount"].lstrip("$£€").replace(",", ""))
    if not share or amount == share / 100:
        return match.group()
    whole = amount * 100 / share
    known = {*given[:40], *earlier}
    if whole not in known and (share not in _USUAL or amount in known or whole in set(_combined(given[:20]))):
        return match.group()
    if whole not in known:
        wholes = [value for value in given if value != share]
        if not wholes:
            return match.group()
        whole = Fraction(max(wholes))
    if whole.denominator > 1:
        return match.group()
    return f"{match['before']}{match['share']}% of {whole.numerator}{match['is']}{match['amount']}"


def _combined(given: Sequence[Value]) -> Iterator[Value]:
    """Yield sums, differences and products of two given numbers: a whole that was worked out in the head."""
    for place, value in enumerate(given):
        for other in given[place + 1 :]:
            yield value + other
            yield magnitude(value - other)
            yield value * other
