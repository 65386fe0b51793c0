"""Stages that run in processes of their own: by `accelerate launch`, on the hardware that the recipe names."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tracedistill.errors import InputError
from tracedistill.pipeline.graph import LOCK_HELD, Clock, Kind, Node
from tracedistill.pipeline.study_run import StudyRun
from tracedistill.recipes.documents import parse

TARGETS: Mapping[Kind, str] = {
    "train": "tracedistill.train",
    "generate": "tracedistill.evaluate",
    "trial": "tracedistill.pipeline.launched",
}
"""Kind of node -> the module that makes it in the launched processes."""


def launch(work: StudyRun, kind: Kind, nodes: Sequence[Node]) -> list[str]:
    """Make the stale ones of these nodes, all of one kind, by `accelerate launch`, and return their names.

    InputError where it fails.
    """
    study = work.study
    stale = [node for node in nodes if work.run.state(node).kind != "complete"]
    names = [node.of for node in stale]
    hardware = study.evaluation.accelerate_config if kind == "generate" else study.training.accelerate_config
    config = accelerate_config(hardware or "cpu", work.recipe)
    threads = max(1, (os.cpu_count() or 1) // _processes(config))
    command = [
        *(sys.executable, "-m", "accelerate.commands.launch", "--quiet"),  # not its stack below our message
        *("--config_file", str(config), "--num_cpu_threads_per_process", str(threads)),
        *("-m", TARGETS[kind], str(work.recipe)),
        *(part for name in names for part in ("--arm", name)),
        *work.overrides,
    ]
    environment = {
        **os.environ,
        LOCK_HELD: str(work.run.folder.resolve()),
        Clock.STARTED: str(time.monotonic()),
        "PYTHONSAFEPATH": "1",  # a yaml.py in the working folder must not be imported in place of the library
    }
    killed_before = out_of_memory_kills()
    if kind == "train" and (others := busy_cores()) > 0.5:
        work.screen.say(
            f"  other programs keep about {others:.1f} of {os.cpu_count()} cores busy; the threads of a training wait "
            "for each other, so that it may take up to three times as long"
        )
    work.screen.say(f"  accelerate launch {' '.join(command[3:])}")
    finished = subprocess.run(command, env=environment, check=False)  # noqa: S603 - our own command
    again = "Run the same command to continue."
    if out_of_memory_kills() > killed_before:
        again = f"The system ran out of memory and killed a process. {LESS_MEMORY.get(kind, '')} {again}"
    if finished.returncode < 0:
        raise InputError(f"{nodes[0].name} was ended by signal {-finished.returncode}. {again}")
    unfinished = [node for node in stale if work.run.state(node).kind != "complete"]
    if finished.returncode or unfinished:
        what = ", ".join(node.name for node in unfinished) or nodes[0].stage
        # the launcher says 1 of everything, and nothing of a process that was killed
        raise InputError(
            f"{what} did not finish (exit code {finished.returncode}). If there is no error above, a process was "
            f"killed. {again}"
        )
    return [node.name for node in stale]


LESS_MEMORY: Mapping[Kind, str] = {
    "train": "To use less of it, raise training.gradient_accumulation or set training.activation_checkpointing.",
    "generate": "To use less of it, lower evaluation.batch_size.",
    "trial": "Not one row fits: take a smaller student, quantization: nf4, or a machine with more memory.",
}
"""Kind of node -> what helps when it runs out of memory."""


def busy_cores(seconds: float = 0.2) -> float:
    """Measure how many cores other programs keep busy while this one sleeps; 0 if the system does not say."""

    def ticks() -> tuple[int, int]:
        try:
            total = [
                int(part) for part in Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]
            ]
        except (OSError, ValueError):
            return 0, 0
        return sum(total), sum(total[3:5])  # all, idle and waiting for the disk

    before, idle = ticks()
    time.sleep(seconds)
    after, idle_after = ticks()
    share = 1 - (idle_after - idle) / (after - before) if after > before else 0.0
    return share * (os.cpu_count() or 1)


def out_of_memory_kills() -> int:
    """Return how many processes the kernel has killed for want of memory since it started; 0 if it does not say."""
    try:
        lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))


def shared_rows(work: StudyRun) -> int:
    """Processes that share one row in training, by the accelerate configuration; 1 if that cannot be read here."""
    try:
        settings = parse(
            accelerate_config(work.study.training.accelerate_config, work.recipe).read_text(encoding="utf-8")
        )
        return max(1, int(settings.get("parallelism_config", {}).get("parallelism_config_cp_size", 1)))
    except (InputError, OSError, ValueError, TypeError, AttributeError):
        return 1


def _processes(config: Path) -> int:
    """Processes that an accelerate configuration starts on one machine."""
    try:
        settings = parse(config.read_text(encoding="utf-8")) or {}
        return max(1, int(settings.get("num_processes", 1)) // max(1, int(settings.get("num_machines", 1))))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{config}: not an accelerate configuration: {error}") from error


def accelerate_config(name: str, recipe: Path) -> Path:
    """The file of an accelerate configuration: a path, or a name in accelerate_configs/."""
    own = Path("accelerate_configs") / f"{name}.yaml"
    candidates = [Path(name), recipe.parent / name]
    candidates += [folder / own for folder in (Path.cwd(), *recipe.resolve().parents)]
    for candidate in (*candidates, shipped(own)):
        if candidate is not None and candidate.is_file():
            return candidate
    raise InputError(f"training.accelerate_config: no file '{name}' and no {own}")


def shipped(path: Path) -> Path | None:
    """Return the file of this name that comes with tracedistill (`recipes/quickstart/study.yaml`); None if none does.

    In a checkout it lies beside src/, in an installed package within it.
    """
    package = Path(__file__).parents[1]
    if path.is_absolute() or ".." in path.parts or path.parts[:1] not in (("recipes",), ("accelerate_configs",)):
        return None
    found = [folder / path for folder in (package / "shipped", package.parents[1])]
    return next((file for file in found if file.is_file()), None)
