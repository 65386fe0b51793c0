"""Tuned arms end to end on the tiny model: seeds, borrowed adapters, forced traces, two targets, whole models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import tiny
from tracedistill import pipeline

pytestmark = pytest.mark.slow


def tuned_study(tmp_path: Path, **changes: Any) -> pipeline.LoadedStudy:
    """A study that trains in seconds; what its student writes makes no sense."""
    tiny.build(tmp_path / "model")
    recipe: dict[str, Any] = {
        "study": "tuned",
        "run_dir": str(tmp_path / "run"),
        "task": {"name": "babi", "train": 16, "validation": 6, "test": 8},
        "students": {"tiny": {"model": str(tmp_path / "model"), "dtype": "float32"}},
        "training": {"batch_size": 4, "learning_rate": 1e-2},
        "evaluation": {"batch_size": 4, "parity": 6, "merge": "checked", "cut_off": "allow"},
        "base": {"max_tokens": 16},
        **changes,
    }
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return pipeline.load(path)


def attempts(loaded: pipeline.LoadedStudy, arm: str) -> list[dict[str, Any]]:
    path = loaded.study.folder / "attempts" / f"{arm}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_seeds_borrowed_adapters_and_forced_traces(tmp_path: Path) -> None:
    arms = {
        "answers": {"tune": "none"},
        "correct": {"tune": "correct"},
        "two": {"tune": "correct", "rationale_weight": 0.5},
        "with-plan": {"adapter": "correct", "prompt": "trace-of-thought"},
        "forced": {"adapter": "correct", "forced": "wrong-class"},
        "own": {"adapter": "correct", "forced": "own"},
    }
    changes = {"training": {"batch_size": 4, "learning_rate": 1e-2, "seeds": 2}}
    loaded = tuned_study(tmp_path, arms=arms, comparisons=[["correct", "answers"]], **changes)
    made = pipeline.run(loaded, quiet=True)
    assert {"train:correct", "train:correct.seed1", "parity:two.seed1", "generate:forced.seed1"} <= set(made)
    for arm in arms:
        found = attempts(loaded, arm)
        assert len(found) == 2 * 8, arm
        assert {row.get("seed", 0) for row in found} == {0, 1}
        assert len({row["attempt_id"] for row in found}) == 16
    weights = [
        (loaded.study.folder / "adapters" / name / "adapter_model.safetensors").read_bytes()
        for name in ("correct", "correct.seed1")
    ]
    assert weights[0] != weights[1]
    parity = json.loads((loaded.study.folder / "adapters" / "correct.parity.json").read_text())
    assert parity["n"] == 6
    forced = [row for row in attempts(loaded, "forced") if row["finish"] != "no-plan"]
    assert forced
    assert all("\nAnswer:" in row["text"] for row in forced)
    report = pipeline.report_of(loaded)
    assert report.comparisons[0].seeds == 2
    assert "McNemar" not in report.comparisons[0].test
    assert pipeline.run(loaded, quiet=True) == []


def test_more_seeds_leave_the_first_alone(tmp_path: Path) -> None:
    loaded = tuned_study(tmp_path, arms={"correct": {"tune": "correct"}})
    pipeline.run(loaded, quiet=True)
    more = pipeline.load(loaded.recipe, ["training.seeds=2"])
    made = pipeline.run(more, quiet=True)
    assert "train:correct.seed1" in made
    assert "train:correct" not in made
    assert "generate:correct" not in made


def test_all_weights_tuned(tmp_path: Path) -> None:
    training = {"batch_size": 4, "learning_rate": 1e-3, "method": "full"}
    arms = {"standard": {}, "correct": {"tune": "correct"}}
    loaded = tuned_study(tmp_path, training=training, arms=arms)
    pipeline.run(loaded, quiet=True)
    assert len(attempts(loaded, "correct")) == 8
    parity = json.loads((loaded.study.folder / "adapters" / "correct.parity.json").read_text())
    assert parity["merged"] is False
    texts = {arm: [row["text"] for row in attempts(loaded, arm)] for arm in arms}
    assert texts["standard"] != texts["correct"]
