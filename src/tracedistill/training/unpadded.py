"""Batches without padding: a micro-batch's rows one after another in one sequence, and attention row by row.

All layers but attention treat tokens one by one, so they compute the rows' own tokens only. Attention is the family's
own (windows, soft caps, sinks), applied to each row's part of the sequence under the mask that the row has alone.
Nothing of a row reaches another. The mask of a sequence is never built, so memory grows with its tokens.

Only families whose attention goes through transformers' AttentionInterface can do so, and none that carries a state
from token to token. `leave_out_padding` tries it on the model at hand.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import eager_mask, sdpa_mask

from tracedistill.engines.layouts import HALF_TOLERANCE, TOLERANCE, in_float32
from tracedistill.engines.weights import brief_cause
from tracedistill.training.collator import SupervisedCollator
from tracedistill.training.packing import PackingCollator

BY_ROW = "rows_"
"""Before the name of an attention: the same, row by row."""
LENGTHS = (9, 14, 5)
"""Tokens of the trial rows."""

_rows: ContextVar[tuple[int, ...]] = ContextVar("rows", default=())


@contextmanager
def rows_apart(position_ids: torch.Tensor | None) -> Iterator[None]:
    """Let masks that are made in the block be those of single rows: of one sequence whose rows begin at position 0."""
    lengths: tuple[int, ...] = ()
    if position_ids is not None and position_ids.shape[0] == 1:
        starts = (position_ids[0] == 0).nonzero().flatten().tolist()
        lengths = tuple(b - a for a, b in zip(starts, [*starts[1:], position_ids.shape[1]], strict=True))
    token = _rows.set(lengths)
    try:
        yield
    finally:
        _rows.reset(token)


@dataclass(frozen=True, slots=True)
class RowMask:
    """What layers are given as attention mask: the rows' lengths, and the mask of the longest row."""

    lengths: tuple[int, ...]
    longest: torch.Tensor | None
    """(1, 1, longest, longest); None: causal."""

    def of(self, length: int) -> torch.Tensor | None:
        """Return a row's mask: it begins at its own first token, as the longest row does."""
        return None if self.longest is None else self.longest[:, :, :length, :length]


def _mask_of_rows(whole: Any) -> Any:
    """Return the function that makes masks for attention row by row; without rows in sight it is `whole`."""

    def mask(*, q_length: int, kv_length: int, q_offset: int = 0, kv_offset: int = 0, **kwargs: Any) -> Any:
        lengths = _rows.get()
        if not lengths or sum(lengths) != q_length or q_length != kv_length:
            return whole(q_length=q_length, kv_length=kv_length, q_offset=q_offset, kv_offset=kv_offset, **kwargs)
        longest = max(lengths)
        start = sum(lengths[: lengths.index(longest)])
        made = whole(q_length=longest, kv_length=longest, q_offset=start, kv_offset=start, **kwargs)
        if (
            made is not None
            and made.dtype == torch.bool
            and torch.equal(made[0, 0], torch.ones_like(made[0, 0]).tril())
        ):
            made = None  # SDPA is faster without
        return RowMask(lengths, made)

    return mask


def _attention_of_rows(whole: Any) -> Any:
    """Return attention row by row; `whole` names a module's attention function."""

    def attention(
        module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, None]:
        attend = whole(module)
        if not isinstance(attention_mask, RowMask):
            return attend(module, query, key, value, attention_mask, **kwargs)  # type: ignore[no-any-return]
        lengths = attention_mask.lengths
        parts = zip(lengths, *(states.split(lengths, dim=2) for states in (query, key, value)), strict=True)
        made = [attend(module, *part, attention_mask.of(length), **kwargs)[0] for length, *part in parts]
        return torch.cat(made, dim=1), None

    return attention


def _sdpa(module: Any) -> Any:  # noqa: ARG001 - one for all families
    return sdpa_attention_forward


def _own_eager(module: Any) -> Any:
    """Return the plain attention of the module's family, which knows its soft caps and sinks."""
    return sys.modules[type(module).__module__].eager_attention_forward


AttentionMaskInterface.register(f"{BY_ROW}eager", _mask_of_rows(eager_mask))
AttentionMaskInterface.register(f"{BY_ROW}sdpa", _mask_of_rows(sdpa_mask))
AttentionInterface.register(f"{BY_ROW}eager", _attention_of_rows(_own_eager))
AttentionInterface.register(f"{BY_ROW}sdpa", _attention_of_rows(_sdpa))


def leave_out_padding(model: Any) -> str:
    """Let the model compute attention row by row; return why it cannot, or nothing if it does.

    Tried on a few made-up rows, in float32 if there is memory for that: their logits must be those of a padded batch.
    If they are not, the model is left as it was.
    """
    attention = str(model.config._attn_implementation)
    if attention not in ("eager", "sdpa"):
        return f"attention {attention} is not computed row by row"
    was_training = model.training
    model.eval()  # without dropout
    try:
        with torch.no_grad(), in_float32(model) as exact:
            padded = _logits(model, _trial_rows(model), SupervisedCollator(0))
            model.set_attn_implementation(BY_ROW + attention)
            moved = float((padded - _logits(model, _trial_rows(model), PackingCollator(0))).abs().max() / padded.std())
        allowed = TOLERANCE if exact else HALF_TOLERANCE
        reason = "" if moved <= allowed else f"logits change by {moved:.2g} standard deviations (allowed: {allowed:g})"
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # a family's own code may raise anything
        reason = f"the model does not support it ({type(error).__name__}: {brief_cause(error)})"
    finally:
        model.train(was_training)
    if reason and str(model.config._attn_implementation).startswith(BY_ROW):
        model.set_attn_implementation(attention)
    return reason


def _trial_rows(model: Any) -> list[dict[str, list[int]]]:
    vocabulary = model.get_input_embeddings().num_embeddings
    rows = [[(3 + row * 5 + step * 7) % vocabulary for step in range(length)] for row, length in enumerate(LENGTHS)]
    return [{"input_ids": row, "completion_mask": [1] * len(row)} for row in rows]


def _logits(model: Any, rows: Sequence[dict[str, list[int]]], collate: Any) -> torch.Tensor:
    """Compute the logits at all tokens of the rows, in the order that the unpadded batch has."""
    device = next(model.parameters()).device
    batch = {key: value.to(device) for key, value in collate(rows).items() if key != "labels"}
    with rows_apart(batch.get("position_ids")):
        logits = model(**batch, use_cache=False).logits.float()
    if "position_ids" in batch:
        return logits[0]
    lengths = [len(row["input_ids"]) for row in rows]
    order = sorted(range(len(rows)), key=lambda row: -lengths[row])
    return torch.cat([logits[row, : lengths[row]] for row in order])
