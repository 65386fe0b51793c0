"""Linear layers on a CPU in bf16 whose weights are packed once, not at every call.

A product repacks a plain weight each time, which is half of its cost with few rows, as in generation. Results are equal
to the last bit; that is checked for every shape before a layer is packed.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import nn

MAX_BYTES = 1 << 30
"""Largest total size of packed weights, which are copies."""
ROWS = 16
"""Rows that the packing is optimised for; it works with any number."""


def pack(model: nn.Module) -> int:
    """Pack the current weights of a model's linear layers; return the number of layers. `unpack` reverses it."""
    layers = [module for module in model.modules() if type(module) is nn.Linear and _plain(module.weight)]
    if not _possible(layers):
        return 0
    same: dict[torch.Size, bool] = {}
    for layer in layers:
        source = layer.weight.data
        packed = torch.ops.mkldnn._reorder_linear_weight(source, ROWS)
        if source.shape not in same:
            same[source.shape] = _same(packed, source)
        if same[source.shape]:
            layer.forward = functools.partial(_forward, layer, source=source, packed=packed)
    return sum("forward" in layer.__dict__ for layer in layers)


def unpack(model: nn.Module) -> None:
    """Restore plain products and release the packed copies."""
    for module in model.modules():
        own = module.__dict__.get("forward")
        if isinstance(own, functools.partial) and own.func is _forward:
            del module.forward


def _plain(weight: torch.Tensor) -> bool:
    return bool(weight.device.type == "cpu" and weight.dtype == torch.bfloat16)


def _possible(layers: list[nn.Linear]) -> bool:
    return (
        bool(layers)
        and sum(layer.weight.nbytes for layer in layers) <= MAX_BYTES
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    )


def _same(packed: torch.Tensor, source: torch.Tensor) -> bool:
    generator = torch.Generator().manual_seed(0)
    for rows in (1, ROWS + 1):
        x = torch.randn(rows, source.shape[1], generator=generator).to(source.dtype)
        if not torch.equal(_product(x, packed, None), nn.functional.linear(x, source)):
            return False
    return True


def _product(x: torch.Tensor, packed: torch.Tensor, bias: torch.Tensor | None) -> Any:
    return torch.ops.mkldnn._linear_pointwise(x, packed, bias, "none", [], "")


def _forward(layer: nn.Linear, x: torch.Tensor, *, source: torch.Tensor, packed: torch.Tensor) -> Any:
    # `source` stays alive, so that no other weight can get its address
    if x.dtype != source.dtype or layer.weight.data_ptr() != source.data_ptr():
        return nn.functional.linear(x, layer.weight, layer.bias)
    return _product(x, packed, layer.bias)
