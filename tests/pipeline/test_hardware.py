"""`accelerate_config: auto`: what a machine has decides what is launched, and nothing that is learnt hangs on it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from tests.tuned_study import recipe_of
from tracedistill import pipeline
from tracedistill.engines import gpus
from tracedistill.errors import InputError
from tracedistill.pipeline import hardware, launch
from tracedistill.pipeline.hardware import config_for
from tracedistill.recipes import TrainingConfig


@pytest.mark.parametrize(
    ("found", "batch_size", "accumulation", "wanted"),
    [
        (0, 8, 1, ("cpu", 1)),
        (1, 8, 1, ("single_gpu", 1)),
        (2, 8, 1, ("ddp", 2)),
        (8, 8, 1, ("ddp", 8)),
        (8, 8, 2, ("ddp", 4)),  # four rows a micro-batch
        (3, 8, 1, ("ddp", 2)),  # three processes cannot share eight rows evenly
        (8, 1, 1, ("single_gpu", 1)),
        (4, 6, 4, ("single_gpu", 1)),
        (2, 2, 4, ("single_gpu", 1)),  # less than a row each: the trainer says what is wrong
    ],
)
def test_gpus_share_a_batch_evenly_or_stay_idle(
    found: int, batch_size: int, accumulation: int, wanted: tuple[str, int]
) -> None:
    training = TrainingConfig(batch_size=batch_size, gradient_accumulation=accumulation)
    assert config_for(found, training) == wanted


@pytest.mark.parametrize(("found", "wanted"), [(0, ("cpu", 1)), (1, ("single_gpu", 1)), (5, ("ddp", 5))])
def test_an_evaluation_takes_every_gpu(found: int, wanted: tuple[str, int]) -> None:
    assert config_for(found, None) == wanted


def test_without_a_driver_torch_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setattr(gpus, "DRIVERS", ("/dev/no-such-driver",))
    monkeypatch.setitem(sys.modules, "torch", None)  # an import would raise
    assert gpus.visible_gpus() == ()


@pytest.fixture
def study(tmp_path: Path) -> Callable[..., pipeline.LoadedStudy]:
    model = tiny.build(tmp_path / "model")

    def make(**fields: Any) -> pipeline.LoadedStudy:
        return pipeline.load(recipe_of(tmp_path, model, arms={"answer-only": {"tune": "none"}}, **fields))

    return make


@pytest.mark.parametrize(
    ("found", "config", "processes", "told"),
    [
        ((), "cpu.yaml", None, "hardware: the CPU, one process (no GPU that torch sees); student"),
        (("H200",), "single_gpu.yaml", None, "hardware: one GPU, H200; student"),
        (("H200",) * 4, "ddp.yaml", "4", "hardware: 4 GPUs, H200; student"),
        (("H200",) * 3, "ddp.yaml", "2", "hardware: 2 of 3 GPUs, H200: more cannot share training.batch_size evenly"),
    ],
)
def test_what_is_launched_is_what_is_here(
    study: Callable[..., pipeline.LoadedStudy],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    found: tuple[str, ...],
    config: str,
    processes: str | None,
    told: str,
) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        commands.append(command)
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(launch, "_watched", lambda command, *_: run(command).returncode)
    monkeypatch.setattr(hardware, "visible_gpus", lambda: found)
    with pytest.raises(InputError, match="did not finish"):
        pipeline.run(study(training={"lora_r": 4, "max_steps": 2, "batch_size": 4}), "train")
    (command,) = commands
    assert Path(command[command.index("--config_file") + 1]).name == config
    assert (command[command.index("--num_processes") + 1] if "--num_processes" in command else None) == processes
    said = capsys.readouterr().out
    assert told in said
    assert " in float32" in said or " in bfloat16" in said


def test_attempts_are_spread_where_there_are_several_gpus(
    study: Callable[..., pipeline.LoadedStudy], monkeypatch: pytest.MonkeyPatch
) -> None:
    def launched(loaded: pipeline.LoadedStudy) -> set[bool]:
        return {node.launched for node, _ in pipeline.status(loaded) if node.name.startswith("generate:")}

    assert launched(study()) == {False}
    monkeypatch.setattr(hardware, "visible_gpus", lambda: ("H200",) * 2)
    assert launched(study()) == {True}
    assert launched(study(evaluation={"accelerate_config": None})) == {False}


@pytest.mark.slow
def test_a_run_folder_goes_on_where_other_hardware_is_named(
    study: Callable[..., pipeline.LoadedStudy], tmp_path: Path
) -> None:
    training = {"lora_r": 4, "max_steps": 2, "batch_size": 4}
    pipeline.run(study(training=training), "train", quiet=True)
    (manifest,) = (tmp_path / "run").glob("adapters/*.manifest.json")
    kept = json.loads(manifest.read_text())
    assert kept["hardware"] == {"accelerate_config": "cpu", "processes": 1, "device": "cpu"}
    assert kept["params"]["student"]["dtype"] in ("float32", "bfloat16")
    assert pipeline.run(study(training={**training, "accelerate_config": "ddp"}), "train", quiet=True) == []
