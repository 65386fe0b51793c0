"""accelerate_configs/: each is read as `accelerate launch` reads it, and says what was run where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT

FOLDER = ROOT / "accelerate_configs"
FILES = sorted(FOLDER.glob("*.yaml"))
# name -> what accelerate takes it for, processes, plugin's settings
WANTED: dict[str, tuple[str, int, dict[str, Any]]] = {
    "cpu": ("NO", 1, {}),
    "cpu_2proc": ("MULTI_GPU", 2, {}),
    "single_gpu": ("NO", 1, {}),
    "ddp": ("MULTI_GPU", 8, {}),
    "ddp_multi": ("MULTI_GPU", 16, {}),
    "fsdp2_multi": ("FSDP", 16, {"fsdp_version": 2, "fsdp_state_dict_type": "FULL_STATE_DICT"}),
    "fsdp2": ("FSDP", 8, {"fsdp_version": 2, "fsdp_state_dict_type": "FULL_STATE_DICT"}),
    "context_parallel": ("FSDP", 8, {"fsdp_version": 2, "fsdp_state_dict_type": "FULL_STATE_DICT"}),
    "zero3": ("DEEPSPEED", 8, {"zero_stage": 3, "zero3_save_16bit_model": True}),
}


def test_every_kind_of_hardware_has_one() -> None:
    assert {path.stem for path in FILES} == set(WANTED)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_accelerates_own_loader_reads_it(path: Path) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    kind, processes, plugin = WANTED[path.stem]
    config = load_config_from_file(str(path))
    assert str(getattr(config.distributed_type, "value", config.distributed_type)) == kind
    assert config.num_processes == processes
    assert bool(config.use_cpu) is (path.stem == "cpu")
    given = {**config.fsdp_config, **config.deepspeed_config}
    assert given.items() >= plugin.items()
    assert bool(given) == bool(plugin)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_launch_fills_its_arguments_from_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate.commands import launch

    monkeypatch.setattr(launch, "is_deepspeed_available", lambda: True)
    command = ["--config_file", str(path), "-m", "tracedistill.train", "study.yaml", "--arm", "a"]
    args = launch.launch_command_parser().parse_args(command)
    args, _, _ = launch._validate_launch_command(args)
    kind, processes, plugin = WANTED[path.stem]
    assert args.num_processes == processes
    assert (args.use_fsdp, args.use_deepspeed) == (kind == "FSDP", kind == "DEEPSPEED")
    for key, value in plugin.items():
        assert str(getattr(args, key)) == str(value)
    assert args.training_script == "tracedistill.train"
    assert args.training_script_args == ["study.yaml", "--arm", "a"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_it_begins_with_what_was_run_where(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    comment = text[: text.index("\ncompute_environment")]
    assert all(line.startswith("# ") for line in comment.splitlines())
    assert ("Not run" in comment) == (path.stem not in {"cpu", "cpu_2proc"})
    assert isinstance(yaml.safe_load(text), dict)


def test_processes_that_share_a_row_are_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """The launcher hands on how many processes share a row; the trainer counts its rows by it."""
    from accelerate.commands import launch
    from accelerate.utils.launch import prepare_multi_gpu_env

    from tracedistill.training.kernels import CONTEXT

    command = ["--config_file", str(FOLDER / "context_parallel.yaml"), "-m", "tracedistill.train", "study.yaml"]
    args = launch.launch_command_parser().parse_args(command)
    args, _, _ = launch._validate_launch_command(args)
    assert prepare_multi_gpu_env(args)[CONTEXT] == "8"
