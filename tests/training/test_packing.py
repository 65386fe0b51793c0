"""Rows laid end to end: none sees another, and what is learnt is what padding learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st

from tests.training.test_trainer import losses, ours, settings, weights
from tests.training.tiny import lora, model, rows, tokenizer
from tracedistill.errors import InputError
from tracedistill.training.collator import IGNORED
from tracedistill.training.packing import PackingCollator, check_isolation, packs
from tracedistill.training.trainer import build_trainer

ROWS = [
    {"input_ids": [5, 6, 7, 1], "completion_mask": [0, 0, 1, 1]},
    {"input_ids": [8, 1], "completion_mask": [1, 1]},
    {"input_ids": [9, 3, 1], "completion_mask": [0, 1, 1]},
]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=20), st.integers(0, 80))
def test_every_row_is_in_one_sequence_with_room(lengths: list[int], room: int) -> None:
    made = packs(lengths, room)
    assert sorted(row for sequence in made for row in sequence) == list(range(len(lengths)))
    for sequence in made:
        assert not room or len(sequence) == 1 or sum(lengths[row] for row in sequence) <= room
    assert room or len(made) == 1


def test_the_fullest_sequence_takes_a_row() -> None:
    assert packs([6, 3, 5, 4, 2], 10) == [[0, 3], [2, 1, 4]]


def test_positions_begin_anew_and_first_tokens_carry_no_loss() -> None:
    batch = PackingCollator(pad_token_id=0, room=6)(ROWS)
    assert batch["input_ids"].tolist() == [[5, 6, 7, 1, 8, 1], [9, 3, 1, 0, 0, 0]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 0, 1], [0, 1, 2, 0, 0, 0]]
    x = IGNORED
    assert batch["labels"].tolist() == [[x, x, 7, 1, x, 1], [x, 3, 1, x, x, x]]
    assert PackingCollator(pad_token_id=0)(ROWS)["input_ids"].shape == (1, 9)


@pytest.mark.slow
@pytest.mark.parametrize(("accumulation", "room"), [(1, 1024), (2, 1024), (1, 40)])
@pytest.mark.usefixtures("padded_batches")
def test_packed_training_is_padded_training(tmp_path: Path, accumulation: int, room: int) -> None:
    changes: dict[str, Any] = {"count": 18, "epochs": 2, "gradient_accumulation": accumulation}
    padded = ours(tmp_path / "padded", **changes)
    packed = ours(tmp_path / "packed", packing=True, max_length=room, **changes)
    padded.train()
    packed.train()
    assert packed.state.global_step == padded.state.global_step == 10
    assert losses(packed) == pytest.approx(losses(padded), rel=1e-4)
    torch.testing.assert_close(weights(packed), weights(padded), rtol=1e-3, atol=3e-4)


@pytest.mark.usefixtures("padded_batches")
def test_packed_evaluation_is_padded_evaluation(tmp_path: Path) -> None:
    found = [
        build_trainer(
            model(), tokenizer(), rows(4), rows(9, seed=3), settings(tmp_path, packing=packing), peft_config=lora()
        ).evaluate()["eval_loss"]
        for packing in (False, True)
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-5)


SMALL: dict[str, Any] = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.2,
    "pad_token_id": 0,
}
CONFIGS: dict[str, Any] = {
    "llama": lambda: transformers.LlamaConfig(**SMALL),
    "qwen2": lambda: transformers.Qwen2Config(**SMALL),
    "qwen3": lambda: transformers.Qwen3Config(head_dim=8, **SMALL),
    "gemma3": lambda: transformers.Gemma3TextConfig(head_dim=8, sliding_window=8, **SMALL),
}


def build(name: str, attention: str = "eager", dtype: torch.dtype = torch.float32) -> Any:
    torch.manual_seed(0)
    made = transformers.AutoModelForCausalLM.from_config(CONFIGS[name](), attn_implementation=attention)
    return made.to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", CONFIGS)
def test_families_keep_packed_rows_apart(name: str, attention: str, dtype: torch.dtype) -> None:
    check_isolation(build(name, attention, dtype))


def test_a_packed_row_is_the_row_alone() -> None:
    for name in CONFIGS:
        own = build(name).eval()
        row, before = list(range(20, 32)), list(range(40, 60))
        with torch.no_grad():
            alone = own(torch.tensor([row]), use_cache=False).logits[0]
            behind = own(
                torch.tensor([before + row]), position_ids=torch.tensor([[*range(20), *range(12)]]), use_cache=False
            ).logits[0, 20:]
        torch.testing.assert_close(behind, alone, rtol=1e-4, atol=1e-4)


def test_a_model_that_mixes_rows_is_refused(tmp_path: Path) -> None:
    own = model()
    forward = own.forward
    own.forward = lambda position_ids, **kwargs: forward(**kwargs)  # a family that reads no positions
    with pytest.raises(InputError, match=r"mixes packed rows .*set training.packing: false"):
        build_trainer(own, tokenizer(), rows(4), None, settings(tmp_path, packing=True), peft_config=lora())


def test_a_recurrent_family_is_refused() -> None:
    """Its states run through from row to row."""
    config = transformers.MambaConfig(vocab_size=97, hidden_size=16, state_size=4, num_hidden_layers=2, pad_token_id=0)
    torch.manual_seed(0)
    own = transformers.AutoModelForCausalLM.from_config(config)
    with pytest.raises(InputError, match="mixes packed rows"):
        check_isolation(own)
