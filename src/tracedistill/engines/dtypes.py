"""Choose the dtype of a student with `dtype: auto`, and estimate how slow an explicit one is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tracedistill.engines.processor import Dtype, measured

if TYPE_CHECKING:
    from tracedistill.recipes import StudentConfig

NEAR = 1.05
"""Speed ratio above which bfloat16 is chosen; below it, float32 is, which is more exact."""
SLOW = 1.5
"""Slowdown at which a dtype named in the recipe causes a warning."""


@dataclass(frozen=True, slots=True)
class DtypeChoice:
    """The choice of `dtype: auto` on this machine."""

    dtype: Dtype
    why: str
    """Reason in one line."""


def choose() -> DtypeChoice:
    """Choose the dtype in which this machine trains and generates fastest.

    A GPU of NVIDIA or AMD: bfloat16 if it is supported. Any other accelerator (such as Apple's MPS): float32, since no
    speed was measured on one. A CPU: the faster one in a short, cached measurement; float32 if that failed or was
    disturbed.
    """
    import torch

    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return DtypeChoice("bfloat16", f"bfloat16: {name} supports it")
        return DtypeChoice("float32", f"float32: {name} does not support bfloat16")
    if torch.accelerator.is_available():
        kind = torch.accelerator.current_accelerator()
        return DtypeChoice("float32", f"float32: bfloat16 was not tested on accelerators of kind {kind}")
    measurement = measured()
    if measurement.trouble:
        why = f"float32: its speed relative to bfloat16 could not be measured ({measurement.trouble})"
        return DtypeChoice("float32", why)
    factor = measurement.factor("bfloat16", "float32")
    if factor > NEAR:
        return DtypeChoice("bfloat16", f"bfloat16: {factor:.1f} times float32 here")
    return DtypeChoice("float32", f"float32: {1 / factor:.1f} times bfloat16 here")


def settled(student: StudentConfig) -> StudentConfig:
    """Replace `auto` by a student's dtype; a student at an endpoint is unchanged."""
    if student.dtype != "auto" or student.base_url is not None:
        return student
    return replace(student, dtype=choose().dtype)


def slowness(dtype: str) -> float:
    """Return how many times faster the other dtype is on this CPU; 1.0 on an accelerator or if unknown."""
    import torch

    if torch.accelerator.is_available() or dtype not in ("float32", "bfloat16"):
        return 1.0
    measurement = measured()
    return 1.0 if measurement.trouble else measurement.factor("bfloat16" if dtype == "float32" else "float32", dtype)
