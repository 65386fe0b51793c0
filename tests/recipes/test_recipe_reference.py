"""The reference of recipe keys and the editors' schema are made of the schema; keys that people type are answered."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT
from tracedistill.errors import InputError
from tracedistill.recipes import Study, load
from tracedistill.recipes.names import ALIASES
from tracedistill.recipes.reference import MISSING, Key, example_of, json_schema, keys, reference

AGAIN = "python -m tracedistill.recipes.reference docs/recipe-reference.md docs/recipe.schema.json"
KEYS = [key for _, _, own in keys() for key in own]


def test_the_committed_reference_is_the_schemas() -> None:
    assert (ROOT / "docs" / "recipe-reference.md").read_text(encoding="utf-8") == reference(), AGAIN
    committed = json.loads((ROOT / "docs" / "recipe.schema.json").read_text(encoding="utf-8"))
    assert committed == json.loads(json.dumps(json_schema())), AGAIN


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.path)
def test_every_key_has_a_meaning_and_an_example_that_is_read(key: Key, tmp_path: Path) -> None:
    assert key.meaning.endswith("."), key.path
    example = example_of(key)
    assert example is not None
    assert (
        key.default is MISSING or example != key.default or key.path in ("cache", "task.train_split", "task.test_split")
    )
    recipe: dict[str, Any] = {
        "study": "s",
        "task": {"name": "file", "path": "x.csv"},
        "students": {"small": {"model": "m"}},
        "arms": {"a": {}},
    }
    place: Any = recipe
    *path, last = key.path.replace("[]", "").split(".")
    for part in path:
        if part == "attribution":
            place = place.setdefault(part, [{"plan": "a", "gold": "a"}])[0]
            continue
        place = place.setdefault({"NAME": next(iter(place), "planner")}.get(part, part), {})
    place[last] = list(example) if isinstance(example, tuple) else example
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(recipe))
    # what an example needs beside itself may be missing; it is no unknown key and not of a wrong type
    assert not [line for line in complaints(tmp_path / "s.yaml") if "unknown key" in line or ", got " in line]


def complaints(recipe: Path) -> list[str]:
    try:
        load(recipe)
    except InputError as error:
        return str(error).splitlines()
    return []


def paths(value: Any, schema: dict[str, Any], at: str = "") -> Iterator[str]:
    """Places in a recipe that the schema for editors does not know."""
    for option in schema.get("anyOf", [schema]):
        if "$ref" in option:
            option = json_schema()["$defs"][option["$ref"].rpartition("/")[2]]
        if isinstance(value, dict) and option.get("type") == "object":
            known, others = option.get("properties", {}), option.get("additionalProperties")
            for name, inner in value.items():
                if name in known:
                    yield from paths(inner, known[name], f"{at}.{name}")
                elif isinstance(others, dict):
                    yield from paths(inner, others, f"{at}.{name}")
                elif not others:
                    yield f"{at}.{name}"
        if isinstance(value, list) and option.get("type") == "array":
            for inner in value:
                yield from paths(inner, option.get("items", {}), f"{at}[]")


@pytest.mark.parametrize("recipe", sorted((ROOT / "recipes").glob("*/*.yaml")), ids=lambda path: path.parent.name)
def test_editors_accept_the_shipped_recipes(recipe: Path) -> None:
    assert list(paths(yaml.safe_load(recipe.read_text()), json_schema())) == []
    assert list(paths({"training": {"lr": 1}}, json_schema())) == [".training.lr"]


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("training.lr=1e-4", "training.lr: unknown key; did you mean 'learning_rate'?"),
        ("training.max_seq_length=512", "did you mean 'max_length'?"),
        ("training.gradient_accumulation_steps=2", "did you mean 'gradient_accumulation'?"),
        ("training.learning_rat=1", "did you mean 'learning_rate'?"),
        ("base.max_new_tokens=9", "did you mean 'max_tokens'?"),
        ("students.small.model_name_or_path=x", "did you mean 'model'?"),
        ("task.dataset=x", "did you mean 'path'?"),
        ("output_dir=x", "did you mean 'run_dir'?"),
    ],
)
def test_keys_that_people_type_are_answered(key: str, words: str, tmp_path: Path) -> None:
    recipe = {"study": "s", "task": {"name": "gsm8k"}, "students": {"small": {"model": "m"}}, "arms": {"a": {}}}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(recipe))
    with pytest.raises(InputError) as raised:
        load(tmp_path / "s.yaml", [key])
    assert words in str(raised.value)


def test_an_alias_is_for_a_key_that_there_is() -> None:
    known = {part for key in KEYS for part in key.path.replace("[]", "").split(".")}
    known |= {field.name for field in dataclasses.fields(Study)}
    assert set(ALIASES.values()) <= known
