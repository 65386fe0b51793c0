"""A student's treatment of each step of its plan: followed, split further, skipped as redundant, or ignored.

    plan                                             student
    1. Identify the number of eggs laid per day.     -                                  redundant: 16 is used below
    2. Subtract the eggs eaten and baked.            16 - 3 = 13 ... 13 - 4 = 9         split
    3. Multiply the leftover eggs by the price.      9 * 2 = $18                        followed

The plan is aligned with what the student wrote, statement by statement: a step that names an operation is met by a
calculation (in signs or in words) of that operation that shares numbers or words with it; any other step by a
statement that shares its words. A line of the plan that the student only copies is not a statement.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

from tracedistill.arithmetic.calculations import Calculation, find_calculations
from tracedistill.arithmetic.expressions import Value, magnitude
from tracedistill.arithmetic.grounding import grounds
from tracedistill.arithmetic.plan_words import INVERSE, PlanStep, read_step
from tracedistill.records import Problem, Step

Fate = Literal["followed", "split", "redundant", "ignored"]
"""split: carried out by more calculations than the step names operations; redundant: left out without harm; ignored:
left out although needed (context misalignment)."""

FATES: tuple[Fate, ...] = get_args(Fate)

MAX_STATEMENTS = 400
"""Most statements of a student that are read; runaway generations repeat themselves."""


@dataclass(frozen=True, slots=True)
class StepFate:
    """The student's treatment of one step of a plan."""

    index: int
    """Position in the plan, from 0."""
    fate: Fate
    by: tuple[str, ...]
    """The student's statements that carry it out, cut at 200 characters; empty if there are none."""
    reason: str
    """One short sentence for a person."""


@dataclass(frozen=True, slots=True)
class Adherence:
    """The student's treatment of a plan: counts of its steps."""

    followed: int
    """Steps carried out, without split ones."""
    split: int
    """Steps carried out in more calculations than planned."""
    skipped: int
    """Steps left out as redundant."""
    ignored: int
    """Steps left out although needed."""
    per_step: tuple[StepFate, ...]
    """Every step, in order."""

    @property
    def misaligned(self) -> bool:
        """Whether a needed step is ignored."""
        return self.ignored > 0


@dataclass(frozen=True, slots=True)
class _Statement:
    """One statement of a student."""

    text: str
    heading: int
    """Number of the step heading above it, from 1; 0 if the student numbers no steps."""
    under: str
    """The copied plan instruction above it, normalised; empty if none."""
    operations: Counter[str]
    """Operations carried out, in signs or in words."""
    numbers: frozenset[Value]
    """Numbers, results included."""
    stems: frozenset[str]
    done: tuple[Calculation, ...]
    """Its written calculations that contain an operator."""


def adherence(
    problem: Problem, plan_steps: Sequence[Step], output_text: str, *, answer_ok: bool | None = None
) -> Adherence:
    """Classify the student's treatment of each step. `answer_ok` only separates redundant from ignored steps.

    A step left out is redundant if it only reads, notes, checks or states the answer and its numbers are used, or if
    the answer is right anyway; else it is ignored.
    """
    statements, headings = _statements(output_text, plan_steps)
    planned = [read_step(step.text) for step in plan_steps]
    same_count = headings >= len(plan_steps) > 1
    fits = []
    for index, (step, step_words) in enumerate(zip(plan_steps, planned, strict=True)):
        plain = _plain(step.text)
        algebra = bool(_ALGEBRA.search(plain))
        titled = [
            (same_count and statement.heading == index + 1) or bool(statement.under and statement.under in plain)
            for statement in statements
        ]
        fits.append(
            [_fit(step_words, statement, under, algebra) for statement, under in zip(statements, titled, strict=True)]
        )
    first = _align(fits, planned, statements)
    used = frozenset().union(*(statement.numbers for statement in statements))
    given = _Given(problem)
    fates = []
    for index, (step, step_words) in enumerate(zip(plan_steps, planned, strict=True)):
        at = first[index]
        if at is None:
            fates.append(_left_out(index, step, step_words, given, used, answer_ok, bool(statements)))
            continue
        places = _extended(at, step_words, fits[index], statements, first)
        alone = first.count(at) == 1 and not step_words.plural
        split = alone and _chained(
            step.text, step_words, [statement for place in places for statement in statements[place].done], given.all
        )
        by = tuple(statements[place].text[:200] for place in places)
        fates.append(StepFate(index, "split" if split else "followed", by, _met(step_words, len(by), split)))
    counts = Counter(statement.fate for statement in fates)
    return Adherence(counts["followed"], counts["split"], counts["redundant"], counts["ignored"], tuple(fates))


