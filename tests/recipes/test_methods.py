"""What an arm's method needs of a recipe: a table of slips with what is said of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tracedistill import pipeline
from tracedistill.errors import InputError
from tracedistill.recipes import METHODS, Arm, Study, beta_of, resolved
from tracedistill.recipes.arm import TUNING, as_evaluated

ARMS: dict[str, dict[str, Any]] = {
    "standard": {},
    "plan": {"prompt": "trace-of-thought"},
    "sft": {"tune": "correct"},
}
STUDENTS = {"one": {"model": "m"}}
TWO = {**STUDENTS, "large": {"model": "n"}}


def study_of(place: Path, arm: dict[str, Any], **changes: Any) -> Study:
    arms = {name: {**each, "student": "one"} if "students" in changes else each for name, each in ARMS.items()}
    arm = {"student": "one", **arm} if "students" in changes else arm
    recipe = {
        "study": "s", "task": {"name": "babi"}, "students": STUDENTS, "arms": {**arms, "new": arm}, **changes,
    }  # fmt: skip
    path = place / "study.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    return pipeline.load(path).study


GOOD: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"tune": "correct", "method": "grpo"}, {}),
    ({"tune": "correct", "method": "grpo", "reward": "both", "trace_weight": 0.5, "from": "sft", "beta": 0.04}, {}),
    ({"tune": "none", "method": "on-policy", "context": "plan"}, {}),
    ({"tune": "none", "method": "on-policy", "teacher_model": "large"}, {"students": TWO}),
    ({"tune": "correct", "method": "dpo", "rejected": "incorrect"}, {}),
    ({"tune": "correct", "method": "dpo", "rejected": "own", "reward": "both", "from": "sft"}, {}),
    ({"tune": "correct", "method": "self-imitation", "rounds": 2, "from": "sft", "reward": "trace"}, {}),
    ({"tune": "correct", "from": "sft", "learning_rate": 1e-5, "epochs": 2, "max_steps": 4}, {}),
]
BAD: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"method": "grpo"}, {}, "only valid in a tuned arm: set tune: correct"),
    ({"from": "sft"}, {}, "only valid in a tuned arm"),
    ({"tune": "correct", "beta": 0.1}, {}, "only valid with method: on-policy or grpo or dpo"),
    ({"tune": "correct", "method": "grpo", "rounds": 2}, {}, "only valid with method: self-imitation"),
    ({"tune": "correct", "method": "grpo", "num_generations": 1}, {}, "num_generations: must be at least 2"),
    ({"tune": "incorrect", "method": "grpo"}, {}, "tune: 'incorrect': grpo imitates no row"),
    ({"tune": "none", "method": "grpo", "reward": "both"}, {}, "reward: both: the arm's student writes no trace"),
    ({"tune": "correct", "method": "grpo", "reward": "both", "trace_weight": 0.0}, {}, "set reward: answer"),
    ({"tune": "correct", "method": "grpo", "num_iterations": 3}, {}, "must be a multiple of it"),
    ({"tune": "correct", "method": "grpo", "mix": {"sft": 0.5}}, {}, "mix: only valid with method: sft"),
    (
        {"tune": "correct", "method": "grpo", "rationale_weight": 1.0},
        {},
        "rationale_weight: only valid with method: sft",
    ),
    ({"tune": "correct", "method": "grpo"}, {"training": {"method": "full"}}, "grpo trains an adapter"),
    ({"tune": "correct", "method": "grpo"}, {"training": {"lora_init": "pissa"}}, "changes it; use default"),
    ({"tune": "correct", "from": "new"}, {}, "from: must name another tuned arm, got 'new'; tuned arms: sft"),
    ({"tune": "correct", "from": "standard"}, {}, "from: must name another tuned arm, got 'standard'"),
    ({"tune": "correct", "from": "sft"}, {"training": {"lora_init": "gaussian"}}, "would initialise the adapter again"),
    ({"tune": "none", "method": "on-policy"}, {}, "must be shown something"),
    ({"tune": "none", "method": "on-policy", "context": "sft"}, {}, "'sft' is tuned or forced"),
    ({"tune": "none", "method": "on-policy", "context": "plans"}, {}, "unknown arm 'plans'; arms: standard"),
    ({"tune": "none", "method": "on-policy", "context": "plan", "beta": 2}, {}, "must lie between 0"),
    ({"tune": "none", "method": "on-policy", "teacher_model": "larg"}, {"students": TWO}, "unknown student 'larg'"),
    ({"tune": "none", "method": "on-policy", "teacher_model": "one"}, {"students": TWO}, "is the student itself"),
    (
        {"tune": "none", "method": "on-policy", "teacher_model": "large"},
        {"students": {**STUDENTS, "large": {"model": "n", "base_url": "http://127.0.0.1:1/v1"}}},
        "runs at an endpoint",
    ),
    ({"tune": "correct", "method": "dpo"}, {}, "dpo needs rejected"),
    ({"tune": "correct", "method": "dpo", "rejected": "correct"}, {}, "must differ from the chosen completions"),
    ({"tune": "correct", "method": "dpo", "rejected": "incorect"}, {}, "did you mean 'incorrect'?"),
    ({"tune": "correct", "method": "self-imitation", "rounds": 0}, {}, "rounds: must be at least 1"),
    ({"tune": "correct", "method": "ppo"}, {}, "'ppo' is not one of sft, self-imitation"),
    ({"tune": "correct"}, {"training": {"eval_attempts": 5}}, "set training.eval_steps"),
    ({"tune": "correct", "method": "self-imitation"}, {"teachers": {}}, "teacher: needs one, and the study has none"),
]


@pytest.mark.parametrize(("arm", "changes"), GOOD)
def test_methods_that_are_read(arm: dict[str, Any], changes: dict[str, Any], tmp_path: Path) -> None:
    study = study_of(tmp_path, arm, **changes)
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(resolved(study)), encoding="utf-8")
    assert pipeline.load(tmp_path / "again.yaml").study == study


@pytest.mark.parametrize(("arm", "changes", "said"), BAD)
def test_slips_are_told(arm: dict[str, Any], changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        study_of(tmp_path, arm, **changes)
    assert said in re.sub(r" \(line \d+\)", "", str(caught.value))


def test_arms_that_start_from_each_other_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="in a cycle: new -> sft -> new"):
        study_of(tmp_path, {"tune": "correct", "from": "sft"}, arms={**ARMS, "sft": {"tune": "correct", "from": "new"},
                 "new": {"tune": "correct", "from": "sft"}})  # fmt: skip


def test_an_arm_is_trained_behind_the_one_that_it_starts_from(tmp_path: Path) -> None:
    arms = {"last": {"tune": "correct", "from": "middle"}, "middle": {"tune": "correct", "from": "first"}}
    study = study_of(tmp_path, {}, arms={**arms, "first": {"tune": "none"}, "other": {"tune": "none"}})
    assert study.in_training_order() == ["first", "middle", "last", "other"]
    assert study.tuned_arms() == ["last", "middle", "first", "other"]


def test_an_arm_has_its_own_rate_and_steps(tmp_path: Path) -> None:
    study = study_of(tmp_path, {"tune": "correct", "learning_rate": 1e-5, "max_steps": 7})
    assert study.training_of("new").learning_rate == 1e-5
    assert study.training_of("new").max_steps == 7
    assert study.training_of("sft") == study.training


def test_what_makes_an_adapter_is_no_part_of_how_an_arm_asks() -> None:
    tuned = Arm(tune="correct", method="grpo", from_="sft", learning_rate=1e-5)
    assert as_evaluated(tuned) == Arm()
    assert {field for method in METHODS.values() for field in method.fields} <= set(TUNING)


def test_a_grid_starts_each_student_from_its_own(tmp_path: Path) -> None:
    recipe = {
        "study": "s", "task": {"name": "babi"}, "students": TWO,
        "arms": {
            "plan": {"prompt": "trace-of-thought", "student": "all"},
            "sft": {"tune": "correct", "student": "all"},
            "more": {"tune": "none", "from": "sft", "method": "on-policy", "context": "plan", "student": "all"},
        },
    }  # fmt: skip
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(recipe))
    arms = pipeline.load(tmp_path / "study.yaml").study.arms
    assert arms["more@large"].from_ == "sft@large"
    assert arms["more@one"].context == "plan@one"


@pytest.mark.parametrize(("method", "beta"), [("on-policy", 1.0), ("grpo", 0.0), ("dpo", 0.1)])
def test_beta_is_trls_own_unless_said(method: Any, beta: float) -> None:
    assert beta_of(Arm(method=method)) == beta
    assert beta_of(Arm(method=method, beta=0.3)) == 0.3
