from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.engines.test_local import ragged
from tests.tiny import build, lora
from tracedistill.engines import Generation, Request
from tracedistill.engines.parity import Determinism, Parity, allowed, determinism, parity
from tracedistill.engines.scripted import ScriptedEngine
from tracedistill.errors import InputError

# PEFT asks transformers by a name that is on its way out
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def engine(folder: Path) -> Any:
    from tracedistill.engines.local import LocalEngine

    return LocalEngine.load(str(folder), "float32")


@pytest.fixture
def adapter(folder: Path, tmp_path: Path) -> Path:
    return lora(folder, tmp_path / "adapter")


def same(_: str, text: str) -> str:
    return text


def texts(engine: Any, requests: list[Request]) -> dict[str, str]:
    engine.prepare(requests)
    return {made.request_id: made.text for made in engine.generate(requests)}


# ---- merged or apart


def test_in_fp32_merging_changes_nothing(engine: Any, adapter: Path) -> None:
    found = parity(engine, adapter, ragged(10), same, batch_size=4)
    assert (found.n, found.texts_changed, found.verdicts_changed) == (10, 0, 0)
    assert found.places > 0
    assert 0 < found.largest_logit_drift < 1e-3
    assert found.mean_logit_drift <= found.largest_logit_drift
    assert allowed(found)
    assert engine.describe()["adapter"] == "adapter"


@pytest.fixture
def spoilt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Merging that adds the adapter twice."""
    from tracedistill.engines.adapters import BaseModel

    merge = BaseModel._merge

    def twice(self: BaseModel) -> None:
        merge(self)
        for weight, own in self._kept:
            weight.data = weight.data * 2 - own

    monkeypatch.setattr(BaseModel, "_merge", twice)


def test_a_drift_is_seen_and_the_texts_are_the_adapters_own(
    engine: Any, adapter: Path, spoilt: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = ragged(10)
    judged: dict[str, list[str]] = {}

    def judge(name: str, text: str) -> str:
        judged.setdefault(name, []).append(text)
        return text

    found = parity(engine, adapter, requests, judge, batch_size=4)
    engine.set_adapter(adapter)
    merged = texts(engine, requests)
    engine.set_adapter(adapter, merge=False)
    apart = texts(engine, requests)
    changed = {name for name in merged if merged[name] != apart[name]}
    assert len(changed) > 3
    assert judged == {name: [merged[name], apart[name]] for name in changed}
    assert (found.texts_changed, found.verdicts_changed) == (len(changed), len(changed))
    assert found.largest_logit_drift > 0.1
    assert not allowed(found)
    blind = parity(engine, adapter, requests, lambda _id, _text: "correct", batch_size=4)
    assert (blind.texts_changed, blind.verdicts_changed) == (len(changed), 0)
    assert allowed(blind)


def test_parity_is_greedy_and_counts_what_is_too_long(engine: Any, adapter: Path) -> None:
    warm = [replace(each, sampling=replace(each.sampling, temperature=1.0)) for each in ragged(6)]
    long = replace(ragged(1)[0], request_id="long/0", sampling=replace(warm[0].sampling, max_tokens=600))
    found = parity(engine, adapter, [*warm, long], same, batch_size=3)
    assert (found.n, found.texts_changed) == (7, 0)


def test_parity_of_no_prompts(engine: Any, adapter: Path) -> None:
    found = parity(engine, adapter, [], same)
    assert (found.n, found.places, found.largest_logit_drift) == (0, 0, 0.0)


def test_what_cannot_be_merged_has_no_parity(engine: Any, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be merged"):
        parity(engine, lora(folder, tmp_path / "whole", modules_to_save=["lm_head"]), ragged(2), same)


@pytest.mark.parametrize(
    ("n", "verdicts", "limit", "expected"),
    [(100, 0, 0.01, True), (100, 1, 0.01, True), (100, 2, 0.01, False), (99, 1, 0.01, False), (40, 2, 0.05, True)],
)
def test_the_limit(n: int, verdicts: int, limit: float, expected: bool) -> None:
    assert allowed(Parity(n, n, verdicts, 0.0, 0.0, 0, 0.0), limit) is expected


# ---- batch sizes


def test_in_fp32_the_batch_size_changes_nothing(engine: Any) -> None:
    engine.set_adapter(None)
    assert determinism(engine, ragged(7), 4, [1, 7], same) == [Determinism(1, 7, 0, 0), Determinism(7, 7, 0, 0)]


def test_texts_and_verdicts_that_change_with_the_batch_are_counted() -> None:
    class Sensitive(ScriptedEngine):
        """Writes how many stand in its batch, and 0 in the first row."""

        def generate(self, requests: Sequence[Request]) -> Iterator[Generation]:
            for place, request in enumerate(requests):
                yield Generation(request.request_id, str(len(requests) if place else 0), "stop")

    engine = Sensitive(lambda request: "")
    found = determinism(engine, ragged(6), 3, [3, 2, 1], lambda _id, text: "big" if text == "3" else "small")
    # batches of 3: 0 3 3 0 3 3; of 2: 0 2 0 2 0 2; of 1: 0 0 0 0 0 0
    assert found == [Determinism(3, 6, 0, 0), Determinism(2, 6, 5, 4), Determinism(1, 6, 4, 4)]
    assert determinism(engine, ragged(6), 3, [2], lambda _id, _text: "wrong") == [Determinism(2, 6, 5, 0)]
