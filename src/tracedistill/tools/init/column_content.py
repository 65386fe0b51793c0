r"""Guess question and answer from the content of columns, if their names do not tell.

Betreff, Nachricht, Kategorie     two columns of texts, one of few values: question "{Betreff}\n{Nachricht}"
address, zip                      the longer text is the question, what is left the answer
translation: {en, de}             the texts within an object count as columns
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from tracedistill.tasks._base import content
from tracedistill.tasks._rows import Row

NEVER = frozenset(
    {
        "note", "notes", "comment", "comments", "source", "url", "link", "author", "annotator", "created", "created_at",
        "updated", "updated_at", "timestamp", "lang", "language", "license", "meta", "metadata", "difficulty", "level",
        "split", "index", "idx", "row", "number", "nr", "no", "date", "version", "hash", "model", "score",
    }
)  # fmt: skip
"""Columns that are neither questions nor answers."""
_ID = re.compile(r"(?:[A-Za-z]{0,12}[-_ #]?\d+|[0-9a-f]{8,}(?:-[0-9a-f]{4,})*|https?://\S+)")


def question_and_answer(columns: Mapping[str, str], free: Sequence[str], rows: Sequence[Row]) -> dict[str, str]:
    """Return the free columns that fit the fields `question` and `answer`, if `columns` lacks them.

    Other columns of text before the answer become part of the question; those after it may explain the answer, and are
    left out.
    """
    names = _leaves(free, rows)
    values = {name: [_value(row, name) for row in rows] for name in names}
    useful = {name: column for name, column in values.items() if _says_something(name, column)}
    texts = [name for name, column in useful.items() if _is_text(column)]
    guessed: dict[str, str] = {}
    if "answer" not in columns:
        others = [name for name in useful if name not in texts]
        if not others and len(texts) + ("question" in columns) < 2:
            return {}
        guessed["answer"] = (others or texts)[-1]  # texts alone: the first asks, the last answers
        texts = [name for name in texts if name != guessed["answer"]]
    if "question" not in columns and texts:
        answer, order = guessed.get("answer", columns.get("answer", "")), [*rows[0]]
        end = order.index(answer) if answer in order else len(order)
        before = [name for name in texts if name not in order or order.index(name) < end]
        longest = max(before or texts, key=lambda name: _length(useful[name]))
        beside = [name for name in before if name in order and (name == longest or _words(useful[name]) >= 2)]
        guessed["question"] = longest if len(beside) < 2 else "\n".join(f"{{{name}}}" for name in beside)
    return guessed


def _leaves(free: Sequence[str], rows: Sequence[Row]) -> list[str]:
    """Return the columns; of an object whose values are texts, the path of each."""
    leaves = []
    for name in free:
        first = next((row[name] for row in rows if row.get(name)), None)
        if isinstance(first, Mapping) and len(free) <= 2 and all(isinstance(value, str) for value in first.values()):
            leaves += [f"{name}.{key}" for key in first]
        else:
            leaves.append(name)
    return leaves


def _value(row: Row, name: str) -> Any:
    if name in row:
        return row[name]
    head, _, key = name.partition(".")
    inner = row.get(head)
    return inner.get(key) if isinstance(inner, Mapping) else None


def _says_something(name: str, values: Sequence[Any]) -> bool:
    """Return whether a column may be a question or an answer: no id, no note, not blank, not one value throughout."""
    if re.sub(r"[-\s]+", "_", name.lower()) in NEVER:
        return False
    shown = [content(value).strip() for value in values if value not in (None, "", [], {})]
    if len(shown) < 0.9 * len(values) or (len(shown) > 1 and len(set(shown)) < 2):
        return False
    numbered = len(shown) > 2 and any(shown == [str(n + first) for n in range(len(shown))] for first in (0, 1))
    named = re.search(r"(?:\b|_)(?:id|nr|no|nummer|uuid|key)\W*$", name.lower()) is not None
    return not numbered and not (named and len(set(shown)) == len(shown) and all(map(_ID.fullmatch, shown)))


def _is_text(values: Sequence[Any]) -> bool:
    """Return whether a column holds texts of more than a word, and most rows one of their own."""
    texts = [value for value in values if isinstance(value, str)]
    own = len(set(texts)) > len(values) / 2
    return own and len(texts) >= 0.9 * len(values) and sum(map(_spoken, texts)) > len(values) / 2


def _spoken(text: str) -> bool:
    return len(text.split()) > 1 or not text.isascii()


def _words(values: Sequence[Any]) -> float:
    """Return the median of the words of texts; scripts without spaces count as several."""
    return statistics.median(len(str(text).split()) + 2 * (not str(text).isascii()) for text in values)


def _length(values: Sequence[Any]) -> float:
    return statistics.median(len(str(value)) for value in values)
