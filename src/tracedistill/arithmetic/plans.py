"""Judges plans: which operation on which quantities in which order, without a calculation to check.

    1. Determine the total number of eggs laid by Janet's ducks per day.          prepares
    2. Subtract the number of eggs Janet eats for breakfast from the total.       covers 16 - 3 ...
    3. Subtract the number of eggs she uses for muffins from the remaining total. ... - 4
    4. Multiply the leftover eggs by the price per egg.                           covers 9 * 2

Every operation of every gold step is a *demand*. A plan step meets one if it names the operation, and shares numbers
or enough words with the step, its sub-question or the passages of the question that its operands come from. A step is
wrong only if it names the operands of an unmet gold step with the inverse operation, or an operand that comes from
nowhere; a demand is missing only if no step is left that could mean it. All else is undecided: rules cannot tell. No
plan is correct that names a number from nowhere, or another operand than the gold step that it meets.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from tracedistill.arithmetic.calculations import Calculation, find_calculations
from tracedistill.arithmetic.constants import cued
from tracedistill.arithmetic.expressions import Value, magnitude
from tracedistill.arithmetic.grounding import grounds
from tracedistill.arithmetic.plan_words import INVERSE, VERBS, PlanStep, read_step, stems_of
from tracedistill.records import Step, StepOutcome, StepVerdict, Verdict

_TAIL = re.compile(
    r"(?:\*\*)?\b(?:note|remember|your (?:turn|task)|let me know|these prompts|by following|that's it"
    r"|now[,:]? it's|follow these steps)\b.*",
    re.IGNORECASE | re.DOTALL,
)
"""Text that a teacher adds below the last step."""
_ALGEBRA = re.compile(r"\b(?:equations?|repeat\w*|formula|solve|variables?|substitut\w*)\b", re.IGNORECASE)
_RELATION = re.compile(r"equation|expression|relat|as (?:many|much|old|long|tall|fast|big)\b|=", re.IGNORECASE)
"""A step that states a relation of quantities names no operation to carry out."""
_CLAUSE = re.compile(r"(?<=[.!?;,])\s+|\s+(?:and|but|while|then)\s+")


@dataclass(frozen=True, slots=True)
class Demand:
    """One operation of one gold step."""

    gold: int
    """Index of the gold calculation."""
    kind: str
    """Operator: + - * or /."""
    operands: frozenset[Value]
    """Its gold step's operands."""
    target: frozenset[str]
    """Stems of the gold step's and its sub-question's words: the quantity to find."""
    sources: frozenset[str]
    """Stems of the passages that its operands come from."""
    needs: frozenset[int]
    """Gold calculations whose results it uses."""


