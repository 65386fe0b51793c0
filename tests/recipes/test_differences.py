"""What two manifests' settings differ in; a key that one of them lacks counts as its default."""

from __future__ import annotations

from typing import Any

import pytest

from tracedistill.recipes import TrainingConfig
from tracedistill.recipes.differences import differences
from tracedistill.recipes.reader import plain

TRAINING: dict[str, Any] = plain(TrainingConfig())
OLDER = {key: value for key, value in TRAINING.items() if key not in ("attention", "liger", "lora_init")}

CASES: dict[str, tuple[Any, Any, list[tuple[str, Any, Any]]]] = {
    # settings before, settings now, what differs
    "nothing": ({"training": TRAINING}, {"training": TRAINING}, []),
    "a key that came later, at its default": ({"training": OLDER}, {"training": TRAINING}, []),
    "a key that is gone, at its default": ({"training": TRAINING}, {"training": OLDER}, []),
    "a key that came later, set": (
        {"training": OLDER}, {"training": {**TRAINING, "liger": "on"}}, [("training.liger", "auto", "on")],
    ),
    "a default that is another now": (
        {"training": {**OLDER, "liger": "off"}}, {"training": TRAINING}, [("training.liger", "off", "auto")],
    ),
    "a key that this version does not know": (
        {"training": {**TRAINING, "loss": "odd"}}, {"training": TRAINING}, [("training.loss", "odd", None)],
    ),
    "an arm's, below its name": (
        {"arms": {"a": {"tune": "none"}}}, {"arms": {"a": {"tune": "none", "mix": {}, "shots": 5}}},
        [("arms.a.shots", 3, 5)],
    ),
    "an arm more": ({"arms": {}}, {"arms": {"a": {}}}, [("arms.a", None, {})]),
    "a whole recipe's, in depth": (
        {"recipe": {"task": {"name": "file"}}},
        {"recipe": {"task": {"name": "file", "tolerance": {"relative": 0.0, "absolute": 1.0}}, "seed": 0}},
        [("recipe.task.tolerance.absolute", 0.0, 1.0)],
    ),
    "a judge's": (
        {"validation": {"model": {"model": "x"}}}, {"validation": {"model": {"model": "x", "top_p": 0.5}}},
        [("validation.model.top_p", 1.0, 0.5)],
    ),
    "what has no default": ({"prompt": "a"}, {"prompt": "b", "hint": "c"}, [("prompt", "a", "b"), ("hint", None, "c")]),
    "another kind of value": ({"task": "babi"}, {"task": {"name": "babi"}}, [("task", "babi", {"name": "babi"})]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_differs(case: str) -> None:
    before, now, told = CASES[case]
    assert list(differences(before, now)) == told
