from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT
from tests.tiny import build
from tracedistill import train as launch_target
from tracedistill.engines.tokenizers import load_tokenizer
from tracedistill.errors import InputError
from tracedistill.files import file_hash
from tracedistill.recipes import StudentConfig, TrainingConfig
from tracedistill.records import Example, Message
from tracedistill.training import arm as train
from tracedistill.training.arm import train_arm

pytestmark = [
    # PEFT asks transformers by a name that is on its way out
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),
]
SETTINGS = TrainingConfig(learning_rate=1e-2, batch_size=4, lora_r=4, lora_alpha=8, save_steps=2)
ROWS = [
    Example(f"p{n}", "a", (Message("user", f"Where is Mary? {n}"),), f"Question type: counting.\nAnswer: {n}")
    for n in range(24)
]
STEPS = 6
WEIGHTS = "adapter_model.safetensors"
Train = Callable[..., Path]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("tiny"))


def trainer_for(folder: Path, adapters: Path) -> Train:
    """A function that trains on ROWS; its keyword arguments change the settings, or the call."""

    def run(name: str = "arm", rows: list[Example] = ROWS, seed: int = 0, **settings: Any) -> Path:
        student = StudentConfig(str(folder), dtype="float32")
        training = replace(SETTINGS, **settings)
        train_arm(name=name, rows=rows, student=student, training=training, seed=seed, output=adapters / name)
        return adapters / name

    return run


@pytest.fixture
def adapters(tmp_path: Path) -> Path:
    path = tmp_path / "adapters"
    path.mkdir()
    return path


@pytest.fixture
def tune(folder: Path, adapters: Path) -> Train:
    return trainer_for(folder, adapters)


