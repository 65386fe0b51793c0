"""Generate docs/recipe-reference.md and a JSON Schema for editors from the schema's dataclasses.

A test compares both with the committed files. To write them:

    python -m tracedistill.recipes.reference docs/recipe-reference.md docs/recipe.schema.json
"""

from __future__ import annotations

import functools
import inspect
import json
import sys
from collections.abc import Iterator
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic.json_schema import GenerateJsonSchema

from tracedistill.recipes.grid import AXES
from tracedistill.recipes.pydantic_reader import adapter
from tracedistill.recipes.reflection import below, keys_of
from tracedistill.recipes.schema import Study

EXAMPLES: dict[str, Any] = {
    "study": "tickets", "run_dir": "runs/tickets", "cache": "runs/generations.sqlite",
    "cores": 4, "compute": "ray:10.0.0.1:6379",
    "comparisons": [["correct-trace", "answer-only"]],
    "prompts": {"terse": "{problem}\nOne word only.\n{hint}"},
    "task.name": "file", "task.data_dir": "data", "task.path": "tickets.csv",
    "task.columns": {"question": "{subject}: {body}", "answer": "queue"}, "task.judge": "number",
    "task.labels": ["billing", "delivery", "other"], "task.instruction": "Choose the queue that the ticket belongs to.",
    "task.tolerance.relative": 0.02,
    "task.first_choice": 0, "task.train": 400, "task.validation": 100, "task.test": 200, "task.train_split": "train",
    "task.validation_split": "dev", "task.test_split": "test", "task.failing_golds": 0.1,
    "students.NAME.model": "HuggingFaceTB/SmolLM2-135M-Instruct", "students.NAME.system": "You answer briefly.",
    "students.NAME.base_url": "http://127.0.0.1:8000/v1", "students.NAME.key_env": "VLLM_API_KEY",
    "students.NAME.vllm_command": "/envs/vllm/bin/vllm", "students.NAME.vllm_args": ["--data-parallel-size", "8"],
    "teachers.NAME.vllm_command": "/envs/vllm/bin/vllm", "teachers.NAME.vllm_args": ["--max-model-len", "4096"],
    "teachers.NAME.path": "traces.jsonl", "teachers.NAME.columns": {"problem_id": "id", "text": "trace"},
    "teachers.NAME.where": {"model": "gpt-4o"}, "teachers.NAME.model": "gpt-4o-mini",
    "teachers.NAME.base_url": "https://api.openai.com/v1", "teachers.NAME.key_env": "OPENAI_API_KEY",
    "teachers.NAME.student": "small", "teachers.NAME.prompt": "chain-of-thought", "teachers.NAME.source": "planner",
    "teachers.NAME.system": "You explain briefly.", "teachers.NAME.extra": {"reasoning_effort": "low"},
    "teachers.NAME.omit": ["temperature"],
    "validation.judge": "checker", "training.lora_targets": "q_proj,v_proj", "training.accelerate_config": "fsdp2",
    "evaluation.accelerate_config": "ddp", "review.teachers": ["planner"],
    "attribution[].plan": "trace-of-thought", "attribution[].gold": "gold-plan", "attribution[].again": "plan-again",
    "arms.NAME.student": "small", "arms.NAME.teacher": "planner", "arms.NAME.tune": "correct",
    "arms.NAME.mix": {"answer-only": 0.3}, "arms.NAME.adapter": "correct-trace", "arms.NAME.served": "tuned-elsewhere",
    "arms.NAME.prompt": "few-shot", "arms.NAME.plan": "wrong-number", "arms.NAME.forced": "own",
    "arms.NAME.from": "correct-trace", "arms.NAME.context": "plan", "arms.NAME.teacher_model": "larger",
    "arms.NAME.rejected": "incorrect", "arms.NAME.beta": 0.04, "arms.NAME.learning_rate": 1e-4,
    "arms.NAME.epochs": 2.0, "arms.NAME.max_steps": 60,
    "arms.NAME.rollout_temperature": 0.7, "arms.NAME.samples": 5, "arms.NAME.plans": 3,
    "teachers.NAME.top_p": 0.95, "teachers.NAME.samples": 4, "teachers.NAME.requests_per_minute": 3000.0,
    "teachers.NAME.tokens_per_minute": 2_000_000.0, "teachers.NAME.usd_per_million_in_cached": 0.075,
    "students.NAME.usd_per_hour": 2.5, "training.weight_decay": 0.01, "training.lora_dropout": 0.05,
    "training.eval_steps": 20, "training.eval_attempts": 20, "training.seeds": 3,
    "training.launcher.num_processes": 16, "training.launcher.machine_rank": 1,
    "training.launcher.main_process_ip": "10.0.0.1", "training.launcher.main_process_port": 29500,
    "evaluation.samples": 5, "review.sample": 50, "budget.usd": 20.0, "budget.tokens": 5_000_000,
    "budget.calls": 10_000,
}  # fmt: skip
"""Key -> example value, if the type alone does not suggest one."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a recipe."""

    path: str
    """Dotted path; NAME stands for a user's name, `[]` for an item of a list."""
    kind: Any
    """Its type."""
    default: Any
    """Default value; MISSING if the key is required."""
    meaning: str
    """Documentation of the key."""


