"""A user's file as problems: each row read by its columns, the judge told by all golds, the splits drawn.

    {"prompt": "Is a whale a fish?", "target": "no", "split": "test"}   columns: {question: prompt, answer: target}

A list may be a JSON list, lines, or text between bars; an answer is split only where it is a list in the file itself,
and then any of its items will do. GSM8K's `... #### 72` is a worked solution and an answer.

Splits: a `{split}` in the path, else the column `split`, else a seeded draw of 80, 10 and 10 percent (equal questions,
and rows of one `group`, stay together).
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tracedistill.chat.formats import trimmed
from tracedistill.errors import InputError, MissingSplitError
from tracedistill.records import Problem, Step
from tracedistill.tasks._base import Source, content
from tracedistill.tasks._gold_audit import Rows
from tracedistill.tasks._overlap import same_text, sample_ids
from tracedistill.tasks._rows import Row, is_hub_id, note_read, read_rows
from tracedistill.tasks._steps import make_steps, one_line, read_steps
from tracedistill.tasks.file.cells import structured
from tracedistill.tasks.file.chats import boxed, hashed, read_chat, thought_of
from tracedistill.tasks.file.choices import LETTERS, Means, Pair, letter_of, means_of, read_choices
from tracedistill.tasks.file.columns import ColumnMap
from tracedistill.tasks.file.kinds import RULES, JudgeChoice, check_rule, judged_by
from tracedistill.tasks.file.splits import cut

_Written = tuple[str, tuple[Step, ...]]
"""(steps as their author wrote them, what is read in them)"""

SPLITS = ("train", "validation", "test")
"""Splits of a file that names none."""
ALIASES = ("dev", "val", "valid", "eval")
"""Other names of the validation split."""


@dataclass(frozen=True, slots=True)
class LoadedTable:
    """A whole file, read; its problems are made when they are asked for."""

    rows: tuple[RawRow, ...]
    """Every row, in the file's order."""
    homes: tuple[str, ...]
    """The split of each row."""
    judged: JudgeChoice
    """How its answers are judged."""
    shared: Mapping[str, Any]
    """What the judge and the prompt need, the same for all problems."""
    means: Means
    """What golds of multiple choice are."""
    same: tuple[int, ...]
    """Of each row, the place of the first one that reads alike: its own, where none does before it."""
    names: tuple[str, ...]
    """Its columns."""
    used: tuple[str, ...]
    """Of these, those that some field is read from."""

    @property
    def unused(self) -> tuple[str, ...]:
        """The columns that no field is read from."""
        return tuple(name for name in self.names if name not in self.used)

    def sizes(self) -> dict[str, int]:
        """Split -> its rows."""
        found = Counter(self.homes)
        known = {split: found.pop(split) for split in SPLITS if split in found}
        return {**known, **found}

    def problem_id(self, place: int) -> str:
        """Return the id of the problem at a place: the file's, else `file-<split>-<row>`."""
        row = self.rows[place]
        return row.problem_id or f"file-{self.homes[place]}-{row.place}"

    def problem(self, place: int, *, steps: bool = True) -> Problem:
        """Return the problem at a place; `steps` False spares reading them, which is most of the work."""
        row = self.rows[place]
        written, read = _steps(row.steps) if steps and row.steps else ("", ())
        meta = dict(self.shared)
        if row.labelled:
            if meta["judge"] in RULES:
                meta["judge"] = "choice"
            meta.pop("labels", None)
        if row.trace:
            meta["trace"] = row.trace
        if row.kept:
            meta["row"] = row.kept
        return Problem(
            problem_id=self.problem_id(place),
            task="file",
            split=self.homes[place],
            question=row.question,
            answers=tuple(letter_of(gold, row.labelled, self.means) for gold in row.golds)
            if row.labelled
            else row.golds,
            context=row.context,
            choices=tuple((letter, text) for letter, (_, text) in zip(LETTERS, row.labelled, strict=False)),
            category=row.category,
            gold_steps=read,
            gold_text=written,
            difficulty=len(read) or None,
            meta=meta,
        )

    def for_audit(self) -> Rows:
        """Return its problems as the audit of golds needs them, without their steps."""
        ids = [self.problem_id(place) for place in range(len(self.rows))]
        return Rows(ids, self.same, functools.partial(self.problem, steps=False))


