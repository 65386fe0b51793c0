"""The rule that judges the answers of a user's file, inferred from all of its golds and never from an odd one.

340 golds: 338 numbers, "N/A", "unknown"     number; the two exceptions are named, and judged as text
300 texts, one with a backslash              exact
"billing", "delivery", "other", ...          label: few texts, each of them often
{"name": "Ana", "total": 12.5}               json
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from tracedistill.answers import is_day
from tracedistill.errors import InputError

Rule = Literal["exact", "label", "number", "json", "math", "regex", "choice"]
"""exact: the same text; label: one of a closed set; number: the same value, within a tolerance; json: the same value,
keys in any order, numbers as numbers; math: LaTeX and formulas, symbolically; regex: the gold is a pattern that the
answer matches whole; choice: the letter or text of an option."""

RULES: tuple[str, ...] = get_args(Rule)

MOST = 0.9
"""Least share of golds of a kind for the file to be of it."""
SOME = 0.02
"""Least share of formulas among the golds for the others to count as mathematics too."""
LABELS_MOST = 100
"""Most labels of a closed set."""
EACH = 5
"""Least mean count of a label in a closed set."""
LABEL_CHARACTERS = 60
"""Most characters of a label."""
EXCEPTIONS_SHOWN = 5

_NUMBER = re.compile(
    r"(?:[A-Z]{3}\s)?[-+−]?\s*[$€£¥₹]?\s*[-+−]?(?:(?:\d{1,3}(?:,\d{2,3})+|\d+)?(?:\.\d+)?"
    r"|\d{1,3}(?:[. ]\d{3})*,\d+)(?:[eE][-+]?\d{1,3})?"
    r"(?:\s*/\s*\d+)?\s*(?:%|[$€£¥₹]|\s[A-Za-z°]{1,12}|[\u3040-\u9fff]{1,4})?"
)
_WORD = re.compile(r"[A-Za-z]{3}")
_MATH = re.compile(
    r"\\(?:[dt]?frac|sqrt|pi|cdot|times|left|text|infty|begin|boxed|circ|in\b|le|ge|pm|overline|log)|\^\{?\w"
    r"|(?<![A-Za-z_])[A-Za-z]_\{?\w{1,2}\b|\$[^$]+\$"  # x_1, and no snake_case
)
_CODE = re.compile(r"0\d+")
_DECIMAL_COMMA = re.compile(r"\D*\d+(?:\.\d{3})*,(?:\d{1,2}|\d{4,})\D*")
_DECIMAL_POINT = re.compile(r"\D*\d*\.(?:\d{1,2}|\d{4,})\D*")


@dataclass(frozen=True, slots=True)
class JudgeChoice:
    """The judge of a file's answers, and the reason."""

    rule: str
    """A Rule, or `module:function`."""
    cause: str
    labels: Mapping[str, int]
    """label: each label with the number of its golds; else empty."""
    exceptions: tuple[str, ...] = ()
    """Golds that are not of the file's kind, the first few."""
    n_exceptions: int = 0
    """Number of all such golds."""


def describe_judge(judged: JudgeChoice, relative: float | None = None, absolute: float | None = None) -> list[str]:
    """Describe how answers are judged and why, as lines for a person; `relative`, `absolute`: the tolerances."""
    lines = [f"answers are judged as {judged.rule}: {judged.cause}"]
    amounts = [f"{100 * relative:g}%"] if relative is not None else []
    amounts += [f"{absolute:g}"] if absolute is not None else []
    if amounts and judged.rule == "number":
        lines.append(f"  an answer may differ from its gold by {' or '.join(amounts)}")
    if judged.n_exceptions:
        shown = ", ".join(repr(gold[:60]) for gold in judged.exceptions)
        lines.append(f"  but for {judged.n_exceptions} golds: {shown}")
    return lines


def is_number(gold: str) -> bool:
    """Return whether a gold is one number, with or without a unit: `1,200`, `$5`, `60%`, `3/4`, `3.5e+02`, `5 kg`."""
    return _NUMBER.fullmatch(gold) is not None and any(map(str.isdigit, gold)) and not is_day(gold)


def have_decimal_commas(golds: Sequence[str]) -> bool:
    """Return whether the numbers of a file are written with decimal commas: some are, and none with a point."""
    return any(map(_DECIMAL_COMMA.fullmatch, golds)) and not any(map(_DECIMAL_POINT.fullmatch, golds))


def are_codes(golds: Sequence[str]) -> bool:
    """Return whether golds are codes of digits (ZIP codes, PINs): of one length, and some begin with zeros."""
    if not any(map(_CODE.fullmatch, golds)):
        return False
    lengths = Counter(len(gold) for gold in golds if gold.isdecimal())
    return lengths.most_common(1)[0][1] >= MOST * len(golds)


