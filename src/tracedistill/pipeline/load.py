"""Load a study from its recipe, and check what would make a later stage fail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tracedistill.chat.prompts import (
    PROMPTS,
    STUDENT_FIELDS,
    TEACHER_FIELDS,
    TEACHER_PROMPTS,
    field_fault,
    needs_plan,
    prompt_text,
)
from tracedistill.errors import InputError
from tracedistill.interventions import INTERVENTIONS, NO_TRACE, find_intervention, get_intervention
from tracedistill.pipeline.hardware import shipped
from tracedistill.recipes import OWN, Study
from tracedistill.recipes import load as load_recipe
from tracedistill.recipes.names import NamesOrPaths
from tracedistill.tasks import TASKS
from tracedistill.tasks.file.judge_choice import RULES


@dataclass(frozen=True, slots=True)
class LoadedStudy:
    """A study with the file and overrides it came from."""

    study: Study
    recipe: Path
    overrides: tuple[str, ...] = ()


def load(recipe: str | Path, overrides: Sequence[str] = ()) -> LoadedStudy:
    """Read a recipe with its overrides. Raises InputError that lists every error."""
    names = {
        "tasks": TASKS,
        "judges": {"auto", *RULES},
        "prompts": NamesOrPaths(PROMPTS),
        "teacher_prompts": NamesOrPaths(TEACHER_PROMPTS),
        "interventions": NamesOrPaths((*INTERVENTIONS, NO_TRACE)),
        "forced": NamesOrPaths((*INTERVENTIONS, OWN)),
        "rejected": NamesOrPaths((*INTERVENTIONS, OWN)),
    }
    if not Path(recipe).exists():
        recipe = shipped(Path(recipe)) or recipe  # the README's commands work in an empty folder
    study = _with_templates(load_recipe(Path(recipe), overrides, names), Path(recipe))
    _check_prompts(study, recipe)
    _check_interventions(study, recipe)
    for name, arm in study.arms.items():
        shows_plan = needs_plan(prompt_text(arm.prompt, study.prompts, PROMPTS))
        if arm.tune is not None and shows_plan:
            raise InputError(
                f"{recipe}: arms.{name}.prompt: a tuned arm is evaluated with the prompt it was trained "
                f"on, which has no plan. To show a plan to the tuned student, add another arm: {{adapter: "
                f"{name}, prompt: {arm.prompt}}}"
            )
        if shows_plan and arm.teacher is None and len(study.teachers) > 1:
            raise InputError(
                f"{recipe}: arms.{name}.teacher: required, because its prompt shows a plan and the study has several "
                "teachers"
            )
        if arm.vote and study.samples_of(name) * len(study.runs_of(name)) < 2:
            raise InputError(
                f"{recipe}: arms.{name}.vote: a vote needs several attempts per problem; set samples or plans"
            )
        if arm.plans > 1 and not shows_plan:
            raise InputError(f"{recipe}: arms.{name}.plans: the arm's prompt has no {{steps}}")
        for key, change in (("plan", arm.plan if shows_plan else None), ("forced", arm.forced)):
            if (known := find_intervention(change)) and not known.plans:
                raise InputError(
                    f"{recipe}: arms.{name}.{key}: '{change}' changes the answer to learn, so it cannot be "
                    "applied to a "
                    "trace"
                )
    for number, entry in enumerate(study.attribution):
        if entry.plan in (entry.gold, entry.again) or entry.gold == entry.again:
            raise InputError(f"{recipe}: attribution[{number}]: names the same arm twice")
        for label, arm in (("plan", study.arms[entry.plan]), ("gold", study.arms[entry.gold])):
            if not needs_plan(prompt_text(arm.prompt, study.prompts, PROMPTS)):
                raise InputError(
                    f"{recipe}: attribution[{number}].{label}: this arm's prompt has no {{steps}}; attribution "
                    "needs an arm that shows a plan"
                )
    return LoadedStudy(study, Path(recipe), tuple(overrides))


def _with_templates(study: Study, recipe: Path) -> Study:
    """Return the study with chat template files read in. Raises InputError if such a file is missing."""
    students = {}
    for name, student in study.students.items():
        template = student.chat_template
        students[name] = student
        if template is None or "{" in template:
            continue
        file = next((path for path in (Path(template), recipe.parent / template) if path.is_file()), None)
        if file is not None:
            try:
                students[name] = replace(student, chat_template=file.read_text(encoding="utf-8"))
            except (OSError, UnicodeDecodeError) as error:
                raise InputError(f"{recipe}: students.{name}.chat_template: {file} cannot be read: {error}") from error
        elif "/" in template or Path(template).suffix:
            raise InputError(f"{recipe}: students.{name}.chat_template: no file '{template}'")
    return replace(study, students=students)


def _check_interventions(study: Study, recipe: str | Path) -> None:
    """Import interventions from outside the package. Raises InputError if one cannot be imported."""
    for name, arm in study.arms.items():
        for key, change in (("tune", arm.tune), ("plan", arm.plan), ("forced", arm.forced), ("rejected", arm.rejected)):
            if change is not None and ":" in change:
                try:
                    get_intervention(change)
                except InputError as error:
                    raise InputError(f"{recipe}: arms.{name}.{key}: {error}") from error


def _check_prompts(study: Study, recipe: str | Path) -> None:
    """Raise InputError if one of the recipe's prompts has an unknown field, before anything is paid."""
    users: list[tuple[str, tuple[str, ...]]] = [(arm.prompt, STUDENT_FIELDS) for arm in study.arms.values()]
    users += [(teacher.prompt, TEACHER_FIELDS) for teacher in study.teachers.values()]
    faults = {}
    for name, fields in users:
        outside = name not in study.prompts and ":" in name
        if (name in study.prompts or outside) and (fault := field_fault(prompt_text(name, study.prompts, {}), fields)):
            faults[name] = f"{recipe}: prompt '{name}': {fault}" if outside else f"{recipe}: prompts.{name}: {fault}"
    if faults:
        raise InputError("\n".join(faults.values()))
