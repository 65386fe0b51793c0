"""This machine as a device for estimates: its measured CPU or GPU."""

from __future__ import annotations

import functools
import os
import time
from typing import Any

from tracedistill.compute import usable_cores
from tracedistill.engines.processor import measured
from tracedistill.forecast.estimates import DEVICES, Device


@functools.cache
def this_machine(dtype: str) -> Device:
    """Describe the GPU, or else the CPU, with its speed in `float32` or `bfloat16`."""
    import torch

    if torch.cuda.is_available():
        return _gpu(torch, getattr(torch, dtype))
    count, measurement = usable_cores(), measured()
    memory = float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    name = f"this machine ({count} CPU cores)"
    if dtype not in measurement.speeds:
        why = f" ({measurement.trouble})" if measurement.trouble else ""  # None for a script, which has no dtype
        return Device(name, "cpu", 0.0, memory, source=f"speed not known{why}")
    speed = measurement.speeds[dtype]
    other = "float32" if dtype == "bfloat16" else "bfloat16"
    source = (
        f"{speed.train / 1e9:.0f} GFLOP/s a core in {dtype} in training, {speed.read / 1e9:.0f} reading prompts, "
        f"{speed.write / 1e9:.0f} generating: {measurement.factor(dtype, other):.1f} times {other}; measured by "
        "processor time"
    ) + (f" ({measurement.trouble})" if measurement.trouble else "")
    return Device(
        name, "cpu", count * speed.products, memory, source=source,
        train=count * speed.train, read=count * speed.read, write=count * speed.write,
    )  # fmt: skip


def _gpu(torch: Any, kind: Any) -> Device:
    """Measure the first GPU: large products for its speed, copies for its bandwidth."""
    facts = torch.cuda.get_device_properties(0)
    rows = torch.randn(8192, 8192, device="cuda").to(kind)
    products = _timed(torch, lambda: rows @ rows)
    copied = torch.empty_like(rows)
    copies = _timed(torch, lambda: copied.copy_(rows))
    flops, bandwidth = 2.0 * 8192**3 / products, 2.0 * rows.nbytes / copies
    source = f"{flops / 1e12:.0f} TFLOP/s in large matrix products, measured now"
    return Device(str(facts.name), "gpu", flops, float(facts.total_memory), bandwidth, source)


def _timed(torch: Any, work: Any) -> float:
    """Time a call in seconds, best of several tries."""
    best = float("inf")
    for _ in range(10):
        torch.cuda.synchronize()
        started = time.perf_counter()
        work()
        torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return best


def device_of(name: str | None, dtype: str) -> Device:
    """Return the device of this name in estimates.DEVICES; None: this machine, whose speed is measured."""
    return this_machine(dtype) if name is None else DEVICES[name]
