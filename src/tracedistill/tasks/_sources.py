"""What a recipe says of its problems, as the place that a task reads them from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tracedistill.recipes import TaskConfig, ToleranceConfig
from tracedistill.tasks._base import Source


def source_of(config: TaskConfig, seed: int, find: Callable[[str], str] = str, size: int | None = None) -> Source:
    """Return where the problems of a recipe are read from; `find` turns a path of the recipe into one from here."""
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
