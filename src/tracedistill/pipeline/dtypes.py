"""The dtype of each student and local teacher: the recipe's, the run folder's, or auto.

A run folder keeps its dtypes in study.json, so that all its files use the same arithmetic on any machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from tracedistill.engines.dtypes import SLOW, DtypeChoice, choose, slowness
from tracedistill.engines.processor import DTYPES, Dtype
from tracedistill.files import read_json, write_json
from tracedistill.pipeline.graph import Node, RunFolder
from tracedistill.pipeline.screen import Screen
from tracedistill.recipes import Study

IDENTITY, DTYPES_KEY = "study.json", "dtypes"
Wanted = Dtype | Literal["auto"]
"""Dtypes that a recipe may name."""
COMPUTES = ("train", "parity", "generate")
"""Kinds of nodes that load a student."""


def with_dtypes(study: Study, known: Mapping[str, Dtype]) -> Study:
    """Return the study with `auto` replaced by the run folder's dtypes."""
    students = {
        name: replace(student, dtype=known[name]) if student.dtype == "auto" and name in known else student
        for name, student in study.students.items()
    }
    return replace(study, students=students)


def stored_dtypes(run: RunFolder) -> dict[str, Dtype]:
    """Return student -> dtype of a run folder, and `teacher:<name>` likewise. Empty for a new folder."""
    identity = run.path(IDENTITY)
    known = read_json(identity).get(DTYPES_KEY) if identity.exists() else None
    dtypes = known if isinstance(known, dict) else {}
    return {name: dtype for name, given in dtypes.items() for dtype in DTYPES if dtype == given}


def local_dtypes(study: Study) -> dict[str, Wanted]:
    """Return student -> dtype, or auto, of the students that run on this machine."""
    return {name: student.dtype for name, student in study.students.items() if student.loads_weights}


def settle_dtypes(wanted: Mapping[str, Wanted], run: RunFolder, screen: Screen) -> dict[str, Dtype]:
    """Choose the dtypes that are still auto, print them, and record all in the run folder; return name -> dtype."""
    choice: DtypeChoice | None = None
    settled_before = stored_dtypes(run)
    for name, dtype in wanted.items():
        if dtype != "auto":
            settled_before[name] = dtype
        elif name not in settled_before:
            choice = choice or choose()
            settled_before[name] = choice.dtype
            screen.say(f"{name}: dtype auto is {choice.why}")
    identity = read_json(run.path(IDENTITY))
    if identity.get(DTYPES_KEY) != settled_before and settled_before:
        write_json(run.path(IDENTITY), {**identity, DTYPES_KEY: settled_before})
    return settled_before


def warn_of_slow(declared: Study, settled: Study, nodes: Sequence[Node], screen: Screen) -> None:
    """Warn once per student that is about to compute in a bfloat16 that is slow here.

    `declared`: the study as its recipe says; `nodes`: the nodes to be made.
    """
    if not any(node.kind in COMPUTES for node in nodes):
        return
    for name in sorted({settled.student_of(arm) for arm in settled.arms.values()}):
        student = settled.students[name]
        if student.dtype != "bfloat16" or not student.loads_weights:
            continue
        factor = slowness(student.dtype)
        if factor < SLOW:
            continue
        slow = (
            f"warning: student {name} computes in bfloat16, and float32 is {factor:.1f} times as fast on this machine"
        )
        if declared.students[name].dtype == "auto":
            screen.say(f"{slow}. This run folder was started in bfloat16 and keeps it; a new run_dir gets float32.")
        else:
            screen.say(f"{slow}. Set students.{name}.dtype: float32 (or auto).")
