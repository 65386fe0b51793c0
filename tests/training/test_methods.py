"""Each method held against something known: a divergence by hand, a toy's optimum, margins, a fixed point."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.training import tiny
from tracedistill.training import TrainingSetup
from tracedistill.training.batching import epoch_order
from tracedistill.training.methods.dpo import PreferencePair, pair_trainer
from tracedistill.training.methods.grpo import Reward, group_trainer, tallied
from tracedistill.training.methods.on_policy import OnPolicyTrainer, on_policy_trainer
from tracedistill.training.methods.order import ProblemSampler
from tracedistill.training.methods.rollouts import RolloutSettings
from tracedistill.training.methods.verdicts import JudgedCompletion
from tracedistill.training.methods.writer import CompletionWriter

pytestmark = [
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),
]
PROMPTS = {f"p{n}": [5 + n, 7, 9] for n in range(6)}
LONGER = {key: [40, 41, 42, *tokens] for key, tokens in PROMPTS.items()}
DRAWING = RolloutSettings(8, 3)
LUCKY = range(10, 30)
"""First tokens that the toy's judge calls right: a fifth of the vocabulary."""


def settings(place: Path, **changes: Any) -> TrainingSetup:
    return tiny.settings(place, **{"learning_rate": 2e-2, "max_steps": 4, **changes})


def lucky(_ids: Sequence[str], completions: Sequence[list[int]]) -> list[JudgedCompletion]:
    return [JudgedCompletion(float(each[0] in LUCKY), float(len(each) == 2), 1.0) for each in completions]


def group(
    place: Path, weights: dict[str, float], drawing: RolloutSettings = DRAWING, model: Any = None, **changes: Any
) -> Any:
    return group_trainer(
        model or tiny.model(), tiny.tokenizer(), PROMPTS, Reward(lucky, weights), settings(place, **changes), drawing,
        beta=0.0, epsilon=0.2, peft_config=tiny.lora(),
    )  # fmt: skip


def distilled(place: Path, shown: dict[str, list[int]] = LONGER, beta: float = 1.0, **changes: Any) -> OnPolicyTrainer:
    teacher = changes.pop("teacher", None)
    return on_policy_trainer(
        tiny.model(), tiny.tokenizer(), PROMPTS, shown, settings(place, **changes), RolloutSettings(2, 5),
        beta=beta, teacher=teacher, peft_config=tiny.lora(),
    )  # fmt: skip


def entries(trainer: Any, key: str) -> list[float]:
    return [float(entry[key]) for entry in trainer.state.log_history if key in entry]


def adapter(trainer: Any) -> dict[str, torch.Tensor]:
    return {name: each.detach().clone() for name, each in trainer.model.named_parameters() if each.requires_grad}


# ---- order


def test_a_step_has_the_problems_of_a_supervised_step_each_drawn_in_a_row() -> None:
    sampler = ProblemSampler(7, 3, draws=2, passes=1, seed=5)
    sampler.set_epoch(1)
    order = epoch_order(tiny_lengths(7), 3, window=1, seed=5, epoch=1).tolist()
    whole = [*order, *order[:2]]  # the last step is filled up from the start
    assert list(sampler) == [index for index in whole for _ in range(2)]
    assert len(sampler) == 18
    assert sampler.steps == 3


def test_a_step_is_passed_over_as_often_as_its_completions_are_used() -> None:
    once, twice = (list(ProblemSampler(4, 2, draws=2, passes=passes, seed=0)) for passes in (1, 2))
    assert twice == [*once[:4], *once[:4], *once[4:], *once[4:]]


def test_fewer_problems_than_a_step_has_are_taken_again() -> None:
    assert sorted(ProblemSampler(2, 5, draws=1, passes=1, seed=0)) in ([0, 0, 0, 1, 1], [0, 0, 1, 1, 1])


def tiny_lengths(count: int) -> Any:
    import numpy as np

    return np.zeros(count, dtype=np.int64)


# ---- draws


