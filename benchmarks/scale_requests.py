"""Requests out and answers in: lines a second, peak memory and bytes, for a teacher that is asked by files.

Each step is a process of its own: `problems` draws them out of a file, `requests` writes what the teacher is to be
asked, `answers` takes the answers in (all but one, so that no trace is read and judged: what is measured is the round
trip through files and cache), `again` takes the same files once more. In between an engine is played that answers every
line at once with a recorded plan. Memory is a process's peak resident set.

    python benchmarks/scale_requests.py [--problems 1000000] [--parts 8] [--folder DIR]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machine import machine

from tracedistill import pipeline
from tracedistill.pipeline.offline import take_answers, write_requests

MEASURED = ("requests", "answers")
PLAN = "\n".join(f"{number}. Find out how many apples there are after day {number}." for number in range(1, 5))
RECIPE = """
study: files
run_dir: {folder}/run
cache: {folder}/cache.sqlite
task: {{name: file, path: {folder}/rows.jsonl, judge: number, train: 5, validation: 0, test: {problems},
       train_split: train, validation_split: null, test_split: test}}
students: {{s: {{model: "scripted:nothing:here"}}}}
teachers: {{planner: {{kind: model, model: big, base_url: "http://127.0.0.1:9/v1", usd_per_million_out: 2.0}}}}
arms: {{told: {{prompt: trace-of-thought}}}}
"""


def rows(path: Path, count: int) -> None:
    """Write so many different problems of about 200 characters."""
    with path.open("w", encoding="utf-8") as stream:
        for number in range(count + 5):
            question = (
                f"Shop {number} has {number % 97 + 3} apples. On day one it sells {number % 7 + 1}, and on each "
                f"of the next {number % 5 + 2} days it buys {number % 11 + 1} more. How many apples has it then?"
            )
            answer = number % 97 + 2 - number % 7 + (number % 5 + 2) * (number % 11 + 1)
            stream.write(
                json.dumps(
                    {"question": question, "answer": str(answer), "split": "test" if number < count else "train"}
                )
                + "\n"
            )


def answer(requests: Path, answers: Path, skip: int = 0) -> None:
    """Play the engine: answer every request of a file but the first `skip`."""
    answers.parent.mkdir(exist_ok=True)
    message = {"choices": [{"message": {"role": "assistant", "content": PLAN}, "finish_reason": "stop"}]}
    body = {**message, "model": "big", "usage": {"prompt_tokens": 90, "completion_tokens": 60}}
    tail = json.dumps({"response": {"status_code": 200, "body": body}, "error": None})[1:]
    with requests.open(encoding="utf-8") as source, answers.open("w", encoding="utf-8") as stream:
        for number, line in enumerate(source):
            if number >= skip:
                stream.write(f'{{"custom_id": "{json.loads(line)["custom_id"]}", {tail}\n')


def step(name: str, folder: Path, parts: int) -> dict[str, Any]:
    """Run one step in this process."""
    loaded, out = pipeline.load(folder / "study.yaml"), folder / "requests"
    started = time.perf_counter()
    found: dict[str, Any] = {}
    if name == "problems":
        pipeline.run(loaded, "problems", quiet=True)
    elif name == "requests":
        written = write_requests(loaded, out, parts, quiet=True).groups["teachers.planner"]
        found = {"lines": sum(written.lines.values()), "largest_part": max(written.lines.values())}
    else:
        received = take_answers(loaded, [out / "answers"], quiet=True)
        taken = received.groups["teachers.planner"]
        found = {"lines": received.lines, "taken": taken.taken, "known": taken.cached, "lacking": taken.lacking.total()}
    seconds = time.perf_counter() - started
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {**found, "seconds": round(seconds, 2), "peak_memory_mb": round(memory / 2**20)}


def main() -> None:
    """Run the steps, and print one line of JSON at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=1_000_000)
    parser.add_argument("--parts", type=int, default=8)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--step", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step:
        print(json.dumps(step(args.step, args.folder, args.parts)))
        return
    with tempfile.TemporaryDirectory() as place:
        folder = args.folder or Path(place)
        folder.mkdir(parents=True, exist_ok=True)
        rows(folder / "rows.jsonl", args.problems)
        (folder / "study.yaml").write_text(RECIPE.format(folder=folder, problems=args.problems), encoding="utf-8")
        steps: dict[str, Any] = {}
        for name in ("problems", "requests", "answers", "again"):
            if name == "answers":
                for number, path in enumerate(sorted((folder / "requests").glob("*.jsonl"))):
                    answer(path, folder / "requests" / "answers" / path.name, skip=int(number == 0))
            command = [sys.executable, __file__, "--folder", str(folder), "--parts", str(args.parts), "--step", name]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            steps[name] = json.loads(done.stdout.splitlines()[-1])
            print(name, steps[name])
        sizes = {
            "requests_mb": sum(path.stat().st_size for path in (folder / "requests").glob("*.jsonl")) >> 20,
            "answers_mb": sum(path.stat().st_size for path in (folder / "requests" / "answers").glob("*")) >> 20,
            "cache_mb": (folder / "cache.sqlite").stat().st_size >> 20,
        }
        rates = {
            f"{name}_per_second": round(args.problems / steps[name]["seconds"]) for name in ("requests", "answers")
        }
        print(json.dumps({"benchmark": "scale_requests", "problems": args.problems, **rates, **sizes, "steps": steps,
                          "machine": machine()}))  # fmt: skip


if __name__ == "__main__":
    main()
