"""YAML to frozen dataclasses, strictly: every error at once, with file, line, key and the nearest valid key."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import yaml

from tracedistill.errors import InputError
from tracedistill.recipes.checks import check, near
from tracedistill.recipes.documents import YamlError, compose, parse
from tracedistill.recipes.grid import Cell, spread_grid
from tracedistill.recipes.names import NOT_A_NAME, is_file_name, meant
from tracedistill.recipes.schema import Study, key_of


def load(path: Path, overrides: Sequence[str] = (), names: Mapping[str, Collection[str]] | None = None) -> Study:
    """Read a recipe and apply `key=value` overrides (dotted keys; values are YAML).

    `names` gives the known values of fields that name something (tasks, prompts, interventions).
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
    reader = _Reader()
    reader.note_lines(node, "")
    for override in overrides:
        reader.apply(raw, override)
    reader.names = _with_own_prompts(names or {}, raw)  # those of the overrides too
    spread, grids = spread_grid(_spread_base(raw))
    reader.note_cells(grids)
    study = reader.read(Study, spread, "")
    reader.forget_inherited(raw)
    if isinstance(study, Study):
        check(study, reader.fail)
    if reader.errors:
        shown = "\n".join(f"  {error}" for error in reader.errors)
        count = len(reader.errors)
        raise InputError(f"{path}: {count} error{'s' if count > 1 else ''} in the recipe\n{shown}")
    return typing.cast(Study, study)


def _with_own_prompts(names: Mapping[str, Collection[str]], raw: Mapping[str, Any]) -> dict[str, Collection[str]]:
    own = raw.get("prompts")
    added = {str(name) for name in own} if isinstance(own, dict) else set()
    return {key: {*known, *added} if key.endswith("prompts") else known for key, known in names.items()}


def _spread_base(raw: dict[str, Any]) -> dict[str, Any]:
    """Every arm as base updated by its differences."""
    base, arms = raw.get("base"), raw.get("arms")
    if not isinstance(arms, dict):
        return raw
    base = base if isinstance(base, dict) else {}
    spread = {name: {**base, **(arm or {})} if isinstance(arm, dict | None) else arm for name, arm in arms.items()}
    return {**raw, "arms": spread}


