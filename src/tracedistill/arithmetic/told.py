"""Results that words reach from known numbers: `7 fields of 120 plants make 840, a fourth of which is 210`.

Such a sentence is no written calculation, so nothing in it is judged; but a later step may use what it reaches. Only
what is true counts: 840 is reached from 7 and 120, 850 is not, and stays without a ground.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Set
from fractions import Fraction

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
_RULES: tuple[tuple[tuple[str, ...], re.Pattern[str], Callable[..., bool], int], ...] = tuple(
    (hints, re.compile(pattern, re.IGNORECASE), holds, result)
    for hints, pattern, holds, result in (
        # words without which the pattern is not tried, what is said, whether it is true, the group of the result
        ((" of ", " with "), _PRODUCT, _is_product, 3),
        ((" of ",), _SHARE, _is_share, 3),
        ((" than ",), _COMPARED, _is_compared, 1),
    )
)


def told(text: str, known: Set[Value]) -> set[Value]:
    """Return the results that a step's words reach from numbers that are known."""
    reached: set[Value] = set()
    for holds, groups, result in _said(text[:MAX_CHARS]):
        if holds(known | reached, *groups):
            reached.add(_value(groups[result - 1] or ""))
    return reached


def _said(text: str) -> Iterator[tuple[Callable[..., bool], tuple[str | None, ...], int]]:
    """Yield every sentence of one of these forms, in the order of the text."""
    every = [(match.start(), holds, match.groups(), result) for hints, pattern, holds, result in _RULES
             if any(hint in text for hint in hints) for match in pattern.finditer(text)]  # fmt: skip
    for _, holds, groups, result in sorted(every, key=lambda said: said[0]):
        yield holds, groups, result


def _value(text: str) -> Value:
    value = Fraction(text.replace(",", ""))
    return value.numerator if value.denominator == 1 else value
