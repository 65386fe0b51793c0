from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.engines.test_local import STORY, ragged, request, run
from tests.tiny import build, lora
from tracedistill.errors import InputError

# PEFT asks transformers by a name that is on its way out
pytestmark = [
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def adapters(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    into = tmp_path_factory.mktemp("adapters")
    return {
        "all": lora(folder, into / "all"),
        "few": lora(folder, into / "few", seed=2, target_modules=["q_proj", "down_proj"], r=2),
    }


def load(folder: Path, adapter: Path | None = None, dtype: str = "bfloat16", **options: Any) -> Any:
    from tracedistill.engines.local import LocalEngine

    return LocalEngine.load(str(folder), dtype, adapter, **options)


def state(engine: Any) -> dict[str, Any]:
    """Every parameter and buffer of what runs, by name."""
    return {**dict(engine.model.named_parameters()), **dict(engine.model.named_buffers())}


def assert_same_bits(one: dict[str, Any], other: dict[str, Any]) -> None:
    import torch

    assert list(one) == list(other)
    for name, value in one.items():
        assert value.dtype == other[name].dtype, name
        assert torch.equal(value, other[name]), name


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("merge", [True, False])
def test_the_base_comes_back_to_the_last_bit(folder: Path, adapters: dict[str, Path], dtype: str, merge: bool) -> None:
    engine, fresh = load(folder, dtype=dtype), load(folder, dtype=dtype)
    expected = run(fresh, ragged(4))
    for adapter in adapters.values():
        engine.set_adapter(adapter, merge=merge)
        assert run(engine, ragged(4)) != expected
    engine.set_adapter(None)
    assert_same_bits(state(engine), state(fresh))
    assert run(engine, ragged(4)) == expected
    assert engine.describe() == fresh.describe()


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("merge", [True, False])
def test_an_arm_is_the_same_whatever_ran_before(
    folder: Path, adapters: dict[str, Path], dtype: str, merge: bool
) -> None:
    fresh = load(folder, adapters["few"], dtype, merge=merge)
    engine = load(folder, dtype=dtype)
    run(engine, ragged(4))
    for before, how in (("all", True), ("few", not merge), ("all", False)):
        engine.set_adapter(adapters[before], merge=how)
    engine.set_adapter(adapters["few"], merge=merge)
    assert_same_bits(state(engine), state(fresh))
    assert run(engine, ragged(8)) == run(fresh, ragged(8))
    assert engine.describe() == fresh.describe()
    assert fresh.describe()["adapter"] == ("merged" if merge else "adapter")


def test_the_sum_is_made_in_fp32_and_cast_once(folder: Path, adapters: dict[str, Path]) -> None:
    import torch
    from safetensors.torch import load_file

    engine = load(folder)
    own = {name: value.clone() for name, value in state(engine).items()}
    engine.set_adapter(adapters["few"])
    weights = load_file(adapters["few"] / "adapter_model.safetensors")
    settings = json.loads((adapters["few"] / "adapter_config.json").read_text())
    touched = 0
    for name, value in state(engine).items():
        down = weights.get(f"base_model.model.{name.removesuffix('.weight')}.lora_A.weight")
        if down is None:
            assert torch.equal(value, own[name])
            continue
        touched += 1
        up = weights[f"base_model.model.{name.removesuffix('.weight')}.lora_B.weight"]
        expected = own[name].float() + up @ down * (settings["lora_alpha"] / settings["r"])
        assert value.dtype == torch.bfloat16
        assert torch.equal(value, expected.to(torch.bfloat16))
    assert touched == 4
    assert len(engine.base._kept) == touched, "beside the base only the touched matrices are in memory"


def test_rotary_frequencies_stay_in_fp32(folder: Path, adapters: dict[str, Path]) -> None:
    import torch

    buffers = dict(load(folder, adapters["all"]).model.named_buffers())
    assert {value.dtype for name, value in buffers.items() if "inv_freq" in name} == {torch.float32}


def test_a_switch_forgets_the_shared_prefix(folder: Path, adapters: dict[str, Path]) -> None:
    requests = [request(f"p{n}", STORY + tail) for n, tail in enumerate(("Where?", "Who?", "Is it so?"))]
    engine = load(folder, dtype="float32")
    engine.prepare(requests)
    run(engine, requests)
    engine.set_adapter(adapters["all"])
    fresh = load(folder, adapters["all"], "float32")
    assert run(engine, requests) == run(fresh, requests)
    for each in (engine, fresh):
        each.prepare(requests)
    assert engine._shared
    assert run(engine, requests) == run(fresh, requests)


# while the adapter is made
@pytest.mark.filterwarnings(
    "ignore:Model has .tie_word_embeddings:UserWarning", "ignore:Setting .save_embedding_layers:UserWarning"
)
@pytest.mark.parametrize(
    "settings",
    [{"modules_to_save": ["lm_head"]}, {"target_modules": ["q_proj", "lm_head"]}],
    ids=["trained whole", "tied"],
)
def test_what_cannot_be_merged_is_kept_apart(tmp_path: Path, settings: dict[str, Any]) -> None:
    import torch

    folder = build(tmp_path / "tied", tie_word_embeddings=True)
    adapter = lora(folder, tmp_path / "adapter", **settings)
    engine, expected = load(folder, dtype="float32"), load(folder, adapter, "float32", merge=False)
    own = {name: value.clone() for name, value in state(engine).items()}
    engine.set_adapter(adapter)
    assert engine.describe()["adapter"] == "adapter"
    ids = torch.tensor([[5, 60, 7]])
    with torch.inference_mode():
        assert torch.equal(engine.model(ids).logits, expected.model(ids).logits)
    engine.set_adapter(None)
    assert_same_bits(state(engine), own)


@pytest.mark.parametrize("merge", [True, False])
def test_biases_that_an_adapter_brings_go_with_it(tmp_path: Path, merge: bool) -> None:
    folder = build(tmp_path / "biased", attention_bias=True)
    adapter = lora(folder, tmp_path / "adapter", bias="all")
    engine = load(folder)
    own = {name: value.clone() for name, value in state(engine).items()}
    engine.set_adapter(adapter, merge=merge)
    name = "model.layers.0.self_attn.q_proj"
    (bias,) = (value for key, value in state(engine).items() if f"{name}." in key and key.endswith("bias"))
    assert not bias.equal(own[f"{name}.bias"])
    engine.set_adapter(None)
    assert_same_bits(state(engine), own)


def test_an_adapter_that_does_not_fit_leaves_the_base_alone(
    folder: Path, adapters: dict[str, Path], tmp_path: Path
) -> None:
    wider = build(tmp_path / "wider", hidden=64, layers=2)
    wrong = lora(wider, tmp_path / "wrong")
    config = json.loads((wrong / "adapter_config.json").read_text())
    (wrong / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": str(folder)}))
    engine, fresh = load(folder, adapters["all"]), load(folder)
    with pytest.raises(InputError, match="does not fit"):
        engine.set_adapter(wrong)
    assert_same_bits(state(engine), state(fresh))
    assert engine.describe() == fresh.describe()
    engine.set_adapter(adapters["all"])
    assert_same_bits(state(engine), state(load(folder, adapters["all"])))


def test_an_adapter_apart_computes_as_in_training(folder: Path, adapters: dict[str, Path]) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from tracedistill.engines.lora import compute_in_base_dtype

    ids = torch.arange(40).reshape(2, 20)
    trained, plain = (
        PeftModel.from_pretrained(
            AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.bfloat16), str(adapters["all"])
        ).eval()
        for _ in range(2)
    )
    assert compute_in_base_dtype(trained) == 14, "seven layers in each of two blocks"
    engine = load(folder, adapters["all"], merge=False)
    with torch.inference_mode():
        asked, same, fp32 = (model(input_ids=ids).logits for model in (engine.model, trained, plain))
    assert torch.equal(asked, same)
    assert not torch.equal(asked, fp32), "PEFT's own products are in fp32, else this test shows nothing"
    assert torch.allclose(asked.float(), fp32.float(), atol=0.1 * float(fp32.float().std()))


def test_the_head_is_given_rows_that_lie_together(folder: Path, adapters: dict[str, Path]) -> None:
    """Else torch copies a frozen head's weights for every row of a batch."""
    engine = load(folder, adapters["all"], dtype="float32", merge=False)
    seen: list[bool] = []
    head = engine.model.get_output_embeddings()
    head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].is_contiguous()))
    run(engine, ragged(3))
    assert len(seen) > 1
    assert all(seen)