class _Given:
    """The clauses of a question with their words and numbers."""

    def __init__(self, problem: Problem) -> None:
        passages = [*problem.context, problem.question]
        clauses = [clause for passage in passages for clause in _CLAUSE.split(passage) if clause.strip()]
        self.all = frozenset().union(*(grounds(passage).values for passage in passages))
        """Numbers given, and the constants they imply."""
        self._clauses = [(read_step(clause).stems, frozenset(grounds(clause).numbers)) for clause in clauses]

    def numbers(self, stems: frozenset[str]) -> frozenset[Value]:
        """Return the numbers of the clauses with the most words of a step, if they contain most of its words."""
        best = max((len(words & stems) for words, numbers in self._clauses if numbers), default=0)
        if best < 0.6 * len(stems) or not best:
            return frozenset()
        return frozenset().union(*(numbers for words, numbers in self._clauses if len(words & stems) == best))


_CLAUSE = re.compile(r"(?<=[.!?;,])\s+|\s+(?:and|but|while|then)\s+")
_CLOSES = re.compile(
    r"[\W_]*(?:(?:finally|then|lastly|now)[, ]+)?(?:double[- ]check|check|confirm|verify|review"
    r"|write (?:(?:down|out) )?(?:your|the) (?:final )?(?:answer|solution|result)|state (?:your|the) (?:final )?answer"
    r"|record (?:your|the)|simplify|round|make sure|ensure|remember|note"
    r"|(?:think of )?the (?:result|answer|final|value|outcome)"
    r"|this (?:is|will|gives)|your (?:final )?answer|read|understand"
    r"|identify (?:the )?(?:problem|question|what|given|key))",
    re.IGNORECASE,
)
"""Closing steps, whose result no other step needs."""


def _met(step_words: PlanStep, count: int, split: bool) -> str:
    what = "its operation" if step_words.strong else "what it mentions"
    if split:
        return f"{what}, in {count} statements" if count > 1 else f"{what}, in several calculations"
    return f"{what} is there"


def _left_out(
    index: int,
    step: Step,
    step_words: PlanStep,
    given: _Given,
    used: frozenset[Value],
    answer_ok: bool | None,
    any_statement: bool,
) -> StepFate:
    if not any_statement:
        return StepFate(index, "ignored", (), "the student wrote nothing that can be read as work")
    if _CLOSES.match(step.text) and not step_words.strong:
        return StepFate(index, "redundant", (), "its result is not used by other steps")
    numbers = step_words.numbers or given.numbers(step_words.stems)
    if not step_words.strong and numbers and numbers <= used:
        return StepFate(index, "redundant", (), "not written out, but its numbers are used")
    if answer_ok:
        return StepFate(index, "redundant", (), "the answer is right without it")
    return StepFate(index, "ignored", (), "no statement of the student carries it out")


def _align(
    fits: Sequence[Sequence[float]], planned: Sequence[PlanStep], statements: Sequence[_Statement]
) -> list[int | None]:
    """Match each step with the statement that carries it out: first in order, then the rest in any order.

    `fits[step][statement]`; below 1 is no fit. A statement carries out no more operations than it contains, so a step
    does not count as done because another step's calculation is of its kind.
    """
    if not statements:
        return [None] * len(planned)
    rooms = [max(1, statement.operations.total()) for statement in statements]

    def room(at: int, step: PlanStep, places: Sequence[int | None]) -> bool:
        taken = sum(place == at and bool(other.strong) for place, other in zip(places, planned, strict=False))
        return not step.strong or taken < rooms[at]

    # best[j]: (sum of fits, places) of the steps so far whose last place is at most j
    best: list[tuple[float, list[int | None]]] = [(0.0, [])] * len(statements)
    for step, scores in zip(planned, fits, strict=True):
        following: list[tuple[float, list[int | None]]] = []
        for j, score in enumerate(scores):
            options = [(best[j][0], [*best[j][1], None])]
            if score >= 1 and room(j, step, best[j][1]):
                options.append((best[j][0] + score, [*best[j][1], j]))
            if following:
                options.append(following[-1])
            following.append(max(options, key=lambda option: option[0]))
        best = following
    places = best[-1][1]
    for index, (step, scores) in enumerate(zip(planned, fits, strict=True)):
        if places[index] is None:
            free = [at for at, score in enumerate(scores) if score >= 1 and room(at, step, places)]
            places[index] = max(free, key=scores.__getitem__, default=None)
    return places


