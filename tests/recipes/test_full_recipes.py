"""Every recipe is loaded, resolved and dry-run; every launch line of its README is one."""

from __future__ import annotations

import gzip
import re
import shlex
from pathlib import Path

import pytest
import yaml

from tests.conftest import DATA, ROOT
from tests.tiny import build
from tracedistill import pipeline
from tracedistill.engines.sizes import KNOWN, size_of
from tracedistill.recipes import resolved

RECIPES = {path.parent.name: path for path in sorted(ROOT.glob("recipes/*/study.yaml"))}
SMALL_SCALE = ("interpretable-babi-small", "trace-of-thought-svamp")
"""The published studies with a student out of a package: run on a CPU, docs/replication-*.md."""
FULL = [
    name
    for name in RECIPES
    if name.startswith(("interpretable", "trace-of-thought", "student-sizes")) and name not in SMALL_SCALE
]
"""The recipes at full size, whose students come from the hub."""
SMALL = ["task.train=24", "task.validation=4", "task.test=6"]
NO_DATA = {"student-sizes": ["task.data_dir=null"]}
"""Recipes whose task makes its problems."""
LINES = [
    (path.parent.name, line.removeprefix("$ "))
    for path in sorted(ROOT.glob("recipes/*/README.md"))
    for block in re.findall(r"```console\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
    if re.match(r"\$ (tracedistill|accelerate) ", line)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("tiny"), window=4096)


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)


def test_there_are_recipes_for_every_student_of_the_table() -> None:
    named = {
        size_of(student.model) for name in FULL for student in pipeline.load(RECIPES[name]).study.students.values()
    }
    assert named == set(KNOWN.values())
    assert len(FULL) >= 6


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_resolves_to_itself(name: str, tmp_path: Path) -> None:
    study = pipeline.load(RECIPES[name]).study
    again = tmp_path / "again.yaml"
    again.write_text(yaml.safe_dump(resolved(study), sort_keys=False), encoding="utf-8")
    assert pipeline.load(again).study == study


@pytest.mark.parametrize("name", FULL)
def test_a_full_recipe_is_told_without_data_hub_or_key(name: str, tmp_path: Path) -> None:
    data = [f"task.data_dir={tmp_path}", *NO_DATA.get(name, [])]
    loaded = pipeline.load(RECIPES[name], [f"run_dir={tmp_path}/run", *SMALL, *data])
    found = pipeline.dry_run(loaded, "h100")
    assert len(found.tunings) == len(loaded.study.tuned_arms())
    for tuning in found.tunings:
        assert tuning.lengths is not None
        assert tuning.need is not None, "the size of every student is known"
        assert 1e9 < tuning.need.memory < 80e9
    assert {asking.arm for asking in found.evaluations} >= set(loaded.study.arms)
    # what a run would stop at too is the only refusal: there is no data here
    assert all("data_dir must hold one folder per task" in reason for reason in found.refused)
    assert len(found.refused) <= 1


def data_of(name: str, place: Path) -> Path:
    """The data sets at hand; of MS MARCO there is only a sample, which is cut in two."""
    if name != "interpretable-msmarco":
        return DATA
    with gzip.open(DATA / "msmarco" / "sample.jsonl.gz", "rt", encoding="utf-8") as stream:
        lines = stream.readlines()
    (place / "msmarco").mkdir()
    (place / "msmarco" / "train.jsonl").write_text("".join(lines[:150]), encoding="utf-8")
    (place / "msmarco" / "test.jsonl").write_text("".join(lines[150:]), encoding="utf-8")
    return place


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason=f"no data sets in {DATA}")
@pytest.mark.parametrize("name", FULL)
def test_a_full_recipe_is_counted_with_its_data(name: str, tmp_path: Path, folder: Path) -> None:
    """On a few problems, with a tiny tokenizer in the place of the hub's."""
    study = pipeline.load(RECIPES[name]).study
    students = [f"students.{student}.model={folder}" for student in study.students]
    data = [f"task.data_dir={data_of(name, tmp_path)}", *NO_DATA.get(name, [])]
    overrides = [f"run_dir={tmp_path}/run", *SMALL, *students, *data, "training.max_length=8000"]
    overrides.append("evaluation.cut_off=allow")  # a tiny vocabulary makes twice the tokens
    loaded = pipeline.load(RECIPES[name], overrides)
    found = pipeline.dry_run(loaded, "h100")
    assert found.refused == (), "the chat template takes the recipe's format"
    assert not any(line.startswith("problems:") for line in found.unknown)
    asks = [teacher for teacher in study.teachers.values() if teacher.kind == "model"]
    assert len(found.quotes) == len(asks)
    assert all(quote.calls >= 6 for quote in found.quotes)
    for tuning in found.tunings:
        assert tuning.lengths is not None
        assert 0 < tuning.lengths.rows <= 24
        assert 0 < tuning.lengths.supervised < tuning.lengths.tokens
        assert tuning.at_most == (bool(asks) and study.arms[tuning.arm].tune != "none")


@pytest.mark.parametrize("name", FULL)
def test_a_readme_says_what_a_reader_wants(name: str) -> None:
    text = (RECIPES[name].parent / "README.md").read_text(encoding="utf-8")
    for words in ("--dry-run", "not run", "arXiv" if name != "student-sizes" else "sweep", "Hardware"):
        assert words in text, words


@pytest.mark.parametrize(("name", "line"), LINES, ids=[f"{name}-{number}" for number, (name, _) in enumerate(LINES)])
def test_every_launch_line_is_one(name: str, line: str) -> None:
    words = shlex.split(line, comments=True)
    (recipe,) = [word for word in words if word.endswith("study.yaml")]
    varied = words[1] == "sweep"
    overrides = [word for word in words if "=" in word and not (varied and "," in word)]
    study = pipeline.load(ROOT / recipe, overrides).study
    assert study.study == name == Path(recipe).parent.name
    if words[0] == "accelerate":
        assert (ROOT / words[words.index("--config_file") + 1]).is_file()
        assert words[words.index("--arm") + 1] in study.tuned_arms()
