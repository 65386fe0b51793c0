"""Students are tried on a made row before a teacher is paid; what cannot be tuned or asked is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests import architectures, tiny
from tests.tuned_study import recipe_of
from tracedistill.cli import main
from tracedistill.errors import InputError
from tracedistill.files import read_json
from tracedistill.recipes import StudentConfig, TrainingConfig
from tracedistill.training.trial import try_student

pytestmark = [
    # PEFT asks transformers by a name that is on its way out
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
LORA = TrainingConfig(lora_r=2)


def tried(model: Path, place: Path, training: TrainingConfig | None = LORA, **student: Any) -> dict[str, Any]:
    config = StudentConfig(str(model), **{"dtype": "float32", **student})
    try:
        return try_student("small", config, training, "plain", place / "trial")
    finally:
        assert not (place / "trial").exists()


@pytest.mark.parametrize(
    "training",
    [LORA, pytest.param(TrainingConfig(method="full"), marks=pytest.mark.slow), None],
    ids=["lora", "full", "untuned"],
)
def test_a_student_that_can_be_tuned_and_asked(training: TrainingConfig | None, tmp_path: Path) -> None:
    found = tried(tiny.build(tmp_path / "model"), tmp_path, training, system="Be brief.")
    assert (found["tuned"], found["layout"], found["note"]) == (training is not None, "shared prefix", "")
    assert len(found["wrote"]) == 2


def test_a_recurrent_student_is_tried_too(tmp_path: Path) -> None:
    found = tried(architectures.build("lfm2", tmp_path / "model"), tmp_path)
    assert found["layout"] == "padded"
    assert "shared prefix" in found["note"]


def unusable(architecture: str, place: Path, **settings: Any) -> Path:
    """A model of an architecture that is not run here."""
    from transformers import AutoConfig, AutoModelForCausalLM

    words = tiny.tokenizer()
    words.save_pretrained(str(place))
    config = AutoConfig.for_model(architecture, vocab_size=len(words), **settings)
    AutoModelForCausalLM.from_config(config).save_pretrained(str(place))
    return place


RWKV = {"hidden_size": 32, "attention_hidden_size": 32, "num_hidden_layers": 2, "context_length": 64}


def test_a_student_that_cannot_be_asked(tmp_path: Path) -> None:
    model = unusable("rwkv", tmp_path / "model", **RWKV)
    with pytest.raises(InputError, match=r"models of type rwkv cannot run here.*students.<name>.base_url"):
        tried(model, tmp_path, None)


def test_a_student_that_cannot_be_tuned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the model's own code raises, it is never called a want of memory."""
    from transformers import LlamaModel

    def broken(*_: Any, **__: Any) -> None:
        raise AttributeError("'tuple' object has no attribute 'dtype'")

    monkeypatch.setattr(LlamaModel, "forward", broken)
    with pytest.raises(
        InputError, match=r"student small \(.*\) cannot be tuned: AttributeError: .*lora_targets"
    ) as told:
        tried(tiny.build(tmp_path / "model"), tmp_path)
    assert "memory" not in str(told.value)


def test_settings_that_fit_no_layer_are_told_with_their_own_remedy(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="names no linear layer of this model"):
        tried(tiny.build(tmp_path / "model"), tmp_path, TrainingConfig(lora_targets="c_attn"))


def paid_study(place: Path, model: Path) -> Path:
    teachers = {"far": {"kind": "model", "model": "big", "base_url": "http://127.0.0.1:9/v1"}}
    return recipe_of(place, model, teachers=teachers, arms={"standard": {}, "correct": {"tune": "correct"}})


@pytest.mark.slow
def test_before_the_first_teacher_call(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """From the command line, with a teacher that nobody answers for: it is not asked."""
    recipe = paid_study(tmp_path, unusable("rwkv", tmp_path / "model", **RWKV))
    assert main(["run", str(recipe)]) == 2
    told = capfd.readouterr().err
    assert "student" in told
    assert "lora_targets" in told or "models of type rwkv cannot run here" in told
    assert "memory" not in told
    assert "127.0.0.1" not in told
    assert not (tmp_path / "run" / "traces").exists()


@pytest.mark.slow
def test_a_trial_is_made_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    recipe = paid_study(tmp_path, tiny.build(tmp_path / "model"))
    assert main(["run", str(recipe)]) == 2
    assert "127.0.0.1" in capfd.readouterr().err, "the teacher was asked, and did not answer"
    made = tmp_path / "run" / "trials" / "tiny.json"
    assert read_json(made)["layout"] == "shared prefix"
    before = made.stat().st_mtime_ns
    assert main(["run", str(recipe)]) == 2
    assert made.stat().st_mtime_ns == before
    tiny.build(tmp_path / "model", seed=3)
    assert main(["run", str(recipe)]) == 2
    assert made.stat().st_mtime_ns > before, "other weights are another student"
