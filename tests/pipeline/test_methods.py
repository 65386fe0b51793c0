"""A study of every method on the tiny model: run, killed and resumed, on two processes; what is refused at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from tests.conftest import ROOT
from tests.pipeline.test_kills import contents
from tests.pipeline.test_two_processes import TWO
from tests.tuned_study import recipe_of
from tracedistill import pipeline
from tracedistill.cli import main
from tracedistill.errors import InputError
from tracedistill.forecast.estimates import RowLengths
from tracedistill.forecast.methods import rollouts_of
from tracedistill.pipeline.method_checks import judges_trace
from tracedistill.pipeline.nodes import Graph
from tracedistill.pipeline.screen import Screen
from tracedistill.pipeline.study_run import StudyRun
from tracedistill.recipes import Arm, TrainingConfig
from tracedistill.records import Problem, Verdict
from tracedistill.tasks import get_task

ARMS: dict[str, dict[str, Any]] = {
    "standard": {},
    "plan": {"prompt": "trace-of-thought"},
    "sft": {"tune": "correct"},
    "grpo": {"tune": "correct", "method": "grpo", "from": "sft", "reward": "both", "num_generations": 4, "beta": 0.05},
    "distilled": {"tune": "none", "method": "on-policy", "context": "plan", "num_generations": 2},
    "pairs": {"tune": "correct", "method": "dpo", "rejected": "incorrect"},
    "own-pairs": {"tune": "correct", "method": "dpo", "rejected": "own", "num_generations": 2, "from": "sft"},
}
SETTINGS: dict[str, Any] = {
    "arms": ARMS,
    "training": {
        "lora_r": 4, "batch_size": 4, "learning_rate": 1e-2, "eval_steps": 2, "eval_rows": 4, "eval_attempts": 3,
        "save_steps": 1,
    },
}  # fmt: skip


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# ---- what is assembled, and in which order it is trained


@pytest.fixture(scope="module")
def assembled(tmp_path_factory: pytest.TempPathFactory) -> pipeline.LoadedStudy:
    place = tmp_path_factory.mktemp("ways")
    loaded = pipeline.load(recipe_of(place, tiny.build(place / "model"), **SETTINGS))
    pipeline.run(loaded, "assemble", quiet=True)
    return loaded


def test_a_context_shows_what_the_arm_in_context_shows(assembled: pipeline.LoadedStudy) -> None:
    folder = assembled.study.folder / "sft"
    own, shown = rows(folder / "distilled.jsonl"), rows(folder / "distilled.context.jsonl")
    assert [row["problem_id"] for row in own] == [row["problem_id"] for row in shown]
    for row, other in zip(own, shown, strict=True):
        assert "Supporting facts:" not in row["prompt"][-1]["content"]
        assert "Supporting facts:" in other["prompt"][-1]["content"]
        assert other["completion"] == ""


def test_rejected_rows_are_the_interventions_and_measured(assembled: pipeline.LoadedStudy) -> None:
    folder = assembled.study.folder
    chosen = {row["problem_id"]: row for row in rows(folder / "sft" / "pairs.jsonl")}
    rejected = rows(folder / "sft" / "pairs.rejected.jsonl")
    assert rejected
    for row in rejected:
        assert row["prompt"] == chosen[row["problem_id"]]["prompt"]
        assert row["completion"] != chosen[row["problem_id"]]["completion"]
    facts = json.loads((folder / "assembly.json").read_text())["rejected"]["pairs"]
    assert facts["rows"] == len(rejected)
    assert "measured" in facts
    assert facts["judged_correct"] == 0


def test_a_problem_is_no_example_for_itself(tmp_path: Path) -> None:
    arms = {
        "few-shot": {"prompt": "few-shot", "shots": 2},
        "distilled": {"tune": "none", "method": "on-policy", "context": "few-shot"},
    }
    loaded = pipeline.load(recipe_of(tmp_path, tiny.build(tmp_path / "model"), arms=arms))
    pipeline.run(loaded, "assemble", quiet=True)
    turns = [len(row["prompt"]) for row in rows(loaded.study.folder / "sft" / "distilled.context.jsonl")]
    assert sorted(set(turns)) == [4, 6]  # system, one or two examples, the question
    assert turns.count(4) == 2


def test_what_an_adapter_depends_on(assembled: pipeline.LoadedStudy) -> None:
    work = StudyRun(assembled, Screen(quiet=True))
    nodes = {node.name: node for node in Graph(work).nodes()}
    assert "adapters/sft" in nodes["train:grpo"].inputs
    assert "sft/distilled.context.jsonl" in nodes["train:distilled"].inputs
    assert "problems.jsonl" in nodes["train:grpo"].inputs  # the judges' golds
    names = list(nodes)
    assert names.index("train:sft") < names.index("train:grpo")
    assert "arm" not in nodes["train:sft"].params
    changed = pipeline.load(assembled.recipe, ["arms.grpo.reward=answer", "arms.distilled.beta=0"])
    other = {node.name: node for node in Graph(StudyRun(changed, Screen(quiet=True))).nodes()}
    assert other["train:sft"].params == nodes["train:sft"].params
    assert other["train:grpo"].params != nodes["train:grpo"].params
    assert other["generate:grpo"].params == nodes["generate:grpo"].params  # attempts depend on the adapter's files


# ---- refused before anything is trained


def test_a_reward_for_traces_wants_rules_for_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arms = {"sft": {"tune": "correct"}, "grpo": {"tune": "correct", "method": "grpo", "reward": "trace"}}
    loaded = pipeline.load(recipe_of(tmp_path, tiny.build(tmp_path / "model"), arms=arms))
    unjudged = Verdict("not judged", reason="no rule tells")
    monkeypatch.setattr(type(get_task("babi")), "judge_output_trace", lambda *_, **__: unjudged)
    with pytest.raises(InputError, match="arms grpo: reward: trace: task babi has no rules that tell a right trace"):
        pipeline.run(loaded, quiet=True)
    assert not (loaded.study.folder / "traces").exists(), "no teacher was asked"
    assert any("reward: trace" in line for line in pipeline.dry_run(loaded).refused)
    # the answer alone can be rewarded
    pipeline.run(pipeline.load(loaded.recipe, ["arms.grpo.reward=answer"]), "assemble", quiet=True)


@pytest.mark.parametrize(
    ("task", "question", "judged"),
    [
        ("file", "Tom has 3 apples and buys 4. How many has he?", True),
        ("file", "Who wrote Faust?", False),  # rules of arithmetic call any calculation wrong there
        ("gsm8k", "Ann reads 12 pages a day. How many in a week?", True),
    ],
)
def test_where_a_trace_can_be_right(task: str, question: str, judged: bool) -> None:
    assert judges_trace(get_task(task), Problem("p", task, "train", question, answers=("7",))) is judged


def test_another_vocabulary_is_refused_before_a_teacher_works(tmp_path: Path) -> None:
    model = tiny.build(tmp_path / "model")
    other = tiny.build(tmp_path / "other")
    words = json.loads((other / "tokenizer.json").read_text())
    words["model"]["vocab"]["zzz"] = len(words["model"]["vocab"])
    (other / "tokenizer.json").write_text(json.dumps(words))
    students = {"tiny": {"model": str(model), "dtype": "float32"}, "large": {"model": str(other), "dtype": "float32"}}
    arms = {"new": {"tune": "none", "method": "on-policy", "teacher_model": "large", "student": "tiny"}}
    loaded = pipeline.load(recipe_of(tmp_path, model, arms=arms, students=students))
    with pytest.raises(InputError, match=r"arms\.new\.teacher_model .*: its vocabulary is not the student's"):
        pipeline.run(loaded, quiet=True)
    assert not (loaded.study.folder / "traces").exists()


# ---- forecasts


@pytest.mark.parametrize(
    ("arm", "completions"),
    [
        (Arm(tune="correct"), 0),
        (Arm(tune="correct", method="grpo", num_generations=8), 3 * 4 * 8),
        (Arm(tune="none", method="on-policy", num_generations=2), 3 * 4 * 2),
        (Arm(tune="correct", method="self-imitation", num_generations=4, rounds=2), 10 * 4 * 2),
        (Arm(tune="correct", method="dpo", rejected="own", num_generations=5), 50),
        (Arm(tune="correct", method="dpo", rejected="incorrect", num_generations=5), 0),
    ],
)
def test_what_training_will_draw(arm: Arm, completions: int) -> None:
    drawn = rollouts_of(arm, RowLengths(10, 1000, 200, 120), TrainingConfig(batch_size=4))
    assert drawn.completions == completions
    assert drawn.most == 128 * completions
    assert drawn.tokens == drawn.most, "nobody has taught the student yet how long its rows are"
    taught = rollouts_of(replace(arm, from_="sft"), RowLengths(10, 1000, 200, 120), TrainingConfig(batch_size=4))
    assert taught.tokens == 20 * completions


def test_a_dry_run_counts_what_is_drawn(assembled: pipeline.LoadedStudy, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(assembled.recipe), "--dry-run"]) == 0
    told = capsys.readouterr().out
    assert "drawn in it" in told
    found = {each.arm: each for each in pipeline.dry_run(assembled).tunings}
    assert found["sft"].rollouts is None
    assert found["grpo"].rollouts is not None
    assert found["grpo"].need is not None
    assert found["sft"].need is not None
    assert found["grpo"].need.seconds > found["sft"].need.seconds


# ---- the whole way


@pytest.mark.slow
def test_a_study_of_every_method(tmp_path: Path) -> None:
    arms = {**ARMS, "own": {"tune": "correct", "method": "self-imitation", "num_generations": 2, "rounds": 2}}
    recipe = recipe_of(tmp_path, tiny.build(tmp_path / "model"), **{**SETTINGS, "arms": arms})
    loaded = pipeline.load(recipe)
    with pytest.raises(InputError, match="did not finish"):
        pipeline.run(loaded, quiet=True)  # a random student is never right, so that there is nothing to imitate
    loaded = pipeline.load(recipe_of(tmp_path, tmp_path / "model", **SETTINGS))
    pipeline.run(loaded, quiet=True)
    assert pipeline.run(loaded, quiet=True) == []
    report = pipeline.report_of(loaded)
    section = next(each for each in report.sections if each.key == "ways")
    assert [row[0] for row in section.tables[0].rows] == list(ARMS)
    by_name = {arm.name: arm for arm in report.arms}
    assert by_name["grpo"].method == "grpo"
    assert by_name["grpo"].data is None
    assert by_name["sft"].data is not None


def even(answer: str, _: Any) -> bool:
    """A judge whom a random student pleases at times: what it states has an even number of characters."""
    return len(answer) % 2 == 0


OWN: dict[str, Any] = {
    "arms": {
        "standard": {},
        "own": {"tune": "none", "method": "self-imitation", "num_generations": 4, "rounds": 2},
    },
    "training": {**SETTINGS["training"], "epochs": 3},
}
KILLED: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "steps": (
        {**SETTINGS, "training": {**SETTINGS["training"], "epochs": 3}},
        (
            "sft.checkpoints/checkpoint-2", "grpo.checkpoints/checkpoint-1", "grpo.checkpoints/checkpoint-6",
            "distilled.checkpoints/checkpoint-3", "pairs.checkpoints/checkpoint-2",
            "own-pairs.checkpoints/own-completions.jsonl.partial", "own-pairs.checkpoints/checkpoint-4",
        ),
    ),
    "rounds": (
        OWN,
        (
            "own.rounds/drawn-1.jsonl.partial", "own.rounds/adapter-1.checkpoints/checkpoint-1", "own.rounds/adapter-1",
            "own.rounds/drawn-2.jsonl", "own.checkpoints/checkpoint-2", "own",
        ),
    ),
}  # fmt: skip
"""What is killed -> (recipe, what has come into `adapters/` when it is), in the order of training."""


@pytest.mark.slow
@pytest.mark.parametrize("name", KILLED)
def test_kills_while_completions_are_drawn_change_nothing(name: str, tmp_path: Path) -> None:
    settings, moments = KILLED[name]
    model = tiny.ending(tiny.build(tmp_path / "model"))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps({"question": f"Who is {n}?", "answer": "nobody"}) + "\n" for n in range(24)))
    task = {"name": "file", "path": str(data), "train": 12, "validation": 6, "test": 6, "judge": f"{__name__}:even"}

    def command(place: Path) -> list[str]:
        place.mkdir(exist_ok=True)
        changes = settings if name == "steps" else {**settings, "task": task, "teachers": {}}
        recipe = recipe_of(place, model, **changes, cache=str(place / "cache.sqlite"))
        return [sys.executable, "-m", "tracedistill.cli", "run", str(recipe), "--quiet"]

    subprocess.run(command(tmp_path / "whole"), cwd=ROOT, env=environment, check=True)
    for moment in moments:
        awaited = tmp_path / "killed" / "run" / "adapters" / moment
        assert not awaited.exists(), f"{moment}: the training has gone on behind its kill"
        process = subprocess.Popen(command(tmp_path / "killed"), cwd=ROOT, env=environment, start_new_session=True)
        while process.poll() is None and not awaited.exists():
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, f"{moment}: the run ended before it was there"
    subprocess.run(command(tmp_path / "killed"), cwd=ROOT, env=environment, check=True)
    whole, killed = contents(tmp_path / "whole" / "run"), contents(tmp_path / "killed" / "run")
    assert killed.keys() == whole.keys()
    for file in whole:
        assert killed[file] == whole[file], file


@pytest.mark.slow
@pytest.mark.parametrize("arm", ["grpo", "distilled"])
def test_two_processes_draw_what_one_draws(tmp_path: Path, arm: str) -> None:
    from safetensors.numpy import load_file

    model = tiny.build(tmp_path / "model")
    made = []
    for name, more in (("one", {}), ("two", {"accelerate_config": TWO})):
        place = tmp_path / name
        place.mkdir()
        training = {"lora_r": 4, "batch_size": 4, "learning_rate": 1e-3, **more}
        needed = {"grpo": ("sft", "grpo"), "distilled": ("plan", "distilled")}[arm]
        arms = {name: ARMS[name] for name in needed}
        if arm == "grpo":
            arms["grpo"] = {**arms["grpo"], "reward": "answer", "format_weight": 0.5}
        loaded = pipeline.load(recipe_of(place, model, arms=arms, training=training))
        pipeline.run(loaded, "train", quiet=True)
        folder = loaded.study.folder / "adapters" / arm
        made.append(
            (json.loads((folder / "training.json").read_text()), load_file(folder / "adapter_model.safetensors"))
        )
    (one, first), (two, second) = made
    assert [entry["drawn_tokens"] for entry in one["log"]] == [entry["drawn_tokens"] for entry in two["log"]]
    assert one["work"]["trained"] == two["work"]["trained"]
    for key, weights in first.items():
        assert abs(weights - second[key]).max() < 1e-3, key
