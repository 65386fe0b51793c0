"""W&B on request, without a network; 4-bit weights on request, on a CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from tests.tiny import build


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("tiny"))


def study(tmp_path: Path, folder: Path, **student: str) -> Path:
    recipe = {
        "study": "tracked",
        "run_dir": str(tmp_path / "run"),
        "tracking": "wandb",
        "task": {"name": "babi", "train": 16, "validation": 4, "test": 4},
        "students": {"tiny": {"model": str(folder), "dtype": "float32", **student}},
        "training": {"batch_size": 4, "lora_r": 4, "max_steps": 2, "max_length": 512},
        "base": {"max_tokens": 8},
        "arms": {"answer-only": {"tune": "none"}, "correct-trace": {"tune": "correct"}},
    }
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return path


@pytest.mark.slow
def test_wandb_offline_one_run_per_arm_and_no_key_anywhere(tmp_path: Path, folder: Path) -> None:
    key = "0123456789abcdef0123456789abcdef01234567"
    environment = {**os.environ, "WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path), "WANDB_API_KEY": key}
    command = [sys.executable, "-m", "tracedistill.cli", "run", str(study(tmp_path, folder))]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    runs = list((tmp_path / "wandb").glob("offline-run-*"))
    assert len(runs) == 2
    assert key not in done.stdout + done.stderr
    for path in (tmp_path / "run").rglob("*"):
        assert not path.is_file() or key.encode() not in path.read_bytes(), path


@pytest.mark.slow
def test_four_bit_weights_on_a_cpu(tmp_path: Path) -> None:
    """QLoRA: 4-bit base, adapter in full precision, evaluated unmerged."""
    wide = build(tmp_path / "tiny", hidden=64)  # 4-bit blocks hold 64 weights of a row
    recipe = study(tmp_path, wide, quantization="nf4")
    command = [sys.executable, "-m", "tracedistill.cli", "run", str(recipe), "tracking=none"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    manifest = json.loads((tmp_path / "run" / "generations" / "correct-trace.jsonl.manifest.json").read_text())
    assert (manifest["engine"]["quantization"], manifest["engine"]["adapter"]) == ("nf4", "adapter")
    trained = json.loads((tmp_path / "run" / "adapters" / "correct-trace.manifest.json").read_text())
    assert trained["template_hash"] == manifest["engine"]["template_hash"]