class _Reader:
    """Turns YAML values into dataclasses and collects every error on the way."""

    def __init__(self) -> None:
        self.names: Mapping[str, Collection[str]] = {}
        self.errors: list[str] = []
        self.lines: dict[str, int] = {}

    def fail(self, key: str, message: str) -> None:
        line = self.lines.get(key)
        error = f"{key or 'recipe'}{f' (line {line})' if line else ''}: {message}"
        if error not in self.errors:
            self.errors.append(error)

    def note_lines(self, node: yaml.Node | None, prefix: str) -> None:
        """Remember the line of every key, and report keys that stand twice (YAML would keep the last silently)."""
        if not isinstance(node, yaml.MappingNode) or prefix.count(".") > 8:  # deeper than any key
            return
        seen = set()
        for key_node, value in node.value:
            key = f"{prefix}{key_node.value}"
            self.lines[key] = key_node.start_mark.line + 1
            if key in seen:
                self.fail(key, "stands twice")
            seen.add(key)
            self.note_lines(value, f"{key}.")

    def note_cells(self, grids: Mapping[str, Sequence[Cell]]) -> None:
        """The cells of a grid stand where their arm stands."""
        for name, cells in grids.items():
            for key in [key for key in self.lines if key == f"arms.{name}" or key.startswith(f"arms.{name}.")]:
                for cell in cells:
                    self.lines[key.replace(f"arms.{name}", f"arms.{cell.name}", 1)] = self.lines[key]

    def forget_inherited(self, raw: Mapping[str, Any]) -> None:
        """An error in `base` is told there, not once more for every arm that inherits it."""
        base, arms = raw.get("base"), raw.get("arms")
        if not isinstance(base, dict) or not isinstance(arms, dict):
            return
        for name, arm in arms.items():
            own = arm if isinstance(arm, dict) else {}
            inherited = tuple(f"arms.{name}.{key}:" for key in base if key not in own)
            self.errors = [error for error in self.errors if not error.startswith(inherited)]

    def apply(self, raw: dict[str, Any], override: str) -> None:
        """Put one `key=value` into the raw recipe."""
        key, equals, text = override.partition("=")
        if not equals or not key:
            self.fail(override, "an override is key=value, for example training.max_steps=5")
            return
        try:
            value = parse(text) if text else None
        except YamlError:
            value = text
        place = raw
        path, *others = _paths(Study, raw, key.split("."))
        if others:
            told = " or ".join(" > ".join(each) for each in (path, *others))
            self.fail(key, f"may mean {told}, which both stand there; change it in the file, or rename one")
            return
        known = raw.get(path[0])
        if path[0] in ("arms", "students", "teachers") and len(path) > 1 and isinstance(known, dict):
            # a whole new one may have dots in its name; a field of one that is not there is a slip
            slip = len(path) > 2 or ("." in path[1] and not isinstance(value, dict))
            if slip and path[1] not in known:
                self.fail(key, f"the recipe has no '{path[1]}' among its {path[0]}{near(path[1], known)}")
                return
        for part in path[:-1]:
            inner = place.setdefault(part, {})
            if inner is None:
                inner = place[part] = {}
            if not isinstance(inner, dict):
                self.fail(key, f"'{part}' is not a mapping")
                return
            place = inner
        place[path[-1]] = value

    def read(self, kind: Any, value: Any, key: str, metadata: Mapping[str, Any] = types.MappingProxyType({})) -> Any:
        """The value as this type; errors are collected, and None stands for what could not be read."""
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            return self._record(kind, value, key)
        origin, arguments = get_origin(kind), get_args(kind)
        if origin in (typing.Union, types.UnionType):
            if value is None:
                return None
            inner = next(argument for argument in arguments if argument is not type(None))
            return self.read(inner, value, key, metadata)
        if origin is Literal:
            if value not in arguments:
                self.fail(key, f"'{value}' is not one of {', '.join(map(str, arguments))}{near(value, arguments)}")
            return value
        if origin is dict:
            return self._mapping(arguments[1], value, key)
        if kind is Any:
            return value
        if origin is tuple:
            return self._sequence(arguments, value, key)
        return self._scalar(kind, value, key, metadata)

    def _record(self, kind: Any, value: Any, key: str) -> Any:
        if value is None:
            value = {}
        if not isinstance(value, dict):
            self.fail(key, f"wants keys ({', '.join(key_of(item.name) for item in fields(kind))}), got {value!r}")
            return None
        hints = typing.get_type_hints(kind)
        known = {key_of(item.name): item for item in fields(kind)}
        out = {}
        for name, item in value.items():
            path = f"{key}.{name}" if key else str(name)
            if name not in known:
                self.fail(path, f"unknown key{meant(name, known) or near(name, known)}")
                continue
            field = known[name]
            out[field.name] = self.read(hints[field.name], item, path, field.metadata)
        for name, item in known.items():
            required = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
            if required and name not in value:
                self.fail(f"{key}.{name}" if key else name, "is missing")
                out[item.name] = {} if get_origin(hints[item.name]) is dict else None
        return kind(**out)

    def _mapping(self, inner: Any, value: Any, key: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            self.fail(key, f"wants a mapping of names, got {value!r}")
            return {}
        for name in value:
            if not is_file_name(name):
                self.fail(f"{key}.{name}", NOT_A_NAME)
        return {str(name): self.read(inner, item, f"{key}.{name}") for name, item in value.items()}

    def _sequence(self, arguments: tuple[Any, ...], value: Any, key: str) -> tuple[Any, ...]:
        if not isinstance(value, list):
            self.fail(key, f"wants a list, got {value!r}")
            return ()
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return tuple(self.read(arguments[0], item, f"{key}[{index}]") for index, item in enumerate(value))
        if len(value) != len(arguments):
            self.fail(key, f"wants {len(arguments)} values, got {len(value)}")
            return ()
        return tuple(self.read(kind, item, key) for kind, item in zip(arguments, value, strict=True))

    def _scalar(self, kind: Any, value: Any, key: str, metadata: Mapping[str, Any]) -> Any:
        if kind is float and isinstance(value, str):  # YAML 1.1 reads 2e-3 as a string
            try:
                value = float(value)
            except ValueError:
                self.fail(key, f"wants a number, got {value!r}")
                return None
        if kind is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 1023:
            value = float(value)
        if isinstance(value, float) and not math.isfinite(value):
            self.fail(key, f"wants a finite number, got {value!r}")
            return None
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            wanted = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}[kind]
            self.fail(key, f"wants {wanted}, got {value!r}")
            return None
        known = self.names.get(metadata.get("names", ""))
        dotted = metadata.get("names") in ("tasks", "judges") and ":" in str(value)  # one that lives elsewhere
        if known is not None and value not in known and not dotted:
            self.fail(key, f"unknown name '{value}'{near(value, known)}; known: {', '.join(sorted(known))}")
        return value


def _paths(kind: Any, here: Any, parts: Sequence[str]) -> list[tuple[str, ...]]:
    """The keys that a dotted path stands for, at least one list of them; several: it may mean each of these.

    `kind` and `here`: the type at this place, and what the recipe has there. Names may hold dots (`llama-3.2-1b`):
    those that the recipe has come first, of them the longest; where several fit the type, all are returned.
    """
    here = here if isinstance(here, dict) else {}
    if dataclasses.is_dataclass(kind):
        head, rest = parts[0], parts[1:]
        inner = typing.get_type_hints(kind).get(head, Any)
        return [(head, *path) for path in _paths(inner, here.get(head), rest)] if rest else [(head,)]
    whole = ".".join(parts)
    if len(parts) == 1 or (get_origin(kind) is not dict and kind is not Any):
        return [tuple(parts)]
    inner = Any if kind is Any else get_args(kind)[1]
    keys = typing.get_type_hints(inner) if dataclasses.is_dataclass(inner) else {}
    if not keys and inner is not Any:
        return [(whole,)]  # texts by name: what follows is all name
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
                fits = rest[0] in keys and (len(rest) == 1 or get_origin(keys[rest[0]]) is dict)
            else:
                fits = isinstance(here[name], dict | None)
            fitting += paths if fits else []
    if known:
        return fitting or known[:1]
    cut = next((at for at, part in enumerate(parts) if at and part in keys), len(parts) if keys else 1)
    name, rest = ".".join(parts[:cut]), parts[cut:]
    return [(name, *path) for path in _paths(inner, None, rest)] if rest else [(name,)]


def resolved(study: Study) -> dict[str, Any]:
    """The whole recipe as JSON values, defaults spelt out; `load` of its YAML gives the same study."""
    return typing.cast(dict[str, Any], plain(study))


def plain(value: Any) -> Any:
    """A part of a recipe as JSON values, defaults spelt out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {key_of(item.name): plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return value
