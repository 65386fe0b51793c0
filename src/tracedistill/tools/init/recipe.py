"""Write the recipe of `init`: arms that the file allows, limits that fit its texts."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tracedistill.tasks._rows import is_hub_id
from tracedistill.tasks.file.instructions import says_what_to_do
from tracedistill.tasks.file.table import LoadedTable, RowTexts

CHARACTERS = 2.5
"""Characters per token assumed for limits: fewer than in most languages, so that nothing is cut."""
LENGTHS = (1024, 2048, 4096, 8192, 16384, 32768)
"""Limits of a row, in tokens."""
ANSWERS = (64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
"""Limits of generated tokens."""
SPARE = 1.3
"""Factor of a limit over the longest text."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """User options beyond the file's content."""

    student: str
    """Folder, hub id or `pypi:` name."""
    judge: str = "auto"
    """How answers are judged; auto: inferred from the golds."""
    tolerance: Mapping[str, float] = field(default_factory=dict)
    """relative, absolute: allowed difference of a number."""
    labels: tuple[str, ...] = ()
    """Closed answer set."""
    instruction: str = ""
    """Instruction for the prompt."""
    first_choice: int | None = None
    """Number of the first choice, if golds are numbers."""
    failing_golds: float | None = None
    """Share of golds that may fail."""
    teacher: str = ""
    """URL of a model teacher's endpoint."""
    model: str = ""
    """Name of the teacher's model."""
    key_env: str = ""
    """NAME of the environment variable that holds its key."""


def recipe_text(
    file: Path, recipe: Path, columns: Mapping[str, str], table: LoadedTable, wanted: Wanted, note: str
) -> str:
    """Write the recipe as YAML, with comments on what to change first."""
    name = re.sub(r"[^\w.-]+", "-", file.name.split(".")[0].replace("{split}", "")).strip("-.") or "study"
    body: dict[str, Any] = {"study": name, "task": _task(file, recipe, columns, table, wanted)}
    body["students"] = {"student": {"model": wanted.student}}
    teachers, arms, comparisons = _arms(table, wanted)
    if teachers:
        body["teachers"] = teachers
    tokens, length = _limits(table.texts, written=bool(wanted.teacher))
    body["training"] = {"learning_rate": 1e-3, "max_length": length}
    body["base"] = {"max_tokens": tokens}
    body["arms"], body["comparisons"] = arms, comparisons
    head = (
        f"# Made by `tracedistill init {file.name}`; check it with `tracedistill run {recipe.name} --dry-run`, then\n"
        f"# run it with `tracedistill run {recipe.name}`.\n"
        f"# {note}; set task.judge to change that.\n"
        "# train, validation, test: how many problems to use at most, drawn by the seed.\n"
    )
    return head + yaml.dump(body, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def instruction_for(table: LoadedTable, wanted: Wanted) -> str:
    """Write an instruction if the questions lack one and the golds imply it: a closed set, or objects with keys."""
    if wanted.instruction or _asks(table):
        return wanted.instruction
    if table.judged.rule == "label":
        return "Choose the label that fits the text below."
    if table.judged.rule == "json":
        golds = [row.golds[0] for row in table.rows.first(200) if row.golds]
        if 2 * sum(gold.startswith("[") for gold in golds) > len(golds):
            return "Answer for the text below with one JSON list."
        keys = _keys(table)
        named = f" with the keys {', '.join(keys)}" if keys else ""
        return f"Extract the requested information from the text below, as one JSON object{named}."
    return ""


def asks_nothing(table: LoadedTable, wanted: Wanted) -> bool:
    """Return whether the text does not tell an untuned student what to do."""
    free = table.judged.rule not in ("choice", "number", "math")
    return free and not instruction_for(table, wanted) and not _asks(table)


def _asks(table: LoadedTable) -> bool:
    return says_what_to_do([row.question for row in table.rows.first(500)])


def _keys(table: LoadedTable) -> list[str]:
    keys: dict[str, None] = {}
    for row in table.rows.first(200):
        try:
            value = json.loads(row.golds[0]) if row.golds else None
        except json.JSONDecodeError:
            continue
        if isinstance(value, dict):
            keys |= dict.fromkeys(value)
    return list(keys) if len(keys) <= 20 else []


def _task(file: Path, recipe: Path, columns: Mapping[str, str], table: LoadedTable, wanted: Wanted) -> dict[str, Any]:
    path = file if is_hub_id(file) and not file.exists() else file.resolve()
    if path.is_relative_to(recipe.parent.resolve()):
        path = path.relative_to(recipe.parent.resolve())
    task: dict[str, Any] = {"name": "file", "path": str(path)}
    mapped = {ours: column for ours, column in columns.items() if ours != column}
    if mapped:
        task["columns"] = mapped
    if wanted.judge != "auto":
        task["judge"] = wanted.judge
    if wanted.tolerance:
        task["tolerance"] = dict(wanted.tolerance)
    if table.judged.labels:
        task["labels"] = list(table.judged.labels)
    instruction = instruction_for(table, wanted)
    if instruction:
        task["instruction"] = instruction
    if wanted.first_choice is not None:
        task["first_choice"] = wanted.first_choice
    if wanted.failing_golds is not None:
        task["failing_golds"] = wanted.failing_golds
    return {**task, "train": 400, "validation": 100, "test": 200}


def _arms(table: LoadedTable, wanted: Wanted) -> tuple[dict[str, Any], dict[str, Any], list[list[str]]]:
    """Choose (teachers, arms, comparisons): tuned on traces if the file or a teacher has some."""
    teachers: dict[str, Any] = {}
    if wanted.teacher:
        teachers["teacher"] = {
            "kind": "model",
            "model": wanted.model,
            "base_url": wanted.teacher,
            **({"key_env": wanted.key_env} if wanted.key_env else {}),
            "prompt": "chain-of-thought",
            "max_tokens": 1024,
        }
    elif any(table.texts.has_trace):
        teachers["recorded"] = {"kind": "recorded"}
    train = [bool(steps) for steps, split in zip(table.texts.has_steps, table.splits, strict=True) if split == "train"]
    with_steps = all(train or table.texts.has_steps)
    arms: dict[str, Any] = {
        "standard": {},
        "chain-of-thought": {"prompt": "chain-of-thought"},
        "few-shot": {"prompt": "few-shot", "shots": 3},
        "answer-only": {"tune": "none"},
    }
    comparisons = [["answer-only", "few-shot"]]
    if teachers or with_steps:
        arms["correct-trace"] = {"tune": "correct"}
        comparisons = [["correct-trace", "answer-only"], ["correct-trace", "few-shot"], *comparisons]
    return teachers, arms, comparisons


def _limits(texts: RowTexts, *, written: bool) -> tuple[int, int]:
    """Choose (tokens to generate, tokens of a row) with room for the longest texts of the file."""
    answers, prompts = sorted(texts.answer_chars), sorted(texts.prompt_chars)
    most = (answers[int(0.99 * (len(answers) - 1))] + 10) / CHARACTERS * SPARE
    tokens = _step(max(most, 400 if written else 200), ANSWERS)
    return tokens, _step(tokens + prompts[int(0.99 * (len(prompts) - 1))] / CHARACTERS * SPARE + 100, LENGTHS)


def _step(wanted: float, steps: Sequence[int]) -> int:
    return next((step for step in steps if step >= wanted), steps[-1])


class _Dumper(yaml.SafeDumper):
    """Keeps templates on one line."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style='"' if "\n" in value or "{" in value else None)


_Dumper.add_representer(str, _text)