def judge_plan(
    question: str, steps: tuple[Step, ...], gold_steps: tuple[Step, ...], sub_questions: tuple[str, ...] = ()
) -> Verdict:
    """Judge a plan.

    Figures, all counts: `covered`, `missing`, `open` (gold steps met, mentioned nowhere, neither) and `superfluous`,
    `wrong`, `undecided` (plan steps). Outcome: correct if all gold steps are covered and no step names a further
    operation; incorrect if a step is wrong; else undecided.
    """
    demands = _demands(question, tuple(step.text for step in gold_steps), sub_questions)
    if not demands:
        return Verdict("undecided", reason="the gold holds no calculation to plan for")
    if not steps:
        return Verdict("unparsed", reason="no steps")
    last = len(steps) - 1
    said = [read_step(_TAIL.sub("", step.text) if i == last and i else step.text) for i, step in enumerate(steps)]
    met = _assign(demands, said)
    used = {index for index in met.values() if index is not None}
    loose = [i for i, step in enumerate(said) if i not in used and not (step.prepares and not step.strong)]
    verdicts = tuple(_judge_step(index, step, said[index], demands, met, question) for index, step in enumerate(steps))
    wrong = [verdict for verdict in verdicts if verdict.outcome == "incorrect"]
    gold_count = 1 + max(demand.gold for demand in demands)
    unmet = {demand.gold for demand in demands if met[demand] is None}
    # a step that rules could not place, or that hints at the operation while it prepares, may mean what seems missing
    hinted = {kind for i, step in enumerate(said) if i not in used for kind in (*step.weak, *step.strong)}
    missing = {
        demand.gold
        for demand in demands
        if met[demand] is None and demand.kind not in hinted and not loose
        and all(i in used or len(step.stems & demand.target) < 2 for i, step in enumerate(said))
    }  # fmt: skip
    figures = {
        "covered": float(gold_count - len(unmet)),
        "missing": float(len(missing)),
        "open": float(len(unmet - missing)),
        "superfluous": float(sum(bool(verdict.figures.get("superfluous")) for verdict in verdicts)),
        "wrong": float(len(wrong)),
        "undecided": float(sum(verdict.outcome == "undecided" for verdict in verdicts)),
    }
    if wrong:
        first = wrong[0]
        return Verdict("incorrect", None, f"step {first.index + 1}: {first.reason}", verdicts, figures)
    if missing:
        # the plan may go another way, on which that step is not needed: rules cannot tell
        return Verdict("undecided", None, f"nothing speaks of gold step {min(missing) + 1}", verdicts, figures)
    if unmet:
        return Verdict("undecided", None, f"gold step {min(unmet) + 1} may be meant, or not", verdicts, figures)
    algebra = next((i + 1 for i in loose if _ALGEBRA.search(steps[i].text)), 0)
    if algebra:
        return Verdict("undecided", None, f"step {algebra} is algebra or a loop", verdicts, figures)
    odd = next((v for v in verdicts if v.figures.get("other_operand")), None)
    if odd:
        return Verdict("undecided", None, f"step {odd.index + 1}: {odd.reason}", verdicts, figures)
    other = next((v.index + 1 for v in verdicts if v.figures.get("superfluous")), 0)
    if other:
        return Verdict("undecided", None, f"step {other} names an operation that no gold step wants", verdicts, figures)
    return Verdict("correct", None, "", verdicts, figures)


@lru_cache(maxsize=4096)
def _demands(question: str, texts: tuple[str, ...], sub_questions: tuple[str, ...]) -> tuple[Demand, ...]:
    calculations: list[tuple[str, Calculation]] = []
    for index, text in enumerate(texts):
        asked = sub_questions[index] if len(sub_questions) == len(texts) else ""
        calculations += [(f"{asked} {text}", c) for c in find_calculations(text) if c.operators and c.values]
    clauses = [(frozenset(grounds(clause).values), stems_of(clause)) for clause in _CLAUSE.split(question)]
    demands = []
    for index, (text, calculation) in enumerate(calculations):
        first = next(side for side in calculation.sides if side.operators)
        operands = frozenset(magnitude(operand.value) for operand in first.operands)
        needs = frozenset(
            earlier for earlier in range(index)
            if (result := calculations[earlier][1].result) is not None and magnitude(result) in operands
        )  # fmt: skip
        sources = frozenset().union(
            *(stems for values, stems in clauses if values & operands), *(stems_of(calculations[i][0]) for i in needs)
        )
        demands += [
            Demand(index, kind, operands, stems_of(text), sources, needs)
            for kind in dict.fromkeys(first.operators)
            if kind in VERBS and not (kind == "/" and "*" in first.operators and _is_share(calculation))
        ]
    return tuple(demands)


_SHARE = re.compile(r"(?<!\d)\d{1,12} ?/ ?100\b|\(\d+ ?/ ?\d+\)|(?<![\d/])\d{1,2}/\d{1,2}(?![\d/])")


def _is_share(calculation: Calculation) -> bool:
    """Return whether its division only writes a share (20/100, 2/3) that something is multiplied by."""
    return bool(_SHARE.search(calculation.text))


