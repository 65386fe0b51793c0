"""Whether two formulas are the same: as written, by structure, by the symbolic worker, else token by token."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

from tracedistill.answers.cleaning import plain
from tracedistill.answers.latex import single_escaped, spelled, unwrapped
from tracedistill.answers.notation import as_latex, ungrouped
from tracedistill.answers.policy import AnswerPolicy
from tracedistill.answers.shapes import Shape, congruence, interval, intervals, named, shape, spread
from tracedistill.answers.symbolic import SymbolicBudget
from tracedistill.answers.wording import same_words

Outcome = Literal["correct", "incorrect", "ungradable"]
Result = tuple[Outcome, str]
Compare = Callable[[str, str], Result]
"""Outcome and reason for one part of a gold and one of an answer."""

UNREAD_GOLD = "the gold cannot be read as mathematics"
UNREAD_ANSWER = "the answer cannot be read as mathematics"
"""Reasons of ungradable verdicts, the same way round for both sides: nothing is known, so nothing is called wrong."""

_MAX_PARTS = 16
_MEMBER = re.compile(r"[A-Za-z]\s*\\in(?![a-z])\s*")
_BASE = re.compile(r"\w{1,400}_\{?\d{1,12}\}?")
_BASED = re.compile(r"[\dA-F]{1,40}_\d{1,3}")
_NEEDS = re.compile(r"[\d\\^_=<>+*/|(]|\b[a-zA-Z]\b")
_POWER_OF = re.compile(r"[a-z]\^\{?[2-9][^-+]{0,200}[-+].{0,200}?[a-z]\^\{?[2-9]")
_VALUE = re.compile(r"[-\s\d./{}]+|\s*\\frac[\d{}\s]+")
_TOKEN = re.compile(r"\\[a-zA-Z]+|[A-Za-z]+|\d+(?:\.\d+)?|\S")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_GREEK = ("Gamma", "gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Upsilon", "Phi", "Psi", "Omega")
r"""Letters that the worker takes for others, and `\gamma`, which it takes for a function in `2\gamma+x`."""
_LETTER = re.compile(rf"\\({'|'.join(_GREEK)})(?![A-Za-z])(?!\s?(?:\\left)?\()")
r"""One of them as a letter: `\Gamma(` is a function."""
_DEGREES = re.compile(
    r"(\\(?:sin|cos|tan|cot|sec|csc)\s{0,4}(?:\^\s{0,4}\{?\d\}?\s{0,4})?\(?\s{0,4})(\d{1,12}(?:\.\d{1,12})?)\s{0,4}"
    r"(?:\^\s{0,4}(?:\{\s{0,4}\\circ\s{0,4}\}|\\circ)|\\degree|°)"
)
r"""An angle that a function is taken of: `\sin 30^\circ` is not the sine of 30."""
_RELATIONS = frozenset(["<", ">", "=", "\\leq", "\\geq", "\\neq", "\\in", "\\notin", "\\equiv"])
_SIGNS = frozenset(["+", "-", "*", "/", "\\pm", "\\mp", "\\cup", "\\cap"])


def same_formula(gold: str, prediction: str, policy: AnswerPolicy, budget: SymbolicBudget, compare: Compare) -> Result:
    """Compare two formulas; `compare` decides their parts, `budget` bounds symbolic work."""
    left, right = spelled(as_latex(plain(gold))), spelled(as_latex(plain(prediction)))
    if left.replace(" ", "") == right.replace(" ", "") and _in_degrees(gold) == _in_degrees(prediction):
        return "correct", "same expression as written"
    if not right:
        return "incorrect", "the prediction is empty"
    if _BASE.fullmatch(left) and _BASE.fullmatch(right):
        return "incorrect", "another number or another base"
    if _BASED.fullmatch(left) and right.isalnum():
        same = left.partition("_")[0] == right
        return ("correct", "same digits") if same else ("incorrect", "other digits")
    if left.isdigit() and _BASED.fullmatch(right):
        same = _decimal(right) == int(left[:400])
        return ("correct", "same number in another base") if same else ("incorrect", "a number in another base")
    if _is_words(left) and (len(left) > 1 or _is_words(right)):
        same = same_words(gold, prediction) or same_words(left, right)
        return ("correct" if same else "incorrect"), "words compared"
    first, second = congruence(left), congruence(right)
    if first and second:
        same = first[1:] == second[1:] and (not first[0] or not second[0] or first[0] == second[0])
        return ("correct" if same else "incorrect"), "congruences compared"
    one, two = _shaped(left, policy), _shaped(right, policy)
    by_shape = _shapes(one, two, policy, compare)
    if by_shape is not None:
        return by_shape
    return _symbolic(left, right, gold, prediction, budget)


def _in_degrees(formula: str) -> bool:
    """Return whether a function is taken of an angle in degrees."""
    return ("circ" in formula or "°" in formula or "degree" in formula) and _DEGREES.search(formula) is not None


def _decimal(based: str) -> int | None:
    """Return the value of `101_2`; None if its digits are none of that base."""
    digits, _, base = based.partition("_")
    try:
        return int(digits, int(base))
    except ValueError:
        return None


def is_words(gold: str) -> bool:
    r"""Return whether a gold is plain words of more than one letter, such as `\text{Evelyn}`."""
    spelling = spelled(gold)
    return len(spelling) > 1 and _is_words(spelling)


def _is_words(spelling: str) -> bool:
    """Return whether an answer is plain words: more than one letter in a row and no symbol of mathematics."""
    return re.fullmatch(r"(?:[A-Za-z][a-z]{2,}|[Nn]o)(?:[\s'-][A-Za-z][a-z]*)*|[A-Za-z]", spelling) is not None


def _shaped(spelling: str, policy: AnswerPolicy) -> Shape:
    if policy.assignment == "value":
        spelling = _MEMBER.sub("", spelling, count=1) if _MEMBER.match(spelling) else spelling
    return shape(spelling)


# ---- structure


def _shapes(gold: Shape, predicted: Shape, policy: AnswerPolicy, compare: Compare) -> Result | None:
    """Compare part by part if both have parts; None if structure does not decide."""
    if max(len(gold.parts), len(predicted.parts)) > _MAX_PARTS:
        return None
    ranges = _ranges(gold, predicted, compare)
    if ranges is not None:
        return ranges
    forms = {gold.form, predicted.form}
    if "cases" in forms:
        return _cases(gold, predicted, compare) if forms == {"cases"} else None
    by_name = _names(gold, predicted, compare)
    if by_name is not None:
        return by_name
    gold, predicted = _spread(gold, predicted)
    forms = {gold.form, predicted.form}
    if "single" in forms or "union" in forms:
        return None
    if forms & {"tuple", "interval", "vector"}:
        return _ordered(gold, predicted, compare)
    if policy.sets == "ordered":
        if len(gold.parts) != len(predicted.parts):
            return "incorrect", f"{len(predicted.parts)} parts, not {len(gold.parts)}"
        return _paired(gold.parts, predicted.parts, compare)
    return _unordered(gold, predicted, compare)


def _ranges(gold: Shape, predicted: Shape, compare: Compare) -> Result | None:
    """Compare intervals, unions and inequalities; None if both are inequalities, or one is neither."""
    plain_pairs = {gold.form, predicted.form} <= {"interval", "tuple"} or gold.form == predicted.form == "list"
    if plain_pairs or {gold.form, predicted.form} <= {"single"}:
        return None
    one, two = intervals(gold), intervals(predicted)
    if one is None or two is None:
        return None
    if len(one) != len(two):
        return "incorrect", f"{len(two)} intervals, not {len(one)}"
    left = list(two)
    for wanted in one:
        match = next((other for other in left if _same_interval(wanted, other, compare)), None)
        if match is None:
            return "incorrect", "another interval"
        left.remove(match)
    return "correct", "same intervals"


def _same_interval(wanted: Shape, other: Shape, compare: Compare) -> bool:
    return wanted.brackets == other.brackets and _paired(wanted.parts, other.parts, compare)[0] == "correct"


def _cases(gold: Shape, predicted: Shape, compare: Compare) -> Result | None:
    if len(gold.parts) != len(predicted.parts):
        return "incorrect", f"{len(predicted.parts)} cases, not {len(gold.parts)}"
    rows = [[cell.strip(" ,") for cell in row.split("&")] for row in gold.parts]
    left = [[cell.strip(" ,") for cell in row.split("&")] for row in predicted.parts]
    unsure = False
    for row in rows:
        match = None
        for other in left:
            outcomes = [compare(one, two)[0] for one, two in zip(row, other, strict=False)]
            unsure |= "ungradable" in outcomes and "incorrect" not in outcomes
            if len(row) == len(other) and set(outcomes) == {"correct"}:
                match = other
                break
        if match is None:
            return None if unsure else ("incorrect", "another case")
        left.remove(match)
    return "correct", "same cases"


def _names(gold: Shape, predicted: Shape, compare: Compare) -> Result | None:
    """Compare `a=2, b=3` by names: with another such list, or with bare values in either order."""
    if gold.form not in {"list", "set", "tuple"} or predicted.form not in {"list", "set", "tuple"}:
        return None
    if len(gold.parts) != len(predicted.parts):
        return None
    one, two = named(gold.parts), named(predicted.parts)
    if one and two and len(dict(one)) == len(one) and len(dict(two)) == len(two):
        values, others = dict(one), dict(two)
        if set(values) != set(others):
            return "incorrect", "other names"
        return _paired(tuple(values.values()), tuple(others[name] for name in values), compare)
    for pairs, bare, turned in ((one, predicted, False), (two, gold, True)):
        if pairs and len(dict(pairs)) == len(pairs) and not (one and two):
            for order in (sorted(pairs), pairs):
                values_in_order = tuple(value for _, value in order)
                sides = (bare.parts, values_in_order) if turned else (values_in_order, bare.parts)
                if _paired(*sides, compare)[0] == "correct":
                    return "correct", "same parts, in the order of their names"
            return "incorrect", "other parts, or another order"
    return None


def _spread(gold: Shape, predicted: Shape) -> tuple[Shape, Shape]:
    r"""Return parts with `\pm` as two, if the other side has more parts."""
    if len(gold.parts) == len(predicted.parts):
        return gold, predicted
    return _wider(gold), _wider(predicted)


def _wider(one: Shape) -> Shape:
    if one.form not in {"list", "set"} or not any("\\pm" in part for part in one.parts):
        return one
    return Shape(one.form, tuple(value for part in one.parts for value in spread(part) or (part,)))


def _ordered(gold: Shape, predicted: Shape, compare: Compare) -> Result | None:
    forms = {gold.form, predicted.form}
    if not forms <= {"tuple", "interval", "vector"}:
        return None
    brackets = {gold.brackets, predicted.brackets}
    free = brackets <= {"<>", "()", "column"} or brackets <= {"<>", "row"}
    if len(brackets) > 1 and not free:
        return "incorrect", f"brackets {predicted.brackets} are not {gold.brackets}"
    if len(gold.parts) != len(predicted.parts):
        return "incorrect", f"{len(predicted.parts)} parts, not {len(gold.parts)}"
    return _paired(gold.parts, predicted.parts, compare)


def _unordered(gold: Shape, predicted: Shape, compare: Compare) -> Result:
    wanted, left = _distinct(gold.parts), _distinct(predicted.parts)
    if len(wanted) != len(left):
        return "incorrect", f"{len(left)} parts, not {len(wanted)}"
    unsure = None
    for part in wanted:
        match = None
        for other in left:
            outcome, reason = compare(part, other)
            unsure = unsure or (reason if outcome == "ungradable" else None)
            if outcome == "correct":
                match = other
                break
        if match is None:
            return ("ungradable", unsure) if unsure else ("incorrect", f"no part equals {part}"[:120])
        left.remove(match)
    return "correct", "same parts"


def _distinct(parts: tuple[str, ...]) -> list[str]:
    """Return the parts without repetitions of the same text."""
    return list({part.replace(" ", ""): part for part in parts}.values())


def _paired(gold: tuple[str, ...], predicted: tuple[str, ...], compare: Compare) -> Result:
    unsure: Result | None = None
    for wanted, other in zip(gold, predicted, strict=True):
        outcome, reason = compare(wanted, other)
        if outcome == "incorrect":
            return outcome, reason
        if outcome == "ungradable":
            unsure = unsure or (outcome, reason)
    return unsure or ("correct", "same parts in order")


# ---- symbols


def _symbolic(left: str, right: str, gold: str, prediction: str, budget: SymbolicBudget) -> Result:
    one, two = (_for_worker(side) for side in (gold, prediction))
    if not _NEEDS.search(two):
        return "incorrect", "words are not the expression"
    both = interval(left), interval(right)
    if both[0] and both[1] and both[0][0] != both[1][0]:
        return "incorrect", "another variable"
    if (
        "=" in two
        and "=" not in one
        and _POWER_OF.search(two.partition("=")[0])
        and _VALUE.fullmatch(two.rpartition("=")[2])
    ):
        return "incorrect", "an equation between variables is no value"
    finding = budget.compare(one, two)
    if finding.outcome == "unparsed-prediction" and "=" in two and "=" not in one:
        # of `A + M + C = 10` the last side is what a bare value is compared with
        side = two.rpartition("=")[2].strip()
        finding = budget.compare(one, side) if side else finding
    if finding.outcome == "equal":
        return "correct", finding.reason
    if finding.outcome == "different":
        return "incorrect", finding.reason
    if finding.outcome.startswith("unparsed"):
        if _differs(left, right):
            return "incorrect", "the same formula with another number, sign or word"
        return "ungradable", UNREAD_GOLD if finding.outcome == "unparsed-gold" else UNREAD_ANSWER
    return "ungradable", finding.reason


def _for_worker(expression: str) -> str:
    """Return the expression without inner dollar signs and in plain LaTeX."""
    text = unwrapped(single_escaped(plain(expression)))
    for sign in ("\\$", "$", "\\(", "\\)"):
        text = text.replace(sign, "")
    latex = ungrouped(as_latex(text)).strip().rstrip(".,;").strip()
    if _in_degrees(latex):
        latex = _DEGREES.sub(r"\1(\2\\pi/180)", latex)
    return _LETTER.sub(lambda match: f"X_{{9{_GREEK.index(match[1]):02}}}", latex)


def _differs(left: str, right: str) -> bool:
    """Return whether two formulas have the same tokens except numbers, signs, relations or words in some places."""
    one, two = _TOKEN.findall(left), _TOKEN.findall(right)
    if len(one) != len(two):
        return False
    pairs = [(first, second) for first, second in zip(one, two, strict=True) if first != second]
    return bool(pairs) and all(_alike(first, second) for first, second in pairs)


def _alike(first: str, second: str) -> bool:
    """Return whether two tokens are of one kind, so that one in the other's place makes another formula."""
    if _NUMBER.fullmatch(first):
        return _NUMBER.fullmatch(second) is not None and float(first) != float(second)
    return any({first, second} <= kind for kind in (_RELATIONS, _SIGNS)) or (first.isalpha() and second.isalpha())
