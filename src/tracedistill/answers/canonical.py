"""Dates and rates in one spelling.

`May 3rd, 1998`, `3. Mai 1998` and `1998-05-03` are one date, `$18 an hour` and `18 dollars per hour` one rate.
"""

from __future__ import annotations

import re

from tracedistill.answers.units import UNITS

_NAMES = """\
january jan januar enero janvier gennaio janeiro января
february feb februar febrero février fevrier febbraio fevereiro февраля
march mar märz marzo mars março марта
april apr abril avril aprile апреля
may mai mayo maggio maio мая
june jun juni junio juin giugno junho июня
july jul juli julio juillet luglio julho июля
august aug agosto août aout августа
september sep sept septiembre septembre settembre setembro сентября
october oct oktober okt octubre octobre ottobre outubro октября
november nov noviembre novembre novembro ноября
december dec dezember dez diciembre décembre decembre dicembre dezembro декабря
"""
_MONTHS = {name: place for place, names in enumerate(_NAMES.splitlines(), 1) for name in names.split()}
_MONTH = "|".join(sorted(map(re.escape, _MONTHS), key=len, reverse=True))
_WEEKDAY = r"(?:\b(?:mon|tues?|wednes|thurs?|fri|satur|sun)day,?\s{1,3})?"
_BOLD = r"[*_]{0,2}"
_DATE = re.compile(
    rf"{_WEEKDAY}(?:\b(?:the|le|el|den|dem|am|il|em)\s)?(?:\b(?P<month>{_MONTH})\.?\s{{1,3}}(?P<day>\d{{1,2}})(?:st"
    rf"|nd|rd|th)?,?\s{{1,3}}"
    r"(?P<year>\d{4})\b"
    rf"|\b(?P<day2>\d{{1,2}})(?:st|nd|rd|th|er|º|\.)?\s{{1,3}}(?:of\s|de\s)?(?P<month2>{_MONTH})\.?,?\s{{1,3}}(?:de\s|of\s)?(?P<year2>\d{{4}})\b"
    r"|\b(?P<iso>\d{4}-\d{2}-\d{2})\b|(?P<cjk>\d{4}年\d{1,2}月\d{1,2}日))",
    re.IGNORECASE,
)
_DAY = re.compile(
    rf"{_WEEKDAY}(?:\b(?:the|le|el|den|dem|am|il|em)\s)?(?:\b(?P<month>{_MONTH})\.?\s{{1,3}}(?:the\s)?(?P<day>\d{{1,2}})(?:st|nd|rd"
    rf"|th)?(?![\d:]|[.,]\d)|\b(?P<day2>\d{{1,2}})(?:st|nd|rd|th|er|º|\.)?\s{{1,3}}(?:of\s|de\s)?(?P<month2>{_MONTH})\b)"
    r"(?:\.?,?\s{1,3}(?:de\s|of\s)?\d{4}\b)?|\b\d{4}-(?P<iso>\d{2}-\d{2})\b"
    r"|(?:\d{4}年)?(?P<month3>\d{1,2})月(?P<day3>\d{1,2})日",
    re.IGNORECASE,
)
"""A day, its year left out or not."""
_PLAIN_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_SHORT = {"mph": "mile/hour", "kmph": "kilometer/hour", "kph": "kilometer/hour", "kmh": "kilometer/hour"}
_LETTERS = {"m": "meter", "h": "hour", "s": "second", "l": "liter"}
_TIMES = r"(?:hours?|hrs?|h|seconds?|secs?|s|minutes?|mins?|days?|weeks?|wks?|months?|years?|yrs?)"
_RATE = re.compile(
    r"(?P<currency>[$€£])?(?P<number>\d[\d,]*(?:\.\d+)?)\s{0,3}(?:(?P<short>mph|kmph|kph|kmh)\b"
    rf"|(?P<unit>[A-Za-z]{{1,12}})?\s{{0,3}}(?:/\s?|\b(?:per|an?|each|every)\s{{1,3}})(?P<per>{_TIMES})(?![\w/]))",
    re.IGNORECASE,
)
_DIGIT = re.compile(r"\d")


def canonical(text: str) -> str:
    """Return a text with its dates as `1998-05-03` and its rates as `18 dollar/hour`."""
    if not _DIGIT.search(text):
        return text
    return _RATE.sub(_rate, _DATE.sub(_date, text))


def days(text: str) -> str:
    """Return a text with its dates as `0000-06-05`, whatever year they are of."""
    return _DAY.sub(_day, text) if _DIGIT.search(text) else text


def day_of(text: str) -> str:
    """Return a text that is a date without a year (`5 June`) as `0000-06-05`; else nothing."""
    match = _DAY.fullmatch(text.strip(" .")) if len(text) <= 40 else None
    return "" if match is None or re.search(r"\d{4}", text) else _day(match)


def is_day(text: str) -> bool:
    """Return whether a text is a date without a year and nothing else."""
    return day_of(text) != ""


def _day(match: re.Match[str]) -> str:
    if match["iso"]:
        return f"0000-{match['iso']}"
    if match["month3"]:
        month, day = int(match["month3"]), int(match["day3"])
    else:
        month, day = _MONTHS[(match["month"] or match["month2"]).lower()], int(match["day"] or match["day2"])
    return f"0000-{month:02}-{day:02}" if 1 <= day <= 31 and 1 <= month <= 12 else match.group()


def is_date(text: str) -> bool:
    """Return whether a canonical text is one date and nothing else."""
    return _PLAIN_DATE.fullmatch(text.strip(" .*")) is not None


def dates(text: str) -> set[str]:
    """Return the dates of a canonical text."""
    return set(_PLAIN_DATE.findall(text))


def _date(match: re.Match[str]) -> str:
    if match["iso"]:
        return match["iso"]
    if match["cjk"]:
        year, month, day = map(int, re.findall(r"\d+", match["cjk"]))
    else:
        year, day = int(match["year"] or match["year2"]), int(match["day"] or match["day2"])
        month = _MONTHS[(match["month"] or match["month2"]).lower()]
    return f"{year}-{month:02}-{day:02}" if 1 <= day <= 31 and 1 <= month <= 12 else match.group()


def _rate(match: re.Match[str]) -> str:
    number = match["number"].replace(",", "").removesuffix(".00")
    if match["short"]:
        return f"{number} {_SHORT[match['short'].lower()]}"
    word = (match["unit"] or "").lower()
    unit = {"$": "dollar", "€": "euro", "£": "gbp"}.get(match["currency"] or "", "") or _named(word)
    return f"{number} {unit}/{_named(match['per'].lower())}"


def _named(word: str) -> str:
    """Return the name of a unit, or the word as it is."""
    unit = UNITS.get(word)
    return unit.name if unit is not None else _LETTERS.get(word, word)
