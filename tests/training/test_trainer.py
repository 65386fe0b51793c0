"""TraceTrainer learns what SFTTrainer learns: loss, gradients, steps; and it resumes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from peft import get_peft_model_state_dict
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer

from tests.training.tiny import lora, model, rows, settings, tokenizer
from tracedistill.errors import InputError
from tracedistill.recipes import TrainingConfig
from tracedistill.training import TrainingSetup
from tracedistill.training.head import SupervisedLogProbs
from tracedistill.training.trainer import TraceTrainer, build_trainer


def ours(folder: Path, count: int = 10, dtype: torch.dtype = torch.float32, **changes: Any) -> TraceTrainer:
    return build_trainer(model(dtype), tokenizer(), rows(count), None, settings(folder, **changes), peft_config=lora())


def default(folder: Path, count: int = 10, **changes: Any) -> SFTTrainer:
    config = SFTConfig(
        output_dir=str(folder),
        learning_rate=5e-3,
        per_device_train_batch_size=4,
        bf16=False,
        use_cpu=True,
        completion_only_loss=True,
        logging_steps=1,
        lr_scheduler_type="linear",
        disable_tqdm=True,
        seed=0,
        dataloader_pin_memory=False,
        **changes,
    )
    return SFTTrainer(
        model(attention="sdpa"),
        config,
        train_dataset=datasets.Dataset.from_list(rows(count)),
        processing_class=tokenizer(),
        peft_config=lora(),
    )


def weights(trainer: SFTTrainer) -> dict[str, torch.Tensor]:
    return {key: value.detach().clone() for key, value in get_peft_model_state_dict(trainer.model).items()}


def losses(trainer: SFTTrainer) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def test_log_probs_and_gradient_equal_autograd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tracedistill.training.head.TILE", 97 * 7)  # several tiles, the last one short
    monkeypatch.setattr("tracedistill.training.head.STRIP", 97 * 3)
    torch.manual_seed(0)
    hidden = torch.randn(23, 16, requires_grad=True)
    weight, targets, factors = torch.randn(97, 16), torch.randint(0, 97, (23,)), torch.rand(23)
    found, entropy, is_top1 = SupervisedLogProbs.apply(hidden, weight, targets)
    (gradient,) = torch.autograd.grad((found * factors).sum(), hidden)
    logits = torch.log_softmax(hidden @ weight.t(), -1)
    expected = logits.gather(1, targets[:, None]).squeeze(1)
    (wanted,) = torch.autograd.grad((expected * factors).sum(), hidden)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradient, wanted)
    torch.testing.assert_close(entropy, -(logits.exp() * logits).sum(-1))
    assert torch.equal(is_top1, logits.argmax(-1) == targets)


def test_no_supervised_position_gives_a_zero_gradient() -> None:
    hidden = torch.randn(0, 16, requires_grad=True)
    found, _, _ = SupervisedLogProbs.apply(hidden, torch.randn(97, 16), torch.zeros(0, dtype=torch.int64))
    found.sum().backward()
    assert hidden.grad is not None
    assert hidden.grad.shape == (0, 16)


@pytest.mark.parametrize("items", [None, 40])
def test_loss_gradients_and_metrics_equal_those_of_sfttrainer(tmp_path: Path, items: int | None) -> None:
    found = {}
    for trainer in (ours(tmp_path / "ours"), default(tmp_path / "default")):
        batch = next(iter(default(tmp_path / "rows").get_train_dataloader()))
        for name, parameter in trainer.model.named_parameters():
            if "lora_B" in name:  # zero at first: its sibling would get no gradient
                torch.nn.init.constant_(parameter, 0.01)
        trainer.model.train()
        loss = trainer.compute_loss(trainer.model, dict(batch), num_items_in_batch=items)
        loss.backward()
        gradients = {name: each.grad for name, each in trainer.model.named_parameters() if each.grad is not None}
        found[type(trainer)] = (loss.detach(), gradients, dict(trainer._metrics["train"]))
    loss, gradients, metrics = found[TraceTrainer]
    torch.testing.assert_close(loss, found[SFTTrainer][0])
    torch.testing.assert_close(gradients, found[SFTTrainer][1])
    assert len(gradients) == 28
    assert metrics.keys() == found[SFTTrainer][2].keys()
    for name, values in metrics.items():
        assert values == pytest.approx(found[SFTTrainer][2][name], rel=1e-4)


@pytest.mark.parametrize("accumulation", [1, 2])
def test_training_equals_sfttrainer_on_the_same_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accumulation: int
) -> None:
    reference = default(tmp_path / "default", train_sampling_strategy="sequential")
    reference.train()
    trainer = ours(tmp_path / "ours", epochs=3, gradient_accumulation=accumulation)
    fillers = list(range(10, len(trainer.sampler)))
    monkeypatch.setattr(type(trainer.sampler), "__iter__", lambda self: iter([*range(10), *fillers]))
    trainer.train()
    assert trainer.state.global_step == reference.state.global_step == 9
    assert losses(trainer) == pytest.approx(losses(reference), rel=1e-4)
    torch.testing.assert_close(
        weights(trainer), weights(reference), rtol=1e-3, atol=3e-4
    )  # Adam turns rounding into steps


class KilledError(Exception):
    pass


class Kill(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            raise KilledError


# steps 3 and 8 are the middle of epochs 0 and 1 of 5 steps each, 6 its first step
@pytest.mark.slow
@pytest.mark.parametrize(
    ("killed", "accumulation"),
    [
        (3, 1),
        pytest.param(6, 1, marks=pytest.mark.slow),
        pytest.param(9, 2, marks=pytest.mark.slow),
    ],
)
def test_a_resumed_run_ends_like_an_undisturbed_one(tmp_path: Path, killed: int, accumulation: int) -> None:
    changes = {"count": 18, "epochs": 3, "save_steps": 2, "gradient_accumulation": accumulation}
    whole = ours(tmp_path / "whole", **changes)
    whole.train()
    broken = ours(tmp_path / "broken", **changes)
    broken.add_callback(Kill(killed))
    with pytest.raises(KilledError):
        broken.train()
    resumed = ours(tmp_path / "broken", **changes)
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == whole.state.global_step == 15
    assert losses(resumed) == losses(whole)
    torch.testing.assert_close(weights(resumed), weights(whole), rtol=0, atol=0)


def test_two_trainers_with_one_seed_are_equal_and_rows_are_all_used(tmp_path: Path) -> None:
    first, second = ours(tmp_path / "a", count=9), ours(tmp_path / "b", count=9)
    seen: list[int] = []
    collate = second.data_collator
    second.data_collator = lambda batch: seen.append(len(batch)) or collate(batch)  # type: ignore[func-returns-value]
    first.train()
    second.train()
    assert seen == [4, 4, 1]
    torch.testing.assert_close(weights(first), weights(second), rtol=0, atol=0)
    assert second.train_rows_per_second > 0


def test_bf16_weights_keep_fp32_adapters_and_stay_close_to_pefts_own_arithmetic(tmp_path: Path) -> None:
    trainer = ours(tmp_path, count=16, dtype=torch.bfloat16, bf16=True, epochs=4)
    plain = ours(tmp_path, count=16, epochs=4)
    trainer.train()
    plain.train()
    found, wanted = weights(trainer), weights(plain)
    assert {value.dtype for value in found.values()} == {torch.float32}
    assert losses(trainer)[-1] == pytest.approx(losses(plain)[-1], rel=0.03)
    largest = max(float(value.abs().max()) for value in wanted.values())
    assert max(float((found[key] - wanted[key]).abs().mean()) for key in wanted) < 0.05 * largest


def test_the_adapter_can_be_switched_off(tmp_path: Path) -> None:
    trainer = ours(tmp_path, dtype=torch.bfloat16, bf16=True)
    trainer.train()
    ids = torch.tensor([[5, 6, 7]])
    tuned = trainer.model(input_ids=ids).logits
    with trainer.model.disable_adapter():
        off = trainer.model(input_ids=ids).logits
    assert torch.equal(off, model(torch.bfloat16)(input_ids=ids).logits)
    assert not torch.equal(off, tuned)


def test_evaluation_does_not_depend_on_padding(tmp_path: Path) -> None:
    made = settings(tmp_path)
    trainer = build_trainer(model(), tokenizer(), rows(4), rows(1, seed=9), made, peft_config=lora())
    alone = trainer.evaluate()["eval_loss"]
    long = {"input_ids": [3] * 60, "completion_mask": [0] * 60}
    batch = trainer.data_collator([*rows(1, seed=9), long])
    with torch.no_grad():
        assert float(trainer.compute_loss(trainer.model, batch)) == pytest.approx(alone, rel=1e-5)


def test_full_fine_tuning_goes_through_trls_own_head(tmp_path: Path) -> None:
    trainer = build_trainer(model(), tokenizer(), rows(8), None, settings(tmp_path))
    before = trainer.model.get_output_embeddings().weight.detach().clone()
    trainer.train()
    assert not torch.equal(before, trainer.model.get_output_embeddings().weight)


def test_a_gradient_that_is_not_finite_stops_before_the_weights(tmp_path: Path) -> None:
    trainer = ours(tmp_path)
    with torch.no_grad():
        trainer.model.get_input_embeddings().weight[5:] = float("nan")
    before = weights(trainer)
    with pytest.raises(InputError, match="not finite at step 1"):
        trainer.train()
    torch.testing.assert_close(weights(trainer), before, rtol=0, atol=0)


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="multiple of 3"):
        ours(tmp_path, gradient_accumulation=3)


def test_settings_name_every_fault_at_once() -> None:
    with pytest.raises(InputError, match=r"learning_rate.*batch_size"):
        TrainingSetup("x", TrainingConfig(learning_rate=0, batch_size=0))


@pytest.mark.slow
@pytest.mark.parametrize(("rows_", "warmup", "rates"), [(4, 0.1, 1), (4, 50, 1), (8, 0.9, 2), (12, 50, 3)])
def test_warm_up_never_takes_all_steps(tmp_path: Path, rows_: int, warmup: float, rates: int) -> None:
    trainer = ours(tmp_path, rows_, warmup=warmup)
    before = weights(trainer)
    trainer.train()
    seen = [entry["learning_rate"] for entry in trainer.state.log_history if "learning_rate" in entry]
    assert len(seen) == rates
    assert seen[-1] == 5e-3, "the last step is at the full rate, however long the warm-up"
    assert any(not torch.equal(before[key], value) for key, value in weights(trainer).items())