def _assign(demands: tuple[Demand, ...], said: list[PlanStep]) -> dict[Demand, int | None]:
    """Assign the plan step that meets each demand, or None.

    First the best alignment that keeps the order of both; then what is left over may be met out of order, but no
    earlier than what it needs; then one step may stand for several gold steps of its kind (`add all three`).
    """
    met: dict[Demand, int | None] = dict(zip(demands, _align(demands, said), strict=True))
    spent = Counter((at, _named(demand, said[at])) for demand, at in met.items() if at is not None)
    for demand in demands:
        if met[demand] is None:
            after = max((at for other, at in met.items() if other.gold in demand.needs and at is not None), default=0)
            before = min(
                (at for other, at in met.items() if demand.gold in other.needs and at is not None),
                default=len(said) - 1,
            )
            free = [
                (_score(demand, said[i]), -i) for i in range(after, before + 1) if not spent[i, _named(demand, said[i])]
            ]
            best, place = max(free, default=(0.0, 0))
            if best:
                met[demand] = -place
                spent[-place, _named(demand, said[-place])] += 1
    for _ in demands:
        for demand in demands:
            if met[demand] is None:
                met[demand] = next(
                    (
                        at for other, at in met.items()
                        if at is not None and other.kind == demand.kind == "+" and _score(demand, said[at])
                        and (demand.gold in other.needs or other.gold in demand.needs or other.gold == demand.gold)
                    ),
                    None,
                )  # fmt: skip
    return met


def _align(demands: tuple[Demand, ...], said: list[PlanStep]) -> list[int | None]:
    """Align monotonically with the highest sum of scores; a second demand on one operation of a step counts less."""
    demands, said = demands[:40], said[:80]
    # best[j]: (score, places) of all alignments of the demands so far whose last met demand is met at step <= j
    best: list[tuple[float, list[int | None]]] = [(0.0, [])] * (len(said) + 1)
    for demand in demands:
        scores = [_score(demand, step) for step in said]
        following: list[tuple[float, list[int | None]]] = [(best[0][0], [*best[0][1], None])]
        for j, step in enumerate(said, start=1):
            options = [(best[j][0], [*best[j][1], None]), following[j - 1]]
            if scores[j - 1]:
                named = _named(demand, step)
                here = best[j][1]
                times = sum(
                    at == j - 1 and _named(other, step) == named for other, at in zip(demands, here, strict=False)
                )
                room = times < max(1, step.strong[named])
                if room or step.plural:
                    options.append((best[j][0] + scores[j - 1] * (1.0 if room else 0.3), [*here, j - 1]))
            following.append(max(options, key=lambda option: option[0]))
        best = following
    places = best[-1][1]
    return [*places, *([None] * (len(demands) - len(places)))]


def _named(demand: Demand, step: PlanStep) -> str:
    """Return the operation of the step that may be the demand's; empty for none."""
    if step.prepares:
        return ""
    other = INVERSE[demand.kind]
    if demand.kind in "*/":
        # dividing by 4 equals taking a quarter, and vice versa; multiplying by 4 does not
        turned = {1 / Fraction(value) for value in demand.operands if value not in (0, 1)}
        if turned & step.numbers and not demand.operands & step.numbers:
            return other if other in step.strong else ""
    return demand.kind if demand.kind in step.strong else ""


def _score(demand: Demand, step: PlanStep) -> float:
    """Score how well a step fits a demand whose operation it names; 0: insufficient."""
    return 2 + _kinship(demand, step) if _named(demand, step) and _kinship(demand, step) else 0


def _kinship(demand: Demand, step: PlanStep) -> float:
    """Return the share of a demand's numbers and words in a step; 0: too little."""
    numbers = len({number for number in step.numbers if number in demand.operands and number != 1})
    target, sources = len(step.stems & demand.target), len(step.stems & demand.sources)
    if numbers or target + sources >= 2:
        return 1.5 * numbers + 0.6 * min(target, 4) + 0.4 * min(sources, 4)
    return 0


