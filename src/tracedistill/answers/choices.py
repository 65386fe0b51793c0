"""Reads which of several choices a text settles on, by letter or by the words of the choice.

What is marked as the answer goes first, whatever explanation follows it; then a first line that is nothing but a
letter; then the last statement that names exactly one choice. A choice that is denied (`not A`, `A is wrong`) is not
named, and of `A or B` neither is.
"""

from __future__ import annotations

import functools
import itertools
import re
from dataclasses import dataclass

from tracedistill.answers.asides import aside, of_other_case
from tracedistill.answers.choice_labels import label_of, labelled, undressed
from tracedistill.answers.choice_lists import FORMER, only_right, retractions, settled, spread_denials
from tracedistill.answers.choice_names import letters_of, means_choice, words_of
from tracedistill.answers.choice_patterns import (
    ANSWER_TABLE,
    ANSWERS,
    BOX,
    CHOICE_MARK,
    CHOSEN,
    CONCEDED,
    CONCLUDED,
    CROSSED,
    DRESS,
    EITHER,
    JOINED,
    LABEL_FIRST,
    LABEL_LATER,
    LEFT_OPEN,
    NOT_AFTER,
    NOT_BEFORE,
    OR,
    RANKED,
    THOUGHT,
    TICKED,
    WRONG,
)
from tracedistill.answers.cleaning import plain
from tracedistill.answers.marks import corrected, denied, last_mark
from tracedistill.answers.policy import Extracted
from tracedistill.answers.statements import Statement, backwards

_LOOK_BACK = 40


@dataclass(frozen=True, slots=True)
class _Named:
    """A choice that a text names at a place."""

    start: int
    end: int
    letter: str
    by_words: bool


def read_choice(text: str, closed: tuple[str, ...] = ()) -> Extracted:
    """Return the choice that a text settles on, its `value` the letter."""
    clean = plain(text)
    short = clean.strip()
    whole = label_of(short, closed) if len(clean) <= 400 and "\n" not in short else None
    if whole is not None:
        return Extracted(text.strip(), whole, "the whole text", (0, len(text)))
    reader = _ChoiceReader(text, undressed(clean), clean, closed)
    return reader.read()


