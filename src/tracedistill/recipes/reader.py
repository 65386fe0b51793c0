"""Read YAML into a study, strictly: every error at once, with file, line, key and the nearest valid key.

pydantic checks types and keys; this module and `faults` add lines, near keys, and a base that arms inherit.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, get_origin

import yaml

from tracedistill.errors import InputError
from tracedistill.recipes.checks import Fail, check, near
from tracedistill.recipes.grid import GridArm, spread_grid
from tracedistill.recipes.names import with_more
from tracedistill.recipes.pydantic_reader import Prepared, validated
from tracedistill.recipes.reflection import below, keys_of
from tracedistill.recipes.safe_yaml import YamlError, compose, parse
from tracedistill.recipes.schema import Study, key_of


def load(
    path: Path,
    overrides: Sequence[str] = (),
    names: Mapping[str, Collection[str]] | None = None,
    further: Callable[[Study, Fail], None] | None = None,
) -> Study:
    """Read a recipe and apply `key=value` overrides (dotted keys; values are YAML).

    `names` gives the known values of fields that name something (tasks, prompts, interventions); `further` checks what
    needs more than the recipe, such as code and files that it names.
    Raises one InputError that lists every error with file, line, key and the nearest valid key.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such recipe") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    try:
        node = compose(text)
        raw = parse(text)
    except YamlError as error:
        raise InputError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(raw, dict):
        raise InputError(f"{path}: a recipe is a mapping that starts with `study:` and `task:`")
    faults = _Faults()
    faults.note_lines(node, "")
    for override in overrides:
        _apply(raw, override, faults.add)
    known = _with_own_prompts(names or {}, raw)  # including those of the overrides
    spread, grids = spread_grid(_spread_base(raw))
    faults.note_cells(grids)
    prepared = Prepared(spread, known, faults.add)
    study, untyped = validated(prepared, faults.add)
    if study is not None:
        fail = functools.partial(faults.add, unless_of=untyped)
        check(study, fail)
        if further is not None:
            further(study, fail)
    faults.forget_inherited(raw)
    if faults.messages:
        lines = faults.listing()
        listing = "\n".join(f"  {line}" for line in lines)
        raise InputError(f"{path}: {len(lines)} error{'s' if len(lines) > 1 else ''} in the recipe\n{listing}")
    return typing.cast(Study, study)


def _with_own_prompts(names: Mapping[str, Collection[str]], raw: Mapping[str, Any]) -> dict[str, Collection[str]]:
    own = raw.get("prompts")
    added = {str(name) for name in own} if isinstance(own, dict) else set()
    return {key: with_more(known, added) if key.endswith("prompts") else known for key, known in names.items()}


def _spread_base(raw: dict[str, Any]) -> dict[str, Any]:
    """Return every arm as base updated by its differences."""
    base, arms = raw.get("base"), raw.get("arms")
    if not isinstance(arms, dict):
        return raw
    base = base if isinstance(base, dict) else {}
    spread = {name: {**base, **(arm or {})} if isinstance(arm, dict | None) else arm for name, arm in arms.items()}
    return {**raw, "arms": spread}


class _Faults:
    """The errors of one recipe, and the lines of its keys."""

    def __init__(self) -> None:
        self.messages: dict[tuple[str, str], None] = {}
        self.lines: dict[str, int] = {}

    def add(self, key: str, message: str, unless_of: Collection[str] = ()) -> None:
        """Record an error, unless it may follow from one at, above or below these keys."""
        if not any(_within(key, other) or _within(other, key) for other in unless_of):
            self.messages[key, message] = None

    def listing(self) -> list[str]:
        """Return the errors in the order of the file, with their lines; those of overrides last."""
        places = {key: (line, place) for place, (key, line) in enumerate(self.lines.items())}

        def place(key: str) -> tuple[float, int]:
            while key and key not in places:
                key = key.rpartition("." if "." in key else "[")[0]
            return places.get(key, (math.inf, 0))

        faults = sorted(self.messages, key=lambda fault: place(fault[0]))
        lines = {key: f" (line {self.lines[key]})" if key in self.lines else "" for key, _ in faults}
        return [f"{key or 'recipe'}{lines[key]}: {message}" for key, message in faults]

    def note_lines(self, node: yaml.Node | None, prefix: str) -> None:
        """Record the line of every key, and report duplicate keys (YAML would silently keep the last)."""
        if not isinstance(node, yaml.MappingNode) or prefix.count(".") > 8:  # deeper than any key
            return
        seen = set()
        for key_node, value in node.value:
            key = f"{prefix}{key_node.value}"
            self.lines[key] = key_node.start_mark.line + 1
            if key in seen:
                self.add(key, "duplicate key")
            seen.add(key)
            self.note_lines(value, f"{key}.")

    def note_cells(self, grids: Mapping[str, Sequence[GridArm]]) -> None:
        """Give the cells of a grid the lines of their arm."""
        for name, cells in grids.items():
            for key in [key for key in self.lines if key == f"arms.{name}" or key.startswith(f"arms.{name}.")]:
                for cell in cells:
                    self.lines[key.replace(f"arms.{name}", f"arms.{cell.name}", 1)] = self.lines[key]

    def forget_inherited(self, raw: Mapping[str, Any]) -> None:
        """Forget an arm's inherited fields: an error in `base` is reported there, not once per arm."""
        base, arms = raw.get("base"), raw.get("arms")
        if not isinstance(base, dict) or not isinstance(arms, dict):
            return
        for name, arm in arms.items():
            own = arm if isinstance(arm, dict) else {}
            inherited = [f"arms.{name}.{key}" for key in base if key not in own]
            self.messages = {
                (key, message): None
                for key, message in self.messages
                if not any(_within(key, other) for other in inherited)
            }


