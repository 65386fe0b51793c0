"""Traces judged on a Ray cluster of two nodes, one of which is killed in the middle: the files of one machine.

Two nodes on this machine (`ray.cluster_utils`), one core each; the second is removed without a word once a third of the
parts are ready. Needs Ray. The rows are those of scale_cores.py.

    python benchmarks/scale_ray.py [--rows 4000] [--data-dir DIR --traces FILE]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import threading
import time
from pathlib import Path

from machine import machine
from ray.cluster_utils import Cluster
from scale_cores import RECIPE, repeated, seeds

from tracedistill import pipeline
from tracedistill.compute import cut
from tracedistill.compute.cluster import RayCluster
from tracedistill.files import write_json, write_jsonl
from tracedistill.pipeline.screen import Screen
from tracedistill.pipeline.study_run import StudyRun
from tracedistill.pipeline.validate import judge_traces

STORE = 80_000_000


def judged(recipe: Path, run: Path, where: str) -> tuple[float, str]:
    """Seconds of the stage's own work in this process, and a hash of what it wrote."""
    loaded = pipeline.load(recipe, [f"compute={where}", "cores=1"])
    work = StudyRun(loaded, Screen(quiet=True))
    work.parts = run.resolve() / f".parts-{where.partition(':')[0]}"
    begun = time.perf_counter()
    judge_traces(work, "writer")
    seconds = time.perf_counter() - begun
    work.compute.close()
    if isinstance(work.compute, RayCluster):
        work.compute.ray.shutdown()
    files = [run / "validation" / f"writer{ending}" for ending in (".jsonl", ".report.json")]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    for file in files:
        file.unlink()
    return round(seconds, 1), digest


def main() -> None:
    """Measure and print; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--traces", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        run, recipe = Path(name) / "run", Path(name) / "study.yaml"
        task, pairs = seeds(options)
        write_jsonl(run / "problems.jsonl", (problem for problem, _ in repeated(pairs, options.rows)))
        write_jsonl(run / "traces" / "writer.jsonl", (trace for _, trace in repeated(pairs, options.rows)))
        write_json(run / "study.json", {"study": "scale"})
        recipe.write_text(RECIPE.format(run=run, task=task), encoding="utf-8")
        alone, wanted = judged(recipe, run, "local")
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": STORE})
        node = cluster.add_node(num_cpus=1, object_store_memory=STORE)
        cluster.wait_for_nodes()
        parts = len(cut(run / "traces" / "writer.jsonl"))
        ready_at_kill: list[int] = []

        def kill() -> None:
            while (ready := len(list((run / ".parts-ray").glob("*/*.part")))) < parts / 3:
                time.sleep(0.01)
            cluster.remove_node(node, allow_graceful=False)
            ready_at_kill.append(ready)

        killer = threading.Thread(target=kill)
        killer.start()
        together, found = judged(recipe, run, f"ray:{cluster.address}")
        killer.join()
        cluster.shutdown()
    print(json.dumps({
        "benchmark": "scale_ray", "task": task, "rows": options.rows, "parts": parts, "parts_at_kill": ready_at_kill[0],
        "one_process_s": alone, "two_nodes_one_killed_s": together, "same_files": found == wanted, **machine(),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