def _extended(
    at: int, step: PlanStep, scores: Sequence[float], statements: Sequence[_Statement], taken: Sequence[int | None]
) -> list[int]:
    """Extend a step's statement by its neighbours that carry out the same step and no other."""
    places = [at]
    for way in (-1, 1):
        place = at + way
        while 0 <= place < len(statements) and place not in taken and scores[place] >= max(1.0, 0.7 * scores[at]):
            statement = statements[place]
            if statement.heading != statements[at].heading or not _any(step, statement.operations):
                break
            places.append(place)
            place += way
    return sorted(places)


_ALGEBRA = re.compile(
    r"\b(?:equations?|expressions?|variables?|like terms|solve for|substitut\w*|simplif\w*|isolate)\b"
)
_MANY_STEMS = 8
"""Stems from which a step need not recur in full."""


def _fit(step: PlanStep, statement: _Statement, titled: bool, algebra: bool) -> float:
    """Score how well a statement fits a step; below 1: it does not carry it out.

    `titled`: it is under that step's heading.

    `algebra`: the step sets up, simplifies or solves an equation; any equation under its heading fits.
    """
    shared = len(step.stems & statement.stems)
    share = min(1.0, shared / min(len(step.stems), _MANY_STEMS)) if step.stems else 0.0
    numbers = len({number for number in step.numbers if number not in (0, 1)} & statement.numbers)
    kin = 2 * share + 0.5 * min(numbers, 2) + (1.0 if titled else 0.0)
    if algebra and "=" in statement.text and (titled or share >= 0.3):
        return 1 + kin
    if step.strong and not (step.prepares and not statement.operations):
        if _any(step, statement.operations):
            return 1 + kin if share >= 0.2 or numbers or titled or len(step.stems) < 2 else 0.0
        # mental arithmetic: the words recur, with a number that the step itself does not name
        return 0.4 + kin if share >= 0.6 and statement.numbers - step.numbers else 0.0
    tells = bool(statement.numbers) or shared >= 2 or (titled and "=" in statement.text)
    if step.weak & statement.operations.keys():
        kin += 0.4
    return 0.3 + kin if tells and (share >= 0.3 or numbers or titled) else 0.0


def _chained(text: str, step: PlanStep, done: Sequence[Calculation], given: Set[Value]) -> bool:
    """Return whether a step's operation is done through an intermediate result: 16 - 3 = 13, 13 - 4 = 9."""
    planned = max(step.strong.total(), len(_ORDERS.findall(text)))
    own = [calculation for calculation in done if set(calculation.operators) & set(step.strong)]
    between = {
        earlier.result
        for at, later in enumerate(own)
        for earlier in own[:at]
        if earlier.result not in given | {operand.value for operand in earlier.operands}
        and earlier.result in {operand.value for operand in later.operands}
        and later.result not in {operand.value for operand in earlier.operands}
    }
    return len(between) >= planned > 0


def _any(step: PlanStep, done: Collection[str]) -> bool:
    """Return whether an operation of the step is among those done; dividing by 4 equals taking 0.25 of it."""
    return any(kind in done or (kind in "*/" and INVERSE[kind] in done) for kind in step.strong)


