"""Estimate memory and time of tuning and evaluating a student, from its size, its rows and a machine's speed.

Good to a factor of two unless measured. The basis of each constant is stated with it; the speed of a CPU is measured
(processor.py), and the results were compared with the quickstart study (docs/speed.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from tracedistill.engines.sizes import PACKED_BYTES, ModelSize
from tracedistill.recipes import StudentConfig, TrainingConfig

GB = 10**9

LIBRARIES = 0.6 * GB
"""A process with torch, transformers, TRL and PEFT loaded (0.55 GB of resident set), or a GPU's own context."""
KEPT = {"cpu": 2.0, "gpu": 1.2}
"""Memory taken per byte of activations, since freed pieces of unlike size stay with the allocator. CPU: the
quickstart's second and third adapter; GPU: a guess."""
GPU_SHARE = 0.3
"""Share of the speed of plain matrix products that training and generation reach on a GPU: a guess. On a CPU both are
measured directly."""
PARALLEL = 0.9
"""Speed per core when all work on one product, relative to one alone: the quickstart, two cores."""
START_SECONDS = 2.0
"""Loading weights, once per adapter or arm."""
LAUNCH_SECONDS = 10.0
"""Loading libraries: once for all adapters, once for all arms."""
STEP_TOKENS = {"bfloat16": 70, "float32": 10}
"""What a micro-batch costs on a CPU beside its own tokens, in tokens: all weights come out of memory, in bfloat16 each
is laid out anew for its product, and several thousand small operations are started. SmolLM2-135M: bfloat16 from steps
of 1 and 8 rows (docs/speed.md), float32 from the quickstart's rate."""
TAIL_ROWS = 8
"""A generation step takes at least the time of this many rows: the weights are read for any number of rows."""
LAUNCH = {"train": 2e-3, "write": 1e-3}
"""Least seconds per layer on a GPU, for a micro-batch forward and backward, and for one token of a batch: starting
hundreds of small kernels. A guess."""
HEAD = {"cpu": 0.1 * GB, "gpu": 1.0 * GB}
"""Memory for logits: on a CPU tiles of 2^25, on a GPU TRL's chunks (a guess)."""
LENGTH_STEP = 256
"""Granularity in tokens of the longest fitting row."""


@dataclass(frozen=True, slots=True)
class Device:
    """A device that runs a student."""

    name: str
    """Display name."""
    kind: Literal["cpu", "gpu"]
    """Which constants apply."""
    flops: float
    """Floating-point operations per second of plain matrix products, in the student's dtype."""
    memory: float
    """Bytes; 0: unknown."""
    bandwidth: float = 0.0
    """Bytes per second between a GPU's memory and its cores; 0: not needed."""
    source: str = ""
    """Measured here, or source of the figures."""
    train: float = 0.0
    """Rate of the same operations in training, overhead included; 0: a share of `flops`."""
    read: float = 0.0
    """Rate when reading prompts."""
    write: float = 0.0
    """Rate when generating, 32 rows at a time."""

    @property
    def known(self) -> bool:
        """Whether its speed is known."""
        return self.flops > 0

    def rate(self, work: Literal["train", "read", "write"]) -> float:
        """Return operations per second of all cores together in this work."""
        if self.kind == "gpu":
            return GPU_SHARE * self.flops
        return PARALLEL * (float(getattr(self, work)) or self.flops)


def _gpu(name: str, teraflops: float, gigabytes: float, bandwidth: float) -> Device:
    source = "dense bf16 of NVIDIA's data sheet"
    return Device(name, "gpu", teraflops * 1e12, gigabytes * GB, bandwidth * 1e9, source)


DEVICES: dict[str, Device] = {
    "l4": _gpu("L4", 121, 24, 300),
    "a10": _gpu("A10", 125, 24, 600),
    "rtx-4090": _gpu("RTX 4090", 165, 24, 1008),
    "l40s": _gpu("L40S", 362, 48, 864),
    "a100": _gpu("A100 80GB", 312, 80, 2039),
    "h100": _gpu("H100 SXM", 989, 80, 3350),
    "h200": _gpu("H200", 989, 141, 4800),
}
"""Value of `--device` -> one such GPU."""


@dataclass(frozen=True, slots=True)
class RowLengths:
    """Lengths of an arm's rows, in tokens."""

    rows: int
    """Rows to tune on."""
    tokens: int
    """Tokens of all rows."""
    supervised: int
    """Supervised tokens."""
    longest: int
    """Tokens of the longest row."""


