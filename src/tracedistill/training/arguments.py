"""Settings shared by all TRL trainers, including values that TRL's own defaults would set differently."""

from __future__ import annotations

from typing import Any

import torch

from tracedistill.training.settings import TrainingSetup


def shared_arguments(
    settings: TrainingSetup, model: Any, *, per_device: int, evaluates: bool = False
) -> dict[str, Any]:
    """Return keyword arguments for any of TRL's configurations.

    `per_device`: rows per micro-batch and process. Trained weights are kept in fp32 under autocast only if the frozen
    ones are not already in bf16.
    """
    half = next(model.parameters()).dtype in (torch.bfloat16, torch.float16)
    quantised = getattr(model, "is_loaded_in_4bit", False) or getattr(model, "is_loaded_in_8bit", False)
    training, cpu = settings.training, on_cpu(settings)
    return {
        "output_dir": settings.output_dir,
        "learning_rate": training.learning_rate,
        "num_train_epochs": training.epochs,
        "max_steps": training.max_steps,
        "per_device_train_batch_size": per_device,
        "gradient_accumulation_steps": training.gradient_accumulation,
        "warmup_steps": training.warmup,
        "lr_scheduler_type": training.scheduler,
        "weight_decay": training.weight_decay,
        "max_grad_norm": training.max_grad_norm,
        "optim": training.optimizer,
        "seed": settings.seed,
        "bf16": settings.bf16 and (quantised or not half),
        "activation_checkpointing": training.activation_checkpointing,
        "save_strategy": "steps" if training.save_steps else "no",
        "save_steps": training.save_steps or 500,
        "save_total_limit": 2,
        "eval_strategy": "steps" if training.eval_steps and evaluates else "no",
        "eval_steps": training.eval_steps or None,
        "logging_steps": settings.logging_steps,
        "logging_nan_inf_filter": False,  # else it logs the mean of other steps in place of a non-finite loss
        "disable_tqdm": True,  # our progress line replaces the bar
        "report_to": "none",  # its own trackers would send everything they know
        "use_cpu": cpu,
        "remove_unused_columns": False,
        "dataloader_pin_memory": not cpu,
    }


class WarmUpMixin:
    """Mixed into a TRL trainer: the warm-up never takes all steps, since at rate 0 nothing is learnt."""

    args: Any

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Create the learning-rate schedule."""
        self.args.warmup_steps = min(self.args.get_warmup_steps(num_training_steps), max(0, num_training_steps - 1))
        return super().create_scheduler(num_training_steps, optimizer)  # type: ignore[misc]


def on_cpu(settings: TrainingSetup) -> bool:
    """Return whether to train on the CPU."""
    return not torch.accelerator.is_available() if settings.use_cpu is None else settings.use_cpu
