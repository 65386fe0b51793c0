"""Verdicts on the steps of students' traces by kind, from an arm's attempts in one fast pass."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from tracedistill.errors import InputError
from tracedistill.stats import Counts

KINDS = ("class", "retrieval", "calculation")
"""Kinds of steps that rules judge."""

# A line is JSON: quotes inside its texts are escaped, so model output cannot look like these keys.
_STEP = re.compile(rb'"kind": ?"(class|retrieval|calculation)", ?"outcome": ?"(correct|incorrect|undecided)"')
_ANSWER = re.compile(rb'"answer": ?\{"outcome": ?"correct"')
_PROBLEM = re.compile(rb'"problem_id": ?("(?:[^"\\]|\\.)*")')


@dataclass(frozen=True, slots=True)
class KindCounts:
    """All steps of one kind in a trace against its answer."""

    kind: str
    """One of KINDS."""
    counts: Counts
    """[steps right & answer right, right & wrong, wrong & right, wrong & wrong]; right: every such step of the trace.
    """
    undecided: int
    """Traces in which no such step is wrong but one is undecided; not in `counts`."""
    steps: int
    """Steps judged."""
    steps_right: int
    """Of these, right."""


def read_kinds(path: Path, ids: Collection[str] | None = None) -> list[KindCounts]:
    """Count, per kind, traces whose steps of this kind are all right against right answers.

    `path`: attempts/<arm>.jsonl. `ids`: problems that count, None: all. Traces without such a step are left out.
    """
    cells = {kind: [0, 0, 0, 0, 0] for kind in KINDS}
    steps = {kind: [0, 0] for kind in KINDS}
    try:
        with path.open("rb") as stream:
            for line in stream:
                step_outcomes = _STEP.findall(line)
                if not step_outcomes or (ids is not None and _problem(line) not in ids):
                    continue
                answer = 0 if _ANSWER.search(line) else 1
                outcomes: dict[str, set[bytes]] = {}
                for name, outcome in step_outcomes:
                    kind = name.decode()
                    outcomes.setdefault(kind, set()).add(outcome)
                    steps[kind][0] += 1
                    steps[kind][1] += outcome == b"correct"
                for kind, of_kind in outcomes.items():
                    wrong, open_ = b"incorrect" in of_kind, b"undecided" in of_kind
                    cells[kind][2 + answer if wrong else 4 if open_ else answer] += 1
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; run `tracedistill evaluate` again") from error
    return [
        KindCounts(kind, (cell[0], cell[1], cell[2], cell[3]), cell[4], *steps[kind])
        for kind, cell in cells.items()
        if steps[kind][0]
    ]


def _problem(line: bytes) -> str:
    match = _PROBLEM.search(line)
    return "" if match is None else str(json.loads(match.group(1)))
