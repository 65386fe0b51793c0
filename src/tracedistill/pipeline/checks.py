"""Checks before anything is paid: keys, students, slow dtypes."""

from __future__ import annotations

import os
from collections.abc import Sequence

from tracedistill.engines import identity
from tracedistill.engines.sizes import local_folder
from tracedistill.errors import InputError
from tracedistill.pipeline.dtypes import COMPUTES, warn_of_slow
from tracedistill.pipeline.graph import Node
from tracedistill.pipeline.launch import launch as launch_nodes
from tracedistill.pipeline.nodes import Graph
from tracedistill.pipeline.revisions import pin_students
from tracedistill.pipeline.study_run import StudyRun
from tracedistill.recipes import SCRIPTED, StudentConfig, Study, TeacherConfig
from tracedistill.records import Message


def warn_if_slow(work: StudyRun, wanted: Sequence[Node]) -> None:
    """Warn of an explicit dtype that is slow on this machine."""
    warn_of_slow(work.declared, work.study, work.run.incomplete(wanted), work.screen)


def warn_if_absent(work: StudyRun, wanted: Sequence[Node]) -> None:
    """Warn if a model's vLLM is missing on this machine, before hours of training; cached answers need none."""
    from tracedistill.engines.vllm import vllm_program

    study = work.study
    models: dict[str, TeacherConfig | StudentConfig] = {
        f"teach:{name}": teacher for name, teacher in study.teachers.items()
    }
    models |= {
        node.name: study.students[node.student]
        for node in wanted
        if node.kind == "generate" and node.student is not None
    }
    called = [models[node.name] for node in work.run.incomplete(wanted) if node.name in models]
    for command in dict.fromkeys(config.vllm_command for config in called if config.engine == "vllm"):
        try:
            vllm_program(command)
        except InputError as error:
            work.screen.say(f"note: answers that are not in the cache will be missing: {error}")


def pin(work: StudyRun, study: Study, wanted: Sequence[Node]) -> bool:
    """Pin the commits of students to be loaded from the hub; return whether any was new."""
    if not any(identity.is_hub_id(student.model) for student in study.students.values() if student.base_url is None):
        return False
    if not work.run.incomplete(node for node in wanted if node.kind in ("preflight", *COMPUTES)):
        return False
    used = {study.student_of(arm) for arm in study.arms.values()}
    return pin_students(study, work.run.folder, sorted(used))


def check_keys(work: StudyRun, wanted: Sequence[Node]) -> None:
    """Raise InputError for a missing or unsendable key before another model has been paid."""
    from tracedistill.engines.secrets import read_key

    study = work.study
    variables: dict[str, str] = {}
    for node in wanted:
        model: TeacherConfig | StudentConfig | None = None
        if node.kind in ("teach", "validate"):
            name = node.of if node.kind == "teach" else study.validation.judge
            place, model = f"teachers.{name}", study.teachers.get(name)  # no teacher is named none
        elif node.kind == "generate" and node.student is not None:
            place, model = f"students.{node.student}", study.students[node.student]
        if model is not None and model.base_url is not None and not work.run.is_complete(node):
            variables.setdefault(model.key_env, place)
    for variable, place in variables.items():
        try:
            read_key(variable, os.environ)
        except InputError as error:
            raise InputError(f"{place}.{error}") from error


def check_machine(work: StudyRun, wanted: Sequence[Node]) -> None:
    """Raise InputError for attention, Liger or an optimizer that the recipe names and this machine lacks.

    Training would say the same, but after traces were paid for.
    """
    study, training = work.study, work.study.training
    if not (training.attention.startswith("flash") or training.liger == "on" or training.optimizer.startswith("paged")):
        return  # nothing is named that may be missing, and torch need not be loaded
    unmade = {node.student for node in work.run.incomplete(wanted) if node.kind == "train"}
    tuned = [study.students[name] for name in sorted(filter(None, unmade))]
    if not tuned:
        return
    from tracedistill.training.device import check_device
    from tracedistill.training.kernels import check_kernels

    for student in tuned:
        check_device(student, training)
        check_kernels(student, training, str(local_folder(student.model) or student.model))


def check_students(work: StudyRun, wanted: Sequence[Node], *, launch: bool = True, only_here: bool = False) -> None:
    """Raise InputError if a student cannot be tuned or evaluated, before a teacher is paid for its traces.

    `launch`: also try each student on a made-up row if an endpoint will be called; a launched process launches no
    others. `only_here`: skip students that would have to be downloaded.
    """
    study, todo = work.study, _teachers_to_call(work, wanted)
    if not todo:
        return
    for name in {node.of for node in wanted if node.kind == "preflight"}:
        model = study.students[name].model
        if not model.startswith(SCRIPTED) and not (only_here and local_folder(model) is None):
            from tracedistill.chat.rendering import prompt_ids
            from tracedistill.chat.templates import end_id
            from tracedistill.engines.tokenizers import tokenizer_of

            tokenizer = tokenizer_of(study.students[name])
            end_id(tokenizer)
            prompt_ids(tokenizer, (Message("user", "?"),), format=study.format)
    if launch and (trials := trials_to_make(work, wanted)):
        work.screen.say("students are tried on a synthetic row before a teacher is called")
        launch_nodes(work, "trial", trials)


def trials_to_make(work: StudyRun, wanted: Sequence[Node]) -> list[Node]:
    """Return the trials of students that are made before the first call of a teacher's endpoint; none without one."""
    called = any(teacher.base_url is not None for teacher in _teachers_to_call(work, wanted))
    return work.run.incomplete(Graph(work).trials(wanted)) if called else []


def _teachers_to_call(work: StudyRun, wanted: Sequence[Node]) -> list[TeacherConfig]:
    """Return the model teachers whose traces are not complete."""
    return [
        work.study.teachers[node.of]
        for node in work.run.incomplete(wanted)
        if node.kind == "teach" and work.study.teachers[node.of].kind == "model"
    ]
