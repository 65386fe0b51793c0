"""`tracedistill sweep`: every tuned arm at every setting, judged on validation problems alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import build
from tracedistill import pipeline
from tracedistill.cli import main
from tracedistill.errors import InputError
from tracedistill.files import to_json, write_json
from tracedistill.pipeline.screen import Screen
from tracedistill.pipeline.study_run import StudyRun
from tracedistill.pipeline.sweep import _copy_equal_arms, _variants, combined, sweep, swept_arms, swept_of
from tracedistill.report.sweeps import Sweep, SweptSetting, advice, print_sweep
from tracedistill.stats import wilson

StudyFile = Callable[..., Path]
ARMS: dict[str, Any] = {"standard": {}, "answer-only": {"tune": "none"}, "correct-trace": {"tune": "correct"}}
TRAINING = {"batch_size": 8, "lora_r": 4, "max_steps": 1, "max_length": 512, "warmup": 0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def recipe(study_file: StudyFile, folder: Path) -> Path:
    students = {"tiny": {"model": str(folder), "dtype": "float32"}}
    return study_file(
        students=students,
        arms=ARMS,
        base={"max_tokens": 4},
        evaluation={"batch_size": 4, "cut_off": "allow"},
        training=TRAINING,
        comparisons=[["correct-trace", "standard"]],
    )


@pytest.mark.parametrize(
    ("items", "varied", "others"),
    [
        (["training.learning_rate=1e-3,2e-3"], {"training.learning_rate": ["1e-3", "2e-3"]}, []),
        (["training.epochs=1,2", "seed=3"], {"training.epochs": [1, 2]}, ["seed=3"]),
        (
            ["training.epochs=1,2", "training.lora_targets=q_proj,v_proj"],
            {"training.epochs": [1, 2]},
            ["training.lora_targets=q_proj,v_proj"],
        ),
        (
            ["arms.grpo.v2.learning_rate=1e-5,1e-4", "arms.grpo.v2.prompt=a,b"],
            {"arms.grpo.v2.learning_rate": ["1e-5", "1e-4"]},
            ["arms.grpo.v2.prompt=a,b"],
        ),
        (["training.epochs=1,2", "cache=a,b"], {"training.epochs": [1, 2]}, ["cache=a,b"]),
    ],
)
def test_what_is_varied(items: list[str], varied: Mapping[str, list[Any]], others: list[str]) -> None:
    assert swept_of(items) == (varied, others)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], "nothing to sweep"),
        (["training.learning_rate=1e-3"], "nothing to sweep"),
        (["training.learning_rate=1e-3,"], "with several values"),
        (["training.epochs=1,2", "training.epochs=3,4"], "must be given once, with several values"),
        (["training.seeds=1,2"], "training.seeds: cannot be swept"),
        (["training.lerning_rate=1,2"], "unknown key; did you mean 'learning_rate'"),
        (["training.learning_rate=1e-3,fast"], "must be a number"),
        (["training.learning_rate=1e-3,0.001"], "two of the settings are identical"),
        (["training.epochs=1,2", "task.validation=0"], "no validation problems"),
        (["training.epochs=1,2", "arms={standard: {}}", "comparisons=[]"], "no arm is tuned"),
        (["training.epochs=1,2,3,4", "training.lora_r=1,2"], r"16 trainings \(8 settings of 2 arms, 1 seeds"),
        (["training.epochs=1,2", "training.seeds=4"], "16 trainings"),
    ],
)  # fmt: skip
def test_what_it_refuses(recipe: Path, items: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        sweep(recipe, items, quiet=True)
    assert not (pipeline.load(recipe).study.folder / "sweep").exists(), "nothing was made"


WAYS: dict[str, Any] = {
    **ARMS,
    "plan": {"prompt": "trace-of-thought"},
    "grpo": {"tune": "correct", "method": "grpo", "from": "correct-trace", "learning_rate": 1e-4},
    "on-policy": {"tune": "none", "method": "on-policy", "context": "plan"},
}


@pytest.mark.parametrize(
    ("items", "trained", "chosen", "folders"),
    [
        (
            ["arms.grpo.learning_rate=1e-5,1e-4"],
            ["correct-trace", "grpo"],
            ["grpo"],
            ["grpo.learning_rate-1e-05", "grpo.learning_rate-0.0001"],
        ),
        (
            ["arms.on-policy.beta=0,1"],
            ["plan", "on-policy"],
            ["on-policy"],
            ["on-policy.beta-0.0", "on-policy.beta-1.0"],
        ),
        (
            ["training.epochs=1,2", "arms.grpo.beta=0,1"],
            ["answer-only", "correct-trace", "plan", "grpo", "on-policy"],
            ["answer-only", "correct-trace", "grpo", "on-policy"],
            [f"epochs-{epochs}.0_grpo.beta-{beta}.0" for epochs in (1, 2) for beta in (0, 1)],
        ),
        (  # each arm's own settings side by side, every one of two keys of one arm
            ["arms.answer-only.epochs=1,2,3,4", "arms.grpo.beta=0,1", "arms.grpo.epsilon=0.1,0.2"],
            ["answer-only", "correct-trace", "grpo"],
            ["answer-only", "grpo"],
            [
                "answer-only.epochs-1.0_grpo.beta-0.0_grpo.epsilon-0.1",
                "answer-only.epochs-2.0_grpo.beta-0.0_grpo.epsilon-0.2",
                "answer-only.epochs-3.0_grpo.beta-1.0_grpo.epsilon-0.1",
                "answer-only.epochs-4.0_grpo.beta-1.0_grpo.epsilon-0.2",
            ],
        ),
    ],
)  # fmt: skip
def test_an_arms_own_keys_are_swept_with_what_the_arm_needs(
    recipe: Path, items: list[str], trained: list[str], chosen: list[str], folders: list[str]
) -> None:
    loaded = pipeline.load(recipe, [f"arms={json.dumps(WAYS)}"])
    varied, _ = swept_of(items)
    names = swept_arms(loaded.study, tuple(varied))
    settings = combined(varied)
    variants = _variants(loaded, [f"arms={json.dumps(WAYS)}"], settings, names)
    assert names == chosen
    assert [variant.study.folder.name for variant in variants] == folders
    assert all(list(variant.study.arms) == trained for variant in variants)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (
            ["arms.standard.learning_rate=1,2"],
            r"arms\.standard: is not a tuned arm; tuned arms: answer-only, ",
        ),
        (["arms.grpo.beta=0,1", "arms.answer-only.epochs=1,2,3"], r"unequal numbers of settings \(arms\.grpo: 2, arms"),
        (["arms.grpo.beta=0,1", "arms.correct-trace.epochs=1,2"], "arms.grpo is built on arms.correct-trace: sweep"),
    ],
)
def test_what_arms_own_keys_are_refused_for(recipe: Path, items: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        sweep(recipe, [*items, f"arms={json.dumps(WAYS)}"], quiet=True)


def test_a_long_name_of_a_folder_is_cut_and_stays_apart(recipe: Path) -> None:
    own = {f"answer-only-{n}": {"tune": "none", "learning_rate": 1e-3} for n in range(8)}
    items = [f"arms.{name}.learning_rate=1e-3,2e-3" for name in own]
    changes = [f"arms={json.dumps(own)}", "comparisons=[]"]
    loaded = pipeline.load(recipe, changes)
    varied, _ = swept_of(items)
    variants = _variants(loaded, changes, combined(varied), swept_arms(loaded.study, tuple(varied)))
    names = [variant.study.folder.name for variant in variants]
    assert len(set(names)) == 2
    assert all(len(name) < 140 for name in names)


STARTED: dict[str, Any] = {
    "standard": {},
    "correct-trace": {"tune": "correct"},
    "own": {"tune": "correct", "from": "correct-trace"},
}
"""An arm and one that starts from it."""


def test_what_no_key_changes_is_made_once(recipe: Path) -> None:
    changes = [f"arms={json.dumps(STARTED)}"]
    loaded = pipeline.load(recipe, changes)
    varied, _ = swept_of(["arms.own.learning_rate=1e-3,2e-3,4e-3"])
    variants = _variants(loaded, changes, combined(varied), ["own"])
    first, second, third = (variant.study.folder for variant in variants)
    for name in ("correct-trace", "own"):
        (first / "adapters" / name).mkdir(parents=True)
        (first / "adapters" / name / "adapter_model.safetensors").write_text(name)
        (first / "adapters" / f"{name}.manifest.json").write_text("{}")
    work = StudyRun(loaded, Screen(quiet=True))
    left_by_a_kill = second / "adapters" / "correct-trace"
    left_by_a_kill.mkdir(parents=True)
    (left_by_a_kill / "half").write_text("of a copy")
    made_before = third / "adapters" / "correct-trace.manifest.json"
    made_before.parent.mkdir(parents=True)
    made_before.write_text("its own")
    for variant in variants:
        _copy_equal_arms(variant, variants[0], ["own"], work)
    assert [path.name for path in left_by_a_kill.iterdir()] == ["adapter_model.safetensors"]
    assert (second / "adapters" / "correct-trace.manifest.json").read_text() == "{}"
    assert not (second / "adapters" / "own").exists()
    assert made_before.read_text() == "its own"


@pytest.mark.slow
def test_an_arm_that_swept_arms_start_from_is_trained_once(
    recipe: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    command = ["sweep", str(recipe), f"arms={json.dumps(STARTED)}", "arms.own.learning_rate=1e-3,5e-2"]
    assert main(command) == 0
    told = capfd.readouterr().out
    assert told.count("train:correct-trace: no adapters") == 1
    folder = pipeline.load(recipe).study.folder / "sweep"
    manifests = [path.read_bytes() for path in folder.rglob("adapters/correct-trace.manifest.json")]
    assert len(manifests) == 2
    assert manifests[0] == manifests[1]
    weights = {path.read_bytes() for path in folder.rglob("adapters/own/adapter_model.safetensors")}
    assert len(weights) == 2
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.manifest.json")}
    assert main([*command, "--quiet"]) == 0
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.manifest.json")} == before


@pytest.mark.slow
def test_a_sweep(recipe: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    command = ["sweep", str(recipe), "training.learning_rate=1e-3,5e-2"]
    assert main(command) == 0
    told = capfd.readouterr().out
    study = pipeline.load(recipe).study
    (result,) = json.loads((study.folder / "sweep.json").read_text())["sweeps"]
    assert result["settings"] == [{"training.learning_rate": 0.001}, {"training.learning_rate": 0.05}]
    assert result["folders"] == ["sweep/learning_rate-0.001", "sweep/learning_rate-0.05"]
    assert list(result["arms"]) == ["answer-only", "correct-trace"]
    assert "best common setting: training.learning_rate=" in told

    problems = {line["problem_id"]: line for line in lines(study.folder / "problems.jsonl")}
    held = [key for key, line in problems.items() if line["split"] == "validation"]
    test = {key for key, line in problems.items() if line["split"] == "test"}
    for number, name in enumerate(result["folders"]):
        place = study.folder / name
        for arm, tried in result["arms"].items():
            attempts = list(lines(place / "attempts" / f"{arm}.jsonl"))
            assert [line["problem_id"] for line in attempts] == held
            assert tried[number]["n"] == len(held) == 5
            assert tried[number]["right"] == sum(line["answer"]["outcome"] == "correct" for line in attempts)
            settings = json.loads((place / "adapters" / f"{arm}.manifest.json").read_text())["params"]["training"]
            assert settings["learning_rate"] == result["settings"][number]["training.learning_rate"]
        for path in place.rglob("*.jsonl"):
            assert not [key for key in test if key in path.read_text()], f"{path}: a test problem"
        trained = {line["problem_id"] for line in lines(place / "sft" / "correct-trace.jsonl")}
        assert trained == {key for key, line in problems.items() if line["split"] == "train"}
    adapters = [study.folder / name / "adapters" / "correct-trace" for name in result["folders"]]
    weights = {(adapter / "adapter_model.safetensors").read_bytes() for adapter in adapters}
    assert len(weights) == 2

    # again: nothing is made; one setting more: that one alone
    assert main([*command, "--quiet"]) == 0
    before = {path: path.stat().st_mtime_ns for path in (study.folder / "sweep").rglob("*.manifest.json")}
    found = sweep(recipe, ["training.learning_rate=5e-2,1e-3"], quiet=True)
    assert {path: path.stat().st_mtime_ns for path in (study.folder / "sweep").rglob("*.manifest.json")} == before
    assert found.folders == ("sweep/learning_rate-0.05", "sweep/learning_rate-0.001")

    # other validation problems: everything behind them is made again
    (place,) = [study.folder / name for name in result["folders"][:1]]
    fewer = sweep(recipe, ["training.learning_rate=1e-3,5e-2", "task.validation=3"], quiet=True)
    assert fewer.problems == 3
    assert len(list(lines(place / "attempts" / "answer-only.jsonl"))) == 3

    # another key: kept beside; the same again: in place of what was found before
    for _ in range(2):
        sweep(recipe, ["arms.answer-only.learning_rate=1e-3,5e-2"], quiet=True)
        kept = json.loads((study.folder / "sweep.json").read_text())["sweeps"]
        assert [one["keys"] for one in kept] == [["training.learning_rate"], ["arms.answer-only.learning_rate"]]


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def tried(*right: int, n: int = 100) -> tuple[SweptSetting, ...]:
    return tuple(SweptSetting(one, n, wilson(one, n).low, wilson(one, n).high, 0, 0) for one in right)


FOUND = Sweep(
    study="quickstart",
    recipe="study.yaml",
    problems=100,
    keys=("training.learning_rate",),
    settings=tuple({"training.learning_rate": rate} for rate in (1e-3, 2e-3, 4e-3)),
    folders=("sweep/a", "sweep/b", "sweep/c"),
    arms={"answer-only": tried(52, 60, 54), "correct-trace": tried(58, 56, 57), "incorrect-trace": tried(41, 47, 42)},
    best={"answer-only": 1, "correct-trace": 0, "incorrect-trace": 1},
    best_common=1,
    best_of_student={},
)
"""The quickstart's own choice (recipes/quickstart/README.md)."""


