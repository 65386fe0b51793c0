"""Which rows may share a batch is tried on the model, and what cannot be asked at all is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests import architectures, tiny
from tests.engines.test_local import ragged, request, run
from tracedistill.errors import InputError

pytestmark = [pytest.mark.filterwarnings("ignore::UserWarning")]


def load(folder: Path, dtype: str = "float32") -> Any:
    from tracedistill.engines.local import LocalEngine

    return LocalEngine.load(str(folder), dtype)


def model_of(folder: Path, dtype: str = "float32") -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(str(folder), dtype=getattr(torch, dtype)).eval()


def tried(model: Any) -> Any:
    from tracedistill.engines.layouts import try_layouts

    return try_layouts(model, tiny.tokenizer(), "tiny")


@pytest.mark.parametrize(
    ("architecture", "layout"),
    [
        ("llama", "shared prefix"),
        ("gemma3_text", "shared prefix"),
        ("llama4_text", "shared prefix"),
        ("lfm2", "padded"),
    ],
)
def test_the_quickest_layout_that_changes_nothing(architecture: str, layout: str, tmp_path: Path) -> None:
    found = tried(model_of(architectures.build(architecture, tmp_path)))
    assert found.layout == layout
    assert bool(found.note) is (layout != "shared prefix")


@pytest.fixture
def counts_padding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model that sees padding: its forward is given neither mask nor positions."""
    from transformers import LlamaForCausalLM

    forward = LlamaForCausalLM.forward

    def blind(self: Any, *args: Any, attention_mask: Any = None, position_ids: Any = None, **kwargs: Any) -> Any:
        del attention_mask, position_ids
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(LlamaForCausalLM, "forward", blind)
    return tiny.build(tmp_path / "tiny")


def test_a_model_that_counts_padding_gets_rows_of_one_length(counts_padding: Path) -> None:
    engine = load(counts_padding)
    assert engine.describe()["layout"] == "equal lengths"
    assert "shared prefix: changes logits by " in engine.tried.note
    assert "padded: changes logits by " in engine.tried.note
    requests = [*ragged(5), *(request(f"t{n}", "Where is she? " * n) for n in (1, 1, 9))]
    alone = {each.request_id: run(engine, [each])[each.request_id] for each in requests}
    engine.prepare(requests)
    assert run(engine, requests) == alone
    rows = engine.generate_tokens(requests)
    read = engine.score_tokens(requests, rows)
    assert [part.choices for part in read] == [row.tokens for row in rows]


def test_weights_and_windows_are_what_they_were(tmp_path: Path) -> None:
    import torch

    model, other = (
        model_of(architectures.build("gemma3_text", tmp_path / name, sliding_window=48), "bfloat16") for name in "ab"
    )
    tried(model)
    assert model.config.sliding_window == 48
    for (name, weight), (_, own) in zip(model.named_parameters(), other.named_parameters(), strict=True):
        assert weight.dtype == own.dtype
        assert torch.equal(weight, own), name


def test_a_prefix_longer_than_the_window(tmp_path: Path) -> None:
    """Padding once stood between the prefix and what follows, and windows counted it."""
    engine = load(architectures.build("gemma3_text", tmp_path))
    head = "Mary went to the office. John took the apple there. " * 3
    requests = [request(f"p{n}", head + "Where? " * (1 + 7 * (n % 3))) for n in range(9)]
    alone = {each.request_id: run(engine, [each])[each.request_id] for each in requests}
    engine.prepare(requests)
    assert len(engine._shared) > 2 * engine.model.config.sliding_window
    assert run(engine, requests) == alone


@pytest.mark.parametrize(
    ("architecture", "settings"),
    [
        ("rwkv", {"hidden_size": 32, "attention_hidden_size": 32, "num_hidden_layers": 2, "context_length": 64}),
        ("recurrent_gemma", {"hidden_size": 32, "num_hidden_layers": 2, "block_types": ["recurrent", "attention"],
                             "lru_width": 32, "num_attention_heads": 4, "attention_window_size": 8}),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused_by_name(architecture: str, settings: dict[str, Any]) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(architecture, vocab_size=len(tiny.tokenizer()), **settings)
    model = AutoModelForCausalLM.from_config(config).eval()
    with pytest.raises(InputError, match=rf"student 'tiny': models of type {architecture} cannot run here.*base_url"):
        tried(model)


def test_a_model_whose_steps_are_not_its_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tracedistill.engines.decoding import Batch

    step = Batch.next
    monkeypatch.setattr(Batch, "next", lambda self, tokens: step(self, tokens) * 3)
    with pytest.raises(InputError, match="give other results token by token than in one pass"):
        tried(model_of(tiny.build(tmp_path)))
