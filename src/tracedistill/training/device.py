"""Check the machine before a training, and explain an error that ended one."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import torch
from safetensors import SafetensorError

from tracedistill.errors import InputError
from tracedistill.files import disk_error
from tracedistill.recipes import StudentConfig, TrainingConfig

LAUNCHED_PRECISION = "ACCELERATE_MIXED_PRECISION"
"""Environment variable with the mixed precision of `accelerate launch`."""
PRECISION = {"bfloat16": "bf16"}
"""Student dtype -> equivalent mixed precision."""
MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "Cannot allocate memory")
"""Torch's messages when memory is exhausted; on a CPU there is no exception class for it."""
DISK = ("inline_container", "PytorchStreamWriter", "iostream error", "No space left", "I/O error")
"""Messages of torch and safetensors when the disk is full; they hide the system's error."""


def check_device(student: StudentConfig, training: TrainingConfig) -> None:
    """Raise InputError if this machine cannot provide the student's dtype, quantisation or optimizer.

    Also if the launch and the recipe disagree on the precision.
    """
    launched = os.environ.get(LAUNCHED_PRECISION, "no")
    if launched != "no" and launched != PRECISION.get(student.dtype):
        raise InputError(
            f"accelerate launch says mixed_precision: {launched}, and students.<name>.dtype is {student.dtype}; leave "
            "--mixed_precision out (and set mixed_precision: 'no' in accelerate's configuration): the recipe sets the "
            "precision, and it is recorded as the adapter's"
        )
    if student.dtype == "bfloat16" and torch.cuda.is_available() and not torch.cuda.is_bf16_supported():
        name = torch.cuda.get_device_name()
        raise InputError(f"dtype bfloat16: {name} does not support it; set students.<name>.dtype: float32")
    if training.optimizer.startswith("paged") and not torch.accelerator.is_available():
        raise InputError(
            f"training.optimizer: {training.optimizer} pages its state out of GPU memory, but this machine "
            "has no GPU; use "
            f"{training.optimizer.removeprefix('paged_').replace('adamw_32bit', 'adamw_torch_fused')}"
        )
    if training.eval_steps and student.quantization == "nf4" and not torch.accelerator.is_available():
        raise InputError(
            "training.eval_steps: 4-bit weights on a CPU cannot be evaluated between steps (bitsandbytes re-quantises "
            "them for evaluation, after which no gradient flows); set training.eval_steps: 0"
        )
    wanted = []
    if student.quantization == "nf4":
        wanted.append("quantization: nf4")
    if training.optimizer.endswith("bit"):
        wanted.append(f"training.optimizer: {training.optimizer}")
    if wanted and importlib.util.find_spec("bitsandbytes") is None:
        raise InputError(f"{', '.join(wanted)}: needs bitsandbytes: pip install 'tracedistill[bitsandbytes]'")


def explained(error: Exception, arm: str, output: Path) -> InputError | None:
    """Explain an error that ended a training; None if the machine did not cause it."""
    text = str(error)
    kept = "the last complete checkpoint is kept, and the next run resumes from it"
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(phrase in text for phrase in MEMORY)
    ):
        return InputError(
            f"arm {arm}: out of memory; raise training.gradient_accumulation (smaller micro-batches, equal results), "
            f"set training.activation_checkpointing or lower training.max_length; {kept}"
        )
    if isinstance(error, OSError):
        return disk_error(output, error)
    if isinstance(error, RuntimeError | SafetensorError) and any(phrase in text for phrase in DISK):
        return InputError(f"cannot write {output}: is the disk full? ({text[:120]}); {kept}")
    return None
