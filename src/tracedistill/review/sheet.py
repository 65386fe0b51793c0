"""Export the queue as a spreadsheet and import the edits. Conflicts and broken rows are named by line.

trace_id,problem_id,task,teacher,question,trace,answer,status,comment,verdict,reason,version
1f0c...,p1,gsm8k,t,"They pack 11 boxes ...","They pack 11*3 = 33 pens.
After the loss 33-4 = 29 pens are left.",29,open,,incorrect,...,0
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tracedistill.errors import InputError
from tracedistill.files import atomic
from tracedistill.review import queue
from tracedistill.review.drafts import received, sendable, shown_answer, shown_lines
from tracedistill.review.queue import Filter
from tracedistill.review.session import ReviewSession
from tracedistill.review.trace_review import Conflict, TraceReview, work_of

EDITABLE = ("trace", "answer", "status", "comment")
"""Columns that are read back; the others are for reading, and to find the trace again."""
COLUMNS = (
    "trace_id", "problem_id", "task", "teacher", "question", *EDITABLE, "verdict", "reason", "version",
)  # fmt: skip
STATUSES = {"open": "open", "approved": "approved", "edited": "approved", "rejected": "rejected"}
"""Allowed values of the column status -> action; whether an approved trace was edited follows from its text."""

_FORMULA = re.compile(r"'*\s*[=+\-@\t\r]")
_GUARDED = re.compile(r"'+\s*[=+\-@\t\r]")
_WITHIN = "\n    "


@dataclass(frozen=True, slots=True)
class SheetImport:
    """Result of importing a spreadview."""

    changed: int
    """Traces that were changed."""
    same: int
    """Rows equal to what is stored."""
    refused: tuple[str, ...]
    """`line N: why` of every row that was not taken."""


def export_sheet(session: ReviewSession, chosen: Filter, path: Path) -> int:
    """Write the traces of a filter as CSV (UTF-8 with a mark, for Excel); return their number."""
    count = 0
    with atomic(path) as stream:
        stream.write("\ufeff")
        writer = csv.writer(stream, lineterminator="\r\n")
        writer.writerow(COLUMNS)
        after = 0
        while lines := queue.lines(session.store, session.reviewer, chosen, after):
            for line in lines:
                writer.writerow(guarded(value) for value in _row(session, line.item).values())
                count += 1
            after = lines[-1].item
    return count


def import_sheet(session: ReviewSession, path: Path) -> SheetImport:
    """Apply the edits in the columns EDITABLE; a refused row changes nothing, the others are applied.

    A row conflicts if the trace was changed since the export. The same file again changes nothing. Raises InputError
    for a file that is not our sheet, or cannot be read to its end: then nothing is applied.
    """
    changed = same = 0
    refused: list[str] = []
    seen: dict[str, int] = {}
    for number, row, why in list(_rows(path)):
        if not why:
            earlier = seen.setdefault(row["trace_id"], number)
            why = f"trace {row['trace_id']} is already in line {earlier}" if earlier != number else ""
        if not why:
            try:
                applied = _apply(session, row)
                changed, same = changed + applied, same + (not applied)
                continue
            except Conflict:
                why = (
                    f"conflict: trace {row['trace_id']} was changed since the export; "
                    "export it again and repeat this edit"
                )
            except KeyError:
                why = f"there is no trace '{row['trace_id'][:40]}' in the store"
            except (InputError, ValueError) as error:
                why = str(error)
        refused.append(f"line {number}: {why}")
    return SheetImport(changed, same, tuple(refused))


def guarded(value: str) -> str:
    """Prefix a cell that looks like a formula with an apostrophe."""
    return f"'{value}" if _FORMULA.match(value) else value


def unguarded(value: str) -> str:
    """Strip the apostrophe of `guarded`."""
    return value[1:] if _GUARDED.match(value) else value


def _row(session: ReviewSession, item: int) -> dict[str, str]:
    view = session.view(item)
    verdict = view.judgement.parts[0][1]
    values = {
        "trace_id": view.trace.trace_id,
        "problem_id": view.problem.problem_id,
        "task": view.task,
        "teacher": view.trace.teacher,
        "question": "\n".join((*view.problem.context, view.problem.question)),
        "trace": "\n".join(line.replace("\n", _WITHIN) for line in view.lines),
        "answer": view.answer or "",
        "status": view.work.status,
        "comment": view.work.comment,
        "verdict": verdict.outcome,
        "reason": verdict.reason,
        "version": str(view.work.version),
    }
    return {name: sendable(value) for name, value in values.items()}


def _apply(session: ReviewSession, row: Mapping[str, str]) -> bool:
    """Apply one row; return whether it changed anything."""
    item = session.find(row["trace_id"])
    wanted = STATUSES.get(row["status"].strip().lower())
    if wanted is None:
        raise ValueError(f"status '{row['status'][:40]}' must be open, approved or rejected")
    if not re.fullmatch(r"\d{1,9}(?:\.0)?", row["version"].strip(), re.ASCII):
        raise ValueError("the column version must be as it was exported")
    version = int(float(row["version"]))
    stored = work_of(session.store, item, session.reviewer)
    text = _text(session, item, stored, row, version)
    as_stored = replace(text, version=stored.version) == stored
    if as_stored and STATUSES[stored.status] == wanted:
        return False
    if wanted == "approved":
        session.approve(item, text, 0.0)
    elif wanted == "rejected":
        session.reject(item, text, 0.0)
    else:
        session.reopen(item, text)
    return True


def _text(session: ReviewSession, item: int, stored: TraceReview, row: Mapping[str, str], version: int) -> TraceReview:
    """Convert the row's text to work; an unchanged cell keeps its part as stored."""
    trace = session.store.trace(item)
    shown = shown_lines(trace, stored)
    lines: list[str] = list(shown)
    if row["trace"] != sendable("\n".join(line.replace("\n", _WITHIN) for line in shown)):
        lines = []
        for line in row["trace"].split("\n"):
            if line.startswith(_WITHIN[1:]) and lines:
                lines[-1] += "\n" + line[len(_WITHIN) - 1 :]
            elif line.strip():
                lines.append(line)
    answer = None if shown_answer(trace, stored) is None else row["answer"]
    return session.text(item, version, lines, answer, row["comment"])


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str], str]]:
    """Yield (first line of the row, cells by column, why it is broken)."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            text = stream.read()
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not valid UTF-8 ({error.reason}); save it as CSV UTF-8") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    first = text.split("\n", 1)[0]
    separator = max(",;\t", key=first.count)  # some spreadsheets use their language's list separator
    csv.field_size_limit(2**31 - 1)  # traces are long
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        heads = [head.strip() for head in next(reader, [])]
        missing = [name for name in ("trace_id", *EDITABLE, "version") if name not in heads]
        if missing:
            raise InputError(f"{path}, line 1: no column '{missing[0]}'; import what --export wrote")
        begins = reader.line_num + 1
        for cells in reader:
            number, begins = begins, reader.line_num + 1
            if not any(cells):
                continue
            why = "" if len(cells) == len(heads) else f"{len(cells)} cells under {len(heads)} columns"
            row = dict(zip(heads, (received(unguarded(cell)) for cell in cells), strict=False))
            yield number, row, why
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: not CSV ({error}); nothing was imported") from error
