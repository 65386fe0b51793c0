"""A user's file as problems: rows read by their columns, the judge inferred from all golds, the splits drawn.

    {"prompt": "Is a whale a fish?", "target": "no", "split": "test"}   columns: {question: prompt, answer: target}

A context may be a JSON list, lines, or text between bars; for golds with several items see `golds`. GSM8K's
`... #### 72` is a worked solution and an answer, and so is MATH's, which ends in a box.

Splits: a `{split}` in the path, else the column `split`, else a seeded draw of 80, 10 and 10 percent (equal questions,
and rows of one `group`, stay together).
"""

from __future__ import annotations

import functools
import sys
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tracedistill.errors import InputError, MissingSplitError
from tracedistill.records import Problem
from tracedistill.tasks._base import Source
from tracedistill.tasks._gold_audit import AuditRows
from tracedistill.tasks._overlap import same_text, sample_ids
from tracedistill.tasks._rows import is_hub_id, note_read, read_rows
from tracedistill.tasks.file.choices import LETTERS, Means, Option, letter_of, means_of
from tracedistill.tasks.file.columns import ColumnMap
from tracedistill.tasks.file.golds import GoldHabits
from tracedistill.tasks.file.judge_choice import RULES, JudgeChoice, check_rule, have_decimal_commas, judged_by
from tracedistill.tasks.file.row import RawRow, read_row, written_steps
from tracedistill.tasks.file.row_store import PackedRows
from tracedistill.tasks.file.splits import cut, drawn, first_alike

SPLITS = ("train", "validation", "test")
"""Splits of a file that names none."""
ALIASES = ("dev", "val", "valid", "eval")
"""Other names of the validation split."""


@dataclass(frozen=True, slots=True)
class LoadedTable:
    """A whole file, read; its problems are created on demand."""

    rows: PackedRows
    """Every row, in the file's order."""
    ids: Sequence[str]
    """The id of each problem: the file's, else `file-<split>-<row>`."""
    splits: Sequence[str]
    """The split of each row."""
    judged: JudgeChoice
    shared: Mapping[str, Any]
    """Data of judge and prompt, shared by all problems."""
    means: Means
    """Meaning of golds of multiple choice."""
    first_equal: Sequence[int]
    """For each row the index of the first equal one, possibly its own."""
    names: tuple[str, ...]
    """All columns of the file."""
    unused: tuple[str, ...]
    """Of these, the columns that no field is read from."""
    texts: RowTexts
    """Lengths of the rows' texts, and which have steps or traces."""

    def sizes(self) -> dict[str, int]:
        """Split -> its rows."""
        counts = Counter(self.splits)
        known = {split: counts.pop(split) for split in SPLITS if split in counts}
        return {**known, **counts}

    def problem(self, place: int, *, steps: bool = True) -> Problem:
        """Return the problem at an index; `steps` False skips parsing steps, which is most of the work."""
        row = self.rows[place]
        written, read = written_steps(row.steps) if steps and row.steps else ("", ())
        meta = dict(self.shared)
        if row.choices:
            if meta["judge"] in RULES:
                meta["judge"] = "choice"
            meta.pop("labels", None)
        if row.trace:
            meta["trace"] = row.trace
        if row.kept:
            meta["row"] = row.kept
        return Problem(
            problem_id=self.ids[place],
            task="file",
            split=self.splits[place],
            question=row.question,
            answers=tuple(letter_of(gold, row.choices, self.means) for gold in row.golds) if row.choices else row.golds,
            context=row.context,
            choices=tuple((letter, text) for letter, (_, text) in zip(LETTERS, row.choices, strict=False)),
            category=row.category,
            gold_steps=read,
            gold_text=written,
            difficulty=len(read) or None,
            meta=meta,
        )

    def for_audit(self) -> AuditRows:
        """Return its problems for the audit of golds, without their steps."""
        return AuditRows(self.ids, self.first_equal, functools.partial(self.problem, steps=False))


def load_split(split: str, source: Source) -> Iterator[Problem]:
    """Yield problems of a split in file order; if there are more than `source.size`, a sample by the source's seed.

    Ids are the file's, else `file-<split>-<row>` with rows from 0. A blank answer is kept and counted. Raises
    InputError, with file and row, for unknown fields in `columns`, missing columns, blank questions, duplicate ids,
    choices that cannot be parsed, and a split without rows.
    """
    table = read_table(source, split)
    for name in (split, *(ALIASES if split == "validation" else ())):
        places = [place for place, row_split in enumerate(table.splits) if row_split == name]
        if places:
            drawn = sample_ids([table.ids[place] for place in places], source.size, source.seed)
            for index in drawn:
                problem = table.problem(places[index])
                yield problem if name == split else replace(problem, split=split)
            return
    raise MissingSplitError(_no_rows(source, split))


