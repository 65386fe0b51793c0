"""Differences between two arms of a study: recipe fields, problems, hyperparameters and generation settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from tracedistill.report.format import number
from tracedistill.report.runs import ArmFacts
from tracedistill.report.sections.compared_arms import ComparedArm, Contrast, short, start_of
from tracedistill.report.sections.provenance import adapter_of, manifests_of_arm, mix_of
from tracedistill.report.sections.trace_differences import trace_differences

FACTORS = (
    "student", "teacher", "tune", "mix", "rationale_weight", "adapter", "served", "prompt", "plan", "plan_sample",
    "plans", "forced", "vote", "shots", "shots_with_traces", "method", "from", "context", "teacher_model", "reward",
    "rejected",
)  # fmt: skip
"""Arm fields that a study may vary."""
METHOD_SETTINGS = (
    "trace_weight", "format_weight", "num_generations", "rollout_temperature", "beta", "epsilon", "num_iterations",
    "rounds", "learning_rate", "epochs", "max_steps",
)  # fmt: skip
"""Arm fields that configure its method: they may differ if the method does."""
LIMITS = ("max_tokens", "samples", "temperature")
"""Arm fields that may vary along with another factor, but are confounded with it."""
NEEDED_BY = {"max_tokens": "forced", "samples": "vote", "temperature": "vote"}
"""Limit -> the factor that requires it: a forced answer is short, a vote needs different samples."""
NOT_OF_AN_ARM = ("accelerate_config", "launcher", "save_steps", "activation_checkpointing", "gradient_accumulation")
"""Training settings that affect time and memory, not what is learnt."""
LONGER = ("prompt", "student", "teacher", "plan", "plan_sample", "plans", "shots", "shots_with_traces", "forced")
"""Arm fields that change the text of the prompt."""


def differences_of(first: ComparedArm, second: ComparedArm) -> list[Contrast]:
    """Return all differences between two arms."""
    factors = _factors(first.arm, second.arm)
    contrasts = _declared(first, second, factors)
    contrasts += _problems(first, second)
    contrasts += _training(first, second, factors)
    for kind in ("tuned on", "shown", "forced"):
        contrasts += trace_differences(first, second, kind, factors)
    return contrasts + _generation(first, second, factors)


def _factors(first: ArmFacts, second: ArmFacts) -> list[str]:
    """Return the fields in which two arms' entries differ; `vote` and plans only if they apply."""
    names = [*FACTORS, *METHOD_SETTINGS, *LIMITS]
    first_settings = {**first.settings, "mix": mix_of(first), "student": first.student, "teacher": first.teacher}
    second_settings = {**second.settings, "mix": mix_of(second), "student": second.student, "teacher": second.teacher}
    return [name for name in names if first_settings.get(name) != second_settings.get(name)]


def _declared(first: ComparedArm, second: ComparedArm, factors: Sequence[str]) -> list[Contrast]:
    if "imported" in (first.arm.kind, second.arm.kind):
        return [Contrast("how they were made", first.arm.kind, second.arm.kind, "unknown, not checked", False)]
    contrasts = []
    first_settings = {**first.arm.settings, "student": first.arm.student, "teacher": first.arm.teacher}
    second_settings = {**second.arm.settings, "student": second.arm.student, "teacher": second.arm.teacher}
    main = [name for name in factors if name in FACTORS]
    for name in factors:
        if name in METHOD_SETTINGS and "method" in main:
            contrasts.append(
                Contrast(
                    name, short(first_settings.get(name)), short(second_settings.get(name)), "comes with method", False
                )
            )
            continue
        along = name in (*LIMITS, *METHOD_SETTINGS) and bool(main) and NEEDED_BY.get(name) not in main
        why = f"declared, but confounded with {', '.join(main)}" if along else "declared"
        contrasts.append(Contrast(name, short(first_settings.get(name)), short(second_settings.get(name)), why, along))
    return contrasts


