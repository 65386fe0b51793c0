"""The tasks by name, one file each. Other tasks are given by dotted path, `package.module:Class`."""

from __future__ import annotations

import sys
from pathlib import Path

from tracedistill.errors import InputError
from tracedistill.files import content_id, file_hash
from tracedistill.plugins import import_object
from tracedistill.tasks._base import ParsedTrace, Policy, Source, Task

__all__ = ["TASKS", "ParsedTrace", "Policy", "Source", "Task", "code_hash", "get_task", "module_hash"]

TASKS: dict[str, str] = {
    "acre": "tracedistill.tasks.acre.task:Acre",
    "arc_agi": "tracedistill.tasks.arc_agi:ArcAgi",
    "arc_challenge": "tracedistill.tasks.arc_challenge:ArcChallenge",
    "babi": "tracedistill.tasks.babi.task:Babi",
    "commonsenseqa": "tracedistill.tasks.commonsenseqa:CommonsenseQA",
    "cotempqa": "tracedistill.tasks.cotempqa.task:CoTempQA",
    "file": "tracedistill.tasks.file.task:UserFile",
    "gsm8k": "tracedistill.tasks.gsm8k:Gsm8k",
    "math": "tracedistill.tasks.math:Math",
    "msmarco": "tracedistill.tasks.msmarco:MsMarco",
    "openbookqa": "tracedistill.tasks.openbookqa:OpenBookQA",
    "svamp": "tracedistill.tasks.svamp:Svamp",
}
"""Name -> `module:Class`; modules are imported on demand."""


def code_hash(name: str) -> str:
    """Return a hash of the code of a task that lives outside the package; empty for the tasks of this package."""
    return "" if name in TASKS else module_hash(type(get_task(name)).__module__)


def module_hash(name: str) -> str:
    """Return a hash of the code of an imported module; of one in a package, all modules of that package count."""
    module = sys.modules[name]
    top = sys.modules[module.__name__.partition(".")[0]]
    folders = [Path(entry) for entry in getattr(top, "__path__", ())]
    files = [path for folder in folders for path in sorted(folder.rglob("*.py"))]
    own = getattr(module, "__file__", None)
    return content_id([file_hash(path) for path in files or ([Path(own)] if own else [])])


def get_task(name: str) -> Task:
    """Return the task of this name or dotted path. Raises InputError if there is none."""
    target = TASKS.get(name, name)
    if not target.partition(":")[2]:
        raise InputError(
            f"unknown task '{name}'; known: {', '.join(sorted(TASKS))}, or a dotted path package.module:Class"
        )
    try:
        task_class = import_object(target)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise InputError(f"task '{name}': cannot import {target}: {error}") from error
    if not (isinstance(task_class, type) and issubclass(task_class, Task)):
        raise InputError(f"task '{name}': {target} is not a subclass of tracedistill.tasks.Task")
    try:
        return task_class()
    except TypeError as error:  # abstract methods missing, or arguments required
        raise InputError(f"task '{name}': {target} cannot be made: {error}") from error
