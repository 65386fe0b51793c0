"""LoRA's two small matrix products in the precision of the base weights, with scaling and sum in the second product."""

from __future__ import annotations

import types
from typing import Any

import torch
from peft.tuners.lora import Linear as LoraLinear
from torch import nn

HALF = (torch.bfloat16, torch.float16)
KINDS = (*HALF, torch.float32)
"""Supported dtypes of base weights."""


def compute_in_base_dtype(model: nn.Module) -> int:
    """Let plain LoRA layers compute in the dtype of their base's weights; return how many were changed.

    PEFT holds LoRA weights in fp32 and converts each layer's whole input to fp32. Here the small weights are converted
    instead, as autocast does. Weights, gradients, optimizer state and the saved adapter stay fp32. Over an fp32 base
    this only saves PEFT's passes over each layer's output, to scale and to add. Variants (DoRA, ...) and quantised
    bases are unchanged.
    """
    changed = 0
    for layer in model.modules():
        if type(layer) is not LoraLinear or layer.lora_variant or type(layer.base_layer) is not nn.Linear:
            continue
        if layer.base_layer.weight.dtype in KINDS:
            layer.forward = types.MethodType(_forward, layer)
            changed += 1
    return changed


def _forward(self: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """Compute `W x + scaling * B A dropout(x)` with the sum and the scaling inside the product with B."""
    name = self.active_adapters[0] if len(self.active_adapters) == 1 else None
    if name not in self.lora_A or self.disable_adapters or self.merged or args or kwargs:
        return type(self).forward(self, x, *args, **kwargs)
    down, up = self.lora_A[name], self.lora_B[name]
    result = self.base_layer(x)
    low = nn.functional.linear(self.lora_dropout[name](x), down.weight.to(x.dtype))
    # scaled in fp32 before the conversion; added in place, since a linear layer's output is not needed again
    scaled = (up.weight * self.scaling[name]).to(x.dtype)
    result.view(-1, result.size(-1)).addmm_(low.view(-1, low.size(-1)), scaled.t())
    if up.bias is not None:
        result = result + up.bias.to(x.dtype) * self.scaling[name]
    return result
