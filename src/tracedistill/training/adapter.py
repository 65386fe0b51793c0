"""Build the LoRA adapter of a recipe, checked against the model, and convert it to fit the untouched base."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from peft.tuners.lora import LoraLayer
from peft.utils import CONFIG_NAME, SAFETENSORS_WEIGHTS_NAME
from safetensors.torch import load_file, save_file
from torch import nn
from transformers.pytorch_utils import Conv1D

from tracedistill.errors import InputError
from tracedistill.files import unlinked
from tracedistill.recipes import TrainingConfig

MOVING = ("pissa", "pissa_niter_16", "olora")
"""Initialisations taken out of the base weights: the adapter fits only a base reduced by them."""
ALL_LINEAR = "all-linear"
"""PEFT's name for every linear layer except the head."""
INITIAL = "initial.safetensors"
"""File beside the checkpoints with the initial weights of such an adapter."""
ADAPTER = "default"
"""PEFT's name of the adapter in training."""
FUSED = {"falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h"}
"""Model types whose kernels read some layers' weights directly, bypassing adapters; PEFT refuses these layers."""
READ_PAST = ("out_proj", "conv1d")
"""Names of these layers."""


def adapter_config(training: TrainingConfig, model: Any) -> LoraConfig:
    """Build PEFT's configuration.

    Raises InputError if the targets match nothing or the rank does not fit the layers.
    """
    targets = _targets(training.lora_targets, model)
    config = LoraConfig(
        r=training.lora_r,
        lora_alpha=training.lora_alpha,
        lora_dropout=training.lora_dropout,
        target_modules=targets,
        exclude_modules=sorted(left_out(model)) or None if targets == ALL_LINEAR else None,
        fan_in_fan_out=any(isinstance(layer, Conv1D) for _, layer in _targeted(targets, model)),
        use_rslora=training.lora_rslora,
        use_dora=training.lora_dora,
        # MOVING ones are set by `move_weights`
        init_lora_weights=True if training.lora_init in ("default", *MOVING) else training.lora_init,
        task_type="CAUSAL_LM",
    )
    if training.lora_init in MOVING:
        if getattr(model, "is_loaded_in_4bit", False):
            raise InputError(
                f"training.lora_init: {training.lora_init} changes the base weights, which 4-bit weights do not "
                "allow; use default, gaussian or orthogonal, or quantization: none"
            )
        if config.fan_in_fan_out:
            raise InputError(
                f"training.lora_init: {training.lora_init} does not support transposed layers (Conv1D, as in "
                "GPT-2); use default, gaussian or orthogonal"
            )
        smallest = min(min(layer.weight.shape) for _, layer in _targeted(targets, model))
        if training.lora_r > smallest:
            raise InputError(
                f"training.lora_r: {training.lora_r} exceeds the rank of the smallest tuned layer "
                f"({smallest}), of which "
                f"lora_init: {training.lora_init} takes its first weights"
            )
    return config


def move_weights(trainer: Any, training: TrainingConfig, checkpoints: Path) -> None:
    """Move an adapter's initial weights out of the base, if the recipe says so; called by every process.

    They are computed once, by the first process, and kept beside the checkpoints: matrix libraries do not guarantee
    identical bits, and a resumed training must continue with the same base.
    """
    if training.method != "lora" or training.lora_init not in MOVING:
        return
    layers = {path: layer for path, layer in trainer.model.named_modules() if isinstance(layer, LoraLayer)}
    file = checkpoints / INITIAL
    if trainer.is_world_process_zero() and not file.exists():
        moved: dict[str, torch.Tensor] = {}
        for path, layer in layers.items():
            weight = layer.get_base_layer().weight.detach().float()
            down, up = _first_weights(weight, layer.r[ADAPTER], layer.scaling[ADAPTER], training.lora_init)
            moved |= {f"{path}.lora_A.weight": down.contiguous(), f"{path}.lora_B.weight": up.contiguous()}
        save_file(moved, unlinked(file.with_suffix(".partial")))
        file.with_suffix(".partial").rename(file)
    trainer.accelerator.wait_for_everyone()
    kept = load_file(file)
    for path, layer in layers.items():
        weight = layer.get_base_layer().weight
        down, up = (kept[f"{path}.lora_{side}.weight"].to(weight.device) for side in "AB")
        layer.lora_A[ADAPTER].weight.data, layer.lora_B[ADAPTER].weight.data = down, up
        weight.data = (weight.data.float() - layer.scaling[ADAPTER] * up @ down).to(weight.dtype)


