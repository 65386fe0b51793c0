"""The GPUs that this process may use; without a driver, torch is not imported."""

from __future__ import annotations

from pathlib import Path

DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""Device files of the drivers of NVIDIA, AMD and WSL."""


def visible_gpus() -> tuple[str, ...]:
    """Return the names of the GPUs that torch sees, as limited by `CUDA_VISIBLE_DEVICES`; empty without a driver."""
    if not any(Path(driver).exists() for driver in DRIVERS):
        return ()
    import torch

    if not torch.cuda.is_available():
        return ()
    return tuple(torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count()))