def _judge_step(
    index: int, step: Step, said: PlanStep, demands: tuple[Demand, ...], met: dict[Demand, int | None], question: str
) -> StepVerdict:
    meets = [demand for demand, at in met.items() if at == index]
    covers = sorted({demand.gold + 1 for demand in meets})
    outside = _from_nowhere(said, demands, question, step.text)
    if covers:
        names = ", ".join(map(str, covers))
        other = _other_operand(step.text, said, meets, demands)
        if other is not None and other == outside:
            return StepVerdict(index, step.kind, "incorrect", f"wrong operand: {other} comes from nowhere")
        if other is not None:
            return _odd(index, step, f"like gold step {names}, but with {other}")
        if outside is not None:
            return _odd(index, step, f"like gold step {names}, but {outside} comes from nowhere")
        return StepVerdict(index, step.kind, "correct", f"covers gold step {names}", {"covers": float(len(covers))})
    outcome: StepOutcome = "undecided"
    if outside is not None and (said.prepares or not said.strong):
        return _odd(index, step, f"{outside} comes from nowhere")
    if said.prepares:
        return StepVerdict(index, step.kind, "correct", "prepares")
    if said.strong:
        if outside is not None:
            return StepVerdict(index, step.kind, "incorrect", f"wrong operand: {outside} comes from nowhere")
        rival = None if _RELATION.search(step.text) else _rival(said, met)
        if rival:
            return StepVerdict(
                index, step.kind, "incorrect", f"wrong operation: gold step {rival.gold + 1} wants {rival.kind}"
            )
        if all(at is not None for at in met.values()):
            return StepVerdict(index, step.kind, outcome, "superfluous, or another way", {"superfluous": 1.0})
        return StepVerdict(index, step.kind, outcome, "an operation that matches no gold step for certain")
    return StepVerdict(index, step.kind, outcome, "names no operation")


def _odd(index: int, step: Step, reason: str) -> StepVerdict:
    """Return a step whose number keeps the plan from being called correct."""
    return StepVerdict(index, step.kind, "undecided", reason, {"other_operand": 1.0})


_OPERAND = re.compile(
    r"\b(?:by|from|to|and|with|times|plus|minus|add|subtract|multiply|divide)\s+"
    r"(?:(?:the|its|all|his|her|their|these|those)\s+)?[$£€]?(\d[\d,]*(?:\.\d+)?)(?![\d,]*[./]?\d|\s?%)",
    re.IGNORECASE,
)


def _other_operand(text: str, said: PlanStep, meets: list[Demand], demands: Iterable[Demand]) -> Value | None:
    """Return a number of a step that replaces an operand of the one gold step that it meets; None if there is none.

    Only if the step names two numbers, the gold step has two operands, and exactly one is in both; not if a gold step
    of the same kind has that number (`3 * 4 * 7` in another order), nor for the same operand in other words (20 % for
    0.2, a quarter for 4).
    """
    operands = frozenset().union(*(demand.operands for demand in meets))
    named = {number for number in said.numbers if number != 1}
    if len(operands) != 2 or len(named) != 2 or len(named & operands) != 1:
        return None
    (other,), (wanted,) = named - operands, operands - named
    kinds = {demand.kind for demand in meets}
    if any(other in demand.operands for demand in demands if demand.kind in kinds):
        return None
    if not _is_operand(other, text):
        return None
    share = Fraction(wanted)
    same = {
        scale * value
        for scale in (1, 100, Fraction(1, 100))
        for value in (share, 1 / (share or 1), 1 - share, share - 1)
    }
    return None if other in same else other


def _is_operand(number: Value, text: str) -> bool:
    """Return whether a step's words make a number an operand: `by the 77 pens`, not `(77 in all)`."""
    return str(number) in {match[1].replace(",", "") for match in _OPERAND.finditer(text)}


def _from_nowhere(said: PlanStep, demands: Iterable[Demand], question: str, text: str) -> Value | None:
    given = grounds(question)
    reached = frozenset().union(*(calculation.reached for calculation in find_calculations(text)))
    known = (
        given.values
        | given.constants
        | cued(text, given.topics)
        | reached
        | frozenset().union(*(demand.operands for demand in demands))
    )
    scaled = known | {value * 100 for value in known} | {Fraction(value) / 100 for value in known}
    return next((n for n in sorted(said.numbers) if n > 12 and not {n, 100 - n} & scaled), None)


def _rival(said: PlanStep, met: dict[Demand, int | None]) -> Demand | None:
    """Return an unmet demand if the step names its two operands, its words and only the inverse operation."""
    if said.prepares or len(said.strong) != 1:
        return None
    (named,) = said.strong
    for demand, at in met.items():
        inverse = at is None and named == INVERSE[demand.kind]
        same = len(demand.operands) == 2 and demand.operands == said.numbers
        if inverse and same and len(said.stems & demand.target) >= 2:
            return demand
    return None
