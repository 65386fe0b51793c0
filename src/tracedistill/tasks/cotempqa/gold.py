"""Interval arithmetic over CoTempQA's facts, and the errors it finds in the gold: pure functions.

Dates are as precise as they are written: "in 1974" lasts the whole year, "from March, 1971 to 1973" runs from 1 March
1971 to 31 December 1973. Two periods are co-temporal if they share a day.
"""

from __future__ import annotations

import re
from calendar import month_name
from dataclasses import dataclass

from tracedistill.tasks.cotempqa.metric import MAX_FACT, asked_side

Day = tuple[int, int, int]

_MONTHS = {name: number for number, name in enumerate(month_name) if name}
_ASKED = {
    "position": "holds the position of",
    "political party": "is a member of the",
    "employer": "works for",
    "school": "attended",
    "team": "plays for",
}
_EVENT_VERBS = {
    "was holding the position of": "holds the position of",
    "was a member of": "is a member of the",
    "was working for": "works for",
    "was playing for": "plays for",
    "was owned by": "is owned by",
    "was the chair of": "is the chair of",
    "was the head of": "is the head of",
    "attended": "attended",
}
_DATE = r"(?:[A-Z][a-z]+(?: \d{1,2})?, )?\d{1,4}"
_FACT = re.compile(
    r"(?P<subject>.+?) (?P<relation>holds the position of|is a member of the|is the chair of|is the head of"
    r"|is owned by|attended|works for|worked for|plays for) (?P<object>.+) "
    rf"(?:from (?P<start>{_DATE}) to (?P<end>{_DATE})|in (?P<at>{_DATE})|from (?P<since>{_DATE}))\."
)
_QUESTION = re.compile(
    rf"While (?P<subject>.+?) (?P<verb>{'|'.join(_EVENT_VERBS)}) (?P<object>.+), (?P<asked>(?:which|who) .+)"
)
_ASKED_KIND = re.compile(rf"which ({'|'.join(_ASKED)})")


@dataclass(frozen=True, slots=True)
class Event:
    """One fact with its period: first and last day (year, month, day), the last in year 9999 if none is given."""

    subject: str
    relation: str
    """The words between subject and object, in the present tense of the facts."""
    object: str
    """The position, party, employer, school, team or owner."""
    start: Day
    end: Day


@dataclass(frozen=True, slots=True)
class QuestionFacts:
    """The subject of a question, found among its facts."""

    events: tuple[Event, ...]
    """The facts of the question's own event; more than one if it has several periods."""
    possible: tuple[tuple[str, Event], ...]
    """(answer, fact) for every fact of the queried kind."""


def parse_fact(fact: str) -> Event | None:
    """Parse a fact of the data set with its period, or return None."""
    parts = _FACT.fullmatch(fact) if len(fact) <= MAX_FACT else None
    if not parts:
        return None
    relation = "works for" if parts["relation"] == "worked for" else parts["relation"]
    first = parts["start"] or parts["at"] or parts["since"]
    last = parts["end"] or parts["at"]
    end = _day(last, latest=True) if last else (9999, 12, 31)
    return Event(parts["subject"], relation, parts["object"], _day(first, latest=False), end)


def _day(written: str, latest: bool) -> Day:
    *rest, year = written.split(", ")
    month, _, day = rest[0].partition(" ") if rest else ("", "", "")
    return int(year), _MONTHS.get(month, 12 if latest else 1), int(day) if day else (31 if latest else 1)


def relation(event: Event, other: Event) -> str | None:
    """Return the relation of two periods: equal, during (either way round), overlap, or None (disjoint)."""
    if (event.start, event.end) == (other.start, other.end):
        return "equal"
    if event.end < other.start or other.end < event.start:
        return None
    inside = event.start >= other.start and event.end <= other.end
    around = event.start <= other.start and event.end >= other.end
    return "during" if inside or around else "overlap"


def read_question(question: str, facts: tuple[str, ...], triple_element: str) -> QuestionFacts | None:
    """Parse the question's own event and every possible answer among the facts, or return None."""
    parts = _QUESTION.fullmatch(question)
    if not parts:
        return None
    events = [event for event in map(parse_fact, facts) if event]
    verb = _EVENT_VERBS[parts["verb"]]
    own = tuple(
        event
        for event in events
        if (event.subject, event.relation, event.object) == (parts["subject"], verb, parts["object"])
    )
    others = [event for event in events if event not in own]
    if asked_side(triple_element) == "subject":
        same = [event for event in others if (event.relation, event.object) == (verb, parts["object"])]
        return QuestionFacts(own, tuple((event.subject, event) for event in same))
    kind = _ASKED_KIND.match(parts["asked"])
    named = [event.subject for event in events if event.subject in parts["asked"]]
    if not kind or not named:
        return None
    person = max(named, key=len)
    wanted = _ASKED[kind.group(1)]
    return QuestionFacts(
        own,
        tuple((event.object, event) for event in others if event.subject == person and event.relation == wanted),
    )


def co_temporal(question: QuestionFacts) -> dict[str, set[str]]:
    """Return every answer whose period shares a day with the question's event -> their relation."""
    relations: dict[str, set[str]] = {}
    for event in question.events:
        for name, other in question.possible:
            kind = relation(event, other)
            if kind:
                relations.setdefault(name, set()).add(kind)
    return relations


def audit_gold(
    question: str,
    facts: tuple[str, ...],
    triple_element: str,
    golds: tuple[str, ...],
    cited: tuple[str, ...],
    category: str,
) -> list[str]:
    """Check one problem's gold, whose trace has the facts `cited`, by interval arithmetic; one sentence per error.

    Errors begin with "cited fact", "omitted answer", "disjoint answer", "label" or "unreadable".
    """
    errors: list[str] = []
    side = asked_side(triple_element)
    for fact in cited:
        event = parse_fact(fact)
        name = "" if event is None else event.subject if side == "subject" else event.object
        if name not in golds:
            errors.append(f"cited fact names another entity than the answer: {fact}")
    question_facts = read_question(question, facts, triple_element)
    if question_facts is None or not question_facts.events:
        return [*errors, "unreadable question, or its own event is not among the facts"]
    together = co_temporal(question_facts)
    errors += [f"omitted answer is co-temporal: {name}" for name in together if name not in golds]
    errors += [
        f"disjoint answer shares no day with the question's event: {name}" for name in golds if name not in together
    ]
    kinds = {kind for name in golds for kind in together.get(name, ())}
    label = "mix" if len(kinds) > 1 else next(iter(kinds), "none")
    if label != category:
        errors.append(f"label is {category}, interval arithmetic says {label}")
    return errors
