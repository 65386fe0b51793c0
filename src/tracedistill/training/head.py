"""The LM head and loss of a training step, computed only at supervised positions."""

from __future__ import annotations

import functools
import types
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor
from trl.trainer.utils import FusedCausalLMOutput

from tracedistill.training.collator import IGNORED
from tracedistill.training.unpadded import rows_apart

TILE = 2**25
"""Logits held at a time (bf16: 64 MiB). Few tiles: for each, the matrix library repacks the head's weights."""
STRIP = 2**22
"""Logits processed at a time in fp32 (16 MiB: the allocator reuses the memory; smaller strips cost more calls)."""
SCALED = ("final_logit_softcapping", "logit_scale", "output_multiplier", "lm_head_multiplier", "logits_scaling")
"""Configuration keys of models that transform their logits after the matrix product; TRL handles these."""
NEEDS_TRL = frozenset({"shift_labels", "num_items_in_batch", "output_router_logits"})
"""Arguments of sequence parallelism and mixtures of experts."""


class SupervisedLogProbs(torch.autograd.Function):
    """Log-probability of each target under a frozen head, with entropy and whether the target is the likeliest token.

    hidden (N, H), weight (V, H), targets (N,) -> three tensors (N,): log-probabilities in fp32 with gradient to
    `hidden`, entropy in nats, bool. The gradient's direction (one-hot minus probabilities, times the weight) is
    computed while the logits are available: two matrix products per position where recomputing would take three.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Process the positions in tiles, and a tile's rows in strips."""
        count, vocabulary = hidden.size(0), weight.size(0)
        log_probs = torch.empty(count, dtype=torch.float32, device=hidden.device)
        entropy = torch.empty_like(log_probs)
        is_top1 = torch.empty(count, dtype=torch.bool, device=hidden.device)
        slope = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        strip = max(1, STRIP // vocabulary)
        for start in range(0, count, max(1, TILE // vocabulary)):
            tile = hidden[start : start + max(1, TILE // vocabulary)]
            logits = nn.functional.linear(tile, weight)
            for row in range(0, len(tile), strip):
                part = logits[row : row + strip]
                rows = slice(start + row, start + row + len(part))
                target = targets[rows, None]
                # in fp32: the sum over the vocabulary would lose precision in bf16
                scores = torch.log_softmax(part, dim=-1, dtype=torch.float32)
                log_probs[rows] = scores.gather(1, target).squeeze(1)
                is_top1[rows] = scores.argmax(-1) == targets[rows]
                probabilities = scores.exp()
                entropy[rows] = -torch.bmm(probabilities.unsqueeze(1), scores.unsqueeze(2)).flatten()
                if slope is not None:  # reuse the logits' memory for one-hot minus probabilities
                    ones = torch.ones_like(target, dtype=torch.float32)
                    part.copy_(probabilities.neg_().scatter_add_(1, target, ones))
            if slope is not None:
                slope[start : start + len(tile)] = logits @ weight
        ctx.save_for_backward(slope)
        ctx.mark_non_differentiable(entropy, is_top1)
        return log_probs, entropy, is_top1

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, None, None]:
        """Scale the stored direction by the gradient of each log-probability."""
        (slope,) = ctx.saved_tensors
        return (gradients[0].unsqueeze(1) * slope).to(slope.dtype), None, None


def lighten_forward(model: nn.Module, *, drop_mask: bool) -> None:
    """Wrap the forward that TRL's `add_fused_lm_head` gave to this causal language model.

    With `drop_mask` the attention mask is not passed on: under a causal mask no real token sees the padding to its
    right, and attention without a mask takes a faster path. On a CPU, where TRL scores every position, a head that is a
    frozen plain matrix scores the supervised positions alone. Anything else (a trained or sharded head, scaled logits,
    an accelerator, where TRL is already fast) goes to TRL's forward unchanged. `loss_weights` multiply each token's
    loss.
    """
    fused = model.forward

    @functools.wraps(type(model).forward)  # generate() and the trainer read the signature
    def forward(
        self: Any, *args: Any, fused_lm_head: bool = False, loss_weights: torch.Tensor | None = None, **kwargs: Any
    ) -> Any:
        if not fused_lm_head:
            return fused(*args, **kwargs)
        if loss_weights is not None:
            log_prob_parts = self.forward(*args, fused_lm_head=True, **kwargs)
            # a token's loss is its negative log-probability, computed from the state of the preceding token
            log_prob_parts.log_probs = log_prob_parts.log_probs * loss_weights[:, 1:]
            return log_prob_parts
        if drop_mask:
            kwargs["attention_mask"] = None
        weight = self.get_output_embeddings().weight
        with rows_apart(kwargs.get("position_ids")):
            if args or NEEDS_TRL & kwargs.keys() or not plain_head(self) or weight.device.type != "cpu":
                return fused(*args, fused_lm_head=True, **kwargs)
            labels = kwargs.pop("labels")
            kwargs["use_cache"] = False
            hidden = self.base_model(**kwargs).last_hidden_state[:, :-1]
        targets = labels[:, 1:]
        mask = targets != IGNORED
        log_prob_parts = SupervisedLogProbs.apply(hidden[mask], weight, targets[mask])
        # masked_scatter keeps a batch without a supervised token connected to the model: its gradient is zero
        log_probs, entropy, is_top1 = (part.new_zeros(mask.shape).masked_scatter(mask, part) for part in log_prob_parts)
        return FusedCausalLMOutput(log_probs=log_probs, entropy=entropy, is_top1=is_top1, label_mask=mask)

    model.forward = types.MethodType(forward, model)


def plain_head(model: Any) -> bool:
    """Return whether the logits are one matrix product with a frozen, unsharded weight."""
    config = model.config.get_text_config()
    head = model.get_output_embeddings()
    return (
        type(head) is nn.Linear
        and head.bias is None
        and not head.weight.requires_grad
        and not isinstance(head.weight, DTensor)
        and head.weight.numel() > 0  # ZeRO-3 leaves an empty shell between uses
        and all(getattr(config, key, None) is None for key in SCALED)
    )
