"""Training on several machines: machine 0 runs all stages, the others wait for it and train with it.

Waiting is done outside barriers, which time out after minutes: a machine is launched once everything that adapters need
is complete in the shared run folder.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from tracedistill.errors import InputError
from tracedistill.pipeline.graph import Node, upstream
from tracedistill.pipeline.launch import launch
from tracedistill.pipeline.load import LoadedStudy
from tracedistill.pipeline.nodes import Graph
from tracedistill.pipeline.screen import Screen
from tracedistill.pipeline.study_run import StudyRun

LOOK = 2.0
"""Seconds between checks of the run folder."""
SAY = 60.0
"""Seconds between messages on what is waited for."""


def follow(loaded: LoadedStudy, *, quiet: bool = False, sleep: Callable[[float], None] = time.sleep) -> list[str]:
    """Wait until machine 0 has made what adapters need, then train with it; return the adapters trained.

    Complete adapters need no second machine.
    """
    screen, launcher = Screen(quiet=quiet), loaded.study.training.launcher
    due = 0.0
    while True:
        work = StudyRun(loaded.study, loaded.recipe, screen, loaded.overrides)  # with the dtypes from machine 0
        if not work.run.path("study.json").exists():
            missing = "the run folder"
        else:
            work.run.claim()
            adapters, first = before_training(work)
            if all(work.run.state(node).kind == "complete" for node in adapters):
                screen.say(f"machine {launcher.machine_rank}: all adapters are complete")
                return []
            if first is None:
                return launch(work, "train", adapters)
            missing = first.name
        if (now := time.monotonic()) >= due:
            due = now + SAY
            screen.say(f"machine {launcher.machine_rank}: waits until machine 0 has made {missing}")
        sleep(LOOK)


def before_training(work: StudyRun) -> tuple[list[Node], Node | None]:
    """Return the adapters of a study, and the first incomplete node before them; None if all are complete."""
    nodes = Graph(work).nodes()
    adapters = [node for node in nodes if node.kind == "train"]
    before = [node for node in upstream(nodes, adapters) if node.kind != "train"]
    return adapters, next((node for node in before if work.run.state(node).kind != "complete"), None)


def check_made(work: StudyRun, before: list[Node]) -> None:
    """Raise InputError if something is missing that would keep processes of other machines waiting."""
    for node in before:
        if work.run.state(node).kind != "complete":
            raise InputError(
                f"{node.name} is not complete, and several machines would wait for it within a collective, which gives "
                f"up. Run `tracedistill train {work.recipe}` on every machine: it makes that before it launches"
            )
