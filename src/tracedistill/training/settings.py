"""Settings of one training: the recipe's, and a few that are not in a recipe. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

from tracedistill.recipes import TrainingConfig
from tracedistill.recipes.pydantic_reader import check_section


@dataclass(frozen=True, slots=True)
class TrainingSetup:
    """Settings of one training run."""

    output_dir: str
    """Folder for checkpoints (`checkpoint-<step>`)."""
    training: TrainingConfig
    """Training section of the recipe."""
    seed: int = 0
    """Seed of the adapter's initial weights, the order of rows and the dropout."""
    bf16: bool = True
    """Compute in bf16 (frozen weights held in bf16; trained weights and their optimizer state stay fp32)."""
    logging_steps: int = 10
    """Steps between log entries."""
    use_cpu: bool | None = None
    """Train on the CPU; None: if there is no accelerator."""

    def __post_init__(self) -> None:
        """Raise InputError that lists every invalid setting."""
        check_section(self.training, "training settings")
