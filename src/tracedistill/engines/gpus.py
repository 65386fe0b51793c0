"""The GPUs this machine may use; torch is not imported if there can be none."""

from __future__ import annotations

from pathlib import Path

DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
"""Device files of NVIDIA's and AMD's drivers on Linux, and of WSL's."""


def visible_gpus() -> tuple[str, ...]:
    """Return the names of the GPUs that torch sees (`CUDA_VISIBLE_DEVICES` counts); none if no driver is loaded."""
    if not any(Path(driver).exists() for driver in DRIVERS):
        return ()
    import torch

    if not torch.cuda.is_available():
        return ()
    return tuple(torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count()))