@dataclass(frozen=True, slots=True)
class PromptLengths:
    """Lengths of an arm's prompts and answers, in tokens."""

    requests: int
    """Prompts, over all samples and plans."""
    tokens: int
    """Tokens of all prompts."""
    longest: int
    """Tokens of the longest prompt."""
    written: float
    """Tokens per answer, mean or maximum."""
    most: int
    """Limit of an answer (`max_tokens`)."""
    shared: int = 0
    """Common prefix of all prompts, computed once."""
    longest_written: float = 0.0
    """Approximate tokens of the longest answer; 0: the limit."""


@dataclass(frozen=True, slots=True)
class Need:
    """Estimated cost of one piece of work on one device."""

    seconds: float
    """Wall time on an idle machine."""
    memory: float
    """Peak bytes of one process."""


def passes(rows: int, training: TrainingConfig) -> float:
    """Return the number of passes over each row."""
    if training.max_steps > 0:
        return training.max_steps * training.batch_size / max(1, rows)
    return training.epochs


def evaluations(steps: int, training: TrainingConfig) -> int:
    """Return the number of validation loss evaluations: every `eval_steps` steps, and after the last."""
    return math.ceil(steps / training.eval_steps) if training.eval_steps else 0


def like(rows: RowLengths, count: int) -> RowLengths:
    """Return lengths for this many uncounted rows, with the same mean length."""
    share = count / max(1, rows.rows)
    return RowLengths(count, round(share * rows.tokens), round(share * rows.supervised), rows.longest)


def trained_weights(size: ModelSize, training: TrainingConfig) -> int:
    """Count the weights that the optimizer updates."""
    if training.method == "full":
        return size.parameters
    return size.lora(training.lora_r, training.lora_targets)


def training_need(
    size: ModelSize,
    rows: RowLengths,
    training: TrainingConfig,
    student: StudentConfig,
    device: Device,
    heldout: RowLengths | None = None,
    shared: int = 1,
    *,
    imitated: bool = True,
) -> Need:
    """Estimate the need of one adapter on one device. `heldout`: the validation rows of `training.eval_steps`.

    `shared`: processes that share one row (context parallelism); each then holds its part of it. `imitated`: by the
    trainer that leaves out padding on a CPU.
    """
    steps = training.optimizer_steps(rows.rows)
    operations = training_flops(size, rows, training, device)
    padded = device.kind == "gpu" or not imitated
    seconds = (padding(rows, training) if padded else 1.0) * operations / device.rate("train")
    micro_batches = steps * training.gradient_accumulation
    if device.kind == "gpu":
        least = micro_batches * size.layers * LAUNCH["train"]
        seconds = max(seconds, least * (4 / 3 if training.activation_checkpointing else 1))
    else:
        tokens = micro_batches * STEP_TOKENS["float32" if student.dtype == "float32" else "bfloat16"]
        seconds += tokens * operations / max(1.0, rows.tokens * passes(rows.rows, training)) / device.rate("train")
    if heldout is not None:
        # within the memory of a training step: a batch of its size, and nothing is kept for a backward pass
        seconds += evaluations(steps, training) * heldout_seconds(size, heldout, training, device)
    return Need(seconds + START_SECONDS, training_memory(size, rows, training, student, device, shared))


