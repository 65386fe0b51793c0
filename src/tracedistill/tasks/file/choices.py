"""Multiple choice in a user's file: what the options are, and which of them a gold means.

    options: ["Vitamin E", "Niacin"], answer: 1                 an index, from 0 or from 1: inferred from the whole file
    options: {"A": "Vitamin E", "B": "Niacin"}, answer: "B"     a label
    (a) Vitamin E (b) Niacin                                    options within one text
    A: Vitamin E | B: Niacin (columns), answer: "Niacin"        a column for each option; the text of an option

An ambiguous row is an error and never guessed: a wrong key is worse than none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from tracedistill.errors import InputError
from tracedistill.tasks._base import content
from tracedistill.tasks.file.cells import structured

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

Means = Literal["label", "text", "from-0", "from-1"]
"""Meaning of a gold: an option's own label, its text, or its number."""

_LABEL = re.compile(r"\A\s*[(\[]?\s*([A-Za-z])\s*[).:\]]\s*(?=\S)")
_INLINE = re.compile(r"(?:\A|(?<=[\s,;]))[(\[]?\s?([A-Za-z])\s?(?:[)\]]|[.:](?=\s))\s*")
_BETWEEN = re.compile(r"[\s,;|]+\Z")

Option = tuple[str, str]
"""(the option's own label, its text)."""


def read_choices(value: Any, where: str) -> list[Option]:
    """Parse the options of a row; none if the cell is empty. Raises InputError, with `where`, if it is not a list."""
    try:
        value = structured(value)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    if value is None or (isinstance(value, str) and not value.strip()) or value == [] or value == {}:
        return []
    pairs = _pairs(value, where)
    if len(pairs) > len(LETTERS):
        raise InputError(f"{where}: {len(pairs)} choices; at most {len(LETTERS)}")
    if len(pairs) < 2:
        shown = pairs[0][1][:80] if pairs else str(value)[:80]
        raise InputError(
            f"{where}: only one choice found in '{shown}'; write a JSON list, one choice per line, or one column "
            "per choice"
        )
    blank = [label for label, text in pairs if not text]
    if blank:
        raise InputError(f"{where}: choice {blank[0]} is blank")
    return pairs


def _pairs(value: Any, where: str) -> list[Option]:
    if isinstance(value, Mapping):
        labels, texts = value.get("label"), value.get("text")
        if isinstance(labels, list | tuple) and isinstance(texts, list | tuple):
            if len(labels) != len(texts):
                raise InputError(f"{where}: {len(labels)} labels for {len(texts)} choices")
            return [(_text(label), _text(text)) for label, text in zip(labels, texts, strict=True)]
        return [(_text(label), _text(text)) for label, text in value.items() if text is not None]
    if isinstance(value, list | tuple):
        items = list(value)
        if items and all(isinstance(item, list | tuple) and len(item) == 2 for item in items):
            return [(_text(label), _text(text)) for label, text in items]
        if items and all(isinstance(item, Mapping) for item in items):
            return [_of_object(item, place, where) for place, item in enumerate(items)]
        return _unlabelled([_text(item) for item in items])
    text = _text(value)
    if text.startswith("{"):
        raise InputError(f"{where}: not valid JSON")
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if len(lines) == 1:
        inline = _inline(lines[0])
        if inline:
            return inline
        lines = [part.strip() for part in re.split(r"\s\|\s|\t|;\s", lines[0]) if part.strip()]
    return _unlabelled(lines)


def _of_object(item: Mapping[str, Any], place: int, where: str) -> Option:
    """Parse `{"label": "A", "text": "Rome"}` and the like."""
    text = next((item[key] for key in ("text", "content", "value", "option") if key in item), None)
    if text is None:
        raise InputError(f"{where}: choice {place + 1} has no key 'text'; it has: {', '.join(map(str, item))}")
    label = next((item[key] for key in ("label", "key", "id") if key in item), LETTERS[place % 26])
    return _text(label), _text(text)


def _unlabelled(items: Sequence[str]) -> list[Option]:
    """Strip the letters of options if these follow the alphabet: `A) Rome`, `A)21`, `(b) Paris`."""
    marks = [_LABEL.match(item) for item in items]
    if items and all(mark is not None and mark[1].upper() == LETTERS[n % 26] for n, mark in enumerate(marks)):
        items = [_LABEL.sub("", item).strip() for item in items]
    return [(LETTERS[n % 26], item) for n, item in enumerate(items)]


def _inline(text: str) -> list[Option]:
    """Parse `(a) Vitamin E (b) Niacin`, `A. x B. y`, `a ) 38 , b ) 27`: letters in order from the start of the text."""
    marks: list[re.Match[str]] = []
    for mark in _INLINE.finditer(text):
        if mark[1].upper() == LETTERS[len(marks) % 26] and (marks or not mark.start()):
            marks.append(mark)
    if len(marks) < 2:
        return []
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    texts = [_BETWEEN.sub("", text[mark.end() : end]) for mark, end in zip(marks, ends, strict=True)]
    return [(LETTERS[n], text) for n, text in enumerate(texts)]


def means_of(rows: Sequence[tuple[str, Sequence[Option]]], first: int | None, where: str) -> Means:
    """Infer the meaning of a file's golds from all (gold, options): the one that fits the most rows.

    `first`: the recipe's number of the first option. Raises InputError if golds may be counted from 0 or from 1.
    """
    fits = {
        means: sum(_place(gold, pairs, means) is not None for gold, pairs in rows)
        for means in ("label", "text", "from-0", "from-1")
    }
    best = max(fits.values(), default=0)
    if not best or fits["label"] == best:
        return "label"
    if fits["text"] == best:
        return "text"
    if first is not None:
        return "from-0" if first == 0 else "from-1"
    if fits["from-0"] == fits["from-1"]:
        raise InputError(
            f"{where}: the answers are numbers of choices, and the first may be 0 or 1 (neither 0 nor the number of "
            "choices occurs); set task.first_choice to 0 or 1 (init: --first-choice)"
        )
    return "from-0" if fits["from-0"] == best else "from-1"


def letter_of(gold: str, pairs: Sequence[Option], means: Means) -> str:
    """Return the letter of the option that a gold means, else of the option with this label or text, else the gold."""
    for meaning in (means, "label", "text"):
        place = _place(gold, pairs, meaning)
        if place is not None:
            return LETTERS[place]
    return gold


def _place(gold: str, pairs: Sequence[Option], means: str) -> int | None:
    if means in ("from-0", "from-1"):
        number = int(gold) - (means == "from-1") if gold.isascii() and gold.isdigit() and len(gold) < 3 else -1
        return number if 0 <= number < len(pairs) else None
    plain = gold.strip("()[].: ").casefold()
    if means == "label":
        same = [n for n, (label, _) in enumerate(pairs) if label.casefold() == plain]
    else:
        same = [n for n, (_, text) in enumerate(pairs) if text.casefold() == gold.casefold().strip()]
        if not same:  # `B) Paris`
            bare = _LABEL.sub("", gold).strip().casefold()
            same = [n for n, (_, text) in enumerate(pairs) if bare and text.casefold() == bare]
    return same[0] if len(same) == 1 else None


def _text(value: Any) -> str:
    return "" if value is None else content(value).strip()
