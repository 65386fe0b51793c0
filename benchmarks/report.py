"""Report at scale: 100,000 attempts in each of 10 arms, from run folder to page, seconds and peak memory.

    python benchmarks/report.py                       # makes the run in a temporary folder, about 1.3 GB
    python benchmarks/report.py --attempts 2000 --arms 3 --folder /tmp/run
    python benchmarks/report.py --folder /tmp/run --reuse

The run is synthetic and seeded: problems of the built-in bAbI generator under further ids, attempts of about 1.2 kB
with a trace of five judged steps, arms whose accuracy and trace accuracy differ. What is timed is
`tracedistill report RUN` as a process of its own. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from machine import machine

from tracedistill.compute import usable_cores
from tracedistill.files import dumps, to_json, write_json, write_jsonl
from tracedistill.recipes import Arm, StudentConfig, Study, TaskConfig, resolved
from tracedistill.records import Problem
from tracedistill.tasks import Source, get_task

SEED = 5
TEMPLATES = 500
LINE_BYTES = 1_200
"""Aimed at; what a student with a chatty trace leaves."""
LIMITS = {"seconds": 60, "cpu_seconds": 60, "memory_bytes": 2e9, "page_bytes": 5e6}


def make_run(folder: Path, attempts: int, arms: int) -> int:
    """Write a run folder as the pipeline would leave it; returns the bytes of all attempts."""
    templates = list(get_task("babi").load("test", Source(seed=SEED, size=TEMPLATES)))
    names = [f"arm-{number}" for number in range(arms)]
    study = Study(
        study="scale",
        task=TaskConfig(name="babi", train=0, test=attempts),
        students={"student": StudentConfig(model="folder/of-a-student")},
        arms={name: Arm(prompt="chain-of-thought") for name in names},
        seed=SEED,
        comparisons=tuple((name, names[0]) for name in names[1:]),
    )
    write_jsonl(folder / "problems.jsonl", _problems(templates, attempts))
    empty = {"n": attempts, "found": 0, "repeats": []}
    report = {"sizes": {"train": 0, "validation": 0, "test": attempts}, "overlap": {"train/test": empty}, "near": {},
              "duplicates": {}, "audit": {}, "dropped_from_train": []}  # fmt: skip
    write_json(folder / "problems.report.json", report)
    write_json(folder / "study.json", {"study": "scale"})
    written = 0
    for number, name in enumerate(names):
        path = folder / "attempts" / f"{name}.jsonl"
        path.parent.mkdir(exist_ok=True)
        with path.open("w", encoding="utf-8") as stream:
            for line in _lines(templates, attempts, name, number):
                written += stream.write(line)
        _manifest(folder, f"generate:{name}", f"attempts/{name}.jsonl", resolved(study))
    _manifest(folder, "problems", "problems.jsonl", resolved(study))
    return written


def _problems(templates: list[Problem], count: int) -> Iterator[Problem]:
    for place in range(count):
        template = templates[place % len(templates)]
        yield replace(template, problem_id=f"scale-test-{place}", split="test")


def _lines(templates: list[Problem], count: int, arm: str, number: int) -> Iterator[str]:
    """Make attempts: each problem has a difficulty of its own, so that arms' verdicts hang together."""
    rng = random.Random(SEED * 1000 + number)
    shared = random.Random(SEED)
    kinds = [(ok, traced) for ok in (True, False) for traced in (True, False)]
    bodies = {(place, *kind): _body(template, *kind) for place, template in enumerate(templates) for kind in kinds}
    for place in range(count):
        ease = shared.random()
        ok = rng.random() < 0.35 + 0.04 * number + 0.4 * (ease - 0.5)
        traced = rng.random() < (0.8 if ok else 0.3)
        finish = "length" if rng.random() < 0.02 else "stop"
        head = {
            "attempt_id": f"{arm}/scale-test-{place}/0", "problem_id": f"scale-test-{place}", "arm": arm,
            "student": "student", "finish": finish, "tokens_in": 80 + place % 60, "tokens_out": 40 + rng.randrange(60),
            "seconds": round(0.01 + rng.random() / 50, 4), "cut_off": finish == "length",
        }  # fmt: skip
        yield json.dumps(head)[:-1] + ", " + bodies[place % len(templates), ok, traced] + "\n"


