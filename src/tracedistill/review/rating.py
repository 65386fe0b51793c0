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
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tracedistill.errors import InputError
from tracedistill.files import content_id, dumps
from tracedistill.recipes.documents import YamlError, parse
from tracedistill.records import Problem, Trace
from tracedistill.review.store import ReviewStore
from tracedistill.review.work import MAX_SECONDS

POINTS = 5
"""Points of every scale, 1 to 5."""


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class RatingPlan:
    """A rating plan as read from its file."""

    kinds: Mapping[str, str]
    """Kind of trace -> its file, beside the plan."""
    scales: tuple[Scale, ...]
    """The statements."""
    title: str = "Rating"
    """Heading of the page."""
    problems: int = 20
    """Questions, a seeded sample of those that all kinds have a trace for."""
    seed: int = 0
    """Seed of the sample and of the order of questions."""


@dataclass(frozen=True, slots=True)
class Rating:
    """A plan with its questions and traces."""

    plan: RatingPlan
    """The plan."""
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
    """Its question."""
    kind: str
    """Its kind, hidden from the rater."""


def read_plan(path: Path) -> RatingPlan:
    """Read the rating plan of a YAML file. Raises one InputError that lists every error in it."""
    try:
        raw = parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such rating plan") from error
    except (OSError, UnicodeDecodeError, YamlError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    errors: list[str] = []
    raw = raw if isinstance(raw, dict) else {}
    errors += [f"{key}: unknown key" for key in raw if key not in RatingPlan.__dataclass_fields__]
    kinds, scales = raw.get("kinds"), raw.get("scales")
    if not (isinstance(kinds, dict) and len(kinds) > 1 and all(isinstance(one, str) for one in kinds.values())):
        errors.append("kinds: at least two are needed, each with a file of traces")
    if not (isinstance(scales, list) and scales):
        errors.append("scales: must be a list of at least one, each with name and ask")
    read = [
        _scale(one, number, errors) for number, one in enumerate(scales if isinstance(scales, list) else [], start=1)
    ]
    names = [scale.name for scale in read]
    errors += [f"scales: '{name}' is a duplicate" for name in sorted({name for name in names if names.count(name) > 1})]
    for name, least in (("problems", 1), ("seed", 0)):
        value = raw.get(name, least)
        if type(value) is not int or value < least:
            errors.append(f"{name}: must be a whole number, at least {least}")
    if errors:
        raise InputError(f"{path}: " + "; ".join(errors))
    more = {name: raw[name] for name in ("problems", "seed") if name in raw}
    return RatingPlan(
        {str(k): str(v) for k, v in (kinds or {}).items()}, tuple(read), str(raw.get("title", "Rating")), **more
    )


def _scale(value: Any, number: int, errors: list[str]) -> Scale:
    known = Scale.__dataclass_fields__
    if not (isinstance(value, dict) and isinstance(value.get("name"), str) and isinstance(value.get("ask"), str)):
        errors.append(f"scales: number {number} needs name and ask")
        return Scale(f"number {number}", "")
    errors += [f"scales: '{value['name']}': unknown key {key}" for key in value if key not in known]
    return Scale(**{key: str(text) for key, text in value.items() if key in known})


def make_rating(plan: RatingPlan, problems: Mapping[str, Problem], traces: Mapping[str, Sequence[Trace]]) -> Rating:
    """Build a rating with its sample of questions. `traces`: kind -> traces; the first of a question counts.

    Raises InputError if no question has a trace of every kind.
    """
    by_kind = {kind: {trace.problem_id: trace for trace in reversed(some)} for kind, some in traces.items()}
    shared = [one for one in problems if all(one in some for some in by_kind.values())]
    if not shared:
        raise InputError("no question has a trace of every kind; are the files of the same problems?")
    chosen = random.Random(f"{plan.seed} sample").sample(sorted(shared), min(plan.problems, len(shared)))
    pairs = {(one, kind): some[one] for one in chosen for kind, some in by_kind.items()}
    return Rating(plan, {one: problems[one] for one in chosen}, pairs)


def williams(n: int) -> list[list[int]]:
    """Build orders of n conditions in which each takes each position and follows each other one equally often.

    n orders for even n, 2 n for odd (Williams 1949, Aust. J. Sci. Res. A 2).
    """
    first = [0] + [(at + 1) // 2 if at % 2 else n - at // 2 for at in range(1, n)]
    rows = [[(one + shift) % n for one in first] for shift in range(n)]
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
        db.execute("INSERT INTO marks VALUES (?,?,?,?,1,0,?)", (kind, rater, rater, str(number), time.time()))
        return number


def rate(store: ReviewStore, rating: Rating, rater: str, card: Card, values: Mapping[str, int], seconds: float) -> None:
    """Store one card's ratings. Raises ValueError unless every scale has a value from 1 to POINTS."""
    names = [scale.name for scale in rating.plan.scales]
    if sorted(values) != sorted(names) or not all(1 <= value <= POINTS for value in values.values()):
        raise ValueError(f"give a rating of 1 to {POINTS} on every scale")
    value = dumps({"place": card.place, "values": dict(values)})
    with store.writing() as db:
        db.execute(
            "INSERT INTO marks VALUES (?,?,?,?,1,?,?) ON CONFLICT (kind, item, reviewer) DO UPDATE SET "
            "value = excluded.value, version = version + 1, seconds = seconds + excluded.seconds, at = excluded.at",
            (rating.key, _item(card.problem_id, card.kind), rater, value, min(seconds, MAX_SECONDS), time.time()),
        )


def ratings(store: ReviewStore, rating: Rating, rater: str | None = None) -> dict[tuple[str, str, str], dict[str, Any]]:
    """Return (rater, problem id, kind) -> index, values, seconds."""
    query = "SELECT reviewer, item, value, seconds FROM marks WHERE kind = ? ORDER BY reviewer, at"
    found = {}
    for name, item, value, seconds in store.rows(query, rating.key):
        if rater is None or name == rater:
            problem_id, kind = json.loads(item)
            found[name, problem_id, kind] = {**json.loads(value), "seconds": seconds}
    return found


def _item(problem_id: str, kind: str) -> str:
    return dumps([problem_id, kind])
