"""What is looked for before a costly pattern is found wherever the pattern is: drawn from it, and in all case texts."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.attacks import drawn
from tracedistill.answers import asides, bounds, extract, hedges, marks, mentions, refuted, statements
from tracedistill.answers.words import holds_any

CASES = Path(__file__).resolve().parents[1] / "cases"
Gated = tuple[Callable[[str], bool], Callable[[str], bool], re.Pattern[str]]


def _lower(parts: tuple[str, ...]) -> Callable[[str], bool]:
    return lambda text: holds_any(text.lower(), parts)


def _found(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda text: pattern.search(text) is not None


def _begins(pattern: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda text: pattern.match(text) is not None


SIDE = re.compile(asides._SIDE, re.IGNORECASE)
GATED: dict[str, Gated] = {
    "an offer": (lambda text: asides._offers(text.lower()), _found(asides._OFFER), asides._OFFER),
    "a part of a size": (hedges._second_side, _found(hedges._FACTOR), hedges._FACTOR),
    "the first side": (hedges._first_side, _begins(hedges._FACTOR_AFTER), hedges._FACTOR_AFTER),
    "a bound": (
        lambda text: (bounds._led(text) and _found(bounds._BEFORE)(text)) or not text.isascii(),
        lambda text: _found(bounds._BEFORE)(text) or not text.isascii(), bounds._BEFORE,
    ),
    "a doubt": (
        lambda text: _lower(marks._DOUBT_PARTS)(text) and _found(marks._DOUBT)(text), _found(marks._DOUBT), marks._DOUBT
    ),
    "a denial of a mark": (
        lambda text: _lower(marks._NEGATED_PARTS)(text) and _found(marks._NEGATED_MARK)(text),
        _found(marks._NEGATED_MARK), marks._NEGATED_MARK,
    ),
    "a symbol": (mentions._assigned, _found(mentions._SYMBOL), mentions._SYMBOL),
    "a subordinate clause": (
        lambda text: mentions._subordinate(text) is not None, _found(mentions._SUBORDINATE), mentions._SUBORDINATE
    ),
    "a label": (mentions._labelled, _found(mentions._LABEL), mentions._LABEL),
    "an inference": (
        lambda text: mentions._inferred(text, text.lower()), _found(mentions._INFERRED), mentions._INFERRED
    ),
    "a conclusion": (
        lambda text: statements._concluded(text, 0, len(text)), _found(statements._CONCLUSION), statements._CONCLUSION
    ),
    "what restates": (
        lambda text: extract._restated(text, 0, len(text)) is not None, _found(extract._RESTATED), extract._RESTATED
    ),
    "what breaks off": (
        lambda text: extract._unfinished(text.rstrip()), lambda text: _found(extract._UNFINISHED)(text.rstrip()),
        extract._UNFINISHED,
    ),
    "imputed to others": (
        lambda text: _lower(refuted._IMPUTED_PARTS)(text) and _found(refuted._IMPUTED)(text),
        _found(refuted._IMPUTED), refuted._IMPUTED,
    ),
    "what seems": (
        lambda text: _lower(refuted._SEEMING_PARTS)(text) and _found(refuted._SEEMING)(text),
        _found(refuted._SEEMING), refuted._SEEMING,
    ),
    "a side heading": (lambda text: _lower(asides._SIDE_PARTS)(text) and _found(SIDE)(text), _found(SIDE), SIDE),
}  # fmt: skip
"""Name -> the detector as it is called, the same without its trigger, and its pattern."""


@functools.cache
def _texts() -> tuple[str, ...]:
    """Return the lines and sentences of all case texts."""
    texts = set()
    for path in sorted(CASES.glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            texts |= {value for value in json.loads(line).values() if isinstance(value, str)}
    for path in sorted(CASES.glob("answers_[!h]*.tsv")):
        texts |= set(path.read_text(encoding="utf-8").replace("\\n", "\n").replace("\t", "\n").splitlines())
    pieces = {piece for text in texts for piece in (text, *text.splitlines(), *text.split(". "))}
    return tuple(sorted(piece for piece in pieces if len(piece) < 1000))


@pytest.mark.parametrize("name", GATED)
def test_a_detector_finds_the_same_without_its_trigger(name: str) -> None:
    gated, ungated, pattern = GATED[name]
    written = list(drawn(pattern, 1500))
    assert len(written) > 100
    # what stands around a number is a short piece: its end and its beginning
    pieces = (piece for text in _texts() for piece in (text[-80:], text[:80]))
    assert [text for text in (*written, *pieces) if gated(text) != ungated(text)] == []


def test_marks_are_found_where_a_search_of_the_whole_sentence_finds_them() -> None:
    written = [text for text in drawn(marks._ENGLISH_ANSWER, 1500) if text != text.upper()]
    texts = (*written, *(f"Two of them, so {text}, and {text}" for text in written), *_texts())
    wrong = []
    for text in texts:
        hint = marks._first_hint(text, 0, len(text))
        english = text.isascii() and not holds_any(text.lower(), marks._FOREIGN_HINTS)
        expected = [mark.span() for mark in (marks._ENGLISH_ANSWER if english else marks._ANSWER).finditer(text)]
        if hint >= 0 and [mark.span() for mark in marks._marks(text, 0, len(text), hint)] != expected:
            wrong.append(text)
    assert wrong == []


def test_placeholders_are_found_without_their_trigger() -> None:
    def found(text: str) -> bool:
        mark = marks.last_mark(text, 0, len(text))
        return mark is not None and marks._PLACEHOLDER.match(text, text.rfind(":", 0, mark) + 1) is not None

    written = [f"{head}{text}" for text in drawn(marks._PLACEHOLDER, 500) for head in ("Answer: ", "The answer is ")]
    assert sum(map(found, written)) > 100
    assert [text for text in (*written, *_texts()) if marks.has_placeholder(text) != found(text)] == []
