"""Rows with a weight: each token's loss is multiplied, however the rows are spread."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.test_trainer import losses, settings, weights
from tests.training.tiny import lora, model, rows, tokenizer
from tracedistill.training.collator import SupervisedCollator
from tracedistill.training.packing import PackingCollator
from tracedistill.training.trainer import build_trainer

WEIGHTED = [{**row, "weight": 0.25 + index % 3} for index, row in enumerate(rows(10))]


@pytest.mark.parametrize("packing", [False, True])
def test_the_loss_is_the_weighted_sum_over_all_tokens(tmp_path: Path, packing: bool) -> None:
    trainer = build_trainer(
        model(), tokenizer(), WEIGHTED, None, settings(tmp_path, packing=packing), peft_config=lora()
    )
    own, total, count = model(), 0.0, 0
    for row in WEIGHTED:
        ids = torch.tensor([row["input_ids"]])
        mask = torch.tensor(row["completion_mask"][1:], dtype=torch.bool)
        with torch.no_grad():
            scores = own(ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
        total -= row["weight"] * float(scores[mask].sum())
        count += int(mask.sum())
    batch = trainer.data_collator(WEIGHTED)
    found = trainer.compute_loss(trainer.model, batch, num_items_in_batch=torch.tensor(count))
    assert float(found.detach()) == pytest.approx(total / count, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"gradient_accumulation": 2}, {"packing": True}], ids=["micro-batches", "packing"])
def test_the_spread_does_not_count(tmp_path: Path, changes: dict[str, Any]) -> None:
    found = []
    for more in ({}, changes):
        made = settings(tmp_path, epochs=2, **more)
        trainer = build_trainer(model(), tokenizer(), WEIGHTED, None, made, peft_config=lora())
        trainer.train()
        found.append((losses(trainer), weights(trainer)))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-4)
    torch.testing.assert_close(found[1][1], found[0][1], rtol=1e-3, atol=3e-4)


def test_equal_weights_change_nothing(tmp_path: Path) -> None:
    found = []
    for data in (rows(10), [{**row, "weight": 1.0} for row in rows(10)]):
        trainer = build_trainer(model(), tokenizer(), data, None, settings(tmp_path), peft_config=lora())
        trainer.train()
        found.append(losses(trainer))
    assert found[0] == pytest.approx(found[1], rel=1e-6)


def test_collators_spread_a_rows_weight() -> None:
    pair = [
        {"input_ids": [5, 6, 1], "completion_mask": [0, 1, 1], "weight": 2.0},
        {"input_ids": [5, 1], "completion_mask": [0, 1], "weight": 0.5},
    ]
    assert SupervisedCollator(0)(pair)["loss_weights"].tolist() == [[2.0] * 3, [0.5] * 3]
    assert PackingCollator(0)(pair)["loss_weights"].tolist() == [[2.0, 2.0, 2.0, 0.5, 0.5]]
    assert "loss_weights" not in SupervisedCollator(0)(rows(2))
