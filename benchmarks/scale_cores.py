"""Traces judged on one core and on all: seconds, rows a second, peak memory, and whether the files are the same.

The traces are real ones (`--traces`: JSON Lines with `problem_id` and `text`, on GSM8K) or, without them, those that
rules write of the built-in bAbI stories; where `--rows` is more than there are, they are repeated under new ids. One
process a measurement; memory is the peak of the process that leads and of the largest worker, `worker_cpu_s` the
processor seconds of all workers, which tell on a busy machine what a quiet one would do.

    python benchmarks/scale_cores.py [--rows 20000] [--cores 1 2] [--data-dir DIR --traces FILE] [--folder DIR]
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from machine import machine

from tracedistill.files import write_json, write_jsonl
from tracedistill.records import Problem, Trace
from tracedistill.tasks import Source, get_task
from tracedistill.teachers import teach_by_rules
from tracedistill.teachers.parser import parse_teacher_text, trace_from

RECIPE = """
study: scale
run_dir: {run}
task: {{name: {task}, train: 5, validation: 0, test: 5}}
students: {{s: {{model: "scripted:nothing:here"}}}}
teachers: {{writer: {{kind: rules}}}}
arms: {{tuned: {{tune: correct}}}}
"""
CHILD = """
import json, resource, sys, time
from pathlib import Path
from tracedistill import pipeline
from tracedistill.pipeline.screen import Screen
from tracedistill.pipeline.study_run import StudyRun
from tracedistill.pipeline.validate import judge_traces
loaded = pipeline.load(sys.argv[1], [f"cores={sys.argv[2]}"])
work = StudyRun(loaded, Screen(quiet=True))
begun = time.perf_counter()
judge_traces(work, "writer")
work.compute.close()
seconds = time.perf_counter() - begun
found = {"seconds": round(seconds, 1)}
for who, used in zip(("driver", "worker"), map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))):
    found |= {f"{who}_mb": round(used.ru_maxrss / 1024), f"{who}_cpu_s": round(used.ru_utime + used.ru_stime, 1)}
print(json.dumps(found))
"""


def seeds(options: argparse.Namespace) -> tuple[str, list[tuple[Problem, Trace]]]:
    """Return the task's name and the repeated pairs."""
    if options.traces is None:
        task = get_task("babi")
        problems = list(itertools.islice(task.load("train", Source(seed=3, size=2000)), 2000))
        by_id = {problem.problem_id: problem for problem in problems}
        return "babi", [(by_id[trace.problem_id], trace) for trace in teach_by_rules(task, problems, "writer")]
    task = get_task("gsm8k")
    by_id = {problem.problem_id: problem for problem in task.load("train", Source(data_dir=options.data_dir))}
    pairs = []
    with options.traces.open(encoding="utf-8") as stream:
        for line in itertools.islice(stream, options.rows):
            row = json.loads(line)
            read = parse_teacher_text(task, row["text"], "solution")
            trace = trace_from(
                task,
                row["problem_id"],
                "writer",
                read,
                numbered=False,
                sample=0,
                oracle=False,
                meta={"reads": "solution"},
            )
            pairs.append((by_id[row["problem_id"]], trace))
    return "gsm8k", pairs


def repeated(pairs: list[tuple[Problem, Trace]], rows: int) -> Iterator[tuple[Problem, Trace]]:
    """So many pairs, each with ids and (so that no cache knows it) a question of its own."""
    for number in range(rows):
        problem, trace = pairs[number % len(pairs)]
        key = f"{problem.problem_id}-{number}"
        yield (
            replace(problem, problem_id=key, question=f"({number}) {problem.question}"),
            replace(trace, problem_id=key, trace_id=f"{trace.trace_id}-{number}"),
        )


def _digest(path: Path) -> str:
    """Hash a file piece by piece: the peak memory of a process starts at that of the one that started it."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def main() -> None:
    """Measure and print; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--cores", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--traces", type=Path)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        run = Path(name) / "run"
        task, pairs = seeds(options)
        write_jsonl(run / "problems.jsonl", (problem for problem, _ in repeated(pairs, options.rows)))
        write_jsonl(run / "traces" / "writer.jsonl", (trace for _, trace in repeated(pairs, options.rows)))
        write_json(run / "study.json", {"study": "scale"})
        recipe = Path(name) / "study.yaml"
        recipe.write_text(RECIPE.format(run=run, task=task), encoding="utf-8")
        hashes = set()
        for cores in options.cores:
            for part in run.glob(".parts"):
                subprocess.run(["rm", "-r", str(part)], check=True)
            begun = time.perf_counter()
            command = [sys.executable, "-c", CHILD, str(recipe), str(cores)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            found[f"cores_{cores}"] = {
                **json.loads(done.stdout.splitlines()[-1]),
                "wall_s": round(time.perf_counter() - begun, 1),
            }
            found[f"cores_{cores}"]["rows_per_s"] = round(options.rows / found[f"cores_{cores}"]["seconds"])
            verdicts = run / "validation" / "writer.jsonl"
            report = run / "validation" / "writer.report.json"
            hashes.add(tuple(_digest(path) for path in (verdicts, report)))
    first, last = (found[f"cores_{cores}"]["seconds"] for cores in (options.cores[0], options.cores[-1]))
    print(json.dumps({
        "benchmark": "scale_cores", "task": task, "rows": options.rows, "pairs": len(pairs), **found,
        "speed_up": round(first / last, 2), "same_files": len(hashes) == 1, **machine(),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
