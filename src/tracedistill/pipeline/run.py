"""Run a stage with everything it needs, report the state of nodes, open the report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tracedistill.files import to_json, write_json
from tracedistill.pipeline.checks import check_keys, check_machine, check_students, pin, warn_if_absent, warn_if_slow
from tracedistill.pipeline.dtypes import COMPUTES
from tracedistill.pipeline.engine_check import EngineCheck, check_engines
from tracedistill.pipeline.evaluate import Evaluation
from tracedistill.pipeline.execution import make_nodes
from tracedistill.pipeline.graph import Node, NodeState, needed_by, open_run_folder, upstream
from tracedistill.pipeline.load import LoadedStudy
from tracedistill.pipeline.machines import follow
from tracedistill.pipeline.method_checks import arms_to_tune, check_methods, needs_problems
from tracedistill.pipeline.nodes import Graph
from tracedistill.pipeline.screen import Screen
from tracedistill.pipeline.study_run import StudyRun
from tracedistill.pipeline.validate import audit_of
from tracedistill.recipes import OWN
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
    work = StudyRun(loaded, screen)
    work.run.claim()
    if wait and not work.run.incomplete(wanted_nodes(work, stage)):
        return []  # no need to wait for a training in progress
    with work.run.lock(wait=wait), screen.overall():
        wanted = wanted_nodes(work, stage)
        if pin(work, loaded.study, wanted):
            work = StudyRun(loaded, screen)
            wanted = wanted_nodes(work, stage)
        if any(node.kind in ("preflight", *COMPUTES) for node in wanted):
            work.settle()  # not earlier: a run may be started here and continue on the machine that trains
            wanted = wanted_nodes(work, stage)
        named = [node for node in wanted if node.kind in ("train", "report")]
        if loaded.study.tracking != "none" and work.run.incomplete(named):
            check_tracker(loaded.study.tracking)  # before a teacher has been paid
        check_keys(work, wanted)
        check_machine(work, wanted)
        arms, made = arms_to_tune(work, wanted), list[str]()
        if needs_problems(arms.values()):  # drawing them is free
            made = make_nodes(work, [node for node in wanted if node.kind == "problems"])
        check_methods(work, arms)
        check_students(work, wanted)
        warn_if_slow(work, wanted)
        warn_if_absent(work, wanted)
        try:
            return [*made, *make_nodes(work, wanted)]
        finally:
            work.serving.stop()


def wanted_nodes(work: StudyRun, stage: str) -> list[Node]:
    """Return a stage's nodes and everything they need."""
    nodes = Graph(work).nodes()
    return upstream(nodes, [node for node in nodes if node.stage == stage])


def audit_judge(loaded: LoadedStudy, judge: str, labels: Path, *, quiet: bool = False) -> JudgeAudit:
    """Measure a model teacher as judge against labelled rows; answers are cached, so nothing is paid twice."""
    screen = Screen(quiet=quiet)
    with in_store(loaded), screen.overall():
        return audit_of(StudyRun(loaded, screen), judge, labels)


def check_determinism(loaded: LoadedStudy, n: int, *, quiet: bool = False) -> dict[str, list[dict[str, Any]]]:
    """Count how many of each arm's first n texts and verdicts change at other batch sizes.

    Missing adapters are tuned first.
    """
    with _ready_to_evaluate(loaded, quiet=quiet) as (work, evaluation):
        measured = {}
        for name, arm in loaded.study.arms.items():
            student = loaded.study.student_config(arm)
            if student.base_url is None and student.engine == "transformers" and arm.forced != OWN:
                work.screen.say(f"{name}: {n} prompts at other batch sizes")
                measured[name] = [to_json(line, defaults=True) for line in evaluation.determinism(name, n)]
        write_json(work.run.path("determinism.json"), {"batch_size": loaded.study.evaluation.batch_size, **measured})
        return measured


def check_engine(loaded: LoadedStudy, n: int, *, quiet: bool = False) -> dict[str, EngineCheck]:
    """Return arm served by vLLM -> how many of its first n texts and verdicts differ with transformers."""
    with _ready_to_evaluate(loaded, quiet=quiet) as (work, evaluation):
        return check_engines(work, evaluation, n)


@contextmanager
def _ready_to_evaluate(loaded: LoadedStudy, *, quiet: bool) -> Iterator[tuple[StudyRun, Evaluation]]:
    """Lock the run folder, make everything that attempts need, and yield what evaluates the arms."""
    work = StudyRun(loaded, Screen(quiet=quiet))
    work.run.claim()
    with work.run.lock(), work.screen.overall():
        work.settle()
        graph = Graph(work)
        nodes = graph.nodes()
        make_nodes(work, needed_by(nodes, [node for node in nodes if node.kind == "generate"]))
        try:
            yield work, graph.evaluation
        finally:
            work.serving.stop()


def status(loaded: LoadedStudy) -> list[tuple[Node, NodeState]]:
    """Return the state of every node of the study; writes nothing."""
    work = StudyRun(loaded, Screen(quiet=True))
    return [(node, work.run.state(node)) for node in Graph(work).nodes()]


def report_of(loaded: LoadedStudy) -> Report:
    """Read the report of a finished run. Raises InputError if it has none yet."""
    return read_report(open_run_folder(loaded.study, Screen(quiet=True).say).folder)


@contextmanager
def in_store(loaded: LoadedStudy) -> Iterator[None]:
    """Hold a run folder that is in a store, and send what the block changes in it; do nothing for a local one."""
    if loaded.study.store is None:
        yield
        return
    run = open_run_folder(loaded.study, Screen().say)
    run.claim()
    with run.lock():
        yield
