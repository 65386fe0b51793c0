"""Convert a recipe's task settings to a source of problems."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tracedistill.recipes import TaskConfig, ToleranceConfig
from tracedistill.tasks._base import Source


def source_of(config: TaskConfig, seed: int, find: Callable[[str], str] = str, size: int | None = None) -> Source:
    """Return the source of a recipe's problems; `find` resolves a path of the recipe."""
    tolerant = config.tolerance != ToleranceConfig()
    return Source(
        data_dir=None if config.data_dir is None else Path(find(config.data_dir)),
        path=None if config.path is None else find(config.path),
        columns=config.columns,
        judge=config.judge,
        relative=config.tolerance.relative if tolerant else None,
        absolute=config.tolerance.absolute if tolerant else None,
        labels=config.labels,
        instruction=config.instruction or "",
        first_choice=config.first_choice,
        seed=seed,
        size=size,
    )
