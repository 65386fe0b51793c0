"""Calculations in JSON: `{"expression": "15 / 5", "value": 3}` is read as `15 / 5 = 3`.

The two may stand on lines of their own. What is no pair of an expression of numbers and a number stays as written.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_EXPRESSION = (
    r"[\"'](?:expression|expr|calculation|calc|equation|formula|operation|computation)[\"'] ?: ?"
    r"[\"'](?P<sum>[$£€\d(][^\"'=≈\n]{0,200})[\"']"
)
_VALUE = (
    r"[\"'](?:value|result|answer|output|equals|total)[\"'] ?: ?[\"']?"
    r"(?P<value>-?[$£€]?\d(?:[\d,]{0,20}\d)?(?:\.\d{1,12})?(?: ?[A-Za-z%][A-Za-z %]{0,30})?)[\"']?(?![\d.*/+-])"
)
_BEFORE, _BETWEEN, _AFTER = r"\{(?:[^{}]{0,300}?, ?)?", r"(?:,[^{}]{0,300}?)??, ?", r"(?:,[^{}]{0,300})? ?\}"
_PAIR = re.compile(_BEFORE + _EXPRESSION + _BETWEEN + _VALUE + _AFTER)
_SWAPPED = re.compile(_BEFORE + _VALUE + _BETWEEN + _EXPRESSION + _AFTER)
_SUM_LINE = re.compile(rf"{_EXPRESSION},?")
_VALUE_LINE = re.compile(rf"{_VALUE},?")
_ARITHMETIC = re.compile(r"[\d\s.,$£€%()*/+×÷·−–-]+(?: ?[A-Za-z]{1,12})?")


def with_pairs(texts: Sequence[str]) -> list[str]:
    """Write expressions and their values as calculations; everything else stays."""
    written = []
    waiting = ""
    for text in texts:
        line = text.strip()
        alone, value = _SUM_LINE.fullmatch(line), _VALUE_LINE.fullmatch(line)
        if alone:
            waiting = alone["sum"]
            written.append(text)
        elif value and waiting and _ARITHMETIC.fullmatch(waiting):
            written.append(f"{waiting} = {value['value']}")
            waiting = ""
        else:
            waiting = "" if "}" in line or "{" in line else waiting
            written.append(_SWAPPED.sub(_equation, _PAIR.sub(_equation, text)) if "{" in text else text)
    return written


def _equation(match: re.Match[str]) -> str:
    return f"; {match['sum']} = {match['value']};" if _ARITHMETIC.fullmatch(match["sum"]) else match.group()
