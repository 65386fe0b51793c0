"""Training on several machines: machine 0 runs all stages, the others wait for it and train with it.

Waiting is done outside barriers, which time out after minutes: a machine is launched once everything that adapters need
is complete in the shared run folder.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from tracedistill.pipeline.graph import Node, needed_by
from tracedistill.pipeline.launch import launch
from tracedistill.pipeline.load import LoadedStudy
from tracedistill.pipeline.nodes import Graph
from tracedistill.pipeline.screen import Screen
from tracedistill.pipeline.study_run import StudyRun

LOOK = 2.0
"""Seconds between checks of the run folder."""
SAY = 60.0
"""Seconds between messages about what is missing."""


def follow(loaded: LoadedStudy, *, quiet: bool = False, sleep: Callable[[float], None] = time.sleep) -> list[str]:
    """Wait until machine 0 has made what adapters need, then train with it; return the adapters trained.

    Complete adapters need no second machine.
    """
    screen, launcher = Screen(quiet=quiet), loaded.study.training.launcher
    due = 0.0
    while True:
        work = StudyRun(loaded, screen)  # with the dtypes from machine 0
        if not work.run.path("study.json").exists():
            missing = "the run folder"
        else:
            work.run.claim()
            adapters, first = before_training(work)
            if not work.run.incomplete(adapters):
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
    missing = (node for node in needed_by(nodes, adapters) if not work.run.is_complete(node))
    return adapters, next(missing, None)
