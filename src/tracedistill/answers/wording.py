"""Words of an answer in one form: without sentence punctuation, articles and case, with operators and signs.

`age > 8` is not `age < 8`, `C++` not `C#`, `A+` not `A-`, `-5 degrees` not `5 degrees`; `the Kitchen.` is `kitchen`.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from tracedistill.answers.cleaning import plain
from tracedistill.answers.units import other_symbols

_ARTICLE = re.compile(r"(?<![\w+#-])(?:the|a|an)(?= \w{2})")
_INITIALS = re.compile(r"\b(?:[a-z]\.)+[a-z]\b")
_EMPHASIS = re.compile(r"(\*\*|__|`)(?=\S)(.{0,400}?\S)\1|(?<![\w*])\*(?=\S)([^*\n]{0,400}?\S)\*(?![\w*])")
_GROUPED = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_KEPT = frozenset("+-#<>=%$&@/\\^~|*!")
_QUOTES = frozenset("'’‘`´")
_MONEY = re.compile(r"[$€£¥₹%]")


@lru_cache(maxsize=16384)
def plain_words(text: str) -> str:
    """Return lower-case words and operators, one blank between them."""
    text = plain(text).casefold()
    text = _EMPHASIS.sub(lambda match: match[2] or match[3], text)
    text = _INITIALS.sub(lambda match: match.group().replace(".", ""), _GROUPED.sub("", text))
    kept = "".join(_kept(text, index, char) for index, char in enumerate(text))
    words = " ".join(kept.split())
    # `x+1` and `x + 1` are one answer; the sign of `-5` and the plus of `A+` stay in place
    words = re.sub(r"(?<=\w)\s?([<>=^|*/&~])\s?(?=[\w-])", r" \1 ", words)
    words = re.sub(r"(?<=\w)([+-])(?=\w)", r" \1 ", words)
    bare = " ".join(_ARTICLE.sub(" ", words).split()) if " " in words else words
    return bare or words or " ".join(text.split())


def same_words(left: str, right: str) -> bool:
    """Return whether two answers are the same words; a currency or percent sign counts only if both have one."""
    one, two = plain_words(left), plain_words(right)
    if one == two:
        return not other_symbols(left, right)
    if bool(_MONEY.search(one)) != bool(_MONEY.search(two)):
        return _MONEY.sub(" ", one).split() == _MONEY.sub(" ", two).split() != []
    return False


def _kept(text: str, index: int, char: str) -> str:
    """Return what one character counts for: itself, a blank, or nothing."""
    if char.isalnum() or char.isspace():
        return char
    before, after = text[index - 1 : index], text[index + 1 : index + 2]
    if char in _QUOTES:
        return "" if before.isalnum() and after.isalnum() else " "
    if char == "_":
        return " "
    if char in ".,":
        inner = (before.isdigit() and after.isdigit()) or (char == "." and after.isalnum() and not before.isspace())
        return char if inner or (char == "." and after.isalnum() and (not before or before.isspace())) else " "
    if char == "-":
        return _dash(text, index, before, after)
    if char == "!":
        return char if after == "=" else " "
    if char == "*":
        if text.count("*") == 1 and before.isalnum() and not after.isalnum():
            return char  # the grade A*
        return char if after not in "*\n" and before not in "*\n" and before and after else " "
    if char == "#":
        return char if before.isalnum() or after.isalnum() else " "
    if char in _KEPT:
        return char
    # symbols of other scripts, arrows and pictures mean something; brackets, quotes and commas do not
    return char if unicodedata.category(char)[0] in "SM" else " "


def _dash(text: str, index: int, before: str, after: str) -> str:
    """Replace a hyphen that joins words by a blank; a sign, a minus between operands and the end of `A-` stay."""
    if before.isalpha() and after.isalpha():
        single = _alone(text, index - 1, -1) and _alone(text, index + 1, 1)
        return "-" if single else " "
    if (before.isdigit() and after.isalpha()) or (before.isalpha() and after.isdigit()):
        return "-" if before.isalpha() and _alone(text, index - 1, -1) else " "
    if before.isspace() and after.isspace():
        left, right = text[:index].split()[-1:], text[index + 1 :].split()[:1]
        operands = left and right and all(len(word[0]) == 1 or word[0].isdigit() for word in (left, right))
        return "-" if operands else " "
    return "-" if before != "-" and after != "-" else " "


def _alone(text: str, index: int, step: int) -> bool:
    """Return whether the letter at a place is a word of one letter on its far side."""
    return not text[index + step : index + step + 1].isalnum() if index + step >= 0 else True
