"""Written calculations in prose, found and evaluated exactly: `She sells 16 - 3 - 4 = 9 eggs a day.` is one, and true.

A sentence is read token by token into *sides* (arithmetic expressions, units and currency allowed between their
parts) that equality signs join into calculations. What is not arithmetic for certain (an unknown `2x + 4 = 24`, an
expression cut by words) is not a calculation: nothing is called false that could be read as true.

Rounding policy, stated once: two sides agree if they are equal; or if one is a single number with d decimals and
the other rounds to it (d >= 1: or is cut off to it; d = 0: only for |value| >= 1); or, where both sides are
expressions, within 0.1 %; or, where the sign is an approximate one, within 1 %. A decimal such as 0.33 may stand for
1/3, a percentage for its hundredths or for itself, `1/2` may bind tighter than its spaces say, units of one kind may
be converted, and where a step speaks of remainders or rounding, a quotient may be given as a whole number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from tracedistill.arithmetic.columns import with_columns
from tracedistill.arithmetic.expressions import UNITS, Operand, Refused, Side, Value, agree, evaluate, magnitude, show
from tracedistill.arithmetic.notation import WORD_MARK, is_symbolic, plain
from tracedistill.arithmetic.sentences import BREAK, SentenceReader
from tracedistill.arithmetic.spoken import MAYBE, with_signs

WEAK = frozenset(["is", MAYBE])
"""Words for an equality sign: only a result follows, never another expression."""
APPROXIMATE = frozenset(["≈", "≅", "~="])
"""Signs that promise no more than about."""

MAX_CHARS = 20_000
"""Characters of one step that are read."""

_MAX_SIDES = 60
_MAYBE = re.compile(rf"[=≈≅→⇒{MAYBE}(]|->|\b(?:is|equals|equal|gives|makes)\s+(?:to\s+|about\s+)?[$£€]?[.\d]")
_ANNOTATION = re.compile(r"<<([^<>]{1,400})>>")


@dataclass(frozen=True, slots=True)
class Calculation:
    """One written calculation: expressions joined by equality signs."""

    text: str
    """As written, from the first operand to the last side's."""
    sides: tuple[Side, ...]
    """The expressions, two or more; at least one holds an operator, or they are one quantity in two units."""
    values: tuple[Value, ...]
    """What each side comes to; empty where that was refused."""
    reached: frozenset[Value]
    """Values of all sides and of the operations inside them, without sign."""
    true: bool | None
    """Whether all sides agree under the rounding policy; None where that was refused."""
    reason: str = ""
    """Why it is false or refused."""

    @property
    def operands(self) -> tuple[Operand, ...]:
        """Numbers of the sides that hold an operator, in their order; a result such as `3/4` is not one of them."""
        sides = self.sides[:-1] if self.sides[-1].literal else self.sides
        if not self.operators:
            return self.sides[0].operands  # a conversion: `9 dollars is 900 cents`
        return tuple(operand for side in sides if side.operators for operand in side.operands)

    @property
    def operators(self) -> tuple[str, ...]:
        """Operators of all sides, each one of + - * / ^."""
        return tuple(operator for side in self.sides for operator in side.operators)

    @property
    def result(self) -> Value | None:
        """The value reached: the last side that is a single number, else the last side's value; None where refused."""
        if not self.values:
            return None
        for side, value in zip(reversed(self.sides), reversed(self.values), strict=True):
            if not side.operators:
                return value
        return self.values[-1]


@lru_cache(maxsize=65_536)
def find_calculations(text: str) -> tuple[Calculation, ...]:
    """Return all written calculations of one step, in their order; at most MAX_CHARS of it are read."""
    text = text[:MAX_CHARS]
    if "<<" not in text:
        return tuple(_find(text))
    return tuple(_annotated(text))


def visible(text: str) -> str:
    """Return the text without its calculator annotations `<<...>>`."""
    return _ANNOTATION.sub("", text)


def _annotated(text: str) -> Iterator[Calculation]:
    """Yield calculations around and inside `<<...>>`.

    An annotation that repeats what is written beside it adds nothing.
    """
    written = list(_find(visible(text)))
    results = {side for calculation in written if calculation.true for side in calculation.values}
    yield from written
    for match in _ANNOTATION.finditer(text):
        for calculation in _find(match.group(1)):
            if calculation.true is False or calculation.result not in results:
                yield calculation


