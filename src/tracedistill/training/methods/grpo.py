"""GRPO (arXiv 2402.03300) on TRL's trainer, with the task's judges as reward."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import datasets
from trl import GRPOConfig, GRPOTrainer

from tracedistill.training.arguments import shared_arguments
from tracedistill.training.head import lighten_forward
from tracedistill.training.methods.rollouts import RolloutMixin, RolloutSettings, completions_per_process, steps_of
from tracedistill.training.methods.verdicts import PARTS, JudgedCompletion, TokenJudge
from tracedistill.training.settings import TrainingSetup
from tracedistill.training.work import SCORED


@dataclass(frozen=True, slots=True)
class Reward:
    """The reward of GRPO."""

    judge: TokenJudge
    weights: Mapping[str, float]
    """Part -> its weight; parts of weight 0 are reported and not rewarded."""


class GroupTrainer(RolloutMixin, GRPOTrainer):
    """GRPO on this project's prompts, draws, order and judges."""

    def _generate_single_turn(self, prompt_ids: list[list[int]], *_: Any, **__: Any) -> tuple[list[list[int]], None]:
        completions = self.draw(prompt_ids)
        if self.beta:  # the reference model reads them too
            self.count(SCORED, sum(map(len, prompt_ids)) + sum(map(len, completions)))
        return completions, None

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log TRL's figures with the sampled tokens."""
        super().log(self.with_token_counts(logs), start_time)


def group_trainer(
    model: Any,
    tokenizer: Any,
    prompts: Mapping[str, list[int]],
    reward: Reward,
    settings: TrainingSetup,
    drawing: RolloutSettings,
    *,
    beta: float,
    epsilon: float,
    peft_config: Any = None,
    callbacks: Sequence[Any] = (),
) -> GroupTrainer:
    """Set up GRPO on these problems: `prompts` by problem id, in the order of their rows.

    `beta`: weight of the divergence from the starting point. `epsilon`: clipping, which matters if a set of completions
    has several updates. The loss is TRL's default (DAPO's mean over tokens), and advantages are scaled by their group.
    """
    per_epoch = -(-len(prompts) // settings.training.batch_size)
    config = GRPOConfig(
        **shared_arguments(settings, model, per_device=completions_per_process(settings, drawing.num_generations))
        | {"max_steps": steps_of(settings, per_epoch) * drawing.num_iterations},
        num_generations=drawing.num_generations,
        max_completion_length=drawing.max_completion_length,
        temperature=drawing.temperature,
        num_iterations=drawing.num_iterations,
        beta=beta,
        epsilon=epsilon,
        reward_weights=[reward.weights.get(part, 0.0) for part in PARTS],
    )
    judging = _RewardParts(reward.judge)
    trainer = GroupTrainer(
        model=model,
        reward_funcs=[judging.part(part) for part in PARTS],
        args=config,
        train_dataset=datasets.Dataset.from_dict({"prompt": list(prompts)}),
        processing_class=tokenizer,
        peft_config=peft_config,
        callbacks=list(callbacks),
    )
    trainer.prepare_rollouts(prompts, drawing, settings)
    if drawing.temperature == 1.0:
        # on a CPU TRL's head scores every position of prompt and padding; ours supports no temperature
        lighten_forward(trainer.model.get_base_model(), drop_mask=False)
    return trainer


class _RewardParts:
    """Judges each set of completions once, for all parts of the reward."""

    def __init__(self, judge: TokenJudge) -> None:
        self.judge = judge
        self.last: tuple[Any, list[JudgedCompletion]] = (None, [])

    def part(self, name: str) -> Callable[..., list[float | None]]:
        """Return the reward function of one part, as TRL calls it."""

        def reward(
            prompts: list[str],
            completion_ids: list[list[int]],
            log_metric: Callable[[str, float], None] = lambda _name, _value: None,
            **_: Any,
        ) -> list[float | None]:
            judged = self._judged(prompts, completion_ids)
            if name == PARTS[0]:  # once for all parts
                for key, share in tallied(judged).items():
                    log_metric(key, share)
            return [getattr(completion, name) for completion in judged]

        reward.__name__ = name
        return reward

    def _judged(self, prompts: list[str], completion_ids: list[list[int]]) -> list[JudgedCompletion]:
        if self.last[0] is not completion_ids:
            self.last = (completion_ids, self.judge(prompts, completion_ids))
        return self.last[1]


def tallied(judged: Sequence[JudgedCompletion]) -> dict[str, float]:
    """Return the shares of the four cells of trace and answer, and of traces that contain the answer."""
    n = max(1, len(judged))
    cells = {
        "both": sum(completion.answer == 1 and completion.trace == 1 for completion in judged),
        "answer_alone": sum(completion.answer == 1 and completion.trace != 1 for completion in judged),
        "trace_alone": sum(completion.answer != 1 and completion.trace == 1 for completion in judged),
        "neither": sum(completion.answer != 1 and completion.trace != 1 for completion in judged),
        "copied": sum(completion.copied for completion in judged),
    }
    return {key: count / n for key, count in cells.items()}
