"""Checks of training methods against the task and other models, before anything is paid."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from typing import Any

from tracedistill.errors import InputError
from tracedistill.pipeline.graph import Node
from tracedistill.pipeline.study_run import StudyRun
from tracedistill.recipes import SCRIPTED, Arm, arm_of_run, judged
from tracedistill.records import Problem
from tracedistill.training.learning import LearningSpec

PROBED = 50
"""Training problems searched for a trace that the task can judge."""
NUMBER = re.compile(r"\d{1,6}")
"""A number that a calculation may start from."""


def arms_to_tune(work: StudyRun, wanted: Sequence[Node]) -> dict[str, Arm]:
    """Return the arms whose adapters are among these nodes and still to be made."""
    names = {arm_of_run(node.of) for node in work.run.incomplete(wanted) if node.kind == "train"}
    return {name: arm for name, arm in work.study.arms.items() if name in names}


def needs_problems(arms: Collection[Arm]) -> bool:
    """Return whether the problems are needed to check these arms' methods."""
    return any(judged(arm) and arm.reward != "answer" for arm in arms)


def method_faults(work: StudyRun, arms: dict[str, Arm]) -> list[str]:
    """Return why these arms cannot be tuned as declared; empty if they can."""
    faults: list[str] = []
    by_trace = [name for name, arm in arms.items() if judged(arm) and arm.reward != "answer"]
    if by_trace and work.run.path("problems.jsonl").exists() and not judges_traces(work):
        first = arms[by_trace[0]].reward
        faults.append(
            f"arms {', '.join(by_trace)}: reward: {first}: task {work.study.task.name} has no rules that tell a right "
            "trace from a wrong one, so that no trace would ever be rewarded; set reward: answer"
        )
    for name, arm in arms.items():
        student = work.study.student_config(arm)
        try:
            LearningSpec(arm, attempted=work.study.training.eval_attempts).check(student)
        except InputError as error:
            faults.append(f"arms.{name}.method: {error}")
        if arm.teacher_model is not None and (fault := _vocabulary_fault(work, arm)):
            faults.append(f"arms.{name}.{fault}")
    return faults


def check_methods(work: StudyRun, arms: dict[str, Arm]) -> None:
    """Raise InputError with all of `method_faults`."""
    faults = method_faults(work, arms)
    if faults:
        raise InputError("\n".join(faults))


def judges_traces(work: StudyRun) -> bool:
    """Return whether any trace of a problem would be judged right: the task's own, or a calculation on its numbers."""
    return any(judges_trace(work.task, problem) for problem in work.problems("train")[:PROBED])


def judges_trace(task: Any, problem: Problem) -> bool:
    """Return whether a trace of this problem can be right by the task's rules."""
    own, number = task.decompose(problem), NUMBER.search(problem.question)
    tried = [] if own is None else [own.text]
    if number is not None:
        tried.append(f"{number[0]} + {number[0]} = {2 * int(number[0])}")
    return any(task.judge_output_trace(problem, text).outcome == "correct" for text in tried)


def _vocabulary_fault(work: StudyRun, arm: Arm) -> str:
    """Return why a teacher's distribution cannot be distilled.

    Empty if it can, or if a model is not on this machine yet.
    """
    from tracedistill.engines.tokenizers import tokenizer_of
    from tracedistill.training.models import check_vocabulary

    student, teacher = (work.study.students[name] for name in (work.study.student_of(arm), arm.teacher_model or ""))
    if SCRIPTED in (student.model[: len(SCRIPTED)], teacher.model[: len(SCRIPTED)]):
        return "teacher_model: a scripted model has no distribution over tokens"
    try:
        check_vocabulary(teacher.model, tokenizer_of(teacher), tokenizer_of(student))
    except InputError as error:
        return str(error)
    return ""
