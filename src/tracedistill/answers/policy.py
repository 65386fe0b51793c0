"""The definition of equal answers: a task's explicit policy, and the result of reading a text."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal


@dataclass(frozen=True, slots=True)
class AnswerPolicy:
    """How answers of one task are read and compared; every choice is a field, none is an accident of code."""

    kind: Literal["number", "math", "choice", "text"] = "math"
    """number: one quantity; math: LaTeX or numbers, compared symbolically; choice: a letter; text: words."""
    percent: Literal["ignore", "strict", "either"] = "ignore"
    """ignore: `60%` is 60; strict: `60%` is 0.6 and nothing else; either: both readings are accepted."""
    units: Literal["question", "ignore"] = "question"
    """question: a quantity is converted to the question's unit (1 h 35 is 95 if minutes are asked for); ignore: the
    number is taken unconverted."""
    sets: Literal["unordered", "ordered"] = "unordered"
    """Whether `1, 2` equals `2, 1`. Tuples in parentheses are ordered under both."""
    rel_tolerance: float = 1e-6
    """Allowed relative difference from the gold; for integers only with `whole`."""
    abs_tolerance: float = 0.0
    """Amount by which an answer may differ from the gold."""
    whole: Literal["equal", "tolerance"] = "equal"
    """equal: two whole numbers must be equal; tolerance: they may differ like others (prices, measurements)."""
    decimal_comma: Literal["ungraded", "accept"] = "ungraded"
    """ungraded: `2,74` is neither guessed to be 2.74 nor called wrong; accept: it is 2.74."""
    assignment: Literal["value", "whole"] = "value"
    """value: `x = 5` answers a gold of `5`; whole: the left side belongs to the answer."""
    seconds: float = 1.2
    """Core seconds of symbolic comparison for one judged row, all its readings together; on a busy machine the clock
    may show half as many again."""


@dataclass(frozen=True, slots=True)
class Extracted:
    """An answer read from a text."""

    text: str | None
    """The answer as written; None if none was found."""
    value: Fraction | str | None
    """Normalised: an exact number in the requested unit, a choice letter, or None if only the text is known."""
    reason: str
    """Which rule found it, or why nothing was found; one short sentence."""
    span: tuple[int, int] | None = None
    """Start and end in the text that was read (characters); None if nothing was found."""
    unsure: bool = False
    """True if the notation has two readings (a decimal comma): such an answer is not graded."""
    hedged: bool = False
    """True if the final statement names a choice, range or bound: it is the answer, but not a single number."""


NUMBER = AnswerPolicy(kind="number")
"""The policy of word problems with one number as the answer."""
