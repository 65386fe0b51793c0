"""Packing: rows of a micro-batch concatenated instead of padded, and a check that they do not attend to each other.

A step has the same rows and the same loss: packing changes memory and time, not what is learnt, so arms with traces of
different length still take the same steps. Rows are kept apart by their positions, which begin at 0: without another
mask, transformers derives its attention mask from them, for plain and SDPA attention as for flash attention.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tracedistill.errors import InputError
from tracedistill.training.collator import IGNORED, WEIGHT

ALIKE = 1e-3
"""Largest change in log-probability when a row's neighbours change; a leaking row changes far more."""


def packs(lengths: Sequence[int], room: int) -> list[list[int]]:
    """Return row indices by sequence of at most `room` tokens; a longer row is a sequence of its own.

    The longest first, each into the fullest sequence with space for it; 0: all rows in one sequence.
    """
    made: list[list[int]] = []
    filled: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: (-lengths[row], row)):
        fits = [place for place, used in enumerate(filled) if not room or used + lengths[row] <= room]
        if fits:
            place = max(fits, key=lambda place: filled[place])
            made[place].append(row)
            filled[place] += lengths[row]
        else:
            made.append([row])
            filled.append(lengths[row])
    return made


@dataclass(frozen=True, slots=True)
class PackingCollator:
    """Concatenates rows into sequences of at most `room` tokens (0: one sequence).

    Returns int64 tensors of shape (sequences, longest): `input_ids`, `position_ids`, `labels`. A row's first token is
    never supervised: in a sequence it would be predicted from the preceding row. If rows have a weight, also
    `loss_weights`, fp32.
    """

    pad_token_id: int
    room: int = 0

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Collate rows with `input_ids` and `completion_mask`."""
        lengths = [len(row["input_ids"]) for row in rows]
        sequences = packs(lengths, self.room)
        shape = (len(sequences), max(sum(lengths[row] for row in sequence) for sequence in sequences))
        input_ids = torch.full(shape, self.pad_token_id, dtype=torch.int64)
        position_ids = torch.zeros(shape, dtype=torch.int64)  # padding tokens are rows of their own
        labels = torch.full(shape, IGNORED, dtype=torch.int64)
        weights = torch.zeros(shape, dtype=torch.float32)
        for line, sequence in enumerate(sequences):
            start = 0
            for row in sequence:
                end = start + lengths[row]
                ids = torch.as_tensor(rows[row]["input_ids"], dtype=torch.int64)
                supervised = torch.as_tensor(rows[row]["completion_mask"], dtype=torch.bool)
                input_ids[line, start:end] = ids
                position_ids[line, start:end] = torch.arange(lengths[row])
                labels[line, start:end] = ids.where(supervised, IGNORED)
                labels[line, start] = IGNORED
                weights[line, start:end] = rows[row].get(WEIGHT, 1.0)
                start = end
        batch = {"input_ids": input_ids, "position_ids": position_ids, "labels": labels}
        return batch | ({"loss_weights": weights} if WEIGHT in rows[0] else {})


def check_isolation(model: Any) -> None:
    """Raise InputError if a packed row's log-probabilities depend on the row before it.

    Two forward passes over 24 tokens: a row after one neighbour, and after another; dropout draws alike. The model
    stays in training mode: in evaluation mode bitsandbytes re-quantises 4-bit weights on a CPU, after which no gradient
    flows.
    """
    model.train()
    vocabulary, device = model.get_input_embeddings().num_embeddings, next(model.parameters()).device
    row, *neighbours = ([(start + step * 7) % vocabulary for step in range(12)] for start in (3, 5, 11))
    leaks = []
    for before in neighbours:
        with torch.no_grad(), torch.random.fork_rng(devices=[] if device.type == "cpu" else [device]):
            torch.manual_seed(0)
            logits = model(
                input_ids=torch.tensor([before + row], device=device),
                position_ids=torch.tensor([[*range(len(before)), *range(len(row))]], device=device),
                use_cache=False,
            ).logits[0, len(before) :]
        leaks.append(logits.float().log_softmax(-1))
    moved = float((leaks[0] - leaks[1]).abs().max())
    if not moved <= ALIKE:
        raise InputError(
            "training.packing: this model with this attention mixes packed rows (log-probabilities change "
            f"by {moved:.2g} depending on the preceding rows); set training.packing: false"
        )
