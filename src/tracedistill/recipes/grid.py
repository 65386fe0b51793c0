"""Grids: an arm that names several teachers or students expands to one arm each, with plans held fixed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

AXES = {"student": "students", "teacher": "teachers"}
"""Field of an arm -> section of the recipe with its names, in the order used in an expanded arm's name."""

REFERENCES = ("adapter", "from", "context")
"""Fields of an arm that name another arm."""


@dataclass(frozen=True, slots=True)
class GridArm:
    """One arm of a grid."""

    name: str
    """`<arm>@<student>`, `<arm>@<teacher>` or `<arm>@<student>+<teacher>`."""
    at: Mapping[str, str]
    """Its student and teacher, if the grid varies them."""


def spread_grid(raw: dict[str, Any]) -> tuple[dict[str, Any], dict[str, list[GridArm]]]:
    """Return (the recipe with one arm per cell, arm -> its cells).

    `student: all` or `student: [a, b]`, likewise for teachers.

    References to such an arm (adapter, comparisons, attribution) become references to the cell of the same student and
    teacher. Invalid values are left for the reader to report.
    """
    arms = raw.get("arms")
    if not isinstance(arms, dict):
        return raw, {}
    cells = {name: _cells(str(name), arm, raw) for name, arm in arms.items()}
    places: dict[str, dict[str, str]] = {
        cell.name: {axis: str(arm[axis]) for axis in AXES if isinstance(arm.get(axis), str)} | dict(cell.at)
        for name, arm in arms.items()
        if isinstance(arm, dict)
        for cell in cells[name]
    }
    grids = {name: spread for name, spread in cells.items() if any(cell.at for cell in spread)}
    if not grids:
        return raw, {}
    spread: dict[str, Any] = {}
    for name, arm in arms.items():
        for cell in cells[name]:
            spread[cell.name] = {**arm, **cell.at} if cell.at else arm
            for key in REFERENCES if isinstance(arm, dict) else ():
                reference = spread[cell.name].get(key)
                if isinstance(reference, str) and reference in grids:
                    place = _same_place(grids[reference], places[cell.name], reference)
                    spread[cell.name] = {**spread[cell.name], key: place}
            mix = spread[cell.name].get("mix") if isinstance(arm, dict) else None
            if isinstance(mix, dict) and not grids.keys().isdisjoint(mix):
                at = places[cell.name]
                named = {_same_place(grids[key], at, key) if key in grids else key: mix[key] for key in mix}
                spread[cell.name] = {**spread[cell.name], "mix": named}
    return {**raw, "arms": spread, **_plain_base(raw), **_references(raw, cells, places)}, grids


def _cells(name: str, arm: Any, raw: Mapping[str, Any]) -> list[GridArm]:
    places: list[dict[str, str]] = [{}]
    if isinstance(arm, dict):
        for axis, listed in AXES.items():
            value = arm.get(axis)
            known = raw.get(listed)
            if value == "all" and isinstance(known, dict) and "all" not in known:
                value = list(known)
            if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
                places = [{**place, axis: item} for place in places for item in value]
    return [GridArm(f"{name}@{'+'.join(place.values())}" if place else name, place) for place in places]


def _same_place(cells: list[GridArm], at: Mapping[str, str], name: str) -> str:
    """Return the cell that matches a place on all shared axes; the plain name if it is not a grid."""
    names = [cell.name for cell in cells if all(at.get(axis, value) == value for axis, value in cell.at.items())]
    return names[0] if len(names) == 1 else name


def _plain_base(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return the base without the axes that the grid has spread."""
    base = raw.get("base")
    if not isinstance(base, dict):
        return {}
    return {"base": {key: value for key, value in base.items() if key not in AXES or not _varies(value)}}


def _varies(value: Any) -> bool:
    return value == "all" or isinstance(value, list)


def _references(
    raw: Mapping[str, Any], cells: Mapping[str, list[GridArm]], places: Mapping[str, Mapping[str, str]]
) -> dict[str, Any]:
    changed: dict[str, Any] = {}
    pairs = raw.get("comparisons")
    if isinstance(pairs, list):
        changed["comparisons"] = [other for pair in pairs for other in _pairs(pair, cells, places)]
    entries = raw.get("attribution")
    if isinstance(entries, list):
        changed["attribution"] = [other for entry in entries for other in _entries(entry, cells)]
    return changed


def _pairs(pair: Any, cells: Mapping[str, list[GridArm]], places: Mapping[str, Mapping[str, str]]) -> list[Any]:
    """Return the comparable pairs of cells: of one student and, if both vary the teacher, of one teacher."""
    if (
        not isinstance(pair, list)
        or len(pair) != 2
        or not all(isinstance(name, str) and name in cells for name in pair)
    ):
        return [pair]
    return [
        [first.name, second.name]
        for first in cells[pair[0]]
        for second in cells[pair[1]]
        if first.name != second.name
        and _agree(first.at, second.at)
        and _agree(_student(places, first), _student(places, second))
    ]


def _entries(entry: Any, cells: Mapping[str, list[GridArm]]) -> list[Any]:
    if not isinstance(entry, dict) or entry.get("plan") not in cells:
        return [entry]
    return [
        {
            key: _same_place(cells[name], cell.at, name) if isinstance(name, str) and name in cells else name
            for key, name in {**entry, "plan": cell.name}.items()
        }
        for cell in cells[entry["plan"]]
    ]


def _student(places: Mapping[str, Mapping[str, str]], cell: GridArm) -> dict[str, str]:
    place = places.get(cell.name, {})
    return {"student": place["student"]} if "student" in place else {}


def _agree(first: Mapping[str, str], second: Mapping[str, str]) -> bool:
    return all(second.get(axis, value) == value for axis, value in first.items())
