"""The dry run: what a study would take, shown before anything is paid or tuned."""

from __future__ import annotations

import functools
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from tracedistill.errors import InputError
from tracedistill.forecast.calibration import device_of
from tracedistill.forecast.estimates import DEVICES
from tracedistill.forecast.records import StudyForecast
from tracedistill.forecast.table import print_forecast
from tracedistill.pipeline.checks import check_machine, check_students
from tracedistill.pipeline.execution import make_nodes
from tracedistill.pipeline.forecast import Forecaster
from tracedistill.pipeline.forecast_inputs import Devices
from tracedistill.pipeline.free_stages import make_free
from tracedistill.pipeline.graph import PARTS, Node, open_run_folder
from tracedistill.pipeline.hardware import shared_rows
from tracedistill.pipeline.load import LoadedStudy
from tracedistill.pipeline.method_checks import arms_to_tune, method_faults
from tracedistill.pipeline.nodes import Graph
from tracedistill.pipeline.screen import Screen
from tracedistill.pipeline.study_run import StudyRun
from tracedistill.pipeline.teach import Teachers
from tracedistill.pipeline.teacher_quotes import why_not_shown
from tracedistill.training.tracking import check_tracker


def dry_run(loaded: LoadedStudy, device: str | None = None) -> StudyForecast:
    """Show what the study would take: calls and cost of model teachers; rows, steps, memory and time of every arm.

    Whatever is free is made (problems, rules', gold and recorded traces, verdicts, datasets); nothing is called,
    downloaded or tuned. `device`: a name in estimates.DEVICES; None: this machine, whose speed is measured.
    """
    if device is not None and device not in DEVICES:
        raise InputError(
            f"--device {device}: unknown; choose one of {', '.join(DEVICES)}, or leave it out for this machine"
        )
    work = StudyRun(loaded, Screen())
    work.run.claim()
    with work.run.lock(), work.screen.overall():
        work.suppose(None if device is None else "bfloat16")
        graph = Graph(work)
        nodes = graph.nodes()
        failed, paused = make_free(work, nodes, make_nodes)
        failed += method_faults(work, arms_to_tune(work, nodes))
        failed += _faults(work, nodes, here=device is None)
        hidden = why_not_shown(work)
        if not hidden and work.run.path("problems.jsonl").exists():
            Teachers(work).dry_run()
        of = functools.partial(device_of, device)
        shared = shared_rows(work.study, work.recipe)
        work.screen.doing("forecast")
        forecast = Forecaster(work, graph.evaluation, nodes, of, shared).forecast(failed, [*paused, *hidden])
    if not work.screen.console.quiet:
        print_forecast(forecast, work.screen.say)
    return forecast


def _faults(work: StudyRun, nodes: Sequence[Node], *, here: bool) -> list[str]:
    """Return what a run would stop at before its first call: the tracker, kernels, and students that cannot be used.

    `here`: the study is to run on this machine, so that what is not installed counts.
    """
    faults = []
    unmade = {node.kind for node in work.run.incomplete(nodes)}
    if work.study.tracking != "none" and unmade & {"train", "report"}:
        try:
            check_tracker(work.study.tracking)
        except InputError as error:
            faults.append(f"tracking: {error}")
    checks: list[Callable[[StudyRun, Sequence[Node]], None]] = [
        # a student that is not on this machine would have to be fetched
        functools.partial(check_students, launch=False, only_here=True),
        *([check_machine] if here else []),
    ]
    for check in checks:
        try:
            check(work, nodes)
        except InputError as error:
            faults.append(str(error))
    return faults


def silent_forecast(loaded: LoadedStudy, devices: Devices, *, make: bool = True) -> StudyForecast:
    """Forecast as `dry_run` does, silently and without touching the run folder: for the doctor.

    What is made for it (see `dry_run`) goes into a temporary folder, beside links to existing files. `make`: whether to
    make anything; otherwise the recipe's sizes replace missing data.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "run"
        _link(open_run_folder(loaded.study, Screen(quiet=True).say).folder, folder)
        study = replace(loaded.study, run_dir=str(folder), cache=str(loaded.study.cache_path))
        work = StudyRun(replace(loaded, study=study), Screen(quiet=True))
        work.run.claim()
        work.suppose()
        graph = Graph(work)
        nodes = graph.nodes()
        failed, paused = make_free(work, nodes, make_nodes) if make else ([], [])
        return Forecaster(work, graph.evaluation, nodes, devices).forecast(failed, paused)


NOT_FORECAST_FROM = ("adapters", "generations", "attempts", "attribution", ".lock", PARTS)
"""Parts of a run folder that no forecast reads."""


def _link(source: Path, target: Path) -> None:
    """Link a run folder's files into another folder, so that writing there replaces a link, not a file.

    The review store is copied, since a database is written in place.
    """
    for path in source.rglob("*") if source.is_dir() else ():
        name = path.relative_to(source)
        if name.parts[0] not in NOT_FORECAST_FROM and path.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            if name.parts[0] == "review":
                shutil.copy2(path, target / name)
            else:
                (target / name).symlink_to(path.resolve())