def read_table(source: Source, split: str = "") -> LoadedTable:
    """Read the whole file; for a path with `{split}` all existing files, which must include `split`."""
    if not source.path:
        raise InputError(
            "task file: give `path`, a .jsonl, .json, .csv, .tsv or .parquet file (with {split} if there are "
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
        note_read(path)  # even if the cache has it
    stamps = tuple((name, str(path), _stamp(path)) for name, path in paths.items())
    return _read(
        stamps, _SourceKey(repr(replace(source, size=None, columns=dict(sorted(source.columns.items())))), source)
    )


class RowTexts:
    """Data on every row that a recipe's limits and arms depend on."""

    def __init__(self) -> None:
        self.prompt_chars = array("l")
        """Characters of context and question."""
        self.answer_chars = array("l")
        """Characters of the longer of steps and trace, and of the answer."""
        self.has_steps = bytearray()
        """Whether there are steps."""
        self.has_trace = bytearray()
        """Whether there is a trace."""

    def add(self, row: RawRow) -> None:
        """Take the next row."""
        self.prompt_chars.append(len(row.question) + sum(map(len, row.context)))
        longer = max(len(row.trace), len(str(row.steps or "")))
        self.answer_chars.append(longer + len(row.golds[0] if row.golds else ""))
        self.has_steps.append(bool(row.steps))
        self.has_trace.append(bool(row.trace))


class RowIds(Sequence[str]):
    """The id of each problem: the file's, else `file-<split>-<row>`."""

    def __init__(self) -> None:
        self._given: list[str] = []
        self._places = array("q")
        self._paths: list[Path] = []
        self._numbers = array("q")
        self._splits: Sequence[str] = ()

    def add(self, row: RawRow, path: Path, number: int) -> None:
        """Take the next row's id."""
        self._given.append(row.problem_id)
        self._places.append(row.place)
        self._paths.append(path)
        self._numbers.append(number)

    def checked(self, splits: Sequence[str]) -> RowIds:
        """Return the ids, the rows' splits known. Raises InputError if the file has one twice."""
        self._splits = splits
        if any(self._given):
            first = first_alike(array("q", map(hash, self._given)))
            for at, before in enumerate(first):
                if before != at and self._given[at] and self._given[at] == self._given[before]:
                    raise InputError(f"{self._both(before, at)}: the same id '{self._given[at]}'; ids must be unique")
        return self

    def _both(self, first: int, second: int) -> str:
        path, other = self._paths[first], self._paths[second]
        if path == other:
            return f"{path}, rows {self._numbers[first]} and {self._numbers[second]}"
        return f"{path}, row {self._numbers[first]} and {other}, row {self._numbers[second]}"

    def __len__(self) -> int:
        return len(self._given)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return [self[at] for at in range(*place.indices(len(self)))]
        return self._given[place] or f"file-{self._splits[place]}-{self._places[place]}"


@dataclass(frozen=True, slots=True)
class _SourceKey:
    """A source as the key of a cache."""

    text: str
    source: Source = field(compare=False)


def _stamp(path: Path) -> tuple[tuple[str, int, int], ...]:
    if not path.exists():  # a hub id; otherwise read_rows reports the error
        return ()
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return tuple((file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in files if file.is_file())


@functools.lru_cache(maxsize=2)
def _read(stamps: tuple[tuple[str, str, Any], ...], key: _SourceKey) -> LoadedTable:
    source, columns = key.source, ColumnMap(key.source.columns)
    rows, habits, texts, ids = PackedRows(), GoldHabits(), RowTexts(), RowIds()
    chosen: list[tuple[str, Sequence[Option]]] = []
    splits: list[str] = []
    groups, alike = array("Q"), array("q")
    names: dict[str, None] = {}
    used: set[str] = set()
    heads: dict[tuple[str, ...], frozenset[str]] = {}
    keeps_rows = source.judge not in ("auto", *RULES)
    with_choices = 0
    for split, name, _ in stamps:
        path = Path(name)
        for place, (number, row) in enumerate(read_rows(path)):
            head = tuple(row)
            if head not in heads:  # rows of one file have a few sets of columns
                heads[head] = columns.fields(row)
                names |= dict.fromkeys(map(str, head))
                used |= columns.used(row)
            raw = read_row(f"{path}, row {number}", row, columns, heads[head], place, split, keep=keeps_rows)
            ids.add(raw, path, number)
            rows.append(raw)
            texts.add(raw)
            habits.note(raw)
            with_choices += bool(raw.choices)
            chosen += [(gold, raw.choices) for gold in raw.golds if raw.choices]
            text = same_text((*raw.context, raw.question, *(text for _, text in raw.choices)))
            splits.append(sys.intern(raw.split))
            groups.append(drawn(raw.group or text, source.seed))
            alike.append(hash(text))
    golds, rows.change, convention = habits.settle(columns.name("answer"), source.judge)
    judged = judged_by(golds, with_choices, source.judge, source.labels)
    commas = judged.rule == "number" and have_decimal_commas(golds)
    more = [remark for remark in (convention, "written with decimal commas" if commas else "") if remark]
    judged = replace(judged, cause="; ".join((judged.cause, *more)))
    if not any(splits) or set(splits) == {"train"}:  # many data sets of the hub have only train
        splits = cut(groups)
    return LoadedTable(
        rows,
        ids.checked(splits),
        splits,
        judged,
        _shared(judged, source) | ({"decimal_comma": True} if commas else {}),
        means_of(chosen, source.first_choice, stamps[0][1]) if chosen else "label",
        first_alike(alike),
        tuple(names),
        tuple(name for name in names if name not in used),
        texts,
    )


def _shared(judged: JudgeChoice, source: Source) -> dict[str, Any]:
    """Return the data of judge and prompt shared by all problems."""
    shared: dict[str, Any] = {"judge": judged.rule}
    if source.judge != "auto":
        shared["strict"] = True  # a gold that is not of the user's stated kind is an error, not an exception
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
    path, splits = _path(source, split), ", ".join(sorted(name or "(blank)" for name in table.sizes()))
    if "split" not in source.columns and "split" not in table.names and "{split}" not in str(source.path):
        return f"{path}: no rows for split '{split}'; add a column `split`, or give one file per split with {{split}}"
    return f"{path}: no rows of split '{split}'; its splits are: {splits}"
