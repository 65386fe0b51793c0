"""Which processor a figure was taken on: part of every benchmark's last line."""

from __future__ import annotations

from typing import Any

from tracedistill.engines.processor import this_processor


def machine() -> dict[str, Any]:
    """Name, cores, flags for bfloat16, and whether the environment hides instructions."""
    found = this_processor()
    return {
        "processor": found.name,
        "cores": found.cores,
        "bf16_instructions": bool(found.flags) and not found.caps,
        "flags": list(found.flags),
        "caps": list(found.caps),
    }