@dataclass(frozen=True, slots=True)
class RawRow:
    """One row by its fields; what only the whole file tells is still open."""

    where: str
    """File and row, for errors."""
    place: int
    """The row's place in its file, from 0."""
    problem_id: str
    """As the file says; empty: it does not."""
    question: str
    """The question."""
    context: tuple[str, ...]
    """Context, of a conversation its system message and earlier turns."""
    golds: tuple[str, ...]
    """The golds as they stand in the file."""
    labelled: tuple[Pair, ...]
    """Its choices."""
    category: str
    """Its kind."""
    steps: Any
    """The worked solution as it stands in the file; None where there is none."""
    trace: str
    """What a teacher wrote, in the same row."""
    group: str
    """Rows of one group fall to one split; empty: it stands alone."""
    split: str
    """As the file says; empty: it does not."""
    kept: Row | None
    """The whole row, for a judge of the user's own."""


def load_split(split: str, source: Source) -> Iterator[Problem]:
    """Yield problems of a split in file order; if there are more than `source.size`, a sample by the source's seed.

    Ids are the file's, else `file-<split>-<row>` with rows from 0. Raises InputError, with file and row, for unknown
    fields in `columns`, missing columns, blank questions, ids that occur twice, choices that cannot be read, and a
    split without rows. A blank answer is kept: it is counted.
    """
    table = read_table(source, split)
    for name in (split, *(ALIASES if split == "validation" else ())):
        places = [place for place, home in enumerate(table.homes) if home == name]
        if places:
            drawn = sample_ids([table.problem_id(place) for place in places], source.size, source.seed)
            for index in drawn:
                problem = table.problem(places[index])
                yield problem if name == split else replace(problem, split=split)
            return
    raise MissingSplitError(_no_rows(source, split))


def read_table(source: Source, split: str = "") -> LoadedTable:
    """Read the whole file; for a path with `{split}`, all existing files, of which `split` must be one."""
    if not source.path:
        raise InputError(
            "task file: give `path`, a .jsonl, .json, .csv, .tsv or .parquet file (with {split} where there are "
            "several), a folder of such files, or a hub id"
        )
    check_rule(source.judge)
    if "{split}" in source.path:
        names = dict.fromkeys((*SPLITS, *ALIASES, split))
        paths = {name: path for name in names if name and (path := _path(source, name)).exists()}
        if not paths:
            raise InputError(f"{_path(source, '{split}')}: no such file; looked for {', '.join(filter(None, names))}")
    else:
        paths = {"": _path(source, "")}
    for path in paths.values():
        note_read(path)  # also where the cache has it
    stamps = tuple((name, str(path), _stamp(path)) for name, path in paths.items())
    return _read(stamps, _Key(repr(replace(source, size=None, columns=dict(sorted(source.columns.items())))), source))


@dataclass(frozen=True, slots=True)
class _Key:
    """A source as the key of a cache."""

    text: str
    source: Source = field(compare=False)


