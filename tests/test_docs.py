"""README and recipes are executed, not only read."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tracedistill import pipeline
from tracedistill.cli import main

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    line.split("  #")[0].strip()
    for page in (README, *(path.read_text(encoding="utf-8") for path in sorted(ROOT.glob("recipes/*/README.md"))))
    for kind, block in re.findall(r"```(\w*)\n(.*?)```", page, re.DOTALL)
    for line in block.splitlines()
    if kind in ("", "sh") and re.match(r"(make|tracedistill|accelerate) ", line)
]

IMPORT = next(command for command in COMMANDS if command.startswith("tracedistill import "))


def test_every_make_target_named_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = {word for command in COMMANDS if command.startswith("make ") for word in [command.split()[1]]}
    assert {"quickstart", "test"} <= named
    for target in named:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def runs_here(recipe: str, overrides: list[str]) -> bool:
    """Whether the teachers and problems of a recipe need no model, no hub and no data but the package's own."""
    study = pipeline.load(recipe, [item for item in overrides if "=" in item and not item.startswith("-")]).study
    asks = any(teacher.kind in ("model", "student", "recorded") for teacher in study.teachers.values())
    return study.task.name == "babi" and study.task.data_dir is None and not asks


@pytest.mark.parametrize("command", sorted({item for item in COMMANDS if item.startswith("tracedistill ")}))
def test_every_command_line_of_the_readmes(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stages that need weights are run up to the datasets; everything else for real, in a folder of its own."""
    for name in ("recipes", "data", "accelerate_configs"):
        shutil.copytree(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    words = shlex.split(command)[1:]
    if words[0] == "report" and not words[1].endswith(".yaml"):
        assert main(shlex.split(IMPORT)[1:]) == 0, "the run folder that it reports on"
    elif words[0] == "sweep":
        words = ["status", words[1]]
    elif words[0] in ("run", "train", "evaluate", "report") and "--dry-run" not in words:
        words[0] = "assemble" if runs_here(words[1], words[2:]) else "status"
    assert main(words) == 0, capsys.readouterr().err


@pytest.mark.parametrize("command", sorted({item for item in COMMANDS if item.startswith("accelerate ")}))
def test_every_launch_line_names_what_is_there(command: str) -> None:
    words = shlex.split(command)
    assert (ROOT / words[words.index("--config_file") + 1]).is_file()
    recipe = ROOT / words[words.index("tracedistill.train") + 1]
    assert words[words.index("--arm") + 1] in pipeline.load(recipe).study.tuned_arms()


@pytest.mark.parametrize("recipe", sorted(ROOT.glob("recipes/*/study.yaml")), ids=lambda path: path.parent.name)
def test_every_recipe_loads_and_has_a_readme(recipe: Path, tmp_path: Path) -> None:
    loaded = pipeline.load(recipe, [f"run_dir={tmp_path}/run"])
    assert loaded.study.study == recipe.parent.name
    assert (recipe.parent / "README.md").is_file()
    assert {state.kind for _, state in pipeline.status(loaded)} == {"missing"}


def test_the_python_example(study_file: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (code,) = [block for kind, block in BLOCKS if kind == "python"]
    assert callable(study_file)
    code = code.replace("recipes/quickstart/study.yaml", str(study_file(run_dir=None)))
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    assert (tmp_path / "runs" / "from-python" / "report.html").is_file()


def test_every_file_of_the_map_is_there() -> None:
    block = next(block for _, block in BLOCKS if "src/tracedistill/\n" in block)
    for line in block.splitlines():
        if line.lstrip().startswith("#"):
            continue
        indented = line.startswith("  ")
        for name in re.split(r"\s{2,}", line.strip())[0].split("  "):
            for part in name.split():
                base = ROOT / "src" / "tracedistill" if indented else ROOT
                assert (base / part.replace("<study>/", "")).exists(), part


def test_links_of_the_docs_lead_somewhere() -> None:
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md")):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert "://" in target or (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_file_that_contributing_names_is_there() -> None:
    """Names of modules are below src/tracedistill, everything else below the project."""
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:[a-z_]+/)+(?:[a-z_]+\.py)?)`", page))
    assert {"pipeline/nodes.py", "report/arms_table.py"} <= named
    for path in named:
        assert any((base / path).exists() for base in (ROOT / "src" / "tracedistill", ROOT)), path
    for path, name in re.findall(r"`([A-Za-z_.]+)` \(`([a-z_/]+\.py)`\)", page):
        text = (ROOT / "src" / "tracedistill" / name).read_text(encoding="utf-8")
        assert path.rpartition(".")[2] in text, (path, name)
