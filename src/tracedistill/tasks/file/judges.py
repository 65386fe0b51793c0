r"""The judges of answers to a user's own problems; `problem.meta["judge"]` names the rule.

number, tolerance 2%      gold 250, "Answer: about 253"              correct
label                     gold delivery, "I'd say: **Delivery**."     correct; two labels named: missing
json                      gold {"total": 12.5}, '```json {"total": 12.50}```'   correct
regex                     gold INV-\d{4}, "Answer: INV-0042"         correct
my_judges:same_rows       `same_rows(answer, problem)` returns True, False or a Verdict
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Literal, cast

import regex

from tracedistill import answers
from tracedistill.chat.formats import parse_completion
from tracedistill.errors import InputError
from tracedistill.files import file_hash
from tracedistill.plugins import import_object
from tracedistill.records import AnswerVerdicts, Problem, Verdict
from tracedistill.tasks.file.judge_choice import RULES, is_json, is_number

READ_CHARS = 60_000
"""Characters at the end of an output that are searched for JSON."""
TRIES = 200
"""Most brackets from which parsing JSON is tried."""
PATTERN_SECONDS = 1.0
"""Time limit in seconds of a user's pattern on one answer."""

PROGRAM = re.compile(
    r"\s*(?:SELECT\b|WITH\b.*\bSELECT\b|INSERT\b|def |class |import |from \w+ import|return\b|#include)", re.DOTALL
)
"""Beginnings of programs and queries."""
_FENCE = re.compile(r"```[\w+-]*[ \t]*\n(.*?)\n?[ \t]*```", re.DOTALL)
_NOT_A_LABEL = Verdict("missing", reason="no closed set of answers")


def judge_output(problem: Problem, text: str, closed: tuple[str, ...]) -> AnswerVerdicts:
    """Judge the readings of the answer in a whole output; of several golds the best, `ungradable` without any."""
    if not problem.answers:
        return _alike(Verdict("ungradable", reason=f"{problem.problem_id} has no gold answer"))
    rule = str(problem.meta.get("judge", "exact"))
    if rule not in RULES:
        return _alike(_own(rule, problem, text))
    verdicts = [_judged(rule, gold, problem, text, closed) for gold in problem.answers]
    return AnswerVerdicts(
        _best([verdict.answer for verdict in verdicts]),
        _best([verdict.derived for verdict in verdicts]),
        _best([verdict.candidate for verdict in verdicts]),
    )


def _judged(rule: str, gold: str, problem: Problem, text: str, closed: tuple[str, ...]) -> AnswerVerdicts:
    if rule == "label":
        return _label(gold, text, tuple(problem.meta.get("labels", ())) or closed)
    if rule == "regex":
        return _alike(_pattern(gold, text))
    strict = bool(problem.meta.get("strict"))
    if rule == "json" and (strict or is_json(gold)):
        return _alike(_json(gold, text))
    if rule == "number" and (strict or is_number(gold)):
        return answers.judge(gold, text, problem.question, _number_policy(problem))
    if rule in ("math", "choice"):
        kind = cast(Literal["math", "choice"], rule)
        return answers.judge(gold, text, problem.question, answers.AnswerPolicy(kind=kind), closed)
    if "\n" in gold:
        return _alike(_block(gold, text))
    # texts, and golds that are not of the file's kind (`N/A` among numbers)
    policy = answers.AnswerPolicy(kind="text")
    judged = answers.judge(gold, text, problem.question, policy, closed)
    if not judged.answer.ok and (statement := stated(text)):
        whole = answers.equal(gold, statement, policy)  # an answer of several sentences
        return replace(judged, answer=whole, derived=whole) if whole.ok else judged
    return judged


def _alike(verdict: Verdict) -> AnswerVerdicts:
    return AnswerVerdicts(verdict, verdict, _NOT_A_LABEL)


def _best(verdicts: Sequence[Verdict]) -> Verdict:
    """Return the first correct one, else the first that was graded, else the first."""
    for outcome in ("correct", "incorrect"):
        for verdict in verdicts:
            if verdict.outcome == outcome:
                return verdict
    return verdicts[0]


def _number_policy(problem: Problem) -> answers.AnswerPolicy:
    relative, absolute = problem.meta.get("relative"), problem.meta.get("absolute")
    comma: Literal["ungraded", "accept"] = "accept" if problem.meta.get("decimal_comma") else "ungraded"
    if relative is None and absolute is None:
        return replace(answers.NUMBER, decimal_comma=comma)
    return answers.AnswerPolicy(
        kind="number", rel_tolerance=relative or 0.0, abs_tolerance=absolute or 0.0, whole="tolerance",
        decimal_comma=comma,
    )  # fmt: skip


