"""Results that sentences derive from known numbers: `7 fields of 120 plants make 840, a fourth of which is 210`.

Such a sentence is no written calculation, so it is not judged; but a later step may use its result. Only true ones
count: 840 is derived from 7 and 120, 850 is not, and stays ungrounded.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Set
from fractions import Fraction
from functools import lru_cache

from tracedistill.arithmetic.expressions import Value
from tracedistill.arithmetic.grounding import PARTS, WORDS

MAX_CHARS = 5_000
_NUM = r"[$£€]?(\d[\d,]{0,12}(?:\.\d{1,6})?)(?![\d,]*\d)"
_WORDS = r"(?: (?!of\b|with\b|each\b|is\b|are\b)[A-Za-z'’-]{1,15}){0,3}"
_IS = (
    r",? (?:is|are|was|were|will be|would be|makes?|made|gives?|gave|equals?|means|holds?|contains?|comes? to|totals?"
    r"|adds? up to)(?: (?:a total of|exactly|only|just|about|still|then))? "
)
_COUNT = "|".join(word for word in WORDS if WORDS[word] < 13)
_PART = "|".join(sorted(PARTS, key=len, reverse=True))
_HOW = "(more|older|longer|taller|less|fewer|younger|shorter)"


def _is_product(known: Set[Value], count: str, size: str, result: str) -> bool:
    one, other = _value(count), _value(size)
    return one in known and other in known and one * other == _value(result)


def _is_share(known: Set[Value], count: str | None, part: str, result: str) -> bool:
    top = WORDS.get((count or "one").lower(), 1)
    share = Fraction(top, PARTS[part.lower()])
    return share < 1 and _value(result) / share in known


def _is_compared(known: Set[Value], result: str, by: str, how: str) -> bool:
    less = how.lower() in ("less", "fewer", "younger", "shorter")
    return _value(by) in known and _value(result) + (_value(by) if less else -_value(by)) in known


_PRODUCT = rf"{_NUM}{_WORDS} (?:of|with) {_NUM}{_WORDS}(?: each)?{_IS}{_NUM}"
_SHARE = rf"\b(?:(an?|{_COUNT})[ -])?({_PART})s? of (?:which|that|them|these|those|it|the{_WORDS}){_IS}{_NUM}"
_COMPARED = rf"{_NUM}{_WORDS}, (?:which is |that is )?{_NUM}{_WORDS} {_HOW}{_WORDS} than\b"
_RULES: tuple[tuple[re.Pattern[str], re.Pattern[str], Callable[..., bool], int], ...] = tuple(
    (re.compile(hint), re.compile(pattern, re.IGNORECASE), holds, result)
    for hint, pattern, holds, result in (
        # without which the dearer pattern is not tried, what is said, whether it is true, the group of the result
        (r"(?i) (?:of|with) [$£€]?\d", _PRODUCT, _is_product, 3),
        (r"(?i)(?:hal(?:f|ves?|ved)|th|d|er)s? of (?:which|that|them|these|those|it|the)\b", _SHARE, _is_share, 3),
        (r"(?i) than\b", _COMPARED, _is_compared, 1),
    )
)


def derived(text: str, known: Set[Value]) -> set[Value]:
    """Return the results that a step's words derive from known numbers."""
    reached = _of_each_other(text[:MAX_CHARS], known)
    for holds, groups, result in _said(text[:MAX_CHARS]):
        if holds(known | reached, *groups):
            reached.add(_value(groups[result - 1] or ""))
    return reached


_SENTENCE = re.compile(r"(?<=[.!?;])\s|\n")
_NAMED = re.compile(r"(?<![\w.,/^])[$£€]?(\d[\d,]{0,12}(?:\.\d{1,6})?)(?! ?[-+*/×÷·^=])(%?)(?![\d,]*\d)")
_MOST_NAMED = 6


def _of_each_other(text: str, known: Set[Value]) -> set[Value]:
    """Return what a sentence names after two known numbers and what they make: of 250 toys 10 are bad, so 240 good."""
    reached: set[Value] = set()
    for named in _named(text):
        for place, (value, _) in enumerate(named):
            before = [(one, share) for one, share in named[:place] if one in known or one in reached]
            if value in known or len(before) < 2:
                continue
            for (one, share), (other, other_share) in itertools.combinations(before, 2):
                part = Fraction(one) * other / (100 if share or other_share else 1)
                if value in ((part,) if share or other_share else (part, one + other, abs(one - other))):
                    reached.add(value)
    return reached


@lru_cache(maxsize=4096)
def _named(text: str) -> tuple[tuple[tuple[Value, bool], ...], ...]:
    """Return the numbers of each sentence without a calculation, and whether each is a percentage."""
    found = []
    for sentence in _SENTENCE.split(text):
        if "=" not in sentence:
            numbers = tuple((_value(number), bool(share)) for number, share in _NAMED.findall(sentence))
            if 3 <= len(numbers) <= _MOST_NAMED:
                found.append(numbers)
    return tuple(found)


@lru_cache(maxsize=4096)
def _said(text: str) -> tuple[tuple[Callable[..., bool], tuple[str | None, ...], int], ...]:
    """Return every sentence of one of these forms, in the order of the text."""
    every = [(match.start(), holds, match.groups(), result) for hint, pattern, holds, result in _RULES
             if hint.search(text) for match in pattern.finditer(text)]  # fmt: skip
    return tuple((holds, groups, result) for _, holds, groups, result in sorted(every, key=lambda said: said[0]))


def _value(text: str) -> Value:
    value = Fraction(text.replace(",", ""))
    return value.numerator if value.denominator == 1 else value