def _first_weights(weight: torch.Tensor, rank: int, scale: float, init: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (A, B) with scale B A the part of the weight to train; weight (out, in) in fp32.

    pissa (arXiv 2404.02948): the largest singular values, optionally by randomised iterations; olora (arXiv
    2406.01775): the first columns of its QR decomposition.
    """
    if init == "olora":
        q, r = torch.linalg.qr(weight)
        return r[:rank], q[:, :rank]
    if init == "pissa":
        u, s, vh = torch.linalg.svd(weight, full_matrices=False)
    else:
        u, s, v = torch.svd_lowrank(weight, q=rank, niter=int(init.rpartition("_")[2]))
        vh = v.t()
    root = (s[:rank] / scale).sqrt()
    return root[:, None] * vh[:rank], u[:, :rank] * root


def fit_untouched_base(folder: Path, checkpoints: Path) -> None:
    """Convert a saved adapter with moved initial weights to one for the unchanged base.

    With W' = W - s B0 A0 the trained layer is W' + s B A = W + s (B A - B0 A0): an ordinary adapter of twice the rank,
    [B | -B0] [A ; A0]. Does nothing if no initial weights were kept.
    """
    if not (checkpoints / INITIAL).exists():
        return
    trained, first = load_file(folder / SAFETENSORS_WEIGHTS_NAME), load_file(checkpoints / INITIAL)
    for name, weight in first.items():
        is_up = "lora_B" in name
        trained[name] = torch.cat([trained[name], -weight if is_up else weight], dim=1 if is_up else 0).contiguous()
    save_file(trained, folder / SAFETENSORS_WEIGHTS_NAME, {"format": "pt"})
    path = folder / CONFIG_NAME
    config = json.loads(path.read_text())
    # the scale stays: alpha / r, or alpha / sqrt(r)
    config["lora_alpha"] *= math.sqrt(2) if config["use_rslora"] else 2
    config["r"] *= 2
    path.write_text(json.dumps(config, indent=2, sort_keys=True))


def linear_layers(model: Any) -> list[tuple[str, nn.Module]]:
    """Return (path, layer) of all layers LoRA can be applied to: linear layers except the head and `left_out`."""
    head, names = model.get_output_embeddings(), left_out(model)
    return [
        (path, layer)
        for path, layer in model.named_modules()
        if isinstance(layer, nn.Linear | Conv1D) and layer is not head and path.rpartition(".")[2] not in names
    ]


def left_out(model: Any) -> set[str]:
    """Return the linear layers without adapter: routers with several outputs, and layers whose forward is bypassed."""
    names = set(READ_PAST) if model.config.model_type in FUSED else set()
    kinds = [(path.rpartition(".")[2], layer) for path, layer in model.named_modules() if isinstance(layer, nn.Linear)]
    own = {name for name, layer in kinds if type(layer).forward is not nn.Linear.forward and _of_transformers(layer)}
    return {name for name, _ in kinds if name in names} | own


def _of_transformers(layer: nn.Module) -> bool:
    """Return whether a linear layer is a model's own class (those of quantisation libraries take adapters)."""
    return type(layer).__module__.startswith("transformers.models.")


def _targets(targets: str, model: Any) -> str | list[str]:
    there = Counter(path.rpartition(".")[2] for path, _ in linear_layers(model))
    if targets == ALL_LINEAR:
        if not there:
            raise InputError("training.lora_targets: the model has no linear layer for LoRA")
        return targets
    names = [part.strip() for part in targets.split(",") if part.strip()]
    unknown = [name for name in names if not _targeted([name], model)]
    if unknown or not names:
        listed = ", ".join(f"{name} ({count})" for name, count in sorted(there.items()))
        missing = ", ".join(f"'{name}'" for name in unknown) or f"'{targets}'"
        raise InputError(
            f"training.lora_targets: {missing} names no linear layer of this model that takes an adapter; choose from "
            f"{listed}, or {ALL_LINEAR}"
        )
    return names


def _targeted(targets: str | list[str], model: Any) -> list[tuple[str, Any]]:
    """Return the layers that PEFT will match: a name matches the end of a path."""
    layers = linear_layers(model)
    if isinstance(targets, str):
        return layers
    return [
        (path, layer) for path, layer in layers if any(path == name or path.endswith(f".{name}") for name in targets)
    ]