def _find(text: str) -> Iterator[Calculation]:
    symbolic = is_symbolic(text)
    text = readable(text)
    if not _MAYBE.search(text):
        return
    calculations = [
        calculation
        for chain, links in _chains(SentenceReader(text, symbolic).read())
        if _any_operator(chain) or _converts(chain)
        if (calculation := _evaluate(text, chain, links, symbolic)) is not None
    ]
    if "(" in text and not symbolic:
        calculations += _beside(text)
        calculations.sort(key=lambda calculation: calculation.sides[0].start)
    yield from calculations


_RULE = re.compile(r"--|__|==|──|\\hline|[─—–━]{2}|\d [─—–━] ")


@lru_cache(maxsize=1024)
def readable(text: str) -> str:
    """Return a text in the notation that the reader reads; positions of calculations refer to it."""
    if _RULE.search(text):
        text = with_columns(text)
    return with_signs(plain(text))


_BESIDE = re.compile(
    r"(?<![\d.,(*/+^=:-])(?P<number>[$£€]?\d[\d,]{0,15}(?:\.\d{1,8})?%?)"
    r"(?P<unit>(?: (?!because|since|if|so|x\b)[A-Za-z]{1,15}){0,2}) ?"
    r"\((?P<sum>[$£€]?\d[^()=≈→\n]{0,80})\)(?! ?[-+*/×÷^=(])"
)
_STATES = re.compile(
    r"\b(?:is|are|was|were|makes?|gives?|has|have|had|gets?|earns?|pays?|costs?|spends?|needs?|leaves?|left|totals?|sells?"
    r"|sold|eats?|ate|uses?|used|bought|buys?|which|so)\b[^.;\d]{0,25}$|[:=⇝]\s*$|gives\s*$",
    re.IGNORECASE,
)


def _beside(text: str) -> Iterator[Calculation]:
    """Yield results that stand before their calculation: `She makes $18 (9 × 2) a day`."""
    for match in _BESIDE.finditer(text):
        stated = f"{match['sum']} = {match['number']}"
        for chain, links in _chains(SentenceReader(stated, symbolic=False).read()):
            if not chain[0].operators or len(chain) != 2:
                continue
            start, end = match.span()
            moved = [replace(side, start=start, end=end) for side in chain]
            calculation = _evaluate(text, moved, links)
            sure = "|" not in chain[0].items and _STATES.search(text[max(0, start - 60) : start])
            if calculation is not None and (calculation.true or sure):
                yield replace(calculation, text=_shown_text(match.group()))


def _evaluate(text: str, chain: list[Side], links: list[str], symbolic: bool = False) -> Calculation | None:
    """Return the calculation of a chain, or None if its falseness may be a misreading (more so in `symbolic` text)."""
    written = _shown_text(text[chain[0].start : chain[-1].end])
    inner: list[Value] = []
    try:
        values = tuple(evaluate(side.items, "", inner) for side in chain)
    except Refused as error:
        true = False if str(error) == "division by zero" else None
        return Calculation(written[:200], tuple(chain), (), frozenset(), true, str(error))
    reached = frozenset(map(magnitude, (*values, *inner)))
    for index in range(1, len(chain)):
        left, right = chain[index - 1], chain[index]
        if agree(left, right, links[index] in APPROXIMATE, (values[index - 1], values[index])):
            continue
        goes_on = left.operators or index < len(chain) - 1
        if goes_on and right.operators and right.operands[0].value == values[index - 1]:
            continue  # a running equals sign: `16 - 3 = 13 - 4 = 9`
        part = links[index] in WEAK and _PART.search(text[max(0, left.start - 60) : left.start])
        unsure = links[index] == MAYBE or part
        rest, on = chain[1:], ["", *links[2:]]
        calculates = len(rest) > 1 and _any_operator(rest)
        if left.doubt and index == 1 and calculates and not right.doubt:
            return _evaluate(text, rest, on, symbolic)  # `Week 1 + Week 2 = 35 + 35 = 70`
        if left.doubt or right.doubt or unsure or (symbolic and _exchanges(left, right)):
            return None  # `unread` says so
        if index == 1 and _named(text, left, links[1], symbolic, values[0]):
            # `1 bedroom = 11 * 11 = 121`, `3/4 is $15`, `5 chickens for $8 = 5 * 8`: nothing is calculated there
            return _evaluate(text, rest, on, symbolic) if calculates else None
        if _WHOLE.search(text) and _whole_part(left, right, values[index - 1 : index + 1]):
            continue
        if not left.operators and not right.operators and left.operands[0].unit != right.operands[0].unit:
            return None  # `40 students = 2 buses`: a conversion in words
        reason = f"{_shown(text, left)} is {show(values[index - 1])}, not {_shown(text, right)}"
        return Calculation(written, tuple(chain), values, reached, False, reason)
    wrong = _wrong_remainder(text, chain, values)
    return Calculation(written, tuple(chain), values, reached, not wrong, wrong)


