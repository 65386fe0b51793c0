"""How fast this machine multiplies matrices: some two seconds of trying, so that estimates are of this machine."""

from __future__ import annotations

import functools
import os
import statistics
import time
from typing import Any

from tracedistill.estimates import Device

ROWS, WIDE, DEEP = 256, 768, 2048
"""Shape of the product on a CPU: of a small student's layer."""
SECONDS = 0.7
"""How long it is tried."""


@functools.cache
def this_machine(dtype: str) -> Device:
    """The GPU here where there is one, else the CPU, with its speed in `float32` or `bfloat16`."""
    import torch

    kind = getattr(torch, dtype)
    if torch.cuda.is_available():
        return _gpu(torch, kind)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    rate = _one_core(torch, kind)
    source = f"{rate / 1e9:.0f} GFLOP/s a core in {dtype}, measured now by processor time"
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Device(f"this machine ({cores} CPU cores)", "cpu", cores * rate, float(memory), source=source)


def _one_core(torch: Any, kind: Any) -> float:
    """Operations a second of one thread, by processor time: what else runs here hardly counts."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rows = torch.randn(ROWS, WIDE).to(kind)
        # several, so that none stays in the cache: as in a model
        weights = [torch.randn(DEEP, WIDE).to(kind) for _ in range(8)]
        spent: list[float] = []
        until = time.monotonic() + SECONDS
        while time.monotonic() < until or len(spent) < len(weights):
            for weight in weights:
                started = time.thread_time()
                torch.nn.functional.linear(rows, weight)
                spent.append(time.thread_time() - started)
        return 2.0 * ROWS * WIDE * DEEP / max(statistics.median(spent), 1e-9)
    finally:
        torch.set_num_threads(threads)


def _gpu(torch: Any, kind: Any) -> Device:
    """The first GPU: large products for its speed, copies for its bandwidth."""
    facts = torch.cuda.get_device_properties(0)
    rows = torch.randn(8192, 8192, device="cuda").to(kind)
    products = _timed(torch, lambda: rows @ rows)
    copied = torch.empty_like(rows)
    copies = _timed(torch, lambda: copied.copy_(rows))
    flops, bandwidth = 2.0 * 8192**3 / products, 2.0 * rows.nbytes / copies
    source = f"{flops / 1e12:.0f} TFLOP/s in large products, measured now"
    return Device(str(facts.name), "gpu", flops, float(facts.total_memory), bandwidth, source)


def _timed(torch: Any, work: Any) -> float:
    """Seconds of one of these, in the best of some tries."""
    best = float("inf")
    for _ in range(10):
        torch.cuda.synchronize()
        started = time.perf_counter()
        work()
        torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return best
