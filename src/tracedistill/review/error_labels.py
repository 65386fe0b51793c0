"""Labels that a person gives failed attempts: who made the error. They are compared with the program's labels."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tracedistill.errors import InputError
from tracedistill.files import content_id, read_jsonl, read_lines
from tracedistill.records import Problem, Trace
from tracedistill.review.sources import problems_of
from tracedistill.review.store import ReviewStore, put_mark
from tracedistill.review.trace_review import Conflict, TraceReview
from tracedistill.stats import Share, cohen_kappa, share

FAULTS = {
    "teacher": "Teacher: the plan is wrong",
    "student": "Student: the plan is right, its execution is not",
    "both": "Both",
    "neither": "Neither: an error of the gold or the judge, or no visible error",
}
"""Who made the error -> text on the page."""


@dataclass(frozen=True, slots=True)
class FailedAttempt:
    """One failed attempt."""

    attempt_id: str
    """`<arm>/<problem_id>/<sample>`."""
    problem_id: str
    arm: str
    text: str
    """The student's text."""
    plan: Trace | None
    """The plan that was shown."""
    reason: str
    """Why the answer is not right."""


@dataclass(frozen=True, slots=True)
class ErrorReading:
    """Failed attempts to read."""

    items: tuple[FailedAttempt, ...]
    """Failed attempts, a seeded sample in random order."""
    problems: Mapping[str, Problem] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    """Attempt or problem id -> the program's own attribution, without `solved` and `undecided`."""

    @property
    def key(self) -> str:
        """Name under which readings are stored."""
        return "read " + content_id([item.attempt_id for item in self.items], [item.text for item in self.items])


@dataclass(frozen=True, slots=True)
class ReadingAgreement:
    """Agreement of one reader with the program."""

    name: str
    """The reader."""
    read: int
    """Attempts labelled by the reader."""
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
    problems = problems_of(folder, {line["problem_id"] for line in chosen})
    items = tuple(
        FailedAttempt(
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
    store: ReviewStore,
    reading: ErrorReading,
    reader: str,
    item: FailedAttempt,
    fault: str,
    version: int,
    seconds: float,
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
        put_mark(db, reading.key, item.attempt_id, reader, fault, seconds)


def labels_of(store: ReviewStore, reading: ErrorReading) -> dict[str, dict[str, tuple[str, int]]]:
    """Return reader -> attempt id -> (label, version)."""
    labels: dict[str, dict[str, tuple[str, int]]] = {}
    query = "SELECT reviewer, item, value, version FROM marks WHERE kind = ? ORDER BY reviewer, item"
    for reader, item, value, version in store.rows(query, reading.key):
        labels.setdefault(reader, {})[item] = (value, version)
    return labels


def program_label(reading: ErrorReading, item: FailedAttempt) -> str | None:
    """Return the program's attribution of an attempt's failure; None if it has none."""
    attribution = reading.labels.get(item.attempt_id, reading.labels.get(item.problem_id))
    return attribution if attribution in FAULTS else None


def reading_agreement(store: ReviewStore, reading: ErrorReading) -> list[ReadingAgreement]:
    """Compare every reader with the program."""
    agreements = []
    for reader, labels in labels_of(store, reading).items():
        read = [item for item in reading.items if item.attempt_id in labels]
        pairs = [
            (labels[item.attempt_id][0], theirs)
            for item in read
            if (theirs := program_label(reading, item)) is not None
        ]
        same = share(sum(mine == theirs for mine, theirs in pairs), len(pairs))
        kappa = cohen_kappa([mine for mine, _ in pairs], [theirs for _, theirs in pairs])
        agreements.append(ReadingAgreement(reader, len(read), same, kappa, tuple(Counter(pairs).most_common())))
    return agreements