def padding(rows: RowLengths, training: TrainingConfig) -> float:
    """Return computed tokens per real token if rows are padded: a micro-batch is as long as its longest row.

    From the expected longest of a micro-batch's draws, spread evenly around the rows' mean.
    """
    if training.packing or not rows.tokens:
        return 1.0
    micro = -(-training.batch_size // training.gradient_accumulation)
    mean = rows.tokens / rows.rows
    return 1.0 + max(0.0, rows.longest - mean) / mean * (micro - 1) / (micro + 1)


def heldout_seconds(size: ModelSize, heldout: RowLengths, training: TrainingConfig, device: Device) -> float:
    """Estimate the seconds of one evaluation during training: a forward pass over the validation rows."""
    full = training.method == "full"
    mean = heldout.tokens / max(1, heldout.rows)
    scored = heldout.supervised / max(1, heldout.tokens) if device.kind == "cpu" and not full else 1.0
    per_token = 2.0 * size.linear + (0 if full else 2 * trained_weights(size, training))
    per_token += 4 * size.heads * size.head_dim * mean * size.layers + 2 * size.vocabulary * size.hidden * scored
    padded = padding(heldout, training) if device.kind == "gpu" else 1.0
    seconds = padded * heldout.tokens * per_token / device.rate("read")
    if device.kind == "gpu":
        batches = math.ceil(heldout.rows / -(-training.batch_size // training.gradient_accumulation))
        seconds = max(seconds, batches * size.layers * LAUNCH["train"] / 3)
    return seconds


def training_flops(size: ModelSize, rows: RowLengths, training: TrainingConfig, device: Device) -> float:
    """Count the operations of one adapter's training.

    Two per weight and token forward, two for the gradient of the input, two for the gradient of a trained weight; two
    more to recompute a layer under activation checkpointing.
    """
    full = training.method == "full"
    tokens = rows.tokens * passes(rows.rows, training)
    mean = rows.tokens / max(1, rows.rows)
    again = 2 if training.activation_checkpointing else 0
    layers = (6 if full else 4) + again
    per_token = float(layers * size.linear)
    if not full:
        per_token += (6 + again) * trained_weights(size, training)
    # scores and their sum with the values, forward and twice backward
    per_token += (12 + 2 * again) * size.heads * size.head_dim * mean * size.layers
    head = size.vocabulary * size.hidden
    # on a CPU only the logits of supervised positions are computed (training.head)
    scored = rows.supervised / max(1, rows.tokens) if device.kind == "cpu" and not full else 1.0
    return tokens * (per_token + (6 if full else 4) * head * scored)


def training_memory(
    size: ModelSize,
    rows: RowLengths,
    training: TrainingConfig,
    student: StudentConfig,
    device: Device,
    shared: int = 1,
) -> float:
    """Estimate the peak bytes of one training process: libraries, weights, optimizer, activations, logits."""
    wide = 4 if student.dtype == "float32" else 2
    trained = trained_weights(size, training)
    # weight and gradient in fp32, and the optimizer state
    state = {"adamw_8bit": 2, "paged_adamw_8bit": 2, "paged_adamw_32bit": 8, "adafactor": 1}
    learnt = trained * (8 + state.get(training.optimizer, 8))
    if training.method == "full":
        frozen = 2.0 * size.linear if student.dtype == "bfloat16" else 0.0  # autocast's copies
    elif student.quantization == "nf4":
        frozen = 0.52 * size.linear + wide * size.embedding
    else:
        frozen = float(wide * size.parameters)
        copies = 2.0 * wide * size.linear  # packed for products and for their gradients
        frozen += copies if device.kind == "cpu" and copies <= PACKED_BYTES else 0.0
    micro = -(-training.batch_size // training.gradient_accumulation)
    length = min(rows.longest, training.max_length)
    tokens = min(micro, max(1, rows.rows)) * length / shared
    per_layer = activations(size, length, student, device, keeps_scores(training, device))
    if training.activation_checkpointing:
        kept = tokens * (per_layer + wide * size.hidden * size.layers)
    else:
        kept = tokens * per_layer * size.layers
    masks = packing_masks(min(micro, max(1, rows.rows)) * length, training)
    return LIBRARIES + frozen + learnt + KEPT[device.kind] * kept + HEAD[device.kind] + masks


def keeps_scores(training: TrainingConfig, device: Device) -> bool:
    """Return whether attention keeps all pairwise scores for the backward pass, as plain matrix products do."""
    return training.attention == "eager" or (training.attention == "auto" and device.kind == "cpu")


def packing_masks(tokens: float, training: TrainingConfig) -> float:
    """Count the bytes of the masks that separate packed rows: the square of a sequence, none with FlashAttention.

    One byte a pair of tokens, and as many again while it is made. `auto` counts as without FlashAttention.
    """
    if not training.packing or training.attention.startswith("flash"):
        return 0.0
    width = min(tokens, training.max_length)
    return 2 * math.ceil(tokens / max(1.0, width)) * width**2


def longest_fitting(
    size: ModelSize,
    rows: RowLengths,
    training: TrainingConfig,
    student: StudentConfig,
    device: Device,
    shared: int = 1,
) -> int:
    """Return the longest row in tokens that fits the device, in steps of LENGTH_STEP; 0 for none.

    At most the student's context (a million if unknown).
    """

    def fits(length: int) -> bool:
        per_row = RowLengths(rows.rows, rows.rows * length, rows.rows * length, length)
        wide = replace(training, max_length=length)
        return training_memory(size, per_row, wide, student, device, shared) <= device.memory

    low, high = 0, (size.context or 1 << 20) // LENGTH_STEP
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle * LENGTH_STEP) else (low, middle - 1)
    return low * LENGTH_STEP


def activations(
    size: ModelSize, length: float, student: StudentConfig, device: Device, scores: bool | None = None
) -> float:
    """Count the bytes that one layer keeps per token for the backward pass.

    Counted with autograd's hooks on Llama layers of two widths with LoRA on all of them, in bf16, fp32 and nf4.
    `scores`: whether a token also keeps its scores with all others; None: on a CPU.
    """
    keys = size.kv_heads * size.head_dim
    if student.dtype == "float32":
        kept = 30.0 * size.hidden + 16 * size.intermediate + 5.5 * keys
    else:
        kept = 18.5 * size.hidden + 8 * size.intermediate + 3 * keys
    if student.quantization == "nf4":
        kept *= 1.2
    if device.kind == "cpu" if scores is None else scores:
        kept += (4.0 if student.dtype == "float32" else 7.0) * size.heads * length
    return kept


def evaluation_need(
    size: ModelSize, prompts: PromptLengths, batch_size: int, student: StudentConfig, device: Device, merged: bool
) -> Need:
    """Estimate the need of one arm's attempts on one device.

    `merged`: whether an adapter is merged into the weights.
    """
    wide = 4 if student.dtype == "float32" else 2
    flops = 2.0 * size.linear
    head = 2.0 * size.vocabulary * size.hidden
    batches = math.ceil(prompts.requests / batch_size)
    tokens = prompts.tokens - max(0, prompts.requests - 1) * prompts.shared
    read = tokens * flops + prompts.requests * head
    steps = batches * (prompts.longest_written or prompts.most)
    written = (prompts.requests * prompts.written + TAIL_ROWS * steps) * (flops + head)
    seconds = read / device.rate("read") + written / device.rate("write")
    if device.kind == "gpu":
        steps = batches * prompts.written
        once = wide * size.parameters / device.bandwidth if device.bandwidth else 0.0
        seconds = max(seconds, steps * max(once, size.layers * LAUNCH["write"]))
    return Need(seconds + START_SECONDS, evaluation_memory(size, prompts, batch_size, student, device, merged))


def trial_need(
    size: ModelSize, training: TrainingConfig | None, student: StudentConfig, device: Device, tokens: int = 64
) -> Need:
    """Estimate the need of a trial: a made row of so many tokens trained on once (`training` None: not), two answers.

    The memory is that of the smallest step there is; the model is loaded once for each of the two.
    """
    asked = PromptLengths(2, 2 * tokens, tokens, 8.0, 8)
    answers = evaluation_need(size, asked, 2, student, device, merged=False)
    if training is None:
        return answers
    step = replace(training, max_steps=1, batch_size=1, gradient_accumulation=1, eval_steps=0)
    tuned = training_need(size, RowLengths(1, tokens, tokens // 2, tokens), step, student, device)
    return Need(tuned.seconds + answers.seconds, max(tuned.memory, answers.memory))


def evaluation_memory(
    size: ModelSize, prompts: PromptLengths, batch_size: int, student: StudentConfig, device: Device, merged: bool
) -> float:
    """Estimate the peak bytes of generation: libraries, weights (twice if merged), KV cache, one active layer."""
    wide = 4 if student.dtype == "float32" else 2
    if student.quantization == "nf4":
        weights = 0.52 * size.linear + wide * size.embedding
    else:
        weights = float(wide * size.parameters) + (wide * size.linear if merged else 0)
        if device.kind == "cpu" and student.dtype == "bfloat16" and wide * size.linear <= PACKED_BYTES:
            weights += wide * size.linear
    rows = min(batch_size, prompts.requests)
    length = prompts.longest + prompts.most
    cache = rows * length * size.layers * 2 * size.kv_heads * size.head_dim * wide
    work = rows * prompts.longest * activations(size, prompts.longest, student, device)
    logits = rows * size.vocabulary * 4
    return LIBRARIES + weights + 1.5 * cache + work + logits
