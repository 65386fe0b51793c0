"""Recipe checks of training methods, made before anything is paid or trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tracedistill.recipes.arm import OWN, TUNING, Arm
from tracedistill.recipes.schema import Study, key_of

Fail = Callable[[str, str], None]
"""(key, message): records an error."""


@dataclass(frozen=True, slots=True)
class Method:
    """Arm fields and properties of one method."""

    fields: tuple[str, ...]
    """Fields of an arm specific to the method."""
    draws: bool
    """Whether completions are drawn from the student."""
    imitates: bool
    """Whether the arm's rows are imitated: then `tune` may name any intervention."""


ALL = ("method", "from_", "learning_rate", "epochs", "max_steps")
"""Fields that every method takes."""
METHODS: dict[str, Method] = {
    "sft": Method((), draws=False, imitates=True),
    "self-imitation": Method(
        ("context", "reward", "num_generations", "rollout_temperature", "rounds"), draws=True, imitates=False
    ),
    "on-policy": Method(
        ("context", "teacher_model", "num_generations", "rollout_temperature", "beta"), draws=True, imitates=False
    ),
    "grpo": Method(
        (
            "reward", "trace_weight", "format_weight", "num_generations", "rollout_temperature", "beta", "epsilon",
            "num_iterations",
        ),
        draws=True,
        imitates=False,
    ),
    "dpo": Method(
        ("rejected", "reward", "num_generations", "rollout_temperature", "beta"), draws=False, imitates=True
    ),
}  # fmt: skip
"""Value of an arm's `method` -> its properties."""
DEFAULT_BETA = {"on-policy": 1.0, "grpo": 0.0, "dpo": 0.1}
"""Default `beta` per method: TRL's own."""


def beta_of(arm: Arm) -> float:
    """Return an arm's beta."""
    return DEFAULT_BETA[arm.method] if arm.beta is None else arm.beta


def draws(arm: Arm) -> bool:
    """Return whether completions are sampled during or before the arm's training."""
    return METHODS[arm.method].draws or arm.rejected == OWN


def judged(arm: Arm) -> bool:
    """Return whether judges decide what is learnt."""
    return arm.method in ("grpo", "self-imitation") or arm.rejected == OWN


def method_settings(arm: Arm) -> dict[str, Any]:
    """Return an arm's method settings by recipe key: its method, and values that differ from the default."""
    usual = Arm()
    changed = {key_of(field): getattr(arm, field) for field in TUNING if getattr(arm, field) != getattr(usual, field)}
    return {"method": arm.method, **changed}


def check_method(study: Study, name: str, arm: Arm, fail: Fail) -> None:
    """Check the method settings of one arm."""
    key, method = f"arms.{name}", METHODS[arm.method]
    usual = Arm()
    for field in TUNING:
        if field in ALL or field in method.fields or getattr(arm, field) == getattr(usual, field):
            continue
        users = [method for method, other in METHODS.items() if field in other.fields]
        fail(
            f"{key}.{key_of(field)}", f"only valid with method: {' or '.join(users)}; this arm has method: {arm.method}"
        )
    if arm.tune is None:
        for field in ALL:
            if getattr(arm, field) != getattr(usual, field):
                wanted = "set tune: correct (the student writes a trace) or none (the answer alone)"
                fail(f"{key}.{key_of(field)}", f"only valid in a tuned arm: {wanted}")
        return
    _check_numbers(key, arm, fail)
    if arm.method != "sft":
        _check_beside(study, key, arm, method, fail)
    _check_start(study, name, arm, fail)
    _check_context(study, key, arm, fail)
    _check_teacher_model(study, key, arm, fail)
    if arm.method == "dpo" and arm.rejected is None:
        fail(f"{key}.rejected", "dpo needs rejected: an intervention such as `incorrect`, or `own`")
    if arm.rejected is not None and arm.rejected == arm.tune:
        fail(f"{key}.rejected", f"must differ from the chosen completions (tune: {arm.tune})")
    if arm.tune == "none" and judged(arm) and arm.reward != "answer":
        fail(f"{key}.reward", f"{arm.reward}: the arm's student writes no trace (tune: none); set tune: correct")


