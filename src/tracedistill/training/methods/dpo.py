"""DPO (arXiv 2305.18290) on TRL's trainer: of two completions of one problem, the chosen one over the rejected one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import datasets
from transformers import PrinterCallback
from trl import DPOConfig, DPOTrainer

from tracedistill.engines.lora import compute_in_base_dtype
from tracedistill.errors import InputError
from tracedistill.training.arguments import WarmUpMixin, shared_arguments
from tracedistill.training.methods.order import ProblemSampler
from tracedistill.training.methods.rollouts import completions_per_process, steps_of
from tracedistill.training.settings import TrainingSetup
from tracedistill.training.trainer import WHOLE_WEIGHTS, StepGuard, hold_in_fp32

PAIRED = ("rewards/accuracies", "rewards/margins", "logps/chosen", "logps/rejected")
"""Log keys of TRL for pairs: how often and by how much the chosen is preferred, and both log-probabilities."""


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """Two completions of one prompt, in tokens."""

    prompt: list[int]
    chosen: list[int]
    """The completion to prefer, its end token included."""
    rejected: list[int]
    """The completion to avoid, its end token included."""


class PairTrainer(WarmUpMixin, DPOTrainer):
    """DPO on tokenised rows, in the supervised arms' order."""

    sampler: ProblemSampler

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        """Take the rows as they are: TRL would tokenise texts and cut at a length."""
        return dataset

    def _get_train_sampler(self, dataset: Any = None) -> ProblemSampler:  # noqa: ARG002
        """Order problems as in the supervised arms."""
        return self.sampler


def pair_trainer(
    model: Any,
    tokenizer: Any,
    pairs: Sequence[PreferencePair],
    settings: TrainingSetup,
    *,
    beta: float,
    peft_config: Any = None,
    callbacks: Sequence[Any] = (),
) -> PairTrainer:
    """Set up DPO on these pairs; `beta`: strength of the penalty for leaving the starting point."""
    sampler = ProblemSampler(len(pairs), settings.training.batch_size, draws=1, passes=1, seed=settings.seed)
    config = DPOConfig(
        **shared_arguments(settings, model, per_device=completions_per_process(settings))
        | {"max_steps": steps_of(settings, sampler.steps)},
        beta=beta,
        max_length=None,  # rows that are too long are left out before, and never cut
    )
    columns = {
        "prompt_ids": [pair.prompt for pair in pairs],
        "chosen_ids": [pair.chosen for pair in pairs],
        "rejected_ids": [pair.rejected for pair in pairs],
    }
    trainer = PairTrainer(
        model=model,
        args=config,
        train_dataset=datasets.Dataset.from_dict(columns),
        processing_class=tokenizer,
        peft_config=peft_config,
        callbacks=list(callbacks),
    )
    if trainer.accelerator.distributed_type not in WHOLE_WEIGHTS:
        raise InputError("training: method dpo needs whole weights in every process (DDP, or one process)")
    trainer.sampler = sampler
    trainer.add_callback(StepGuard(sampler, sampler.steps))
    hold_in_fp32(trainer.model)
    compute_in_base_dtype(trainer.model)
    trainer.remove_callback(PrinterCallback)
    return trainer
