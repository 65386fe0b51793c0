"""Run stages in processes of their own by `accelerate launch`, on the hardware named in the recipe."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil

from tracedistill.compute import usable_cores
from tracedistill.errors import InputError
from tracedistill.events import LINES, LISTENING, LIVE, parse
from tracedistill.pipeline.graph import CONFIG_NAME, LOCK_HELD, Clock, Kind, Node
from tracedistill.pipeline.hardware import evaluation_hardware, launcher_flags, training_hardware
from tracedistill.pipeline.screen import Screen
from tracedistill.pipeline.study_run import StudyRun
from tracedistill.recipes import Study

TARGETS: Mapping[Kind, str] = {
    "train": "tracedistill.train",
    "generate": "tracedistill.evaluate",
    "trial": "tracedistill.pipeline.worker",
}
"""Kind of node -> module that makes it in the launched processes."""


def launch(work: StudyRun, kind: Kind, nodes: Sequence[Node]) -> list[str]:
    """Make the stale nodes, all of one kind, by `accelerate launch`, and return their names.

    Raises InputError if it fails.
    """
    study = work.study
    stale = work.run.incomplete(nodes)
    names = [node.of for node in stale]
    hardware = (evaluation_hardware if kind == "generate" else training_hardware)(study, work.recipe)
    threads = max(1, usable_cores() // hardware.processes)
    command = [
        *(sys.executable, "-m", "accelerate.commands.launch", "--quiet"),  # avoids its stack trace below our message
        *("--config_file", str(hardware.config), "--num_cpu_threads_per_process", str(threads)),
        *(("--num_processes", str(hardware.processes)) if hardware.why and hardware.processes > 1 else ()),
        *(() if kind == "generate" else launcher_flags(study, hardware, alone=kind == "trial")),
        *("-m", TARGETS[kind], str(work.recipe)),
        # several machines decide independently what is missing: they must find the same
        *(part for name in names for part in ("--arm", name) if kind != "train" or hardware.machines == 1),
        *work.overrides,
    ]
    environment = {
        **os.environ,
        LOCK_HELD: str(work.run.folder.resolve()),
        Clock.STARTED: str(time.monotonic()),
        CONFIG_NAME: hardware.name,
        "HF_HUB_DISABLE_TELEMETRY": os.environ.get("HF_HUB_DISABLE_TELEMETRY", "1"),  # TRL's trainers send telemetry
        "PYTHONSAFEPATH": "1",  # a yaml.py in the working folder must not shadow the library
    }
    killed_before = out_of_memory_kills()
    if kind == "train" and (others := busy_cores()) > 0.5:
        work.screen.say(
            f"  other programs keep about {others:.1f} of {os.cpu_count()} cores busy; training threads wait for "
            "each other, so it may take up to three times as long"
        )
    if hardware.why:
        work.screen.say(f"  hardware: {hardware.why}; {_computing(study, stale)}")
    work.screen.say(f"  accelerate launch {' '.join(command[3:])}")
    work.screen.doing(f"{nodes[0].stage}: libraries are loaded")
    returncode = (_watched if work.screen.shows_whole else _plain)(command, environment, work.screen)
    again = "Run the same command to continue."
    if out_of_memory_kills() > killed_before:
        again = f"The system ran out of memory and killed a process. {LESS_MEMORY.get(kind, '')} {again}"
    if returncode < 0:
        raise InputError(f"{nodes[0].name} was ended by signal {-returncode}. {again}")
    follows = kind == "train" and study.training.launcher.machine_rank > 0  # machine 0 writes the manifests
    unfinished = [] if follows else work.run.incomplete(stale)
    if returncode or unfinished:
        what = ", ".join(node.name for node in unfinished) or nodes[0].stage
        # the launcher reports 1 for everything, and nothing of a killed process
        raise InputError(
            f"{what} did not finish (exit code {returncode}). If there is no error above, a process was killed. {again}"
        )
    return [node.name for node in stale]


def _plain(command: Sequence[str], environment: Mapping[str, str], screen: Screen) -> int:  # noqa: ARG001
    """Run a command whose output goes straight to the terminal."""
    return subprocess.run(command, env=environment, check=False).returncode  # noqa: S603 - our own command


def _watched(command: Sequence[str], environment: Mapping[str, str], screen: Screen) -> int:
    """Run a command and print its output; its events update the overall progress instead."""
    own = {**environment, LISTENING: LIVE if screen.live else LINES, "PYTHONUNBUFFERED": "1"}
    errors = subprocess.PIPE if sys.stderr.isatty() else None
    with subprocess.Popen(  # noqa: S603 - our own command
        command, env=own, stdout=subprocess.PIPE, stderr=errors, text=True, errors="replace", bufsize=1
    ) as process:
        readers = [
            threading.Thread(target=_relay, args=(stream, screen), daemon=True)
            for stream in (process.stdout, process.stderr)
            if stream is not None
        ]
        for reader in readers:
            reader.start()
        try:
            returncode = process.wait()
        except BaseException:
            process.kill()
            raise
        for reader in readers:
            reader.join(timeout=5.0)  # a grandchild may hold the pipe open
    return returncode


def _relay(stream: IO[str], screen: Screen) -> None:
    for line in stream:
        event = parse(line)
        if event is None:
            screen.say(line.rstrip("\n"))
        else:
            screen.hear(event)


def _computing(study: Study, nodes: Sequence[Node]) -> str:
    """Describe the dtype in which each student of these nodes computes."""
    used = sorted({node.student for node in nodes if node.student is not None})
    return ", ".join(f"student {name} in {study.students[name].dtype}" for name in used)


LESS_MEMORY: Mapping[Kind, str] = {
    "train": "To use less of it, raise training.gradient_accumulation or set training.activation_checkpointing.",
    "generate": "To use less of it, lower evaluation.batch_size.",
    "trial": "Not even one row fits: use a smaller student, quantization: nf4, or a machine with more memory.",
}
"""Kind of node -> advice when it runs out of memory."""


def busy_cores(seconds: float = 0.2) -> float:
    """Measure how many cores other programs keep busy during a sleep."""
    return float(psutil.cpu_percent(seconds)) / 100 * (os.cpu_count() or 1)


def out_of_memory_kills() -> int:
    """Return the number of processes that the kernel has killed for lack of memory since boot; 0 if unknown."""
    try:
        lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