def test_what_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    print_sweep(FOUND)
    told = capsys.readouterr().out
    for words in ("right answers of 100", "60 (50-69%)", "all arms", "163", "tracedistill run study.yaml"):
        assert words in told, words
    said = " ".join(advice(FOUND))
    assert "overlapping intervals in 3 of 3 arms" in said
    assert "training.learning_rate=0.002" in said
    assert "the arms have different best settings" in said


def test_a_clear_winner_is_not_called_unsure() -> None:
    clear = replace(FOUND, arms={"one": tried(10, 90, 12)}, best={"one": 1}, best_of_student={"a": 1, "b": 0})
    said = " ".join(advice(clear))
    assert "overlapping" not in said
    assert "different best settings" not in said
    assert "best for the arms of b: learning_rate=0.001" in said


OWN = Sweep(
    study="ways",
    recipe="study.yaml",
    problems=100,
    keys=("arms.sft.epochs", "arms.grpo.beta"),
    settings=({"arms.sft.epochs": 1, "arms.grpo.beta": 0.0}, {"arms.sft.epochs": 2, "arms.grpo.beta": 0.1}),
    folders=("sweep/a", "sweep/b"),
    arms={"sft": tried(52, 60), "grpo": tried(58, 56)},
    best={"sft": 1, "grpo": 0},
    best_common=1,
    best_of_student={},
)
"""Two arms, each at settings of its own."""


