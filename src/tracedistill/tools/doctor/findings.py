"""One line of what the doctor says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "note", "bad"]
"""note: worth knowing; bad: something will not run here as it stands."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What was looked at, and what was seen."""

    name: str
    """cores, memory, ..."""
    state: State
    """Whether it will do."""
    text: str
    """One sentence, with the remedy where there is one."""


def gigabytes(amount: float) -> str:
    """Format bytes as `3.65 GB`, `480 MB`."""
    return f"{amount / 1e9:.1f} GB" if amount >= 1e9 else f"{amount / 1e6:.0f} MB"
