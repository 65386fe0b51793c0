"""Work of each process that `accelerate launch` starts."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from tracedistill.errors import InputError
from tracedistill.pipeline.checks import check_students, warn_if_slow
from tracedistill.pipeline.graph import CONFIG_NAME, LOCK_HELD, Clock, Node, discard, upstream
from tracedistill.pipeline.load import LoadedStudy
from tracedistill.pipeline.machines import check_made
from tracedistill.pipeline.making import make_nodes
from tracedistill.pipeline.nodes import Graph
from tracedistill.pipeline.screen import Screen
from tracedistill.pipeline.study_run import StudyRun

Barrier = Callable[[], object]
"""Waits until every process has reached it."""


def train_in_this_process(
    loaded: LoadedStudy, runs: Sequence[str], *, main_process: bool, barrier: Barrier
) -> list[str]:
    """Train in one process of `accelerate launch -m tracedistill.train`.

    The main process makes what is missing upstream and writes manifests; all of them train. `runs`: tuned arms, or
    single seeds of them (`<arm>.seed<k>`); empty: all. Returns the adapters trained.
    """
    return _launched(loaded, "train", runs, (0 if main_process else 1, 2), barrier, "nothing to train: every adapter")


def attempt_in_this_process(
    loaded: LoadedStudy, runs: Sequence[str], *, share: tuple[int, int], barrier: Barrier
) -> list[str]:
    """Evaluate in one process of `accelerate launch -m tracedistill.evaluate`.

    `share`: (this process, number of processes): each runs its share of every arm's batches, the main one merges them.
    `runs`: arms, or single seeds of them; empty: all. Returns the runs generated.
    """
    return _launched(loaded, "generate", runs, share, barrier, "nothing to evaluate: every attempt")


def try_in_this_process(
    loaded: LoadedStudy, students: Sequence[str], *, main_process: bool, barrier: Barrier
) -> list[str]:
    """Try students on a made-up row in each launched process; return their names."""
    work = StudyRun(loaded.study, loaded.recipe, Screen(quiet=not main_process), loaded.overrides)
    graph = Graph(work)
    trials = [node for node in graph.trials(graph.nodes()) if node.of in students or not students]
    return _make_together(work, trials, main_process=main_process, barrier=barrier, idle="every student")


def _launched(
    loaded: LoadedStudy, kind: str, runs: Sequence[str], share: tuple[int, int], barrier: Barrier, idle: str
) -> list[str]:
    main_process = share[0] == 0

    def opened() -> StudyRun:
        return StudyRun(loaded.study, loaded.recipe, Screen(quiet=not main_process), loaded.overrides)

    def nodes_of(work: StudyRun) -> tuple[list[Node], list[Node]]:
        """Return (all nodes, the requested ones)."""
        nodes = Graph(work).nodes()
        mine = {node.of: node for node in nodes if node.kind == kind}
        for name in runs:
            if name not in mine:
                what = "tuned arm" if kind == "train" else "arm"
                raise InputError(f"--arm {name}: no such {what}; the study has: {', '.join(mine) or 'none'}")
        return nodes, [node for name, node in mine.items() if not runs or name in runs]

    def before_of(nodes: list[Node], wanted: list[Node]) -> list[Node]:
        chosen = {node.name for node in wanted}
        return [node for node in upstream(nodes, wanted) if node.name not in chosen]

    work = opened()
    nodes, wanted = nodes_of(work)  # an invalid name stops every process before any waits for another
    if _machines() > 1:
        check_made(work, before_of(nodes, wanted))
    if not main_process:
        while any(work.run.state(node).kind != "complete" for node in before_of(nodes, wanted)):
            time.sleep(LOOK)  # no barrier, which would time out while the main process makes these
            work = opened()
            nodes, wanted = nodes_of(work)
        barrier()
        work = opened()  # with the dtypes that the main process recorded in the run folder
        work.share, work.barrier = share, barrier
        _, wanted = nodes_of(work)
        return _make_together(work, wanted, main_process=False, barrier=barrier, idle=idle)
    work.run.claim()
    with work.run.lock():
        work.settle()
        nodes, wanted = nodes_of(work)
        if LOCK_HELD not in os.environ:  # else the launching process has printed it
            warn_if_slow(work, wanted)
        before = before_of(nodes, wanted)
        check_students(work, before, launch=False)
        for node in before:  # a launched process launches no others
            if node.launched and work.run.state(node).kind != "complete":
                raise InputError(f"{node.name} is not complete; first run: tracedistill {node.stage} {loaded.recipe}")
        make_nodes(work, before)
        work.share, work.barrier = share, barrier
        barrier()
        return _make_together(work, wanted, main_process=True, barrier=barrier, idle=idle)


LOOK = 0.2
"""Seconds between checks for files of the main process."""


def _machines() -> int:
    """Return the number of launched machines from the launcher's environment."""
    everywhere, here = (int(os.environ.get(name, "1")) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    return max(1, everywhere // max(1, here))


def _make_together(
    work: StudyRun, wanted: Sequence[Node], *, main_process: bool, barrier: Barrier, idle: str
) -> list[str]:
    stale = [node for node in wanted if work.run.state(node).kind != "complete"]
    barrier()  # every process has read the states before the first manifest is written
    for node in stale:
        clock = Clock()
        if main_process:
            discard(work.run.path(node.manifest))
        with work.screen.piece(node.name):
            facts = node.run() or {}
            barrier()
            if main_process:
                work.run.record(node, clock.seconds(), {**work.facts(), "hardware": _hardware(), **facts})
    if not stale:
        work.screen.say(f"{idle} requested is complete")
    return [node.of for node in stale]


def _hardware() -> dict[str, Any]:
    """Return the hardware of this launch for a manifest."""
    import torch
    from accelerate import PartialState

    state = PartialState()
    on_gpu = state.device.type == "cuda"
    return {
        "accelerate_config": os.environ.get(CONFIG_NAME),  # None: launched by hand
        "processes": state.num_processes,
        "device": torch.cuda.get_device_name(state.device) if on_gpu else state.device.type,
    }