def _within(key: str, other: str) -> bool:
    """Return whether a key equals another or lies below it."""
    return key == other or key.startswith((f"{other}.", f"{other}["))


def _apply(raw: dict[str, Any], override: str, fail: Fail) -> None:
    """Apply one `key=value` to the raw recipe."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        fail(override, "an override is key=value, for example training.max_steps=5")
        return
    try:
        value = parse(text) if text else None
    except YamlError:
        value = text
    place = raw
    path, *others = _paths(Study, raw, key.split("."))
    if others:
        readings = " or ".join(" > ".join(keys) for keys in (path, *others))
        fail(key, f"may mean {readings}, which both exist. Edit the file instead, or rename one of them")
        return
    known = raw.get(path[0])
    if path[0] in ("arms", "students", "teachers") and len(path) > 1 and isinstance(known, dict):
        # a new entry may have dots in its name; a field of a missing entry is a typo
        slip = len(path) > 2 or ("." in path[1] and not isinstance(value, dict))
        if slip and path[1] not in known:
            fail(key, f"the recipe has no '{path[1]}' among its {path[0]}{near(path[1], known)}")
            return
    for part in path[:-1]:
        inner = place.setdefault(part, {})
        if inner is None:
            inner = place[part] = {}
        if not isinstance(inner, dict):
            fail(key, f"'{part}' is not a mapping")
            return
        place = inner
    place[path[-1]] = value


def _paths(kind: Any, here: Any, parts: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the key paths that a dotted path may mean, at least one; several if it is ambiguous.

    `kind` and `here`: type and recipe value at this place. Names may contain dots (`llama-3.2-1b`): existing names are
    tried first, the longest before others; if several fit the type, all are returned.
    """
    here = here if isinstance(here, dict) else {}
    if dataclasses.is_dataclass(kind):
        head, rest = parts[0], parts[1:]
        return [(head, *path) for path in _paths(below(kind, head), here.get(head), rest)] if rest else [(head,)]
    whole = ".".join(parts)
    if len(parts) == 1 or (get_origin(kind) is not dict and kind is not Any):
        return [tuple(parts)]
    inner = below(kind, whole)
    keys = keys_of(inner)
    if not keys and inner is not Any:
        return [(whole,)]  # texts by name: the rest is all name
    known: list[tuple[str, ...]] = []
    fitting: list[tuple[str, ...]] = []
    for cut in range(len(parts), 0, -1):
        name, rest = ".".join(parts[:cut]), parts[cut:]
        if name in here:
            paths = [(name, *path) for path in _paths(inner, here[name], rest)] if rest else [(name,)]
            known += paths
            if not rest:
                fits = True
            elif keys:
                fits = rest[0] in keys and (len(rest) == 1 or get_origin(keys[rest[0]].kind) is dict)
            else:
                fits = isinstance(here[name], dict | None)
            fitting += paths if fits else []
    if known:
        return fitting or known[:1]
    cut = next((at for at, part in enumerate(parts) if at and part in keys), len(parts) if keys else 1)
    name, rest = ".".join(parts[:cut]), parts[cut:]
    return [(name, *path) for path in _paths(inner, None, rest)] if rest else [(name,)]


def resolved(study: Study) -> dict[str, Any]:
    """Return the whole recipe as JSON values with defaults; `load` of its YAML gives the same study."""
    return typing.cast(dict[str, Any], plain(study))


def plain(value: Any) -> Any:
    """Return a part of a recipe as JSON values with defaults."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {key_of(item.name): plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return value
