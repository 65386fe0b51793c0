"""One row of a user's file by its fields, before the whole file determines the meaning of golds and choices."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tracedistill.chat.formats import trimmed
from tracedistill.errors import InputError
from tracedistill.records import Step
from tracedistill.tasks._base import content
from tracedistill.tasks._rows import Row
from tracedistill.tasks._steps import make_steps, one_line, read_steps
from tracedistill.tasks.file.cells import structured
from tracedistill.tasks.file.chats import hashed, read_chat, thought_of
from tracedistill.tasks.file.choices import Option, read_choices
from tracedistill.tasks.file.columns import ColumnMap
from tracedistill.tasks.math import last_boxed

WrittenSteps = tuple[str, tuple[Step, ...]]
"""(steps as written, parsed steps)"""


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row by its fields, as written: the whole file determines what golds and choices mean."""

    place: int
    """The row's index in its file, from 0."""
    problem_id: str
    """Id in the file; empty if there is none."""
    question: str
    context: tuple[str, ...]
    """Context, of a conversation its system message and earlier turns."""
    golds: tuple[str, ...]
    listed: list[Any] | None
    """The gold, if it is a list in the file itself."""
    choices: tuple[Option, ...]
    category: str
    steps: Any
    """The worked solution as written in the file; None if there is none."""
    trace: str
    group: str
    """Rows of one group fall to one split; empty: no group."""
    split: str
    """Split in the file; empty if there is none."""
    kept: Row | None
    """The whole row, for a user's own judge."""


def read_row(
    where: str, row: Row, columns: ColumnMap, fields: frozenset[str], place: int, split: str, *, keep: bool
) -> RawRow:
    """Read a row; `fields` are those available in its columns, and `split` the file's own, if it is of one."""

    def value(field_name: str) -> Any:
        return columns.value(field_name, row, where) if field_name in fields else None

    thought = ""
    before: tuple[str, ...] = ()
    if "messages" in fields:
        chat = read_chat(value("messages"), f"{where}: column '{columns.name('messages')}'")
        question, reply, thought = chat.question, chat.answer, chat.thought
        before = ((chat.system,) if chat.system else ()) + chat.before
        gold: Any = value("answer") if "answer" in fields else reply
        thought = f"<think>\n{thought}\n</think>\n\n{reply}" if thought else ""
    else:
        question = cell_text(columns.value("question", row, where))
        gold = columns.value("answer", row, where)
    if not question:
        raise InputError(f"{where}: column '{columns.name('question')}' is blank; a row needs a question")
    choices: Sequence[Option] = ()
    if "choices" in fields:
        choices = read_choices(value("choices"), f"{where}: column '{columns.name('choices')}'")
    golds, steps = _answers(gold), value("steps")
    trace = (cell_text(value("trace")) if "trace" in fields else "") or thought
    if len(golds) == 1:
        golds, steps, trace = _apart(golds[0], steps, trace)
    return RawRow(
        place,
        cell_text(value("id")) if "id" in fields else "",
        question,
        before + (_listed(value("context")) if "context" in fields else ()),
        golds,
        list(gold) if isinstance(gold, list | tuple) else None,
        tuple(choices),
        cell_text(value("category")) if "category" in fields else "",
        steps,
        trace,
        cell_text(value("group")) if "group" in fields else "",
        split or (cell_text(value("split")) if "split" in fields else ""),
        row if keep else None,
    )


def _apart(gold: str, steps: Any, trace: str) -> tuple[tuple[str, ...], Any, str]:
    """Split an answer with its own solution, GSM8K's or a reasoning model's, into (answers, steps, trace)."""
    worked = hashed(gold)
    if worked is not None:
        return (worked[1],), steps or worked[0], trace
    value = (last_boxed(gold) or "").strip()
    if value and not thought_of(gold)[0] and not gold.strip("$ ").startswith("\\boxed"):
        return (value,), steps or gold, trace  # a solution that ends in its answer, as MATH's
    closed = hashed(steps) if isinstance(steps, str) else None
    if closed is not None and closed[1] == gold:
        steps = closed[0]  # the line with the answer is no step of the solution
    thought, rest = thought_of(gold)
    if thought:
        trace = trace or gold
        gold = rest
    if trace:
        gold = (last_boxed(gold) or "").strip() or gold
    return ((gold,) if gold else ()), steps, trace


def cell_text(value: Any) -> str:
    """Clean a cell: white space at its ends removed; of several lines the first keeps its indentation."""
    text = "" if value is None else trimmed(content(value))
    return text if "\n" in text else text.strip()


_TEXT_KEYS = ("text", "passage_text", "passage", "content", "sentences")


def _inner(value: Any) -> Any:
    """Return the text of a passage that is an object (`{"text": ..., "selected": true}`), or of an object of lists."""
    if not isinstance(value, Mapping):
        return value
    return next((value[key] for key in _TEXT_KEYS if key in value), value)


def _listed(value: Any) -> tuple[str, ...]:
    """Return the items of a list, of one written in a cell, of lines, or of one line's text between bars."""
    items = _inner(structured(value))
    if isinstance(items, list | tuple):
        return tuple(text for item in items if (text := cell_text(_inner(item))))
    lines = [line.rstrip() for line in cell_text(value).split("\n")]
    if len(lines) == 1 and not lines[0].startswith("|"):  # else it is a row of a Markdown table
        lines = [part.strip() for part in re.split(r"\s\|\s", lines[0])]
    return tuple(lines) if any(lines) else ()


def _answers(value: Any) -> tuple[str, ...]:
    """Return a list's items as alternatives; a text is one answer, whatever it contains."""
    if isinstance(value, list | tuple):
        return tuple(text for item in value if (text := cell_text(item)))
    return (cell_text(value),) if cell_text(value) else ()


def written_steps(value: Any) -> WrittenSteps:
    """Return the text of written steps and the parsed steps; a list of steps has no text.

    An item of a list is a text, or an object whose values are joined (question and answer).
    """
    if isinstance(value, str) and value.strip().startswith("["):
        listed = _listed(value)
        value = listed if len(listed) > 1 else value
    if isinstance(value, list | tuple):
        texts = [" ".join(map(cell_text, item.values() if isinstance(item, Mapping) else [item])) for item in value]
        return "", make_steps([one_line(text) for text in texts if text.strip()])
    text = cell_text(value)
    steps = read_steps(text).steps if text else ()
    return text if steps else "", steps
