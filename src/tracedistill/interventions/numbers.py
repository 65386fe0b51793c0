"""Traces and plans with a wrong number, its consequences recomputed or left as they were."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from tracedistill.arithmetic.calculations import find_calculations
from tracedistill.arithmetic.constants import cued
from tracedistill.arithmetic.expressions import Item, Operand, Refused, Side, Value, evaluate, magnitude, number, simple
from tracedistill.arithmetic.gold_path import gold_path
from tracedistill.arithmetic.grounding import grounds, unknowns
from tracedistill.arithmetic.traces import last_result
from tracedistill.interventions.numerals import (
    LocatedCalculation,
    Token,
    counts_steps,
    edited,
    located_in,
    near,
    result_of,
    spelled_like,
    tokens_of,
    wrong_number,
)
from tracedistill.interventions.text_edits import changed
from tracedistill.records import Problem, Trace
from tracedistill.tasks import Task

DRAWS = 40
"""Most changes drawn for one trace; the first that works and keeps whole results whole is taken, else the best."""
LENGTH_TOLERANCE = 0.1
"""Most relative change in the steps' length."""

_TIMES = re.compile(r"(?<=\d)\s*x\s*(?=[\d$(])")
"""A multiplication sign that could be read as an unknown."""


@dataclass(frozen=True, slots=True)
class _Source:
    """The number to be corrupted."""

    step: int
    """Index of its step."""
    token: Token
    result: bool
    """Whether it is a calculation's result, else an operand."""


def corrupt_consistently(task: Task, problem: Problem, trace: Trace, rng: random.Random) -> Trace | None:
    """Change one number, operand or result, and recompute everything after it.

    In steps without calculations, above all plans, one number is replaced wherever it is named from there on.
    """
    texts = [step.text for step in trace.steps]
    new = None
    if any(step.kind == "calculation" for step in trace.steps):
        new = _consistent(texts, _known(problem, texts), rng)
    elif all(step.kind in ("plan", "text") for step in trace.steps):
        new = _exchanged(texts, _known(problem, texts), rng)
    return None if new is None else _rewritten(task, trace, new, "wrong-number", _closing(texts, new))


def corrupt_one_step(task: Task, _problem: Problem, trace: Trace, rng: random.Random) -> Trace | None:
    """Change the result of one step, not the last if there are several, and nothing else."""
    new = _one_result([step.text for step in trace.steps], rng)
    return None if new is None else _rewritten(task, trace, new, "wrong-number-one-step")


def _known(problem: Problem, texts: Sequence[str]) -> frozenset[Value]:
    """Return the numbers that a problem gives, implies or reaches; a wrong number must be none of them."""
    given = grounds("\n".join((*problem.context, problem.question)))
    called_for = given.constants | cued("\n".join(texts), given.topics)
    return given.values | called_for | gold_path(tuple(step.text for step in problem.gold_steps)).values


def _closing(before: Sequence[str], after: Sequence[str]) -> Callable[[str], str]:
    """Restate the result around the steps with its new number."""
    old, new = last_result(before), last_result(after)

    def outside(text: str) -> str:
        if old is None or new is None or old == new:
            return text
        stated = [token for token in tokens_of(text) if token.value == magnitude(old) and not counts_steps(text, token)]
        return edited(text, {(token.start, token.end): spelled_like(new, token.text) for token in stated})

    return outside


def _rewritten(
    task: Task, trace: Trace, texts: Sequence[str], name: str, outside: Callable[[str], str] = str
) -> Trace | None:
    """Return the trace with these texts; None if the task parses other kinds of steps from them."""
    steps = tuple(replace(step, text=text) for step, text in zip(trace.steps, texts, strict=True))
    answer = _answer(trace, [step.text for step in trace.steps], texts)
    edited_trace = changed(task, trace, steps, name, answer, outside)
    if edited_trace is None or [step.kind for step in edited_trace.steps] != [step.kind for step in trace.steps]:
        return None
    return edited_trace


# ---- one step


