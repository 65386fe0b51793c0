"""Recorded traces through the stages teach and validate, in bounded memory: rows per second and peak resident set.

A temporary file holds `--rows` worked solutions over the GSM8K training problems (7,473 with --data-dir, else as many
synthetic ones): the gold's steps behind one of 144 openings, every seventh with a wrong number. The stages read, parse,
judge step by step and write them, as `tracedistill validate` does. One process; nothing is kept but the counts.

    python benchmarks/recorded.py [--rows 1000000] [--data-dir FOLDER] [--folder TMP]
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import yaml
from machine import machine

from tracedistill import pipeline
from tracedistill.records import Problem
from tracedistill.tasks import Source, get_task

PROBLEMS = 7_473
OPENINGS = [
    f"{first} {second}"
    for first in ("We read the question.", "Let us begin.", "Here is how to do it.", "This takes a few steps.",
                  "We go step by step.", "First we look at what is given.", "The question is clear.", "Let us see.",
                  "It is best to go in order.", "We start with what is known.", "One thing after the other.", "So:")
    for second in ("Then we calculate.", "We write every step down.", "We use what the question says.", "Now we start.",
                   "Each line holds one step.", "We keep the units in mind.", "We check as we go.", "Off we go.",
                   "The rest follows.", "No step is left out.", "We take care.", "The lines below show it.")
]  # fmt: skip
"""144 pairs of sentences without a number: what makes one problem's traces differ."""


def write_problems(folder: Path) -> None:
    """Write synthetic training problems in GSM8K's own form, and one test problem."""
    (folder / "gsm8k").mkdir(parents=True)
    rng = random.Random(0)
    for split, count in (("train", PROBLEMS), ("test", 1)):
        with (folder / "gsm8k" / f"{split}.jsonl").open("w", encoding="utf-8") as stream:
            for number in range(count):
                a, b, c = rng.randint(12, 90), rng.randint(3, 9), rng.randint(2, 11)
                steps = [
                    f"They pack {a}*{b} = <<{a}*{b}={a * b}>>{a * b} pens.",
                    f"After the loss {a * b}-{c} = <<{a * b}-{c}={a * b - c}>>{a * b - c} pens are left.",
                ]
                row = {
                    "id": f"gsm8k-{split}-{number}",
                    "question": f"In town {number} they pack {a} boxes of {b} pens and lose {c} pens. What is left?",
                    "answer": "\n".join([*steps, f"#### {a * b - c}"]),
                }
                stream.write(json.dumps(row) + "\n")


def traces(problems: list[Problem], rows: int) -> Iterator[dict[str, str]]:
    """Yield so many rows of a teacher's file, problem after problem."""
    rng = random.Random(1)
    for number in range(rows):
        problem = problems[number % len(problems)]
        lines = [OPENINGS[number // len(problems) % len(OPENINGS)], *(step.text for step in problem.gold_steps)]
        if number % 7 == 3:
            at = rng.randrange(1, len(lines))
            lines[at] = lines[at].replace("= ", f"= {rng.randint(2, 9)}", 1)
        yield {"problem_id": problem.problem_id, "text": "\n".join([*lines, f"The answer is {problem.answers[0]}."])}


def main() -> None:
    """Measure and print; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--data-dir", type=Path, help="folder with gsm8k/train.jsonl; none: synthetic problems")
    parser.add_argument("--folder", type=Path, help="where the temporary folder is made; 3 GB for 1,000,000 rows")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="recorded-") as name:
        folder = Path(name)
        data = options.data_dir or folder / "data"
        if options.data_dir is None:
            write_problems(data)
        problems = list(get_task("gsm8k").load("train", Source(data.resolve())))
        with (folder / "traces.jsonl").open("w", encoding="utf-8") as stream:
            for row in traces(problems, options.rows):
                stream.write(json.dumps(row) + "\n")
        del problems
        recipe = {
            "study": "recorded",
            "run_dir": str(folder / "run"),
            "task": {"name": "gsm8k", "data_dir": str(data.resolve()), "validation": 0, "test": 1},
            "teachers": {"file": {"kind": "recorded", "path": str(folder / "traces.jsonl"), "reads": "solution"}},
            "students": {"none": {"model": "scripted:none:none"}},
            "arms": {"correct-trace": {"tune": "correct"}},
        }
        (folder / "study.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
        loaded = pipeline.load(folder / "study.yaml")
        pipeline.run(loaded, "problems", quiet=True)
        seconds = {}
        for stage in ("teach", "validate"):
            start = time.perf_counter()
            pipeline.run(loaded, stage)
            seconds[stage] = time.perf_counter() - start
        report = json.loads((folder / "run" / "validation" / "file.report.json").read_text(encoding="utf-8"))
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert report["traces"] == options.rows, f"{report['traces']} of {options.rows} rows were judged"
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(f"{report['accepted']} of {report['traces']} accepted; {size / 1e9:.2f} GB on disk")
    figures = {
        "rows": options.rows,
        "rows_per_s": round(options.rows / sum(seconds.values()), 1),
        "teach_s": round(seconds["teach"], 1),
        "validate_s": round(seconds["validate"], 1),
        "peak_rss_mb": round(peak / 1e6, 1),
    }
    print(json.dumps({**figures, **machine()}))


if __name__ == "__main__":
    main()
