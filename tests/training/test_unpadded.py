"""Batches without padding give the loss and the gradients of padded ones, in every family that can do without."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import get_peft_model

from tests.architectures import ARCHITECTURES, build
from tests.training.test_trainer import losses, ours, weights
from tests.training.tiny import lora, model, rows, settings, tokenizer
from tracedistill.recipes import TrainingConfig
from tracedistill.training.adapter import adapter_config
from tracedistill.training.collator import SupervisedCollator
from tracedistill.training.head import lighten_forward
from tracedistill.training.packing import PackingCollator
from tracedistill.training.trainer import build_trainer
from tracedistill.training.unpadded import leave_out_padding

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),  # of recurrent kernels that are not installed
    pytest.mark.filterwarnings("ignore:The following rank_pattern keys did not match:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:The following alpha_pattern keys did not match:RuntimeWarning"),
]
PADDED = {
    "bloom", "qwen3_next", "qwen3_5_text", "lfm2", "granitemoehybrid", "falcon_h1", "bamba", "jamba", "mamba", "mamba2",
}  # fmt: skip
"""Families that carry a state from token to token, or compute attention by code of their own."""
QUICK = {"llama", "gemma3_text", "gpt_oss", "llama4_text", "gpt2", "lfm2"}
"""Run always: a window, sinks, chunks, learnt positions, a state. The others are slow tests."""


def drawn(lengths: tuple[int, ...], vocabulary: int) -> list[dict[str, Any]]:
    """Rows longer than the tiny families' windows and chunks, and some of one or two tokens."""
    draw = random.Random(5)
    return [
        {
            "input_ids": [draw.randrange(3, vocabulary) for _ in range(length)],
            "completion_mask": [0] * (length // 2) + [1] * (length - length // 2),
        }
        for length in lengths
    ]


def learnt(own: Any, batch: dict[str, torch.Tensor]) -> tuple[float, int, dict[str, torch.Tensor]]:
    """Loss, number of supervised tokens, gradients."""
    own.zero_grad()
    output = own(**batch, fused_lm_head=True)
    loss = -output.log_probs.sum() / output.label_mask.sum()
    loss.backward()
    gradients = {name: weight.grad.clone() for name, weight in own.named_parameters() if weight.grad is not None}
    return float(loss.detach()), int(output.label_mask.sum()), gradients


@pytest.mark.parametrize("attention", ["eager", pytest.param("sdpa", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "architecture",
    [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in sorted(ARCHITECTURES)],
)
def test_loss_and_gradients_are_those_of_padded_batches(tmp_path: Path, architecture: str, attention: str) -> None:
    from transformers import AutoModelForCausalLM
    from trl.trainer.utils import add_fused_lm_head

    folder = build(architecture, tmp_path, std=0.1)
    try:
        own = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation=attention)
    except ValueError:
        pytest.skip(f"{architecture} has no {attention}")
    batch = drawn((40, 23, 1, 2, 37), own.get_input_embeddings().num_embeddings)
    if own.base_model is own:
        own.base_model_prefix = "model"  # as build_trainer does for Llama 4
    add_fused_lm_head(own)
    lighten_forward(own, drop_mask=True)
    torch.manual_seed(0)
    adapter = adapter_config(TrainingConfig(lora_r=2), own)
    adapter.init_lora_weights = False
    tuned = get_peft_model(own, adapter).eval()
    expected = learnt(tuned, SupervisedCollator(0)(batch))
    reason = leave_out_padding(own)
    assert bool(reason) == (architecture in PADDED), reason
    if not reason:
        found = learnt(tuned, PackingCollator(0)(batch))
        assert found[:2] == (pytest.approx(expected[0], rel=1e-5), expected[1])
        for name, gradient in expected[2].items():
            assert float((found[2][name] - gradient).norm()) <= 1e-3 * float(gradient.norm()), name


def test_a_family_with_a_state_is_padded_and_says_so(tmp_path: Path) -> None:
    import transformers

    config = transformers.MambaConfig(vocab_size=97, hidden_size=16, state_size=4, num_hidden_layers=2, pad_token_id=0)
    torch.manual_seed(0)
    own = transformers.AutoModelForCausalLM.from_config(config)
    narrow = lora()
    narrow.target_modules = {"in_proj"}  # PEFT refuses others
    trainer = build_trainer(own, tokenizer(), rows(4), None, settings(tmp_path), peft_config=narrow)
    assert isinstance(trainer.data_collator, SupervisedCollator)
    assert own.kernels["padding"] != "none"
    trainer.train()


def test_a_training_is_that_of_padded_batches(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    changes: dict[str, Any] = {"count": 10, "epochs": 2, "gradient_accumulation": 2, "activation_checkpointing": True}
    unpadded = ours(tmp_path / "unpadded", **changes)
    request.getfixturevalue("padded_batches")
    padded = ours(tmp_path / "padded", **changes)
    assert isinstance(unpadded.data_collator, PackingCollator)
    assert isinstance(padded.data_collator, SupervisedCollator)
    for trainer in (unpadded, padded):
        trainer.train()
    assert unpadded.state.global_step == padded.state.global_step == 6
    assert losses(unpadded) == pytest.approx(losses(padded), rel=1e-4)
    torch.testing.assert_close(weights(unpadded), weights(padded), rtol=1e-3, atol=3e-4)


def test_the_model_generates_as_before(tmp_path: Path) -> None:
    """What is drawn with a model in training (learning curves) has no rows apart."""
    ids = torch.tensor([[5, 6, 7, 8], [9, 8, 7, 6]])
    own = model()
    expected = own.generate(ids, max_new_tokens=6, do_sample=False, attention_mask=torch.ones_like(ids))
    assert not leave_out_padding(own)
    assert torch.equal(
        own.generate(ids, max_new_tokens=6, do_sample=False, attention_mask=torch.ones_like(ids)), expected
    )
