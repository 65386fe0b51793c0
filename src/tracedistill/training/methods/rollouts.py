"""Common parts of trainers that sample completions: prompts in tokens, our draws, our order, counted tokens."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import PartialState
from transformers import PrinterCallback

from tracedistill.engines.lora import compute_in_base_dtype
from tracedistill.errors import InputError
from tracedistill.training.arguments import WarmUpMixin
from tracedistill.training.methods.order import ProblemSampler
from tracedistill.training.methods.writer import CompletionWriter
from tracedistill.training.settings import TrainingSetup
from tracedistill.training.trainer import WHOLE_WEIGHTS, StepGuard, hold_in_fp32
from tracedistill.training.work import DRAWN, READ, SCORED


@dataclass(frozen=True, slots=True)
class RolloutSettings:
    """How completions are sampled during training."""

    num_generations: int
    """Completions per problem and step."""
    max_completion_length: int
    """Most tokens of one, its end included."""
    temperature: float = 1.0
    """Temperature of the draws, and of the distributions that losses compare."""
    num_iterations: int = 1
    """Updates that use one set of completions."""


class RolloutMixin(WarmUpMixin):
    """Mixed into a TRL trainer whose dataset's `prompt` column contains problem ids; `prompts` has their tokens.

    TRL would render prompts with the tokenizer's template alone, draw with one generator for the whole batch, and use
    its own order of problems. Here prompts are those of evaluation. Each completion has a generator seeded by step and
    place, so a resumed training and one on more processes draw the same. A step has the problems of a supervised arm's
    step.
    """

    accelerator: Any
    args: Any
    model: Any
    state: Any

    def prepare_rollouts(
        self, prompts: Mapping[str, list[int]], drawing: RolloutSettings, settings: TrainingSetup
    ) -> None:
        """Set up what TRL's constructor does not take. Call it after the constructor."""
        if self.accelerator.distributed_type not in WHOLE_WEIGHTS:
            raise InputError(
                "training: completions are drawn from whole weights, and this launch shards them; use a DDP or "
                "single-process accelerate configuration for methods other than sft"
            )
        self.prompts = prompts
        self.drawing = drawing
        self.settings = settings
        self.drawn = dict.fromkeys((DRAWN, READ, SCORED), 0)
        tokenizer: Any = self._tokenizer  # type: ignore[attr-defined]
        self.writer = CompletionWriter(self.model, tokenizer, drawing.max_completion_length, drawing.temperature)
        self.eos_token_ids = list(self.writer.ends)
        self.sampler = ProblemSampler(
            len(self.train_dataset),  # type: ignore[attr-defined]
            settings.training.batch_size,
            draws=drawing.num_generations,
            passes=settings.training.gradient_accumulation * drawing.num_iterations,
            seed=settings.seed,
        )
        guard = StepGuard(self.sampler, self.sampler.steps * drawing.num_iterations)
        self.add_callback(guard)  # type: ignore[attr-defined]
        self.remove_callback(PrinterCallback)  # type: ignore[attr-defined]
        hold_in_fp32(self.model)
        compute_in_base_dtype(self.model)

    def _get_train_sampler(self, dataset: Any = None) -> ProblemSampler:  # noqa: ARG002
        """Order problems as in the supervised arms."""
        return self.sampler

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        """Look up the tokens of these problems' prompts."""
        return [self.prompts[problem_id] for problem_id in prompts], None, {}

    def draw(self, prompt_ids: list[list[int]]) -> list[list[int]]:
        """Sample one completion for each prompt."""
        rank, count = self.accelerator.process_index, len(prompt_ids)
        number = self.state.global_step // self.drawing.num_iterations
        # one seed per step and training; the position in the step over all processes distinguishes completions
        seeds = [(self.settings.seed * 1_000_003 + number, rank * count + place) for place in range(count)]
        completions = self.writer.write(prompt_ids, seeds)
        self.count(DRAWN, sum(map(len, completions)))
        self.count(READ, sum(map(len, prompt_ids)))
        return completions

    def count(self, key: str, tokens: int) -> None:
        """Add up tokens over all processes. Every process must call it."""
        mine = torch.tensor(tokens, device=self.accelerator.device)
        self.drawn[key] += int(self.accelerator.reduce(mine, reduction="sum"))

    def with_token_counts(self, logs: dict[str, Any]) -> dict[str, Any]:
        """Return the log entry with the tokens since the last one; a resumed training sums them from the log."""
        if "loss" not in logs:
            return logs
        logs |= self.drawn
        self.drawn = dict.fromkeys(self.drawn, 0)
        return logs


def completions_per_process(settings: TrainingSetup, num_generations: int = 1) -> int:
    """Return the completions of one micro-batch on one process. Raises InputError if they cannot be shared evenly."""
    training, processes = settings.training, PartialState().num_processes
    parts = processes * training.gradient_accumulation
    share, rest = divmod(training.batch_size * num_generations, parts)
    if rest or not share:
        raise InputError(
            f"training: batch_size {training.batch_size} times {num_generations} completions cannot be shared evenly "
            f"by {processes} processes with {training.gradient_accumulation} micro-batches each; make the product a "
            f"multiple of {parts}"
        )
    return int(share)


def steps_of(settings: TrainingSetup, per_epoch: int) -> int:
    """Return the steps of a whole training, as a supervised arm takes them."""
    training = settings.training
    return training.max_steps if training.max_steps > 0 else max(1, math.ceil(training.epochs * per_epoch))
