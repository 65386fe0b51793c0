"""Verdicts of a class + retrieval study as one short line per problem: what a page is counted from again.

The texts stay out (they quote the stories, and are large); the verdicts are those of `attempts/*.jsonl`. A line:

    {"id": "paperbabi-test-0", "category": "basic-induction", "arms": {"correct": ["cb.v", "cb.v", "iw.."]}}

has a code per attempt, seeds in their order. First the answer: c correct, i incorrect, m missing, u ungradable. Then
the trace: b both class and facts right (of calculations: all true and grounded), k class alone, f facts alone, w
neither, u unparsed, n none, d undecided. Then x where the attempt was cut off at its limit, p where there was no plan,
so that nothing was asked; and v where the gold answer stands in the facts that were cited. `tokens`, if asked for, are
those of an arm's attempts together: prompt, written.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

ANSWERS = {"correct": "c", "incorrect": "i", "missing": "m", "ungradable": "u"}
TRACES = {"unparsed": "u", "none": "n", "undecided": "d"}
ENDS = {"length": "x", "no-plan": "p"}


@dataclass(frozen=True, slots=True)
class Line:
    """What all arms did with one problem."""

    id: str
    """The problem's id."""
    category: str
    """Its class, by gold; empty where the task has none."""
    arms: dict[str, tuple[str, ...]]
    """Arm -> a code per attempt, by seed, then sample."""
    tokens: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Arm -> (prompt tokens, written tokens) of these attempts; empty where costs do not matter."""


def code_of(attempt: Mapping[str, Any]) -> str:
    """Return the four letters of one line of `attempts/<arm>.jsonl`."""
    trace = attempt["trace"]
    figures = trace["figures"]
    if trace["outcome"] in TRACES:
        second = TRACES[trace["outcome"]]
    elif "class" not in figures:
        second = "b" if trace["outcome"] == "correct" else "w"
    else:
        second = {(1, 1): "b", (1, 0): "k", (0, 1): "f"}.get((figures["class"], figures["facts_exact"]), "w")
    ended = ENDS.get(attempt["finish"], ".")
    return ANSWERS[attempt["answer"]["outcome"]] + second + ended + ".v"[bool(attempt.get("answer_in_trace"))]


def read_run(folder: Path, *, prefix: str = "", tokens: bool = False) -> list[Line]:
    """Every test problem of a run folder with the codes of all arms that have attempts, in the problems' order.

    `prefix` stands before the arms' names, so that several runs fit one page.
    """
    problems = [json.loads(line) for line in (folder / "problems.jsonl").read_text(encoding="utf-8").splitlines()]
    found: dict[str, dict[str, list[tuple[tuple[int, int], str, int, int]]]] = {}
    for path in sorted((folder / "attempts").glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            attempt = json.loads(line)
            place = (attempt.get("seed", 0), attempt.get("sample", 0))
            entry = (place, code_of(attempt), attempt.get("tokens_in", 0), attempt.get("tokens_out", 0))
            found.setdefault(attempt["problem_id"], {}).setdefault(prefix + path.stem, []).append(entry)
    lines = []
    for problem in problems:
        arms = {arm: sorted(entries) for arm, entries in found.get(problem["problem_id"], {}).items()}
        if arms:
            codes = {arm: tuple(entry[1] for entry in entries) for arm, entries in arms.items()}
            spent = {arm: (sum(each[2] for each in own), sum(each[3] for each in own)) for arm, own in arms.items()}
            lines.append(Line(problem["problem_id"], problem.get("category", ""), codes, spent if tokens else {}))
    return lines


def merged(one: Iterable[Line], other: Iterable[Line]) -> list[Line]:
    """Join the arms of two runs on the same problems by id; the first one's problems and order."""
    further = {line.id: line.arms for line in other}
    return [replace(line, arms={**line.arms, **further.get(line.id, {})}) for line in one]


def write_lines(path: Path, lines: Iterable[Line]) -> None:
    """One line of JSON per problem."""
    rows = [
        {"id": line.id, "category": line.category, "arms": line.arms} | ({"tokens": line.tokens} if line.tokens else {})
        for line in lines
    ]
    path.write_text("".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows), encoding="utf-8")


def read_lines(path: Path) -> list[Line]:
    """Read what `write_lines` wrote."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [
        Line(
            row["id"],
            row["category"],
            {arm: tuple(codes) for arm, codes in row["arms"].items()},
            {arm: (spent[0], spent[1]) for arm, spent in row.get("tokens", {}).items()},
        )
        for row in rows
    ]
