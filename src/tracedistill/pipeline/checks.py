"""What is looked at before anything is paid: keys, students, slow dtypes."""

from __future__ import annotations

import os
from collections.abc import Sequence

from tracedistill.engines import identity
from tracedistill.engines.scripted import SCRIPTED
from tracedistill.errors import InputError
from tracedistill.pipeline.dtypes import warn_of_slow
from tracedistill.pipeline.graph import Node
from tracedistill.pipeline.launch import launch as launch_nodes
from tracedistill.pipeline.nodes import Graph
from tracedistill.pipeline.revisions import pin_students
from tracedistill.pipeline.study_run import StudyRun
from tracedistill.recipes import StudentConfig, Study, TeacherConfig
from tracedistill.records import Message


def warn_if_slow(work: StudyRun, wanted: Sequence[Node]) -> None:
    """Warn of an explicit dtype that is slow on this machine."""
    unmade = [node for node in wanted if work.run.state(node).kind != "complete"]
    warn_of_slow(work.asked, work.study, unmade, work.screen)


def pin(work: StudyRun, study: Study, wanted: Sequence[Node]) -> bool:
    """Keep the commits of the students that will be loaded from the hub; whether any was new."""
    if not any(identity.is_hub_id(student.model) for student in study.students.values() if student.base_url is None):
        return False
    kinds = ("preflight", "train", "parity", "generate")
    todo = [node for node in wanted if node.name.partition(":")[0] in kinds]
    if all(work.run.state(node).kind == "complete" for node in todo):
        return False
    used = {study.student_of(arm) for arm in study.arms.values()}
    return pin_students(study, work.run.folder, sorted(used))


def check_keys(work: StudyRun, wanted: Sequence[Node]) -> None:
    """Raise InputError for a key that is missing or cannot be sent: not first when another model has been paid."""
    from tracedistill.engines.secrets import read_key

    study = work.study
    judge = study.validation.judge
    asked: dict[str, tuple[str, TeacherConfig | StudentConfig]] = {}
    for name, teacher in study.teachers.items():
        asked[f"teach:{name}"] = f"teachers.{name}", teacher
        if judge != "none":
            asked[f"validate:{name}"] = f"teachers.{judge}", study.teachers[judge]
    for name, arm in study.arms.items():
        student = study.student_of(arm)
        asked |= {f"generate:{run}": (f"students.{student}", study.students[student]) for run in study.runs_of(name)}
    variables: dict[str, str] = {}
    for node in wanted:
        place, config = asked.get(node.name, ("", None))
        if config is not None and config.base_url is not None and work.run.state(node).kind != "complete":
            variables.setdefault(config.key_env, place)
    for variable, place in variables.items():
        try:
            read_key(variable, os.environ)
        except InputError as error:
            raise InputError(f"{place}.{error}") from error


def check_students(work: StudyRun, wanted: Sequence[Node], *, launch: bool = True) -> None:
    """Raise InputError if a student cannot be tuned or evaluated, before a teacher is paid for its traces.

    `launch`: also try each student on a made row, where an endpoint is to be asked; a launched process launches no
    others.
    """
    study = work.study
    models = {f"teach:{name}": teacher for name, teacher in study.teachers.items() if teacher.kind == "model"}
    todo = [node for node in wanted if node.name in models and work.run.state(node).kind != "complete"]
    if not todo:
        return
    for name in {node.name.partition(":")[2] for node in wanted if node.name.startswith("preflight:")}:
        if not study.students[name].model.startswith(SCRIPTED):
            from tracedistill.chat.rendering import end_id, prompt_ids
            from tracedistill.engines.tokenizers import tokenizer_of

            tokenizer = tokenizer_of(study.students[name])
            end_id(tokenizer)
            prompt_ids(tokenizer, (Message("user", "?"),), style=study.format)
    if launch and any(models[node.name].base_url is not None for node in todo):
        trials = [node for node in Graph(work).trials(wanted) if work.run.state(node).kind != "complete"]
        if trials:
            work.screen.say("students are tried on a made row before a teacher is asked")
            launch_nodes(work, "trial", trials)
