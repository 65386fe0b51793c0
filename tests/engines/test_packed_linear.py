from __future__ import annotations

import pytest


def model(dtype: str = "bfloat16", *, bias: bool = False) -> tuple[object, object]:
    import torch

    torch.manual_seed(0)
    layers = torch.nn.Sequential(torch.nn.Linear(48, 96, bias=bias), torch.nn.Linear(96, 40, bias=bias))
    return layers.to(getattr(torch, dtype)), torch


def packable() -> bool:
    import torch

    return torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("rows", [1, 3, 16, 33, 200])
def test_packed_layers_give_the_same_bits(rows: int, bias: bool) -> None:
    from tracedistill.engines.packed_linear import pack

    layers, torch = model(bias=bias)
    x = torch.randn(rows, 2, 48).to(torch.bfloat16)
    with torch.inference_mode():
        plain = layers(x)
        assert pack(layers) == (2 if packable() else 0)
        assert torch.equal(layers(x), plain)


def test_a_weight_that_is_replaced_counts_at_once() -> None:
    from tracedistill.engines.packed_linear import pack, unpack

    layers, torch = model()
    x = torch.randn(4, 48).to(torch.bfloat16)
    with torch.inference_mode():
        pack(layers)
        own = layers[0].weight.data
        layers[0].weight.data = own * 2
        expected = torch.nn.functional.linear(torch.nn.functional.linear(x, own * 2), layers[1].weight)
        assert torch.equal(layers(x), expected)
        unpack(layers)
        assert not any("forward" in layer.__dict__ for layer in layers)
        pack(layers)
        assert torch.equal(layers(x), expected)


def test_small_layers_of_an_adapter_in_fp32_stay_as_they_are() -> None:
    from tracedistill.engines.packed_linear import pack

    layers, torch = model()
    layers.append(torch.nn.Linear(40, 4))
    assert pack(layers) == (2 if packable() else 0)
    assert "forward" not in layers[2].__dict__


def test_what_is_not_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    from tracedistill.engines import packed_linear

    layers, torch = model("float32")
    assert packed_linear.pack(layers) == 0
    assert packed_linear.pack(torch.nn.Sequential()) == 0
    layers, torch = model()
    monkeypatch.setattr(packed_linear, "PACKED_BYTES", 2 * (48 * 96 + 96 * 40) - 1)
    assert packed_linear.pack(layers) == 0
    assert "forward" not in layers[0].__dict__


def test_a_layout_that_gives_other_numbers_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    from tracedistill.engines import packed_linear

    layers, _ = model()
    product = packed_linear._product
    monkeypatch.setattr(packed_linear, "_product", lambda x, packed, bias: product(x, packed, bias) * 1.5)
    assert packed_linear.pack(layers) == 0
    assert not any("forward" in layer.__dict__ for layer in layers)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("rows", [1, 7, 200])
def test_frozen_weights_give_products_and_gradients(rows: int, dtype: str) -> None:
    from tracedistill.engines.packed_linear import frozen_weights

    layers, torch = model(dtype, bias=True)
    frozen = frozen_weights([layer.weight for layer in layers])
    assert all((weight.packed is None) == (weight.transposed is None) for weight in frozen)
    if packable():
        assert frozen[0].packed is not None
    x, gradient = (torch.randn(rows, size).to(layers[0].weight.dtype) for size in (48, 96))
    with torch.no_grad():
        plain = layers[0](x)
        assert torch.allclose(frozen[0].product(x, layers[0].bias), plain, rtol=1e-2 if dtype == "bfloat16" else 1e-4)
        back = gradient @ layers[0].weight
        allowed = 4 * torch.finfo(back.dtype).eps * float(back.abs().max()) + 1e-5
        assert float((frozen[0].input_gradient(gradient) - back).abs().max()) <= allowed


@pytest.mark.parametrize("how", ["in place", "replaced"])
def test_a_frozen_weight_that_changes_is_used_plainly(how: str) -> None:
    from tracedistill.engines.packed_linear import frozen_weights

    layers, torch = model("float32")
    (frozen,) = frozen_weights([layers[0].weight])
    x, gradient = torch.randn(3, 48), torch.randn(3, 96)
    with torch.no_grad():
        if how == "in place":
            layers[0].weight.mul_(2)
        else:
            layers[0].weight.data = layers[0].weight.data * 2
        assert torch.equal(frozen.product(x, None), layers[0](x))
        assert torch.equal(frozen.input_gradient(gradient), gradient @ layers[0].weight)


def test_too_large_or_wrong_copies_are_not_used_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    from tracedistill.engines import packed_linear

    layers, _ = model("float32")
    product = packed_linear._product
    monkeypatch.setattr(packed_linear, "_product", lambda x, packed, bias: product(x, packed, bias) * 1.001)
    assert packed_linear.frozen_weights([layers[0].weight])[0].packed is None
    monkeypatch.setattr(packed_linear, "_product", product)
    monkeypatch.setattr(packed_linear, "PACKED_BYTES", 2 * layers[0].weight.nbytes - 1)
    assert packed_linear.frozen_weights([layers[0].weight])[0].packed is None


def test_a_library_that_cannot_pack_a_shape_leaves_it_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    from tracedistill.engines import packed_linear

    def fail(*_: object) -> None:
        raise RuntimeError("could not create a primitive descriptor")

    layers, torch = model("float32")
    monkeypatch.setattr(packed_linear, "_product", fail)
    (frozen,) = packed_linear.frozen_weights([layers[0].weight])
    x = torch.randn(3, 48)
    assert torch.equal(frozen.product(x, None), torch.nn.functional.linear(x, layers[0].weight))
