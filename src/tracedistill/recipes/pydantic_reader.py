"""Types of a recipe, checked by pydantic, with its errors reworded and the nearest key.

pydantic is imported when the first recipe is read, so importing the schema stays fast.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
from collections.abc import Collection, Mapping
from dataclasses import MISSING
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

from tracedistill.errors import InputError
from tracedistill.recipes.checks import Fail, near
from tracedistill.recipes.names import NOT_A_NAME, is_file_name, meant
from tracedistill.recipes.reflection import below, keys_of
from tracedistill.recipes.schema import Study

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from pydantic_core import ErrorDetails

Place = tuple[str | int, ...]
"""Keys and list indices, from the recipe down."""


@functools.cache
def adapter() -> TypeAdapter[Study]:
    """Return the adapter that validates recipes and describes them for editors."""
    from pydantic import TypeAdapter

    return TypeAdapter(Study)


class Prepared:
    """A recipe's values as JSON, with unambiguous ones converted: numbers, switches, empty records."""

    def __init__(self, raw: Mapping[str, Any], names: Mapping[str, Collection[str]], fail: Fail) -> None:
        """Prepare `raw`. `names`: known values of fields that name something; unknown ones are reported to `fail`."""
        self._names = names
        self._fail = fail
        self.values = self._value(Study, raw, "", "")

    def _value(self, kind: Any, value: Any, key: str, names: str) -> Any:
        known = keys_of(kind)
        if known and value is None:
            return {}
        if isinstance(value, dict):
            for name in value if get_origin(kind) is dict else ():
                if not is_file_name(name):
                    self._fail(f"{key}.{name}", NOT_A_NAME)
            return {
                str(name): self._value(
                    below(kind, name), item, f"{key}.{name}".strip("."), known[name].names if name in known else ""
                )
                for name, item in value.items()
            }
        if isinstance(value, list):
            return [self._value(below(kind, 0), item, f"{key}[{number}]", "") for number, item in enumerate(value)]
        if kind is float and isinstance(value, str):  # YAML 1.1 reads 2e-3 as text
            return _number(value)
        if get_origin(kind) is Literal and isinstance(value, bool):  # and a bare on or off as a bool
            word = "on" if value else "off"
            return word if word in get_args(kind) else value
        usual = self._names.get(names)
        dotted = names in ("tasks", "judges") and ":" in str(value)  # defined outside the package
        if isinstance(value, str) and usual is not None and value not in usual and not dotted:
            self._fail(key, f"unknown name '{value}'{near(value, usual)}; known: {', '.join(sorted(usual))}")
        return value if isinstance(value, str | int | float | None) else str(value)  # a date becomes its text


def validated(prepared: Prepared, fail: Fail) -> tuple[Study | None, list[str]]:
    """Return the study, and the keys of values of the wrong type.

    Each of these is reported to `fail` and replaced by a default, so that the rest can still be checked.
    """
    from pydantic import ValidationError

    try:
        return adapter().validate_json(json.dumps(prepared.values)), []
    except ValidationError as error:
        errors = error.errors(include_url=False)
    keys, values = [], copy.deepcopy(prepared.values)
    for entry in errors:
        place = entry["loc"]
        if entry["type"] == "missing" and isinstance(place[-1], int):
            place = place[:-1]  # a pair is wrong as a whole
        keys.append(_key(place))
        fail(keys[-1], _in_words(place, entry, _at(prepared.values, place)))
        _replace(values, place)
    try:
        return adapter().validate_json(json.dumps(values)), keys
    except ValidationError:
        return None, keys


WANTED = {
    "int_type": "must be a whole number", "float_type": "must be a number", "string_type": "must be text",
    "bool_type": "must be true or false", "finite_number": "must be a finite number", "tuple_type": "must be a list",
    "dict_type": "must be a mapping of names",
}  # fmt: skip
"""pydantic's name of an error -> what the value must be."""


BOUNDS = {
    "greater_than": "must be above {gt:g}", "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be below {lt:g}", "less_than_equal": "must be at most {le:g}",
}  # fmt: skip
"""pydantic's name of an error -> the bound that the value must keep."""


def check_section(section: Any, what: str) -> None:
    """Raise InputError that lists every number of a section out of bounds; for sections that code has built."""
    from pydantic import TypeAdapter, ValidationError

    try:
        TypeAdapter(type(section)).validate_python(dataclasses.asdict(section))
    except ValidationError as error:
        faults = [(_key(entry["loc"]), _bound(entry), entry["input"]) for entry in error.errors(include_url=False)]
        listed = "; ".join(f"{key} {words}, got {value!r}" for key, words, value in faults)
        raise InputError(f"{what}: {listed}") from error


def _bound(entry: ErrorDetails) -> str:
    """Return the bound that a value does not keep, or pydantic's message of another error."""
    words = BOUNDS.get(entry["type"])
    return entry["msg"] if words is None else words.format_map(entry.get("ctx", {}))


def _in_words(place: Place, entry: ErrorDetails, value: Any) -> str:
    """Return the message for a user."""
    kind, error = _kind_at(place), entry["type"]
    if error == "unexpected_keyword_argument":
        known = keys_of(_kind_at(place[:-1]))
        return f"unknown key{meant(place[-1], known) or near(place[-1], known)}"
    if get_origin(kind) is tuple and error in ("missing", "too_long"):
        return f"must have {len(get_args(kind))} values, got {len(value)}"
    if error == "missing":
        return "is missing"
    if error == "literal_error":
        allowed = get_args(kind)
        return f"'{value}' is not one of {', '.join(map(str, allowed))}{near(value, allowed)}"
    if error == "dataclass_type":
        return f"must be a mapping with keys {', '.join(keys_of(kind))}; got {value!r}"
    if error in BOUNDS:
        return f"{_bound(entry)}, got {value!r}"
    return f"{WANTED[error]}, got {value!r}" if error in WANTED else entry["msg"]


def _key(place: Place) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).removeprefix(".")


def _at(values: Any, place: Place) -> Any:
    """Return the value at a place, or None."""
    for part in place:
        try:
            values = values[part]
        except (KeyError, IndexError, TypeError):
            return None
    return values


def _replace(values: Any, place: Place) -> None:
    """Replace a value by a valid one: None if allowed, else the smallest of its type."""
    *above, last = place
    holder, key = _at(values, tuple(above)), keys_of(_kind_at(tuple(above))).get(str(last))
    if isinstance(holder, dict) and (key.default is not MISSING if key else keys_of(_kind_at(tuple(above)))):
        holder.pop(last, None)
    elif isinstance(holder, dict | list):
        holder[last] = _least(_kind_at(place))  # type: ignore[index]


def _least(kind: Any) -> Any:
    if known := keys_of(kind):
        return {name: _least(key.kind) for name, key in known.items() if key.default is MISSING}
    if get_origin(kind) is tuple:
        return [] if get_args(kind)[-1] is Ellipsis else [_least(part) for part in get_args(kind)]
    return {} if get_origin(kind) is dict else {str: "-", int: 1, float: 1.0}.get(kind)


def _kind_at(place: Place) -> Any:
    return functools.reduce(below, place, Study)


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text
