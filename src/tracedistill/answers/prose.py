"""Formulas in plain prose, without LaTeX: `The roots are x = 1 and x = -2`, `The vertex is at (2, 3)`."""

from __future__ import annotations

import re

from tracedistill.answers.words import word_set

_TOKEN = re.compile(r"\\[a-zA-Z]+\{?|[A-Za-zα-ωΑ-Ω]+|\d[\d,]*(?:\.\d+)?|\s+|.", re.DOTALL)
_FUNCTIONS = word_set(
    "sin cos tan cot sec csc log ln exp sqrt arcsin arccos arctan pi infinity infty inf oo theta mod max min gcd"
)
_SIGNS = frozenset("+-*/^=<>≤≥≠≈±∓×·÷()[]{}|,;√∛π∞°%!²³⁴⁵⁶⁷⁸⁹⁰¹ⁿ⁻⁺₀₁₂₃₄₅₆₇₈₉∪∩∈∅ℝℤ½⅓⅔¼¾⅛⅜⅝⅞_.'−:")
_JOINS = word_set("and or")
_EXACT = re.compile(r"[√∛π∞²³⁴⁵⁶⁷⁸⁹ⁿ½⅓⅔¼¾∪∅ℝ±]|\d\s*/\s*\d")
_VARIABLE = re.compile(
    r"(?<![A-Za-z])[A-Za-zα-ω](?![A-Za-z])|\d[a-z]{1,3}(?![A-Za-z])|\b(?:sin|cos|tan|log|ln|exp"
    r"|sqrt|pi)\b"
)
_RELATED = re.compile(r"[-+*/^=<>≤≥≠×·]|\d[a-zα-ω]|[a-z]\(|[²³⁴⁵⁶⁷⁸⁹⁰¹ⁿ]|[a-z]{2}\b")
_TUPLE = re.compile(r"\A[(\[].+,.+[)\]]\Z|\A\{.+\}\Z", re.DOTALL)
_RATIO = re.compile(r"\d{1,9}(?:\.\d{1,9})?(?:\s?:\s?\d{1,9}(?:\.\d{1,9})?){1,5}(?<!:\d\d)")
"""6 : 5, but no time of day."""
_SCENE = re.compile(
    r"\b(?:when|whenever|if|where|since|because|given|assuming|let|unless|with|for(?: which)?|as"
    r"|by)\s*[($]?\Z",
    re.IGNORECASE,
)
"""Words before a formula that only sets the scene: the value is 12 when x = 3."""
_ROUGHLY = re.compile(r"\b(?:about|approximately|roughly|around|approx\.?|nearly|rounds to)\s*[($]?\Z", re.IGNORECASE)
_EXCEPT = re.compile(
    r"\b(?:except|excluding|other than|but not|not|isn't|never)(?: for| equal to"
    r"| at)?\s*[($]?\Z",
    re.IGNORECASE,
)
_PLAIN_UNIT = re.compile(r"(?<=\d)\s?(?:[ckm]?m|ft|in|yd|mi)[²³]")
_JOIN = re.compile(r"\b(?:and|or)\b(?:\s(?:also|then|by)\b){0,2}")
_LINKED = re.compile(r"(?:\s(?:also|then|by)\b){1,2}")
"""Words that only lead from one solution to the next: `x = 7 and also by x = 0`."""
_SPOKEN_OF = re.compile(
    r"[\s`*$)]{0,4}(?:is|are|was|has|have|had|can|could|will|would|does|do|equals|gives|becomes|intersects?|passes"
    r"|crosses|opens)\b",
    re.IGNORECASE,
)
"""A verb after a formula: the text is about the formula, and the answer follows."""
_EDGE = re.compile(r"\A[\s,;:.!]+|[\s,;:.!'=]+\Z")
MAX = 1500
"""Longer statements have no formula in prose that could be identified."""


def prose_formula(text: str, start: int, end: int) -> tuple[int, int] | None:
    """Return the span of the last run of mathematics of a statement, if it is more than a number; else None."""
    if end - start > MAX:
        start = end - MAX
    formulas: list[tuple[int, int]] = []
    for begin, stop in _runs(text, start, end):
        begin, stop = _trimmed(text, begin, stop)
        run = text[begin:stop]
        if not any(char in "0123456789π∞∅ℝ" for char in run) and not _relates(run):
            continue
        formulas.append((begin, stop))
    for place in range(len(formulas) - 1, -1, -1):
        begin, stop = formulas[place]
        before = text[max(start, begin - 40) : begin]
        if place and (_SCENE.search(before) or _ROUGHLY.search(before)):
            continue
        if _EXCEPT.search(before) or _SPOKEN_OF.match(text, stop, end):
            return None
        return (begin, stop) if _qualifies(text[begin:stop]) else None
    return None


