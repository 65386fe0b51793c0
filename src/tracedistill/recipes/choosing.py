"""On which problems the page's decision chooses its arms: on validation problems, never on those that it is about.

An arm that is asked validation problems too has a second name, `<arm>.validation`: its plans, generations and attempts
of these lie under it, beside those of the test problems.
"""

from __future__ import annotations

from tracedistill.recipes.schema import Study

CHOOSE_ON = 100
"""Validation problems on which the arms of a decision about one's own data are chosen, at most."""
ON_VALIDATION = ".validation"


def choose_on(task: str, wanted: int | None) -> int:
    """Return on how many validation problems arms are chosen, at most; see `EvaluationConfig.choose_on`."""
    if wanted is not None:
        return wanted
    return CHOOSE_ON if task == "file" or ":" in task else 0


def candidates(study: Study) -> list[str]:
    """Return the arms among which the decision chooses on validation problems, in the recipe's order.

    Empty if there are no validation problems, if nothing is both tuned and prompted, or if each side is one arm.
    """
    if not choose_on(study.task.name, study.evaluation.choose_on) or study.task.validation == 0:
        return []
    fair = [name for name, arm in study.arms.items() if arm.forced is None]
    tuned = [name for name in fair if study.adapter_of(name) is not None or study.arms[name].served is not None]
    prompts: dict[str, list[str]] = {study.student_of(name): [] for name in tuned}
    for name in fair:
        student = study.student_of(name)
        if name not in tuned and student in prompts:
            prompts[student].append(name)
    if not any(prompts.values()):
        return []
    several = {name for side in (tuned, *prompts.values()) if len(side) > 1 for name in side}
    return [name for name in study.arms if name in several]


def on_validation(arm: str) -> str:
    """Return an arm's name for what is of validation problems."""
    return f"{arm}{ON_VALIDATION}"


def arm_asked(name: str) -> str:
    """Return the arm of such a name, or of its own, which never ends like it (`names.DERIVED`)."""
    return name.removesuffix(ON_VALIDATION)
