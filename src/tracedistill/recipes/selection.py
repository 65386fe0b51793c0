"""Choose arms for the report's decision on validation problems, never on the test problems that it is about.

An arm that is also evaluated on validation problems has a second name, `<arm>.validation`, for the files of these.
"""

from __future__ import annotations

from tracedistill.recipes.schema import Study

CHOOSE_ON = 100
"""Most validation problems on which arms are chosen, with the user's own data."""
ON_VALIDATION = ".validation"


def choose_on(task: str, wanted: int | None) -> int:
    """Return the most validation problems on which arms are chosen; see `EvaluationConfig.choose_on`."""
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
    """Return an arm's name for files of validation problems."""
    return f"{arm}{ON_VALIDATION}"


def arm_of(name: str) -> str:
    """Return the arm of a name with or without `.validation`; no arm's own name ends so (`names.DERIVED`)."""
    return name.removesuffix(ON_VALIDATION)
