"""What one field of a recipe alone cannot tell: references between its parts, and numbers that make no sense."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection
from typing import Any

from tracedistill.recipes.schema import Study

NOT_A_NAME = "a name becomes a file name: use letters, digits, '-', '_' and '.', 100 characters at most"

Fail = Callable[[str, str], None]
"""(key, message): notes an error."""


def check(study: Study, fail: Fail) -> None:
    """What one field alone cannot tell."""
    if study.study is not None and not is_file_name(study.study):
        fail("study", NOT_A_NAME)
    arms = {name: arm for name, arm in study.arms.items() if arm is not None}  # None: reported already
    for name, arm in arms.items():
        for label, given, known in (
            ("student", arm.student, study.students),
            ("teacher", arm.teacher, study.teachers),
        ):
            if given is not None and given not in known:
                fail(f"arms.{name}.{label}", f"unknown {label} '{given}'{near(given, known)}")
            if given is None and len(known) > 1:
                fail(f"arms.{name}.{label}", f"the study has several {label}s; say which")
        if arm.max_tokens is not None and arm.max_tokens < 1:
            fail(f"arms.{name}.max_tokens", "must be at least 1")
        if arm.prompt == "few-shot" and arm.shots is not None and arm.shots < 1:
            fail(f"arms.{name}.shots", "must be at least 1")
        if arm.tune is not None and arm.prompt == "few-shot":
            fail(f"arms.{name}.prompt", "a tuned arm is asked as it was trained: few-shot is for untuned ones")
        if arm.plan == "none":
            fail(f"arms.{name}.plan", "'none' is no plan; take another prompt")
    if not study.arms:
        fail("arms", "a study needs at least one arm")
    if not study.students:
        fail("students", "a study needs at least one student")
    for pair in study.comparisons or ():
        if len(set(pair)) < len(pair):
            fail("comparisons", f"'{pair[0]}' is compared with itself")
        for name in pair:
            if name is not None and name not in study.arms:
                fail("comparisons", f"unknown arm '{name}'{near(name, study.arms)}")
    _check_teachers(study, fail)
    _check_judge(study, fail)
    _check_numbers(study, fail)


def _check_teachers(study: Study, fail: Fail) -> None:
    """What each kind of teacher needs."""
    for name, teacher in {name: teacher for name, teacher in study.teachers.items() if teacher is not None}.items():
        key = f"teachers.{name}"
        if teacher.kind == "recorded" and not teacher.path:
            fail(key, "a recorded teacher needs `path`")
        if teacher.kind == "model" and not teacher.model:
            fail(key, "a model teacher needs `model`")
        if teacher.kind == "student" and (teacher.student or next(iter(study.students), "")) not in study.students:
            fail(f"{key}.student", f"unknown student '{teacher.student}'{near(teacher.student, study.students)}")
        if teacher.source is not None and (teacher.source not in study.teachers or teacher.source == name):
            fail(f"{key}.source", f"unknown teacher '{teacher.source}'{near(teacher.source, study.teachers)}")
        if teacher.samples is not None and teacher.samples > 1 and not teacher.temperature:
            fail(f"{key}.samples", "several samples at temperature 0 are all alike; set temperature")
        if teacher.mode == "batch" and not teacher.base_url:
            fail(f"{key}.mode", "batch needs an endpoint: set base_url")
        needed = sorted({"model", "messages"} & set(teacher.omit or ()))
        if needed:
            fail(f"{key}.omit", f"'{needed[0]}' is what is asked; it cannot be left out")
        for field_name in ("max_tokens", "samples", "concurrency", "timeout"):
            value = getattr(teacher, field_name)
            if value is not None and value <= 0:
                fail(f"{key}.{field_name}", "must be above 0")


def _check_judge(study: Study, fail: Fail) -> None:
    """The judge is a model among the teachers."""
    name = study.validation.judge if study.validation is not None else None
    if name in (None, "none"):
        return
    teacher = study.teachers.get(str(name))
    if name not in study.teachers:
        fail("validation.judge", f"unknown teacher '{name}'{near(name, study.teachers)}; or none")
    elif teacher is not None and teacher.kind != "model":
        fail("validation.judge", f"'{name}' is a teacher of kind {teacher.kind}; a judge is of kind model")


_ABOVE_0 = ("must be above 0", lambda value: value > 0)
_NOT_BELOW_0 = ("must not be below 0", lambda value: value >= 0)
_SHARE = ("must lie between 0 and 1", lambda value: 0 <= value < 1)

BOUNDS: dict[str, tuple[str, Callable[[float], bool]]] = {
    **{
        f"training.{name}": _ABOVE_0
        for name in (
            "learning_rate", "epochs", "batch_size", "gradient_accumulation", "max_length", "lora_r", "lora_alpha",
            "save_steps",
        )
    },
    **{f"training.{name}": _NOT_BELOW_0 for name in ("warmup", "weight_decay", "max_grad_norm")},
    "training.lora_dropout": _SHARE,
    "training.max_steps": ("must be above 0, or -1 (as the epochs say)", lambda value: value > 0 or value == -1),
    "evaluation.batch_size": _ABOVE_0,
    "evaluation.samples": _ABOVE_0,
    "evaluation.temperature": _NOT_BELOW_0,
    "task.train": _ABOVE_0,
    "task.test": _ABOVE_0,
    "task.validation": _NOT_BELOW_0,
    "budget.usd": _NOT_BELOW_0,
    "budget.tokens": _NOT_BELOW_0,
    "budget.calls": _NOT_BELOW_0,
}  # fmt: skip
"""`section.field` -> (what it must be, test); None values are left alone."""


def _check_numbers(study: Study, fail: Fail) -> None:
    for key, (words, good) in BOUNDS.items():
        section, _, name = key.partition(".")
        value = getattr(getattr(study, section), name, None)
        if value is not None and not good(value):
            fail(key, words)
    evaluation = study.evaluation
    if evaluation is not None and (evaluation.samples or 1) > 1 and not evaluation.temperature:
        fail("evaluation.samples", "several samples at temperature 0 are all alike; set evaluation.temperature")


def is_file_name(name: Any) -> bool:
    """Whether a name can stand in a file name on every system; 100 characters leave room for endings."""
    if not isinstance(name, str) or not name.isprintable() or name.startswith(".") or set(name) & set('/\\:*?"<>| '):
        return False
    return 0 < len(name.encode("utf-8", "replace")) <= 100


def near(word: Any, known: Collection[Any]) -> str:
    """`; did you mean ...?` where something known is close, else nothing."""
    close = difflib.get_close_matches(str(word), [str(item) for item in known], n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""
