"""An arm's attempts as columns: what the figures need of 100,000 lines, in little memory."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt

from tracedistill.errors import InputError

ANSWERS = ("correct", "incorrect", "missing", "ungradable")
"""Answer outcomes; codes are indices into this tuple."""
TRACES = ("correct", "incorrect", "unparsed", "none", "undecided", "not judged")
"""Trace outcomes; codes are indices into this tuple."""
FINISHES = ("stop", "length", "error", "too-long", "no-plan")
"""Ends of generations; codes are indices into this tuple."""
STEP_KINDS = ("class", "retrieval", "calculation", "plan", "text")
"""Kinds of steps, in the order of the second dimension of `kinds`."""
UNKNOWN = -1
"""Neither yes nor no, in yes/no columns."""

Ints = npt.NDArray[np.int32]
Codes = npt.NDArray[np.int8]
Floats = npt.NDArray[np.float32]
Offsets = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class AttemptColumns:
    """The attempts of one arm in file order; all columns have the same length."""

    ids: tuple[str, ...]
    """Distinct problem ids in order of first occurrence."""
    problem: Ints
    """Index into `ids`."""
    sample: Ints
    """Index among the samples of a problem."""
    seed: Ints
    """Seed of the adapter; 0 for untuned arms."""
    answer: Codes
    """Outcome of the final statement: index into ANSWERS."""
    candidate: Codes
    """Outcome of the candidate reading: index into ANSWERS."""
    derived: Codes
    """Outcome of the derived reading: index into ANSWERS."""
    trace: Codes
    """Outcome of the trace: index into TRACES."""
    finish: Codes
    """How the generation ended: index into FINISHES."""
    copied: Codes
    """Whether the trace's steps or cited facts contain the gold answer: 1, 0 or UNKNOWN."""
    follows: Codes
    """Forced-trace arms: whether the answer is the one that the forced trace implies: 1, 0 or UNKNOWN."""
    steps: Ints
    """Steps of the student's trace; 0 if none was parsed."""
    tokens_in: Ints
    tokens_out: Ints
    seconds: Floats
    """Share of the batch's seconds; for a server its own latency."""
    extracted: Ints
    """Code of the extracted answer: equal texts within an arm have equal codes; UNKNOWN if there is none."""
    kinds: Codes
    """Shape (attempts, STEP_KINDS).

    1: all judged steps of this kind are right; 0: one is wrong; UNKNOWN: none was judged.
    """
    offset: Offsets
    """Byte offset of its line in the file; UNKNOWN if not read from a file."""

    @property
    def n(self) -> int:
        """Number of attempts."""
        return len(self.problem)

    @property
    def right(self) -> Flags:
        """Whether the final statement is right."""
        return np.equal(self.answer, 0)

    @property
    def cut_off(self) -> Flags:
        """Whether the generation reached its token limit."""
        return np.equal(self.finish, FINISHES.index("length"))


COLUMN_NAMES = tuple(item.name for item in fields(AttemptColumns) if item.name != "ids")
"""Fields with one entry per attempt."""


def kept(columns: AttemptColumns, ids: Collection[str]) -> AttemptColumns:
    """Return the attempts at these problems alone, in the same order."""
    if all(problem_id in ids for problem_id in columns.ids):
        return columns
    inside = np.fromiter((problem_id in ids for problem_id in columns.ids), dtype=np.bool_, count=len(columns.ids))
    rows = inside[columns.problem]
    place = np.cumsum(inside, dtype=np.int32) - 1
    changes: dict[str, Any] = {name: getattr(columns, name)[rows] for name in COLUMN_NAMES}
    changes["problem"] = place[changes["problem"]]
    changes["ids"] = tuple(problem_id for problem_id, there in zip(columns.ids, inside, strict=True) if there)
    return replace(columns, **changes)


Count = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
"""Integer that fits a column."""


class _Answer(msgspec.Struct):
    outcome: str
    extracted: str | None = None


class _Outcome(msgspec.Struct):
    outcome: str


class _Step(msgspec.Struct):
    kind: str
    outcome: str


class _Trace(msgspec.Struct):
    outcome: str
    steps: list[_Step] | None = None


