"""The tasks by name: one file each. A task that lives elsewhere is given by dotted path, `package.module:Class`."""

from __future__ import annotations

import importlib

from tracedistill.errors import InputError
from tracedistill.tasks.base import ParsedTrace, Policy, Source, Task

__all__ = ["TASKS", "ParsedTrace", "Policy", "Source", "Task", "get_task"]

TASKS: dict[str, str] = {
    "babi": "tracedistill.tasks.babi:Babi",
}
"""Name -> `module:Class`; modules are imported when a task is asked for."""


def get_task(name: str) -> Task:
    """The task of this name or dotted path; InputError where there is none."""
    target = TASKS.get(name, name)
    module_name, _, class_name = target.partition(":")
    if not class_name:
        raise InputError(
            f"unknown task '{name}'; known: {', '.join(sorted(TASKS))}, or a dotted path package.module:Class"
        )
    try:
        task = getattr(importlib.import_module(module_name), class_name)()
    except (ImportError, AttributeError) as error:
        raise InputError(f"task '{name}': cannot import {target}: {error}") from error
    if not isinstance(task, Task):
        raise InputError(f"task '{name}': {target} is not a subclass of tracedistill.tasks.Task")
    return task
