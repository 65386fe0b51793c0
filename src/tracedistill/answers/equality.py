"""Whether two answers are the same: exact text, then exact numbers, then structure, then the symbolic worker."""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction

from tracedistill.answers.asked import asked_quantity
from tracedistill.answers.cleaning import flat, plain
from tracedistill.answers.formulas import Outcome, same_formula
from tracedistill.answers.latex import spelled, unwrapped
from tracedistill.answers.measures import contradict, measure
from tracedistill.answers.policy import AnswerPolicy
from tracedistill.answers.quantities import Quantity, quantities
from tracedistill.answers.symbolic import SymbolicBudget
from tracedistill.answers.units import PERCENT, UNITS, convert
from tracedistill.answers.wording import same_words
from tracedistill.records import Verdict

MAX_CHARS = 4000
"""Longer answers are compared as text only."""
_BEFORE = re.compile(
    r"[\s≈~]{0,9}(?:(?:about|approximately|around|exactly|roughly|a|total|of|is)\s{1,9}){0,3}[\s(*]{0,9}\Z",
    re.IGNORECASE,
)
_AFTER_MATH = re.compile(r"(?:\s*+(?:\^\s*\{?\\circ\}?|\^\{?[23]\}?|[²³°)}*./%]|\ba\b|[A-Za-z]{2,}+)){0,60}+\s*\Z")
"""Possessive quantifiers, so that a long run of letters cannot be split in exponentially many ways."""
_AFTER_TEXT = re.compile(r"\s{2,12}[A-Za-z./ ]{1,40}\}?(?:\^\s?\{?[23]\}?)?\s*\Z")
"""Behind a number, what stood in `\\text{}`: letters that are a unit, `m` and `m/s` too."""
_CONSTANTS = frozenset("eidxyzn")
"""Letters that are no unit, however they are set."""
_UNIT_POWER = re.compile(
    r"(\\(?:text|mbox|textrm|mathrm)\s?\{[^{}]{0,40}\}|(?<=\d)\s?\b(?:[ckm]?m|ft|in|yd|mi|inch(?:es)?|feet|units?"
    r"|meters?)"
    r"(?![a-zA-Z]))\s?(?:\^\s?\{?[23]\}?|[²³])"
)
"""The power of a unit, which is no second number."""
_AFTER_NUMBER = re.compile(r"(?:[^\d\\=+*/^]|\^\{?[23]\}?){0,200}+\Z")
_ASSIGNED = re.compile(r"[A-Za-z](?:_?\{?\w{1,3}\}?)?(?:\([a-z]\))?\s*(?:=|≈|\\approx)\s*(?=[^=]+\Z)")
_MONEY = frozenset(["money", "euro", "sterling", "yen", "rupee"])
_SPACED_SIGN = re.compile(r"\A-\s+(?=[$\d.])")
_COMMA = "a comma before other than three digits may be a decimal comma"
_COMMA_DECIMAL = re.compile(r"(-?)(\d{1,30}),(\d{1,30})")
_ABOUT = re.compile(r"\s{0,9}\(?\s{0,9}(?:≈|≃|≅|\\approx(?![a-z])|~=)\s{0,9}")
_HASH = re.compile(r"####\s*(.+?)\s*\Z")


def equal(gold: str, prediction: str, policy: AnswerPolicy | None = None, question: str = "") -> Verdict:
    """Return whether `prediction` states the same answer as `gold`, gold first.

    The outcome is correct, incorrect, missing (an empty prediction) or ungradable (gold that cannot be judged, an
    ambiguous notation, no verdict in time); the reason says which rule decided. Takes at most `policy.seconds`.
    """
    policy = policy or AnswerPolicy()
    outcome, reason = decide(gold, prediction, policy, question, SymbolicBudget(policy.seconds))
    if not prediction.strip() and outcome != "ungradable":
        return Verdict("missing", extracted=None, reason="the prediction is empty")
    return Verdict(outcome, extracted=prediction[:500], reason=reason)


