"""An arm's training: its method, what it learns from besides its rows, and its trainer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracedistill.chat.formats import Format
from tracedistill.errors import InputError
from tracedistill.files import content_id, file_hash, to_json
from tracedistill.recipes import TUNING, Arm, StudentConfig, beta_of, draws
from tracedistill.records import Example
from tracedistill.training.settings import TrainingSetup

if TYPE_CHECKING:
    from tracedistill.training.methods.verdicts import TextJudge


@dataclass(frozen=True, slots=True)
class LearningSpec:
    """What a training uses besides the rows."""

    arm: Arm
    """The arm, for its method and the method's settings."""
    judge: TextJudge | None = None
    """The task's judges; needed if they decide what is learnt, and for learning curves."""
    start: Path | None = None
    """The adapter to start from."""
    shown: Sequence[Example] = ()
    """Prompts of the teaching model, one per problem."""
    rejected: Sequence[Example] = ()
    """Rows with the completion to be rejected, one per problem."""
    teacher: StudentConfig | None = None
    """Another model whose distribution is distilled."""
    attempted: int = 0
    """Validation problems that the student attempts between steps."""

    def identity(self) -> str:
        """Return what the result depends on, to identify checkpoints."""
        arm = to_json(self.arm, defaults=True)
        return content_id(
            {key: arm[key] for key in TUNING},
            self.arm.max_tokens,
            None if self.start is None else file_hash(self.start),
            [row for part in (self.shown, self.rejected) for row in part],
            self.teacher,
            self.attempted,
        )

    def check(self, student: StudentConfig) -> None:
        """Raise InputError if this machine cannot train so, or the adapter to start from is missing."""
        if self.start is not None and not self.start.is_dir():
            raise InputError(f"{self.start}: no adapter to start from; first train the arm that `from` names")
        if (draws(self.arm) or self.attempted) and student.quantization == "nf4":
            import torch

            if torch.accelerator.is_available():
                return
            raise InputError(
                "4-bit weights on a CPU cannot write between training steps (bitsandbytes re-quantises them for it, "
                "after which no gradient flows): set quantization: none, or method: sft with training.eval_steps: 0"
            )


@dataclass(frozen=True, slots=True)
class RenderedRows:
    """An arm's rows in tokens, with their problems."""

    ids: Sequence[str]
    """Problem ids, in the rows' order."""
    rows: Sequence[Mapping[str, Any]]
    """`input_ids` and `completion_mask` of each."""
    heldout_ids: Sequence[str] = ()
    """Problem ids of validation rows."""
    heldout: Sequence[Mapping[str, Any]] = ()
    """The validation rows."""

    def prompts(self) -> dict[str, list[int]]:
        """Return problem id -> the tokens of its prompt."""
        return {problem_id: _prompt(row) for problem_id, row in zip(self.ids, self.rows, strict=True)}

    def heldout_prompts(self, most: int) -> dict[str, list[int]]:
        """Return problem id -> prompt tokens of the first validation rows."""
        pairs = zip(self.heldout_ids[:most], self.heldout, strict=False)
        return {problem_id: _prompt(row) for problem_id, row in pairs}


def _prompt(row: Mapping[str, Any]) -> list[int]:
    mask = list(row["completion_mask"])
    return list(row["input_ids"])[: mask.index(1)]