def _body(template: Problem, ok: bool, traced: bool) -> str:
    """Return the rest of a line: text and verdicts."""
    task = get_task("babi")
    trace = task.render_trace(template.gold_steps)
    answer = task.render_answer(template) if ok else "nowhere"
    verdict = {
        "outcome": "correct" if ok else "incorrect",
        "extracted": answer,
        "reason": "",
        "steps": [],
        "figures": {},
    }
    steps = [
        {"index": index, "kind": step.kind, "outcome": "correct" if traced or index == 0 else "incorrect",
         "reason": "" if traced or index == 0 else "cites 2 facts, of which 1 is a gold fact",
         "figures": {"precision": 0.5, "recall": 1.0}}
        for index, step in enumerate(template.gold_steps)
    ]  # fmt: skip
    steps += [
        {"index": index, "kind": "calculation", "outcome": "correct" if traced or index == 2 else "incorrect",
         "reason": "" if traced or index == 2 else "4 + 5 is 9, not 8", "figures": {}} for index in range(2, 5)
    ]  # fmt: skip
    judged = {"outcome": "correct" if traced else "incorrect", "extracted": None, "reason": "", "steps": steps,
              "figures": {"class": 1.0, "facts_exact": 1.0 if traced else 0.0}}  # fmt: skip
    value: dict[str, Any] = {"text": f"{trace}\nAnswer: {answer}", "answer": verdict, "derived": verdict,
                             "candidate": verdict, "trace": judged, "answer_in_trace": traced}  # fmt: skip
    short = LINE_BYTES - 260 - len(dumps(value))
    value["text"] = f"{'Let us see. ' * max(0, short // 12)}\n{value['text']}"
    return dumps(to_json(value))[1:]


def _manifest(folder: Path, node: str, output: str, recipe: dict[str, Any]) -> None:
    stat = (folder / output).stat()
    made = {output: {"sha256": "0" * 64, "bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}}
    facts = {"seconds": 1.0, "peak_memory_bytes": 0, "libraries": {}, "params": {}, "inputs": {}, "recipe": recipe}
    write_json(folder / f"{output}.manifest.json", {"node": node, "outputs": made, **facts})


def measure(folder: Path) -> dict[str, float]:
    """Run the command; seconds by the clock and of the processor, peak memory, size of the page."""
    command = [sys.executable, "-m", "tracedistill.cli", "report", str(folder)]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status:
        raise SystemExit(f"report failed: {status}")
    factor = 1 if sys.platform == "darwin" else 1024
    page = (folder / "report.html").stat().st_size
    # beside the clock's: on a machine that is busy otherwise the clock says more about the others
    cpu = round(usage.ru_utime + usage.ru_stime, 1)
    found = {"seconds": round(seconds, 1), "cpu_seconds": cpu, "memory_bytes": usage.ru_maxrss * factor}
    return {**found, "page_bytes": page}


def main() -> int:
    """Make the run, report it, say what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--attempts", type=int, default=100_000, help="per arm (%(default)s)")
    parser.add_argument("--arms", type=int, default=10, help="(%(default)s)")
    parser.add_argument("--folder", type=Path, help="where to make the run; none: a temporary folder")
    parser.add_argument("--reuse", action="store_true", help="report the run that --folder holds already")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary) / "scale"
        size = 0
        if not options.reuse:
            folder.mkdir(parents=True, exist_ok=True)
            started = time.perf_counter()
            size = make_run(folder, options.attempts, options.arms)
            took = time.perf_counter() - started
            print(
                f"made {options.arms} x {options.attempts} attempts, {size / 1e9:.2f} GB, in {took:.0f} s", flush=True
            )
        found = measure(folder)
    for name, value in found.items():
        print(f"{name}: {value:,.1f} (limit {LIMITS[name]:,.0f})")
    settings = {"attempts": options.attempts, "arms": options.arms, "attempts_bytes": size, "cpus": usable_cores()}
    within = all(value < LIMITS[name] for name, value in found.items())
    print(json.dumps({**found, "within_limits": within, **settings, **machine()}))
    return 0 if within else 1


if __name__ == "__main__":
    raise SystemExit(main())