def _qualifies(run: str) -> bool:
    """Return whether a run is a formula: a pair, an exact value with its approximation, or variables in a relation."""
    if _TUPLE.search(run) and any(char.isalnum() for char in run):
        return True
    if _RATIO.fullmatch(run):
        return True
    if _EXACT.search(_PLAIN_UNIT.sub("", run)):
        return "≈" in run or not re.fullmatch(r"[-\d\s/½⅓⅔¼¾²³=.%]+", run)
    return _relates(run)


def _relates(run: str) -> bool:
    bare = _PLAIN_UNIT.sub("", _JOIN.sub(",", run))
    return _VARIABLE.search(bare) is not None and _RELATED.search(bare) is not None


def _runs(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Return maximal runs of mathematical tokens, in order; `and` between two of them belongs to the run."""
    tokens = [(match.group(), match.start(), match.end()) for match in _TOKEN.finditer(text, start, end)]
    kinds = [_kind(token, tokens, place) for place, (token, _, _) in enumerate(tokens)]
    runs: list[tuple[int, int]] = []
    begin = -1
    joined = -1
    for place, (token, left, right) in enumerate(tokens):
        kind = kinds[place]
        if place <= joined:
            continue
        if kind == "join":
            linked = _LINKED.match(text, right, end)
            after = place
            while linked and after + 1 < len(tokens) and tokens[after + 1][1] < linked.end():
                after += 1
            ahead = next((k for k in kinds[after + 1 :] if k != "space"), "word")
            joined = after if begin >= 0 and ahead == "math" else joined
            kind = "math" if begin >= 0 and ahead == "math" else "word"
        if kind == "math" and begin < 0:
            begin = left
        elif kind == "word" and begin >= 0:
            runs.append((begin, left))
            begin = -1
        del token, right
    if begin >= 0:
        runs.append((begin, end))
    return runs


def _kind(token: str, tokens: list[tuple[str, int, int]], place: int) -> str:
    if token.isspace():
        return "word" if "\n" in token else "space"
    if token[0].isdigit() or token in _SIGNS or token.startswith("\\"):
        return "math"
    if not token.isalpha():
        return "word"
    lower = token.lower()
    if lower in _JOINS:
        return "join"
    if lower in _FUNCTIONS or not token.isascii():
        return "math"
    before, after = (tokens[at][0] if 0 <= at < len(tokens) else " " for at in (place - 1, place + 1))
    attached = before[:1].isdigit() or before in _TIGHT or after in _TIGHT or after == "("
    if len(token) == 1:
        if token not in _ARTICLES:
            return "math"
        listed = before in "([" or (after in ",)]" and _bracketed(tokens, place))
        return "math" if attached or listed or _beside(tokens, place) else "word"
    if len(token) <= 3 and before[:1].isdigit() and lower not in _UNITS:
        return "math"  # 12xy
    tied = attached or _beside(tokens, place)
    return "math" if len(token) == 2 and token.islower() and tied and lower not in _UNITS else "word"


_ARTICLES = word_set("a A I")
_TIGHT = frozenset("+-*/^=<>√²³⁴⁵⁶⁷⁸⁹ⁿ_")
_UNITS = word_set(
    "cm mm km kg mg ml ft in is it at to of hr min sec lb oz mi yd th st nd rd am pm so as be by if we he or an mph"
)


def _bracketed(tokens: list[tuple[str, int, int]], place: int) -> bool:
    """Return whether a bracket opens a few tokens before."""
    return any(tokens[at][0] in "([" for at in range(max(0, place - 6), place))


def _beside(tokens: list[tuple[str, int, int]], place: int) -> bool:
    """Return whether an operator is next to a letter, ignoring blanks."""
    for step in (-1, 1):
        at = place + step
        while 0 <= at < len(tokens) and tokens[at][0].isspace():
            at += step
        if 0 <= at < len(tokens) and tokens[at][0] in "+-*/^=<>≤≥≠≈×·":
            return True
    return False


def _trimmed(text: str, begin: int, stop: int) -> tuple[int, int]:
    """Return the run without sentence marks and brackets that it does not close."""
    for _ in range(6):
        run = text[begin:stop]
        match = _EDGE.search(run)
        while match and match.group():
            if match.start() == 0:
                begin += match.end()
            else:
                stop = begin + match.start()
            run = text[begin:stop]
            match = _EDGE.search(run)
        depth = 0
        for char in run:
            depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(char, 0)
        if depth < 0 and run[-1:] in ")]":
            stop -= 1
        elif depth > 0 and run[:1] in "([":
            begin += 1
        elif run[-1:] in "*-+/([" and run:
            stop -= 1
        elif run[:2] == "**":
            begin += 2
        else:
            break
    return begin, stop
