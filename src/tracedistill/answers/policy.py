"""What counts as the same answer: the explicit policy of a task, and what was read out of a text."""

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
    """question: a quantity is converted to the unit the question fixes (1 h 35 is 95 where minutes are asked for);
    ignore: the number is taken as it stands."""
    sets: Literal["unordered", "ordered"] = "unordered"
    """Whether `1, 2` equals `2, 1`. Tuples in parentheses are ordered under both."""
    rel_tolerance: float = 1e-6
    """Share of the gold by which an answer may differ from it; of whole numbers only where `whole` says so."""
    abs_tolerance: float = 0.0
    """Amount by which an answer may differ from the gold."""
    whole: Literal["equal", "tolerance"] = "equal"
    """equal: two whole numbers must be equal; tolerance: they may differ like others (prices, measurements)."""
    decimal_comma: Literal["ungraded", "accept"] = "ungraded"
    """ungraded: `2,74` is neither guessed to be 2.74 nor called wrong; accept: it is 2.74."""
    assignment: Literal["value", "whole"] = "value"
    """value: `x = 5` answers a gold of `5`; whole: the left side belongs to the answer."""
    seconds: float = 1.2
    """Core seconds that symbolic comparison may take for one judged row, all its readings together; on a machine that
    is busy otherwise the clock may show half as many again."""


@dataclass(frozen=True, slots=True)
class Extracted:
    """What a reader took out of a text."""

    text: str | None
    """The answer as written; None where none was found."""
    value: Fraction | str | None
    """Normalised: an exact number in the unit asked for, a choice letter, or None where only the text stands."""
    reason: str
    """Which rule found it, or why nothing was found; one short sentence."""
    span: tuple[int, int] | None = None
    """Start and end in the text that was read (characters); None where nothing was found."""
    unsure: bool = False
    """True where the notation has two readings (a decimal comma): such an answer is not graded."""
    hedged: bool = False
    """True where the final statement names a choice, range or bound: it is the answer, and no single number's."""


NUMBER = AnswerPolicy(kind="number")
"""The policy of word problems with one number as the answer."""
