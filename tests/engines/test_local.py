from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import build, lora
from tracedistill.engines import Generation, Request, Sampling
from tracedistill.errors import InputError
from tracedistill.records import Message

# PEFT asks transformers by a name that is on its way out
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")

STORY = "Mary went to the kitchen. John took the milk. Sandra travelled to the garden. Daniel dropped the apple. " * 4
"""About 100 tokens: more than the prefix that is worth sharing."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def engine(folder: Path) -> Any:
    from tracedistill.engines.local import LocalEngine

    return LocalEngine.load(str(folder), "float32")


@pytest.fixture(autouse=True)
def _no_shared_prefix(engine: Any) -> None:
    engine.prepare([])


def request(name: str, text: str, **sampling: Any) -> Request:
    return Request(f"{name}/0", (Message("user", text),), Sampling(**{"max_tokens": 16, **sampling}), seed=len(text))


def ragged(count: int, **sampling: Any) -> list[Request]:
    draw = random.Random(1)
    words = STORY.split()
    return [request(f"p{n}", " ".join(draw.choices(words, k=draw.randint(1, 40))), **sampling) for n in range(count)]


def run(engine: Any, requests: Sequence[Request]) -> dict[str, tuple[str, str, int, int]]:
    return {made.request_id: told(made) for made in engine.generate(requests)}


def told(made: Generation) -> tuple[str, str, int, int]:
    """All of a generation that must not depend on time."""
    return made.text, made.finish, made.tokens_in, made.tokens_out


def one_by_one(engine: Any, requests: Sequence[Request]) -> dict[str, tuple[str, str, int, int]]:
    out: dict[str, tuple[str, str, int, int]] = {}
    for each in requests:
        out |= run(engine, [each])
    return out


# ---- batches


def test_a_batch_of_different_lengths_is_what_each_prompt_gives_alone(engine: Any) -> None:
    requests = [replace(each, sampling=Sampling(max_tokens=4 + number)) for number, each in enumerate(ragged(8))]
    together = run(engine, requests)
    assert together == one_by_one(engine, requests)
    assert {finish for _, finish, _, _ in together.values()} == {"length"}
    assert [together[each.request_id][3] for each in requests] == [each.sampling.max_tokens for each in requests]
    assert len({text for text, *_ in together.values()}) > 4, "the prompts are told apart"


def test_rows_that_end_leave_the_batch_and_change_nobody(engine: Any) -> None:
    requests = ragged(8)
    alone = one_by_one(engine, requests)
    # what some rows write early on becomes an end token
    early = engine.tokenizer(alone["p0/0"][0], add_special_tokens=False)["input_ids"][2]
    ends = engine.ends
    engine.ends = (*ends, early)
    try:
        together, apart = run(engine, requests), one_by_one(engine, requests)
    finally:
        engine.ends = ends
    assert together == apart
    finishes = {finish for _, finish, _, _ in together.values()}
    assert "stop" in finishes
    assert together["p0/0"][3] <= 3


def test_the_order_of_a_batch_does_not_matter(engine: Any) -> None:
    requests = ragged(6)
    assert run(engine, requests) == run(engine, requests[::-1])


def test_greedy_is_transformers_own_greedy(engine: Any) -> None:
    import torch

    from tracedistill.chat.rendering import prompt_ids

    for each in ragged(3):
        ids = torch.tensor([prompt_ids(engine.tokenizer, each.messages)])
        own = engine.model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=16, do_sample=False, pad_token_id=0
        )[0, ids.shape[1] :]
        assert engine.tokenizer.decode(own, skip_special_tokens=True) == run(engine, [each])[each.request_id][0]


def test_an_empty_batch(engine: Any) -> None:
    assert run(engine, []) == {}


# ---- a prefix in common


def test_a_shared_prefix_changes_nothing(engine: Any) -> None:
    requests = [request(f"p{n}", STORY + tail) for n, tail in enumerate(("Where?", "Is it so? " * 5, ""))]
    without = run(engine, requests)
    engine.prepare(requests)
    assert len(engine._shared) >= 48
    assert run(engine, requests) == without
    assert one_by_one(engine, requests) == without
    assert run(engine, requests) == without, "the prefix kept is not spoilt by use"


def test_a_prompt_without_the_prefix_is_answered_all_the_same(engine: Any) -> None:
    requests = [request(f"p{n}", STORY + tail) for n, tail in enumerate(("Where?", "Who?"))]
    stranger = request("s", "Hello")
    expected = run(engine, [stranger])
    engine.prepare(requests)
    assert run(engine, [stranger]) == expected
    assert run(engine, [*requests, stranger])["s/0"] == expected["s/0"]


def test_prompts_that_are_all_alike(engine: Any) -> None:
    requests = [request(f"p{n}", STORY) for n in range(3)]
    expected = run(engine, requests)
    engine.prepare(requests)
    assert run(engine, requests) == expected


def test_a_new_plan_forgets_the_last_prefix(engine: Any) -> None:
    engine.prepare([request("a", STORY + "x"), request("b", STORY + "y")])
    engine.prepare(ragged(4))
    assert engine._shared == []


# ---- sampling


def test_sampling_is_seeded_and_independent_of_neighbours(engine: Any) -> None:
    requests = ragged(6, temperature=1.0, top_p=0.9)
    drawn = run(engine, requests)
    assert drawn == run(engine, requests)
    assert drawn == one_by_one(engine, requests)
    assert drawn != run(engine, ragged(6))


def test_samples_of_one_prompt_differ(engine: Any) -> None:
    base = request("p", STORY, temperature=1.0)
    several = [replace(base, request_id=f"p/{n}", sample=n) for n in range(6)]
    texts = [text for text, *_ in run(engine, several).values()]
    assert len(set(texts)) == 6
    other_seed = [replace(each, seed=999) for each in several]
    assert not {text for text, *_ in run(engine, other_seed).values()} & set(texts)


def test_a_low_temperature_is_greedy(engine: Any) -> None:
    greedy = {name: text for name, (text, *_) in run(engine, ragged(4)).items()}
    cold = {name: text for name, (text, *_) in run(engine, ragged(4, temperature=1e-4)).items()}
    nucleus = {name: text for name, (text, *_) in run(engine, ragged(4, temperature=1.0, top_p=1e-9)).items()}
    assert greedy == cold == nucleus


# ---- limits


def test_a_prompt_that_does_not_fit_is_counted_and_the_others_are_answered(engine: Any) -> None:
    long, short = request("long", "word " * 600), request("short", "Where?")
    made = run(engine, [long, short])
    assert made["long/0"][:2] == ("", "too-long")
    assert made["long/0"][2] > engine.window
    assert made["long/0"][3] == 0
    assert made["short/0"] == run(engine, [short])["short/0"]
    assert run(engine, [long])["long/0"][1] == "too-long"


def test_a_prompt_that_fits_to_the_last_token(engine: Any) -> None:
    each = request("p", "Where?")
    room = engine.window - run(engine, [each])["p/0"][2]
    assert run(engine, [replace(each, sampling=Sampling(max_tokens=room + 1))])["p/0"][1] == "too-long"


@pytest.mark.parametrize("limit", [1, 2, 7])
def test_max_tokens(engine: Any, limit: int) -> None:
    whole = run(engine, [request("p", STORY, max_tokens=16)])["p/0"][0]
    text, finish, _, tokens_out = run(engine, [request("p", STORY, max_tokens=limit)])["p/0"]
    assert (finish, tokens_out) == ("length", limit)
    assert whole.startswith(text.rstrip("\N{REPLACEMENT CHARACTER}"))


def test_stop_strings_end_the_text_and_are_not_in_it(engine: Any) -> None:
    whole = run(engine, [request("p", STORY)])["p/0"][0]
    stop = whole[5:8]
    text, finish, _, tokens_out = run(engine, [request("p", STORY, stop=(stop, "never"))])["p/0"]
    assert text == whole.split(stop, 1)[0]
    assert finish == "stop"
    assert tokens_out < 16
    assert run(engine, [request("p", STORY, stop=("never",))])["p/0"][:2] == (whole, "length")


def test_a_prefill_is_gone_on_with_and_not_repeated(engine: Any) -> None:
    each = replace(request("p", "Where?"), prefill="Question type:")
    made = run(engine, [each])["p/0"]
    assert not made[0].startswith("Question type:")
    assert made[2] > run(engine, [request("p", "Where?")])["p/0"][2]


def test_the_description_holds_what_determines_the_output(engine: Any, folder: Path) -> None:
    described = engine.describe()
    assert described["model"] == str(folder)
    assert (described["dtype"], described["adapter"], described["quantization"]) == ("float32", None, "none")
    assert len(described["template_hash"]) == 16
    described["model"] = "changed"
    assert engine.describe()["model"] == str(folder)


# ---- adapters


@pytest.fixture(scope="module")
def adapter(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lora(folder, tmp_path_factory.mktemp("adapter"))


def made_for(adapter: Path, base: str | None, copy: Path) -> Path:
    """The adapter with another base named in it."""
    copy.mkdir()
    for child in adapter.iterdir():
        (copy / child.name).write_bytes(child.read_bytes())
    config = json.loads((copy / "adapter_config.json").read_text())
    (copy / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": base}))
    return copy


def test_merged_is_unmerged(engine: Any, folder: Path, adapter: Path) -> None:
    import torch

    from tests.tiny import attach
    from tracedistill.engines.adapters import load_base
    from tracedistill.engines.local import LocalEngine

    ids = torch.tensor([[5, 60, 7, 100, 200, 31]])
    with torch.inference_mode():
        logits = []
        for merge in (True, False):
            model, merged = attach(load_base(str(folder), "float32")[0], adapter, str(folder), merge=merge)
            assert merged is merge
            logits.append(model.eval()(ids).logits)
        untuned = engine.model(ids).logits
    torch.testing.assert_close(logits[0], logits[1], atol=2e-5, rtol=1e-4)
    assert (logits[0] - untuned).abs().max() > 0.1
    tuned = LocalEngine.load(str(folder), "float32", adapter)
    assert tuned.describe()["adapter"] == "merged"
    assert run(tuned, ragged(3)) != run(engine, ragged(3))


def test_the_dtype_asked_for_is_kept_after_merging(folder: Path, adapter: Path) -> None:
    import torch

    from tracedistill.engines.local import LocalEngine

    tuned = LocalEngine.load(str(folder), "bfloat16", adapter)
    assert {weight.dtype for weight in tuned.model.parameters()} == {torch.bfloat16}


def test_an_adapter_of_another_base_is_refused(folder: Path, adapter: Path, tmp_path: Path) -> None:
    from tracedistill.engines.local import LocalEngine

    other = made_for(adapter, "someone/else", tmp_path / "other")
    with pytest.raises(InputError, match="was trained on 'someone/else', not on"):
        LocalEngine.load(str(folder), "float32", other)
    assert LocalEngine.load(str(folder), "float32", made_for(adapter, None, tmp_path / "unnamed")).model is not None


def test_the_same_folder_written_otherwise(folder: Path, adapter: Path) -> None:
    from tracedistill.engines.local import LocalEngine

    LocalEngine.load(f"{folder}/", "float32", adapter)


def test_an_adapter_of_another_shape_is_refused(adapter: Path, tmp_path: Path) -> None:
    from tracedistill.engines.local import LocalEngine

    wider = build(tmp_path / "wider", hidden=64, layers=1)
    with pytest.raises(InputError, match="does not fit"):
        LocalEngine.load(str(wider), "float32", made_for(adapter, str(wider), tmp_path / "other"))


def test_what_is_missing_is_one_clear_error(folder: Path, tmp_path: Path) -> None:
    from tracedistill.engines.local import LocalEngine

    with pytest.raises(InputError, match="not an adapter folder"):
        LocalEngine.load(str(folder), "float32", tmp_path / "none")
    with pytest.raises(InputError, match="no such folder"):
        LocalEngine.load(str(tmp_path / "none"), "float32")
    with pytest.raises(InputError, match=r"config.json is missing"):
        LocalEngine.load(str(tmp_path), "float32")
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(InputError, match="cannot be loaded"):
        LocalEngine.load(str(tmp_path), "float32")
