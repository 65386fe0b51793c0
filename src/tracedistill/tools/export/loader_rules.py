"""Rules of other programs' adapter loaders, taken from their source, applied to an exported adapter.

vLLM: vllm/lora/peft_helper.py and lora_model.py; llama.cpp: convert_lora_to_gguf.py (November 2026). Neither is run.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open

from tracedistill.files import read_json

DEFAULT_RANK = 16
"""Default of vLLM's --max-lora-rank."""
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Its allowed values."""
PAIRED = (".lora_A.weight", ".lora_B.weight")
"""Suffixes of the weights that both read."""


def loader_notes(folder: Path) -> dict[str, list[str]]:
    """Return program -> requirements or objections; an empty list means that it accepts the adapter."""
    settings = read_json(folder / "adapter_config.json")
    with safe_open(folder / "adapter_model.safetensors", framework="pt") as file:
        names = sorted(file.keys())
    return {"vLLM": _vllm(settings, names), "llama.cpp": _llama_cpp(settings, names)}


def _vllm(settings: Mapping[str, Any], names: list[str]) -> list[str]:
    notes = []
    rank = max([int(settings["r"]), *map(int, (settings.get("rank_pattern") or {}).values())])
    if settings.get("use_dora"):
        notes.append("refuses DoRA adapters: export with --merge")
    if settings.get("modules_to_save"):
        notes.append("refuses modules that are tuned whole: export with --merge")
    if settings.get("bias", "none") != "none":
        notes.append("refuses trained biases: export with --merge")
    if settings.get("target_parameters") and any(".experts" in name for name in names):
        notes.append("reads adapters on experts in another layout: export with --merge")
    if rank > RANKS[-1]:
        notes.append(f"takes ranks up to {RANKS[-1]}, this one has {rank}: export with --merge")
    elif rank > DEFAULT_RANK:
        notes.append(f"start it with --max-lora-rank {next(value for value in RANKS if value >= rank)}")
    return notes


def _llama_cpp(settings: Mapping[str, Any], names: list[str]) -> list[str]:
    notes = []
    other = [name for name in names if not name.endswith(PAIRED)]
    if other:
        notes.append(f"its converter stops at {other[0]} (no lora_A, no lora_B): export with --merge")
    if settings.get("rank_pattern") or settings.get("alpha_pattern"):
        notes.append("its converter reads one lora_alpha for all layers: export with --merge")
    if settings.get("fan_in_fan_out"):
        notes.append("its converter does not support transposed weights (Conv1D, GPT-2): export with --merge")
    return notes
