"""From the columns of a user's file to problems: what each column is, of which kind the golds are, whose split a row.

    {"prompt": "Is a whale a fish?", "target": "no", "split": "test"}   columns: {question: prompt, answer: target}

Fields: question, answer (needed); id, context, choices, steps, split, category (where a column of that name exists or
`columns` names one). A list may be a JSON list, lines, or text between bars; an answer is split only where it is a
list in the file itself, and then any of its items will do.

Kinds: rows with choices are `choice` (the gold a letter, or a choice's text); otherwise `number` where every gold of
the file is a number, `math` where one holds LaTeX, else `text`.

Splits: a `{split}` in the path, else the column `split`, else cut from the one file by a hash of question and context:
80% train, 10% validation, 10% test (equal questions stay together; rows added later move no other row).
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from tracedistill.errors import InputError, MissingSplitError
from tracedistill.records import Problem, Step
from tracedistill.tasks.base import Source, content
from tracedistill.tasks.overlap import normal_text
from tracedistill.tasks.rows import Row, field_of, read_rows
from tracedistill.tasks.steps import make_steps, one_line, read_steps

Kind = Literal["number", "math", "choice", "text"]

FIELDS = ("question", "answer", "id", "context", "choices", "steps", "split", "category")
"""What `Source.columns` may map."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column each field is read from."""

    given: Mapping[str, str] = field(default_factory=dict)
    """Fields that the user mapped: their columns must be there."""

    def __post_init__(self) -> None:
        unknown = sorted(set(self.given) - set(FIELDS))
        if unknown:
            raise InputError(f"task file: columns: no field '{unknown[0]}'; fields are {', '.join(FIELDS)}")

    def name(self, wanted: str) -> str:
        """The field's column: the one mapped, else the one of its own name."""
        return self.given.get(wanted, wanted)

    def value(self, wanted: str, row: Row, path: Path, number: int) -> Any:
        """The field's value in a row; None where an optional column that nobody mapped is absent."""
        if wanted in self.given:
            return field_of(row, self.given[wanted], str(path), number)
        if wanted in ("question", "answer") and wanted not in row:
            there = ", ".join(sorted(map(str, row)))
            hint = f"name it in the recipe as `columns: {{{wanted}: <column>}}`"
            raise InputError(f"{path}, row {number}: no column '{wanted}'; it has: {there}; {hint}")
        return row.get(wanted)


LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

_NUMBER = re.compile(r"[-+−]?\s*[$€£¥]?\s*(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:\s*/\s*\d+)?\s*%?")
_LABEL = re.compile(r"\A\(?([A-Za-z])[).:]\s+(?=\S)")
_MANY, _FEW = 4, 8


def load_file(split: str, source: Source) -> Iterator[Problem]:
    """Problems of a split in the file's order; ids are the file's, else `file-<split>-<row>` with rows from 0.

    Raises InputError, with file and row, for unknown fields in `columns`, missing columns, blank questions, ids that
    occur twice, and a split without rows. A blank answer is kept: it is counted as ungradable.
    """
    path, one_per_split = _path(split, source)
    columns = Columns(source.columns)
    rows = [(number, row, _problem(path, number, row, columns)) for number, row in read_rows(path)]
    _check_ids(path, ((number, problem.problem_id) for number, _, problem in rows))
    kinds = kind_of([problem for _, _, problem in rows])
    closed = _closed([problem for _, _, problem in rows])
    named = not one_per_split and any(columns.name("split") in row for _, row, _ in rows)
    found = False
    for index, (number, row, problem) in enumerate(rows):
        if one_per_split:
            of_row = split
        elif named:
            of_row = _text(columns.value("split", row, path, number))
        else:
            of_row = _cut(problem)
        if of_row != split:
            continue
        found = True
        meta: dict[str, Any] = {"answer_kind": "choice" if problem.choices else kinds}
        if closed and not problem.choices:
            meta["closed"] = closed
        yield replace(problem, problem_id=problem.problem_id or f"file-{split}-{index}", split=split, meta=meta)
    if not found:
        there = [row.get(columns.name("split")) for _, row, _ in rows] if named else []
        raise MissingSplitError(_no_rows(path, split, there))


# ---- path, columns, ids


def _path(split: str, source: Source) -> tuple[Path, bool]:
    """The file, and whether there is one per split."""
    if not source.path:
        raise InputError(
            "task file: give `path`, a .jsonl, .csv or .parquet file (with {split} where there are several)"
        )
    path = Path(source.path.replace("{split}", split))
    if source.data_dir is not None and not path.is_absolute():
        path = source.data_dir / path
    return path, "{split}" in source.path


def _check_ids(path: Path, ids: Iterable[tuple[int, str]]) -> None:
    seen: dict[str, int] = {}
    for number, problem_id in ids:
        if problem_id and problem_id in seen:
            raise InputError(
                f"{path}, rows {seen[problem_id]} and {number}: the same id '{problem_id}'; ids must differ"
            )
        seen[problem_id] = number


def _no_rows(path: Path, split: str, values: Sequence[Any]) -> str:
    if values:
        there = ", ".join(sorted({str(value) for value in values}))
        return f"{path}: no rows of split '{split}'; its column of splits has: {there}"
    return f"{path}: no rows fall to split '{split}'; add a column `split`, or give one file per split with {{split}}"


def _cut(problem: Problem) -> str:
    share = int.from_bytes(hashlib.blake2b(normal_text(problem).encode(), digest_size=8).digest(), "big") / 2**64
    return "train" if share < 0.8 else "validation" if share < 0.9 else "test"


