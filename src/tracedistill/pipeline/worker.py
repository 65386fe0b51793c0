"""Processes that `accelerate launch` starts: their arguments, work and exit codes.

`python -m tracedistill.pipeline.worker` is the target of student trials; training and evaluation have public targets,
`tracedistill.train` and `tracedistill.evaluate`.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from tracedistill.errors import InputError
from tracedistill.output import say
from tracedistill.pipeline.checks import check_students, warn_if_slow
from tracedistill.pipeline.execution import make_nodes
from tracedistill.pipeline.graph import CONFIG_NAME, LOCK_HELD, Clock, Kind, Node, discard, needed_by
from tracedistill.pipeline.load import LoadedStudy, load
from tracedistill.pipeline.nodes import Graph
from tracedistill.pipeline.screen import Screen
from tracedistill.pipeline.study_run import StudyRun

Share = tuple[int, int]
"""(this process, number of processes); process 0 is the main one, which makes what is missing and writes manifests."""
Barrier = Callable[[], object]
"""Waits until every process has reached it."""
Work = Callable[[LoadedStudy, Sequence[str], Share, Barrier], object]
"""(study, names after --arm, share, barrier): the work of each process."""
POLL = 0.2
"""Seconds between checks for files of the main process."""


def run_worker(module: str, description: str, work: Work, argv: Sequence[str] | None) -> int:
    """Parse `RECIPE [--arm NAME] [key=value]`, do the work in this process, and return its exit code."""
    parser = argparse.ArgumentParser(prog=f"accelerate launch -m {module}", description=description)
    parser.add_argument("recipe", help="the study's YAML file")
    parser.add_argument(
        "--arm", action="append", default=[], metavar="NAME", help="work on this arm only (may be repeated)"
    )
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="changes to the recipe")
    args = parser.parse_intermixed_args(argv)
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # TRL's trainers otherwise report each training
    quiet_libraries()
    from accelerate import PartialState
    from accelerate.utils import is_cuda_available

    try:
        state = PartialState(cpu=not is_cuda_available())
        if state.is_main_process:
            say(f"world_size={state.num_processes}", flush=True)
        share = (state.process_index, state.num_processes)
        work(load(args.recipe, args.overrides), args.arm, share, state.wait_for_everyone)
    except InputError as error:
        say(f"tracedistill: {error}", file=sys.stderr)
        return 2
    finally:
        if PartialState._shared_state:
            PartialState().destroy_process_group()
    return 0


def quiet_libraries() -> None:
    """Silence the libraries' own progress bars and notes; errors stay."""
    warnings.filterwarnings("ignore")
    for name in ("transformers", "bitsandbytes", "peft", "accelerate"):
        logging.getLogger(name).setLevel(logging.ERROR)
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()


def train(loaded: LoadedStudy, runs: Sequence[str], share: Share, barrier: Barrier) -> list[str]:
    """Train adapters in one of the launched processes; return the runs trained.

    `runs`: tuned arms, or single seeds of them (`<arm>.seed<k>`); empty: all.
    """
    return _make(loaded, "train", runs, share, barrier)


def evaluate(loaded: LoadedStudy, runs: Sequence[str], share: Share, barrier: Barrier) -> list[str]:
    """Generate one process's share of every arm's batches, which the main process merges; return the runs generated.

    `runs`: arms, or single seeds of them; empty: all.
    """
    return _make(loaded, "generate", runs, share, barrier)


def try_students(loaded: LoadedStudy, students: Sequence[str], share: Share, barrier: Barrier) -> list[str]:
    """Try students on a synthetic row in each launched process; return their names."""
    work = StudyRun(loaded, Screen(quiet=share[0] > 0))
    graph = Graph(work)
    trials = [node for node in graph.trials(graph.nodes()) if node.of in students or not students]
    return _make_together(work, trials, share, barrier)


def _make(loaded: LoadedStudy, kind: Kind, runs: Sequence[str], share: Share, barrier: Barrier) -> list[str]:
    """Make nodes of one kind in all processes, after the main process has made what they need."""
    main_process = share[0] == 0

    def opened() -> StudyRun:
        return StudyRun(loaded, Screen(quiet=not main_process))

    def requested(work: StudyRun) -> tuple[list[Node], list[Node]]:
        """Return (the requested nodes, what they need)."""
        nodes = Graph(work).nodes()
        by_run = {node.of: node for node in nodes if node.kind == kind}
        for name in runs:
            if name not in by_run:
                what = "tuned arm" if kind == "train" else "arm"
                raise InputError(f"--arm {name}: no such {what}; the study has: {', '.join(by_run) or 'none'}")
        wanted = [node for name, node in by_run.items() if not runs or name in runs]
        return wanted, needed_by(nodes, wanted)

    work = opened()
    wanted, needed = requested(work)  # an invalid name stops every process before any waits for another
    if _machines() > 1 and (missing := work.run.incomplete(needed)):
        raise InputError(
            f"{missing[0].name} is not complete, and several machines would wait for it within a collective, which "
            f"gives up. Run `tracedistill train {work.recipe}` on every machine: it makes that before it launches"
        )
    if not main_process:
        while work.run.incomplete(needed):
            time.sleep(POLL)  # no barrier, which would time out while the main process makes these
            work = opened()
            wanted, needed = requested(work)
        barrier()
        work = opened()  # with the dtypes that the main process recorded in the run folder
        wanted, _ = requested(work)
        return _make_together(work, wanted, share, barrier)
    work.run.claim()
    with work.run.lock():
        work.settle()
        wanted, needed = requested(work)
        if LOCK_HELD not in os.environ:  # else the launching process has printed it
            warn_if_slow(work, wanted)
        check_students(work, needed, launch=False)
        for node in work.run.incomplete(needed):
            if node.launched:  # a launched process launches no others
                raise InputError(f"{node.name} is not complete; first run: tracedistill {node.stage} {loaded.recipe}")
        make_nodes(work, needed)
        barrier()
        return _make_together(work, wanted, share, barrier)


def _machines() -> int:
    """Return the number of launched machines from the launcher's environment."""
    everywhere, here = (int(os.environ.get(name, "1")) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    return max(1, everywhere // max(1, here))


def _make_together(work: StudyRun, wanted: Sequence[Node], share: Share, barrier: Barrier) -> list[str]:
    """Make the incomplete nodes in all processes; the main process writes their manifests."""
    work.share, work.barrier = share, barrier
    stale = work.run.incomplete(wanted)
    barrier()  # every process has read the states before the first manifest is written
    for node in stale:
        clock = Clock()
        if share[0] == 0:
            discard(work.run.path(node.manifest))
        with work.screen.piece(node.name):
            facts = node.run() or {}
            barrier()
            if share[0] == 0:
                work.run.record(node, clock.seconds(), {**work.facts(), "hardware": _hardware(), **facts})
    if not stale:
        work.screen.say("nothing to do: all that was requested is complete")
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


if __name__ == "__main__":
    sys.exit(
        run_worker("tracedistill.pipeline.worker", "Try a study's students on a synthetic row.", try_students, None)
    )