def test_a_completion_depends_on_its_own_seed_and_on_no_neighbour() -> None:
    writer = CompletionWriter(tiny.model().eval(), tiny.tokenizer(), 6)
    prompts = [[5, 7, 9], [6, 7, 9, 11, 13], [8, 9]]
    seeds = [(3, 0), (3, 1), (3, 2)]
    together = writer.write(prompts, seeds)
    assert [writer.write([prompt], [seed])[0] for prompt, seed in zip(prompts, seeds, strict=True)] == together
    assert writer.write(prompts, [(4, n) for n in range(3)]) != together
    assert all(1 <= len(tokens) <= 6 for tokens in together)


def test_writing_leaves_the_model_in_training() -> None:
    model = tiny.model().train()
    CompletionWriter(model, tiny.tokenizer(), 2).write([[5]], [(0, 0)])
    assert model.training


# ---- grpo


def test_grpo_reaches_the_optimum_of_a_toy(tmp_path: Path) -> None:
    """A bandit: one token is drawn, and a fifth of all are right."""
    model = tiny.model()
    with torch.no_grad():
        # behind the last norm the tiny head cannot tell one token from the rest by more than a factor of some hundred
        model.get_output_embeddings().weight.mul_(3)
    trainer = group(
        tmp_path, {"answer": 1.0}, RolloutSettings(16, 1), model, max_steps=40, learning_rate=2e-2, scheduler="constant"
    )
    trainer.train()
    rewards = entries(trainer, "reward")
    assert rewards[0] < 0.5
    assert sum(rewards[-3:]) / 3 > 0.95


def test_what_has_no_weight_is_counted_and_not_rewarded(tmp_path: Path) -> None:
    trainer = group(tmp_path, {"answer": 0.0, "trace": 1.0}, max_steps=2)
    trainer.train()
    assert entries(trainer, "reward") == entries(trainer, "rewards/trace/mean")
    cells = [entries(trainer, key) for key in ("both", "answer_alone", "trace_alone", "neither")]
    assert [sum(each) for each in zip(*cells, strict=True)] == pytest.approx([1.0, 1.0])


def test_equal_rewards_teach_nothing(tmp_path: Path) -> None:
    trainer = group(tmp_path, {"format": 1.0}, max_steps=2)
    before = adapter(trainer)
    trainer.train()
    assert all(torch.equal(before[name], weight) for name, weight in adapter(trainer).items())


def test_drawn_tokens_are_counted(tmp_path: Path) -> None:
    trainer = group(tmp_path, {"answer": 1.0}, max_steps=2)
    trainer.train()
    drawn, read = entries(trainer, "drawn_tokens"), entries(trainer, "prompt_tokens")
    assert read == [4 * 8 * 3] * 2
    means = entries(trainer, "completions/mean_length")
    assert drawn == pytest.approx([32 * mean for mean in means])


@pytest.mark.parametrize("make", [lambda place, **all_: group(place, {"answer": 1.0}, **all_), distilled])
def test_micro_batches_change_nothing(tmp_path: Path, make: Callable[..., Any]) -> None:
    whole, cut = (make(tmp_path / str(parts), gradient_accumulation=parts) for parts in (1, 2))
    for trainer in (whole, cut):
        trainer.train()
    assert entries(whole, "drawn_tokens") == entries(cut, "drawn_tokens")
    other = adapter(cut)
    for name, weight in adapter(whole).items():
        assert torch.allclose(weight, other[name], atol=2e-5), name


def test_completions_are_used_for_several_updates(tmp_path: Path) -> None:
    trainer = group(tmp_path, {"answer": 1.0}, RolloutSettings(8, 3, num_iterations=2), max_steps=2)
    trainer.train()
    assert trainer.state.global_step == 4
    assert sum(entries(trainer, "drawn_tokens")) > 0
    assert len([each for each in entries(trainer, "drawn_tokens") if each]) == 2


def test_the_cells_of_answers_and_traces() -> None:
    judged = [
        JudgedCompletion(1, 1, 1, True),
        JudgedCompletion(1, 0, 1),
        JudgedCompletion(0, 1, 1),
        JudgedCompletion(1, None, 0),
    ]
    assert tallied(judged) == {
        "both": 0.25, "answer_alone": 0.5, "trace_alone": 0.25, "neither": 0.0, "copied": 0.25,
    }  # fmt: skip


