"""W&B and trackio on request, without a network; validation rows of a study; 4-bit weights on a CPU."""

from __future__ import annotations

import importlib.util
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT
from tests.tiny import build
from tracedistill import pipeline
from tracedistill.chat.rendering import render_example
from tracedistill.engines.tokenizers import load_tokenizer
from tracedistill.errors import InputError
from tracedistill.files import read_jsonl
from tracedistill.pipeline.nodes import Graph
from tracedistill.pipeline.preflight import make_preflight
from tracedistill.pipeline.screen import Screen
from tracedistill.pipeline.study_run import StudyRun
from tracedistill.recipes import StudentConfig, TrainingConfig
from tracedistill.records import Example, Message, Problem
from tracedistill.training import tracking
from tracedistill.training.arm import train_arm

pytestmark = [
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),
]
KEY = "0123456789abcdef0123456789abcdef01234567"
ROWS = [Example(f"p{n}", "a", (Message("user", f"Where is Mary? {n}"),), f"Answer: {n}") for n in range(8)]
NO_NETWORK = """
import os, socket
real = socket.socket.connect
def connect(self, address):
    if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
        with open(os.environ["NETWORK_LOG"], "a") as log:
            log.write(f"{address}\\n")
    return real(self, address)
socket.socket.connect = connect
"""
"""A sitecustomize that writes down whoever leaves this machine."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("tiny"))


def study(tmp_path: Path, folder: Path, **student: str) -> Path:
    recipe = {
        "study": "tracked",
        "run_dir": str(tmp_path / "run"),
        "tracking": "wandb",
        "task": {"name": "babi", "train": 16, "validation": 4, "test": 4},
        "students": {"tiny": {"model": str(folder), "dtype": "float32", **student}},
        "training": {"batch_size": 4, "lora_r": 4, "max_steps": 2, "max_length": 512},
        "base": {"max_tokens": 8},
        "evaluation": {"cut_off": "allow"},
        "arms": {"answer-only": {"tune": "none"}, "correct-trace": {"tune": "correct"}},
    }
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return path


def command(tmp_path: Path, recipe: Path, *changes: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`tracedistill run` in a process of its own, which notes whom it speaks to beyond this machine."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(NO_NETWORK)
    paths = [str(tmp_path / "site"), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    every = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("WANDB_", "TRACKIO_"))},
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "NETWORK_LOG": str(tmp_path / "network.log"),
        "HOME": str(tmp_path),
        **environment,
    }
    run = [sys.executable, "-m", "tracedistill.cli", "run", str(recipe), *changes]
    return subprocess.run(run, cwd=ROOT, env=every, capture_output=True, text=True, check=False)


# ---- what a tracker is told


class Recorder:
    """A tracker that keeps what it is told, and breaks down at a step."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.fails_at = fails_at
        self.steps: list[tuple[int, dict[str, float]]] = []
        self.shown: dict[str, tracking.Table] = {}
        self.closed: list[bool] = []

    def log(self, values: Mapping[str, float], step: int) -> None:
        if step == self.fails_at:
            raise ConnectionError(f"the key {KEY} is worn out")
        self.steps.append((step, dict(values)))

    def tables(self, tables: Mapping[str, tracking.Table]) -> None:
        self.shown.update(tables)

    def summarise(self, values: Mapping[str, float | None]) -> None:
        raise NotImplementedError

    def close(self, *, failed: bool) -> None:
        self.closed.append(failed)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    found = Recorder()
    monkeypatch.setattr("tracedistill.training.arm.open_run", lambda *args: found)
    return found


def tune(folder: Path, tmp_path: Path, **changes: Any) -> dict[str, Any]:
    """Train with a tracker; what training.json says."""
    output = tmp_path / "arm"
    train_arm(
        name="arm",
        rows=ROWS,
        student=StudentConfig(str(folder), dtype="float32"),
        training=replace(TrainingConfig(batch_size=2, lora_r=4, save_steps=2), **changes),
        seed=0,
        output=output,
        tracking="wandb",
        validation=ROWS[:3],
    )
    facts: dict[str, Any] = json.loads((output / "training.json").read_text())
    return facts


