"""Training on several machines: what each of them launches, what it waits for, and two of them played on loopback."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import tiny
from tests.conftest import ROOT
from tests.tuned_study import recipe_of
from tracedistill import pipeline
from tracedistill.errors import InputError
from tracedistill.pipeline import machines, worker
from tracedistill.pipeline.hardware import launcher_flags, training_hardware
from tracedistill.recipes import Study

TWO = {"num_machines": 2, "num_processes": 2, "main_process_ip": "127.0.0.1", "main_process_port": 29511}
CONFIG = str(ROOT / "accelerate_configs" / "ddp_multi.yaml")


def study_with(tmp_path: Path, launcher: dict[str, Any], **training: Any) -> Study:
    training = {"lora_r": 4, "accelerate_config": CONFIG, "launcher": launcher} | training
    return pipeline.load(recipe_of(tmp_path, Path("model"), training=training)).study


@pytest.mark.parametrize(
    ("launcher", "alone", "flags"),
    [
        ({}, False, "--num_machines 2 --machine_rank 0 --num_processes 16"),
        ({}, True, "--num_machines 1 --machine_rank 0 --num_processes 8"),
        (TWO | {"machine_rank": 1}, False,
         "--num_machines 2 --machine_rank 1 --num_processes 2 --main_process_ip 127.0.0.1 --main_process_port 29511"),
        (TWO | {"machine_rank": 1}, True, "--num_machines 1 --machine_rank 0 --num_processes 1"),
        ({"num_machines": 4, "main_process_ip": "node-0"}, False,
         "--num_machines 4 --machine_rank 0 --num_processes 32 --main_process_ip node-0"),
    ],
)  # fmt: skip
def test_what_the_launcher_is_told(tmp_path: Path, launcher: dict[str, Any], alone: bool, flags: str) -> None:
    study = study_with(tmp_path, launcher)
    assert launcher_flags(study, training_hardware(study, tmp_path / "study.yaml"), alone=alone) == flags.split()


def test_one_machine_is_told_nothing(tmp_path: Path) -> None:
    study = study_with(tmp_path, {}, accelerate_config="cpu")
    assert launcher_flags(study, training_hardware(study, tmp_path / "study.yaml"), alone=False) == []


@pytest.mark.parametrize(
    ("launcher", "config", "message"),
    [
        ({"num_machines": 2}, CONFIG, "must know the address of machine 0"),
        (TWO | {"machine_rank": 2}, CONFIG, "must be from 0 to 1, one for each machine"),
        (TWO | {"machine_rank": -1}, CONFIG, "must be at least 0"),
        (TWO | {"num_processes": 3}, CONFIG, "must be a multiple of the 2 machines"),
        (TWO | {"num_processes": 0}, CONFIG, "must be at least 1"),
        (TWO | {"main_process_port": 70000}, CONFIG, "must be at most 65535"),
        (TWO, "auto", "name one for several machines: ddp_multi"),
        ({"num_machine": 2}, CONFIG, "num_machines"),
    ],
)
def test_launchers_that_are_refused(tmp_path: Path, launcher: dict[str, Any], config: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        study_with(tmp_path, launcher, accelerate_config=config)


def test_another_machine_waits_for_what_adapters_are_made_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It launches once machine 0 has made everything before them, and claims nothing that machine 0 has not begun."""
    training = {"lora_r": 4, "accelerate_config": CONFIG, "launcher": TWO}
    scripted = {"tiny": {"model": "scripted:tests.scripts:solver"}}
    recipe = recipe_of(
        tmp_path, Path("model"), training=training, students=scripted, arms={"correct": {"tune": "correct"}}
    )
    first = pipeline.load(recipe)
    second = pipeline.load(recipe, ["training.launcher.machine_rank=1"])
    steps = iter(["problems", "assemble", "train"])
    looks: list[bool] = []

    def sleep(_: float) -> None:
        looks.append((first.study.folder / "study.json").exists())
        stage = next(steps)
        if stage == "train":  # the piece that stands for the preflight
            work, node = machines.StudyRun(first, machines.Screen(quiet=True)), None
            _, node = machines.before_training(work)
            assert node is not None
            assert node.kind == "preflight"
            raise KeyboardInterrupt
        pipeline.run(first, stage, quiet=True)

    with pytest.raises(KeyboardInterrupt):
        machines.follow(second, sleep=sleep)
    assert looks == [False, True, True]
    said = capsys.readouterr().out
    assert "machine 1: waits until machine 0 has made the run folder" in said
    assert pipeline.run(pipeline.load(recipe, ["training.launcher.machine_rank=1"]), "validate", quiet=True) == []
    calls: list[Any] = []
    monkeypatch.setattr(machines, "launch", lambda work, kind, nodes: calls.append((kind, [n.of for n in nodes])) or [])
    monkeypatch.setattr(
        machines, "before_training", lambda work: ([n for n in machines.Graph(work).nodes() if n.kind == "train"], None)
    )
    machines.follow(second, quiet=True)
    assert calls == [("train", ["correct"])]


