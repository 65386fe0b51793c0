"""Units that answers come in, and exact factors between those of one dimension."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit of measurement."""

    name: str
    """Singular English name."""
    dimension: str
    """time, calendar, length, mass, volume, money, euro, pound-sterling, percent, angle, dozen or clock."""
    factor: Fraction
    """Size in the dimension's base unit."""


def _table(dimension: str, rows: str) -> dict[str, Unit]:
    """Parse rows of `factor: name alias alias`, separated by `;`."""
    table = {}
    for row in rows.split(";"):
        factor, _, names = row.partition(":")
        words = names.split()
        unit = Unit(words[0], dimension, Fraction(factor.strip()))
        for word in words:
            table[word] = unit
            if len(word) > 2 and not word.endswith("s"):
                table[word + "s"] = unit
    return table


UNITS: dict[str, Unit] = {
    **_table("time", "1: second sec secs; 60: minute min mins; 3600: hour hr hrs; 86400: day; 604800: week wk"),
    **_table("calendar", "1: month; 12: year yr yrs; 120: decade; 1200: century centuries"),
    **_table("length", "1/1000: millimeter millimetre mm; 1/100: centimeter centimetre cm; 1: meter metre; "
             "1000: kilometer kilometre km kms; 127/5000: inch inches; 381/1250: foot feet ft; "
             "1143/1250: yard yd; 201168/125: mile mi"),
    **_table("mass", "1/1000: milligram mg; 1: gram; 1000: kilogram kilo kg kgs; 1000000: tonne; "
             "45359237/100000: pound lb lbs; 45359237/1600000: ounce oz; 90718474/100: ton"),
    **_table("volume", "1: milliliter millilitre ml; 1000: liter litre; 473176473/125000: gallon gal; "
             "473176473/500000: quart; 473176473/1000000: pint; 473176473/2000000: cup"),
    **_table("money", "1: cent; 100: dollar usd buck"),
    **_table("euro", "1: euro eur"),
    **_table("sterling", "1: gbp; 1/100: pence"),
    **_table("yen", "1: yen jpy"),
    **_table("rupee", "1: rupee inr"),
    **_table("percent", "1: percent percentage pct %"),
    **_table("angle", "1: degree"),
    **_table("dozen", "12: dozen"),
}  # fmt: skip
"""Lower-case word -> unit. Single letters are left out: `5 m` may be metres, minutes or millions."""

DOLLAR, PERCENT = UNITS["dollar"], UNITS["percent"]
CLOCK, HALF_DAY = Unit("clock", "clock", Fraction(1)), Unit("am or pm", "clock", Fraction(1))
"""A time of day in minutes (or a ratio) without and with `am` or `pm`."""
CURRENCY = {"$": DOLLAR, "€": UNITS["euro"], "£": UNITS["gbp"], "¥": UNITS["yen"]}
CURRENCY["₹"] = UNITS["rupee"]


def convert(value: Fraction, unit: Unit | None, wanted: Unit | None) -> Fraction:
    """Convert the value to the wanted unit if both measure the same dimension, else leave it."""
    if unit is None or unit is wanted:
        return value
    if unit.dimension == "dozen":
        return value * 12
    if wanted is None or unit.dimension != wanted.dimension:
        return value
    return value * unit.factor / wanted.factor


_SYMBOL = re.compile(
    r"(?<=\d)[\s\u00a0*_]{0,3}(?P<prefix>[GTPnpuµμ]|[kK](?=[^\s])|[mM](?=[^\s]))?"
    r"(?P<base>Wh|Hz|eV|Pa|Sv|Bq|bit|[WVAJNFBbΩ])(?P<per>ps|/s)?(?![\w/])"
)
_PREFIXES = {"G": 9, "T": 12, "P": 15, "n": -9, "p": -12, "u": -6, "µ": -6, "μ": -6, "k": 3, "K": 3, "m": -3, "M": 6}


def symbol(text: str, start: int) -> tuple[str, int] | None:
    """Return base and power of ten of the unit symbol behind a number, in which case counts: `mW`, `MW`, `kb`, `kB`."""
    match = _SYMBOL.match(text, start)
    if match is None:
        return None
    base = {"bit": "b"}.get(match["base"], match["base"])
    return base + (match["per"] or "").replace("ps", "/s"), _PREFIXES.get(match["prefix"] or "", 0)


def other_symbols(left: str, right: str) -> bool:
    """Return whether two texts are symbols that their case tells apart: `5 mW` and `5 MW`, `Co` and `CO`."""
    short = left.strip(_MARKS), right.strip(_MARKS)
    if short[0] != short[1] and len(short[0]) == 2 and short[0].lower() == short[1].lower():
        return any(one in _ELEMENTS and other.isupper() for one, other in (short, short[::-1]))
    one = _symbols(left)
    return bool(one) and bool(two := _symbols(right)) and one.isdisjoint(two)


def _symbols(text: str) -> set[tuple[str, int]]:
    """Return the symbols behind the numbers of a text."""
    return {found for at in _NUMBER.finditer(text) if (found := symbol(text, at.end())) is not None}


_NUMBER = re.compile(r"\d(?!\d)")
_MARKS = " *_`\"'.!$"
_ELEMENTS = frozenset(
    [
        "Li",
        "Ne",
        "Na",
        "Mg",
        "Al",
        "Si",
        "Cl",
        "Ar",
        "Ca",
        "Sc",
        "Ti",
        "Cr",
        "Mn",
        "Fe",
        "Co",
        "Ni",
        "Cu",
        "Zn",
        "Ga",
        "Ge",
        "Se",
        "Br",
        "Kr",
        "Rb",
        "Sr",
        "Nb",
        "Mo",
        "Tc",
        "Ru",
        "Rh",
        "Pd",
        "Ag",
        "Cd",
        "Sn",
        "Sb",
        "Te",
        "Xe",
        "Cs",
        "Ba",
        "La",
        "Ce",
        "Pr",
        "Nd",
        "Sm",
        "Eu",
        "Gd",
        "Tb",
        "Dy",
        "Ho",
        "Er",
        "Tm",
        "Yb",
        "Lu",
        "Hf",
        "Ta",
        "Re",
        "Os",
        "Ir",
        "Pt",
        "Au",
        "Hg",
        "Tl",
        "Pb",
        "Bi",
        "Po",
        "Rn",
        "Fr",
        "Ra",
        "Ac",
        "Th",
        "Pa",
        "Np",
        "Pu",
    ]
)
"""Symbols of elements that are no English words; in capitals they are another formula or abbreviation."""
