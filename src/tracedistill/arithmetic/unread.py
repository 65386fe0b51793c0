"""Lines that look like a calculation but cannot be parsed: `9 ★ 2 = 19` may be false, so it is not called right.

The criterion is looser than the parser: numbers joined by any sign or verb of arithmetic, beside an equality sign or a
word for one and another number. Equations with unknowns (`2x + 4 = 24`) are algebra, not calculations, and are
excluded.
"""

from __future__ import annotations

import re
from functools import lru_cache

from tracedistill.arithmetic.calculations import MAX_CHARS, find_calculations, readable, visible
from tracedistill.arithmetic.notation import WORD_MARK
from tracedistill.arithmetic.spoken import MAYBE

_TOKEN = re.compile(
    r"(?P<stop>[.!?;](?=\s|$)|\n|[<>≤≥≠]=?)"
    r"|(?P<unknown>\\[A-Za-z]+|[\\_{}√∑π]|(?<![^\W\d_'’])[b-hj-zB-HJ-Zα-ω](?![^\W\d_'’])"
    r"|(?<=\d)(?:[A-Za-z](?![A-Za-z])|!)|\bA(?= ?[-*^+/=])|(?<=\d)\((?=[A-Za-z]))"
    r"|(?P<fraction>(?<![\d.])\d{1,9}/\d{1,9}(?![\d./]))"
    r"|(?P<number>\d[\d,]{0,60}(?:\.\d{1,60})?|\.\d{1,60})"
    rf"|(?P<equal>=>?|≈|≅|→|⇒|->|{MAYBE}|\b(?:is|equals|gives|makes|leaves|yields|totals|results in|comes to)\b)"
    r"|(?P<verb>\b(?:multipl(?:y|ying|ied)|divid(?:e|ing|ed)|subtract(?:ing|ed)?|add(?:ed|ing)?|product of|sum of"
    r"|difference (?:of|between)|quotient of)\b)"
    r"|(?P<operator>\b(?:plus|minus|times|mod)\b|(?<![^\W\d_])-(?![^\W\d_])"
    r"|[^\w\s.,;:!?\-'’\"“”()\[\]$£€¥₹%°#&~|<>`\u2060])"
    r"|(?P<word>[^\W\d_]+(?:['’-][^\W\d_]+)*)"
)
_EQUAL = re.compile(rf"[=≈≅→⇒{MAYBE}]|->|\b(?:is|equals|gives|makes|leaves|yields|totals|results in|comes to)\b")
_TWO = re.compile(r"\d\D+\d|\d/\d")
_PARTS = re.compile(r"\b(?:digits?|factors?|multiples?|modul\w*|ratio|proportion)\b", re.IGNORECASE)
# the clause as a string, a letter per token: N number, F fraction, E sign of equality, I word for it, V verb,
# O operator, w word, x unknown
_LETTERS = {"number": "N", "fraction": "F", "operator": "O", "verb": "V", "word": "w", "unknown": "x"}
_LOOKS = re.compile(
    r"[NF]w{0,6}O[wO]{0,3}(?:N|F)(?:w{0,3}O?[NF]){0,20}w{0,6}EO?[wO]{0,2}[NF]"  # 9 ★ 2 = 19
    r"|[NF]w{0,3}E[wO]{0,4}[NF]w{0,4}O[wO]{0,2}[NF]"  # 19 = 9 ★ 2
    r"|F[wO]{0,1}E[wO]{0,2}[NF]|[NF]E[wO]{0,2}F"  # 48/2 = 25
    r"|[NF]w{0,2}Ow{0,2}[NF]w{0,2}I[wO]{0,2}[NF]"  # 9 ★ 2 is 19
    r"|Vw{0,4}[NF]w{1,4}[NF]w{0,3}[IE]w{0,2}[NF]"  # multiplying 9 somehow with 2 gives 19
)


@lru_cache(maxsize=65_536)
def find_unread(text: str) -> tuple[str, ...]:
    """Return the passages of one step that look like a calculation and were not parsed as one.

    At most MAX_CHARS are examined.
    """
    text = visible(text[:MAX_CHARS])
    if not any(map(str.isdigit, text)):
        return ()
    shown = readable(text)
    if not _EQUAL.search(shown):
        return ()
    read = find_calculations(text)
    said = {_numbers(one.text) for one in read if one.true}
    for calculation in read:
        start, end = calculation.sides[0].start, calculation.sides[-1].end
        shown = f"{shown[:start]}{_blank(shown[start:end])}{shown[end:]}"
    if not _EQUAL.search(shown) or not _TWO.search(shown):
        return ()
    # what is repeated beside it in a form that is parsed is understood: `500 apples – 150 so far = 350 (500-150=350)`
    return tuple(passage for passage in _passages(shown) if _numbers(passage) not in said)


_NUMBER = re.compile(r"\d[\d,.]*")


def _numbers(text: str) -> tuple[str, ...]:
    return tuple(number.rstrip(".,") for number in _NUMBER.findall(text))


def _blank(text: str) -> str:
    return ";".ljust(len(text) - 1) + "\n"


def _passages(text: str) -> list[str]:
    passages: list[str] = []
    clause: list[re.Match[str]] = []
    for match in _TOKEN.finditer(text):
        if match.lastgroup == "stop":
            passages += _look(text, clause)
            clause = []
        else:
            clause.append(match)
    return passages + _look(text, clause)


def _look(text: str, clause: list[re.Match[str]]) -> list[str]:
    """Return the passage of a clause that looks like a calculation; empty if there is none, or if it is algebra."""
    letters = "".join(_letter(match) for match in clause)
    look = _LOOKS.search(letters) if "x" not in letters else None
    if not look:
        return []
    written = text[clause[look.start()].start() : clause[look.end() - 1].end()]
    if _PARTS.search(text[clause[0].start() : clause[-1].end()]):
        return []
    return [" ".join(written.replace(WORD_MARK, "").replace(MAYBE, "is").split())[:120]]


def _letter(match: re.Match[str]) -> str:
    kind = match.lastgroup or ""
    if kind == "equal":
        return "I" if match.group()[0].isalpha() or match.group() == MAYBE else "E"
    return _LETTERS[kind]
