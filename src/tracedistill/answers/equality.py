"""Whether two answers are the same: exact text, then exact numbers, then structure, then the symbolic worker."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from fractions import Fraction
from typing import Literal

from tracedistill.answers.asked import asked
from tracedistill.answers.cleaning import flat, plain
from tracedistill.answers.latex import Shape, shape, single_escaped, spelled, unwrapped
from tracedistill.answers.policy import AnswerPolicy
from tracedistill.answers.quantities import Quantity, quantities
from tracedistill.answers.symbolic import WORKER
from tracedistill.answers.units import CLOCK, HALF_DAY, PERCENT, UNITS, convert
from tracedistill.records import Verdict

Outcome = Literal["correct", "incorrect", "ungradable"]

MAX_CHARS = 4000
"""Longer answers are compared as text only."""
_MAX_PARTS = 16
_BEFORE = re.compile(
    r"[\s≈~]*(?:(?:about|approximately|around|exactly|roughly|a|total|of|is)\s+){0,3}[\s(*]*\Z", re.IGNORECASE
)
_AFTER_MATH = re.compile(r"(?:\s*+(?:\^\s*\{?\\circ\}?|\^\{?[23]\}?|[²³°)}*./%]|\ba\b|[A-Za-z]{2,}+))*+\s*\Z")
"""Possessive quantifiers, so that a long run of letters cannot be split in exponentially many ways."""
_AFTER_NUMBER = re.compile(r"(?:[^\d\\=+*/^]|\^\{?[23]\}?)*\Z")
_ASSIGNED = re.compile(r"[A-Za-z](?:_?\{?\w{1,3}\}?)?(?:\([a-z]\))?\s*(?:=|≈|\\approx)\s*(?=[^=]+\Z)")
_MEMBER = re.compile(r"[A-Za-z]\s*\\in(?![a-z])\s*")
_TEXT_NOISE = re.compile(r"[^\w\s]|_")
_ARTICLE = re.compile(r"\b(?:the|a|an)\b")
_CLOCKS = (CLOCK, HALF_DAY)
_SPACED_SIGN = re.compile(r"\A-\s+(?=[$\d.])")
_BASE = re.compile(r"\w+_\{?\d+\}?")
_COMMA = "a comma before other than three digits may be a decimal comma"
_COMMA_DECIMAL = re.compile(r"(-?)(\d{1,30}),(\d{1,30})")
_HASH = re.compile(r"####\s*(.+?)\s*\Z")


def equal(gold: str, prediction: str, policy: AnswerPolicy | None = None, question: str = "") -> Verdict:
    """Whether `prediction` states the same answer as `gold`, gold first.

    The outcome is correct, incorrect, missing (an empty prediction) or ungradable (gold that cannot be judged, an
    ambiguous notation, no verdict in time); the reason says which rule decided. Takes at most `policy.seconds`.
    """
    policy = policy or AnswerPolicy()
    deadline = time.monotonic() + policy.seconds
    outcome, reason = decide(gold, prediction, policy, question, deadline)
    if not prediction.strip() and outcome != "ungradable":
        return Verdict("missing", extracted=None, reason="the prediction is empty")
    return Verdict(outcome, extracted=prediction[:500], reason=reason)


def decide(gold: str, prediction: str, policy: AnswerPolicy, question: str, deadline: float) -> tuple[Outcome, str]:
    """Outcome and reason; `deadline` on the monotonic clock bounds symbolic work."""
    if not gold.strip():
        return "ungradable", "the gold is empty"
    if len(gold) > MAX_CHARS or len(prediction) > MAX_CHARS:
        return _long(gold, prediction)
    if "####" in gold:
        hashed = _HASH.search(gold)
        gold = hashed[1] if hashed else gold
    if policy.kind in {"choice", "text"}:
        return _words(gold, prediction, policy)
    if gold == prediction:
        return "correct", "same text"
    wanted, found = read_quantity(gold, policy), read_quantity(prediction, policy)
    if policy.kind == "math" and (wanted is None) != (found is None):
        # one side is a number, the other may be a decimal comma or a list: `2,74`
        comma = _comma_decimal(gold if wanted is None else prediction)
        if comma is not None and policy.decimal_comma == "ungraded":
            return "ungradable", _COMMA
        wanted, found = wanted or comma, found or comma
    if wanted is not None and found is not None:
        return same_number(wanted, found, policy, question)
    if policy.kind == "number":
        if wanted is None:
            same = _plain_words(gold) == _plain_words(prediction)
            return ("correct", "same words") if same else ("ungradable", "the gold is not one number")
        return "incorrect", "the prediction is not one number"
    return _math(gold, prediction, policy, deadline)


def _long(gold: str, prediction: str) -> tuple[Outcome, str]:
    left, right = unwrapped(gold), unwrapped(prediction)
    if left == right:
        return "correct", "same text"
    digits_left, digits_right = left.replace(",", ""), right.replace(",", "")
    if digits_left.isdigit() and digits_right.isdigit():
        same = digits_left.lstrip("0") == digits_right.lstrip("0")
        return ("correct" if same else "incorrect"), "digits compared as text"
    if len(gold) <= MAX_CHARS and len(prediction) > 20 * len(gold) + MAX_CHARS:
        return "incorrect", f"the prediction has {len(prediction)} characters, the gold {len(gold)}"
    return "ungradable", f"an answer of more than {MAX_CHARS} characters is compared as text only"


# ---- numbers


def read_quantity(text: str, policy: AnswerPolicy) -> Quantity | None:
    """The one quantity that a whole answer string is, or None where it is more or less than that."""
    bare = unwrapped(text)
    clean = _SPACED_SIGN.sub("-", flat(plain(bare)).strip().rstrip("."))
    if policy.assignment == "value":
        assigned = _ASSIGNED.match(clean)
        if assigned:
            clean = clean[assigned.end() :]
    if not clean or len(clean) > 200:
        return None
    found = quantities(clean)
    if len(found) != 1:
        return None
    quantity = found[0]
    if quantity.unsure and policy.kind != "number":
        return None
    before, after = clean[: quantity.start], clean[quantity.end :]
    if policy.kind == "number":
        fits = not any(char in before for char in "=+*/^\\(") and _AFTER_NUMBER.match(after)
        return quantity if fits and not after.startswith(("(", "!")) else None
    if quantity.word and before + after:
        return None
    if after[:1] == "^" and not after.startswith(("^\\circ", "^{\\circ")):
        return None
    unit_like = _AFTER_MATH.match(after) and not (after[:1].isalpha() and after[:2].isalpha() is False)
    return quantity if _BEFORE.match(before) and unit_like else None


def _comma_decimal(text: str) -> Quantity | None:
    """What `2,74` is if its comma is a decimal one; None where the text is nothing like it."""
    match = _COMMA_DECIMAL.fullmatch(unwrapped(plain(text)))
    if match is None:
        return None
    value = Fraction(int(match[2] + match[3]), 10 ** len(match[3]))
    return Quantity(0, match.end(), -value if match[1] else value)


def same_number(gold: Quantity, found: Quantity, policy: AnswerPolicy, question: str) -> tuple[Outcome, str]:
    """Compare two quantities, each in the unit that the question fixes."""
    unsure = (gold.unsure or found.unsure) and policy.decimal_comma == "ungraded"
    if unsure:
        return "ungradable", _COMMA
    if gold.unit in _CLOCKS or found.unit in _CLOCKS:
        return _same_time(gold, found)
    wanted = asked(question).unit if question and policy.units == "question" else None
    wanted = wanted or (None if gold.unit is UNITS["dozen"] else gold.unit)
    left, right = gold.value, found.value
    if policy.units == "question":
        left, right = convert(left, gold.unit, wanted), convert(right, found.unit, wanted)
    return same_value(left, right, policy, gold.unit is PERCENT, found.unit is PERCENT)


def _same_time(gold: Quantity, found: Quantity) -> tuple[Outcome, str]:
    """Compare clock times; where one of them does not say am or pm, twelve hours do not matter."""
    if gold.unit not in _CLOCKS or found.unit not in _CLOCKS:
        number, time_of_day = (found, gold) if gold.unit in _CLOCKS else (gold, found)
        if time_of_day.value % 60 == 0 and number.unit is None and 0 < number.value <= 12:
            same = time_of_day.value / 60 % 12 == number.value % 12
            return ("correct" if same else "incorrect"), "a full hour and a number"
        return "incorrect", "one is a time or ratio, the other a number"
    cycle = 1440 if gold.unit is found.unit else 720
    same = gold.value % cycle == found.value % cycle
    return ("correct", "same time") if same else ("incorrect", "another time")


def same_value(
    gold: Fraction, found: Fraction, policy: AnswerPolicy, gold_percent: bool = False, found_percent: bool = False
) -> tuple[Outcome, str]:
    """Compare two numbers; whole ones exactly, others within the relative tolerance."""
    if policy.percent == "strict":
        gold, found = (gold / 100 if gold_percent else gold), (found / 100 if found_percent else found)
    if _close(gold, found, policy):
        return "correct", "same number" if gold == found else "same number within the tolerance"
    if policy.percent == "either" and gold_percent != found_percent:
        scaled = found / 100 if found_percent else found * 100
        if _close(gold, scaled, policy):
            return "correct", "same number, percent read as hundredths"
    return "incorrect", f"{_shown(found)} is not {_shown(gold)}"


def _close(gold: Fraction, found: Fraction, policy: AnswerPolicy) -> bool:
    if gold == found:
        return True
    if policy.whole == "equal" and gold.denominator == 1 and found.denominator == 1:
        return False
    # a tolerance of 0.3 is three tenths, not what a float makes of it
    allowed = max(Fraction(str(policy.rel_tolerance)) * abs(gold), Fraction(str(policy.abs_tolerance)))
    return abs(gold - found) <= allowed


def _shown(value: Fraction) -> str:
    if value.denominator == 1:
        whole = value.numerator
        return str(whole) if abs(whole) < 10**30 else f"a number of about {whole.bit_length() * 0.301:.0f} digits"
    return f"{float(value):.6g}" if abs(value) < 10**30 else "a very large number"


# ---- words


def _words(gold: str, prediction: str, policy: AnswerPolicy) -> tuple[Outcome, str]:
    left, right = _plain_words(gold), _plain_words(prediction)
    if policy.kind == "choice":
        left, right = left.upper(), right.upper()
    return ("correct", "same words") if left == right else ("incorrect", "other words")


def _plain_words(text: str) -> str:
    """Lower-case words without punctuation and articles."""
    lowered = _TEXT_NOISE.sub(" ", spelled(plain(text)).casefold())
    bare = _ARTICLE.sub(" ", lowered) if len(lowered.split()) > 1 else lowered
    return " ".join(bare.split())


# ---- mathematics


def _math(gold: str, prediction: str, policy: AnswerPolicy, deadline: float) -> tuple[Outcome, str]:
    left, right = spelled(plain(gold)), spelled(plain(prediction))
    if left.replace(" ", "") == right.replace(" ", ""):
        return "correct", "same expression as written"
    if not right:
        return "incorrect", "the prediction is empty"
    if _BASE.fullmatch(left) and _BASE.fullmatch(right):
        return "incorrect", "another number or another base"
    if _is_words(left) and (len(left) > 1 or _is_words(right)):
        same = _plain_words(gold) == _plain_words(prediction)
        return ("correct" if same else "incorrect"), "words compared"
    one, two = _shaped(left, policy), _shaped(right, policy)
    by_shape = _shapes(one, two, policy, deadline)
    if by_shape is not None:
        return by_shape
    return _symbolic(gold, prediction, deadline)


def _is_words(spelling: str) -> bool:
    """Whether an answer is plain words: more than one letter in a row and no symbol of mathematics."""
    return re.fullmatch(r"[A-Za-z][a-z]{2,}(?:[\s'-][A-Za-z][a-z]*)*|[A-Za-z]", spelling) is not None


def _shaped(spelling: str, policy: AnswerPolicy) -> Shape:
    if policy.assignment == "value":
        spelling = _MEMBER.sub("", spelling, count=1) if _MEMBER.match(spelling) else spelling
    return shape(spelling)


def _shapes(gold: Shape, found: Shape, policy: AnswerPolicy, deadline: float) -> tuple[Outcome, str] | None:
    """Part by part where both have parts; None where structure does not decide."""
    if gold.form == "single" or found.form == "single" or len(gold.parts) > _MAX_PARTS:
        return None
    ordered = {"tuple", "interval"}
    if gold.form in ordered and found.form in ordered:
        if gold.brackets != found.brackets:
            return "incorrect", f"brackets {found.brackets} are not {gold.brackets}"
        if len(gold.parts) != len(found.parts):
            return "incorrect", f"{len(found.parts)} parts, not {len(gold.parts)}"
        return _paired(gold.parts, found.parts, policy, deadline)
    if gold.form in ordered or found.form in ordered:
        return None
    if policy.sets == "ordered":
        if len(gold.parts) != len(found.parts):
            return "incorrect", f"{len(found.parts)} parts, not {len(gold.parts)}"
        return _paired(gold.parts, found.parts, policy, deadline)
    wanted, left = _distinct(gold.parts), _distinct(found.parts)
    if len(wanted) != len(left):
        # +- stands for two values: the symbolic worker knows how to spread it
        spread = any("\\pm" in part for part in gold.parts + found.parts)
        return None if spread else ("incorrect", f"{len(left)} parts, not {len(wanted)}")
    for part in wanted:
        match = next((other for other in left if decide(part, other, policy, "", deadline)[0] == "correct"), None)
        if match is None:
            return "incorrect", f"no part equals {part}"[:120]
        left.remove(match)
    return "correct", "same parts"


def _distinct(parts: tuple[str, ...]) -> list[str]:
    """The parts without repetitions of the same text."""
    return list({part.replace(" ", ""): part for part in parts}.values())


def _paired(
    gold: tuple[str, ...], found: tuple[str, ...], policy: AnswerPolicy, deadline: float
) -> tuple[Outcome, str]:
    inner = replace(policy, percent="ignore")
    for wanted, other in zip(gold, found, strict=True):
        outcome, reason = decide(wanted, other, inner, "", deadline)
        if outcome != "correct":
            return outcome, reason
    return "correct", "same parts in order"


_NEEDS = re.compile(r"[\d\\^_=<>+*/|(]|\b[a-zA-Z]\b")


def _symbolic(gold: str, prediction: str, deadline: float) -> tuple[Outcome, str]:
    left, right = unwrapped(single_escaped(plain(gold))), unwrapped(single_escaped(plain(prediction)))
    if not _NEEDS.search(right):
        return "incorrect", "words are not the expression"
    finding = WORKER.compare(_quoted(left), _quoted(right), deadline - time.monotonic())
    if finding.outcome == "equal":
        return "correct", finding.reason
    if finding.outcome == "different":
        return "incorrect", finding.reason
    if finding.outcome == "unparsed-prediction":
        return "incorrect", finding.reason
    return "ungradable", finding.reason


def _quoted(expression: str) -> str:
    """The expression without inner dollar signs, which would end the formula that the worker parses."""
    return expression.replace("\\$", "").replace("$", "").replace("\\(", "").replace("\\)", "")