# ---- on-policy


def divergence(student: torch.Tensor, teacher: torch.Tensor, beta: float) -> torch.Tensor:
    """Per place, from logits, written out: 0 forward KL, 1 reverse KL, between them the generalised JSD."""
    p, q = teacher.log_softmax(-1), student.log_softmax(-1)
    if beta == 0.0:
        return (p.exp() * (p - q)).sum(-1)
    if beta == 1.0:
        return (q.exp() * (q - p)).sum(-1)
    middle = (beta * p.exp() + (1 - beta) * q.exp()).log()
    return beta * (p.exp() * (p - middle)).sum(-1) + (1 - beta) * (q.exp() * (q - middle)).sum(-1)


def behind(model: nn.Module, prompt: list[int], completion: list[int]) -> torch.Tensor:
    """Logits of one row alone at the places of its completion."""
    ids = torch.tensor([prompt + completion])
    return model(input_ids=ids).logits[0, len(prompt) - 1 : -1].float()


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("other", [False, True])
def test_on_policy_loss_is_the_divergence_by_hand(tmp_path: Path, beta: float, other: bool) -> None:
    torch.manual_seed(1)
    teacher = tiny.model().eval() if other else None
    if teacher is not None:
        with torch.no_grad():
            for weight in teacher.parameters():
                weight.add_(0.05 * torch.randn_like(weight))
    trainer = distilled(tmp_path, beta=beta, teacher=teacher)
    student = trainer.model
    with torch.no_grad():
        for name, weight in student.named_parameters():
            if "lora_B" in name:
                weight.add_(0.1 * torch.randn_like(weight))
    rows = [{"prompt": key} for key in ("p0", "p1", "p2", "p2")]
    student.train()
    trainer.sampler.set_epoch(0)
    inputs = trainer._prepare_inputs(rows)
    loss = trainer.compute_loss(student, inputs)
    total, places = torch.zeros(()), 0
    with torch.no_grad():
        student.eval()
        for row in range(4):
            prompt = inputs["prompt_ids"][row][inputs["prompt_mask"][row] == 1].tolist()
            completion = inputs["completion_ids"][row][inputs["completion_mask"][row] == 1].tolist()
            key = next(key for key, tokens in PROMPTS.items() if tokens == prompt)
            mine = behind(student, prompt, completion)
            if teacher is None:
                with student.disable_adapter():
                    theirs = behind(student, LONGER[key], completion)
            else:
                theirs = behind(teacher, LONGER[key], completion)
            total = total + divergence(mine, theirs, beta).sum()
            places += len(completion)
    assert loss.item() == pytest.approx((total / places).item(), rel=1e-4)
    assert loss.requires_grad


def test_a_teacher_equal_to_the_student_teaches_nothing(tmp_path: Path) -> None:
    trainer = distilled(tmp_path, PROMPTS, max_steps=3)
    before = adapter(trainer)
    trainer.train()
    assert entries(trainer, "loss") == pytest.approx([0.0] * 3, abs=1e-6)
    change = max(float((weight - before[name]).abs().max()) for name, weight in adapter(trainer).items())
    # a gradient of rounding errors moves a weight by a step of Adam at most where it is not exactly zero
    norms = entries(trainer, "grad_norm")
    assert max(norms) < 1e-5
    assert change <= 3 * 2e-2


def test_a_longer_prompt_is_learnt_into_the_weights(tmp_path: Path) -> None:
    trainer = distilled(tmp_path, max_steps=40, learning_rate=1e-2)
    trainer.train()
    losses = entries(trainer, "loss")
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])


def test_the_teacher_stays_what_the_student_was(tmp_path: Path) -> None:
    trainer = distilled(tmp_path, max_steps=2)
    ids = torch.tensor([[5, 7, 9, 11]])
    with torch.no_grad():
        before = trainer.model(input_ids=ids).logits
    trainer.train()
    with torch.no_grad(), trainer.teacher_model as teacher:
        after = teacher(input_ids=ids).logits
    assert torch.allclose(before, after, atol=1e-5)
    assert trainer.model.training


# ---- dpo


