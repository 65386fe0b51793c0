"""A recipe out of a user's file: which column is what, and the arms that its columns allow."""

from __future__ import annotations

import itertools
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from tracedistill.errors import InputError
from tracedistill.records import Problem
from tracedistill.tasks import Source, get_task
from tracedistill.tasks.rows import Row, read_rows

GUESSES: dict[str, tuple[str, ...]] = {
    "question": ("question", "prompt", "problem", "input", "query", "instruction"),
    "answer": ("answer", "target", "final", "final_answer", "gold", "label", "output", "response", "solution"),
    "context": ("context", "passage", "passages", "facts", "story", "document"),
    "choices": ("choices", "options"),
    "steps": ("steps", "rationale", "explanation", "reasoning", "solution", "trace", "cot"),
    "id": ("id", "problem_id", "question_id", "qid"),
    "split": ("split",),
    "category": ("category", "type", "subject", "topic"),
}
"""Our field -> column names that usually hold it, the likeliest first."""

READ = 100
"""Rows that guessing looks at."""
WORKED = 60
"""Characters above which an answer looks like a worked solution."""
SMALLEST = 20
"""Rows that a split needs before a study on it says anything."""


@dataclass(frozen=True, slots=True)
class Started:
    """What `init` found and wrote."""

    recipe: Path
    """The recipe written."""
    columns: Mapping[str, str]
    """Our field -> the file's column."""
    sizes: Mapping[str, int]
    """Problems per split."""
    first: Problem
    """The first training problem, as the study reads it."""
    missing: str
    """What the file does not hold, and what that means for the study; empty where nothing is missing."""


def start_study(file: Path, recipe: Path, columns: Mapping[str, str], student: str) -> Started:
    """Write a recipe for this file.

    Raises InputError for a file that cannot be read, a needed column that cannot be guessed, and a recipe that exists
    already (nothing is overwritten).
    """
    if recipe.exists():
        raise InputError(f"{recipe}: exists already; give another --out")
    found = _guess([row for _, row in itertools.islice(read_rows(file), READ)], columns, file)
    task = get_task("file")
    source = Source(path=str(file), columns=found)
    problems = {split: list(task.load(split, source)) for split in ("train", "test")}
    sizes = {split: len(items) for split, items in problems.items()}
    with_steps = all(problem.gold_steps for problem in problems["train"])
    name = re.sub(r"[^\w.-]+", "-", file.name.split(".")[0]).strip("-.") or "study"
    recipe.parent.mkdir(parents=True, exist_ok=True)
    recipe.write_text(_recipe(name, file, recipe, found, student, with_steps=with_steps), encoding="utf-8")
    notes = [f"{split}: only {size} problems" for split, size in sizes.items() if size < SMALLEST]
    if not with_steps:
        notes.append(
            "no gold steps: answers are judged, and of the students' traces only the calculations that they write "
            "down; an arm tuned on traces needs a `steps` column"
        )
    return Started(recipe, found, sizes, problems["train"][0], "; ".join(notes))


def _guess(rows: Sequence[Row], given: Mapping[str, str], file: Path) -> dict[str, str]:
    """Our field -> column: those given, then by name; of several answers the shortest, a long one holds the steps."""
    names = [str(name) for name in rows[0]]
    for our_name, column in given.items():
        if column not in names:
            raise InputError(f"{file}: no column '{column}' for {our_name}; it has: {', '.join(names)}")
    found = dict(given)
    by_lower = {name.lower(): name for name in reversed(names)}
    for our_name, candidates in GUESSES.items():
        free = [by_lower[name] for name in candidates if name in by_lower and by_lower[name] not in found.values()]
        if our_name in found or not free:
            continue
        if our_name == "answer":
            lengths = {name: statistics.median(len(str(row.get(name, ""))) for row in rows) for name in free}
            found[our_name] = min(free, key=lengths.__getitem__)
            longest = max(free, key=lengths.__getitem__)
            if "steps" not in found and lengths[longest] > max(WORKED, 3 * lengths[found[our_name]]):
                found["steps"] = longest  # a worked solution under the name of an answer, as GSM8K has it
        else:
            found[our_name] = free[0]
    for needed in ("question", "answer"):
        if needed not in found:
            raise InputError(
                f"{file}: which column is the {needed}? It has: {', '.join(names)}; say --columns {needed}=COLUMN"
            )
    return found


def _recipe(name: str, file: Path, recipe: Path, columns: Mapping[str, str], student: str, *, with_steps: bool) -> str:
    path = file.resolve()
    shown = path.relative_to(recipe.parent.resolve()) if path.is_relative_to(recipe.parent.resolve()) else path
    mapped = {ours: column for ours, column in columns.items() if ours != column}
    arms: dict[str, dict[str, object]] = {
        "standard": {},
        "chain-of-thought": {"prompt": "chain-of-thought"},
        "few-shot": {"prompt": "few-shot", "shots": 3},
        "answer-only": {"tune": "none"},
    }
    comparisons = [["answer-only", "few-shot"]]
    if with_steps:
        arms["correct-trace"] = {"tune": "correct"}
        comparisons = [["correct-trace", "answer-only"], ["correct-trace", "few-shot"], *comparisons]
    task: dict[str, object] = {"name": "file", "path": str(shown), "validation": 100, "test": 200, "train": 400}
    if mapped:
        task["columns"] = mapped
    body = {
        "study": name,
        "task": task,
        "students": {"student": {"model": student}},
        "training": {"learning_rate": 1e-3},
        "base": {"max_tokens": 256},
        "arms": arms,
        "comparisons": comparisons,
    }
    head = (
        f"# Made by `tracedistill init {file.name}`; run it with `tracedistill run {recipe.name}`.\n"
        "# train, validation, test: numbers of problems. A file without a split column is cut 80/10/10 by content.\n"
    )
    return head + yaml.safe_dump(body, sort_keys=False, allow_unicode=True)
