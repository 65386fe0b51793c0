"""Equations in unknowns, line by line: `a + 2a + 5 = 65`, `3a = 60`, `a = 20`.

Read are linear equations in single letters. An equation is true if it follows from those before it, and false if it
contradicts them. One that does neither sets the problem up: its numbers need grounds as operands do.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from tracedistill.arithmetic import expressions
from tracedistill.arithmetic.calculations import MAX_CHARS, Calculation, readable
from tracedistill.arithmetic.expressions import Operand, Refused, Value, magnitude, number, rounds_to, show

Form = dict[str, Fraction]
"""A linear expression: unknown -> coefficient; the empty name has the constant."""

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


@dataclass(frozen=True, slots=True)
class Side:
    """One side of an equation."""

    form: tuple[tuple[str, Fraction], ...]
    """The linear expression."""
    numbers: tuple[Operand, ...]
    """Its numbers."""
    literal: bool
    """Whether it is one number."""


@dataclass(frozen=True, slots=True)
class Equation:
    """Two sides that a line says to be equal, at least one with an unknown."""

    text: str
    """As written."""
    left: Side
    """The first side."""
    right: Side
    """The second side."""
    rounded: bool
    """Whether the line speaks of rounding."""
    letters: frozenset[str]
    """Its unknowns."""

    @property
    def numbers(self) -> tuple[Operand, ...]:
        """All numbers of both sides."""
        return self.left.numbers + self.right.numbers


@dataclass(frozen=True, slots=True)
class Followed:
    """What a system of equations says of one more."""

    true: bool | None
    """Whether it follows; None if it is new."""
    values: frozenset[Value]
    """The values of its unknowns, if it has one and the system determines it, and its numbers."""
    value: Value | None
    """What both sides come to, where that is determined."""
    reason: str = ""
    """Why it does not follow."""


class System:
    """Linear equations collected so far, in reduced form."""

    def __init__(self) -> None:
        self.pivots: dict[str, Form] = {}

    def forget(self, letter: str) -> None:
        """Drop what is known of a letter, since it is given a new meaning."""
        self.pivots = {name: form for name, form in self.pivots.items() if name != letter and letter not in form}

    def value(self, form: Form) -> Value | None:
        """Return what an expression comes to; None if that is not determined."""
        reduced = self._reduced(form)
        return None if any(name for name in reduced) else _simple(reduced.get("", Fraction(0)))

    def follow(self, equation: Equation) -> Followed:
        """Return whether an equation follows; a new one is added."""
        left, right = dict(equation.left.form), dict(equation.right.form)
        difference = self._reduced(_combined(left, right, Fraction(-1)))
        numbers = frozenset(magnitude(operand.value) for operand in equation.numbers)
        unknown = next((name for name in difference if name), None)
        if unknown is not None:
            pivot = {name: -share / difference[unknown] for name, share in difference.items() if name != unknown}
            self.pivots = {name: _substituted(form, unknown, pivot) for name, form in self.pivots.items()}
            self.pivots[unknown] = pivot
            return Followed(None, numbers | self._solved(left, right), self.value(right))
        one, other = self.value(left), self.value(right)
        if not difference.get("") or _rounds(equation, one, other):
            return Followed(True, numbers | self._solved(left, right), other if equation.right.literal else one)
        if one is None or other is None:
            reason = "it contradicts the equations before it"
        else:
            reason = f"its sides are {show(one)} and {show(other)} by the equations before it"
        return Followed(False, frozenset(), None, f"{equation.text}: {reason}")

    def _reduced(self, form: Form) -> Form:
        reduced: Form = {"": form.get("", Fraction(0))}
        for name, share in form.items():
            if name in self.pivots:
                reduced = _combined(reduced, self.pivots[name], share)
            elif name:
                reduced = _combined(reduced, {name: Fraction(1)}, share)
        return {name: share for name, share in reduced.items() if share}

    def _solved(self, left: Form, right: Form) -> frozenset[Value]:
        names = {name for form in (left, right) for name in form if name}
        values = [self.value({name: Fraction(1)}) for name in names]
        stated = len(names) == 1 and sum(len(form) for form in (left, right)) == 2
        return frozenset(magnitude(value) for value in values if value is not None) if stated else frozenset()


def _rounds(equation: Equation, left: Value | None, right: Value | None) -> bool:
    """Return whether two sides agree under the rounding policy of calculations."""
    if left is None or right is None:
        return False
    gap = magnitude(left - right)
    for side, exact, written in ((equation.right, left, right), (equation.left, right, left)):
        if side.literal and len(side.numbers) == 1 and side.numbers[0].decimals:
            if rounds_to(exact, side.numbers[0], written) or gap * 1000 <= magnitude(exact):
                return True
        elif side.literal and equation.rounded and isinstance(written, int) and gap < 1:
            return True
    decimals = any(operand.decimals for operand in equation.numbers)
    return (decimals and gap * 1000 <= magnitude(left)) or (equation.rounded and gap * 100 <= magnitude(left))


def _combined(form: Form, other: Form, share: Fraction) -> Form:
    total = dict(form)
    for name, value in other.items():
        total[name] = total.get(name, Fraction(0)) + value * share
    return {name: value for name, value in total.items() if value}


def _substituted(form: Form, name: str, pivot: Form) -> Form:
    if name not in form:
        return form
    rest = {other: share for other, share in form.items() if other != name}
    return _combined(rest, pivot, form[name])


def _simple(value: Fraction) -> Value:
    return value.numerator if value.denominator == 1 else value


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
    for place, token in enumerate(tokens):
        kind = token.lastgroup or ""
        if kind == "letter" and not _is_unknown(tokens, place):
            kind = "word"
        if kind in ("word", "stop"):
            if kind == "word" and run and _is_unit(tokens, place):
                continue
            yield from _equations(
                line, run, before, token.group().lower() if kind == "word" else token.group(), rounded
            )
            run = []
            owner, word = word, token.group().lower()
            if word == "of" and owner in _VALUE_OF:
                word = ""
            continue
        if not run:
            before, word = word, ""
        run.append(token)
    yield from _equations(line, run, before, "", rounded)


def _is_unknown(tokens: Sequence[re.Match[str]], place: int) -> bool:
    """Return whether a single letter is an unknown: it stands beside a sign or a number."""
    token = tokens[place]
    left = tokens[place - 1] if place else None
    right = tokens[place + 1] if place + 1 < len(tokens) else None
    attached = left is not None and left.lastgroup == "number" and left.end() == token.start()
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
    parsed = [_side(tokens) for tokens in sides]
    named = before not in _BEFORE_NUMBER and len(sides[0]) == 1 and sides[0][0].lastgroup == "number"
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


def _side(tokens: Sequence[re.Match[str]]) -> Side | None:
    """Parse one side; None if it is empty, cut off or not linear."""
    try:
        parser = _Parser(tokens)
        form = parser.parse()
    except (Refused, ZeroDivisionError):
        return None
    return Side(tuple(sorted(form.items())), tuple(parser.numbers), not any(form) and len(parser.numbers) == 1)


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
            form = _combined(form, self._product(depth), Fraction(1 if _sign(token) == "+" else -1))
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