def stated(text: str) -> str:
    """Return an output's stated answer, or the whole text if it states none, without a code fence around it."""
    parts = parse_completion(text)
    answer = parts.answer if parts.answer is not None else text
    if PROGRAM.match(answer) and "\n" not in answer:
        answer = _with_block(answer, text)
    fences = _FENCE.findall(answer)
    return str(fences[-1] if fences else answer).strip("\n").rstrip()


def _with_block(answer: str, text: str) -> str:
    """Return a program's first line with the rest: up to a blank line before text that is not indented."""
    lines = text[text.rfind(answer) :].split("\n")
    end = next(
        (at for at in range(1, len(lines)) if not lines[at - 1].strip() and lines[at][:1] not in ("", " ", "\t")),
        len(lines),
    )
    return "\n".join(lines[:end]).rstrip()


# ---- labels


def _label(gold: str, text: str, labels: tuple[str, ...]) -> AnswerVerdicts:
    wanted = _plain(gold)
    statement = answers.read_answer(text, policy=answers.AnswerPolicy(kind="text")).text or ""
    label, why = read_label(statement, labels)
    if wanted not in {_plain(label) for label in labels}:
        verdict = Verdict("ungradable", extracted=label, reason="the gold is none of the labels")
    elif label is None:
        verdict = Verdict("missing", extracted=statement[:200] or None, reason=why)
    else:
        verdict = Verdict("correct" if _plain(label) == wanted else "incorrect", extracted=label, reason=why)
    anywhere = _named(text[-READ_CHARS:], labels)
    if len(anywhere) != 1:
        return AnswerVerdicts(verdict, verdict, Verdict("missing", reason=f"{len(anywhere)} of the labels are named"))
    outcome: Literal["correct", "incorrect"] = "correct" if _plain(anywhere[0]) == wanted else "incorrect"
    return AnswerVerdicts(verdict, verdict, Verdict(outcome, extracted=anywhere[0], reason="the only label named"))


def read_label(statement: str, labels: Sequence[str]) -> tuple[str | None, str]:
    """Return (the label that a statement is or names, why); None if it names none or several."""
    for label in labels:
        if _plain(label) == _plain(statement):
            return label, "stated as the answer"
    named = _named(statement, labels)
    if len(named) == 1:
        return named[0], "the only label in the final statement"
    return None, f"{len(named)} labels in the final statement" if named else "no label in the final statement"


def _plain(text: str) -> str:
    """Return a label undecorated: quotes, stars, brackets, a full stop; operators and signs stay (`C++`, `A-`)."""
    return " ".join(text.casefold().replace("_", " ").split()).strip(" *`\"'“”‘’()[].:;!。，")


def _named(text: str, labels: Sequence[str]) -> list[str]:
    """Return the labels that a text names as words of their own, the longest first, each removed before the next."""
    left = " ".join(text.casefold().replace("_", " ").split())
    named = []
    for label in sorted(labels, key=len, reverse=True):
        words = _plain(label)
        pattern = rf"(?<![\w+#]){re.escape(words)}(?![\w+#]|-(?!\w))" if words.isascii() else re.escape(words)
        if words and re.search(pattern, left):
            named.append(label)
            left = re.sub(pattern, " | ", left)
    return named


# ---- JSON, patterns, blocks


def _json(gold: str, text: str) -> Verdict:
    if not is_json(gold):
        return Verdict("ungradable", reason="the gold is not a JSON object or list")
    wanted = _values(gold)[-1]
    values = _values(stated(text)) or _values(text[-READ_CHARS:])
    fitting = [value for value in values if isinstance(value, type(wanted))]
    if not fitting:
        what = "object" if isinstance(wanted, dict) else "list"
        return Verdict("missing", reason=f"no JSON {what} in the answer")
    shown = json.dumps(fitting[-1], ensure_ascii=False, default=str)[:200]
    where = _differs(wanted, fitting[-1], "")
    return Verdict("incorrect" if where else "correct", extracted=shown, reason=where or "the same value")


def _values(text: str) -> list[Any]:
    """Return the outermost JSON objects and lists of a text, in their order."""
    decoder = json.JSONDecoder(parse_float=Decimal, parse_int=Decimal)
    values, at = [], 0
    for _ in range(TRIES):
        starts = [start for bracket in "{[" if (start := text.find(bracket, at)) >= 0]
        if not starts:
            break
        try:
            value, at = decoder.raw_decode(text, min(starts))
            values.append(value)
        except (ValueError, RecursionError, InvalidOperation):
            at = min(starts) + 1
    return values