@pytest.fixture(scope="module")
def reference(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The adapter of an undisturbed training."""
    return trainer_for(folder, tmp_path_factory.mktemp("adapters"))("reference")


def interrupted(tune: Train, output: Path, monkeypatch: pytest.MonkeyPatch, keep: int) -> Path:
    """The checkpoints of a training that was ended behind its step `keep`."""

    class EndError(Exception):
        pass

    def end(*args: object) -> None:
        raise EndError

    with monkeypatch.context() as patch:
        patch.setattr(train, "save", end)
        with pytest.raises(EndError):
            tune()
    for checkpoint in output.with_name("arm.checkpoints").glob("checkpoint-*"):
        if int(checkpoint.name.split("-")[1]) > keep:
            shutil.rmtree(checkpoint)
    assert (output.with_name("arm.checkpoints") / f"checkpoint-{keep}").is_dir()
    return output.with_name("arm.checkpoints")


def test_the_adapter_appears_whole(reference: Path, folder: Path) -> None:
    assert {child.name for child in reference.iterdir()} == {"adapter_config.json", WEIGHTS, "training.json"}
    config = json.loads((reference / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(folder)
    assert (config["r"], config["lora_alpha"]) == (4, 8)
    facts = json.loads((reference / "training.json").read_text())
    assert (facts["rows"], facts["steps"]) == (len(ROWS), STEPS)
    assert facts["log"]
    assert [child.name for child in reference.parent.iterdir()] == ["reference"], "no checkpoints are left"


def test_training_learns_and_the_adapter_loads(reference: Path, folder: Path) -> None:
    import torch

    from tests.tiny import attach
    from tracedistill.chat.rendering import render_example
    from tracedistill.engines.adapters import load_base

    base, tokenizer = load_base(str(folder), "float32")

    def loss(model: Any) -> float:
        total = 0.0
        for row in ROWS[:6]:
            rendered = render_example(tokenizer, row)
            ids = torch.tensor([rendered.input_ids])
            labels = ids.masked_fill(torch.tensor([rendered.completion_mask]) == 0, -100)
            with torch.inference_mode():
                total += float(model(ids, labels=labels).loss)
        return total / 6

    before = loss(base)
    tuned, _ = attach(base, reference, str(folder), merge=True)
    assert loss(tuned) < before - 0.1


def test_two_trainings_give_the_same_bits(tune: Train, reference: Path) -> None:
    assert file_hash(tune("again")) == file_hash(reference)


@pytest.mark.slow
def test_the_seed_and_the_settings_count(tune: Train, reference: Path) -> None:
    known = file_hash(reference / WEIGHTS)
    assert file_hash(tune("seed", seed=1) / WEIGHTS) != known
    assert file_hash(tune("rate", learning_rate=5e-3) / WEIGHTS) != known


def test_max_steps(tune: Train) -> None:
    facts = json.loads((tune(max_steps=2) / "training.json").read_text())
    assert facts["steps"] == 2


def test_no_rows_are_refused(tune: Train, adapters: Path) -> None:
    with pytest.raises(InputError, match=r"has no training rows"):
        tune(rows=[])
    assert not (adapters / "arm").exists()


def test_settings_that_make_no_sense_are_refused(tune: Train) -> None:
    with pytest.raises(InputError, match="warmup must be at least 0, got -1"):
        tune(max_steps=0, warmup=-1)
    with pytest.raises(InputError, match="cannot be divided evenly"):
        tune(gradient_accumulation=3)


def test_a_missing_tokenizer_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(InputError, match="no tokenizer"):
        load_tokenizer(str(tmp_path))


# ---- interruptions


def test_an_interrupted_training_goes_on_to_the_same_adapter(
    tune: Train, adapters: Path, reference: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = interrupted(tune, adapters / "arm", monkeypatch, keep=4)
    steps: list[int] = []
    import tracedistill.training.trainer as trainer

    step = trainer.TraceTrainer.training_step

    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        steps.append(self.state.global_step)
        return step(self, *args, **kwargs)

    monkeypatch.setattr(trainer.TraceTrainer, "training_step", counted)
    output = tune()
    assert steps == [4, 5], "only what was missing is trained"
    assert file_hash(output / WEIGHTS) == file_hash(reference / WEIGHTS)
    assert not checkpoints.exists()


@pytest.mark.slow
def test_the_log_does_not_tell_of_an_interruption(
    tune: Train, adapters: Path, reference: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(tune, adapters / "arm", monkeypatch, keep=4)
    assert (tune() / "training.json").read_bytes() == (reference / "training.json").read_bytes()


@pytest.mark.slow
def test_the_log_of_a_long_training_is_short_and_no_kill_cuts_its_means(
    tune: Train, adapters: Path, reference: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "LOGGED_STEPS", 2)  # in place of 1,000: six steps are many
    rows = [replace(row, problem_id=f"q{n}") for n, row in enumerate([*ROWS, *ROWS[:4]])]
    facts = json.loads((tune("long", rows=rows) / "training.json").read_text())
    assert [entry["step"] for entry in facts["log"]] == [2, 4, 6, 7]
    interrupted(tune, adapters / "arm", monkeypatch, keep=4)
    short = json.loads((tune() / "training.json").read_text())["log"]
    each = json.loads((reference / "training.json").read_text())["log"]
    means = [(each[place]["loss"] + each[place + 1]["loss"]) / 2 for place in (0, 2, 4)]
    assert [entry["loss"] for entry in short] == pytest.approx(means, rel=1e-3)


@pytest.mark.parametrize(
    ("steps", "save_steps", "wanted"), [(40, 50, 1), (1999, 50, 1), (7_000, 50, 5), (125_000, 50, 50), (9_000, 7, 7)]
)
def test_steps_between_two_entries_of_the_log(steps: int, save_steps: int, wanted: int) -> None:
    assert train._logging_steps(steps, save_steps) == wanted


@pytest.mark.slow
@pytest.mark.parametrize(
    "gone",
    [
        WEIGHTS,
        pytest.param("trainer_state.json", marks=pytest.mark.slow),
        pytest.param("optimizer.pt", marks=pytest.mark.slow),
    ],
)
def test_a_checkpoint_that_a_kill_cut_is_not_gone_on_with(
    tune: Train, adapters: Path, reference: Path, monkeypatch: pytest.MonkeyPatch, gone: str
) -> None:
    """Files of a checkpoint are written one after the other, the mark last; a kill leaves some of them out."""
    checkpoints = interrupted(tune, adapters / "arm", monkeypatch, keep=4)
    for name in (gone, "whole"):
        (checkpoints / "checkpoint-4" / name).unlink()
    assert file_hash(tune() / WEIGHTS) == file_hash(reference / WEIGHTS)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"lora_alpha": 16},
        pytest.param({"seed": 1}, marks=pytest.mark.slow),
        pytest.param({"rows": ROWS[:20]}, marks=pytest.mark.slow),
    ],
    ids=["settings", "seed", "rows"],
)
def test_checkpoints_of_other_settings_are_thrown_away(
    tune: Train, adapters: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    undisturbed = tune("undisturbed", **changes)
    interrupted(tune, adapters / "arm", monkeypatch, keep=4)
    assert file_hash(tune(**changes)) == file_hash(undisturbed)


@pytest.mark.slow
def test_checkpoints_of_nobody_are_thrown_away(
    tune: Train, adapters: Path, reference: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = interrupted(tune, adapters / "arm", monkeypatch, keep=4)
    (checkpoints / "training-id.json").unlink()
    assert file_hash(tune()) == file_hash(reference)


def test_a_folder_in_the_way_is_replaced_whole(tune: Train, adapters: Path, reference: Path) -> None:
    for leftover in (adapters / "arm", adapters / ".arm.partial"):
        leftover.mkdir()
        (leftover / "old.txt").write_text("old")
    assert file_hash(tune()) == file_hash(reference)
    assert [child.name for child in adapters.iterdir()] == ["arm"]


KILLED = """
import json, os, signal, sys
from dataclasses import replace
from pathlib import Path
import torch
torch.set_num_threads(1)
import tests.training.test_arm as kit
from tracedistill.recipes import StudentConfig
from tracedistill.training.arm import train_arm
from tracedistill.training.trainer import TraceTrainer

step = TraceTrainer.training_step

def dying(self, *args, **kwargs):
    if self.state.global_step == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, *args, **kwargs)

