"""How adapters are tuned, and on which machines."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from tracedistill.recipes.bounds import (
    NonNegativeFloat,
    NonNegativeInt,
    Port,
    PositiveFloat,
    PositiveInt,
    ShareBelow1,
    StepLimit,
)

Attention = Literal["auto", "sdpa", "flash_attention_2", "flash_attention_3", "eager"]
"""Attention implementations by their transformers names."""


Liger = Literal["auto", "on", "off"]
"""Whether Liger's kernels are used."""


@dataclass(frozen=True, slots=True)
class LauncherConfig:
    """Options of `accelerate launch` for training on several machines that share the run folder."""

    num_machines: PositiveInt | None = None
    """Machines that train together; none: as in the configuration."""
    num_processes: PositiveInt | None = None
    """Processes over all machines; none: as in the configuration."""
    machine_rank: NonNegativeInt = 0
    """This machine's number, from 0. Machine 0 makes everything; the others wait for it and train with it. Set it on
    the command line of each machine."""
    main_process_ip: str | None = None
    """Address of machine 0, as the others reach it."""
    main_process_port: Port | None = None
    """A free port on machine 0."""


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """How an adapter is tuned; the same for all arms, except for what an arm declares."""

    learning_rate: PositiveFloat = 2e-4
    """Peak learning rate."""
    epochs: PositiveFloat = 1.0
    """Passes over the rows."""
    max_steps: StepLimit = -1
    """Optimizer steps; -1: determined by epochs."""
    batch_size: PositiveInt = 8
    """Rows of one optimizer step, over all processes."""
    gradient_accumulation: PositiveInt = 1
    """Micro-batches per process and step. Changes memory and time, not what is learnt."""
    warmup: NonNegativeFloat = 0.1
    """Warm-up steps, at most all but one; below 1: share of all steps."""
    scheduler: Literal["linear", "cosine", "constant"] = "linear"
    """Decay after the warm-up."""
    weight_decay: NonNegativeFloat = 0.0
    """AdamW's weight decay."""
    max_grad_norm: NonNegativeFloat = 1.0
    """Maximum gradient norm; larger gradients are clipped."""
    max_length: PositiveInt = 1024
    """Maximum number of tokens in a row; longer rows are never truncated."""
    too_long: Literal["drop", "error"] = "drop"
    """What happens to longer rows. drop: drop and list them; error: stop the run."""
    method: Literal["lora", "full"] = "lora"
    """lora: an adapter; full: all weights (the arm's folder is then a whole model)."""
    optimizer: Literal[
        "adamw_torch_fused", "adamw_torch", "adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit", "adafactor"
    ] = "adamw_torch_fused"
    """8bit and paged optimizers are from bitsandbytes: their state takes a quarter of the memory, or moves out of the
    GPU's."""
    lora_r: PositiveInt = 16
    """LoRA's rank."""
    lora_alpha: PositiveInt = 32
    """LoRA's scale."""
    lora_dropout: ShareBelow1 = 0.0
    """Dropout on the adapter's input."""
    lora_targets: str = "all-linear"
    """`all-linear`, or module names separated by commas."""
    lora_rslora: bool = False
    """Scale by alpha / sqrt(rank) instead of alpha / rank (rsLoRA)."""
    lora_dora: bool = False
    """Learn each layer's magnitude and direction separately (DoRA); slower."""
    lora_init: Literal["default", "gaussian", "orthogonal", "pissa", "pissa_niter_16", "olora"] = "default"
    """The adapter's initial weights. pissa and olora take them out of the base; an adapter of twice the rank for the
    unchanged base is saved."""
    packing: bool = False
    """Concatenate the rows of a micro-batch, isolated from each other, instead of padding them. Changes memory and
    time, not what is learnt. On a CPU this is done anyway if the model allows it. With FlashAttention memory grows with
    the tokens; any other attention on a GPU builds a mask that grows with their square."""
    attention: Attention = "auto"
    """Attention implementation. auto: FlashAttention on a GPU if it is installed and the model supports it, else what
    transformers prefers (sdpa); on a CPU eager."""
    liger: Liger = "auto"
    """Liger's kernels for norms, rotary positions and gated layers; auto: on a GPU if liger-kernel is installed."""
    group_by_length: bool = False
    """Batch rows of similar length, each row once per epoch: less padding, but batches mix kinds of rows less. Useful
    if lengths differ much and rows are padded."""
    activation_checkpointing: bool = False
    """Recompute activations: saves memory for about a third more time."""
    save_steps: NonNegativeInt = 50
    """Optimizer steps between checkpoints, which is the most that a killed training loses; 0: no checkpoints."""
    eval_steps: NonNegativeInt = 0
    """Optimizer steps between evaluations of the loss on rows of validation problems (never of test problems), which
    also follow the last step; 0: never. Does not change the adapter."""
    eval_rows: PositiveInt = 64
    """Maximum number of validation problems for that; the same in every arm."""
    eval_attempts: NonNegativeInt = 0
    """How many of these the student also answers at each evaluation (greedy, judged): learning curves for arms of any
    method. 0: none."""
    seeds: PositiveInt = 1
    """Adapters per tuned arm, each with its own seed. A finding about a kind of trace needs several."""
    accelerate_config: str = "auto"
    """auto: what the machine has (one GPU, several, or the CPU); else a name in accelerate_configs/, or a file. No
    result depends on it, and a run folder can continue on other hardware."""
    launcher: LauncherConfig = field(default_factory=LauncherConfig)
    """Training on several machines."""

    def optimizer_steps(self, rows: int) -> int:
        """Return the optimizer steps of one adapter on this many rows."""
        if self.max_steps > 0:
            return self.max_steps
        return math.ceil(self.epochs * math.ceil(rows / self.batch_size))