def keys() -> Iterator[tuple[str, str, list[Key]]]:
    """Yield (section, description, keys) of every section of a recipe, in order of declaration."""
    yield from _section("", Study)


def _section(path: str, record: Any) -> Iterator[tuple[str, str, list[Key]]]:
    docs, own, inner = docs_of(record), [], []
    for name, key in keys_of(record).items():
        place = f"{path}.{name}".strip(".")
        records = keys_of(key.kind), keys_of(below(key.kind, 0))  # one record, or several by name or number
        if records[0]:
            inner.append((place, key.kind))
        elif records[1]:
            inner.append((f"{place}{'.NAME' if get_origin(key.kind) is dict else '[]'}", below(key.kind, 0)))
        else:
            own.append(Key(place, key.kind, key.default, docs[name]))
    yield path, inspect.getdoc(record) or "", own
    for name, kind in inner:
        if name != "base":  # its keys are an arm's
            yield from _section(name, kind)


def docs_of(record: Any) -> dict[str, str]:
    """Map the keys of a record to the docstrings below their fields, as pydantic reads them."""
    schema = _schema()
    properties = (schema if record is Study else schema["$defs"][record.__name__])["properties"]
    return {name: " ".join(known.get("description", "").split()) for name, known in properties.items()}


def example_of(key: Key) -> Any:
    """Return an example value for a key."""
    if key.path in EXAMPLES:
        return EXAMPLES[key.path]
    kind = key.kind
    if get_origin(kind) is Literal:
        return next(value for value in get_args(kind) if value != key.default)
    if kind is bool:
        return not key.default
    if kind is int:
        return max(2, 2 * (key.default or 0)) if key.default != -1 else 500
    if kind is float:
        return round((key.default or 0.25) * 2, 6)
    return key.default or f"my-{key.path.rpartition('.')[2].replace('_', '-')}"


def type_in_words(kind: Any) -> str:
    """Describe a type for a reader."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        words = " / ".join(map(str, arguments))
    elif origin is dict:
        words = f"names -> {type_in_words(arguments[1])}"
    elif origin is tuple:
        words = "list" if arguments and arguments[0] is str else "list of pairs"
    else:
        words = {int: "whole number", float: "number", str: "text", bool: "true or false"}.get(kind, "anything")
    return words


HEAD = """\
This page is generated from the recipe's schema. Do not edit it; run
`python -m tracedistill.recipes.reference docs/recipe-reference.md docs/recipe.schema.json`.

`NAME` stands for a name that you choose, `[]` for an item of a list. `base` takes the keys of an arm, as defaults for
all arms.
For completion and checks in an editor, make this the recipe's first line:
`# yaml-language-server: $schema=PATH/TO/docs/recipe.schema.json`."""
"""Text above the reference's tables."""


def reference() -> str:
    """Return the text of docs/recipe-reference.md."""
    lines = ["# Recipe reference", "", HEAD, ""]
    for path, about, own in keys():
        lines += [f"## {path or 'top level'}", "", " ".join(about.split()), ""]
        lines += ["| key | type | default | example | meaning |", "|---|---|---|---|---|"]
        for key in own:
            default = "must be given" if key.default is MISSING else _code(key.default)
            meaning = key.meaning.replace("<", "&lt;")
            cells = (f"`{key.path}`", type_in_words(key.kind), default, _code(example_of(key)), meaning)
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _code(value: Any) -> str:
    if value is None:
        return "none"
    code = json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)
    return f"`{code}`"


# ---- for editors


class _ForEditors(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - of the base class
        """Omit titles: a key's would repeat its name."""
        return False


@functools.cache
def _schema() -> dict[str, Any]:
    return adapter().json_schema(schema_generator=_ForEditors)


def json_schema() -> dict[str, Any]:
    """Return a JSON Schema of recipes, for completion and checks in an editor."""
    schema = _plain(_schema())
    for axis in AXES:  # a grid: several names, or all of them
        known = schema["$defs"]["Arm"]["properties"][axis]
        known["anyOf"].append({"type": "array", "items": {"type": "string"}})
    return {"$schema": "http://json-schema.org/draft-07/schema#", **schema, "title": "tracedistill recipe"}


def _plain(schema: Any) -> Any:
    """Return a schema whose texts are single lines, and whose records may be empty."""
    if isinstance(schema, list):
        return [_plain(item) for item in schema]
    if not isinstance(schema, dict):
        return " ".join(schema.split()) if isinstance(schema, str) else schema
    plain = {key: _plain(value) for key, value in schema.items()}
    if "$ref" in plain:
        plain["anyOf"] = [{"$ref": plain.pop("$ref")}, {"type": "null"}]
    return plain


def main(arguments: list[str]) -> int:
    """Write the reference and the schema to the two paths given."""
    page, schema = map(Path, arguments)
    page.write_text(reference(), encoding="utf-8")
    schema.write_text(json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
