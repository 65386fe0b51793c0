"""Manual reading of failed attempts beside plan and gold: who made the error, compared with the program's label."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from tracedistill.errors import InputError
from tracedistill.files import content_id, read_jsonl, read_lines
from tracedistill.records import Problem, Trace
from tracedistill.review.agreement import cohen_kappa
from tracedistill.review.store import ReviewStore
from tracedistill.review.work import MAX_SECONDS, Conflict, TraceReview
from tracedistill.stats import Share, share

Fault = Literal["teacher", "student", "both", "neither"]
"""Who made the error; neither: the gold's, the judge's, or no visible error."""
FAULTS: tuple[Fault, ...] = get_args(Fault)


@dataclass(frozen=True, slots=True)
class Failed:
    """One failed attempt."""

    attempt_id: str
    """`<arm>/<problem_id>/<sample>`."""
    problem_id: str
    """Its problem."""
    arm: str
    """Its arm."""
    text: str
    """The student's text."""
    plan: Trace | None
    """The plan that was shown."""
    reason: str
    """Why the answer is not right."""


@dataclass(frozen=True, slots=True)
class ErrorReading:
    """Failed attempts to read."""

    items: tuple[Failed, ...]
    """Failed attempts, a seeded sample in random order."""
    problems: Mapping[str, Problem] = field(default_factory=dict)
    """Problem id -> problem."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Attempt or problem id -> the program's own attribution, without `solved` and `undecided`."""

    @property
    def key(self) -> str:
        """Name under which readings are stored."""
        return "read " + content_id([item.attempt_id for item in self.items], [item.text for item in self.items])


@dataclass(frozen=True, slots=True)
class ReadingAgreement:
    """Agreement of one reader with the program."""

    reader: str
    """Reader."""
    read: int
    """Attempts labelled by the reader."""
    undecided: int
    """Of these, attempts without the program's attribution."""
    same: Share
    """Equal labels, out of those that the program attributes."""
    kappa: float | None
    """Cohen's kappa on these; None if chance explains all or there are none."""
    cells: tuple[tuple[tuple[str, str], int], ...]
    """((reader's, program's label), count), the most frequent first."""


def load_reading(
    folder: Path, n: int = 50, seed: int = 0, arm: str | None = None, labels: Mapping[str, str] | None = None
) -> ErrorReading:
    """Draw a seeded sample of a run's failed attempts that were shown a plan (of one arm, or of all).

    Raises InputError if there are no attempts yet, the arm is unknown, or nothing failed.
    """
    files = sorted((folder / "attempts").glob("*.jsonl")) if arm is None else [folder / "attempts" / f"{arm}.jsonl"]
    failed: list[dict[str, Any]] = []
    for file in files:
        failed += [
            line for _, line in read_lines(file) if line["answer"]["outcome"] != "correct" and line.get("trace_id")
        ]
    if not failed:
        raise InputError(f"{folder}: no failed attempt that was shown a plan; first run: tracedistill evaluate")
    failed.sort(key=lambda line: str(line["attempt_id"]))
    chosen = random.Random(seed).sample(failed, min(n, len(failed)))
    plans = {trace.trace_id: trace for trace in _plans(folder, {line["arm"] for line in chosen})}
    wanted = {line["problem_id"] for line in chosen}
    problems = {
        one.problem_id: one for one in read_jsonl(folder / "problems.jsonl", Problem) if one.problem_id in wanted
    }
    items = tuple(
        Failed(
            line["attempt_id"], line["problem_id"], line["arm"], line["text"], plans.get(line["trace_id"]),
            line["answer"].get("reason", ""),
        )
        for line in chosen
    )  # fmt: skip
    return ErrorReading(items, problems, labels or {})


def _plans(folder: Path, arms: set[str]) -> Iterator[Trace]:
    for arm in sorted(arms):
        for kind in ("plans", "forced"):
            path = folder / kind / f"{arm}.jsonl"
            if path.is_file():
                yield from read_jsonl(path, Trace)


def label(
    store: ReviewStore, reading: ErrorReading, reader: str, item: Failed, fault: str, version: int, seconds: float
) -> None:
    """Store a reader's label. Raises Conflict if another tab was faster, ValueError for an invalid label."""
    if fault not in FAULTS:
        raise ValueError(f"the label must be one of {', '.join(FAULTS)}")
    with store.writing() as db:
        row = db.execute(
            "SELECT version FROM marks WHERE kind = ? AND item = ? AND reviewer = ?",
            (reading.key, item.attempt_id, reader),
        ).fetchone()
        if (row[0] if row else 0) != version:
            raise Conflict(TraceReview(version=row[0] if row else 0))
        db.execute(
            "INSERT INTO marks VALUES (?,?,?,?,1,?,?) ON CONFLICT (kind, item, reviewer) DO UPDATE SET "
            "value = excluded.value, version = version + 1, seconds = seconds + excluded.seconds, at = excluded.at",
            (reading.key, item.attempt_id, reader, fault, min(seconds, MAX_SECONDS), time.time()),
        )


def labels_of(store: ReviewStore, reading: ErrorReading) -> dict[str, dict[str, tuple[str, int]]]:
    """Return reader -> attempt id -> (label, version)."""
    found: dict[str, dict[str, tuple[str, int]]] = {}
    query = "SELECT reviewer, item, value, version FROM marks WHERE kind = ? ORDER BY reviewer, item"
    for reader, item, value, version in store.rows(query, reading.key):
        found.setdefault(reader, {})[item] = (value, version)
    return found


def program_label(reading: ErrorReading, item: Failed) -> str | None:
    """Return the program's attribution of an attempt's failure; None if it has none."""
    said = reading.labels.get(item.attempt_id, reading.labels.get(item.problem_id))
    return said if said in FAULTS else None


def reading_agreement(store: ReviewStore, reading: ErrorReading) -> list[ReadingAgreement]:
    """Compare every reader with the program."""
    found = []
    for reader, said in labels_of(store, reading).items():
        pairs = [
            (said[item.attempt_id][0], program_label(reading, item))
            for item in reading.items
            if item.attempt_id in said
        ]
        decided = [(mine, theirs) for mine, theirs in pairs if theirs is not None]
        same = share(sum(mine == theirs for mine, theirs in decided), len(decided))
        kappa = cohen_kappa([mine for mine, _ in decided], [theirs for _, theirs in decided])
        cells = tuple(Counter(decided).most_common())
        found.append(ReadingAgreement(reader, len(pairs), len(pairs) - len(decided), same, kappa, cells))
    return found
