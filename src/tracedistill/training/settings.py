"""What one training run is told: frozen, JSON-serialisable, no torch needed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tracedistill.errors import InputError

Attention = Literal["auto", "eager", "sdpa", "flash_attention_2", "flash_attention_3"]
"""Attention implementations by their transformers names."""
Liger = Literal["auto", "on", "off"]
"""Whether Liger's kernels are used."""


@dataclass(frozen=True, slots=True)
class TrainerSettings:
    """Settings of one training run; everything that changes what is learnt stands above `save_steps`."""

    output_dir: str
    """Folder for checkpoints (`checkpoint-<step>`)."""
    learning_rate: float = 2e-4
    """Peak learning rate."""
    epochs: float = 1.0
    """Passes over the rows; ignored where `max_steps` is set."""
    max_steps: int = -1
    """Optimizer steps; -1: by `epochs`."""
    batch_size: int = 8
    """Rows of one optimizer step, over all processes and micro-batches: one process and eight take the same steps."""
    gradient_accumulation: int = 1
    """Micro-batches into which each process cuts its share of a step: changes memory and time, not what is learnt."""
    warmup_steps: float = 0.0
    """Steps of linear warm-up; below 1: a share of all steps."""
    scheduler: str = "linear"
    """Learning-rate schedule by its transformers name (linear, cosine, constant, ...)."""
    weight_decay: float = 0.0
    """Decoupled weight decay."""
    max_grad_norm: float = 1.0
    """Gradient norm above which the gradient is scaled down; 0: never."""
    optimizer: str = "adamw_torch_fused"
    """Optimizer by its transformers name (adamw_torch, adamw_8bit, ...)."""
    seed: int = 0
    """Draws the adapter's first weights, the order of rows and the dropout."""
    bf16: bool = True
    """Compute in bf16 (frozen weights held in bf16; trained weights and their optimizer state stay fp32)."""
    like_length: bool = False
    """Draw batches among rows of like length (every row once per epoch all the same); False: a plain shuffle. Rows of
    one length tend to be of one kind, so batches mix less: worth it where a plain shuffle would pad much."""
    window: int = 0
    """Batches among which rows are sorted by length; 0: the trainer's own choice (`batching.WINDOW`)."""
    save_steps: int = 0
    """Checkpoint every so many steps; 0: none."""
    save_total_limit: int | None = 2
    """Checkpoints kept."""
    eval_steps: int = 0
    """Evaluate on the evaluation rows every so many steps, and behind the last; 0: never."""
    logging_steps: int = 10
    """Log every so many steps."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, a third more time."""
    packing: bool = False
    """Lay the rows of a micro-batch end to end instead of padding them: memory and time, not what is learnt."""
    pack_length: int = 0
    """Tokens of a packed sequence at most; 0, and with FlashAttention: all rows of a micro-batch in one."""
    attention: Attention = "auto"
    """Attention implementation; auto: as `kernels.attention_of` says."""
    liger: Liger = "auto"
    """Liger's norms, rotary positions and gated layers; auto: on a GPU where liger-kernel is installed."""
    use_cpu: bool | None = None
    """Train on the CPU; None: where there is no accelerator."""
    progress: bool = True
    """Show a progress bar."""
    report_to: tuple[str, ...] = ()
    """Trackers by transformers name: wandb, trackio."""
    run_name: str | None = None
    """Name for the trackers."""

    def __post_init__(self) -> None:
        """Raise InputError with every setting that makes no sense, all at once."""
        wrong = [
            f"{name}: {getattr(self, name)!r} must be {rule}"
            for name, rule, good in (
                ("learning_rate", "above 0", self.learning_rate > 0),
                ("epochs", "above 0", self.epochs > 0),
                ("max_steps", "above 0, or -1", self.max_steps > 0 or self.max_steps == -1),
                ("batch_size", "at least 1", self.batch_size >= 1),
                ("gradient_accumulation", "at least 1", self.gradient_accumulation >= 1),
                ("warmup_steps", "at least 0", self.warmup_steps >= 0),
                ("weight_decay", "at least 0", self.weight_decay >= 0),
                ("max_grad_norm", "at least 0", self.max_grad_norm >= 0),
                ("window", "at least 0", self.window >= 0),
                ("save_steps", "at least 0", self.save_steps >= 0),
                ("pack_length", "at least 0", self.pack_length >= 0),
                ("eval_steps", "at least 0", self.eval_steps >= 0),
                ("logging_steps", "at least 1", self.logging_steps >= 1),
            )
            if not good
        ]
        if wrong:
            raise InputError("training settings: " + "; ".join(wrong))
