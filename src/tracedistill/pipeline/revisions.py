"""Pin the commits of hub ids: looked up once and stored in the run folder, for all processes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from tracedistill.engines.identity import is_hub_id, pin
from tracedistill.files import read_json, write_json
from tracedistill.recipes import StudentConfig, Study

PINS = "students.json"
"""File of the run folder: student -> model, revision in the recipe, commit."""


def pinned(study: Study, folder: Path) -> Study:
    """Return the study with branches and tags replaced by the commits pinned in its run folder."""
    known = read_json(folder / PINS) if (folder / PINS).exists() else {}
    students = {
        name: replace(student, revision=known[name]["commit"]) if _same(student, known.get(name)) else student
        for name, student in study.students.items()
    }
    return replace(study, students=students)


def pin_students(study: Study, folder: Path, names: Iterable[str]) -> bool:
    """Pin the commits of these students, downloading missing files; return whether any was new.

    `study` is the recipe's own. Raises InputError if the hub has no such model or revision, or cannot be reached.
    """
    known = read_json(folder / PINS) if (folder / PINS).exists() else {}
    new = {}
    for name in names:
        student = study.students[name]
        if student.base_url is None and is_hub_id(student.model) and not _same(student, known.get(name)):
            commit = pin(student.model, student.revision)
            new[name] = {"model": student.model, "revision": student.revision, "commit": commit}
    if new:
        write_json(folder / PINS, {**known, **new})
    return bool(new)


def _same(student: StudentConfig, entry: dict[str, str | None] | None) -> bool:
    return entry is not None and (entry["model"], entry["revision"]) == (student.model, student.revision)