TraceTrainer.training_step = dying
student = StudentConfig(sys.argv[1], dtype="float32")
training = replace(kit.SETTINGS, **json.loads(sys.argv[3]))
train_arm(name="arm", rows=kit.ROWS, student=student, training=training, seed=0, output=Path(sys.argv[2]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"lora_init": "pissa", "lora_dropout": 0.2, "packing": True, "gradient_accumulation": 2},
        {"method": "full", "learning_rate": 1e-3},
    ],
    ids=["plain", "pissa, dropout and packing", "all weights"],
)
def test_kill_and_resume(tune: Train, adapters: Path, folder: Path, changes: dict[str, Any]) -> None:
    undisturbed, output = tune("undisturbed", **changes), adapters / "arm"
    command = [sys.executable, "-W", "ignore", "-c", KILLED, str(folder), str(output), json.dumps(changes)]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-2000:]
    assert not output.exists()
    assert (output.with_name("arm.checkpoints") / "checkpoint-2" / "whole").exists()
    tune(**changes)
    weights = "model.safetensors" if "method" in changes else WEIGHTS
    assert file_hash(output / weights) == file_hash(undisturbed / weights)
    assert (output / "training.json").read_bytes() == (undisturbed / "training.json").read_bytes()


# ---- the launch target


@pytest.fixture
def recipe(folder: Path, tmp_path: Path) -> Path:
    study = {
        "study": "launched",
        "run_dir": str(tmp_path / "run"),
        "task": {"name": "babi", "train": 16, "validation": 4, "test": 4},
        "students": {"tiny": {"model": str(folder), "dtype": "float32"}},
        "training": {"batch_size": 4, "lora_r": 4, "max_steps": 2, "max_length": 512},
        "arms": {"answer-only": {"tune": "none"}, "correct-trace": {"tune": "correct"}},
    }
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(study), encoding="utf-8")
    return path


@pytest.mark.slow
def test_accelerate_launch(recipe: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "accelerate.commands.launch"]
    command += [
        "--config_file",
        str(ROOT / "accelerate_configs" / "cpu.yaml"),
        "-m",
        "tracedistill.train",
        str(recipe),
    ]
    command += ["--arm", "correct-trace", "seed=5"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "world_size=1\n" in done.stdout
    run = tmp_path / "run"
    for made in ("problems.jsonl", "traces/rules.jsonl", "validation/rules.jsonl", "sft/correct-trace.jsonl"):
        assert (run / made).is_file(), f"{made} is upstream and was missing"
    manifest = json.loads((run / "adapters" / "correct-trace.manifest.json").read_text())
    assert manifest["params"]["seed"] == 5
    assert (run / "adapters" / "correct-trace" / WEIGHTS).is_file()
    assert not (run / "adapters" / "answer-only").exists()
    assert not (run / "generations").exists()
    again = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, env=environment)
    assert again.returncode == 0
    assert "nothing to do" in again.stdout


def main(*argv: str) -> int:
    return launch_target.main(list(argv))


def test_errors_of_the_launch_target(recipe: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for argv, message in (
        (
            (str(recipe), "--arm", "nobody"),
            "--arm nobody: no such tuned arm; the study has: answer-only, correct-trace",
        ),
        ((str(recipe), "sede=1"), "sede: unknown key"),
        (("nowhere.yaml",), "nowhere.yaml: no such recipe"),
        ((str(recipe), "--arm", "correct-trace", "students.tiny.model=./nowhere"), "no such folder"),
    ):
        assert main(*argv) == 2
        error = capfd.readouterr().err
        assert message in error
        assert "Traceback" not in error
