"""The settings that all of TRL's trainers share, from a recipe's: what each has as its own default is said here."""

from __future__ import annotations

from typing import Any

import torch

from tracedistill.training.settings import TrainerSettings


def shared_arguments(
    settings: TrainerSettings, model: Any, *, per_device: int, evaluates: bool = False
) -> dict[str, Any]:
    """Return keyword arguments for any of TRL's configurations.

    `per_device`: rows of one micro-batch on one process. Trained weights are held in fp32 under autocast only where the
    frozen ones are not in bf16 already.
    """
    half = next(model.parameters()).dtype in (torch.bfloat16, torch.float16)
    quantised = getattr(model, "is_loaded_in_4bit", False) or getattr(model, "is_loaded_in_8bit", False)
    cpu = on_cpu(settings)
    return {
        "output_dir": settings.output_dir,
        "learning_rate": settings.learning_rate,
        "num_train_epochs": settings.epochs,
        "max_steps": settings.max_steps,
        "per_device_train_batch_size": per_device,
        "gradient_accumulation_steps": settings.gradient_accumulation,
        "warmup_steps": settings.warmup_steps,
        "lr_scheduler_type": settings.scheduler,
        "weight_decay": settings.weight_decay,
        "max_grad_norm": settings.max_grad_norm,
        "optim": settings.optimizer,
        "seed": settings.seed,
        "bf16": settings.bf16 and (quantised or not half),
        "activation_checkpointing": settings.gradient_checkpointing,
        "save_strategy": "steps" if settings.save_steps else "no",
        "save_steps": settings.save_steps or 500,
        "save_total_limit": settings.save_total_limit,
        "eval_strategy": "steps" if settings.eval_steps and evaluates else "no",
        "eval_steps": settings.eval_steps or None,
        "logging_steps": settings.logging_steps,
        "logging_nan_inf_filter": False,  # it would log the mean of other steps in place of a loss that is no number
        "disable_tqdm": not settings.progress,
        "report_to": list(settings.report_to) or "none",
        "run_name": settings.run_name,
        "use_cpu": cpu,
        "remove_unused_columns": False,
        "dataloader_pin_memory": not cpu,
    }


def on_cpu(settings: TrainerSettings) -> bool:
    """Return whether to train on the CPU."""
    return not torch.accelerator.is_available() if settings.use_cpu is None else settings.use_cpu
