"""LoRA layers with fewer operations: the outputs and gradients of PEFT's own."""

from __future__ import annotations

from typing import Any

import pytest


def tuned(*, dropout: float = 0.0, bias: bool = False) -> Any:
    import torch
    from peft import LoraConfig, get_peft_model

    class Two(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = torch.nn.Linear(24, 40, bias=bias), torch.nn.Linear(40, 16, bias=bias)

        def forward(self, x: Any) -> Any:
            return self.second(torch.tanh(self.first(x)))

    torch.manual_seed(0)
    config = LoraConfig(r=4, lora_alpha=6, target_modules=["first", "second"], lora_dropout=dropout)
    model = get_peft_model(Two(), config)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight)
    return model


def results(model: Any, x: Any) -> dict[str, Any]:
    import torch

    torch.manual_seed(1)  # dropout's
    x = x.clone().requires_grad_()
    out = model(x)
    out.pow(2).sum().backward()
    found = {name: weight.grad for name, weight in model.named_parameters() if weight.requires_grad}
    return {"out": out.detach(), "x": x.grad, **found}


@pytest.mark.parametrize("shape", [(7, 24), (2, 5, 24), (1, 1, 24)])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_outputs_and_gradients_are_those_of_peft(dropout: float, bias: bool, shape: tuple[int, ...]) -> None:
    import torch

    from tracedistill.engines.lora import compute_in_base_dtype

    x = torch.randn(shape)
    plain, ours = (tuned(dropout=dropout, bias=bias) for _ in range(2))
    assert compute_in_base_dtype(ours) == 2
    expected, found = results(plain, x), results(ours, x)
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        assert torch.allclose(found[name], tensor, rtol=1e-4, atol=1e-4 * float(tensor.abs().max())), name


def test_an_input_without_gradient_gets_none() -> None:
    import torch

    from tracedistill.engines.lora import compute_in_base_dtype

    model = tuned()
    compute_in_base_dtype(model)
    x = torch.randn(3, 24)
    model(x).sum().backward()
    assert x.grad is None
    assert all(weight.grad is not None for name, weight in model.named_parameters() if "lora_" in name)


def test_without_the_adapter_the_layer_is_as_before() -> None:
    import torch

    from tracedistill.engines.lora import compute_in_base_dtype

    plain, ours = tuned(), tuned()
    compute_in_base_dtype(ours)
    x = torch.randn(3, 24)
    with plain.disable_adapter(), ours.disable_adapter():
        assert torch.equal(plain(x), ours(x))


def test_gradients_are_checked_numerically() -> None:
    import torch

    from tracedistill.engines.lora import LoraProduct
    from tracedistill.engines.packed_linear import FrozenWeight

    torch.manual_seed(0)
    x, down, up, weight = (torch.randn(shape, dtype=torch.float64) for shape in ((3, 6), (2, 6), (5, 2), (5, 6)))
    inputs = [tensor.requires_grad_() for tensor in (x, down, up)]
    frozen = FrozenWeight(weight)
    assert torch.autograd.gradcheck(lambda x, a, b: LoraProduct.apply(x, x, a, b, frozen, None, 1.5), inputs)
    assert torch.autograd.gradcheck(lambda x, a, b: LoraProduct.apply(x, 2 * x, a, b, frozen, None, 1.5), inputs)


def test_a_copied_model_trains_with_its_own_weights() -> None:
    import copy

    import torch

    from tracedistill.engines.lora import compute_in_base_dtype

    model = tuned()
    compute_in_base_dtype(model)
    x = torch.randn(3, 24)
    model(x).sum().backward()  # packed from here on
    copied = copy.deepcopy(model)
    copied.zero_grad()
    expected, found = results(tuned(), x), results(copied, x)
    assert expected.keys() == found.keys()
    assert all(torch.allclose(found[name], expected[name], rtol=1e-4, atol=1e-4) for name in expected)
