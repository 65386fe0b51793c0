"""The loss on held-out rows, independent of batches and processes."""

from __future__ import annotations

from typing import Any

import datasets
import torch
import trl

from tracedistill.training.collator import WEIGHT


def mean_loss(trainer: trl.SFTTrainer, rows: datasets.Dataset) -> float:
    """Return the mean negative log-likelihood over the supervised tokens of all rows; weights count as in training.

    Must be called by every process. The training state is unchanged: no gradient, no random draw (the data loader of
    transformers' own evaluation draws one, which would change dropout).
    """
    size, processes = trainer.args.per_device_train_batch_size, trainer.accelerator.num_processes
    rank, per_step = trainer.accelerator.process_index, size * processes
    model = trainer._wrap_model(trainer.model, training=False)
    # a process without rows in the last round still takes part: sharded weights are gathered together
    nothing: dict[str, Any] = {"input_ids": [trainer.processing_class.pad_token_id] * 2, "completion_mask": [0, 0]}
    if WEIGHT in rows.column_names:
        nothing[WEIGHT] = 0.0
    loss, tokens = 0.0, 0.0
    was_training = model.training
    model.eval()
    try:
        for start in range(rank * size, rank * size + -(-len(rows) // per_step) * per_step, per_step):
            part = [rows[index] for index in range(start, min(start + size, len(rows)))]
            batch = trainer._prepare_inputs(trainer.data_collator(part or [nothing]))
            with torch.no_grad(), trainer.accelerator.autocast():
                output = model(**batch, fused_lm_head=True)
            loss -= float(output.log_probs.sum(dtype=torch.float64))
            tokens += float(output.label_mask.sum())
    finally:
        model.train(was_training)
    total = torch.tensor([loss, tokens], dtype=torch.float64, device=trainer.accelerator.device)
    total = trainer.accelerator.reduce(total, reduction="sum")
    return float(total[0] / total[1])
