r"""The spans of a trace's steps in its text, and the text with steps edited, moved, added or left out.

    text   "Let x = 2.\n\n- 3 * x = 6\n- 6 + 1 = 7\nThe answer is 7."
    steps  "Let x = 2." (0, 10), "3 * x = 6" (14, 23), "6 + 1 = 7" (26, 35)

A step's text is one line without list marks. Its spans are the characters it was read from. An edit changes only these,
so blank lines, bullets, indentation and closing statements stay as their author wrote them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher

from tracedistill.records import Step

Span = tuple[int, int]
"""(start, end) of characters of a text."""

_WORD = re.compile(r"\S+")
_NUMBER = re.compile(r"\d{1,9}(?=\D*\Z)")
"""The last number between two steps: a list's own."""
MOVED_WORDS = 4_000
"""Words of a step above which an edit with another word count replaces the step as a whole."""


def one_line(text: str) -> str:
    """Return the text with runs of white space as single spaces and none at its ends."""
    return " ".join(text.split())


@dataclass(frozen=True, slots=True)
class Flat:
    """A piece of a text on one line that knows the place of each of its characters in that text."""

    text: str
    """The piece, white space as single spaces."""
    at: tuple[int, ...]
    """Per character of `text`: its index in the whole text; arbitrary for a joining space."""

    @classmethod
    def of(cls, text: str, start: int = 0) -> Flat:
        """Flatten a text that begins at character `start` of the whole."""
        plain = one_line(text)
        lead = text.find(plain) if plain else 0
        if lead >= 0:  # already single spaces, as in most lines
            return cls(plain, tuple(range(start + lead, start + lead + len(plain))))
        words, at = [], list[int]()
        for word in _WORD.finditer(text):
            if at:
                at.append(-1)
            words.append(word[0])
            at.extend(range(start + word.start(), start + word.end()))
        return cls(" ".join(words), tuple(at))

    @classmethod
    def join(cls, parts: Iterable[Flat]) -> Flat:
        """Join pieces with single spaces; empty ones leave none."""
        texts, at = [], list[int]()
        for part in parts:
            if part.text:
                if at:
                    at.append(-1)
                texts.append(part.text)
                at.extend(part.at)
        return cls(" ".join(texts), tuple(at))

    def cut(self, start: int, end: int | None = None) -> Flat:
        """Return the characters from `start` to `end`, without white space at the ends."""
        text = self.text[start:end]
        lead = len(text) - len(text.lstrip())
        body = text.strip()
        return Flat(body, self.at[start + lead : start + lead + len(body)])

    def words(self) -> Iterator[Span]:
        """Yield the span of each word in the whole text."""
        for word in _WORD.finditer(self.text):
            yield self.at[word.start()], self.at[word.end() - 1] + 1

    def spans(self, whole: str) -> tuple[Span, ...]:
        """Return the spans of the whole text that were read: few pieces, with only white space inside."""
        if self.text and self.at[-1] - self.at[0] == len(self.text) - 1:
            end = self.at[-1] + 1
            if whole[self.at[0] : end] == self.text:
                return ((self.at[0], end),)
        pieces: list[Span] = []
        for start, end in self.words():
            if pieces and (pieces[-1][1] == start or whole[pieces[-1][1] : start].isspace()):
                pieces[-1] = (pieces[-1][0], end)
            else:
                pieces.append((start, end))
        return tuple(pieces)


def flat_lines(text: str) -> list[Flat]:
    """Return the lines of a text that are not blank, each on its own."""
    lines, start = [], 0
    for line in text.split("\n"):
        flat = Flat.of(line, start)
        if flat.text:
            lines.append(flat)
        start += len(line) + 1
    return lines


def locate(text: str, steps: Sequence[Step]) -> tuple[Step, ...]:
    """Return the steps with their spans; a step whose words are not found consecutively gets none."""
    flat, place, located = Flat.of(text), 0, []
    for step in steps:
        words = one_line(step.text)
        at = flat.text.find(words, place) if words else -1
        if at < 0:
            located.append(replace(step, spans=()))
            continue
        place = at + len(words)
        located.append(replace(step, spans=flat.cut(at, place).spans(text)))
    return tuple(located)


def moved(steps: Iterable[Step], by: int) -> tuple[Step, ...]:
    """Return the steps of a part of a text, with spans relative to the whole."""
    return tuple(
        replace(step, spans=tuple((start + by, end + by) for start, end in step.spans)) if step.spans else step
        for step in steps
    )


def extents(steps: Sequence[Step]) -> list[Span] | None:
    """Return (start, end) of every step; None if one is not located or they do not follow one another."""
    ends: list[Span] = []
    for step in steps:
        if not step.spans or (ends and step.spans[0][0] < ends[-1][1]):
            return None
        ends.append((step.spans[0][0], step.spans[-1][1]))
    return ends


def reworded(text: str, step: Step, words: str) -> str | None:
    """Return the step's text with other words, its marks and spaces kept; None if the step is not at its spans."""
    if not step.spans:
        return None
    start, end = step.spans[0][0], step.spans[-1][1]
    places = [
        (first + word.start() - start, first + word.end() - start)
        for first, last in step.spans
        for word in _WORD.finditer(text[first:last])
    ]
    body, old, new = text[start:end], step.text.split(), words.split()
    if [body[a:b] for a, b in places] != old:
        return None
    if len(old) == len(new):
        edits = [(place, word) for place, word, old_word in zip(places, new, old, strict=True) if word != old_word]
        for (a, b), word in reversed(edits):
            body = body[:a] + word + body[b:]
        return body
    if max(len(old), len(new)) > MOVED_WORDS or not new:
        return words
    for tag, i1, i2, j1, j2 in reversed(SequenceMatcher(None, old, new, autojunk=False).get_opcodes()):
        if tag == "equal":
            continue
        put = " ".join(new[j1:j2])
        if tag == "insert":
            # after the preceding word, or before the first one
            at = places[i1 - 1][1] if i1 else 0
            body = body[:at] + (f" {put}" if i1 else f"{put} ") + body[at:]
        elif tag == "replace":
            body = body[: places[i1][0]] + put + body[places[i2 - 1][1] :]
        elif i1:
            body = body[: places[i1 - 1][1]] + body[places[i2 - 1][1] :]
        else:
            body = body[places[i2][0] :] if i2 < len(places) else ""
    return body


def lay_out(text: str, slots: Sequence[Span], bodies: Sequence[str]) -> tuple[str, list[Span]]:
    """Return the text with `bodies` in its slots, in order, and their new spans. Text between the slots stays.

    With fewer bodies, the last slots are dropped, with the text before each of them, such as a list's number. With
    more, each further body follows a copy of the text before the last slot, with its number increased.
    """
    pieces, places, end, length = [], [], 0, 0
    for place, body in enumerate(bodies):
        if place < len(slots):
            gap = text[end : slots[place][0]]
            end = slots[place][1]
        else:
            before = text[slots[-2][1] : slots[-1][0]] if len(slots) > 1 else ""
            gap = _counted_on(before, place - len(slots) + 1) or "\n"
        pieces += [gap, body]
        length += len(gap)
        places.append((length, length + len(body)))
        length += len(body)
    rest = text[slots[-1][1] :] if slots else text
    return "".join((*pieces, rest)), places


def _counted_on(gap: str, more: int) -> str:
    """Return the text before a step with its last number increased by `more`."""
    number = _NUMBER.search(gap)
    return gap if number is None else f"{gap[: number.start()]}{int(number[0]) + more}{gap[number.end() :]}"
