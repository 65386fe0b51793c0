"""Typography made plain, character for character, so that positions in the text stay what they were."""

from __future__ import annotations

import re
import unicodedata

_PLAIN = str.maketrans(
    "−–—‐‑﹣－\u202f\u2009\u2007\u2008\u200a\u200b\u2060\ufeff\u3000’‘“”＝，％＄：✕∙",
    "-------\u00a0\u00a0\u00a0\u00a0\u00a0    ''\"\"=,%$:×·",
)
"""One character for one character. Every narrow space becomes U+00A0, which only separates thousands."""
_PLAIN |= {
    code: ord(str(unicodedata.decimal(chr(code))))
    for code in range(128, 0x10000)
    if unicodedata.decimal(chr(code), None) is not None
}
"""Digits of other scripts (Arabic, Devanagari, wide) are read as ours."""
_PLAIN |= str.maketrans("٫٬،।︰﹕【】", ".,,.::[]")
_PLAIN |= {code: code - 0xFEE0 for first in (0xFF21, 0xFF41) for code in range(first, first + 26)}
"""Wide letters, as in `答え：Ｄ`."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200c-\u200f\u202a-\u202e\u2066-\u2069]")
_LATEX = re.compile(
    r"\\(?:times|cdot|div|approx|text(?:bf|it|rm|normal)?\s?\{|mbox\s?\{|mathrm\s?\{|mathbf\s?\{|"
    r"quad|qquad|left(?![a-z])|right(?![a-z])|[$%()\[\];: ])"
)
_CALCULATOR = re.compile(r"<<[^<>\n]{0,200}>>")
_CALCULATOR_MONEY = re.compile(r"\$<<[^<>\n]{0,200}>>")
_SYMBOL = {"\\times": "×", "\\cdot": "×", "\\div": "÷", "\\approx": "≈", "\\$": "$", "\\%": "%"}


def plain(text: str) -> str:
    """Return the text with typographic minus, spaces and quotes made ASCII and control characters blanked.

    Same length.
    """
    if not text.isascii():
        text = text.translate(_PLAIN)
        return _CONTROL.sub(" ", text)
    return _CONTROL.sub(" ", text) if not text.isprintable() else text


def flat(text: str) -> str:
    """Return `plain` text with calculator notes (`<<4*4=16>>`) and mere dressing in LaTeX blanked out; same length."""
    if "__" in text:
        text = text.replace("__", "  ")
    if "<<" in text:
        if "$<<" in text:  # the sign goes to the number behind the note
            text = _CALCULATOR_MONEY.sub(lambda match: "$".rjust(len(match.group())), text)
        text = _CALCULATOR.sub(lambda match: " " * len(match.group()), text)
    return _LATEX.sub(_blank, text) if "\\" in text else text


def _blank(match: re.Match[str]) -> str:
    passage = match.group()
    return _SYMBOL.get(passage, "").rjust(len(passage))