def test_a_collective_waits_for_nothing_that_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Launched by hand on two machines before anything is made: refused in every process, at once."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    scripted = {"tiny": {"model": "scripted:tests.scripts:solver"}}
    loaded = pipeline.load(recipe_of(tmp_path, Path("model"), students=scripted))
    for rank in (0, 1):
        with pytest.raises(InputError, match=r"problems is not complete, and several machines would wait.*every"):
            worker.train(loaded, [], (rank, 2), pytest.fail)


def test_the_launcher_makes_nothing_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tracedistill.pipeline.graph import _compared  # what a manifest's settings are compared by

    assert _compared({"training": {"launcher": TWO, "epochs": 1}}) == {"training": {"epochs": 1}}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
def test_two_machines_on_loopback_make_the_adapter_of_one_process(tmp_path: Path) -> None:
    """Two commands, two launchers, gloo between them; the second machine is started first, and waits."""
    from safetensors.numpy import load_file

    tiny.build(tmp_path / "model")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    recipe: dict[str, Any] = {
        "study": "two",
        "task": {"name": "babi", "train": 32, "validation": 8, "test": 8},
        "students": {"tiny": {"model": str(tmp_path / "model"), "dtype": "float32"}},
        "training": {"batch_size": 8, "learning_rate": 1e-2, "accelerate_config": "cpu"},
        "base": {"max_tokens": 12},
        "evaluation": {"cut_off": "allow"},
        "arms": {"standard": {}, "correct": {"tune": "correct"}},
    }
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(recipe))
    several = [f"training.accelerate_config={CONFIG}", *(f"training.launcher.{k}={v}" for k, v in TWO.items())]
    several += [f"training.launcher.main_process_port={port}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}

    def start(run_dir: str, *overrides: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tracedistill.cli", "train", str(path), f"run_dir={tmp_path / run_dir}"]
        return subprocess.Popen(
            [*command, *overrides], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    alone = start("one")
    told = alone.communicate()[0]
    assert alone.returncode == 0, told
    second = start("two", *several, "training.launcher.machine_rank=1")
    first = start("two", *several)
    said = [machine.communicate()[0] for machine in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), said
    assert "world_size=2" in said[0]
    assert "machine 1: waits until machine 0 has made" in said[1]
    one, two = (
        load_file(tmp_path / name / "adapters" / "correct" / "adapter_model.safetensors") for name in ("one", "two")
    )
    assert one.keys() == two.keys()
    for key, tensor in one.items():
        assert abs(tensor - two[key]).max() < 1e-3, key
    again = start("two", *several, "training.launcher.machine_rank=1")
    assert "all adapters are complete" in again.communicate()[0], "a machine that comes late finds nothing to do"


def test_the_slurm_script_of_the_docs(tmp_path: Path) -> None:
    """Run as the tasks of two nodes, with stand-ins for Slurm's programs and for ours."""
    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"```bash\n(#!/bin/bash\n.*?)```", page, re.DOTALL)
    (tmp_path / "train.sh").write_text(script)
    fakes = {
        "scontrol": 'printf "node-a\\nnode-b\\n"',
        "srun": 'shift; for SLURM_NODEID in 0 1; do export SLURM_NODEID; "$@"; done',
        "tracedistill": f'echo "$@" >> {tmp_path}/said',
    }
    for name, body in fakes.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_NODELIST": "node-[a-b]"}
    environment |= {"SLURM_NNODES": "2"}
    subprocess.run(["bash", str(tmp_path / "train.sh"), "study.yaml"], env=environment, check=True)
    lines = (tmp_path / "said").read_text().splitlines()
    assert [line.split()[:2] for line in lines] == [["run", "study.yaml"]] * 2
    recipe = recipe_of(tmp_path, Path("model"), training={"lora_r": 4})
    for rank, line in enumerate(lines):
        launcher = pipeline.load(recipe, line.split()[2:]).study.training.launcher
        assert (launcher.machine_rank, launcher.num_machines, launcher.num_processes) == (rank, 2, 16)
        assert (launcher.main_process_ip, launcher.main_process_port) == ("node-a", 29500)
