"""Load a study from its recipe, and check what would make a later stage fail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from tracedistill.chat.prompts import (
    PROMPTS,
    STUDENT_FIELDS,
    TEACHER_FIELDS,
    TEACHER_PROMPTS,
    field_fault,
    prompt_text,
    shows_plan,
)
from tracedistill.errors import InputError
from tracedistill.interventions import INTERVENTIONS, NO_TRACE, find_intervention, get_intervention
from tracedistill.pipeline.hardware import shipped
from tracedistill.recipes import OWN, Arm, Fail, Study
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
    return LoadedStudy(
        _with_templates(load_recipe(Path(recipe), overrides, names, partial(_check, Path(recipe))), Path(recipe)),
        Path(recipe),
        tuple(overrides),
    )


def _check(recipe: Path, study: Study, fail: Fail) -> None:
    """Check what a recipe names outside itself, and what its prompts show, before anything is paid."""
    for name, student in study.students.items():
        template = student.chat_template
        if template is not None and _names_file(template) and _template_file(recipe, template) is None:
            fail(f"students.{name}.chat_template", f"no file '{template}'")
    _check_prompts(study, fail)
    for name, arm in study.arms.items():
        _check_arm(study, name, arm, fail)
    for number, entry in enumerate(study.attribution):
        if entry.plan in (entry.gold, entry.again) or entry.gold == entry.again:
            fail(f"attribution[{number}]", "names the same arm twice")
        for label, given in (("plan", entry.plan), ("gold", entry.gold)):
            if given in study.arms and not shows_plan(study.arms[given].prompt, study.prompts):
                fail(
                    f"attribution[{number}].{label}",
                    "this arm's prompt has no {steps}; attribution needs an arm that shows a plan",
                )


def _check_arm(study: Study, name: str, arm: Arm, fail: Fail) -> None:
    """Check what one arm's prompt shows, and its interventions."""
    key, plan_shown = f"arms.{name}", shows_plan(arm.prompt, study.prompts)
    if arm.tune is not None and plan_shown:
        fail(
            f"{key}.prompt",
            "a tuned arm is evaluated with the prompt it was trained on, which has no plan. To show a plan to the "
            f"tuned student, add another arm: {{adapter: {name}, prompt: {arm.prompt}}}",
        )
    if arm.vote and study.samples_of(name) * len(study.runs_of(name)) < 2:
        fail(f"{key}.vote", "a vote needs several attempts per problem; set samples or plans")
    if arm.plans > 1 and not plan_shown:
        fail(f"{key}.plans", "the arm's prompt has no {steps}")
    for label, change in (("plan", arm.plan if plan_shown else None), ("forced", arm.forced)):
        if (known := find_intervention(change)) and not known.plans:
            fail(f"{key}.{label}", f"'{change}' changes the answer to learn, so it cannot be applied to a trace")
    for label, change in (("tune", arm.tune), ("plan", arm.plan), ("forced", arm.forced), ("rejected", arm.rejected)):
        if change is not None and ":" in change:
            try:
                get_intervention(change)
            except InputError as error:
                fail(f"{key}.{label}", str(error))


def _check_prompts(study: Study, fail: Fail) -> None:
    """Check the fields of the recipe's own prompts, and of those from outside."""
    users: dict[str, tuple[str, tuple[str, ...]]] = {
        f"arms.{name}.prompt": (arm.prompt, STUDENT_FIELDS) for name, arm in study.arms.items()
    }
    users |= {f"teachers.{name}.prompt": (teacher.prompt, TEACHER_FIELDS) for name, teacher in study.teachers.items()}
    for key, (name, fields) in users.items():
        if name not in study.prompts and ":" not in name:
            continue
        try:
            fault = field_fault(prompt_text(name, study.prompts, {}), fields)
        except InputError as error:
            fail(key, str(error))
            continue
        if fault:
            fail(f"prompts.{name}" if name in study.prompts else key, fault)


def _names_file(template: str) -> bool:
    """Return whether a chat template is given as a file; else it is a template, or the name of one."""
    return "{" not in template and ("/" in template or bool(Path(template).suffix))


def _template_file(recipe: Path, template: str) -> Path | None:
    return next((path for path in (Path(template), recipe.parent / template) if path.is_file()), None)


def _with_templates(study: Study, recipe: Path) -> Study:
    """Return the study with chat template files read in. Raises InputError if one cannot be read."""
    students = {}
    for name, student in study.students.items():
        template = student.chat_template
        students[name] = student
        file = None if template is None or "{" in template else _template_file(recipe, template)
        if file is not None:
            try:
                students[name] = replace(student, chat_template=file.read_text(encoding="utf-8"))
            except (OSError, UnicodeDecodeError) as error:
                raise InputError(f"{recipe}: students.{name}.chat_template: {file} cannot be read: {error}") from error
    return replace(study, students=students)
