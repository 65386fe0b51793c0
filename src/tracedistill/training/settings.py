"""What one training is told: the recipe's settings, and the few things that are not in a recipe; no torch needed."""

from __future__ import annotations

from dataclasses import dataclass

from tracedistill.errors import InputError
from tracedistill.recipes import TrainingConfig
from tracedistill.recipes.checks import out_of_bounds


@dataclass(frozen=True, slots=True)
class TrainingSetup:
    """One training run."""

    output_dir: str
    """Folder for checkpoints (`checkpoint-<step>`)."""
    training: TrainingConfig
    """What the recipe says."""
    seed: int = 0
    """Draws the adapter's first weights, the order of rows and the dropout."""
    bf16: bool = True
    """Compute in bf16 (frozen weights held in bf16; trained weights and their optimizer state stay fp32)."""
    logging_steps: int = 10
    """Log every so many steps."""
    use_cpu: bool | None = None
    """Train on the CPU; None: where there is no accelerator."""

    def __post_init__(self) -> None:
        """Raise InputError with every setting that makes no sense, all at once."""
        faults = [f"{name}: {value!r} {words}" for name, value, words in out_of_bounds("training", self.training)]
        if faults:
            raise InputError("training settings: " + "; ".join(faults))
