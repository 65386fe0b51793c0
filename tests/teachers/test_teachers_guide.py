"""docs/teachers.md: every recipe snippet loads, every prompt is named, every command is one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT
from tracedistill import pipeline
from tracedistill.chat.prompts import TEACHER_PROMPTS
from tracedistill.cli import main
from tracedistill.validation.labels import REQUIRED

GUIDE = (ROOT / "docs" / "teachers.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_every_recipe_snippet_loads(number: int, tmp_path: Path) -> None:
    given = yaml.safe_load(SNIPPETS[number])
    teachers = given.get("teachers", {"rules": {"kind": "rules"}})
    recipe: dict[str, Any] = {
        "study": "guide",
        "task": {"name": "gsm8k"},
        "students": {"small": {"model": "scripted:tests.scripts:solver"}},
        "arms": {f"with-{name}": {"prompt": "trace-of-thought", "teacher": name} for name in teachers},
    }
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({**recipe, **given}), encoding="utf-8")
    loaded = pipeline.load(path)
    for key, value in given.items():
        read = getattr(loaded.study, key)
        assert (read == value) if isinstance(value, str) else read, key


def test_the_guide_is_not_without_snippets() -> None:
    assert len(SNIPPETS) >= 12


@pytest.mark.parametrize("name", sorted(TEACHER_PROMPTS))
def test_every_prompt_is_named(name: str) -> None:
    assert re.search(rf"[| ]{re.escape(name)}[ ,|]", GUIDE)


def test_every_column_of_labels_is_named() -> None:
    for name in REQUIRED:
        assert f"| {name} |" in GUIDE


@pytest.mark.parametrize("command", re.findall(r"^tracedistill (\S+)", GUIDE, re.MULTILINE))
def test_every_command_exists(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert command in capsys.readouterr().out
