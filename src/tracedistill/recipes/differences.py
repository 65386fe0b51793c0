"""Compare the settings of two pieces of work; missing keys count as their defaults.

A new recipe key thus invalidates nothing, as long as its default is the earlier behaviour.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING
from typing import Any

from tracedistill.recipes.arm import Arm
from tracedistill.recipes.inputs import TaskConfig, TeacherConfig
from tracedistill.recipes.reader import plain
from tracedistill.recipes.reflection import below, keys_of
from tracedistill.recipes.schema import EvaluationConfig, ReviewConfig, StudentConfig, Study
from tracedistill.recipes.training import TrainingConfig

PARTS: Mapping[str, Any] = {
    "recipe": Study, "task": TaskConfig, "teacher": TeacherConfig, "student": StudentConfig,
    "training": TrainingConfig, "evaluation": EvaluationConfig, "parity": EvaluationConfig, "review": ReviewConfig,
    "arm": Arm, "arms": dict[str, Arm], "validation": {"model": TeacherConfig},
}  # fmt: skip
"""Name in a node's settings -> the part of the recipe it holds, or its parts by name."""


def differences(before: Any, now: Any, kind: Any = PARTS, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield (dotted key, value before, value now) of every setting that differs. `kind`: the type at `key`."""
    if not (isinstance(before, Mapping) and isinstance(now, Mapping)):
        if before != now:
            yield key, before, now
        return
    for name in dict.fromkeys((*now, *before)):
        inner, default = _part(kind, name)
        path = f"{key}.{name}" if key else name
        yield from differences(before.get(name, default), now.get(name, default), inner, path)


def _part(kind: Any, name: str) -> tuple[Any, Any]:
    """Return (the type under a name, its default); Nones if unknown."""
    if isinstance(kind, Mapping):
        return kind.get(name), None
    key = keys_of(kind).get(name)
    return below(kind, name), None if key is None or key.default is MISSING else plain(key.default)
