"""Traces of several kinds for one question, rated blind on Likert scales: who sees what, in which order.

title: Interpretable to whom?
kinds: {correct: traces/rules.jsonl, r1: traces/r1.jsonl, summary: traces/summary.jsonl}
scales:
  - {name: interpretability, ask: I can follow how the answer is reached.}
  - {name: predictability, ask: I could tell the next step before reading it., group: cognitive load}
problems: 20
seed: 0
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass

from tracedistill.errors import InputError
from tracedistill.files import content_id, dumps
from tracedistill.recipes.safe_yaml import YamlError, parse
from tracedistill.records import Problem, Trace
from tracedistill.review.store import ReviewStore, put_mark

POINTS = 5
"""Points of every scale, 1 to 5."""


_STRICT = ConfigDict(extra="forbid", strict=True)


@pydantic_dataclass(frozen=True, slots=True, config=_STRICT)
class Scale:
    """One statement to agree or disagree with."""

    name: str
    """Its name in tables."""
    ask: str
    """The statement, in the study's own words."""
    low: str = "strongly disagree"
    """Meaning of 1."""
    high: str = "strongly agree"
    """Meaning of 5."""
    group: str = ""
    """Scales of one group are also summarised together, by their mean."""


@pydantic_dataclass(frozen=True, slots=True, config=_STRICT)
class RatingPlan:
    """A rating plan as read from its file."""

    kinds: Annotated[Mapping[str, str], Field(min_length=2)]
    """Kind of trace -> its file, beside the plan."""
    scales: Annotated[tuple[Scale, ...], Field(min_length=1)]
    """The statements."""
    title: str = "Rating"
    """Heading of the page."""
    problems: Annotated[int, Field(ge=1)] = 20
    """Questions, a seeded sample of those that all kinds have a trace for."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the sample and of the order of questions."""


@dataclass(frozen=True, slots=True)
class Rating:
    """A plan with its questions and traces."""

    plan: RatingPlan
    problems: Mapping[str, Problem] = field(default_factory=dict)
    """Problem id -> problem, in the order of the sample."""
    traces: Mapping[tuple[str, str], Trace] = field(default_factory=dict)
    """(problem id, kind) -> trace."""

    @property
    def key(self) -> str:
        """Name under which ratings are stored: other scales, kinds or traces make another rating."""
        plan = self.plan
        ids = [[problem, kind, trace.trace_id] for (problem, kind), trace in self.traces.items()]
        return "rate " + content_id([scale.name for scale in plan.scales], list(plan.kinds), plan.seed, ids)


@dataclass(frozen=True, slots=True)
class Card:
    """One trace to rate."""

    place: int
    """Index in the rater's order, from 0."""
    problem_id: str
    kind: str
    """Its kind, hidden from the rater."""


def read_plan(path: Path) -> RatingPlan:
    """Read the rating plan of a YAML file. Raises InputError that lists the errors in it."""
    try:
        raw = parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such rating plan") from error
    except (OSError, UnicodeDecodeError, YamlError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    try:
        plan = TypeAdapter(RatingPlan).validate_json(json.dumps(raw, default=str))
    except ValidationError as error:
        faults = (f"{'.'.join(map(str, fault['loc'])) or 'plan'}: {fault['msg']}" for fault in error.errors())
        raise InputError(f"{path}: {'; '.join(faults)}") from error
    names = Counter(scale.name for scale in plan.scales)
    repeated = [name for name, count in names.items() if count > 1]
    if repeated:
        raise InputError(f"{path}: scales: duplicate name '{repeated[0]}'")
    return plan


def make_rating(plan: RatingPlan, problems: Mapping[str, Problem], traces: Mapping[str, Sequence[Trace]]) -> Rating:
    """Build a rating with its sample of questions. `traces`: kind -> traces; the first of a question counts.

    Raises InputError if no question has a trace of every kind.
    """
    by_kind = {kind: {trace.problem_id: trace for trace in reversed(of_kind)} for kind, of_kind in traces.items()}
    shared = [problem_id for problem_id in problems if all(problem_id in known for known in by_kind.values())]
    if not shared:
        raise InputError("no question has a trace of every kind; are the files of the same problems?")
    chosen = random.Random(f"{plan.seed} sample").sample(sorted(shared), min(plan.problems, len(shared)))
    pairs = {(problem_id, kind): known[problem_id] for problem_id in chosen for kind, known in by_kind.items()}
    return Rating(plan, {problem_id: problems[problem_id] for problem_id in chosen}, pairs)


def williams(n: int) -> list[list[int]]:
    """Build orders of n conditions in which each takes each position and follows each other one equally often.

    n orders for even n, 2 n for odd (Williams 1949, Aust. J. Sci. Res. A 2).
    """
    first = [0] + [(at + 1) // 2 if at % 2 else n - at // 2 for at in range(1, n)]
    rows = [[(condition + shift) % n for condition in first] for shift in range(n)]
    return rows if n % 2 == 0 else rows + [row[::-1] for row in rows]


def order_for(rating: Rating, rater: int) -> list[Card]:
    """Order the cards of a rater (by number, from 0): questions by the rater's seed, kinds counterbalanced.

    Over every `len(williams(k))` questions of a rater each kind is equally often in each position; the next rater
    begins one row further, so that the same holds for each question over raters.
    """
    kinds = list(rating.plan.kinds)
    rows = williams(len(kinds))
    numbered = list(enumerate(rating.problems))
    random.Random(f"{rating.plan.seed} {rater}").shuffle(numbered)
    cards: list[Card] = []
    for number, problem_id in numbered:
        row = rows[(number + rater) % len(rows)]
        cards += [Card(len(cards) + at, problem_id, kinds[kind]) for at, kind in enumerate(row)]
    return cards


# ---- in the store


def rater_number(store: ReviewStore, rating: Rating, rater: str) -> int:
    """Return the rater's number, assigned at the first visit."""
    with store.writing() as db:
        kind = f"{rating.key} raters"
        row = db.execute("SELECT value FROM marks WHERE kind = ? AND item = ?", (kind, rater)).fetchone()
        if row is not None:
            return int(row[0])
        number = int(db.execute("SELECT count(*) FROM marks WHERE kind = ?", (kind,)).fetchone()[0])
        put_mark(db, kind, rater, rater, str(number), 0.0)
        return number


def rate(store: ReviewStore, rating: Rating, rater: str, card: Card, values: Mapping[str, int], seconds: float) -> None:
    """Store one card's ratings. Raises ValueError unless every scale has a value from 1 to POINTS."""
    names = [scale.name for scale in rating.plan.scales]
    if sorted(values) != sorted(names) or not all(1 <= value <= POINTS for value in values.values()):
        raise ValueError(f"give a rating of 1 to {POINTS} on every scale")
    value = dumps({"place": card.place, "values": dict(values)})
    with store.writing() as db:
        put_mark(db, rating.key, dumps([card.problem_id, card.kind]), rater, value, seconds)


def ratings(store: ReviewStore, rating: Rating, rater: str | None = None) -> dict[tuple[str, str, str], dict[str, Any]]:
    """Return (rater, problem id, kind) -> index, values, seconds."""
    query = "SELECT reviewer, item, value, seconds FROM marks WHERE kind = ? ORDER BY reviewer, at"
    stored = {}
    for name, item, value, seconds in store.rows(query, rating.key):
        if rater is None or name == rater:
            problem_id, kind = json.loads(item)
            stored[name, problem_id, kind] = {**json.loads(value), "seconds": seconds}
    return stored