@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": ["q_proj", "embed_tokens"]},
        {"target_modules": ["q_proj"], "trainable_token_indices": [3, 4]},
        {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
        {"target_modules": ["q_proj"], "lora_bias": True},
        {"use_rslora": True},
        {"use_dora": True},
    ],
    ids=["embedding", "tokens", "head", "bias", "rslora", "dora"],
)
@pytest.mark.parametrize("merge", [True, False], ids=["merged", "apart"])
@pytest.mark.filterwarnings("ignore")
def test_healthy_adapters_are_taken_and_taken_off(
    folder: Path, tmp_path: Path, settings: dict[str, Any], merge: bool
) -> None:
    import torch

    path = lora(folder, tmp_path / "adapter", **settings)
    engine = load(folder, dtype="float32")
    ids = torch.arange(12).reshape(1, 12)
    before = engine.model(input_ids=ids).logits
    engine.set_adapter(path, merge=merge)
    assert not torch.allclose(engine.model(input_ids=ids).logits, before, atol=1e-3)
    engine.set_adapter(path, merge=merge)
    engine.set_adapter(None)
    assert torch.equal(engine.model(input_ids=ids).logits, before)


@pytest.mark.filterwarnings("ignore")
def test_half_of_what_is_saved_whole_is_refused(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = lora(folder, tmp_path / "adapter", target_modules=["q_proj"], modules_to_save=["lm_head"])
    file = path / "adapter_model.safetensors"
    save_file({name: weight for name, weight in load_file(file).items() if "lm_head" not in name}, file)
    with pytest.raises(InputError, match="does not fit"):
        load(folder, path, dtype="float32", merge=False)


@pytest.mark.filterwarnings("ignore")
def test_what_changes_the_base_for_good_is_refused(folder: Path, tmp_path: Path) -> None:
    path = lora(folder, tmp_path / "adapter", target_modules=["q_proj"], layer_replication=[[0, 2], [1, 2]])
    with pytest.raises(InputError, match="changes the base weights"):
        load(folder, path)