def is_math(gold: str) -> bool:
    """Return whether a gold is a formula: it has a LaTeX command, an exponent or a dollar-quoted formula."""
    return _MATH.search(gold) is not None and ("\n" not in gold or "\\" in gold)


def is_symbolic(gold: str) -> bool:
    """Return whether a gold may be a formula without LaTeX: a number, a pair, an expression; no three-letter word."""
    return is_number(gold) or (not _WORD.search(gold) and any(char.isdigit() for char in gold)) or len(gold) == 1


def is_json(gold: str) -> bool:
    """Return whether a gold is a JSON object or array."""
    if not gold.startswith(("{", "[")):
        return False
    try:
        return isinstance(json.loads(gold), dict | list)
    except (json.JSONDecodeError, RecursionError):
        return False


def judged_by(golds: Sequence[str], choices: int, given: str = "auto", labels: Sequence[str] = ()) -> JudgeChoice:
    """Infer the judge from a file's golds (without blank ones and those of the `choices` multiple-choice rows).

    `given` and `labels` are the recipe's.
    """
    if given == "auto" and labels:
        given = "label"
    if given != "auto":
        return _as_configured(golds, given, labels)
    n = len(golds)
    if choices and choices >= n:
        return JudgeChoice("choice", f"{choices} of {choices + n} rows have choices", {})
    if not n:
        return JudgeChoice("exact", "there are no golds", {})
    for rule, test, what in (
        ("json", is_json, "JSON objects or lists"),
        ("number", is_number, "numbers"),
        ("math", lambda gold: is_math(gold) or is_symbolic(gold), "formulas or numbers"),
    ):
        others = [gold for gold in golds if not test(gold)]
        if rule in ("number", "math") and are_codes(golds):
            continue
        if rule == "math" and sum(map(is_math, golds)) < SOME * n:
            continue  # codes and abbreviations are symbols too
        if rule == "number" and others and all(map(is_math, others)):
            continue  # numbers, and formulas beside them: that is mathematics
        if n - len(others) >= MOST * n:
            return _judged(rule, f"{n - len(others)} of {n} golds are {what}", others)
    counts = _spellings(golds)
    if 1 < len(counts) <= LABELS_MOST and n >= EACH * len(counts) and max(map(len, counts)) <= LABEL_CHARACTERS:
        few = _sorted(counts)
        return JudgeChoice(
            "label", f"{n} golds are {len(few)} different texts, each {n // len(few)} times on average", few
        )
    if are_codes(golds):
        return JudgeChoice(
            "exact", f"{n} golds are digits of one length, some with leading zeros: codes, no numbers", {}
        )
    some = {"numbers": sum(map(is_number, golds)), "formulas": sum(map(is_math, golds))}
    beside = ", ".join(f"{count} {what}" for what, count in some.items() if count)
    return JudgeChoice(
        "exact", f"{n} golds are {len(counts)} different texts{f' ({beside} among them)' if beside else ''}", {}
    )


def _as_configured(golds: Sequence[str], given: str, labels: Sequence[str]) -> JudgeChoice:
    tests = {"number": is_number, "json": is_json}
    others = [gold for gold in golds if given in tests and not tests[given](gold)]
    if given == "label":
        counts = Counter(gold.casefold() for gold in golds)
        known = {label: counts[label.casefold()] for label in labels} if labels else _sorted(_spellings(golds))
        same = {label.casefold() for label in known}
        return _judged("label", "the recipe says so", [gold for gold in golds if gold.casefold() not in same], known)
    return _judged(given, "the recipe says so", others)


def _spellings(golds: Sequence[str]) -> Counter[str]:
    """Merge golds that differ only in case, in their most frequent spelling."""
    spelled = Counter(golds)
    first: dict[str, str] = {}
    for gold, _ in spelled.most_common():
        first.setdefault(gold.casefold(), gold)
    merged = Counter[str]()
    for gold, count in spelled.items():
        merged[first[gold.casefold()]] += count
    return merged


def _sorted(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: item[0].casefold()))


def _judged(rule: str, cause: str, others: Sequence[str], labels: Mapping[str, int] | None = None) -> JudgeChoice:
    shown = tuple(dict.fromkeys(others))[:EXCEPTIONS_SHOWN]
    return JudgeChoice(rule, cause, labels or {}, shown, len(others))


def check_rule(given: str, key: str = "task.judge") -> None:
    """Raise InputError for a judge that is neither auto, nor a rule, nor `module:function`."""
    if given != "auto" and given not in RULES and not _dotted(given):
        raise InputError(f"{key}: unknown judge '{given}'; known: auto, {', '.join(RULES)}, or module:function")


def _dotted(name: str) -> bool:
    module, colon, function = name.partition(":")
    return bool(colon) and all(part.isidentifier() for part in (*module.split("."), *function.split(".")))
