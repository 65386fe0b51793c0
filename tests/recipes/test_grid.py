"""Grids of teachers and students in a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tracedistill.errors import InputError
from tracedistill.recipes import Study, load
from tracedistill.recipes.grid import spread_grid

RECIPE: dict[str, Any] = {
    "study": "grid",
    "task": {"name": "babi"},
    "teachers": {"rules": {}, "gold": {"kind": "gold"}},
    "students": {"small": {"model": "scripted:x:y"}, "large": {"model": "scripted:x:z"}},
    "base": {"teacher": "rules"},
    "arms": {
        "standard": {"student": "all"},
        "plan": {"student": ["small", "large"], "teacher": "all", "prompt": "trace-of-thought"},
        "tuned": {"student": "all", "tune": "correct"},
        "tuned-plan": {"student": "all", "adapter": "tuned", "prompt": "trace-of-thought"},
    },
    "comparisons": [["plan", "standard"], ["tuned", "tuned-plan"]],
    "attribution": [{"plan": "plan", "gold": "plan@small+gold"}],
}


def read(tmp_path: Path, **changes: Any) -> Study:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({**RECIPE, **changes}, sort_keys=False))
    return load(path)


def test_every_cell_is_an_arm(tmp_path: Path) -> None:
    study = read(tmp_path, attribution=[])
    assert list(study.arms) == [
        "standard@small",
        "standard@large",
        "plan@small+rules",
        "plan@small+gold",
        "plan@large+rules",
        "plan@large+gold",
        "tuned@small",
        "tuned@large",
        "tuned-plan@small",
        "tuned-plan@large",
    ]
    arm = study.arms["plan@large+gold"]
    assert (arm.student, arm.teacher, arm.prompt) == ("large", "gold", "trace-of-thought")
    assert study.arms["tuned-plan@large"].adapter == "tuned@large", "the adapter of the same student"


def test_a_base_may_vary_too(tmp_path: Path) -> None:
    base = {"student": "all", "teacher": ["rules", "gold"]}
    study = read(tmp_path, base=base, arms={"a": {}, "b": {"student": "small"}}, comparisons=[], attribution=[])
    assert list(study.arms) == [
        *("a@small+rules", "a@small+gold", "a@large+rules", "a@large+gold"),
        *("b@rules", "b@gold"),
    ]


def test_comparisons_stay_within_a_student(tmp_path: Path) -> None:
    study = read(tmp_path, attribution=[])
    assert study.comparisons == (
        ("plan@small+rules", "standard@small"),
        ("plan@small+gold", "standard@small"),
        ("plan@large+rules", "standard@large"),
        ("plan@large+gold", "standard@large"),
        ("tuned@small", "tuned-plan@small"),
        ("tuned@large", "tuned-plan@large"),
    )


def test_comparisons_with_a_plain_arm_stay_with_its_student(tmp_path: Path) -> None:
    arms = {"five": {"student": "small"}, "vote": {"student": "all"}}
    study = read(tmp_path, arms=arms, comparisons=[["five", "vote"]], attribution=[])
    assert study.comparisons == (("five", "vote@small"),)


def test_attribution_over_a_grid(tmp_path: Path) -> None:
    arms = {
        "told": {"student": "all", "prompt": "trace-of-thought", "teacher": "rules"},
        "gold": {"student": "all", "prompt": "trace-of-thought", "teacher": "gold"},
    }
    study = read(tmp_path, arms=arms, comparisons=[], attribution=[{"plan": "told", "gold": "gold"}])
    assert [(entry.plan, entry.gold) for entry in study.attribution] == [
        ("told@small", "gold@small"),
        ("told@large", "gold@large"),
    ]


def test_attribution_holds_the_student_fixed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="its arms have different students"):
        read(tmp_path, attribution=[{"plan": "plan@small+rules", "gold": "plan@large+gold"}])


def test_errors_name_the_line_of_the_arm(tmp_path: Path) -> None:
    arms = {
        "standard": {"student": ["small", "lagre"]},
        "other": {"student": "all", "prompt": "nonsense", "shots": "x"},
    }
    with pytest.raises(InputError) as caught:
        read(tmp_path, arms=arms, comparisons=[], attribution=[])
    message = str(caught.value)
    assert "arms.standard@lagre.student" in message
    assert "did you mean 'large'?" in message
    assert "arms.other@small.shots (line" in message


def test_a_recipe_without_grid_is_left_alone() -> None:
    raw = {"arms": {"a": {"student": "small"}, "b": None, "c": 3}, "comparisons": [["a", "b"]]}
    assert spread_grid(raw) == (raw, {})


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        ({"a": {"student": []}}, "arms.a.student"),
        ({"a": {"student": [1]}}, "arms.a.student"),
        ({"a": {"student": "small", "teacher": "rules", "adapter": "b"}}, "'b' is not a tuned arm"),
        ({"a": {"student": "small", "tune": "correct", "forced": "correct"}}, "Add another arm with {adapter: a}"),
        ({"a": {"student": "small", "forced": "own"}}, "needs a matching arm without 'forced'"),
        ({"a": {"student": "small", "served": "x"}}, "no base_url"),
        ({"a": {"student": "small", "samples": 3}}, "identical; set temperature"),
        ({"a": {"student": "small", "tune": "correct", "teacher": None}}, "the study has several teachers"),
        ({"a.seed1": {"student": "small"}}, "are reserved for other files of a run"),
        ({"t": {"student": "small", "tune": "none"}, "a": {"student": "large", "adapter": "t"}}, "another student"),
    ],
)
def test_fields_that_do_not_go_together(tmp_path: Path, arms: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, arms=arms, comparisons=[], attribution=[])
    assert message in str(caught.value)
