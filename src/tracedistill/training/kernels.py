"""Attention and kernels of a training: as the recipe says, else by this machine's hardware.

All of them compute the same functions; they differ in time, memory and the last bits. training.json records the choice.
"""

from __future__ import annotations

import importlib.util
import os
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils import is_flash_attn_2_available, is_flash_attn_3_available

from tracedistill.errors import InputError
from tracedistill.recipes import StudentConfig, TrainingConfig
from tracedistill.recipes.training import Attention, Liger

HOPPER = 9
"""Lowest compute capability of FlashAttention 3."""
LIGER = "liger_kernel"
"""The package of Liger's kernels (`pip install liger-kernel`)."""
CONTEXT = "PARALLELISM_CONFIG_CP_SIZE"
"""Accelerate's variable for the number of processes that share one row."""
INSTALL = {
    "flash_attention_2": "pip install flash-attn --no-build-isolation",
    "flash_attention_3": "see https://github.com/Dao-AILab/flash-attention, folder hopper",
}


def context_size() -> int:
    """Return how many processes share one row (context parallelism by accelerate's `parallelism_config`)."""
    return max(1, int(os.environ.get(CONTEXT, "1") or 1))


def attention_of(wanted: Attention, source: str, *, on_cpu: bool, half: bool) -> str | None:
    """Return the attention implementation for the model in a folder or of a hub id; None: transformers' default.

    auto: plain matrix products on a CPU, since SDPA's backward is slow there in bf16; on a GPU FlashAttention if it is
    installed, the model supports it and the weights are in half precision. Raises InputError if the implementation
    named in the recipe is not available.
    """
    flash = {
        "flash_attention_3": not on_cpu and is_flash_attn_3_available() and _capability() >= HOPPER,
        "flash_attention_2": not on_cpu and is_flash_attn_2_available(),
    }
    if context_size() > 1:
        if wanted not in ("auto", "sdpa"):
            raise InputError(f"training.attention: context parallelism works with sdpa only, not with {wanted}")
        return "sdpa"
    if wanted in flash:
        if not flash[wanted]:
            lacks = "this machine has no GPU" if on_cpu else f"it is not installed for this GPU: {INSTALL[wanted]}"
            raise InputError(f"training.attention: {wanted} cannot be used: {lacks}. Or set training.attention: auto")
        if not half:
            raise InputError(
                f"training.attention: {wanted} computes in half precision; set students.<name>.dtype: bfloat16, or "
                "training.attention: auto"
            )
        if not _knows_flash(source):
            raise InputError(
                f"training.attention: the student's model does not know {wanted}; set training.attention: sdpa, or auto"
            )
        return wanted
    if wanted != "auto":
        return wanted
    if on_cpu:
        return "eager"
    if half and _knows_flash(source):
        return next((name for name, there in flash.items() if there), None)
    return None


def check_kernels(student: StudentConfig, training: TrainingConfig, source: str) -> None:
    """Raise InputError for attention or Liger that the recipe names and this machine lacks."""
    on_cpu = not torch.accelerator.is_available()
    liger_of(training.liger, on_cpu=on_cpu)
    attention_of(training.attention, source, on_cpu=on_cpu, half=student.dtype == "bfloat16")


def is_flash(model: Any) -> bool:
    """Return whether the model computes attention by FlashAttention, which keeps packed rows apart without a mask."""
    return str(getattr(model.config, "_attn_implementation", "")).startswith("flash")


def use_liger(model: Any, wanted: Liger, *, on_cpu: bool) -> bool:
    """Patch Liger's norms, rotary positions and gated layers into the model; return whether that was done.

    The loss stays ours. Raises InputError if the recipe says `on` and they are not available.
    """
    if not liger_of(wanted, on_cpu=on_cpu):
        return False
    from transformers.integrations.liger import apply_liger_kernel

    apply_liger_kernel(model, {"cross_entropy": False, "fused_linear_cross_entropy": False})
    return True


def liger_of(wanted: Liger, *, on_cpu: bool) -> bool:
    """Return whether Liger's kernels are used. Raises InputError if the recipe says `on` and they cannot be had."""
    there = importlib.util.find_spec(LIGER) is not None
    if wanted == "on" and (on_cpu or not there):
        lacks = "this machine has no GPU" if on_cpu else "it is not installed: pip install liger-kernel"
        raise InputError(f"training.liger: cannot be used: {lacks}. Or set training.liger: auto")
    return wanted != "off" and not on_cpu and there


def _knows_flash(source: str) -> bool:
    """Return whether transformers' class for this model supports FlashAttention."""
    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
        model = AutoModelForCausalLM._model_mapping[type(config)]
    except (KeyError, OSError, ValueError):
        return False
    return bool(getattr(model, "_supports_flash_attn", False))


def _capability() -> int:
    return int(torch.cuda.get_device_capability()[0]) if torch.cuda.is_available() else 0
