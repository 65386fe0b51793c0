"""The source of a calculation's operands: the question, an earlier result, or a listed constant.

`Janet's ducks lay 16 eggs per day. She eats three for breakfast ...` grounds 16 and 3 (digits and words), and 7 only if
weeks are mentioned too. Words of sharing imply their numbers (half: 2 and 0.5; twice: 2 and 3).

`constants` lists what may be used without being given: always 0, 1 and 2, the rest if question and step mention what it
links (minutes and hours: 60). A number written with decimals may be a rounded earlier result, and a whole one a result
rounded down or up if whole things are mentioned.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Literal

from tracedistill.arithmetic.constants import ALWAYS, cued, licensed, topics_of
from tracedistill.arithmetic.expressions import Operand, Refused, Value, magnitude, number, rounds_to

Ground = Literal["question", "earlier", "constant", ""]
"""Source of an operand; empty if there is none."""

WORDS = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
    "seventeen": 17, "eighteen": 18, "nineteen": 19, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50,
    "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}  # fmt: skip
_ORDINALS = {
    "first": 1, "second": 2, "third": 3, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7, "eighth": 8, "ninth": 9,
    "tenth": 10, "eleventh": 11, "twelfth": 12,
}  # fmt: skip
PARTS = {
    "half": 2, "halve": 2, "halves": 2, "halved": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6,
    "seventh": 7, "eighth": 8, "ninth": 9, "tenth": 10, "twelfth": 12, "twentieth": 20, "hundredth": 100,
}  # fmt: skip
_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "dozen": 12, "score": 20}

_FOUND = re.compile(
    r"(?P<clock>\d{1,2}):(?P<past>\d\d)(?!\d)"
    r"|(?P<mixed>\d{1,6})(?:[ -]|[ ]and[ ])(?P<top>\d{1,4})/(?P<bottom>\d{1,4})"
    r"|(?P<over>\d{1,9}) ?/ ?(?P<under>\d{1,9})"
    r"|(?P<digits>(?:\d{1,3}(?:,\d{3})+(?!\d)|\d{1,3}(?: \d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)"
    r"(?P<percent>\s?%|[ -]per ?cent(?:age)?\b)?(?P<scale>[ -]?(?:hundred|thousand|million|billion|dozen|K)\b)?"
    r"|(?P<word>[A-Za-z]+)|(?P<vulgar>[½¼¾⅓⅔⅛])"
)
_VULGAR = {"½": (1, 2), "¼": (1, 4), "¾": (3, 4), "⅓": (1, 3), "⅔": (2, 3), "⅛": (1, 8)}


@dataclass(frozen=True, slots=True)
class Grounds:
    """Numbers and constants that a question gives."""

    numbers: tuple[Value, ...]
    """Numbers of the question in order, as digits, words or shares."""
    values: frozenset[Value]
    """These and the values they imply: 20 % implies 0.2, 0.8, 1.2, 80 and 120; 1/4 implies 1, 4, 3/4 and 3."""
    constants: frozenset[Value]
    """Listed constants that need no cue, or whose topics the question names."""
    topics: frozenset[str]
    """Topics of the question, as named by `constants`."""
    percent: bool
    """Whether percentages are mentioned."""
    shares: tuple[Value, ...] = ()
    """Percentages of the question as fractions of one."""


@lru_cache(maxsize=16_384)
def grounds(question: str) -> Grounds:
    """Return the numbers of a question and the constants that it calls for.

    At most 20,000 characters are read.
    """
    question = question[:20_000]
    given: list[Value] = []
    values: set[Value] = set()
    percent = bool(re.search(r"%|per ?cent|discount|tax|interest|tip\b", question, re.IGNORECASE))
    more = _MORE.search(question) is not None
    shares: list[Value] = []
    for value, kind in _numbers(question):
        given.append(value)
        values.add(value)
        if kind == "percent":
            shares.append(_simple(Fraction(value) / 100))
        values.update(_brought(value, kind, percent, more))
    values.update(_counted(question))
    topics = topics_of(question)
    constants = ALWAYS | licensed(topics)
    if _AVERAGE.search(question):
        constants |= frozenset(range(2, min(len(given), 10) + 1))  # as many as are given
    return Grounds(tuple(given), frozenset(values), constants, topics, percent, tuple(shares))


def ground(operand: Operand, given: Grounds, earlier: set[Value], text: str) -> Ground:
    """Return the source of an operand; `text` is its step, whose words may call for a constant."""
    value = magnitude(operand.value)
    candidates = (value, _simple(Fraction(value) / 100)) if operand.percent else (value,)
    for candidate in candidates:
        if candidate in earlier:
            return "earlier"
        if candidate in given.values:
            return "question"
        if candidate in given.constants and not _is_other_month(candidate, given):
            return "constant"
    if any(rounds_to(reached, operand, value) for reached in (*earlier, *given.values) if not isinstance(reached, int)):
        return "earlier"
    if "whole" in given.topics and any(_whole_of(reached, value) for reached in earlier):
        return "earlier"  # 6 full bags of 6.625
    if operand.decimals and _simple(Fraction(value) * 100) in earlier:
        return "earlier"  # 47 % worked out before, used as 0.47
    if _is_other_month(value, given):
        return ""
    return "constant" if any(candidate in cued(text, given.topics) for candidate in candidates) else ""


_MONTHS = frozenset({28, 29, 30, 31})


def _is_other_month(value: Value, given: Grounds) -> bool:
    """Return whether a number counts the days of a month that the question gives in another number."""
    return value in _MONTHS and not _MONTHS.isdisjoint(given.numbers)


_AVERAGE = re.compile(r"\b(?:average[sd]?|mean|averaging)\b", re.IGNORECASE)
_LETTER = r"(?<![A-Za-z'’\\])(?!(?<=\d )[glmhst](?![A-Za-z'’]))[{0}](?![A-Za-z'’])"  # `53 m` is a length
_UNKNOWN = re.compile(rf"{_LETTER.format('b-hj-zB-HJ-Z')}[^=\n]{{0,80}}=|=[^=\n]{{0,80}}?{_LETTER.format('b-zB-HJ-Z')}")


def unknowns(text: str) -> set[Value]:
    """Return the numbers of a step with an equation in an unknown (`6x = 132`), algebra that is not checked here."""
    if "=" not in text or not _UNKNOWN.search(text[:5_000]):
        return set()
    return {value for value, _ in _numbers(text[:5_000])}


def numbers_of(text: str) -> set[Value]:
    """Return the numbers that a step names, in digits or words, without sign; at most 5,000 characters are read."""
    return {magnitude(value) for value, _ in _numbers(text[:5_000])}


_NAMES = re.compile(
    r"[A-Z][\w'’]+(?:, (?:and )?[A-Z][\w'’]+| and [A-Z][\w'’]+){1,12}"
    r"|(?<!\d)\d{1,12}(?:, (?:and )?\d{1,12}| and \d{1,12}){2,20}"
)


_WEEK = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_WEEKDAY = "|".join(_WEEK)
_DAYS = re.compile(rf"\b({_WEEKDAY})s?(?: (?:to|through|thru|till|until) |[ ]?[-–][ ]?)({_WEEKDAY})", re.IGNORECASE)
_COMPANY = re.compile(
    rf"\b(\d{{1,3}}|{'|'.join(WORDS)})(?: of (?:his|her|their|the|my))?(?: \w{{1,15}})? (?:friends|people|others"
    r"|siblings|brothers|sisters|children|kids|co-?workers|colleagues|classmates|roommates|cousins|neighbou?rs|sons|daughters"
    r"|teammates|partners|buddies|guests|companions)\b",
    re.IGNORECASE,
)


def _counted(question: str) -> set[Value]:
    """Return counts of listed things: `Mike, Rita and Anita` are 3, Monday to Saturday 6, he and five friends 6."""
    counts: set[Value] = {
        len(re.findall(r"[A-Z][\w'’]+|\d+", match.group().replace(" and ", ", ")))
        for match in _NAMES.finditer(question)
    }
    for match in _DAYS.finditer(question):
        first, last = (_WEEK.index(day.lower()) for day in match.groups())
        counts.add((last - first) % 7 + 1)
    for match in _COMPANY.finditer(question):
        counts.add(1 + (int(match[1]) if match[1].isdigit() else WORDS[match[1].lower()]))
    return counts


def _simple(value: Fraction) -> Value:
    return value.numerator if value.denominator == 1 else value


def _whole_of(reached: Value, value: Value) -> bool:
    """Return whether a value is a fractional result rounded down or up to an integer."""
    return isinstance(reached, Fraction) and value in (reached // 1, -(-reached // 1))


_MORE = re.compile(
    r"\b(?:more|again|as (?:many|much|\w+ as)|\w+(?:er|ier) than|increas\w*|rais\w*|r[io]se[sn]?|gr[eo]w\w*|gain\w*"
    r"|extra|addition\w*|add(?:s|ed|ing)?|plus|ratio|parts?|total|together|combined|altogether|original\w*|markup"
    r"|marked up|tip)\b",
    re.IGNORECASE,
)
"""Words after which a share may be added to the whole: `a quarter more` makes five quarters."""


def _brought(value: Value, kind: str, percent: bool, more: bool = True) -> set[Value]:
    """Return the values that one given number implies; `more`: a share may be added to the whole."""
    if kind == "percent":
        share = Fraction(value) / 100
        return {_simple(v) for v in (share, 1 - share, 1 + share, 100 - Fraction(value), 100 + Fraction(value))}
    if kind == "part":
        part = Fraction(value)
        top, bottom = part.numerator, part.denominator
        on_top = (Fraction(bottom + top), 1 + part) if more else ()
        return {top, bottom, bottom - top, *(_simple(v) for v in (1 - part, *on_top))}
    if kind == "times":
        return {value + 1, value - 1, _simple(1 / Fraction(value)) if value else 0}
    brought: set[Value] = {_simple(Fraction(value) / 100)}
    if percent and value <= 200:
        brought |= _brought(value, "percent", False)
    if isinstance(value, Fraction) and value.denominator <= 1000:
        brought.add(_simple(value * 100))
    return brought


def _numbers(text: str) -> list[tuple[Value, str]]:
    """Return (value, kind) of all numbers; kind is percent, part, times or empty."""
    numbers: list[tuple[Value, str]] = []
    words: list[tuple[int, str]] = []  # number words that may continue: `one hundred and twenty-five`
    for match in _FOUND.finditer(text):
        word = match["word"]
        if word:
            _take_word(word.lower(), words, numbers)
            continue
        _close_words(words, numbers)
        if match["clock"]:
            hours, minutes = int(match["clock"]), int(match["past"])
            numbers += [(hours, ""), (minutes, ""), (_simple(hours + Fraction(minutes, 60)), "")]
            numbers += [(hours + 12, ""), (hours + minutes, "")]  # in the afternoon; or the ratio 7:11, 18 parts
        elif match["mixed"]:
            if int(match["bottom"]):
                part = Fraction(int(match["top"]), int(match["bottom"]))
                numbers += [(int(match["mixed"]), ""), (part, "part"), (_simple(part + int(match["mixed"])), "")]
        elif match["over"]:
            numbers += [(int(match["over"]), ""), (int(match["under"]), "")]
            if int(match["under"]):
                numbers.append((_simple(Fraction(int(match["over"]), int(match["under"]))), "part"))
        elif match["vulgar"]:
            numbers.append((Fraction(*_VULGAR[match["vulgar"]]), "part"))
        else:
            numbers += _digits(match)
    _close_words(words, numbers)
    return numbers


def _digits(match: re.Match[str]) -> list[tuple[Value, str]]:
    try:
        value = number(match["digits"].replace(" ", ""))[0]
    except Refused:
        return []
    scale = (match["scale"] or "").strip(" -")
    numbers: list[tuple[Value, str]] = [(value, "percent" if match["percent"] else "")]
    if scale:
        numbers.append((value * (1000 if scale == "K" else _SCALES[scale]), ""))
    after = match.string[match.end() : match.end() + 24]
    if re.match(r"[ -]?(?:times|x\b|fold)", after):
        numbers.append((value, "times"))  # 4 times more: 5
    if ratio := re.match(r" ?: ?(\d{1,4})(?!\d)", after):
        numbers.append((value + int(ratio[1]), ""))
    return numbers


def _take_word(word: str, words: list[tuple[int, str]], numbers: list[tuple[Value, str]]) -> None:
    if word in WORDS or word in _SCALES:
        words.append((WORDS.get(word, 0), word))
        return
    if word == "and" and words and words[-1][1] in ("hundred", "thousand"):
        return
    count = _close_words(words, numbers)
    singular = word if word in PARTS else word.removesuffix("s")
    if singular in PARTS:
        numbers.append((Fraction(min(count or 1, PARTS[singular]), PARTS[singular]), "part"))
    ordinal = _ORDINALS.get(word) or WORDS.get(word.removesuffix("th"))
    if ordinal:
        numbers.append((ordinal, ""))
    elif word in ("twice", "double", "doubles", "doubled", "doubling"):
        numbers.append((2, "times"))
    elif word in ("thrice", "triple", "triples", "tripled", "tripling"):
        numbers.append((3, "times"))
    elif word in ("times", "fold") and count:
        numbers.append((count, "times"))
    elif word == "percent" and count:
        numbers.append((count, "percent"))


def _close_words(words: list[tuple[int, str]], numbers: list[tuple[Value, str]]) -> int:
    """Add the number that the collected words make; it is returned (0: none)."""
    if not words:
        return 0
    total, group = 0, 0
    for value, word in words:
        if word in _SCALES:
            scale = _SCALES[word]
            group = max(group, 1) * scale
            if scale >= 1000:
                total, group = total + group, 0
        elif group and (value >= 10) == (group % 100 >= 10) and group % 100:
            # `twenty thirty`: two numbers
            numbers.append((total + group, ""))
            total, group = 0, value
        else:
            group += value
        if word in WORDS:
            numbers.append((value, ""))
    words.clear()
    numbers.append((total + group, ""))
    return total + group