def decide(
    gold: str, prediction: str, policy: AnswerPolicy, question: str, budget: SymbolicBudget
) -> tuple[Outcome, str]:
    """Compare two answers; return outcome and reason. `budget` bounds symbolic work."""
    if not gold.strip():
        return "ungradable", "the gold is empty"
    if len(gold) > MAX_CHARS or len(prediction) > MAX_CHARS:
        return _long(gold, prediction)
    if "####" in gold:
        hashed = _HASH.search(gold)
        gold = hashed[1] if hashed else gold
    if policy.kind in {"choice", "text"}:
        return _words(gold, prediction)
    if gold == prediction:
        return "correct", "same text"
    if policy.kind == "math" and _ABOUT.search(prediction):
        return _either(gold, prediction, policy, question, budget)
    wanted, predicted = read_quantity(gold, policy), read_quantity(prediction, policy)
    if policy.kind == "math" and (wanted is None) != (predicted is None):
        # one side is a number, the other may be a decimal comma or a list: `2,74`
        comma = _comma_decimal(gold if wanted is None else prediction)
        if comma is not None and policy.decimal_comma == "ungraded":
            return "ungradable", _COMMA
        wanted, predicted = wanted or comma, predicted or comma
    if wanted is not None and predicted is not None:
        outcome, reason = same_number(wanted, predicted, policy, question)
        if outcome == "correct" and policy.kind == "math" and _at_odds(gold, wanted, prediction, predicted):
            return "incorrect", "same number of something else"
        if outcome == "incorrect" and policy.kind == "math" and _converted(gold, wanted, prediction, predicted):
            return "correct", "same measure in another unit"
        return outcome, reason
    if policy.kind == "number":
        if wanted is None:
            same = same_words(gold, prediction)
            return ("correct", "same words") if same else ("ungradable", "the gold is not one number")
        return "incorrect", "the prediction is not one number"
    inner = replace(policy, percent="ignore")
    return same_formula(gold, prediction, policy, budget, lambda part, other: decide(part, other, inner, "", budget))


def _either(
    gold: str, prediction: str, policy: AnswerPolicy, question: str, budget: SymbolicBudget
) -> tuple[Outcome, str]:
    """Compare `9/256 ≈ 0.035` by its exact side, then by the other: either states the answer."""
    sides = [side.strip(" ()$") for side in _ABOUT.split(prediction)]
    outcomes = [decide(gold, side, policy, question, budget) for side in sides if side][:3]
    if not outcomes:
        return "incorrect", "the prediction is empty"
    return next((one for one in outcomes if one[0] == "correct"), outcomes[0])


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
    """Return the one quantity that a whole answer string is, or None if it is more or less than that."""
    bare = _UNIT_POWER.sub(lambda match: match[1], unwrapped(text))
    clean = _SPACED_SIGN.sub("-", flat(plain(bare)).strip().rstrip("."))
    if policy.assignment == "value":
        assigned = _ASSIGNED.match(clean)
        if assigned:
            clean = clean[assigned.end() :]
    if not clean or len(clean) > 200:
        return None
    candidates = quantities(clean)
    if len(candidates) != 1:
        return None
    quantity = candidates[0]
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
    in_text = "\\text" in bare or "\\mbox" in bare or "\\mathrm" in bare
    if in_text and _AFTER_TEXT.match(after) and after.strip(" }") not in _CONSTANTS:
        return quantity if _BEFORE.match(before) else None
    unit_like = _AFTER_MATH.match(after) and not (after[:1].isalpha() and after[:2].isalpha() is False)
    return quantity if _BEFORE.match(before) and unit_like else None


def _at_odds(gold: str, wanted: Quantity, prediction: str, predicted: Quantity) -> bool:
    """Return whether two equal numbers measure different things: another name before them, another unit after."""
    sides = []
    for text, quantity in ((gold, wanted), (prediction, predicted)):
        clean = _SPACED_SIGN.sub("-", flat(plain(unwrapped(text))).strip().rstrip("."))
        assigned = _ASSIGNED.match(clean)
        offset = assigned.end() if assigned else 0
        unit = f" {quantity.unit.name}" if quantity.unit else ""
        sides.append((clean[:offset].partition("=")[0].strip(), clean[offset + quantity.end :] + unit))
    (name, after), (other, behind) = sides
    if name and other and name.casefold() != other.casefold():
        return True
    return contradict(after, behind) and not _related(wanted, predicted)


def _converted(gold: str, wanted: Quantity, prediction: str, predicted: Quantity) -> bool:
    """Return whether both numbers have one known unit in which they are equal: 300 cm and 3 m."""
    sizes = []
    for text, quantity in ((gold, wanted), (prediction, predicted)):
        clean = _SPACED_SIGN.sub("-", flat(plain(unwrapped(text))).strip().rstrip("."))
        named = measure(clean[quantity.end :])
        unit = UNITS.get(next(iter(named))) if len(named) == 1 else None
        if unit is None or "^" in clean:
            return False
        sizes.append((unit.dimension, quantity.value * unit.factor))
    return sizes[0] == sizes[1]


