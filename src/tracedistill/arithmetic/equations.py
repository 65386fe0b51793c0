"""Equations in unknowns, line by line: `a + 2a + 5 = 65`, `3a = 60`, `a = 20`.

Read are linear equations in single letters. An equation is true if it follows from those before it, and false if it
contradicts them. One that does neither sets the problem up: its numbers need grounds as operands do.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence, Set
from fractions import Fraction
from functools import lru_cache

from tracedistill.arithmetic import expressions
from tracedistill.arithmetic.calculations import MAX_CHARS, Calculation, readable
from tracedistill.arithmetic.expressions import Operand, Refused, number
from tracedistill.arithmetic.linear import Equation, Followed, Form, LinearSide, combined

EQUATION = "="
"""The operator of a calculation that is an equation in unknowns."""
_MAX_TOKENS = 400
_TOKEN = re.compile(
    r"(?P<number>(?:\d{1,3}(?:,\d{3})+(?!\d)|\d{1,30})(?:\.\d{1,20})?|\.\d{1,20})"
    r"|(?P<equal>==?(?!>)|≈|≅)"
    r"|(?P<operator>[-+*/×÷·−–⋅∗])"
    r"|(?P<open>[(\[])|(?P<close>[)\]])"
    r"|(?P<currency>[$£€])"
    r"|(?P<letter>(?<![^\W\d_'’])[A-Za-z](?![^\W\d_'’]|['’_]))"
    r"|(?P<word>[^\W\d_]+(?:['’_-][^\W_]+)*)"
    r"|(?P<stop>[^\s])"
)
_SIGNS = {"×": "*", "·": "*", "⋅": "*", "∗": "*", "÷": "/", "−": "-", "–": "-"}
_UNIT_LETTERS = frozenset("gmlhst")
_BEFORE_NUMBER = frozenset({
    "", "so", "then", "that", "thus", "is", "get", "gives", "have", "and", "equation", "know", "therefore", "hence",
    "means", "us", "find", "obtain", "be", "becomes", "now", "solve", "as", "to", "where", "since", "because", "sides",
})  # fmt: skip
"""Words before an equation that begins with a number; that of other words is a name, as in `section 2 = x + 200`."""
_CUT_BEFORE = frozenset({"twice", "half", "double", "triple", "times", "thrice", "plus", "minus", "by", "than", "third",
                         "quarter", "over", "divided", "multiplied", "of"})  # fmt: skip
"""Words before an expression that belong to it."""
_VALUE_OF = frozenset({"value", "cost", "price", "age", "number", "amount", "total", "values"})
"""Words after which `of x` is x itself."""
_CUT_AFTER = frozenset({"more", "less", "fewer", "times", "plus", "minus", "over", "divided", "multiplied", "percent",
                        "dozen", "hundred", "thousand", "million", "half", "of", "or"})  # fmt: skip
"""Words after an expression with which it is not complete."""
_SUPPOSED = re.compile(
    r"\b(?:if|suppose|assum\w*|try|tries|trying|guess\w*|test\w*|when|either|could|would|not|cannot|unless)\b|[≠<>≤≥±^√²³]",
    re.IGNORECASE,
)
"""Lines that may state what does not hold."""
_LET = re.compile(r"\b(?:let|call|say|define)\b(?: us| the| variable| unknown){0,2} ?\$?([A-Za-z])\b", re.IGNORECASE)
_NOT_LINEAR = re.compile(
    r"(?<![^\W\d_])[A-Za-z] ?[*·×]? ?\([^()=\n]{0,40}(?<![^\W_])[A-Za-z]\b[^()=\n]{0,40}\)[^=\n]{0,40}="
    r"|/ ?\(?[^()=\n]{0,20}(?<![^\W_])[A-Za-z]\b[^=\n]{0,40}="
    r"|(?<![^\W\d_])[A-Za-z] ?[*·×] ?[A-Za-z](?![^\W\d_])|(?<![^\W\d_])[A-Za-z)] ?(?:\^|\*\*|[²³])"
)
_ROUNDED = re.compile(r"[≈≅]|\b(?:about|approx\w*|round\w*|nearly|almost)\b", re.IGNORECASE)
_BARE = re.compile(r"(?<![^\W_'’])(?<![\d)] )(?<![\d)])([A-Za-z])(?= ?[-+*/×÷=)])")
_HINT = re.compile(r"(?<![^\W\d_'’])[A-Za-z](?![^\W\d_'’])")


def defined(text: str) -> frozenset[str]:
    """Return the letters that a line gives a meaning: x of `Let x be the number of stamps`."""
    return frozenset(_LET.findall(text))


def bare_letters(texts: Sequence[str]) -> frozenset[str]:
    """Return the letters that stand for themselves somewhere: m of `m = 5`, not of `5 m + 3 m`."""
    return frozenset(letter for text in texts if "=" in text for letter in _BARE.findall(text))


def are_units(letters: frozenset[str], bare: Set[str]) -> bool:
    """Return whether letters may be units: 5 m + 3 m = 8 m."""
    return not (letters & _UNIT_LETTERS) <= bare


def calculation_of(equation: Equation, followed: Followed) -> Calculation:
    """Return an equation as a calculation; its operands are the numbers of one that sets the problem up."""
    operands = equation.numbers if followed.true is None else ()
    side = expressions.Side(operands, operands, (EQUATION,), 0, 0)
    values = () if followed.value is None else (followed.value,)
    return Calculation(equation.text, (side,), values, followed.values, followed.true is not False, followed.reason)


@lru_cache(maxsize=16_384)
def has_unread_equation(text: str) -> bool:
    """Return whether a step has an equation in unknowns that is not linear, or that may only be supposed."""
    shown = readable(text[:MAX_CHARS])
    if _NOT_LINEAR.search(shown):
        return True
    return _SUPPOSED.search(shown) is not None and _BARE.search(shown) is not None and "=" in shown


@lru_cache(maxsize=16_384)
def find_equations(text: str) -> tuple[Equation, ...]:
    """Return the linear equations of one step that hold an unknown, in their order."""
    text = text[:MAX_CHARS]
    if not ("=" in text or "≈" in text) or not _HINT.search(text):
        return ()
    shown = readable(text)
    rounded = _ROUNDED.search(shown) is not None
    equations: list[Equation] = []
    for line in re.split(r"\n|;|(?<=[.!?])\s|→|⇒|=>|->|,(?!\d)", shown):
        if "=" not in line and "≈" not in line:
            continue
        if _SUPPOSED.search(line):
            continue
        equations += _in_line(line, rounded)
    return tuple(equations)


def _in_line(line: str, rounded: bool) -> Iterator[Equation]:
    tokens = list(_TOKEN.finditer(line))[:_MAX_TOKENS]
    run: list[re.Match[str]] = []
    before = word = ""
    is_cut = False  # whether an operator waits for its right side: `sales (H) + other sales (10H) = 88`
    for place, token in enumerate(tokens):
        kind = token.lastgroup or ""
        if kind == "letter" and not _is_unknown(tokens, place):
            kind = "word"
        if kind in ("word", "stop"):
            if kind == "word" and run and _is_unit(tokens, place):
                continue
            is_cut = (bool(run) and run[-1].lastgroup == "operator") or (is_cut and not run)
            yield from _equations(
                line, run, before, token.group().lower() if kind == "word" else token.group(), rounded
            )
            run = []
            owner, word = word, token.group().lower()
            if word == "of" and owner in _VALUE_OF:
                word = ""
            continue
        if not run:
            before, word = ("of" if is_cut else word), ""
            is_cut = False
        run.append(token)
    yield from _equations(line, run, before, "", rounded)


def _is_unknown(tokens: Sequence[re.Match[str]], place: int) -> bool:
    """Return whether a single letter is an unknown: it stands beside a sign or a number."""
    token = tokens[place]
    left = tokens[place - 1] if place else None
    right = tokens[place + 1] if place + 1 < len(tokens) else None
    attached = left is not None and left.lastgroup in ("number", "close") and left.end() == token.start()
    signs = ("operator", "equal", "open", "close")
    if attached:
        return True
    if left is not None and left.lastgroup in ("operator", "equal", "open"):
        return True
    return right is not None and right.lastgroup in signs and not (right.lastgroup == "open" and token.group() in "aAI")


def _is_unit(tokens: Sequence[re.Match[str]], place: int) -> bool:
    """Return whether a word is a unit inside an expression: `5p + 3 dollars = 18`."""
    left = tokens[place - 1]
    right = tokens[place + 1] if place + 1 < len(tokens) else None
    beside = left.lastgroup == "number" and right is not None and right.lastgroup in ("operator", "equal", "close")
    return beside and tokens[place].group().lower() not in _CUT_AFTER


def _equations(line: str, run: list[re.Match[str]], before: str, after: str, rounded: bool) -> Iterator[Equation]:
    """Yield the equations of one run of tokens between words."""
    sides: list[list[re.Match[str]]] = [[]]
    for token in run:
        if token.lastgroup == "equal":
            sides.append([])
        else:
            sides[-1].append(token)
    if len(sides) < 2:
        return
    if len(sides) > 2:
        sides = [part for place, side in enumerate(sides) for part in _lines(side, 0 < place < len(sides) - 1)]
    parsed = [_side(tokens) if tokens else None for tokens in sides]
    first = sides[0][0].lastgroup if sides[0] else ""
    named = before not in _BEFORE_NUMBER and (first == "open" or (first == "number" and len(sides[0]) == 1))
    if named or before in _CUT_BEFORE or (sides[0] and sides[0][0].group() in "+*/×÷·"):
        parsed[0] = None
    if after in _CUT_AFTER or after in ("%", "^", "!"):
        parsed[-1] = None
    for place, (left, right) in enumerate(itertools.pairwise(parsed)):
        if left is None or right is None:
            continue
        letters = frozenset(name for side in (left, right) for name, _ in side.form if name)
        if not letters:
            continue
        text = line[sides[place][0].start() : sides[place + 1][-1].end()].strip()
        yield Equation(text[:120], left, right, rounded, letters)


def _lines(side: list[re.Match[str]], between: bool) -> list[list[re.Match[str]]]:
    """Return a side between two others, cut where a line may have ended: 24 and b in `3b = 24 b = 8`.

    An empty side stands between the two parts.
    """
    for place in range(1, len(side)):
        left, right = side[place - 1], side[place]
        apart = left.end() < right.start() and left.lastgroup in ("number", "letter", "close")
        if between and apart and right.lastgroup in ("number", "letter", "open"):
            return [side[:place], [], side[place:]]
    return [side]


def _side(tokens: Sequence[re.Match[str]]) -> LinearSide | None:
    """Parse one side; None if it is empty, cut off or not linear."""
    try:
        parser = _Parser(tokens)
        form = parser.parse()
    except (Refused, ZeroDivisionError):
        return None
    return LinearSide(tuple(sorted(form.items())), tuple(parser.numbers), not any(form) and len(parser.numbers) == 1)


class _Parser:
    """Parses tokens as a linear expression; `2a`, `2(a + 1)` and `3 x 4` are products."""

    def __init__(self, tokens: Sequence[re.Match[str]]) -> None:
        self.tokens = [token for token in tokens if token.lastgroup != "currency"]
        self.place = 0
        self.numbers: list[Operand] = []

    def parse(self) -> Form:
        """Return the expression. Raises Refused if the tokens are none, or more than one."""
        form = self._sum(0)
        if self.place < len(self.tokens):
            raise Refused("more than an expression")
        return form

    def _next(self) -> re.Match[str] | None:
        return self.tokens[self.place] if self.place < len(self.tokens) else None

    def _sum(self, depth: int) -> Form:
        if depth > 20:
            raise Refused("too deep")
        form = self._product(depth)
        while (token := self._next()) and token.lastgroup == "operator" and _sign(token) in "+-":
            self.place += 1
            form = combined(form, self._product(depth), Fraction(1 if _sign(token) == "+" else -1))
        return form

    def _product(self, depth: int) -> Form:
        form = self._factor(depth)
        while token := self._next():
            sign = "*"
            if token.lastgroup == "operator":
                sign = _sign(token)
                if sign in "+-":
                    break
                self.place += 1
            elif token.lastgroup == "letter" and token.group() in "xX" and self._is_times():
                self.place += 1
            elif token.lastgroup not in ("letter", "open", "number"):
                break
            elif token.lastgroup == "number":
                raise Refused("two numbers side by side")
            other = self._factor(depth)
            if sign == "/":
                form = _scaled(form, 1 / _constant(other))
            elif any(form) and any(other):
                raise Refused("a product of unknowns")
            else:
                form = _scaled(other, _constant(form)) if any(other) else _scaled(form, _constant(other))
        return form

    def _is_times(self) -> bool:
        """Return whether an x is a sign between two numbers: `3 x 4`."""
        if not self.place or self.place + 1 >= len(self.tokens):
            return False
        left, right = self.tokens[self.place - 1], self.tokens[self.place + 1]
        apart = left.end() < self.tokens[self.place].start()
        return apart and left.lastgroup in ("number", "close") and right.lastgroup in ("number", "open")

    def _factor(self, depth: int) -> Form:
        token = self._next()
        if token is None:
            raise Refused("cut off")
        self.place += 1
        if token.lastgroup == "operator" and _sign(token) in "+-":
            return _scaled(self._factor(depth + 1), Fraction(1 if _sign(token) == "+" else -1))
        if token.lastgroup == "number":
            value, decimals = number(token.group())
            self.numbers.append(Operand(token.group(), value, decimals))
            return {"": Fraction(value)} if value else {}
        if token.lastgroup == "letter":
            return {token.group(): Fraction(1)}
        if token.lastgroup == "open":
            form = self._sum(depth + 1)
            closing = self._next()
            if closing is None or closing.lastgroup != "close":
                raise Refused("a parenthesis that is not closed")
            self.place += 1
            return form
        raise Refused("no operand")


def _sign(token: re.Match[str]) -> str:
    return _SIGNS.get(token.group(), token.group())


def _constant(form: Form) -> Fraction:
    if any(form):
        raise Refused("not linear")
    return form.get("", Fraction(0))


def _scaled(form: Form, share: Fraction) -> Form:
    return {name: value * share for name, value in form.items() if value * share}
