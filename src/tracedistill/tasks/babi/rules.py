"""The rule-based teacher of the built-in stories: reads story and question, knows nothing else.

Mary picked up the milk. / John went to the garden. / Mary travelled to the office.
Where is the milk?   ->   two-supporting-facts; lines 1 and 3; office
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tracedistill.tasks.babi.stories import COUNTS, DROPPED, GAVE, MOVED, TOOK


@dataclass(frozen=True, slots=True)
class StoryReading:
    """Result of the rules."""

    type: str
    facts: tuple[str, ...]
    """Supporting lines, copied from the story in its order."""
    answers: tuple[str, ...]


def _verbs(words: Sequence[str]) -> str:
    return "|".join(sorted(words, key=len, reverse=True))


_MOVE = re.compile(rf"(\w+) (?:{_verbs(MOVED)}) the (\w+)\.")
_TAKE = re.compile(rf"(\w+) (?:{_verbs(TOOK)}) the (\w+)\.")
_DROP = re.compile(rf"(\w+) (?:{_verbs(DROPPED)}) the (\w+)\.")
_GIVE = re.compile(rf"(\w+) (?:{_verbs(GAVE)}) the (\w+) to (\w+)\.")

_QUESTIONS = (
    ("two-supporting-facts", re.compile(r"Where is the (\w+)\?")),
    ("single-supporting-fact", re.compile(r"Where is (\w+)\?")),
    ("three-arg-relations", re.compile(r"Who gave the (?P<thing>\w+) to (?P<receiver>\w+)\?")),
    ("three-arg-relations", re.compile(r"Who did (?P<giver>\w+) give the (?P<thing>\w+) to\?")),
    ("yes-no-questions", re.compile(r"Is (\w+) in the (\w+)\?")),
    ("counting", re.compile(r"How many objects is (\w+) carrying\?")),
    ("lists-sets", re.compile(r"What is (\w+) carrying\?")),
)


def read_story(story: Sequence[str], question: str) -> StoryReading | None:
    """Derive type, supporting lines and answer; None if the rules do not know the question or the story is silent."""
    for kind, pattern in _QUESTIONS:
        match = pattern.fullmatch(question.strip())
        if match:
            return _answer(kind, match, story)
    return None


def _answer(kind: str, match: re.Match[str], story: Sequence[str]) -> StoryReading | None:
    if kind in ("single-supporting-fact", "yes-no-questions"):
        last = _last_place(story, match[1])
        if last is None:
            return None
        place, line = last
        answer = place if kind == "single-supporting-fact" else "yes" if place == match[2] else "no"
        return StoryReading(kind, (story[line],), (answer,))
    if kind == "three-arg-relations":
        return _gift(match.groupdict(), story)
    if kind == "two-supporting-facts":
        return _where_object(story, match[1])
    return _carrying(kind, story, match[1])


def _last_place(story: Sequence[str], person: str) -> tuple[str, int] | None:
    for index in range(len(story) - 1, -1, -1):
        move = _MOVE.fullmatch(story[index])
        if move and move[1] == person:
            return move[2], index
    return None


def _where_object(story: Sequence[str], thing: str) -> StoryReading | None:
    for index in range(len(story) - 1, -1, -1):
        take, drop, give = (pattern.fullmatch(story[index]) for pattern in (_TAKE, _DROP, _GIVE))
        if drop and drop[2] == thing:
            last = _last_place(story[:index], drop[1])  # where the holder was when dropping it
        elif take and take[2] == thing:
            last = _last_place(story, take[1])
        elif give and give[2] == thing:
            last = _last_place(story, give[3])
        else:
            continue
        if last is None:
            return None
        lines = sorted({index, last[1]})
        return StoryReading("two-supporting-facts", tuple(story[line] for line in lines), (last[0],))
    return None


def _gift(named: dict[str, str], story: Sequence[str]) -> StoryReading | None:
    for line in reversed(story):
        give = _GIVE.fullmatch(line)
        if not give or give[2] != named["thing"]:
            continue
        if "receiver" in named and give[3] == named["receiver"]:
            return StoryReading("three-arg-relations", (line,), (give[1],))
        if "giver" in named and give[1] == named["giver"]:
            return StoryReading("three-arg-relations", (line,), (give[3],))
    return None


def _carrying(kind: str, story: Sequence[str], person: str) -> StoryReading | None:
    held: set[str] = set()
    lines = []
    for line in story:
        take, drop, give = (pattern.fullmatch(line) for pattern in (_TAKE, _DROP, _GIVE))
        if take and take[1] == person:
            held.add(take[2])
        elif drop and drop[1] == person:
            held.discard(drop[2])
        elif give and give[1] == person:
            held.discard(give[2])
        elif give and give[3] == person:
            held.add(give[2])
        else:
            continue
        lines.append(line)
    if not lines:
        return None
    if kind == "counting":
        return StoryReading(kind, tuple(lines), (COUNTS[len(held)],))
    return StoryReading(kind, tuple(lines), tuple(sorted(held)) or ("nothing",))
