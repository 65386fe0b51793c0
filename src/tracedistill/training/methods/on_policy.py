"""Distillation on the student's own completions (arXiv 2306.13649), on TRL's trainer.

The teacher is another model with the same vocabulary, or the student as it was at the start. Either may see a longer
prompt than the student, with a plan or a gold trace. This moves the effect of the prompt into the weights (context
distillation, arXiv 2209.15189).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import torch
from peft import PeftModel
from torch import nn
from trl import DistillationConfig, DistillationTrainer
from trl.trainer.utils import pad, use_adapter

from tracedistill.training.arguments import shared_arguments
from tracedistill.training.methods.reference import REFERENCE, keep_reference
from tracedistill.training.methods.rollouts import RolloutMixin, RolloutSettings, completions_per_process, steps_of
from tracedistill.training.settings import TrainingSetup
from tracedistill.training.work import SCORED

SHOWN, SHOWN_MASK = "shown_ids", "shown_mask"
"""Inputs of a step: the teacher's prompts, padded on the left, and their mask."""


class OnPolicyTrainer(RolloutMixin, DistillationTrainer):
    """Distillation on this project's prompts, draws and order; the teacher may be the student with a longer prompt."""

    shown: Mapping[str, list[int]]
    """Problem id -> the teacher's prompt in tokens."""

    def _generate_single_turn(self, prompt_ids: list[list[int]], *_: Any, **__: Any) -> list[list[int]]:
        return self.draw(prompt_ids)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Add the teacher's prompts to what TRL makes of a step; rows are shuffled and cut together."""
        inputs_of_step: dict[str, Any] = super()._generate_and_score_completions(inputs)
        prompts = [torch.tensor(self.shown[row["prompt"]]) for row in inputs]
        device = inputs_of_step["prompt_ids"].device
        padding = self._tokenizer.pad_token_id
        inputs_of_step[SHOWN] = pad(prompts, padding_value=padding, padding_side="left").to(device)
        ones = [torch.ones_like(prompt) for prompt in prompts]
        inputs_of_step[SHOWN_MASK] = pad(ones, padding_value=0, padding_side="left").to(device)
        self.count(SCORED, sum(map(len, prompts)) + int(inputs_of_step["completion_mask"].sum()))
        return inputs_of_step

    def _compute_loss(self, unwrapped_student: Any, inputs: dict[str, Any], num_items_in_batch: Any) -> Any:
        self._step_inputs = inputs
        return super()._compute_loss(unwrapped_student, inputs, num_items_in_batch)

    def _get_last_hidden_state(
        self, unwrapped_model: Any, input_ids: Any, attention_mask: Any, logits_to_keep: int, **kwargs: Any
    ) -> Any:
        """Return hidden states after the completions; the teacher's after its own prompts."""
        if unwrapped_model is not self.accelerator.unwrap_model(self.teacher_model):
            return super()._get_last_hidden_state(unwrapped_model, input_ids, attention_mask, logits_to_keep, **kwargs)
        inputs = self._step_inputs
        input_ids = torch.cat([inputs[SHOWN], inputs["completion_ids"]], dim=1)
        attention_mask = torch.cat([inputs[SHOWN_MASK], inputs["completion_mask"]], dim=1)
        if not isinstance(unwrapped_model, StudentAsItWas):
            return super()._get_last_hidden_state(unwrapped_model, input_ids, attention_mask, logits_to_keep, **kwargs)
        with unwrapped_model as student:
            return super()._get_last_hidden_state(student, input_ids, attention_mask, logits_to_keep, **kwargs)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log TRL's figures with the tokens drawn."""
        super().log(self.with_token_counts(logs), start_time)


class StudentAsItWas(nn.Module):
    """A student with the adapter that it started from (or none), sharing the weights in memory.

    No module of the student is registered here, since what a trainer does to its teacher (evaluation mode, devices)
    must not reach the student.
    """

    def __init__(self, student: PeftModel) -> None:
        super().__init__()
        self._held = (student,)

    @property
    def config(self) -> Any:
        """The student's configuration."""
        return self._held[0].config

    def get_output_embeddings(self) -> Any:
        """Return the head, which no adapter changes."""
        return self._held[0].get_output_embeddings()

    def __enter__(self) -> PeftModel:
        student = self._held[0]
        self._context = use_adapter(student, REFERENCE if REFERENCE in student.peft_config else None)
        self._context.__enter__()
        self._was_training = student.training
        student.eval()  # a teacher has no dropout
        return student

    def __exit__(self, *error: Any) -> None:
        self._held[0].train(self._was_training)
        self._context.__exit__(*error)


def on_policy_trainer(
    model: Any,
    tokenizer: Any,
    prompts: Mapping[str, list[int]],
    shown: Mapping[str, list[int]],
    settings: TrainingSetup,
    drawing: RolloutSettings,
    *,
    beta: float,
    teacher: Any = None,
    peft_config: Any = None,
    callbacks: Sequence[Any] = (),
) -> OnPolicyTrainer:
    """Set up distillation on these problems: `prompts` by problem id, in the order of their rows.

    `shown`: the teacher's prompts. `teacher`: a model with the same vocabulary; None: the student as it is now. `beta`:
    0 is forward, 1 reverse Kullback-Leibler divergence; values between give a Jensen-Shannon divergence.
    """
    per_epoch = -(-len(prompts) // settings.training.batch_size)
    config = DistillationConfig(
        **shared_arguments(settings, model, per_device=completions_per_process(settings, drawing.num_generations))
        | {"max_steps": steps_of(settings, per_epoch)},
        max_completion_length=drawing.max_completion_length,
        temperature=drawing.temperature,
        beta=beta,
    )
    if isinstance(model, PeftModel):
        keep_reference(model)
    trainer = OnPolicyTrainer(
        model=model,
        teacher_model=teacher,
        args=config,
        train_dataset=datasets.Dataset.from_dict({"prompt": list(prompts)}),
        processing_class=tokenizer,
        peft_config=peft_config,
        callbacks=list(callbacks),
    )
    trainer.shown = shown
    if teacher is None:
        trainer.teacher_model = StudentAsItWas(trainer.model)
    trainer.prepare_rollouts(prompts, drawing, settings)
    return trainer
