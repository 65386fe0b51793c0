"""A teach stage of many problems: peak memory, time to the first call, time to go on after a kill.

The model is an engine that answers every call at once with a recorded plan, so what is measured is everything around
the calls: prompts, keys, cache, ledger, traces, files. Three processes, one after another: `fresh` is ended by kill -9
once half of the calls are answered; `resume` runs the same command; `again` makes the same file out of the cache alone.
Memory is the process's peak resident set; `base` is what it is with ten problems.

    python benchmarks/teach_stream.py [--problems 1000000] [--samples 4] [--folder DIR]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from machine import machine

from tracedistill import pipeline
from tracedistill.engines import Generation, Request
from tracedistill.engines.budget import Prices
from tracedistill.engines.calls import CallOutcome, Pacing
from tracedistill.engines.usage import TokenUsage
from tracedistill.files import write_json, write_jsonl
from tracedistill.pipeline.screen import Screen
from tracedistill.pipeline.study_run import StudyRun
from tracedistill.pipeline.teach import Teachers
from tracedistill.records import Problem

PLAN = "\n".join(
    f"{number}. Find out how many apples there are after day {number} of the sale." for number in range(1, 5)
)
RECIPE = """
study: stream
seed: 0
run_dir: {folder}/run
cache: {folder}/cache.sqlite
task: {{name: gsm8k, train: 5, validation: 0, test: 5}}
students: {{s: {{model: "scripted:nothing:here"}}}}
teachers:
  planner: {{kind: model, model: recorded, base_url: "http://127.0.0.1:9/v1", samples: {samples}, temperature: 1.0,
            concurrency: 64, usd_per_million_in: 1.0, usd_per_million_out: 2.0}}
arms: {{told: {{prompt: trace-of-thought}}}}
"""


class Recorded:
    """Answers at once; dies at a given call."""

    pacing = Pacing(concurrency=64, start=64)
    prices = Prices(1.0, 2.0)

    def __init__(self, started: float, dies_at: int) -> None:
        self.calls, self.first, self._started, self._dies_at = 0, 0.0, started, dies_at

    def describe(self) -> dict[str, Any]:
        """Return its name."""
        return {"engine": "recorded"}

    @asynccontextmanager
    async def session(self) -> AsyncIterator[None]:
        """Yield nothing to open."""
        yield

    async def attempt(self, request: Request) -> CallOutcome:
        """Return the recorded plan."""
        if not self.calls:
            self.first = time.perf_counter() - self._started
        self.calls += 1
        if self.calls == self._dies_at:
            print(json.dumps(figures(self)), flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        await asyncio.sleep(0)
        answer = Generation(request.request_id, PLAN, "stop", tokens_in=120, tokens_out=60, seconds=0.001)
        return CallOutcome(answer, billed=True, used=TokenUsage(120, 60))


def figures(engine: Recorded) -> dict[str, Any]:
    """Return what a process has come to."""
    return {
        "calls": engine.calls,
        "first_call_s": round(engine.first, 2),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "cpu_s": round(time.process_time(), 1),
    }


def teach(recipe: Path, dies_at: int) -> None:
    """Run the teach stage in this process and print its figures as JSON."""
    started = time.perf_counter()
    loaded = pipeline.load(recipe)
    work = StudyRun(loaded, Screen(quiet=True))
    engine = Recorded(started, dies_at)
    Teachers(work).engine = lambda *_: engine  # type: ignore[method-assign]
    Teachers(work).make("planner")
    print(json.dumps({**figures(engine), "seconds": round(time.perf_counter() - started, 1)}))


def draw(folder: Path, problems: int) -> None:
    """Draw problems of ordinary length."""
    story = "A farmer picks {} apples, sells half of them at 3 for 2 dollars and gives away {} of the others. " * 3
    write_jsonl(
        folder / "run" / "problems.jsonl",
        (
            Problem(f"gsm8k-test-{index}", "gsm8k", "test", story.format(*[index] * 6) + "What is left?", ("4",))
            for index in range(problems)
        ),
    )
    write_json(folder / "run" / "problems.report.json", {"sizes": {"test": problems}})


def measured(folder: Path, problems: int, samples: int) -> dict[str, Any]:
    """Return the three processes' figures."""
    recipe = folder / "study.yaml"
    folder.mkdir(exist_ok=True)
    recipe.write_text(RECIPE.format(folder=folder, samples=samples), encoding="utf-8")
    draw(folder, problems)
    found: dict[str, Any] = {}
    for phase, dies_at in (("fresh", problems * samples // 2), ("resume", 0), ("again", 0)):
        started = time.perf_counter()
        command = [sys.executable, __file__, "--child", str(recipe), "--dies-at", str(dies_at)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        found[phase] = json.loads(done.stdout.splitlines()[-1])
        found[phase]["wall_s"] = round(time.perf_counter() - started, 1)
    traces = folder / "run" / "traces" / "planner.jsonl"
    with traces.open("rb") as stream:
        found["traces"] = sum(1 for _ in stream)
    found["cache_mb"] = round((folder / "cache.sqlite").stat().st_size / 2**20)
    assert found["traces"] == problems * samples
    return found


def main() -> None:
    """Measure and print; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=1_000_000)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--dies-at", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        teach(options.child, options.dies_at)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        base = measured(Path(name) / "base", 10, options.samples)["resume"]["peak_mb"]
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        found = measured(Path(name), options.problems, options.samples)
    print(json.dumps({"problems": options.problems, "samples": options.samples, "base_mb": base, **found, **machine()}))


if __name__ == "__main__":
    main()