def _problems(first: ComparedArm, second: ComparedArm) -> list[Contrast]:
    a, b = (made.view.attempts(made.arm.name) for made in (first, second))
    contrasts = []
    if a.ids != b.ids:
        common = len(set(a.ids) & set(b.ids))
        if common == len(a.ids) == len(b.ids):
            contrasts.append(Contrast("order of the problems", start_of(a.ids), start_of(b.ids), "not declared", True))
        else:
            text = f"not declared; {common} in common"
            contrasts.append(Contrast("test problems", len(a.ids), len(b.ids), text, True))
    seeds = [sorted({int(seed) for seed in np.unique(columns.seed)}) for columns in (a, b)]
    tuned = [adapter_of(made.view, made.arm) is not None for made in (first, second)]
    if all(tuned) and seeds[0] != seeds[1]:
        contrasts.append(Contrast("seeds of the adapters", short(seeds[0]), short(seeds[1]), "not declared", True))
    return contrasts


def _training(first: ComparedArm, second: ComparedArm, factors: Sequence[str]) -> list[Contrast]:
    settings = [_trained(made) for made in (first, second)]
    if not settings[0] or not settings[1]:
        return []
    contrasts = []
    for name in sorted({*settings[0], *settings[1]}):
        first_value, second_value = settings[0].get(name), settings[1].get(name)
        if first_value != second_value:
            if name in METHOD_SETTINGS and name in factors:
                continue  # reported as the arm's own
            of_student = name.startswith("student.") and "student" in factors
            why = "comes with student" if of_student else "not declared"
            contrasts.append(
                Contrast(f"training: {name}", short(first_value), short(second_value), why, not of_student)
            )
    return contrasts


def _trained(made: ComparedArm) -> dict[str, Any]:
    """Return hyperparameters, student and first seed of an arm's adapter, flat."""
    tuned = adapter_of(made.view, made.arm)
    manifests = [] if tuned is None else manifests_of_arm(made.view, "train", tuned.name)
    if not manifests:
        return {}
    params: Mapping[str, Any] = manifests[0].get("params", {})
    training = {key: value for key, value in params.get("training", {}).items() if key not in NOT_OF_AN_ARM}
    student = {f"student.{key}": value for key, value in params.get("student", {}).items()}
    return {**training, **student, "seed": params.get("seed")}


def _generation(first: ComparedArm, second: ComparedArm, factors: Sequence[str]) -> list[Contrast]:
    """Compare generation settings from the manifests, and the prompts' token counts."""
    contrasts = []
    settings = [_generation_settings(made) for made in (first, second)]
    comes: Mapping[str, Callable[[str], bool]] = {
        "prompt": lambda name: name.startswith("prompt"),
        "student": lambda name: name.startswith("student."),
    }
    if settings[0] and settings[1]:
        for name in sorted({*settings[0], *settings[1]}):
            first_value, second_value = settings[0].get(name), settings[1].get(name)
            if first_value != second_value:
                by = next((factor for factor, fits in comes.items() if fits(name) and factor in factors), None)
                why = f"comes with {by}" if by else "not declared"
                contrasts.append(
                    Contrast(f"generation: {name}", short(first_value), short(second_value), why, by is None)
                )
    a, b = (made.view.attempts(made.arm.name) for made in (first, second))
    means = [float(c.tokens_in[c.tokens_in > 0].mean()) if np.any(c.tokens_in > 0) else 0.0 for c in (a, b)]
    if abs(means[0] - means[1]) > 0.5 / 100 * max(means) and "imported" not in (first.arm.kind, second.arm.kind):
        by = next((name for name in LONGER if name in factors), None)
        why = f"comes with {by}" if by else "not declared"
        contrasts.append(Contrast("prompt tokens, mean", number(means[0]), number(means[1]), why, by is None))
    return contrasts


def _generation_settings(made: ComparedArm) -> dict[str, Any]:
    manifests = manifests_of_arm(made.view, "generate", made.arm.name)
    if not manifests:
        return {}
    params: Mapping[str, Any] = manifests[0].get("params", {})
    flat = {key: params.get(key) for key in ("seed", "format", "prompt", "hint")}
    # an arm's samples and temperature override the study's and are among the arm's fields
    flat |= params.get("evaluation", {})
    return flat | {f"student.{key}": value for key, value in params.get("student", {}).items()}