def _one_result(texts: Sequence[str], rng: random.Random) -> list[str] | None:
    places = []
    for index, text in enumerate(texts):
        tokens = [token for calculation in located_in(text) if (token := result_of(calculation)) is not None]
        if tokens:
            places.append((index, tokens[-1]))
    if len(places) > 1:
        places.pop()
    rng.shuffle(places)
    for index, token in places:
        for _ in range(DRAWS):
            new = wrong_number(token.text, rng)
            text = texts[index][: token.start] + new + texts[index][token.end :]
            if any(other.true is False for other in find_calculations(text)):
                return [*texts[:index], text, *texts[index + 1 :]]
    return None


# ---- everything after it


def _consistent(texts: Sequence[str], given: frozenset[Value], rng: random.Random) -> list[str] | None:
    """Return the texts after the best of DRAWS changes; None if no change can be carried through."""
    located = [located_in(text) for text in texts]
    sources = list(_sources(texts, located))
    if not sources:
        return None
    present = frozenset(token.value for text in texts for token in tokens_of(text)) | given
    length = sum(map(len, texts))
    final = last_result(texts)
    best: tuple[int, list[str]] | None = None
    for _ in range(DRAWS):
        source = rng.choice(sources)
        new = wrong_number(source.token.text, rng)
        value = number(new)[0]
        # a wrong operand that is given elsewhere would be a wrong choice, not a wrong number
        if value in present:
            continue
        try:
            carried = _carried(texts, located, source, new)
        except Refused:  # a result with too many digits to evaluate
            continue
        if carried is None or abs(sum(map(len, carried[1])) / length - 1) > LENGTH_TOLERANCE:
            continue
        whole, after = carried
        faults = 2 * (last_result(after) == final) + (not whole)
        if best is None or faults < best[0]:
            best = (faults, after)
        if not faults:
            break
    return best[1] if best else None


def _sources(texts: Sequence[str], located: Sequence[Sequence[LocatedCalculation]]) -> Iterator[_Source]:
    """Yield every result, and every operand that no earlier calculation reached.

    Steps that look like algebra give no operand: the judge of traces requires no ground there.
    """
    reached: set[Value] = set()
    for index, text in enumerate(texts):
        algebra = bool(unknowns(text))
        for place in located[index]:
            result = result_of(place)
            for token in place.tokens:
                if token == result:
                    yield _Source(index, token, True)
                elif not algebra and token.value not in reached and token.value not in place.calculation.reached:
                    yield _Source(index, token, False)
            reached |= place.calculation.reached


def _carried(
    texts: Sequence[str], located: Sequence[Sequence[LocatedCalculation]], source: _Source, new: str
) -> tuple[bool, list[str]] | None:
    """Return the texts with the new number and its consequences, and whether every result is as whole as before.

    None if something cannot be recomputed: a result below zero, a division by zero, a calculation whose numbers cannot
    be located, an equation with unknowns that contains the number.
    """
    now: dict[Value, str] = {} if source.result else {source.token.value: new}
    whole = True
    out = list(texts[: source.step])
    for index in range(source.step, len(texts)):
        edits: dict[tuple[int, int], str] = {}
        tokens = tokens_of(texts[index])
        spoken = dict(now)
        for calculation in located[index]:
            if source.result and index == source.step and source.token in calculation.tokens:
                edits[source.token.start, source.token.end] = new
                now[source.token.value] = new
                continue
            reworked = _reworked(calculation, now)
            if reworked is None:
                return None
            own_edits, results, still_whole = reworked
            edits |= own_edits
            whole = whole and still_whole
            for old, text in results.items():
                if text is None:
                    now.pop(old, None)
                else:
                    now[old] = text
        for token in tokens:
            place = (token.start, token.end)
            inside = any(token in calculation.tokens for calculation in located[index])
            if not inside and place not in edits and not counts_steps(texts[index], token):
                # the words around a calculation mention its inputs and its result
                text = now.get(token.value) or spoken.get(token.value)
                if text is not None and unknowns(_TIMES.sub("*", texts[index])):
                    return None
                if text is not None:
                    edits[place] = text
        out.append(edited(texts[index], edits))
        before = [calculation.true for calculation in find_calculations(texts[index])]
        after = [calculation.true for calculation in find_calculations(out[-1])]
        wrong = source.result and index == source.step
        if len(before) != len(after) or (not wrong and before != after) or (wrong and False not in after):
            return None
    return whole, out