def _differs(gold: Any, value: Any, path: str) -> str:
    """Describe where two values differ; empty if they are the same, keys in any order, numbers as numbers."""
    at = f"at {path}: " if path else ""
    if isinstance(gold, dict) and isinstance(value, dict):
        for key in gold:
            if key not in value:
                return f"{at}no key '{key}'"
        extra = [key for key in value if key not in gold]
        if extra:
            return f"{at}unexpected key '{extra[0]}'"
        return next((where for key in gold if (where := _differs(gold[key], value[key], f"{path}.{key}"))), "")
    if isinstance(gold, list) and isinstance(value, list):
        if len(gold) != len(value):
            return f"{at}{len(value)} items, not {len(gold)}"
        pairs = enumerate(zip(gold, value, strict=True))
        return next((where for n, pair in pairs if (where := _differs(*pair, f"{path}[{n}]"))), "")
    if isinstance(gold, str) and isinstance(value, str):
        same = gold.strip() == value.strip()
    else:
        same = type(gold) is type(value) and gold == value
    return "" if same else f"{at}{str(value)[:60]} is not {str(gold)[:60]}"


def _pattern(gold: str, text: str) -> Verdict:
    try:
        pattern = regex.compile(gold)
    except regex.error as error:
        return Verdict("ungradable", reason=f"the gold is not a regular expression: {error}")
    statement = (answers.read_answer(text, policy=answers.AnswerPolicy(kind="text")).text or "").strip()
    if not statement:
        return Verdict("missing", reason="nothing is stated")
    for candidate in dict.fromkeys((statement, stated(text))):
        try:
            if pattern.fullmatch(candidate, timeout=PATTERN_SECONDS):
                return Verdict("correct", extracted=candidate[:200], reason="matches the gold's pattern")
        except TimeoutError:
            return Verdict("ungradable", extracted=candidate[:200], reason="the gold's pattern timed out")
    return Verdict("incorrect", extracted=statement[:200], reason="does not match the gold's pattern")


def is_pattern(gold: str) -> bool:
    """Return whether a gold is a regular expression."""
    try:
        regex.compile(gold)
    except regex.error:
        return False
    return True


def _block(gold: str, text: str) -> Verdict:
    """Judge an answer of several lines (code, a letter): line by line, ignoring blanks at the ends of lines."""
    answer = stated(text)
    if not answer.strip():
        return Verdict("missing", reason="nothing is stated")
    same = _lines(gold) == _lines(answer)
    return Verdict(
        "correct" if same else "incorrect", extracted=answer[:200], reason="same lines" if same else "other lines"
    )


def _lines(text: str) -> list[str]:
    fences = _FENCE.findall(text)
    return [line.rstrip() for line in str(fences[-1] if fences else text).strip("\n").rstrip().split("\n")]


# ---- a user's own judge


def _own(name: str, problem: Problem, text: str) -> Verdict:
    """Judge the stated answer by `module:function`; an error in it is no verdict on the student."""
    function = own_judge(name)
    answer = stated(text)
    if not answer.strip():
        return Verdict("missing", reason="nothing is stated")
    try:
        verdict = function(answer, problem)
    except Exception as error:
        return Verdict("ungradable", extracted=answer[:200], reason=f"{name} failed: {type(error).__name__}: {error}")
    if isinstance(verdict, Verdict):
        return verdict
    if not isinstance(verdict, bool):
        reason = f"{name} returned {type(verdict).__name__}, not bool"
        return Verdict("ungradable", extracted=answer[:200], reason=reason)
    return Verdict("correct" if verdict else "incorrect", extracted=answer[:200], reason=f"verdict of {name}")


def own_judge(name: str) -> Callable[[str, Problem], object]:
    """Import the user's own judge. Raises InputError if there is no such function."""
    try:
        function = import_object(name)
    except Exception as error:  # the user's module may raise anything on import
        raise InputError(f"task.judge: cannot import {name}: {type(error).__name__}: {error}") from error
    if not callable(function):
        raise InputError(f"task.judge: {name} is {type(function).__name__}, not a function")
    return cast("Callable[[str, Problem], object]", function)


def judge_hash(name: str) -> str:
    """Hash the module of the user's own judge; empty for the rules of this package."""
    if ":" not in name:
        return ""
    module = inspect.getmodule(own_judge(name))
    file = getattr(module, "__file__", None)
    return file_hash(Path(file)) if file else ""