_ORDERS = re.compile(
    r"\?|\b(?:add|subtract|multiply|divide|find|calculate|determine|compute|convert|repeat|work out|figure out)\b",
    re.IGNORECASE,
)
"""Operations a step may plan: a step that names several is not split if several are done."""
_SENTENCE = re.compile(r"(?<=[.!?;])\s+(?=[A-Z\d($*•\-])")
_HEADING = re.compile(
    r"[#*_\s]*(?:(?:step|prompt)\s*#?(?P<step>\d{1,3})[*_\s]*[.:)\-–]*|\(?(?P<item>\d{1,3})[.):](?!\d))[*_\s]*",
    re.IGNORECASE,
)
_BULLET = re.compile(r"^\s*(?:[-*+•–]\s+|•)")
_ANSWER = re.compile(r"[\W_]*(?:(?:so|therefore|thus|hence),? )?(?:the |my )?(?:final )?answer\b", re.IGNORECASE)
_INSTRUCTS = re.compile(
    r"[\W_]*(?:(?:first|next|then|now|finally)[, ]+)?(?:add|subtract|multiply|divide|find|calculate|determine|identify"
    r"|compute|use|set|write|repeat|convert|sum|take|read|solve|check|start|note|recall|figure|work|record|list|define"
    r"|understand|apply|simplify|substitute|plug|cross|combine|compare)\b",
    re.IGNORECASE,
)
_SIGNS = {"+": "+", "-": "-", "−": "-", "–": "-", "*": "*", "×": "*", "x": "*", "/": "/", "÷": "/"}
_EXPRESSION = re.compile(r"\d[\w.%]{0,12}(?: [a-z]{1,12}){0,2} ?([-+*×x/÷−–]) ?[$€£(]{0,2}[\dx]")
_COEFFICIENT = re.compile(r"(?<![\w.])\d{1,6}[a-z](?![\w])")  # `represent this as 2x`
_APART = re.compile(r"[\w%)] ([-+*×÷/−]) [$€£(\w]")  # `Bo's 40 crabs + Monic's 36 crabs = 76`
_ORDINAL = re.compile(r"\b(?:first|second|third|one|step \d+)\b", re.IGNORECASE)


@lru_cache(maxsize=4096)
def _read(text: str, heading: int, under: str) -> _Statement:
    calculations = find_calculations(text)
    operations = Counter(operator for calculation in calculations for operator in set(calculation.operators))
    step_words = read_step(text)
    numbers = frozenset(grounds(_ORDINAL.sub(" ", text)).numbers) | frozenset(
        magnitude(value) for calculation in calculations for value in calculation.values
    )
    given_numbers = len(grounds(text).numbers)
    if not operations:
        # an expression whose result is on the next line, or an equation; or `we subtract 4 from 13 to get 9`
        signs = _EXPRESSION.findall(text) + (_APART.findall(text) if "=" in text else [])
        operations = Counter(_SIGNS[sign] for sign in signs)
        if given_numbers >= 2 or (given_numbers and not _INSTRUCTS.match(text)):
            operations |= step_words.strong
    if _COEFFICIENT.search(text):
        operations["*"] += 1
    done = tuple(calculation for calculation in calculations if calculation.operators and calculation.values)
    return _Statement(text, heading, under, operations, numbers, step_words.stems, done)


def _statements(text: str, plan_steps: Sequence[Step]) -> tuple[list[_Statement], int]:
    """Split a student's text into sentences, each with the number of the last heading.

    Instructions copied from the plan are not statements; the text below one belongs to it.
    """
    plan = f" {_plain(' '.join(step.text for step in plan_steps))} "
    out: list[_Statement] = []
    stepped = len(re.findall(r"^[#*_\s]*step\s*\d", text, re.IGNORECASE | re.MULTILINE)) > 1
    heading, last, held, under = 0, 0, "", ""
    for raw in text.split("\n"):
        match = _HEADING.match(raw)
        if match and (match["step"] or not stepped):
            heading, under = int(match["step"] or match["item"]), ""
            last = max(last, heading)
        line = _BULLET.sub("", raw[match.end() :] if match else raw).strip()
        if not line:
            continue
        if line.rstrip("*_ ").endswith(":"):
            held = f"{held} {line}".strip()  # it introduces what follows
            continue
        for sentence in _SENTENCE.split(f"{held} {line}".strip()):
            plain = _plain(sentence)
            copied = f" {plain} " in plan and _asks(sentence)
            closing = _ANSWER.match(sentence) and out and not find_calculations(sentence)
            if copied:
                under = plain
            elif plain and not closing:
                out.append(_read(sentence.strip(), heading, under))
            if len(out) == MAX_STATEMENTS:
                return out, last
        held = ""
    return out, last


def _asks(sentence: str) -> bool:
    """Return whether a sentence of a plan instructs, rather than states a result."""
    if find_calculations(sentence):
        return False
    if sentence.rstrip("*_ ").endswith("?"):
        return True
    step_words = read_step(sentence)
    return bool(_INSTRUCTS.match(sentence)) and bool(step_words.strong or not step_words.numbers)


def _plain(text: str) -> str:
    return re.sub(r"\W+", " ", text).strip().lower()