def _reworked(
    located: LocatedCalculation, now: Mapping[Value, str]
) -> tuple[dict[tuple[int, int], str], dict[Value, str | None], bool] | None:
    """Rework one calculation: edits, new results (None: unchanged), and whether they are as whole as before."""
    edits: dict[tuple[int, int], str] = {}
    results: dict[Value, str | None] = {}
    inner: dict[Value, Value] = {}
    whole = True
    at = 0
    reached_old: Value | None = None
    reached_new: Value | None = None
    for side in located.calculation.sides:
        tokens = located.tokens[at : at + len(side.operands)]
        at += len(side.operands)
        if not side.operators:
            (token,) = tokens
            if reached_new is None or reached_new == reached_old:
                if reached_old is None and token.value in now:
                    edits[token.start, token.end] = now[token.value]
                    reached_old, reached_new = token.value, number(now[token.value])[0]
                elif reached_old is not None:
                    results[token.value] = None
                continue
            scale = Fraction(token.value) / Fraction(reached_old) if reached_old else Fraction(1)
            if side.operands[0].percent and scale == 100:
                text = spelled_like(simple(Fraction(reached_new) * 100), token.text)
            elif near(scale):
                text = spelled_like(reached_new, token.text)
            else:
                return None
            whole = whole and (("." in text) <= ("." in token.text))
            edits[token.start, token.end] = text
            results[token.value] = text
            continue
        new_values: dict[int, str] = {}
        for place, token in enumerate(tokens):
            if token.value in now:
                new_values[place] = now[token.value]
            elif token.value in inner:
                new_values[place] = spelled_like(inner[token.value], token.text)
        evaluated = _evaluated(side, new_values)
        if evaluated is None:
            return None
        old_value, new_value, pairs = evaluated
        if new_value < 0 <= old_value:
            return None
        inner |= pairs
        for place, text in new_values.items():
            edits[tokens[place].start, tokens[place].end] = text
        reached_old, reached_new = old_value, new_value
    return edits, results, whole


def _evaluated(side: Side, new_values: Mapping[int, str]) -> tuple[Value, Value, dict[Value, Value]] | None:
    """Evaluate a side before and after the change, with its inner results; None if it has no value."""
    items: list[Item] = []
    old_inner: list[Value] = []
    new_inner: list[Value] = []
    place = -1
    try:
        for item in side.items:
            place += isinstance(item, Operand)
            if isinstance(item, Operand) and place in new_values:
                value, decimals = number(new_values[place])
                item = replace(item, text=new_values[place], value=value, decimals=decimals)
            items.append(item)
        old = evaluate(side.items, "", old_inner)
        new = evaluate(tuple(items), "", new_inner)
    except Refused:
        return None
    pairs = {before: after for before, after in zip(old_inner, new_inner, strict=True) if before != after}
    return old, new, pairs


# ---- plans and other text


def _exchanged(texts: Sequence[str], given: frozenset[Value], rng: random.Random) -> list[str] | None:
    """Replace one number of the texts, wherever it is named later; None if none is named."""
    places = [
        (index, token) for index, text in enumerate(texts) for token in tokens_of(text) if not counts_steps(text, token)
    ]
    if not places:
        return None
    index, token = rng.choice(places)
    present = {other.value for _, other in places} | given
    new = wrong_number(token.text, rng)
    for _ in range(DRAWS):
        if number(new)[0] not in present:
            break
        new = wrong_number(token.text, rng)
    out = list(texts[:index])
    for text in texts[index:]:
        edits = {
            (other.start, other.end): new
            for other in tokens_of(text)
            if other.value == token.value and not counts_steps(text, other)
        }
        out.append(edited(text, edits))
    return out


def _answer(trace: Trace, before: Sequence[str], after: Sequence[str]) -> str | None:
    """Return the answer of the changed trace: the original's with its number exchanged; None if open."""
    old, new = last_result(before), last_result(after)
    if trace.answer is None or old is None or new is None:
        return None
    stated = [token for token in tokens_of(trace.answer) if token.value == magnitude(old)]
    if len(stated) != 1:
        return None
    if old == new:
        return trace.answer
    (token,) = stated
    return trace.answer[: token.start] + spelled_like(new, token.text) + trace.answer[token.end :]