class AttemptLine(msgspec.Struct):
    """The parts of a line that the figures need; the rest is skipped unparsed."""

    problem_id: str
    finish: str
    tokens_in: Count
    tokens_out: Count
    seconds: float
    answer: _Answer
    candidate: _Outcome
    derived: _Outcome
    trace: _Trace
    answer_in_trace: bool | None = None
    follows: bool | None = None
    sample: Count = 0
    seed: Count = 0


def read_columns(path: Path) -> AttemptColumns:
    """Read all attempts of attempts/<arm>.jsonl. Raises InputError that names file and line."""
    offsets: list[int] = []

    def lines() -> Iterator[AttemptLine]:
        decode = msgspec.json.Decoder(AttemptLine).decode
        offset = 0
        with path.open("rb") as stream:
            for line in stream:
                offsets.append(offset)
                offset += len(line)
                try:
                    yield decode(line)
                except (msgspec.MsgspecError, UnicodeDecodeError):
                    # msgspec rejects lone surrogates, which models do write
                    yield msgspec.convert(json.loads(line.decode("utf-8")), AttemptLine)

    try:
        columns = columns_of(lines())
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}, line {len(offsets)}: not valid UTF-8 ({error.reason})") from error
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{path}, line {len(offsets)}: not valid JSON; delete the file to make it again") from error
    except (KeyError, ValueError, msgspec.MsgspecError) as error:
        why = f"{error}; delete the file to make it again"
        raise InputError(f"{path}, line {len(offsets)}: not an attempt: {why}") from error
    return replace(columns, offset=np.array(offsets, dtype=np.int64))


def read_row(path: Path, offset: int) -> dict[str, Any]:
    """Return the attempt whose line begins at this byte offset."""
    with path.open("rb") as stream:
        stream.seek(offset)
        row: dict[str, Any] = json.loads(stream.readline())
    return row


def columns_of(lines: Iterable[AttemptLine]) -> AttemptColumns:
    """Collect lines of attempts/<arm>.jsonl as columns."""
    places: dict[str, int] = {}
    label_places: dict[str, int] = {}
    numbers: list[tuple[int, ...]] = []
    seconds: list[float] = []
    answers, traces, finishes, kinds = (
        {name: code for code, name in enumerate(names)} for names in (ANSWERS, TRACES, FINISHES, STEP_KINDS)
    )
    nothing = [UNKNOWN] * len(STEP_KINDS)
    for line in lines:
        extracted, steps = line.answer.extracted, line.trace.steps or ()
        marks = nothing
        if steps:
            marks = nothing.copy()
            for step in steps:
                outcome = step.outcome
                if outcome == "incorrect":
                    marks[kinds[step.kind]] = 0
                elif outcome == "correct" and marks[kinds[step.kind]] == UNKNOWN:
                    marks[kinds[step.kind]] = 1
        numbers.append(
            (
                places.setdefault(line.problem_id, len(places)),
                line.sample,
                line.seed,
                answers[line.answer.outcome],
                answers[line.candidate.outcome],
                answers[line.derived.outcome],
                traces[line.trace.outcome],
                finishes[line.finish],
                _yes(line.answer_in_trace),
                _yes(line.follows),
                len(steps),
                line.tokens_in,
                line.tokens_out,
                UNKNOWN if extracted is None else label_places.setdefault(extracted, len(label_places)),
                *marks,
            )
        )
        seconds.append(line.seconds)
    table = np.array(numbers, dtype=np.int32).reshape(-1, 14 + len(STEP_KINDS))
    del numbers  # frees a tuple per attempt before the columns are copied
    ints = [np.ascontiguousarray(table[:, place]) for place in range(14)]
    codes = {place: ints[place].astype(np.int8) for place in range(3, 10)}
    return AttemptColumns(
        ids=tuple(places),
        problem=ints[0],
        sample=ints[1],
        seed=ints[2],
        answer=codes[3],
        candidate=codes[4],
        derived=codes[5],
        trace=codes[6],
        finish=codes[7],
        copied=codes[8],
        follows=codes[9],
        steps=ints[10],
        tokens_in=ints[11],
        tokens_out=ints[12],
        seconds=np.array(seconds, dtype=np.float32),
        extracted=ints[13],
        kinds=table[:, 14:].astype(np.int8),
        offset=np.full(len(table), UNKNOWN, dtype=np.int64),
    )


def _yes(value: bool | None) -> int:
    return UNKNOWN if value is None else int(value)
