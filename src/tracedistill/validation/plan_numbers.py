"""Numbers of a plan and the part each plays: operand of an instruction, stated result, list index, reference.

3. Multiply the 40 eggs from step 2 by 7, so you get 280.
^index          ^operand         ^reference ^operand ^result
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from tracedistill.answers.words import WORD_NUMBER, word_value
from tracedistill.arithmetic.expressions import Value, simple

Role = Literal["list index", "step reference", "ordinal", "operand", "result", "mention"]
"""operand: of an instructed operation; result: stated as a result; mention: anything else."""


@dataclass(frozen=True, slots=True)
class PlanNumber:
    """One number of a plan."""

    line: int
    """Index of its line."""
    start: int
    """Start in the line, in characters."""
    end: int
    value: Value
    """Its value, without sign."""
    signed: Value
    """Its value with a sign that is not a subtraction."""
    text: str
    """As written."""
    role: Role


def plan_numbers(lines: Sequence[str]) -> list[PlanNumber]:
    """Find all numbers in order. Words count above 12, or if a clause ends by stating them as a result."""
    numbers: list[PlanNumber] = []
    for at, line in enumerate(lines):
        if not line.strip():
            continue
        indices = [match.span() for match in _INDEX.finditer(line) if not _inside(line, match.start())]
        references = [match.span() for match in _REFERENCE.finditer(line)]
        for match in _NUMBER.finditer(line):
            value = _value(match)
            role: Role | None = None
            if any(a <= match.start() < b for a, b in indices):
                role = "list index"
            elif any(a <= match.start() < b for a, b in references):
                role = "step reference"
            if value is not None:
                numbers.append(_number(at, line, match, value, role))
        for match in _WORDS.finditer(line):
            spoken = word_value(match[0])
            if spoken is not None:
                number = _number(at, line, match, spoken, None)
                if spoken > 12 or (number.role == "result" and _ENDS.match(line, number.end)):
                    numbers.append(number)
    return sorted(numbers, key=lambda number: (number.line, number.start))


def words_before(line: str, start: int) -> str:
    """Return up to 120 characters before a number, without the currency signs and markup right before it."""
    return line[max(0, start - 120) : start].rstrip(" \t*_$£€(\\~")


_NUMBER = re.compile(
    r"(?<![\w.])(?<!\d,)(?:(?P<top>\d{1,6})\s?/\s?(?P<bottom>\d{1,6})(?![\d.,/]{0,20}\d)"
    r"|(?P<digits>\d{1,3}(?:(?:,|\{,\})\d{3})+(?!\d)|\d{1,60})(?P<point>\.\d{1,30})?|(?P<bare>\.\d{1,30}))"
    r"(?P<scale>\s?(?:hundred|thousand|million|billion)\b)?",
    re.IGNORECASE,
)
_WORDS = re.compile(rf"\b{WORD_NUMBER}", re.IGNORECASE)
_ENDS = re.compile(r"[\s*_)]*(?:[.,;!?]|$)")
_MINUS = re.compile(r"(?:^|[=(,:$\[{]|[^\d)\]}\w] |\b(?:is|be|equals|to|of|gets?|gives?|by|at|and|or) )\s?[-−–]\$?$")
_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9}
_INDEX = re.compile(
    r"^[\s#>*_+\-•–]*\(?(\d{1,3})[.):](?=[\s*_]|$)|(?:^|[.;:!?]\s+)\**(\d{1,2})[.)]\s+(?=[*A-Z])|(?<=\s)(\d{1,2})\)\s"
)
_REFERENCE = re.compile(
    r"\b(?:steps?|prompts?|parts?|questions?|problems?|equations?|eqs?\.?|formulas?|lines?|tasks?|bullets?"
    r"|instructions?|cases?|options?|hints?)"
    r"\s*[(#]?\d{1,2}(?:\)?\s*(?:,\s*(?:and|or)|,|and|&|or|to|through|[-–])\s*(?:steps?\s*)?[(#]?\d{1,2}(?!\.?\d))*"
    r"(?!\.?\d|\s*[%/+=]|\s\*\s)|#\d{1,2}(?!\d)",
    re.IGNORECASE,
)
_ORDINAL = re.compile(r"(?:st|nd|rd|th)\b")
_OPERATOR_BEFORE = re.compile(
    r"(?:[+*/×÷·^−–]|(?<=[\s\d)\]_?])-|(?<=[\s\d)])x)$"
    r"|\b(?:add(?:ing)?|subtract(?:ing)?|minus|plus|times|over|multiply(?:ing)?|divide(?:d|ing)?|deduct(?:ing)?"
    r"|multiplied by|divided by|(?:multipl|divi|increas|decreas|reduc|scal|rais|lower|count|time)[^.;]{0,90}\bby"
    r"|(?:subtract|deduct|tak|remov)[^.;]{0,90}\bfrom|(?:add)[^.;]{0,90}\bto|out of)$",
    re.IGNORECASE,
)
_OPERATOR_AFTER = re.compile(
    r"(?:\s?[A-Za-z$%]{0,12}){0,3}\s*(?:[+*/×÷·^−x]\s*[\d$(_?\\]|\b(?:plus|minus|multiplied|divided)\b"
    r"|\btimes\s+(?:[\d$(]|the\b|that\b|its\b|as\b))|\s-\s[$\d(_?]"
)
_COEFFICIENT = re.compile(r"[A-Za-z](?![A-Za-z])|\(\w")
_SAYS = re.compile(
    r"(?:[=≈→:]|->|\b(?:is|are|was|were|be|being|equals?|equal to|gets?|gives?|giving|makes?|yields?|leaves?|leaving"
    r"|obtains?|finds?|have|has|becomes?|comes? to|total of|sum of|result of|answer of|remain(?:s|ing)?))"
    r"(?:\s(?:about|approximately|exactly|only|just|a total of|actually|therefore|then|now))*$",
    re.IGNORECASE,
)


def _number(at: int, line: str, match: re.Match[str], value: Fraction, role: Role | None) -> PlanNumber:
    exact = simple(value)
    signed = -exact if _MINUS.search(line[max(0, match.start() - 12) : match.start()]) else exact
    start, end = match.span()
    before = words_before(line, start)
    if signed != exact:
        before = before.rstrip("-−– (")
    return PlanNumber(at, start, end, exact, signed, match[0].strip(), role or _role(line, start, end, before))


def _inside(line: str, at: int) -> bool:
    """Return whether a position is inside round brackets."""
    return line.count("(", 0, at) > line.count(")", 0, at)


def _value(match: re.Match[str]) -> Fraction | None:
    if match["bottom"]:
        return Fraction(int(match["top"]), int(match["bottom"])) if int(match["bottom"]) else None
    plain = (match["digits"] or "0").replace("{,}", "").replace(",", "") + (match["point"] or match["bare"] or "")
    return Fraction(plain) * _SCALES.get((match["scale"] or "").strip().lower(), 1)


def _role(line: str, start: int, end: int, before: str) -> Role:
    after = line[end : end + 50].lstrip("*_)")
    if _ORDINAL.match(after):
        return "ordinal"
    if after.startswith(",") and line[start - 1 : start] == "(":
        return "mention"  # the point (0, K)
    if _COEFFICIENT.match(after) or _OPERATOR_BEFORE.search(before) or _OPERATOR_AFTER.match(after):
        return "operand"
    return "result" if _SAYS.search(before) else "mention"
