"""One way of writing for a text gold and the statement that it is compared with.

a quarter, one fourth, 25%, 0.25      1/4
two to three hours                    2 to 3 hours
5 June, June 5th, 5 June 1998         0000-06-05, for a gold without a year
Tom and Ann                           Ann and Tom, for a gold that lists names in another order
H₂O, $H_2O$                           H2O
A (a name)                            QqA, which is no article
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

from tracedistill.answers.canonical import day_of, days
from tracedistill.answers.words import WORD_NUMBER, word_value

_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_CHEMICAL = re.compile(r"\$\s?(?:\\(?:text|mathrm)\{)?([A-Z][A-Za-z]{0,2}(?:_\{?\d{1,3}\}?[A-Za-z]{0,4}){1,8})\}?\s?\$")
_UPRIGHT = re.compile(r"\\(?:text|mathrm)\{([A-Za-z0-9]{1,12})\}(?=[_$A-Z\\])")
_PART = "half|third|quarter|fourth|fifth|sixth|seventh|eighth|ninth|tenth"
_GLYPHS = {
    "½": "1/2", "⅓": "1/3", "⅔": "2/3", "¼": "1/4", "¾": "3/4", "⅕": "1/5", "⅖": "2/5", "⅗": "3/5", "⅘": "4/5",
    "⅙": "1/6", "⅚": "5/6", "⅛": "1/8", "⅜": "3/8", "⅝": "5/8", "⅞": "7/8",
}  # fmt: skip
_A_PART = re.compile(rf"\b(?:an?|one)[ -]({_PART})\b(?!-)|\bhalf\b(?!-)", re.IGNORECASE)
_WORDS = re.compile(rf"\b{WORD_NUMBER}", re.IGNORECASE)
_ONE = re.compile(r"[A-Za-z]+")
_SHARE = re.compile(r"(?<![\w.,$€£])(\d{1,3}(?:\.\d{1,6})?)\s?%|(?<![\w.,$€£])(0?\.\d{1,6})(?![\w.,%]|\s?%)")
_GOLD_PART = re.compile(r"\d{1,3}/\d{1,3}")
_LIST_JOIN = re.compile(r"\s{0,3}(?:,\s{0,3}(?:and\s|&\s)?|\band\b|&|\bund\b|\bet\b|\by\b|\be\b)\s{0,3}")
_LISTED_NAME = re.compile(r"[^\W\d_][\w'’.-]{0,30}(?: [^\W\d_][\w'’.-]{0,30}){0,2}")
_ORDER_ASKED = re.compile(r"\b(?:order|rank\w*|sequence|sorted?|arrange\w*|first|then|oldest|steps?)\b", re.IGNORECASE)
_MORE = re.compile(
    r"\s{0,3}(?:,\s{0,3}(?:(?:and|or|but)\s)?(?!who|which|because|since|as\b|but|so\b)|\b(?:and|or)\b\s)\s{0,3}\w",
    re.IGNORECASE,
)
_MOST_NAMES = 12


def alike(gold: str, text: str, question: str) -> tuple[str, str]:
    """Return a gold and a statement with the same things written the same way; both unchanged where nothing is."""
    if not text.isascii() or not gold.isascii():
        gold, text = gold.translate(_SUBSCRIPTS), text.translate(_SUBSCRIPTS)
    if "$" in text and "_" in text:
        text = _UPRIGHT.sub(r"\1", text)
        text = _CHEMICAL.sub(lambda match: re.sub(r"[_{}]", "", match[1]), text)
    if len(gold) == 1 and "A" <= gold <= "Z":
        return f"Qq{gold}", re.sub(
            rf"(?<![\w'.]){gold}(?![\w'.]|-\w)|(?<![\w'.]){gold}(?=\.\s{{0,3}}\Z)", f"Qq{gold}", text
        )
    day = day_of(gold)
    if day:
        return day, days(text)
    numbered = _numbered(gold)
    if numbered != gold or (_GOLD_PART.fullmatch(gold.strip())):
        gold, text = numbered, _numbered(text)
        if _GOLD_PART.fullmatch(gold.strip()):
            text = _SHARE.sub(_as_part, text)
    elif gold[:1].isdigit() and any(map(str.isdigit, gold)):
        text = _numbered(text)
    names = listed(gold)
    return (gold, _reordered(gold, names, text)) if names and not _ORDER_ASKED.search(question) else (gold, text)


def is_amount(name: str) -> bool:
    """Return whether what is named has a number, in digits or words."""
    return any(map(str.isdigit, name)) or _numbered(name) != name


def _numbered(text: str) -> str:
    """Return a text with numbers and parts in words as digits: `two thirds` as `2/3`, `seven` as `7`."""
    if not text.isascii():
        text = "".join(_GLYPHS.get(char, char) for char in text)
    text = _A_PART.sub(lambda match: f"1/{_denominator(match[1] or 'half')}", text)
    return _WORDS.sub(_digits, text)


def _digits(match: re.Match[str]) -> str:
    value = word_value(match.group())
    return _ONE.sub(_digit, match.group()) if value is None else str(value)


def _digit(match: re.Match[str]) -> str:
    value = None if match.group().lower() in ("and", "a") else word_value(match.group())
    return match.group() if value is None else str(value)


def _denominator(word: str) -> int:
    value = word_value(f"one {word.lower()}")
    return 2 if value is None else value.denominator


def _as_part(match: re.Match[str]) -> str:
    value = Fraction(match[1]) / 100 if match[1] else Fraction(match[2])
    return str(value) if 0 < value < 1 and value.denominator <= 20 else match.group()


@lru_cache(maxsize=4096)
def listed(gold: str) -> tuple[str, ...]:
    """Return the names that a gold lists (`Ann and Tom`, `red, green, blue`); empty for any other gold."""
    if not ("," in gold or " and " in gold or "&" in gold) or len(gold) > 300:
        return ()
    names = tuple(part.strip() for part in _LIST_JOIN.split(gold.strip(" .")))
    named = all(_LISTED_NAME.fullmatch(name) for name in names)
    return (
        names
        if 1 < len(names) <= _MOST_NAMES and named and len({name.casefold() for name in names}) == len(names)
        else ()
    )


def _reordered(gold: str, names: tuple[str, ...], text: str) -> str:
    """Return a text that lists just these names, in any order, with the list as the gold writes it."""
    low = text.casefold()
    places = [low.find(name.casefold()) for name in names]
    if min(places) < 0:
        return text
    order = sorted(zip(places, names, strict=True))
    ends = [place + len(name) for place, name in order]
    joined = all(_LIST_JOIN.fullmatch(text, end, after[0]) for end, after in zip(ends, order[1:], strict=False))
    begin, end = order[0][0], ends[-1]
    if not joined or text[begin - 1 : begin].isalnum() or text[end : end + 1].isalnum() or _MORE.match(text, end):
        return text
    before = re.sub(r"\b(?:both|all of|namely)\s\Z", "", text[:begin], flags=re.IGNORECASE)
    return (
        text
        if _LIST_JOIN.search(before[-6:].rstrip("* ") + " ") and before.rstrip("* ").endswith((",", "and", "&", "or"))
        else f"{before}{gold}{text[end:]}"
    )