def pairs() -> list[PreferencePair]:
    return [PreferencePair(tokens, [20 + n, 1], [50 + n, 51, 1]) for n, tokens in enumerate(PROMPTS.values())]


def test_dpo_widens_the_margin(tmp_path: Path) -> None:
    trainer = pair_trainer(
        tiny.model(), tiny.tokenizer(), pairs(), settings(tmp_path, max_steps=12, learning_rate=5e-3), beta=0.1,
        peft_config=tiny.lora(),
    )  # fmt: skip
    trainer.train()
    margins = entries(trainer, "rewards/margins")
    assert margins[0] == pytest.approx(0.0, abs=1e-5)  # it starts where it is held against
    assert margins[-1] > margins[1] > 0
    assert entries(trainer, "rewards/accuracies")[-1] == 1.0


def test_dpo_loss_is_that_of_the_paper(tmp_path: Path) -> None:
    trainer = pair_trainer(
        tiny.model(), tiny.tokenizer(), pairs(), settings(tmp_path), beta=0.3, peft_config=tiny.lora()
    )
    student = trainer.model
    torch.manual_seed(2)
    with torch.no_grad():
        for name, weight in student.named_parameters():
            if "lora_B" in name:
                weight.add_(0.1 * torch.randn_like(weight))
    batch = trainer.data_collator([trainer.train_dataset[index] for index in range(3)])
    loss = trainer.compute_loss(student, batch)

    def total(prompt: list[int], completion: list[int]) -> torch.Tensor:
        found = behind(student, prompt, completion).log_softmax(-1)
        return found.gather(-1, torch.tensor(completion)[:, None]).sum()

    wanted = []
    with torch.no_grad():
        student.eval()
        for pair in pairs()[:3]:
            now = total(pair.prompt, pair.chosen) - total(pair.prompt, pair.rejected)
            with student.disable_adapter():
                then = total(pair.prompt, pair.chosen) - total(pair.prompt, pair.rejected)
            wanted.append(-nn.functional.logsigmoid(0.3 * (now - then)))
    assert loss.item() == pytest.approx(torch.stack(wanted).mean().item(), rel=1e-4)


# ---- warm-up

MAKERS: dict[str, Callable[..., Any]] = {
    "GRPO": lambda place, **changes: group(place, {"answer": 1.0}, **changes),
    "on-policy distillation": distilled,
    "DPO": lambda place, **changes: pair_trainer(
        tiny.model(), tiny.tokenizer(), pairs(), settings(place, **changes), beta=0.1, peft_config=tiny.lora()
    ),
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_warm_up_never_takes_all_steps(tmp_path: Path, make: Callable[..., Any]) -> None:
    for steps, warmup in ((1, 0.1), (1, 50), (2, 0.9), (3, 50)):
        trainer = make(tmp_path, warmup=warmup, max_steps=steps)
        trainer.create_optimizer()
        scheduler = trainer.create_scheduler(steps, trainer.optimizer)
        rates = []
        for _ in range(steps):
            rates.append(trainer.optimizer.param_groups[0]["lr"])
            trainer.optimizer.step()
            scheduler.step()
        assert rates[-1] == 2e-2, (steps, warmup)


# ---- resumption


@pytest.mark.slow
@pytest.mark.parametrize("make", [lambda place, **all_: group(place, {"answer": 1.0}, **all_), distilled])
def test_a_resumed_training_is_the_undisturbed_one(tmp_path: Path, make: Callable[..., Any]) -> None:
    whole = make(tmp_path / "whole", save_steps=2)
    whole.train()
    begun = make(tmp_path / "begun", save_steps=2)

    class EndError(Exception):
        pass

    from transformers import TrainerCallback

    class End(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 3:
                raise EndError

    begun.add_callback(End())
    with pytest.raises(EndError):
        begun.train()
    resumed = make(tmp_path / "begun", save_steps=2)
    resumed.train(resume_from_checkpoint=True)
    assert entries(resumed, "drawn_tokens") == entries(whole, "drawn_tokens")
    other = adapter(resumed)
    for name, weight in adapter(whole).items():
        assert torch.allclose(weight, other[name], atol=1e-6), name