_REMAINDER = re.compile(
    r"(?: [A-Za-z]{1,15}){0,3},?(?: (?:with|and|plus))?(?: a| an)?"
    r"(?: (?:remainder|rest|rem\.?)(?: (?:of|is|gives|⇝))?:? ?(?P<after>\d{1,15})"
    r"| (?P<before>\d{1,15})(?: [A-Za-z]{1,15}){0,2} (?:left|remaining|remain|remains|over))(?![\d.]*\d)",
    re.IGNORECASE,
)


def _wrong_remainder(text: str, chain: list[Side], values: tuple[Value, ...]) -> str:
    """Return why the remainder that follows `16 / 3 = 5 remainder 2` is wrong; empty if it is right or none follows."""
    divided, quotient = chain[-2], values[-1]
    if tuple(divided.items[1::2]) not in (("/",), ("|",)) or chain[-1].operators or not isinstance(quotient, int):
        return ""
    match = _REMAINDER.match(text, chain[-1].end)
    left, right = (operand.value for operand in divided.operands)
    if match is None or not isinstance(left, int) or not isinstance(right, int) or not right:
        return ""
    rest = left - quotient * right
    if rest == int(match["after"] or match["before"]) and 0 <= rest < magnitude(right):
        return ""
    return f"{_shown(text, divided)} leaves {left % right}, not {match['after'] or match['before']}"


def _named(text: str, side: Side, link: str, symbolic: bool, value: Value) -> bool:
    """Return whether a first side may only name a quantity: a number among words, or a part of something."""
    among_words = side.worded or link in WEAK or symbolic
    if not side.operators:
        return among_words or bool(_NAMED.search(text[max(0, side.start - 20) : side.start]))
    return side.literal and among_words and magnitude(value) < 1


def _exchanges(left: Side, right: Side) -> bool:
    """Return whether a quotient of two units is said to be 1, as exchange rates are: `4 daps / 3 dops = 1`."""
    one = len(right.operands) == 1 and right.operands[0].value == 1 and not right.operands[0].unit
    return one and left.literal and len({operand.unit for operand in left.operands}) > 1


def _converts(chain: list[Side]) -> bool:
    """Return whether two numbers are one quantity in two units; what is not is no calculation."""
    one, other = chain[0].operands[-1], chain[-1].operands[-1]
    if len(chain) != 2 or one.unit == other.unit or one.unit not in UNITS or other.unit not in UNITS:
        return False
    (kind, factor), (other_kind, other_factor) = UNITS[one.unit], UNITS[other.unit]
    return kind == other_kind and one.value * factor == other.value * other_factor


def _any_operator(chain: list[Side]) -> bool:
    return any(side.operators for side in chain)


_PART = re.compile(r"remainder|digit|modul|factor|multiple", re.IGNORECASE)  # `the units digit of 3 * 23 is 9`
_NAMED = re.compile(r"[A-Za-z][ $£€(]*$")
_WHOLE = re.compile(r"\b(?:remain|left ?over|whole|full|round|at (?:least|most)|complete)", re.IGNORECASE)


def _whole_part(left: Side, right: Side, values: tuple[Value, ...]) -> bool:
    """Return whether a side is the other's whole number, and the words speak of rounding or remainders."""
    exact, written = values if left.operators else values[::-1]
    one_number = not (left.operators and right.operators)
    return one_number and isinstance(written, int) and magnitude(exact - written) < 1


def _shown(text: str, side: Side) -> str:
    return _shown_text(text[side.start : side.end])[:80]


def _shown_text(text: str) -> str:
    return text.strip().replace(WORD_MARK, "").replace(MAYBE, "is")


def _chains(events: list[Side | str]) -> Iterator[tuple[list[Side], list[str]]]:
    """Yield sides joined by equality signs, two or more; `links[i]` is the sign before side i."""
    chain: list[Side] = []
    links: list[str] = []
    sign = BREAK
    for event in (*events, BREAK):
        room = 0 < len(chain) < _MAX_SIDES
        if isinstance(event, Side) and sign and room and not (sign in WEAK and event.operators):
            chain.append(event)
            links.append(sign)
            sign = BREAK
            continue
        if isinstance(event, str) and event and chain and not sign:
            if event not in WEAK or (len(chain) == 1 and (chain[0].operators or chain[0].operands[0].unit in UNITS)):
                sign = event
                continue
            event = BREAK
        if len(chain) > 1:
            yield chain, links
        chain, links, sign = [], [], BREAK
        if isinstance(event, Side):
            chain, links = [event], [""]