def _stamp(path: Path) -> tuple[tuple[str, int, int], ...]:
    if not path.exists():  # a hub id; or read_rows says what is wrong
        return ()
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return tuple((file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in files if file.is_file())


@functools.lru_cache(maxsize=2)
def _read(stamps: tuple[tuple[str, str, Any], ...], key: _Key) -> LoadedTable:
    source, columns = key.source, ColumnMap(key.source.columns)
    rows: list[RawRow] = []
    names: dict[str, None] = {}
    used: set[str] = set()
    heads: dict[tuple[str, ...], frozenset[str]] = {}
    keeps_rows = source.judge not in ("auto", *RULES)
    for split, name, _ in stamps:
        path = Path(name)
        for place, (number, row) in enumerate(read_rows(path)):
            head = tuple(row)
            if head not in heads:  # rows of one file have a few sets of columns
                heads[head] = columns.fields(row)
                names |= dict.fromkeys(map(str, head))
                used |= columns.used(row)
            rows.append(_row(f"{path}, row {number}", row, columns, heads[head], place, split, keep=keeps_rows))
    _check_ids(rows)
    chosen = [(gold, row.labelled) for row in rows if row.labelled for gold in row.golds]
    golds = [gold for row in rows if not row.labelled for gold in row.golds]
    judged = judged_by(golds, sum(bool(row.labelled) for row in rows), source.judge, source.labels)
    texts = [same_text((*row.context, row.question, *(text for _, text in row.labelled))) for row in rows]
    first: dict[str, int] = {}
    return LoadedTable(
        tuple(rows),
        tuple(_homes(rows, texts, source)),
        judged,
        _shared(judged, source),
        means_of(chosen, source.first_choice, stamps[0][1]) if chosen else "label",
        tuple(first.setdefault(text, place) for place, text in enumerate(texts)),
        tuple(names),
        tuple(name for name in names if name in used),
    )


def _shared(judged: JudgeChoice, source: Source) -> dict[str, Any]:
    """Return what every problem's judge and prompt need."""
    shared: dict[str, Any] = {"judge": judged.rule}
    if source.judge != "auto":
        shared["strict"] = True  # a gold that is not of the kind which the user says is at fault, not an exception
    if judged.labels:
        shared["labels"] = list(judged.labels)
    if source.instruction:
        shared["instruction"] = source.instruction
    for name in ("relative", "absolute"):
        if getattr(source, name) is not None:
            shared[name] = getattr(source, name)
    return shared


# ---- paths, splits, ids


def _path(source: Source, split: str) -> Path:
    path = Path(str(source.path).replace("{split}", split))
    if is_hub_id(path) and not path.exists():
        return path
    if source.data_dir is not None and not path.is_absolute():
        path = source.data_dir / path
    return path


def _no_rows(source: Source, split: str) -> str:
    table = read_table(source, split)
    path, there = _path(source, split), ", ".join(sorted(name or "(blank)" for name in table.sizes()))
    if "split" not in source.columns and "split" not in table.names and "{split}" not in str(source.path):
        return (
            f"{path}: no rows fall to split '{split}'; add a column `split`, or give one file per split with {{split}}"
        )
    return f"{path}: no rows of split '{split}'; its splits are: {there}"


def _check_ids(rows: Sequence[RawRow]) -> None:
    seen: dict[str, str] = {}
    for row in rows:
        if not row.problem_id:
            continue
        if row.problem_id in seen:
            path, _, number = seen[row.problem_id].rpartition(", row ")
            other, _, last = row.where.rpartition(", row ")
            both = f"{path}, rows {number} and {last}" if path == other else f"{seen[row.problem_id]} and {row.where}"
            raise InputError(f"{both}: the same id '{row.problem_id}'; ids must differ")
        seen[row.problem_id] = row.where


def _homes(rows: Sequence[RawRow], texts: Sequence[str], source: Source) -> list[str]:
    """Return the split of each row: the file's own, else a seeded draw; rows that read alike stay together."""
    homes = [row.split for row in rows]
    if any(homes) and set(homes) != {"train"}:  # many data sets of the hub have train alone
        return homes
    groups = [row.group or text for row, text in zip(rows, texts, strict=True)]
    drawn = cut(groups, source.seed)
    return [drawn[group] for group in groups]


# ---- one row


def _row(
    where: str, row: Row, columns: ColumnMap, fields: frozenset[str], place: int, split: str, *, keep: bool
) -> RawRow:
    """Read a row; `fields` are those that its columns have, and `split` the file's own, if it is of one."""

    def value(wanted: str) -> Any:
        return columns.value(wanted, row, where) if wanted in fields else None

    thought = ""
    before: tuple[str, ...] = ()
    if "messages" in fields:
        chat = read_chat(value("messages"), f"{where}: column '{columns.name('messages')}'")
        question, said, thought = chat.question, chat.answer, chat.thought
        before = ((chat.system,) if chat.system else ()) + chat.before
        gold: Any = value("answer") if "answer" in fields else said
        thought = f"<think>\n{thought}\n</think>\n\n{said}" if thought else ""
    else:
        question = _text(columns.value("question", row, where))
        gold = columns.value("answer", row, where)
    if not question:
        raise InputError(f"{where}: column '{columns.name('question')}' is blank; a row needs a question")
    labelled: Sequence[Pair] = ()
    if "choices" in fields:
        labelled = read_choices(value("choices"), f"{where}: column '{columns.name('choices')}'")
    golds, steps = _answers(gold), value("steps")
    trace = (_text(value("trace")) if "trace" in fields else "") or thought
    if len(golds) == 1:
        golds, steps, trace = _apart(golds[0], steps, trace)
    return RawRow(
        where,
        place,
        _text(value("id")) if "id" in fields else "",
        question,
        before + (_listed(value("context")) if "context" in fields else ()),
        golds,
        tuple(labelled),
        _text(value("category")) if "category" in fields else "",
        steps,
        trace,
        _text(value("group")) if "group" in fields else "",
        split or (_text(value("split")) if "split" in fields else ""),
        row if keep else None,
    )


def _apart(gold: str, steps: Any, trace: str) -> tuple[tuple[str, ...], Any, str]:
    """Split an answer with its own solution, GSM8K's or a reasoning model's, into (answers, steps, trace)."""
    worked = hashed(gold)
    if worked is not None:
        return (worked[1],), steps or worked[0], trace
    closed = hashed(steps) if isinstance(steps, str) else None
    if closed is not None and closed[1] == gold:
        steps = closed[0]  # the line with the answer is no step of the solution
    thought, rest = thought_of(gold)
    if thought:
        trace = trace or gold
        gold = rest
    if trace:
        gold = boxed(gold) or gold
    return ((gold,) if gold else ()), steps, trace


def _text(value: Any) -> str:
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
        return tuple(text for item in items if (text := _text(_inner(item))))
    lines = [line.rstrip() for line in _text(value).split("\n")]
    if len(lines) == 1 and not lines[0].startswith("|"):  # else it is a row of a Markdown table
        lines = [part.strip() for part in re.split(r"\s\|\s", lines[0])]
    return tuple(lines) if any(lines) else ()


def _answers(value: Any) -> tuple[str, ...]:
    """Return a list's items as alternatives; a text is one answer, whatever it contains."""
    if isinstance(value, list | tuple):
        return tuple(text for item in value if (text := _text(item)))
    return (_text(value),) if _text(value) else ()


def _steps(value: Any) -> _Written:
    """Return the text of written steps and the parsed steps; a list's items have no text of their own.

    An item is a text, or an object whose values are joined (question and answer).
    """
    if isinstance(value, str) and value.strip().startswith("["):
        listed = _listed(value)
        value = listed if len(listed) > 1 else value
    if isinstance(value, list | tuple):
        texts = [" ".join(map(_text, item.values())) if isinstance(item, Mapping) else _text(item) for item in value]
        return "", make_steps([one_line(text) for text in texts if text.strip()])
    text = _text(value)
    steps = read_steps(text).steps if text else ()
    return text if steps else "", steps


def row_of_golds(golds: Sequence[str]) -> dict[str, Any]:
    """Return what the judge needs of a row that stands alone."""
    return {"judge": judged_by(list(golds), 0).rule}