def test_steps_evaluations_and_the_first_rows(folder: Path, tmp_path: Path, recorder: Recorder) -> None:
    facts = tune(folder, tmp_path, eval_steps=2)
    trained = [(step, values) for step, values in recorder.steps if "train/loss" in values]
    assert [step for step, _ in trained] == [1, 2, 3, 4]
    assert all(values.keys() == {f"train/{key}" for key in ("loss", "learning_rate", "grad_norm", "epoch")}
               for _, values in trained)  # fmt: skip
    assert [values["train/loss"] for _, values in trained] == [entry["loss"] for entry in facts["log"]]
    evaluated = [(step, values["eval/loss"]) for step, values in recorder.steps if "eval/loss" in values]
    assert evaluated == [(each["step"], each["loss"]) for each in facts["evaluations"]]
    heads, rows = recorder.shown["examples"]
    assert list(heads) == ["problem_id", "prompt ends", "supervised"]
    assert [row[0] for row in rows] == ["p0", "p1", "p2", "p3", "p4"]
    assert rows[1][1].endswith("Where is Mary? 1<|im_end|>\n<|im_start|>assistant\n")
    assert rows[1][2] == "Answer: 1<|im_end|>"
    assert recorder.closed == [False]


def test_one_that_breaks_down_costs_nothing(
    folder: Path,
    tmp_path: Path,
    recorder: Recorder,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    recorder.fails_at = 2
    assert tune(folder, tmp_path)["steps"] == 4
    assert [step for step, _ in recorder.steps] == [1]
    said = capsys.readouterr()
    assert said.err.count("tracking: wandb failed: ConnectionError: the key (WANDB_API_KEY) is worn out") == 1
    assert KEY not in said.out + said.err


def test_a_training_that_fails_ends_its_run_as_failed(
    folder: Path, tmp_path: Path, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr("tracedistill.training.arm.save", fail)
    with pytest.raises(InputError, match="out of memory"):
        tune(folder, tmp_path)
    assert recorder.closed == [True]


# ---- refused before training


@pytest.mark.parametrize("tracker", ["wandb", "trackio"])
def test_a_missing_package(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tracker: str) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == tracker else find(name))
    loads: list[object] = []
    monkeypatch.setattr("tracedistill.training.trainer.load_student", loads.append)
    with pytest.raises(InputError, match=rf"{tracker} is not installed: pip install 'tracedistill\[{tracker}\]'"):
        train_arm(
            name="arm",
            rows=ROWS,
            student=StudentConfig(str(folder)),
            training=TrainingConfig(),
            seed=0,
            output=tmp_path / "arm",
            tracking=tracker,
        )
    assert not loads


def test_a_study_asks_for_its_tracker_before_anybody_works(
    study_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(tracker: str) -> None:
        asked.append(tracker)
        raise InputError(f"tracking: {tracker} has no key here")

    asked: list[str] = []
    run_module = importlib.import_module("tracedistill.pipeline.run")  # `pipeline.run` is the function
    path = study_file(tracking="wandb")
    with monkeypatch.context() as patch:
        patch.setattr(run_module, "check_tracker", refuse)
        loaded = pipeline.load(path)
        pipeline.run(loaded, "evaluate", quiet=True)
        assert asked == [], "nothing of it goes to a tracker"
    pipeline.run(pipeline.load(path, ["tracking=none"]), quiet=True)
    monkeypatch.setattr(run_module, "check_tracker", refuse)
    assert pipeline.run(loaded, quiet=True) == []
    assert asked == [], "nothing is left to do"
    changed = pipeline.load(path, ["run_dir=elsewhere"])
    monkeypatch.chdir(path.parent)
    with pytest.raises(InputError, match="tracking: wandb has no key here"):
        pipeline.run(changed, quiet=True)
    assert not list((path.parent / "elsewhere").rglob("*.jsonl"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tracker", "environment", "message"),
    [
        ("wandb", {}, "tracking: wandb has no key here: `wandb login`, or set WANDB_API_KEY; WANDB_MODE=offline"),
        ("wandb", {"WANDB_API_KEY": "short"}, "tracking: wandb cannot start a run: AuthenticationError"),
        ("wandb", {"WANDB_MODE": "offline"}, ""),
        ("wandb", {"WANDB_MODE": "disabled"}, ""),
        ("trackio", {"TRACKIO_DIR": "/dev/null/here"}, "tracking: trackio cannot start a run: NotADirectoryError"),
        ("trackio", {"TRACKIO_DIR": "kept"}, ""),
    ],
)
def test_a_tracker_that_gives_no_run(tmp_path: Path, tracker: str, environment: dict[str, str], message: str) -> None:
    pytest.importorskip(tracker)
    code = (
        "import sys\nfrom tracedistill.training.tracking import open_run\n"
        "open_run(sys.argv[1], 'x', {}).close(failed=False)"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB_", "TRACKIO_"))}
    done = subprocess.run(
        [sys.executable, "-c", code, tracker],
        cwd=tmp_path,
        env={**kept, "HOME": str(tmp_path), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert message in done.stderr
    assert (done.returncode == 0) == (message == ""), done.stderr


# ---- a whole study


@pytest.mark.slow
def test_wandb_offline_one_run_per_arm_and_no_key_anywhere(tmp_path: Path, folder: Path) -> None:
    recipe = study(tmp_path, folder)
    done = command(
        tmp_path, recipe, "training.eval_steps=1", WANDB_MODE="offline", WANDB_DIR=str(tmp_path), WANDB_API_KEY=KEY
    )
    assert done.returncode == 0, done.stderr[-2000:]
    runs = list((tmp_path / "wandb").glob("offline-run-*"))
    assert len(runs) == 3, "one per arm, and the report's"
    logs = [next(run.glob("*.wandb")).read_bytes() for run in runs]
    assert sum(b"eval/loss" in log and b"train/learning_rate" in log for log in logs) == 2
    tables = [json.loads(path.read_text()) for run in runs for path in run.rglob("*.table.json")]
    shown = [table for table in tables if table["columns"] == ["problem_id", "prompt ends", "supervised"]]
    assert sorted(len(table["data"]) for table in shown) == [5, 5]
    assert any("tokens_out" in table["columns"] for table in tables)
    assert KEY not in done.stdout + done.stderr
    for path in (*(tmp_path / "run").rglob("*"), *(tmp_path / "wandb").rglob("*")):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path
    assert not (tmp_path / "network.log").exists()


@pytest.mark.slow
def test_trackio_stays_on_this_machine(tmp_path: Path, folder: Path) -> None:
    pytest.importorskip("trackio")
    recipe = study(tmp_path, folder)
    done = command(tmp_path, recipe, "training.eval_steps=1", "tracking=trackio", TRACKIO_DIR=str(tmp_path / "kept"))
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"tracking: trackio, run tracked/correct-trace in {tmp_path / 'kept'}" in done.stdout
    with closing(sqlite3.connect(tmp_path / "kept" / "tracedistill.db")) as store:
        lines = store.execute("select run_name, step, metrics from metrics order by id").fetchall()
    found: dict[str, dict[str, list[Any]]] = {}
    for name, step, metrics in lines:
        for key, value in json.loads(metrics).items():
            found.setdefault(name, {}).setdefault(key, []).append((step, value))
    assert found.keys() == {"tracked/answer-only", "tracked/correct-trace", "tracked/report"}
    told = found["tracked/correct-trace"]
    facts = json.loads((tmp_path / "run" / "adapters" / "correct-trace" / "training.json").read_text())
    assert told["eval/loss"] == [(each["step"], each["loss"]) for each in facts["evaluations"]]
    assert told["train/loss"] == [(each["step"], each["loss"]) for each in facts["log"]]
    assert "Supporting facts" in told["examples"][0][1]["_value"][0]["supervised"]
    arms = found["tracked/report"]["arms"][0][1]["_value"]
    assert [row["name"] for row in arms] == ["answer-only", "correct-trace"]
    assert not (tmp_path / "network.log").exists()


# ---- validation rows


def test_validation_rows_are_no_others(tmp_path: Path) -> None:
    recipe = study(tmp_path, tmp_path)
    pipeline.run(pipeline.load(recipe), stage="assemble")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run" / "sft").iterdir()}
    assert not [name for name in before if "validation" in name]
    changes = ["training.eval_steps=2", "training.eval_rows=3", "arms.wrong={tune: wrong-class}"]
    loaded = pipeline.load(recipe, changes)
    pipeline.run(loaded, stage="assemble")
    roles = {each.problem_id: each.split for each in read_jsonl(tmp_path / "run" / "problems.jsonl", Problem)}
    held = {name: list(read_jsonl(tmp_path / "run" / "sft" / f"{name}.validation.jsonl", Example))
            for name in loaded.study.arms}  # fmt: skip
    ids = {name: [row.problem_id for row in rows] for name, rows in held.items()}
    assert ids["answer-only"] == ids["correct-trace"] == ids["wrong"]
    assert {roles[problem_id] for problem_id in ids["wrong"]} == {"validation"}
    assert len(ids["wrong"]) == 3
    for plain, right, wrong in zip(*held.values(), strict=True):
        assert plain.prompt == right.prompt == wrong.prompt
        assert plain.trace_id is None
        assert right.completion != wrong.completion
    for name, content in before.items():
        assert (tmp_path / "run" / "sft" / name).read_bytes() == content, "rows to train on stay as they were"


def test_what_is_not_asked_for_makes_nothing_stale(tmp_path: Path) -> None:
    def params(*changes: str) -> dict[str, Any]:
        loaded = pipeline.load(recipe, changes)
        work = StudyRun(loaded, Screen(quiet=True))
        return {node.name: node.params for node in Graph(work).nodes()}

    recipe = study(tmp_path, tmp_path)
    before, rows, steps = params(), params("training.eval_rows=3"), params("training.eval_steps=3")
    assert {name for name in before if before[name] != rows[name]} == {"report"}
    changed = {name for name in before if before[name] != steps[name]}
    assert changed == {"assemble", "train:answer-only", "train:correct-trace", "report"}


def test_nothing_to_evaluate_on_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A model teacher is asked about the problems that arms need, and validation problems are not among them."""
    recipe = study(tmp_path, tmp_path)
    teacher = {"kind": "model", "model": "scripted:tests.teacher_scripts:good", "prompt": "worked"}
    changes = {"teachers": {"t": teacher}, "prompts": {"worked": "{problem}"}, "cache": str(tmp_path / "cache.sqlite")}
    recipe.write_text(yaml.safe_dump({**yaml.safe_load(recipe.read_text()), **changes}))
    pipeline.run(pipeline.load(recipe, ["training.eval_steps=1"]), stage="assemble")
    assert "nothing to evaluate on: none of the 4 validation problems" in capsys.readouterr().out
    assert (tmp_path / "run" / "sft" / "correct-trace.validation.jsonl").read_text() == ""


def test_too_long_in_one_arm_is_in_none(tmp_path: Path, folder: Path) -> None:
    recipe = study(tmp_path, folder)
    pipeline.run(pipeline.load(recipe, ["training.eval_steps=1"]), stage="assemble")
    place = tmp_path / "run" / "sft"
    tokenizer = load_tokenizer(str(folder))

    def lengths(name: str) -> dict[str, int]:
        rows = read_jsonl(place / f"{name}.jsonl", Example)
        return {row.problem_id: len(render_example(tokenizer, row).input_ids) for row in rows}

    traced = lengths("correct-trace.validation")
    limit = sorted(traced.values())[1]
    loaded = pipeline.load(recipe, ["training.eval_steps=1", f"training.max_length={limit}"])
    work = StudyRun(loaded, Screen(quiet=True))
    make_preflight(work, "tiny")
    found = json.loads((place / "tiny.preflight.json").read_text())
    assert found["dropped_validation"] == sorted(name for name, length in traced.items() if length > limit)
    assert found["dropped_validation"]
    assert max(lengths("answer-only.validation").values()) <= limit, "too long in the other arm alone"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("training.eval_steps=-1", "training.eval_steps: must be at least 0"),
        ("training.eval_rows=0", "training.eval_rows: must be at least 1"),
        ("tracking=mlflow", "tracking"),
    ],
)
def test_recipes_that_make_no_sense(tmp_path: Path, change: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        pipeline.load(study(tmp_path, tmp_path), [change])


def test_a_name_that_its_rows_would_take(tmp_path: Path) -> None:
    recipe = study(tmp_path, tmp_path)
    with pytest.raises(InputError, match=r"names that end in '\.validation' are reserved for other files of a run"):
        pipeline.load(recipe, ["arms={a: {tune: none}, a.validation: {tune: correct}}"])


# ---- 4-bit weights


@pytest.mark.slow
def test_four_bit_weights_on_a_cpu(tmp_path: Path) -> None:
    """QLoRA: 4-bit base, adapter in full precision, evaluated unmerged."""
    wide = build(tmp_path / "tiny", hidden=64)  # 4-bit blocks hold 64 weights of a row
    recipe = study(tmp_path, wide, quantization="nf4")
    run = [sys.executable, "-m", "tracedistill.cli", "run", str(recipe), "tracking=none"]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    manifest = json.loads((tmp_path / "run" / "generations" / "correct-trace.jsonl.manifest.json").read_text())
    assert (manifest["engine"]["quantization"], manifest["engine"]["adapter"]) == ("nf4", "adapter")
    trained = json.loads((tmp_path / "run" / "adapters" / "correct-trace.manifest.json").read_text())
    assert trained["template_hash"] == manifest["engine"]["template_hash"]
