"""Linear layers on a CPU whose weights are packed once, not at every call.

A product repacks a plain weight each time, which is half of its cost with few rows, as in generation. For generation
(`pack`, bf16) results are equal to the last bit; for training (`frozen_weights`, also float32) they may differ by
rounding. Both are checked for every shape before a layer is packed.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from tracedistill.engines.sizes import PACKED_BYTES

ROWS = 16
"""Rows that the packing is optimised for; it works with any number."""


def pack(model: nn.Module) -> int:
    """Pack the current weights of a model's linear layers; return the number of layers. `unpack` reverses it."""
    layers = [module for module in model.modules() if type(module) is nn.Linear and _is_half(module.weight)]
    if not _possible([layer.weight for layer in layers], copies=1):
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


class FrozenWeight:
    """A weight W (out, in) that does not change: products with it and with its transpose.

    `packed`, `transposed`: W and its transpose, packed. A weight that was replaced or changed since is used plainly;
    only a change in place of `weight.data`, which torch does not count, goes unseen.
    """

    def __init__(
        self, weight: torch.Tensor, packed: torch.Tensor | None = None, transposed: torch.Tensor | None = None
    ) -> None:
        self.weight = weight
        self.packed, self.transposed = packed, transposed
        self.state = self._state()

    def __reduce__(self) -> tuple[type[FrozenWeight], tuple[torch.Tensor]]:
        """Copy or pickle the weight alone: torch cannot copy packed ones."""
        return FrozenWeight, (self.weight,)

    def _state(self) -> tuple[int, int]:
        return self.weight.data_ptr(), self.weight._version

    def product(self, x: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """Return x Wᵀ + bias, for x (rows, in)."""
        if self.packed is None or self._state() != self.state:
            return nn.functional.linear(x, self.weight, bias)
        return _product(x, self.packed, bias)

    def input_gradient(self, gradient: torch.Tensor) -> torch.Tensor:
        """Return the gradient to x (rows, in), for the gradient to the output (rows, out)."""
        if self.transposed is None or self._state() != self.state:
            return gradient @ self.weight
        return _product(gradient.contiguous(), self.transposed, None)


def frozen_weights(weights: Sequence[torch.Tensor]) -> list[FrozenWeight]:
    """Pack weights for training, both ways round, if this machine can and their copies are not too large."""
    if not _possible(weights, copies=2):
        return [FrozenWeight(weight) for weight in weights]
    agrees: dict[torch.Size, bool] = {}
    frozen = []
    for weight in weights:
        if weight.shape not in agrees:
            agrees[weight.shape] = _agrees(weight)
        frozen.append(_packed_both_ways(weight) if agrees[weight.shape] else FrozenWeight(weight))
    return frozen


def _packed_both_ways(weight: torch.Tensor) -> FrozenWeight:
    source = weight.detach()
    reorder = torch.ops.mkldnn._reorder_linear_weight
    return FrozenWeight(weight, reorder(source, ROWS), reorder(source.t().contiguous(), ROWS))


def _agrees(weight: torch.Tensor) -> bool:
    """Return whether packed products of a shape work here and are the plain ones but for rounding."""
    plain = FrozenWeight(weight.detach())
    generator = torch.Generator().manual_seed(0)
    allowed = max(1e-5, 4 * torch.finfo(weight.dtype).eps)  # float32: sums of thousands of products in another order
    try:
        packed = _packed_both_ways(plain.weight)
        for rows in (1, 4 * ROWS + 1):
            x, gradient = (torch.randn(rows, size, generator=generator).to(weight.dtype) for size in weight.shape[::-1])
            for found, expected in (
                (packed.product(x, None), plain.product(x, None)),
                (packed.input_gradient(gradient), plain.input_gradient(gradient)),
            ):
                if float((found - expected).abs().max()) > allowed * float(expected.abs().max()):
                    return False
    except RuntimeError:  # a build of the library without this layout or dtype
        return False
    return True


def _is_half(weight: torch.Tensor) -> bool:
    return bool(weight.device.type == "cpu" and weight.dtype == torch.bfloat16)


def _possible(weights: Sequence[torch.Tensor], copies: int) -> bool:
    """Return whether the library can pack these weights, and `copies` of all are not too large."""
    return (
        bool(weights)
        and all(weight.device.type == "cpu" for weight in weights)
        and {weight.dtype for weight in weights} <= {torch.bfloat16, torch.float32}
        and copies * sum(weight.nbytes for weight in weights) <= PACKED_BYTES
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and (weights[0].dtype == torch.float32 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()))
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
