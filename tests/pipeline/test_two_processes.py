"""`accelerate launch` with two processes on the CPU: attempts and adapters as from one process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import tiny
from tests.conftest import ROOT
from tracedistill import pipeline

pytestmark = pytest.mark.slow
TWO = str(ROOT / "accelerate_configs" / "cpu_2proc.yaml")


def study(tmp_path: Path, name: str, **changes: Any) -> pipeline.LoadedStudy:
    """A small study on the tiny model, in float32: what is left of differences is the order of summing up."""
    recipe: dict[str, Any] = {
        "study": "two",
        "run_dir": str(tmp_path / name),
        "task": {"name": "babi", "train": 32, "validation": 8, "test": 20},
        "students": {"tiny": {"model": str(tmp_path / "model"), "dtype": "float32"}},
        "training": {"batch_size": 8, "learning_rate": 1e-2},
        "evaluation": {"batch_size": 4, "parity": 8, "merge": "checked", "cut_off": "allow"},
        "base": {"max_tokens": 12},
        "arms": {"standard": {}, "correct": {"tune": "correct"}},
    }
    recipe |= changes
    path = tmp_path / f"{name}.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return pipeline.load(path)


def texts(loaded: pipeline.LoadedStudy, arm: str) -> list[tuple[str, str]]:
    path = loaded.study.folder / "generations" / f"{arm}.jsonl"
    return [(row["problem_id"], row["text"]) for row in map(json.loads, path.read_text().splitlines())]


def test_attempts_of_two_processes_are_those_of_one(tmp_path: Path) -> None:
    tiny.build(tmp_path / "model")
    arms = {"standard": {}, "few-shot": {"prompt": "few-shot", "shots": 2}}
    one = study(tmp_path, "one", arms=arms)
    two = study(tmp_path, "two", arms=arms, evaluation={"batch_size": 4, "accelerate_config": TWO})
    for loaded in (one, two):
        pipeline.run(loaded, quiet=True)
    for arm in arms:
        assert texts(one, arm) == texts(two, arm)
        assert len(texts(one, arm)) == 20
    manifest = json.loads((two.study.folder / "generations" / "standard.jsonl.manifest.json").read_text())
    assert manifest["processes"] == 2
    assert not list(two.study.folder.glob("generations/*.partial*"))
    assert pipeline.run(two, quiet=True) == []


def test_an_adapter_of_two_processes_is_that_of_one(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    tiny.build(tmp_path / "model")
    one = study(tmp_path, "one")
    two = study(tmp_path, "two", training={"batch_size": 8, "learning_rate": 1e-2, "accelerate_config": TWO})
    weights, losses = [], []
    for loaded in (one, two):
        pipeline.run(loaded, "train", quiet=True)
        folder = loaded.study.folder / "adapters" / "correct"
        weights.append(load_file(folder / "adapter_model.safetensors"))
        losses.append([entry["loss"] for entry in json.loads((folder / "training.json").read_text())["log"]])
    assert losses[0] == pytest.approx(losses[1], abs=2e-3)
    for key, tensor in weights[0].items():
        assert abs(tensor - weights[1][key]).max() < 1e-3, key
        assert abs(tensor).max() > 0 or "lora_A" in key