def test_arms_with_settings_of_their_own_have_a_best_each(capsys: pytest.CaptureFixture[str]) -> None:
    print_sweep(OWN)
    told = " ".join(capsys.readouterr().out.split())
    assert "epochs=1: 52 (42-62%)" in told
    assert "beta=0.0: 58" in told
    assert "all arms" not in told
    assert "tracedistill run study.yaml arms.sft.epochs=2 arms.grpo.beta=0.0" in told
    assert "common" not in told


def test_the_report_shows_it(study_file: StudyFile, tmp_path: Path) -> None:
    loaded = pipeline.load(study_file())
    pipeline.run(loaded, quiet=True)
    found = replace(FOUND, study="small")
    write_json(tmp_path / "run" / "sweep.json", {"sweeps": [to_json(one, defaults=True) for one in (found, OWN)]})
    nested = tmp_path / "run" / "sweep" / "a" / "problems.jsonl.manifest.json"
    write_json(nested, {"node": "problems", "seconds": 1e6, "peak_memory_bytes": 10**12, "libraries": {}})
    assert pipeline.run(loaded, quiet=True) == ["report"]
    report = pipeline.report_of(loaded)
    section = next(section for section in report.sections if section.key == "sweep")
    assert section.tables[0].rows[0][:2] == ("answer-only", 100)
    assert "learning_rate=0.002" in section.tables[0].heads
    assert section.tables[0].rows[0][-1] == "learning_rate=0.002"
    assert section.tables[1].rows[0] == ("sft", 100, "epochs=1: 52 [42, 62]", "epochs=2: 60 [50, 69]", "epochs=2")
    assert report.peak_memory_bytes < 10**11, "a sweep's runs are no part of the study"