def _related(one: Quantity, two: Quantity) -> bool:
    return one.unit is not None and two.unit is not None and one.unit.dimension == two.unit.dimension


def _comma_decimal(text: str) -> Quantity | None:
    """Return what `2,74` is if its comma is a decimal one; None if the text is nothing like it."""
    match = _COMMA_DECIMAL.fullmatch(unwrapped(plain(text)))
    if match is None:
        return None
    value = Fraction(int(match[2] + match[3]), 10 ** len(match[3]))
    return Quantity(0, match.end(), -value if match[1] else value)


def same_number(gold: Quantity, predicted: Quantity, policy: AnswerPolicy, question: str) -> tuple[Outcome, str]:
    """Compare two quantities, each in the unit that the question fixes."""
    unsure = (gold.unsure or predicted.unsure) and policy.decimal_comma == "ungraded"
    if unsure:
        return "ungradable", _COMMA
    if _is_clock(gold) or _is_clock(predicted):
        return _same_time(gold, predicted)
    if gold.unit and predicted.unit and gold.unit.dimension != predicted.unit.dimension:
        pair = {gold.unit.dimension, predicted.unit.dimension}
        if pair & _MONEY and not pair & {"dozen", "percent"}:
            return "incorrect", f"{predicted.unit.name} is not {gold.unit.name}"
    wanted = asked_quantity(question).unit if question and policy.units == "question" else None
    wanted = wanted or (None if gold.unit is UNITS["dozen"] else gold.unit)
    left, right = gold.value, predicted.value
    if policy.units == "question":
        left, right = convert(left, gold.unit, wanted), convert(right, predicted.unit, wanted)
    return same_value(left, right, policy, gold.unit is PERCENT, predicted.unit is PERCENT)


def _is_clock(quantity: Quantity) -> bool:
    return quantity.unit is not None and quantity.unit.dimension == "clock"


def _same_time(gold: Quantity, predicted: Quantity) -> tuple[Outcome, str]:
    """Compare clock times; if one of them lacks am or pm, twelve hours do not matter."""
    if not (_is_clock(gold) and _is_clock(predicted)):
        number, time_of_day = (predicted, gold) if _is_clock(gold) else (gold, predicted)
        if time_of_day.value % 60 == 0 and number.unit is None and 0 < number.value <= 12:
            same = time_of_day.value / 60 % 12 == number.value % 12
            return ("correct" if same else "incorrect"), "a full hour and a number"
        return "incorrect", "one is a time or ratio, the other a number"
    cycle = 1440 if gold.unit is predicted.unit else 720
    same = gold.value % cycle == predicted.value % cycle
    return ("correct", "same time") if same else ("incorrect", "another time")


def same_value(
    gold: Fraction,
    predicted: Fraction,
    policy: AnswerPolicy,
    gold_percent: bool = False,
    predicted_percent: bool = False,
) -> tuple[Outcome, str]:
    """Compare two numbers; whole ones exactly, others within the relative tolerance."""
    if policy.percent == "strict":
        gold, predicted = (gold / 100 if gold_percent else gold), (predicted / 100 if predicted_percent else predicted)
    if _close(gold, predicted, policy):
        return "correct", "same number" if gold == predicted else "same number within the tolerance"
    if policy.percent == "either" and gold_percent != predicted_percent:
        scaled = predicted / 100 if predicted_percent else predicted * 100
        if _close(gold, scaled, policy):
            return "correct", "same number, percent read as hundredths"
    return "incorrect", f"{_shown(predicted)} is not {_shown(gold)}"


def _close(gold: Fraction, predicted: Fraction, policy: AnswerPolicy) -> bool:
    if gold == predicted:
        return True
    if policy.whole == "equal" and gold.denominator == 1 and predicted.denominator == 1:
        return False
    # a tolerance of 0.3 is three tenths, not what a float makes of it
    allowed = max(Fraction(str(policy.rel_tolerance)) * abs(gold), Fraction(str(policy.abs_tolerance)))
    return abs(gold - predicted) <= allowed


def _shown(value: Fraction) -> str:
    if value.denominator == 1:
        whole = value.numerator
        return str(whole) if abs(whole) < 10**30 else f"a number of about {whole.bit_length() * 0.301:.0f} digits"
    return f"{float(value):.6g}" if abs(value) < 10**30 else "a very large number"


# ---- words


def _words(gold: str, prediction: str) -> tuple[Outcome, str]:
    same = same_words(gold, prediction) or same_words(spelled(gold), spelled(prediction))
    return ("correct", "same words") if same else ("incorrect", "other words")