def build(
    learning: LearningSpec,
    data: RenderedRows,
    model: Any,
    tokenizer: Any,
    settings: TrainingSetup,
    format: Format,
    peft_config: Any,
    callbacks: Sequence[Any],
    *,
    rejected: Mapping[str, Sequence[int]] | None = None,
    teacher: tuple[Any, Any] | None = None,
) -> Any:
    """Return the trainer of an arm's method, ready to train.

    `rejected`: problem id -> completion in tokens, for dpo; problems without one are left out. `teacher`: another model
    with its tokenizer, for on-policy.
    """
    from tracedistill.training.methods.curve import Curve
    from tracedistill.training.methods.reference import started_from
    from tracedistill.training.methods.verdicts import by_tokens

    arm, judge = learning.arm, None
    if learning.judge is not None:
        judge = by_tokens(learning.judge, tokenizer, format, arm.max_tokens)
    if learning.start is not None:
        model, peft_config = started_from(model, learning.start), None
    curve = None
    prompts = data.heldout_prompts(learning.attempted)
    if prompts and judge is not None:
        curve = Curve(prompts, judge, settings.training.eval_steps)
        callbacks = [*callbacks, curve]
    given: dict[str, Any] = {"peft_config": peft_config, "callbacks": callbacks}
    if arm.method == "grpo":
        trainer = _grpo(arm, judge, data, model, tokenizer, settings, given)
    elif arm.method == "on-policy":
        trainer = _on_policy(learning, data, model, tokenizer, settings, format, given, teacher)
    elif arm.method == "dpo":
        trainer = _dpo(arm, data, model, tokenizer, settings, given, rejected or {})
    else:
        from tracedistill.training.trainer import build_trainer

        trainer = build_trainer(model, tokenizer, data.rows, data.heldout or None, settings, **given)
    if curve is not None:
        curve.attach(trainer.accelerator.unwrap_model(trainer.model), tokenizer, arm.max_tokens)
    return trainer


def _drawing(arm: Arm) -> Any:
    from tracedistill.training.methods.rollouts import RolloutSettings

    return RolloutSettings(arm.num_generations, arm.max_tokens, arm.rollout_temperature, arm.num_iterations)


def _grpo(
    arm: Arm,
    judge: Any,
    data: RenderedRows,
    model: Any,
    tokenizer: Any,
    settings: TrainingSetup,
    given: Mapping[str, Any],
) -> Any:
    from tracedistill.training.methods.grpo import Reward, group_trainer

    assert judge is not None, "the pipeline gives one"
    reward = Reward(judge, weights_of(arm))
    return group_trainer(
        model,
        tokenizer,
        data.prompts(),
        reward,
        settings,
        _drawing(arm),
        beta=beta_of(arm),
        epsilon=arm.epsilon,
        **given,
    )


def weights_of(arm: Arm) -> dict[str, float]:
    """Return the weight of each part of an arm's reward."""
    answer = {"answer": 1.0, "both": 1.0, "trace": 0.0}[arm.reward]
    trace = {"answer": 0.0, "both": arm.trace_weight, "trace": 1.0}[arm.reward]
    return {"answer": answer, "trace": trace, "format": arm.format_weight}


def _on_policy(
    learning: LearningSpec,
    data: RenderedRows,
    model: Any,
    tokenizer: Any,
    settings: TrainingSetup,
    format: Format,
    given: Mapping[str, Any],
    teacher: tuple[Any, Any] | None,
) -> Any:
    from tracedistill.chat.rendering import prompt_ids
    from tracedistill.training.methods.on_policy import on_policy_trainer

    prompts = data.prompts()
    renders = tokenizer if teacher is None else teacher[1]
    shown = {row.problem_id: prompt_ids(renders, row.prompt, format=format) for row in learning.shown}
    lacking = [] if not shown else [problem_id for problem_id in prompts if problem_id not in shown]
    if lacking:
        raise InputError(f"{len(lacking)} training problems have no prompt for the teacher, such as {lacking[0]}")
    return on_policy_trainer(
        model,
        tokenizer,
        prompts,
        shown or prompts,
        settings,
        _drawing(learning.arm),
        beta=beta_of(learning.arm),
        teacher=None if teacher is None else teacher[0],
        **given,
    )


def _dpo(
    arm: Arm,
    data: RenderedRows,
    model: Any,
    tokenizer: Any,
    settings: TrainingSetup,
    given: Mapping[str, Any],
    rejected: Mapping[str, Sequence[int]],
) -> Any:
    from tracedistill.training.methods.dpo import PreferencePair, pair_trainer

    pairs = []
    for problem_id, row in zip(data.ids, data.rows, strict=True):
        if problem_id in rejected:
            prompt = _prompt(row)
            chosen = list(row["input_ids"])[len(prompt) :]
            pairs.append(PreferencePair(prompt, chosen, list(rejected[problem_id])))
    if not pairs:
        raise InputError(
            "no pair to learn from: no training problem has a rejected completion (a student that never fails, or an "
            "intervention that applies to none of the traces)"
        )
    return pair_trainer(model, tokenizer, pairs, settings, beta=beta_of(arm), **given)
