"""The tasks by name: one file each. A task that lives elsewhere is given by dotted path, `package.module:Class`."""

from __future__ import annotations

from tracedistill.dotted import import_object
from tracedistill.errors import InputError
from tracedistill.tasks.base import ParsedTrace, Policy, Source, Task

__all__ = ["TASKS", "ParsedTrace", "Policy", "Source", "Task", "get_task"]

TASKS: dict[str, str] = {
    "acre": "tracedistill.tasks.acre:Acre",
    "arc_agi": "tracedistill.tasks.arc_agi:ArcAgi",
    "arc_challenge": "tracedistill.tasks.arc_challenge:ArcChallenge",
    "babi": "tracedistill.tasks.babi:Babi",
    "commonsenseqa": "tracedistill.tasks.commonsenseqa:CommonsenseQA",
    "cotempqa": "tracedistill.tasks.cotempqa:CoTempQA",
    "file": "tracedistill.tasks.file:UserFile",
    "gsm8k": "tracedistill.tasks.gsm8k:Gsm8k",
    "math": "tracedistill.tasks.math:Math",
    "msmarco": "tracedistill.tasks.msmarco:MsMarco",
    "openbookqa": "tracedistill.tasks.openbookqa:OpenBookQA",
    "svamp": "tracedistill.tasks.svamp:Svamp",
}
"""Name -> `module:Class`; modules are imported when a task is asked for."""


def get_task(name: str) -> Task:
    """The task of this name or dotted path; InputError where there is none."""
    target = TASKS.get(name, name)
    if not target.partition(":")[2]:
        raise InputError(
            f"unknown task '{name}'; known: {', '.join(sorted(TASKS))}, or a dotted path package.module:Class"
        )
    try:
        found = import_object(target)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise InputError(f"task '{name}': cannot import {target}: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Task)):
        raise InputError(f"task '{name}': {target} is not a subclass of tracedistill.tasks.Task")
    try:
        return found()
    except TypeError as error:  # abstract methods missing, or arguments wanted
        raise InputError(f"task '{name}': {target} cannot be made: {error}") from error
