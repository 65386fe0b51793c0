"""Run a stage with everything it needs, report the state of nodes, open the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tracedistill.files import to_json, write_json
from tracedistill.pipeline.checks import check_keys, check_machine, check_students, pin, warn_if_absent, warn_if_slow
from tracedistill.pipeline.dtypes import COMPUTES
from tracedistill.pipeline.engine_check import EngineCheck, check_engines
from tracedistill.pipeline.graph import Node, NodeState, upstream
from tracedistill.pipeline.load import LoadedStudy
from tracedistill.pipeline.machines import follow
from tracedistill.pipeline.making import make_nodes
from tracedistill.pipeline.method_checks import arms_to_tune, check_methods, needs_problems
from tracedistill.pipeline.nodes import Graph
from tracedistill.pipeline.screen import Screen
from tracedistill.pipeline.study_run import StudyRun
from tracedistill.pipeline.terms import OWN
from tracedistill.pipeline.validate import audit_of
from tracedistill.report.reader import read_report
from tracedistill.report.records import Report
from tracedistill.training.tracking import check_tracker
from tracedistill.validation.judge_audit import JudgeAudit


def run(loaded: LoadedStudy, stage: str = "report", *, quiet: bool = False, wait: bool = False) -> list[str]:
    """Make a stage and everything it needs; complete, unchanged nodes are skipped.

    `wait`: wait for another run in the folder instead of raising InputError. Returns the names of the nodes made, in
    order. A machine of a rank above 0 only takes part in training. Raises InputError for errors the user can fix;
    complete nodes stay.
    """
    if loaded.study.training.launcher.machine_rank > 0:
        return follow(loaded, quiet=quiet) if stage in ("train", "evaluate", "report") else []
    screen = Screen(quiet=quiet)
    work = StudyRun(loaded.study, loaded.recipe, screen, loaded.overrides)
    work.run.claim()
    if wait and _is_complete(work, stage):
        return []  # a training in progress is no reason to wait
    with work.run.lock(wait=wait), screen.overall():
        wanted = wanted_nodes(work, stage)
        if pin(work, loaded.study, wanted):
            work = StudyRun(loaded.study, loaded.recipe, screen, loaded.overrides)
            wanted = wanted_nodes(work, stage)
        if any(node.kind in ("preflight", *COMPUTES) for node in wanted):
            work.settle()  # not earlier: a folder may be begun here and continue where it trains
            wanted = wanted_nodes(work, stage)
        named = [node for node in wanted if node.kind in ("train", "report")]
        if loaded.study.tracking != "none" and any(work.run.state(node).kind != "complete" for node in named):
            check_tracker(loaded.study.tracking)  # before a teacher has been paid
        check_keys(work, wanted)
        check_machine(work, wanted)
        made = _check_methods(work, wanted)
        check_students(work, wanted)
        warn_if_slow(work, wanted)
        warn_if_absent(work, wanted)
        try:
            return [*made, *make_nodes(work, wanted)]
        finally:
            work.serving.stop()


def _check_methods(work: StudyRun, wanted: Sequence[Node]) -> list[str]:
    """Raise InputError for a method that the task or a teacher does not support; return the nodes made for it."""
    arms = arms_to_tune(work, wanted)
    made: list[str] = []
    if needs_problems(arms.values()):  # drawing them is free
        made = make_nodes(work, [node for node in wanted if node.kind == "problems"])
    check_methods(work, arms)
    return made


def _is_complete(work: StudyRun, stage: str) -> bool:
    return all(work.run.state(node).kind == "complete" for node in wanted_nodes(work, stage))


def wanted_nodes(work: StudyRun, stage: str) -> list[Node]:
    """Return a stage's nodes and everything they need."""
    nodes = Graph(work).nodes()
    return upstream(nodes, [node for node in nodes if node.stage == stage])


def audit_judge(loaded: LoadedStudy, judge: str, labels: Path, *, quiet: bool = False) -> JudgeAudit:
    """Measure a model teacher as judge against labelled rows; answers are cached, so nothing is paid twice."""
    screen = Screen(quiet=quiet)
    with screen.overall():
        return audit_of(StudyRun(loaded.study, loaded.recipe, screen, loaded.overrides), judge, labels)


def check_determinism(loaded: LoadedStudy, n: int, *, quiet: bool = False) -> dict[str, list[dict[str, Any]]]:
    """Count how many of each arm's first n texts and verdicts change at other batch sizes.

    Missing adapters are tuned first.
    """
    work = StudyRun(loaded.study, loaded.recipe, Screen(quiet=quiet), loaded.overrides)
    work.run.claim()
    with work.run.lock(), work.screen.overall():
        work.settle()
        graph = Graph(work)
        nodes = graph.nodes()
        asked = [node for node in nodes if node.kind == "generate"]
        names = {node.name for node in asked}
        make_nodes(work, [node for node in upstream(nodes, asked) if node.name not in names])
        measured = {}
        for name, arm in loaded.study.arms.items():
            student = loaded.study.student_config(arm)
            if student.base_url is None and student.engine == "transformers" and arm.forced != OWN:
                work.screen.say(f"{name}: {n} prompts at other batch sizes")
                measured[name] = [to_json(line, defaults=True) for line in graph.attempting.determinism(name, n)]
        write_json(work.run.path("determinism.json"), {"batch_size": loaded.study.evaluation.batch_size, **measured})
        return measured


def check_engine(loaded: LoadedStudy, n: int, *, quiet: bool = False) -> dict[str, EngineCheck]:
    """Return arm served by vLLM -> how many of its first n texts and verdicts differ with transformers."""
    work = StudyRun(loaded.study, loaded.recipe, Screen(quiet=quiet), loaded.overrides)
    work.run.claim()
    with work.run.lock():
        work.settle()
        graph = Graph(work)
        nodes = graph.nodes()
        asked = [node for node in nodes if node.kind == "generate"]
        make_nodes(work, [node for node in upstream(nodes, asked) if node.kind != "generate"])
        try:
            return check_engines(work, graph.attempting, n)
        finally:
            work.serving.stop()


def status(loaded: LoadedStudy) -> list[tuple[Node, NodeState]]:
    """Return the state of every node of the study; writes nothing."""
    work = StudyRun(loaded.study, loaded.recipe, Screen(quiet=True), loaded.overrides)
    return [(node, work.run.state(node)) for node in Graph(work).nodes()]


def report_of(loaded: LoadedStudy) -> Report:
    """Read the report of a finished run. Raises InputError if there is none yet."""
    return read_report(loaded.study.folder)
