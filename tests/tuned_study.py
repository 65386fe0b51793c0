"""A study on the tiny model whose adapters are random: everything but training is real, and takes seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests import tiny
from tracedistill import pipeline
from tracedistill.pipeline.execution import make_nodes
from tracedistill.pipeline.graph import upstream
from tracedistill.pipeline.nodes import Graph
from tracedistill.pipeline.screen import Screen
from tracedistill.pipeline.study_run import StudyRun

ARMS: dict[str, dict[str, Any]] = {
    "standard": {},
    "few-shot": {"prompt": "few-shot", "shots": 2},
    "trace-of-thought": {"prompt": "trace-of-thought"},
    "answer-only": {"tune": "none"},
    "correct": {"tune": "correct"},
    "borrowed": {"adapter": "correct", "prompt": "chain-of-thought"},
}


def recipe_of(place: Path, model: Path, **changes: Any) -> Path:
    """Write a recipe below `place`; keyword arguments replace top-level keys."""
    recipe: dict[str, Any] = {
        "study": "small",
        "run_dir": str(place / "run"),
        "task": {"name": "babi", "train": 12, "validation": 6, "test": 6},
        "students": {"tiny": {"model": str(model), "dtype": "float32", "system": "Answer the question."}},
        "training": {"lora_r": 4},
        "evaluation": {"batch_size": 4, "merge": "checked", "cut_off": "allow"},
        "base": {"max_tokens": 12},
        "arms": ARMS,
        **changes,
    }
    path = place / "study.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    return path


def tune(recipe: Path | pipeline.LoadedStudy, **settings: Any) -> pipeline.LoadedStudy:
    """Make everything up to training, and random adapters in training's place; `settings` are LoRA's."""
    loaded = pipeline.load(recipe) if isinstance(recipe, Path) else recipe
    work = StudyRun(loaded, Screen(quiet=True))
    work.run.claim()
    work.settle()
    nodes = Graph(work).nodes()
    tuned = [node for node in nodes if node.kind == "train"]
    make_nodes(work, [node for node in upstream(nodes, tuned) if node not in tuned])
    for number, node in enumerate(tuned):
        assert node.student is not None
        student = loaded.study.students[node.student]
        tiny.lora(Path(student.model), work.run.path(node.outputs[0]), seed=number + 1, **settings)
        work.run.record(node, 0.0, work.facts())
    return loaded


def small_study(place: Path, **changes: Any) -> pipeline.LoadedStudy:
    """The tiny model, a recipe for it, and its random adapters."""
    return tune(recipe_of(place, tiny.build(place / "model"), **changes))
