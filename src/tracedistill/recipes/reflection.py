"""Reflection on the schema: the keys of a record with their types, defaults and documentation."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass
from typing import Any, get_args, get_origin

from tracedistill.recipes.schema import key_of


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """One key of a record."""

    kind: Any
    """Its type, without None."""
    optional: bool
    """Whether it may be None."""
    default: Any
    """Default value; MISSING if the key is required."""
    names: str
    """List of names that its value is from (tasks, prompts, ...); empty: any value."""


@functools.cache
def keys_of(record: Any) -> Mapping[str, KeyInfo]:
    """Return the keys of a record in order; none for anything else."""
    if not dataclasses.is_dataclass(record):
        return {}
    hints = typing.get_type_hints(record)
    keys = {}
    for item in dataclasses.fields(record):
        default = item.default if item.default_factory is MISSING else item.default_factory()
        kind, names = hints[item.name], str(item.metadata.get("names", ""))
        keys[key_of(item.name)] = KeyInfo(bare(kind), bare(kind) is not kind, default, names)
    return keys


def bare(kind: Any) -> Any:
    """Return a type without its None."""
    if get_origin(kind) in (typing.Union, types.UnionType):
        return next(choice for choice in get_args(kind) if choice is not type(None))
    return kind


def below(kind: Any, part: str | int) -> Any:
    """Return the type under a key, a name or a number; Any if the schema does not say."""
    if isinstance(part, str) and part in keys_of(kind):
        return keys_of(kind)[part].kind
    arguments = get_args(kind)
    if get_origin(kind) is dict:
        return bare(arguments[1])
    return bare(arguments[0]) if get_origin(kind) is tuple else Any