def _check_numbers(key: str, arm: Arm, fail: Fail) -> None:
    if arm.method == "grpo" and arm.num_generations < 2:
        fail(f"{key}.num_generations", "must be at least 2: grpo compares the completions of a problem")
    if arm.method == "on-policy" and arm.beta is not None and arm.beta > 1:
        fail(f"{key}.beta", "must lie between 0 (forward divergence) and 1 (reverse)")
    if arm.method == "grpo" and arm.reward == "both" and not arm.trace_weight:
        fail(f"{key}.trace_weight", "0 rewards the answer alone: set reward: answer")


def _check_beside(study: Study, key: str, arm: Arm, method: Method, fail: Fail) -> None:
    """Check fields that methods other than imitation do not use."""
    if arm.mix:
        fail(f"{key}.mix", "only valid with method: sft, which imitates rows")
    if arm.rationale_weight is not None:
        fail(f"{key}.rationale_weight", "only valid with method: sft")
    if not method.imitates and arm.tune not in ("correct", "none"):
        fail(
            f"{key}.tune",
            f"'{arm.tune}': {arm.method} imitates no row; tune only says whether a trace is expected: correct or none",
        )
    training = study.training
    if training.method == "full":
        fail(f"{key}.method", f"{arm.method} trains an adapter: set training.method: lora, or method: sft")
    if training.lora_init in ("pissa", "pissa_niter_16", "olora"):
        fail(
            f"{key}.method",
            f"{arm.method} needs the unchanged base for comparison, and training.lora_init: {training.lora_init} "
            "changes it; use default",
        )
    if training.save_steps % arm.num_iterations:
        fail(
            f"{key}.num_iterations",
            f"training.save_steps ({training.save_steps}) must be a multiple of it: a resumed training starts with "
            "new completions",
        )


def _check_start(study: Study, name: str, arm: Arm, fail: Fail) -> None:
    """Check that training starts from another tuned arm of this student, without a cycle."""
    seen, source = [name], arm.from_
    if source is None:
        return
    lender = study.arms.get(source)
    key = f"arms.{name}.from"
    if source == name or lender is None or lender.tune is None:
        others = [tuned for tuned in study.tuned_arms() if tuned != name]
        fail(key, f"must name another tuned arm, got '{source}'; tuned arms: {', '.join(others) or 'none'}")
        return
    if study.student_of(lender) != study.student_of(arm):
        fail(key, f"'{source}' tunes another student")
    if study.training.method == "full":
        fail(key, "needs an adapter to start from, and training.method: full makes none")
    if study.training.lora_init != "default":
        fail(key, f"training.lora_init: {study.training.lora_init} would initialise the adapter again; use default")
    while source is not None:
        if source in seen:
            fail(key, f"arms start from each other in a cycle: {' -> '.join([*seen, source])}")
            return
        seen.append(source)
        following = study.arms.get(source)
        source = None if following is None else following.from_


def _check_context(study: Study, key: str, arm: Arm, fail: Fail) -> None:
    """Check that the teaching model's context is the prompt of an untuned arm of the same student."""
    if arm.method == "on-policy" and arm.context is None and arm.teacher_model is None:
        fail(
            f"{key}.context",
            "a student that learns from itself must be shown something: name an arm whose prompt shows a plan or "
            "examples, or a teacher_model",
        )
    if arm.context is None:
        return
    other = study.arms.get(arm.context)
    if other is None:
        fail(f"{key}.context", f"unknown arm '{arm.context}'; arms: {', '.join(study.arms)}")
    elif other.tune is not None or other.adapter is not None or other.served is not None or other.forced is not None:
        fail(f"{key}.context", f"'{arm.context}' is tuned or forced; name an arm in context")
    elif study.student_of(other) != study.student_of(arm):
        fail(f"{key}.context", f"'{arm.context}' uses another student")


def _check_teacher_model(study: Study, key: str, arm: Arm, fail: Fail) -> None:
    """Check that a teacher whose distribution is distilled runs locally, with its weights."""
    if arm.teacher_model is None:
        return
    teacher = study.students.get(arm.teacher_model)
    if teacher is None:
        fail(f"{key}.teacher_model", f"unknown student '{arm.teacher_model}'; students: {', '.join(study.students)}")
    elif teacher.base_url is not None:
        fail(f"{key}.teacher_model", "runs at an endpoint, which gives no distribution over all tokens")
    elif arm.teacher_model == study.student_of(arm):
        fail(f"{key}.teacher_model", "is the student itself: leave it out, and name a context")
