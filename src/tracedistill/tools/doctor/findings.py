"""One finding of the doctor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "note", "bad"]
"""note: worth knowing; bad: something will not run here."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One check and its result."""

    name: str
    """Name of the check: cores, memory, ..."""
    state: State
    """Outcome of the check."""
    text: str
    """One sentence, with the remedy if there is one."""


def gigabytes(amount: float) -> str:
    """Format bytes as `3.65 GB`, `480 MB`."""
    return f"{amount / 1e9:.1f} GB" if amount >= 1e9 else f"{amount / 1e6:.0f} MB"
