"""Quantities in running text: digits with any thousands separator, fractions, words, units, clock times."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from tracedistill.answers.units import CLOCK, CURRENCY, HALF_DAY, PERCENT, UNITS, Unit
from tracedistill.answers.words import WORD_NUMBER, word_value

MAX_DIGITS = 400
"""Longer digit strings are compared as text: arithmetic on them costs more than it tells."""


class Quantity(NamedTuple):
    """One quantity found in a text."""

    start: int
    """Where it begins, sign and currency included (characters)."""
    end: int
    """Where its digits, unit sign or compound end."""
    value: Fraction
    """Exact value in its own unit."""
    unit: Unit | None = None
    """Its unit, if a known one is named."""
    unsure: bool = False
    """Written with what may be a decimal comma."""
    word: bool = False
    """Written in words."""


_SEP = r"(?:,\\!|\{,\}|\\,|[,'\u00a0])"
_DIGITS = (
    rf"(?!0[,'])\d{{1,3}}(?:{_SEP}\d{{3}})+(?!\d)(?:\.\d+)?|\d{{1,2}}(?:,\d\d)+,\d{{3}}(?![\d,])(?:\.\d+)?"
    rf"|[1-9]\d{{0,2}}(?: \d{{3}})+(?![\d/-]|[.,]\d)|"
    r"\d{1,3}(?:\.\d{3}){2,}(?!\d)|\d+(?:\.\d+)?|\.\d+"
)
_GLYPH_VALUES = "1/2 1/3 2/3 1/4 3/4 1/8 3/8 5/8 7/8 1/5 2/5 3/5 4/5 1/6 5/6"
_GLYPHS = "½⅓⅔¼¾⅛⅜⅝⅞⅕⅖⅗⅘⅙⅚"
_QUANTITY = re.compile(
    rf"(?=[-.\d$€£¥₹\\{_GLYPHS}efnostz])"  # what anything below begins with: most characters end here
    r"(?<![A-Za-z0-9_.\\])(?:(?P<clock>\d{1,2}:[0-5]\d)(?!\d)(?::[0-5]\d)?(?:\s{0,8}(?P<half>[ap])\.?m\b\.?)?"
    r"|(?P<hour>\d{1,2})\s?(?P<side>[ap])\.?m\b\.?"
    r"|(?P<sign>-?)(?:(?P<currency>[$€£¥₹])\s?)?(?P<minus>-?)"
    rf"(?:(?P<digits>{_DIGITS})(?P<exponent>\s{{0,8}}[x×*]\s?10\^\{{?-?\d{{1,3}}\}}?|[eE][+-]?\d{{1,3}}(?!\w))?"
    r"(?P<part>\s?/\s?\d[\d,]*(?!\d|\.\d)| \d+/\d+(?![\d/])|\s?(?:and )?\\[dtc]?frac\s?\{\d+\}\s?\{\d+\}"
    rf"|\s?[{_GLYPHS}])?"
    r"|(?P<frac>\\[dtc]?frac\s?(?:\{-?\d+\}\s?\{\d+\}|\d\d(?!\d)|\d\s?\{\d+\}))"
    rf"|(?P<glyph>[{_GLYPHS}]))"
    r"(?P<tail>,\d{1,30}(?!,?\d)|\s?%|\s?\$(?![\d\\])|[€£]|\s?[€£¥₹](?!\d))?"
    rf"|(?P<words>\b(?=[efnostz]){WORD_NUMBER}))",
    re.IGNORECASE,
)
_GLYPH = dict(zip(_GLYPHS, map(Fraction, _GLYPH_VALUES.split()), strict=True))
_INT_JUNK = re.compile(r"\D")
_JUNK = re.compile(r"[^\d.]")
SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
SCALES |= {"lakh": 10**5, "lakhs": 10**5, "crore": 10**7, "crores": 10**7, "millions": 10**6, "billions": 10**9}
_WIDE = {
    "万": 10**4,
    "萬": 10**4,
    "만": 10**4,
    "億": 10**8,
    "亿": 10**8,
    "억": 10**8,
    "千": 1000,
    "천": 1000,
    "百": 100,
    "백": 100,
}
"""Scales of East Asian scripts, directly after the digits."""
_FOLLOWING = re.compile(r"[\s*\u00a0]{0,3}-?(%|[A-Za-z]+)")
_AND_A_HALF = re.compile(r"\s{1,3}and\s{1,3}a\s{1,3}half\b", re.IGNORECASE)
_INTS = re.compile(r"\d+")


def quantities(text: str, start: int = 0, end: int | None = None) -> list[Quantity]:
    """Return all quantities between two positions of a `flat` text, in order; `1 hour and 35 minutes` is one."""
    numbers: list[Quantity] = []
    for quantity in _scan(text, start, len(text) if end is None else end):
        last = numbers[-1] if numbers else None
        if last is not None and last.unit is None and quantity.unit is UNITS["minute"]:
            last = last._replace(unit=UNITS["hour"]) if text[last.end : quantity.start].strip() == "h" else last
        if last is not None and _compound(text, last, quantity):
            assert last.unit is not None and quantity.unit is not None  # noqa: PT018  (said by _compound)
            value = last.value * last.unit.factor / quantity.unit.factor + quantity.value
            numbers[-1] = Quantity(last.start, quantity.end, value, quantity.unit)
        else:
            numbers.append(quantity)
    return numbers


def _compound(text: str, first: Quantity, second: Quantity) -> bool:
    """Return whether two quantities are one, coarse unit before fine: 1 hour 35 minutes, 5 feet 3 inches."""
    coarse, fine = first.unit, second.unit
    if coarse is None or fine is None or coarse.dimension != fine.dimension or coarse.factor <= fine.factor:
        return False
    if second.start - first.end > 16 or second.value * fine.factor >= coarse.factor:
        return False
    between = text[first.end : second.start].strip().lower()
    return between in _BETWEEN or between.rstrip(",") in _BETWEEN


_BETWEEN = {"", "h", "and", ",", ", and"} | {w + t for w in UNITS for t in ("", " and", ",", ", and")}


def _scan(text: str, start: int, end: int) -> Iterator[Quantity]:
    for match in _QUANTITY.finditer(text, start, end):
        digits = match["digits"]
        if digits is not None and digits.isdigit() and match.end() - match.start() == len(digits) <= MAX_DIGITS:
            yield _with_unit(text, Quantity(match.start(), match.end(), _decimal(digits)), end)  # digits and no more
            continue
        if match["words"]:
            spoken = word_value(match["words"])
            if spoken is not None:
                yield _with_unit(text, Quantity(match.start(), match.end(), spoken, None, word=True), end)
            continue
        if match["clock"] or match["hour"]:
            hours, _, minutes = (match["clock"] or f"{match['hour']}:00").partition(":")
            hour, half = int(hours), match["half"] or match["side"]
            if half and hour <= 12:
                hour = hour % 12 + (12 if half in "pP" else 0)
            value = Fraction(hour * 60 + int(minutes))
            yield Quantity(match.start(), match.end(), value, HALF_DAY if half else CLOCK)
            continue
        quantity = _from_match(text, match)
        if quantity is not None:
            yield (
                quantity
                if quantity.unit is not None and quantity.unit.dimension != "money"
                else _with_unit(text, quantity, end)
            )


def _from_match(text: str, match: re.Match[str]) -> Quantity | None:
    begin, stop = match.span()
    digits, part, tail = match["digits"], match["part"], match["tail"]
    if digits:
        if len(digits) > MAX_DIGITS:
            return None
        value = _decimal(digits if digits.isdigit() else _bare(digits))
        if match["exponent"]:
            power = int(re.findall(r"-?\d+", match["exponent"])[-1])
            value *= Fraction(10) ** power
        if part:
            added = _part(value, part)
            if added is None:
                return None
            value = added
    elif match["frac"]:
        numbers = _INTS.findall(match["frac"].replace("{", " ").replace("}", " "))
        top, bottom = (numbers[0][0], numbers[0][1]) if len(numbers) == 1 else numbers[:2]
        if int(bottom) == 0:
            return None
        value = Fraction(int(top), int(bottom)) * (-1 if "{-" in match["frac"] else 1)
    else:
        value = _GLYPH[match["glyph"]]
    if match["minus"]:
        value = -value
    elif match["sign"]:
        before = text[:begin].rstrip()[-1:] if begin < 200 else text[begin - 200 : begin].rstrip()[-1:]
        spaced = begin > 0 and text[begin - 1].isspace()
        # `22 -8` and `22-8` subtract; `is -160`, `= -5` and `(-3` are signs
        if not (before.isdigit() or before in {")", "]", "}", "%"}) and (spaced or not before.isalnum()):
            value = -value
        else:
            begin += 1
    unsure = tail is not None and tail.startswith(",")
    if tail is not None and unsure:
        value = _decimal_comma(digits, tail[1:]) if digits and not part else value
        value = -value if text[begin : match.end()].startswith("-") else value
    unit = CURRENCY.get(match["currency"]) if match["currency"] else None
    if tail and not unsure:
        unit = PERCENT if tail.endswith("%") else CURRENCY.get(tail.strip()) or unit
    return Quantity(begin, stop, value, unit, unsure)


@lru_cache(maxsize=8192)
def _bare(digits: str) -> str:
    """Return a number without its separators of thousands."""
    return _JUNK.sub("", digits)


def _decimal_comma(digits: str, fraction: str) -> Fraction:
    """Return the value of `2,74` or `1.234,5` if its comma is a decimal one."""
    return Fraction(int(_INT_JUNK.sub("", digits) + fraction), 10 ** len(fraction))


@lru_cache(maxsize=8192)
def _decimal(plain: str) -> Fraction:
    if plain.isdigit():
        return Fraction(int(plain))
    if plain.count(".") > 1:
        return Fraction(int(plain.replace(".", "")))
    whole, _, fraction = plain.partition(".")
    return Fraction(int(whole or "0") * 10 ** len(fraction) + int(fraction or "0"), 10 ** len(fraction))


def _part(value: Fraction, part: str) -> Fraction | None:
    """Read `/4` as a division and ` 1/2`, also as LaTeX or glyph, as an addition; None for a zero denominator."""
    glyph = _GLYPH.get(part.strip())
    if glyph is not None:
        return value + glyph
    numbers = [int(digits) for digits in _INTS.findall(part.replace(",", ""))]
    if numbers[-1] == 0:
        return None
    return value / numbers[0] if len(numbers) == 1 else value + Fraction(numbers[0], numbers[1])


def _with_unit(text: str, quantity: Quantity, limit: int) -> Quantity:
    """Return the quantity with the unit or scale word (thousand, million) that follows it."""
    wide = _WIDE.get(text[quantity.end : quantity.end + 1])
    if wide is not None and quantity.end < limit:
        value = quantity.value * wide
        scaled = Quantity(quantity.start, quantity.end + 1, value, quantity.unit, quantity.unsure, quantity.word)
        return _with_unit(text, scaled, limit)
    match = _FOLLOWING.match(text, quantity.end, min(limit, quantity.end + 24))
    if match is None:
        return quantity
    word = match[1].lower()
    scale = SCALES.get(word)
    if scale is not None:
        scaled = Quantity(
            quantity.start, match.end(), quantity.value * scale, quantity.unit, quantity.unsure, quantity.word
        )
        return _with_unit(text, scaled, limit)
    unit = UNITS.get(word) or quantity.unit
    if unit is quantity.unit:
        return quantity
    half = _AND_A_HALF.match(text, match.end(), limit)
    if half is not None:
        value = quantity.value + Fraction(1, 2)
        return Quantity(quantity.start, half.end(), value, unit, quantity.unsure, quantity.word)
    return Quantity(quantity.start, quantity.end, quantity.value, unit, quantity.unsure, quantity.word)
