"""LoRA layers that train with fewer operations, in the precision of the base weights."""

from __future__ import annotations

import types
from typing import Any

import torch
from peft.tuners.lora import Linear as LoraLinear
from torch import nn

from tracedistill.engines.packed_linear import FrozenWeight, frozen_weights

HALF = (torch.bfloat16, torch.float16)
KINDS = (*HALF, torch.float32)
"""Supported dtypes of base weights."""


class LoraProduct(torch.autograd.Function):  # type: ignore[misc]
    """`W x + b + scaling * B A x'`, with W frozen; x' is x after dropout. Gradients go to x, x', A and B.

    Scaling and every sum lie within a product, so that no tensor of activations is passed over for them, and autograd
    records one operation where it would record ten.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        dropped: torch.Tensor,
        down: torch.Tensor,
        up: torch.Tensor,
        weight: FrozenWeight,
        bias: torch.Tensor | None,
        scaling: float,
    ) -> torch.Tensor:
        """Take x and `dropped` (..., in), A as `down` (rank, in), B as `up` (out, rank); return (..., out).

        `dropped` is x itself where nothing is dropped. A and B may be fp32 over a half-precision x.
        """
        rows, dropped_rows = x.reshape(-1, x.size(-1)), dropped.reshape(-1, x.size(-1))
        # scaled in fp32 before the conversion
        narrow_down, narrow_up = down.to(x.dtype), (up * scaling).to(x.dtype)
        low = dropped_rows @ narrow_down.t()
        out = weight.product(rows, bias)
        out.addmm_(low, narrow_up.t())
        ctx.save_for_backward(dropped_rows, low, narrow_down, narrow_up)
        ctx.weight, ctx.scaling, ctx.shape, ctx.undropped = weight, scaling, x.shape, dropped is x
        ctx.dtypes = down.dtype, up.dtype
        return out.view(*x.shape[:-1], out.size(-1))

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients to x, `dropped`, A and B."""
        dropped_rows, low, narrow_down, narrow_up = ctx.saved_tensors
        rows = gradient.reshape(-1, gradient.size(-1))
        grad_low = rows @ narrow_up
        grad_up = (rows.t() @ low).to(ctx.dtypes[1]) * ctx.scaling
        grad_down = (grad_low.t() @ dropped_rows).to(ctx.dtypes[0])
        grad_x = grad_dropped = None
        if ctx.needs_input_grad[0]:
            grad_x = ctx.weight.input_gradient(rows)
            if ctx.undropped:
                grad_x.addmm_(grad_low, narrow_down)
            else:
                grad_dropped = (grad_low @ narrow_down).view(ctx.shape)
            grad_x = grad_x.view(ctx.shape)
        return grad_x, grad_dropped, grad_down, grad_up, None, None, None


def compute_in_base_dtype(model: nn.Module) -> int:
    """Let plain LoRA layers compute in the dtype of their base's weights; return how many were changed.

    PEFT holds LoRA weights in fp32 and converts each layer's whole input to fp32. Here the small weights are converted
    instead, as autocast does. Weights, gradients, optimizer state and the saved adapter stay fp32. On a CPU the base's
    weights are packed for training at the first step that needs gradients (`packed_linear`). Variants (DoRA, ...) and
    quantised bases are unchanged.
    """
    layers = [
        layer
        for layer in model.modules()
        if type(layer) is LoraLinear
        and not layer.lora_variant
        and type(layer.base_layer) is nn.Linear
        and layer.base_layer.weight.dtype in KINDS
    ]
    base = _FrozenBase(layers)
    for layer in layers:
        layer.forward = types.MethodType(_forward, layer)
        layer.frozen_base = base
    return len(layers)


class _FrozenBase:
    """The base weights of a model's LoRA layers, packed when a gradient is first asked for."""

    def __init__(self, layers: list[Any]) -> None:
        self.layers = layers
        self.packed = False

    def of(self, layer: Any) -> FrozenWeight:
        """Return the weight of a layer; one that was replaced since is not packed."""
        if not self.packed:
            weights = frozen_weights([each.base_layer.weight for each in self.layers])
            for each, weight in zip(self.layers, weights, strict=True):
                each.frozen_weight = weight
            self.packed = True
        if layer.frozen_weight.weight is not layer.base_layer.weight:
            layer.frozen_weight = FrozenWeight(layer.base_layer.weight)
        return layer.frozen_weight  # type: ignore[no-any-return]


def _forward(self: Any, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    """Compute `W x + scaling * B A dropout(x)` with the sum and the scaling inside the product with B."""
    name = self.active_adapters[0] if len(self.active_adapters) == 1 else None
    if name not in self.lora_A or self.disable_adapters or self.merged or args or kwargs:
        return type(self).forward(self, x, *args, **kwargs)
    down, up, base = self.lora_A[name], self.lora_B[name], self.base_layer
    dropped = self.lora_dropout[name](x)
    trained = torch.is_grad_enabled() and down.weight.requires_grad and not base.weight.requires_grad
    if trained and x.dtype == base.weight.dtype and not torch.is_autocast_enabled(x.device.type):
        frozen = self.frozen_base.of(self)
        result = LoraProduct.apply(x, dropped, down.weight, up.weight, frozen, base.bias, self.scaling[name])
    else:
        result = base(x)
        low = nn.functional.linear(dropped, down.weight.to(x.dtype))
        # added in place, since a linear layer's output is not needed again
        scaled = (up.weight * self.scaling[name]).to(x.dtype)
        result.view(-1, result.size(-1)).addmm_(low.view(-1, low.size(-1)), scaled.t())
    if up.bias is not None:
        result = result + up.bias.to(x.dtype) * self.scaling[name]
    return result