class _ChoiceReader:
    """Finds the choice of one text; `bare` is the text without LaTeX, character for character."""

    def __init__(self, text: str, bare: str, clean: str, closed: tuple[str, ...]) -> None:
        self.text, self.bare, self.clean, self.closed = text, bare, clean, closed
        self.statements: list[Statement] = []

    def read(self) -> Extracted:
        box = self._box()
        ticked = self._ticked() if box is None and CROSSED.search(self.clean) else None
        if ticked is not None:
            return ticked
        retracted = self._retracted() if box is None else None
        if retracted is not None:
            return retracted
        loose: Extracted | None = None
        supposed: Extracted | None = None
        lead = self._first_line()
        refused: set[str] = set()
        for count, statement in enumerate(backwards(self.clean, len(self.clean))):
            if count > _LOOK_BACK:
                break
            if box is not None and statement.end <= box[1] + 1:
                return self._boxed(box, loose)
            begin = self._marked(statement)
            if begin is not None or denied(self.clean, statement.start, statement.end):
                if denied(self.clean, statement.start, statement.end):
                    choice = self._only(self._mentions(statement.start, statement.end, loose=True))
                    if choice is not None:
                        return self._extracted(choice, "stated as the answer")
                    refused |= {one.letter for one in self._mentions(statement.start, statement.end, loose=True)}
                    continue
                if loose is not None and corrected(self.clean, statement.end, len(self.clean)):
                    return loose
                assert begin is not None
                if self.clean[max(begin, statement.end - 3) : statement.end].rstrip(" *\"').").endswith("?"):
                    continue
                marked = self._stated(begin, statement.end)
                if marked is not None and of_other_case(self.clean, statement.start, statement.end):
                    supposed = supposed or marked
                    continue
                if marked is not None:
                    return marked
                refused |= self._refused(statement)
                continue
            if loose is None and aside(self.clean, statement.start, statement.end) not in {"a question", "an offer"}:
                choice = self._one(statement.start, statement.end)
                refused |= self._refused(statement)
                if choice is not None and choice.letter not in refused:
                    loose = self._extracted(choice, "named in the final statement")
        if box is not None:
            return self._boxed(box, loose)
        verdict = only_right(self.clean, self._labels())
        if verdict is not None:
            place, letter = verdict
            return self._extracted(_Named(place, place + 1, letter, by_words=False), "the only one called right")
        if lead is None and loose is None:
            lead = self._ticked() or self._in_table()
        if (
            lead is not None
            and lead.value not in refused
            and not (loose is not None and corrected(self.clean, 0, len(self.clean)))
        ):
            return lead
        left = self._labels() - refused
        if loose is None and supposed is None and len(left) == 1 and len(refused) > 1:
            letter = next(iter(left))
            return Extracted(letter, letter, "all others are denied", (0, len(self.text)))
        return loose or supposed or Extracted(None, None, "no statement names exactly one choice")

    def _labels(self) -> frozenset[str]:
        return frozenset(known for known, _ in labelled(self.closed))

    def _retracted(self) -> Extracted | None:
        """Return the choice that takes an earlier one back (`B... no, D.`), if no other is named behind it."""
        for begin in retractions(self.clean):
            end = self.clean.find("\n", begin)
            named = self._mentions(begin, len(self.clean) if end < 0 else end, loose=True)
            if not named or named[0].start > begin or not settled(self.bare, named[0].end):
                continue
            earlier = self._mentions(self.clean.rfind("\n", 0, begin) + 1, begin, loose=True)
            later = self._mentions(named[0].end, len(self.clean), loose=False)
            first = named[0]
            if (
                earlier
                and not self._denied(first)
                and all(one.letter == first.letter or self._denied(one) for one in later)
            ):
                return self._extracted(first, "corrected by the writer")
        return None

    def _box(self) -> tuple[int, int] | None:
        """Start and end of what the last box holds."""
        box = None
        for box in BOX.finditer(self.clean, max(0, len(self.clean) - 20_000)):  # noqa: B007  (the last is wanted)
            pass
        if box is None:
            return None
        line = self.clean.find("\n", box.end())
        return box.end(), min(len(self.clean) if line < 0 else line, box.end() + 300)

    def _boxed(self, box: tuple[int, int], loose: Extracted | None) -> Extracted:
        depth, end = 1, box[1]
        for at in range(box[0], box[1]):
            depth += {"{": 1, "}": -1}.get(self.clean[at], 0)
            if depth == 0:
                end = at
                break
        if loose is not None and corrected(self.clean, end, len(self.clean)):
            return loose
        return self._stated(box[0], end) or Extracted(None, None, "the box names no choice")

    def _first_line(self) -> Extracted | None:
        """Return a first line that is a letter, or a letter and its words, before an explanation."""
        head = len(self.bare) - len(self.bare.lstrip())
        line = self.bare.find("\n", head)
        label = LABEL_FIRST.match(self.bare, head)
        if label and letters_of(self.closed).fullmatch(label[1]) and not LABEL_LATER.search(self.bare, label.end()):
            named = _Named(label.start(1), label.end(1), label[1], by_words=False)
            clause = re.split(r"[.;\n]", self.bare[label.end() : label.end() + 200], maxsplit=1)[0]
            if not self._denied(named) and not WRONG.search(clause):
                return self._extracted(named, "the first line")
        if line < 0 or line - head > 300:
            return None
        letter = label_of(self.bare[head:line].strip(" *_#"), self.closed)
        return None if letter is None else Extracted(self.text[head:line], letter, "the first line", (head, line))

    def _refused(self, statement: Statement) -> set[str]:
        """Return the letters of the choices that a statement denies."""
        named = self._mentions(statement.start, statement.end, loose=True)
        return {one.letter for one in named} - {one.letter for one in self._kept(named)}

    def _kept(self, named: list[_Named]) -> list[_Named]:
        """Return the choices that are not denied, alone or in a list."""
        denied = spread_denials(
            self.bare, [(one.start, one.end) for one in named], [self._denied(one) for one in named]
        )
        return [one for one, refused in zip(named, denied, strict=True) if not refused]

    def _ticked(self) -> Extracted | None:
        """Return the choice of the only ticked line of a list of choices (`B) copper ✅`)."""
        found = [match for match in TICKED.finditer(self.bare) if letters_of(self.closed).fullmatch(match[1])]
        if len(found) != 1:
            return None
        named = _Named(found[0].start(1), found[0].end(1), found[0][1].upper(), by_words=False)
        return self._extracted(named, "the only one ticked")

    def _in_table(self) -> Extracted | None:
        """Return the choice in the column `Answer` of a table, if it has one row."""
        table = ANSWER_TABLE.search(self.bare)
        if table is None:
            return None
        names = [cell.strip(" *_").lower() for cell in table["head"].split("|")]
        places = [place for place, name in enumerate(names) if name in ("answer", "choice", "option", "final answer")]
        cells = table["row"].split("|")
        if len(places) != 1 or len(cells) != len(names):
            return None
        begin = table.start("row") + sum(len(cell) + 1 for cell in cells[: places[0]])
        return self._stated(begin, begin + len(cells[places[0]]))

    def _marked(self, statement: Statement) -> int | None:
        """Return the index where the value of a marked statement begins."""
        at = last_mark(self.clean, statement.start, statement.end)
        for match in CHOICE_MARK.finditer(self.clean, statement.start, statement.end):
            at = max(at or 0, match.end())
        return at

    def _stated(self, begin: int, end: int) -> Extracted | None:
        """Return the choice right after a mark, else the only one named after it, or None."""
        named = self._mentions(begin, end, loose=True)
        if not named:
            return None
        lead = DRESS.match(self.bare, begin, end)
        first = named[0]
        if lead is not None and first.start <= lead.end() and not self._denied(first):
            other = next((one for one in named[1:] if one.letter != first.letter), None)
            if other is not None and JOINED.fullmatch(self.bare, first.end, other.start) and not self._denied(other):
                return Extracted(None, None, "several choices are stated")
            return self._extracted(first, "stated as the answer")
        chosen = self._only(named)
        return None if chosen is None else self._extracted(chosen, "stated as the answer")

    def _one(self, begin: int, end: int) -> _Named | None:
        """Return the one choice that a statement names."""
        return self._only(self._mentions(begin, end, loose=False))

    def _only(self, named: list[_Named]) -> _Named | None:
        kept = [one for one in self._kept(named) if not CONCEDED.search(self.bare[max(0, one.start - 60) : one.start])]
        if len({one.letter for one in kept}) > 1:
            kept = self._settled(kept)
        if len({one.letter for one in kept}) != 1 or EITHER.search(
            self.bare[max(0, kept[0].start - 30) : kept[0].start]
        ):
            return None
        # beside a denied one (`A or B`, neither of them) nothing is left over
        for one in named:
            if one.letter != kept[0].letter and one.end <= kept[0].start:
                between = self.bare[one.end : kept[0].start]
                if len(between) < 12 and re.search(r"\b(?:or|nor|and)\b", between):
                    return None
        return next((one for one in kept if not self._tied(one)), None)

    def _tied(self, one: _Named) -> bool:
        """Return whether `or` or a slash ties a choice to another letter, which nothing else vouches for."""
        near = self._mentions(max(0, one.start - 24), one.end + 24, loose=True)
        pairs = itertools.pairwise(near)
        return any(
            left.letter != right.letter
            and one.start in (left.start, right.start)
            and OR.fullmatch(self.bare, left.end, right.start)
            for left, right in pairs
        )

    def _settled(self, kept: list[_Named]) -> list[_Named]:
        """Return the choice that a word such as `I choose` settles on, unless `or` ties it to another."""
        before = {one: self.bare[max(0, one.start - 40) : one.start] for one in kept}
        last = kept[-1]
        if CONCLUDED.search(before[last]) and not self.bare[last.end : last.end + 8].split("\n")[0].strip(" .!*_)\"'"):
            return [last]
        chosen = [one for one in kept if CHOSEN.search(before[one][-30:]) and not THOUGHT.search(before[one])]
        if not chosen:
            chosen = [one for one in kept if ANSWERS.match(self.bare, one.end) and not THOUGHT.search(before[one])]
        if len({one.letter for one in chosen}) != 1:
            return kept
        for left, right in itertools.pairwise(kept):
            if left.letter != right.letter and JOINED.fullmatch(self.bare, left.end, right.start):
                return kept
        return chosen

    def _may_hold(self, words: str) -> bool:
        """Tell whether the words of a choice may stand in the text: a pattern for each choice of each row is dear."""
        if not (self.bare.isascii() and words.isascii()):
            return True
        return words.partition(" ")[0] in self.folded

    @functools.cached_property
    def folded(self) -> str:
        """The bare text in lower case."""
        return self.bare.casefold()

    def _denied(self, one: _Named) -> bool:
        before = self.bare[max(0, one.start - 60) : one.start]
        if NOT_BEFORE.search(before) is not None and not LEFT_OPEN.search(before):
            return True
        if RANKED.search(before) is not None or FORMER.search(before) is not None:
            return True
        return NOT_AFTER.match(self.bare, one.end, one.end + 60) is not None

    def _extracted(self, one: _Named, reason: str) -> Extracted:
        return Extracted(self.text[one.start : one.end], one.letter, reason, (one.start, one.end))

    def _mentions(self, begin: int, end: int, loose: bool) -> list[_Named]:
        """Return choices named in a range, in order.

        `loose`: a bare letter needs no confirming word.
        """
        pattern = letters_of(self.closed)
        mentions = [
            _Named(match.start(1), match.end(), match[1].upper(), by_words=False)
            for match in pattern.finditer(self.bare, begin, end)
            if loose or means_choice(self.bare, match, begin, end)
        ]
        for letter, words in labelled(self.closed):
            if words and words != letter.casefold() and self._may_hold(words):
                mentions += [
                    _Named(match.start(), match.end(), letter, by_words=True)
                    for match in words_of(words).finditer(self.bare, begin, end)
                ]
        return _untangled(mentions, self.bare)


def _untangled(mentions: list[_Named], text: str) -> list[_Named]:
    """Return the choices in order, without words inside longer ones, and `B. dog` as one."""
    kept: list[_Named] = []
    for one in sorted(mentions, key=lambda item: (item.start, -item.end)):
        last = kept[-1] if kept else None
        if last is not None and one.start < last.end:
            continue
        if last is not None and one.letter == last.letter and not text[last.end : one.start].strip(" .):*_-(\"'"):
            kept[-1] = _Named(last.start, one.end, one.letter, last.by_words)
            continue
        kept.append(one)
    return kept


def named_anywhere(text: str, closed: tuple[str, ...]) -> frozenset[str]:
    """Return the letters of all choices that a text names anywhere, denied or not."""
    clean = plain(text)
    reader = _ChoiceReader(text, undressed(clean), clean, closed)
    return frozenset(one.letter for one in reader._mentions(0, len(clean), loose=False))