# ---- one row


def _problem(path: Path, number: int, row: Row, columns: Columns) -> Problem:
    """The row as a problem; id empty where it has none, split and kind still open."""
    values = {wanted: columns.value(wanted, row, path, number) for wanted in FIELDS}
    question = _text(values["question"])
    if not question:
        raise InputError(f"{path}, row {number}: column '{columns.name('question')}' is blank; a row needs a question")
    labelled = _choices(values["choices"], f"{path}, row {number}: column '{columns.name('choices')}'")
    steps = _steps(values["steps"])
    return Problem(
        problem_id=_text(values["id"]),
        task="file",
        split="",
        question=question,
        answers=tuple(_letter(answer, labelled) for answer in _answers(values["answer"])),
        context=_listed(values["context"]),
        choices=tuple((letter, text) for letter, (_, text) in zip(LETTERS, labelled, strict=False)),
        category=_text(values["category"]),
        gold_steps=steps,
        difficulty=len(steps) or None,
    )


def _text(value: Any) -> str:
    return "" if value is None else content(value).strip()


def _listed(value: Any) -> tuple[str, ...]:
    """Items of a list: a list itself, a list written as JSON or Python, lines, or text between bars."""
    if isinstance(value, str) and value.strip().startswith("["):
        try:
            value = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            # else it is a text that begins with a bracket
            with suppress(json.JSONDecodeError, RecursionError):
                value = json.loads(value)
    if isinstance(value, list | tuple):
        return tuple(text for item in value if (text := _text(item)))
    lines = [line.strip() for line in _text(value).split("\n")]
    if len(lines) == 1:
        lines = [part.strip() for part in re.split(r"\s\|\s", lines[0])]
    return tuple(line for line in lines if line)


def _answers(value: Any) -> tuple[str, ...]:
    """A list's items are alternatives; a text is one answer, whatever stands in it."""
    if isinstance(value, list | tuple):
        return tuple(text for item in value if (text := _text(item)))
    return (_text(value),) if _text(value) else ()


def _steps(value: Any) -> tuple[Step, ...]:
    """Items of a list, each a text or an object whose values are joined (question and answer); else written steps."""
    if isinstance(value, str) and value.strip().startswith("["):
        listed = _listed(value)
        value = listed if len(listed) > 1 else value
    if isinstance(value, list | tuple):
        texts = [" ".join(map(_text, item.values())) if isinstance(item, Mapping) else _text(item) for item in value]
        return make_steps([one_line(text) for text in texts if text.strip()])
    return read_steps(_text(value)).steps


# ---- choices


def _choices(value: Any, where: str) -> list[tuple[str, str]]:
    """(own label, text): a list, pairs of both, {label: [...], text: [...]}, {label: text}, or lines `A) Oslo`."""
    if isinstance(value, str) and value.strip().startswith("{"):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise InputError(f"{where}: not valid JSON ({error.msg})") from error
    if isinstance(value, Mapping):
        labels, texts = value.get("label"), value.get("text")
        if isinstance(labels, list | tuple) and isinstance(texts, list | tuple):
            if len(labels) != len(texts):
                raise InputError(f"{where}: {len(labels)} labels for {len(texts)} choices")
            pairs = list(zip(labels, texts, strict=True))
        else:
            pairs = [(label, text) for label, text in value.items() if text is not None]
    elif isinstance(value, list | tuple) and value and all(_is_pair(item) for item in value):
        pairs = [(label, text) for label, text in value]
    else:
        items = _listed(value)
        marks = [_LABEL.match(item) for item in items]
        if items and all(mark is not None and mark[1].upper() == LETTERS[n % 26] for n, mark in enumerate(marks)):
            items = tuple(_LABEL.sub("", item) for item in items)
        pairs = [(LETTERS[n % 26], item) for n, item in enumerate(items)]
    if len(pairs) > len(LETTERS):
        raise InputError(f"{where}: {len(pairs)} choices; at most {len(LETTERS)}")
    return [(_text(label), _text(text)) for label, text in pairs]


def _is_pair(item: Any) -> bool:
    return isinstance(item, list | tuple) and len(item) == 2


def _letter(answer: str, labelled: Sequence[tuple[str, str]]) -> str:
    """The letter of a gold that is given as label or as the text of one choice; else the gold as it stands."""
    plain = answer.strip("(). ").casefold()
    for same in (
        [n for n, (label, _) in enumerate(labelled) if label.casefold() == plain],
        [n for n, (_, text) in enumerate(labelled) if text.casefold() == answer.casefold()],
    ):
        if len(same) == 1:
            return LETTERS[same[0]]
    return answer


# ---- what the golds look like


def kind_of(problems: Sequence[Problem]) -> Kind:
    """Of which kind the golds of these problems are, those with choices aside."""
    golds = [answer for problem in problems if not problem.choices for answer in problem.answers]
    if golds and all(_NUMBER.fullmatch(gold) and any(map(str.isdigit, gold)) for gold in golds):
        return "number"
    return "math" if any("\\" in gold for gold in golds) else "text"


def _closed(problems: Sequence[Problem]) -> list[str]:
    """The distinct golds where they are at most 8 and each occurs 4 times on average: a closed set such as yes, no."""
    golds = Counter(answer.casefold() for problem in problems if not problem.choices for answer in problem.answers)
    few = len(golds) > 1 and len(golds) <= _FEW and golds.total() >= _MANY * len(golds)
    words = not any(any(map(str.isdigit, gold)) for gold in golds)
    return sorted(golds) if few and words else []
