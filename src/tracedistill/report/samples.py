"""A few attempts per arm to read, the same problems for every arm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracedistill.recipes import Study
from tracedistill.records import Problem
from tracedistill.store import content_id, read_lines
from tracedistill.tasks import Task

PROBLEMS_SHOWN = 12
TEXT_SHOWN = 1_500
"""Characters of an attempt; the whole text stands in attempts/<arm>.jsonl."""


@dataclass(frozen=True, slots=True)
class Shown:
    """One problem with what each arm wrote for it."""

    problem: Problem
    """The problem with its gold."""
    gold: str
    """Its gold answer."""
    text: str
    """As the student reads it."""
    gold_trace: str
    """Its gold trace, where it has one."""
    attempts: tuple[tuple[str, dict[str, Any]], ...]
    """(arm, line of attempts/<arm>.jsonl)."""


def samples(study: Study, task: Task, folder: Path, problems: Mapping[str, Problem]) -> list[Shown]:
    """A seeded sample of problems, with every arm's attempt at them."""
    ids = sorted(problems, key=lambda problem_id: content_id(study.seed, "shown", problem_id))[:PROBLEMS_SHOWN]
    found: dict[str, list[tuple[str, dict[str, Any]]]] = {problem_id: [] for problem_id in ids}
    for name in study.arms:
        for _, row in read_lines(folder / "attempts" / f"{name}.jsonl"):
            if row["problem_id"] in found and row.get("sample", 0) == 0:
                text = row["text"]
                cut = f"{text[:TEXT_SHOWN]} [... {len(text) - TEXT_SHOWN} characters more]"
                found[row["problem_id"]].append((name, {**row, "text": text if len(text) <= TEXT_SHOWN else cut}))
    return [
        Shown(
            problems[problem_id],
            task.render_answer(problems[problem_id]),
            task.render_problem(problems[problem_id]),
            task.render_trace(problems[problem_id].gold_steps),
            tuple(found[problem_id]),
        )
        for problem_id in ids
    ]
