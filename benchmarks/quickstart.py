"""The README's study from nothing to its page, timed: what `make quickstart` takes once everything is installed.

    python benchmarks/quickstart.py                                # quiet machine: nothing else may run
    python benchmarks/quickstart.py students.smollm2-135m.dtype=float32 task.test=40

A run folder and a cache of its own, both thrown away (`--keep FOLDER`: the run folder stays): the student's weights are
converted and the processor is measured within the time. Words are changes to the recipe. The forecast is the dry run's,
by the same measurement. The last line is JSON; the exit code is 1 if the study took over `--limit` seconds (0: any).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import machine

RECIPE = Path(__file__).parents[1] / "recipes" / "quickstart" / "study.yaml"
FORECAST = """
import json, sys
from tracedistill import pipeline
found = pipeline.dry_run(pipeline.load(sys.argv[1], sys.argv[2:]))
print(json.dumps({"training": found.tuning_seconds, "generation": found.evaluation_seconds}))
"""


def manifests(folder: Path) -> list[dict[str, Any]]:
    """Return the files of a run folder, in no order."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in folder.rglob("*.manifest.json")]


def timed(words: list[str], folder: Path, environment: dict[str, str]) -> tuple[float, float]:
    """Return (seconds by the clock, seconds of the processor) of the study as a process of its own."""
    command = [sys.executable, "-m", "tracedistill.cli", "run", str(RECIPE), f"run_dir={folder}", *words]
    before, started = os.times(), time.perf_counter()
    finished = subprocess.run(command, env=environment, check=False, stdout=sys.stderr)
    seconds, after = time.perf_counter() - started, os.times()
    if finished.returncode:
        raise SystemExit(f"the study failed: {finished.returncode}")
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return seconds, spent


def main() -> int:
    """Run, and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("changes", nargs="*", metavar="key=value", help="override recipe keys")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds that it may take; 0: any")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="a new folder for the run, which stays")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        environment = {**os.environ, "TRACEDISTILL_CACHE": f"{place}/cache"}
        folder = options.keep or Path(place) / "run"
        seconds, cpu_seconds = timed(options.changes, folder, environment)
        command = [sys.executable, "-c", FORECAST, str(RECIPE), f"run_dir={place}/forecast", *options.changes]
        told = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
        forecast = json.loads(told.splitlines()[-1])
        made = manifests(folder)
        kinds = {each["node"]: each["node"].partition(":")[0] for each in made}

        def spent(*names: str) -> float:
            return round(sum(each["seconds"] for each in made if kinds[each["node"]] in names), 1)

        peaks = [each["peak_memory_bytes"] for each in made]
        dtypes = {each["engine"]["dtype"] for each in made if "engine" in each}
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    result = {
        "seconds": round(seconds, 1),
        "training_seconds": spent("train"),
        "generation_seconds": spent("generate", "parity"),
        "cpu_seconds": round(cpu_seconds, 1),
        "forecast_training_seconds": round(forecast["training"], 1),
        "forecast_generation_seconds": round(forecast["generation"], 1),
        "dtype": " ".join(sorted(dtypes)),
        **machine(),
        "peak_gb": round(max(peaks) / 1e9, 2),
        "right": {arm["name"]: arm["correct"] for arm in report["arms"]},
        "changes": options.changes,
    }
    print(json.dumps(result))
    return int(bool(options.limit) and seconds > options.limit)


if __name__ == "__main__":
    sys.exit(main())
