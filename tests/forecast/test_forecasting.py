"""`--dry-run`: what it counts is what training will see, and what it cannot count it says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import build
from tracedistill import pipeline
from tracedistill.cli import main
from tracedistill.engines.processor import Measurement, Speed
from tracedistill.errors import InputError
from tracedistill.files import read_jsonl
from tracedistill.forecast.estimates import DEVICES, Device
from tracedistill.forecast.records import StudyForecast
from tracedistill.forecast.tokens import TokenCounter
from tracedistill.pipeline.expected_rows import foreseen_rows
from tracedistill.pipeline.screen import Screen
from tracedistill.pipeline.study_run import StudyRun
from tracedistill.recipes import StudentConfig
from tracedistill.records import Example, Message

StudyFile = Callable[..., Path]
ARMS: dict[str, Any] = {"standard": {}, "answer-only": {"tune": "none"}, "correct-trace": {"tune": "correct"}}
TUNED: dict[str, Any] = {
    **ARMS,
    "two": {"tune": "correct", "rationale_weight": 0.5},
    "mixed": {"tune": "correct", "mix": {"answer-only": 0.25}},
}
LLAMA = {"model": "meta-llama/Llama-3.2-1B-Instruct"}
PLANNER = {
    "kind": "model", "model": "m", "base_url": "http://127.0.0.1:9/v1", "key_env": "NO_SUCH_KEY_HERE",
    "prompt": "delegation", "max_tokens": 100, "usd_per_million_in": 1.0, "usd_per_million_out": 2.0,
}  # fmt: skip
SOLVER = {**PLANNER, "prompt": "solution", "source": "planner", "max_tokens": 200}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)


def dry_run(recipe: Path, *overrides: str, device: str | None = "h100") -> StudyForecast:
    return pipeline.dry_run(pipeline.load(recipe, overrides), device)


@pytest.mark.slow  # a study assembled and preflighted for real
def test_it_counts_what_training_will_see(study_file: StudyFile, folder: Path) -> None:
    students = {"tiny": {"model": str(folder), "dtype": "float32"}}
    recipe = study_file(students=students, arms=TUNED, comparisons=[], training={"max_length": 512, "epochs": 2})
    found = dry_run(recipe)
    loaded = pipeline.load(recipe)
    assert "preflight:tiny" in pipeline.run(loaded, "train", quiet=True)[:1], "the datasets are there already"
    real = json.loads((loaded.study.folder / "sft" / "tiny.preflight.json").read_text())["arms"]
    assert [each.arm for each in found.tunings] == list(real)
    for tuning in found.tunings:
        assert tuning.lengths is not None
        assert tuning.need is not None
        for key in ("rows", "tokens", "supervised", "longest"):
            assert getattr(tuning.lengths, key) == real[tuning.arm][key], (tuning.arm, key)
        trained = json.loads((loaded.study.folder / "adapters" / tuning.arm / "training.json").read_text())
        assert tuning.steps == trained["steps"]
        assert not tuning.at_most
    assert found.refused == ()
    assert found.unknown == ()
    asked = {each.arm: each for each in found.evaluations}
    assert set(asked) == set(TUNED)
    for arm in asked.values():
        assert arm.lengths is not None
        assert (arm.lengths.requests, arm.need is not None) == (16, True)
    assert asked["standard"].at_most
    assert not asked["correct-trace"].at_most


@pytest.mark.parametrize(
    ("arms", "url", "words"),
    [
        (ARMS, True, "students are tried on a made row (one training step and two answers of any): about"),
        ({"standard": {}, "plan": {"prompt": "trace-of-thought"}}, True, "(two answers of any): about"),
        (ARMS, False, ""),  # nobody is paid: training itself is the trial
    ],
)
def test_the_trial_before_a_teacher_is_called_is_foreseen(
    study_file: StudyFile, arms: dict[str, Any], url: bool, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = {**PLANNER, **({} if url else {"base_url": None, "model": "scripted:tests.teacher_scripts:planner"})}
    found = dry_run(study_file(students={"any": LLAMA}, teachers={"planner": teacher}, arms=arms, comparisons=[]))
    assert [trial.student for trial in found.trials] == ["any"] * bool(words)
    told = capsys.readouterr().out
    assert words in told
    assert ("total: trial" in told) == bool(words) == (found.trial_seconds > 10)
    for trial in found.trials:
        assert trial.need is not None
        assert 0 < trial.need.memory <= found.memory


def test_evaluations_during_training_are_counted(
    study_file: StudyFile, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    students = {"tiny": {"model": str(folder), "dtype": "float32"}}
    recipe = study_file(students=students, arms=ARMS, comparisons=[], training={"max_length": 512})
    without = {each.arm: each for each in dry_run(recipe).tunings}
    assert "evaluations" not in capsys.readouterr().out
    for changes, rows in ((("training.eval_steps=2",), 5), (("training.eval_steps=2", "training.eval_rows=3"), 3)):
        found = dry_run(recipe, *changes)
        held = pipeline.load(recipe).study.folder / "sft"
        for each in found.tunings:
            examples = list(read_jsonl(held / f"{each.arm}.validation.jsonl", Example))
            counted = TokenCounter(StudentConfig(str(folder)), "plain").rows(examples)
            assert each.heldout is not None
            assert (each.heldout.rows, each.heldout.tokens) == (rows, sum(length for length, _ in counted))
            assert (each.steps, each.evaluations) == (3, 2)
            before = without[each.arm]
            assert each.need is not None
            assert before.need is not None
            assert each.need.seconds > before.need.seconds
            assert (before.evaluations, each.lengths) == (0, before.lengths)
        told = capsys.readouterr().out
        assert f"2 on {rows} rows" in told
        assert "training.eval_steps: an evaluation is estimated as one forward pass" in told


@pytest.mark.parametrize(("device", "told"), [(None, True), ("h100", False)])
def test_4_bit_weights_on_a_cpu_are_not_evaluated_between_steps(
    study_file: StudyFile, monkeypatch: pytest.MonkeyPatch, device: str | None, told: bool
) -> None:
    cpu = Device("this machine", "cpu", 1e11, 8e9)
    monkeypatch.setattr("tracedistill.forecast.calibration.this_machine", lambda dtype: cpu)
    students = {"any": {**LLAMA, "quantization": "nf4"}}
    recipe = study_file(students=students, arms=ARMS, comparisons=[], training={"eval_steps": 2})
    assert any("4-bit weights on a CPU" in line for line in dry_run(recipe, device=device).refused) == told


def test_evaluations_on_rows_that_are_not_made(study_file: StudyFile) -> None:
    arms = {"solution": {"tune": "correct", "teacher": "planner"}}
    recipe = study_file(students={"llama": LLAMA}, arms=arms, teachers={"planner": PLANNER}, comparisons=[])
    (found,) = dry_run(recipe, "training.eval_steps=1").tunings
    assert found.lengths is not None
    assert found.heldout is not None
    assert (found.heldout.rows, found.evaluations) == (5, found.steps)
    assert found.heldout.tokens == round(5 / found.lengths.rows * found.lengths.tokens)


def test_rows_are_foreseen_as_they_will_be_assembled(study_file: StudyFile) -> None:
    """Two targets are two rows, a mix is rows of each of its arms: before the assembly as behind it."""
    loaded = pipeline.load(study_file(students={"any": LLAMA}, arms=TUNED, comparisons=[]))
    pipeline.run(loaded, "validate", quiet=True)
    work = StudyRun(loaded, Screen(quiet=True))
    complete = {"problems", "validate:rules"}
    foreseen = {name: foreseen_rows(work, complete, name, work.problems("train")) for name in loaded.study.tuned_arms()}
    pipeline.run(loaded, "assemble", quiet=True)
    for name, (rows, missing) in foreseen.items():
        made = list(read_jsonl(loaded.study.folder / "sft" / f"{name}.jsonl", Example))
        assert [(row.prompt, row.completion) for row in rows] == [(row.prompt, row.completion) for row in made], name
        assert missing == 0


def test_two_targets_are_two_rows_where_traces_are_not_there(study_file: StudyFile) -> None:
    arms = {"one": {"tune": "correct"}, "two": {"tune": "correct", "rationale_weight": 0.5}}
    teachers = {"planner": {**PLANNER, "prompt": "chain-of-thought"}}
    found = dry_run(study_file(students={"any": LLAMA}, teachers=teachers, arms=arms, comparisons=[]))
    one, two = (each.lengths for each in found.tunings)
    assert one is not None
    assert two is not None
    assert two.rows == 2 * one.rows
    assert one.tokens < two.tokens < 2 * one.tokens


def test_prompts_are_counted_as_they_will_be_asked(study_file: StudyFile, folder: Path) -> None:
    arms = {"few": {"prompt": "few-shot", "shots": 2}, "told": {"prompt": "trace-of-thought", "max_tokens": 4}}
    recipe = study_file(students={"tiny": {"model": str(folder), "dtype": "float32"}}, arms=arms, comparisons=[])
    found = dry_run(recipe)
    loaded = pipeline.load(recipe)
    pipeline.run(loaded, "evaluate", quiet=True)
    for asking in found.evaluations:
        lines = (loaded.study.folder / "generations" / f"{asking.arm}.jsonl").read_text().splitlines()
        assert asking.lengths is not None
        assert asking.lengths.tokens == sum(json.loads(line)["tokens_in"] for line in lines)


def test_nothing_is_called_tuned_or_asked(study_file: StudyFile, folder: Path) -> None:
    recipe = study_file(students={"tiny": {"model": str(folder)}}, arms=ARMS, comparisons=[])
    dry_run(recipe)
    run = pipeline.load(recipe).study.folder
    assert {path.name for path in run.iterdir() if path.is_dir()} == {"traces", "validation", "sft"}
    assert {path.name for path in (run / "sft").iterdir()} == {"answer-only.jsonl", "correct-trace.jsonl"}


def test_a_row_too_long_in_one_arm_is_in_none(study_file: StudyFile, folder: Path) -> None:
    students = {"tiny": {"model": str(folder)}}
    whole = dry_run(study_file(students=students, arms=ARMS, comparisons=[]))
    traced = next(each.lengths for each in whole.tunings if each.arm == "correct-trace" and each.lengths)
    limit = traced.tokens // traced.rows
    recipe = study_file(students=students, arms=ARMS, comparisons=[], training={"max_length": limit})
    found = dry_run(recipe)
    rows = {each.lengths.rows for each in found.tunings if each.lengths}
    assert len(rows) == 1
    assert 0 < rows.pop() < 20
    assert any(f"are over training.max_length={limit} and are left out of every arm" in line for line in found.unknown)
    strict = dry_run(recipe, "training.too_long=error")
    assert any("too_long is error" in line for line in strict.refused)
    assert "arm answer-only: no training rows are left" in dry_run(recipe, "training.max_length=20").refused


def test_a_student_of_the_hub_is_counted_by_characters(study_file: StudyFile) -> None:
    arms = {**ARMS, "shuffled": {"tune": "shuffled"}}
    found = dry_run(study_file(students={"llama": {**LLAMA, "quantization": "nf4"}}, arms=arms, comparisons=[]))
    assert any("characters per token" in line for line in found.assumptions)
    assert any("1236M weights" in line for line in found.assumptions)
    for tuning in found.tunings:
        assert tuning.need is not None
        assert tuning.need.memory > 2e9
    assert found.memory == max(each.need.memory for each in (*found.tunings, *found.evaluations) if each.need)


def test_a_student_of_unknown_size(study_file: StudyFile) -> None:
    found = dry_run(study_file(students={"odd": {"model": "someone/odd-9b"}}, arms=ARMS, comparisons=[]))
    assert all(each.need is None and each.lengths is not None for each in found.tunings)
    assert any("the size of 'someone/odd-9b' is unknown" in line for line in found.unknown)
    assert (found.tuning_seconds, found.evaluation_seconds, found.memory) == (0, 0, 0)


def test_model_teachers_are_quoted_without_a_key(study_file: StudyFile) -> None:
    arms = {
        "standard": {"teacher": "planner"},
        "plan": {"prompt": "trace-of-thought", "teacher": "planner"},
        "solution": {"tune": "correct", "teacher": "solver"},
        "answers": {"tune": "none", "teacher": "planner"},
    }
    teachers = {"planner": PLANNER, "solver": SOLVER}
    found = dry_run(study_file(students={"llama": LLAMA}, arms=arms, teachers=teachers, comparisons=[]))
    planner, solver = found.quotes
    assert (planner.calls, solver.calls) == (36, 20), "20 training problems, and 16 test problems for the plans"
    assert planner.tokens_out == 3600
    assert solver.tokens_in > 20 * 100, "a plan of 100 tokens in each prompt"
    assert planner.usd == pytest.approx((planner.tokens_in + 2 * 3600) / 1e6)
    assert any("teachers.planner.key_env names no environment variable that is set" in line for line in found.unknown)
    assert not any("NO_SUCH_KEY_HERE" in line for line in found.unknown), "it may be the key itself"
    assert any("the traces of solver are missing" in line for line in found.unknown)
    tunings = {each.arm: each for each in found.tunings}
    assert tunings["solution"].at_most
    assert not tunings["answers"].at_most
    solution, answers = tunings["solution"].lengths, tunings["answers"].lengths
    assert solution is not None
    assert answers is not None
    assert solution.supervised == answers.supervised + 20 * 200
    asked = {each.arm: each.lengths.tokens for each in found.evaluations if each.lengths}
    assert asked["plan"] - asked["standard"] == 16 * 100, "room for a plan in every prompt"


def test_a_teacher_that_runs_here_is_not_loaded(study_file: StudyFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tracedistill.engines.local.LocalEngine.load", lambda *_, **__: pytest.fail("loaded"))
    teachers = {"self": {"kind": "student", "prompt": "delegation", "max_tokens": 30}}
    arms = {"plan": {"prompt": "trace-of-thought"}}
    found = dry_run(study_file(students={"llama": LLAMA}, teachers=teachers, arms=arms, comparisons=[]))
    (quote,) = found.quotes
    assert (quote.teacher, quote.calls, quote.usd) == ("self", 16, 0)
    assert any("self would have to be loaded" in line for line in found.unknown)


@pytest.mark.parametrize("sizes", [{"train": 40, "test": 10}, {}])
def test_problems_that_are_not_there(sizes: dict[str, int], study_file: StudyFile, tmp_path: Path) -> None:
    task = {"name": "gsm8k", "data_dir": str(tmp_path / "nowhere"), **sizes}
    found = dry_run(study_file(task=task, students={"llama": LLAMA}, arms=ARMS, comparisons=[]))
    assert found.refused[0].startswith("problems: ")
    for tuning in found.tunings:
        assert tuning.at_most
        if not sizes:
            assert (tuning.lengths, tuning.steps, tuning.need) == (None, 0, None)
            continue
        assert tuning.lengths is not None
        assert (tuning.lengths.rows, tuning.lengths.tokens, tuning.steps) == (40, 40 * 1024, 5)
    assert [each.lengths.requests if each.lengths else None for each in found.evaluations] == [sizes.get("test")] * 3


def test_a_student_at_an_endpoint_costs_money(study_file: StudyFile) -> None:
    students = {"far": {"model": "m", "base_url": "http://127.0.0.1:9/v1", "usd_per_million_out": 4.0}}
    (asking,) = dry_run(
        study_file(students=students, arms={"standard": {"max_tokens": 10}}, comparisons=[])
    ).evaluations
    assert asking.need is None
    assert asking.usd == pytest.approx(16 * 10 * 4 / 1e6)


def test_a_template_that_does_not_take_the_format(
    study_file: StudyFile, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = study_file(students={"tiny": {"model": str(folder)}}, arms=ARMS, comparisons=[], format="reasoning")
    assert main(["run", str(recipe), "--dry-run", "--device", "h100"]) == 2
    told = capsys.readouterr().out
    assert "the run would stop:" in told
    assert "reasoning_content" in told


def test_the_command(study_file: StudyFile, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = study_file(students={"tiny": {"model": str(folder)}}, arms=ARMS, comparisons=[])
    for stage in ("run", "train", "teach"):
        assert main([stage, str(recipe), "--dry-run", "--device", "l4"]) == 0
        told = capsys.readouterr().out
        for word in ("correct-trace", "supervised", "steps", "memory", "total: tuning", "L4", "not measured"):
            assert word in told, word
    assert main(["run", str(recipe), "--dry-run", "--device", "abacus"]) == 2
    assert ", ".join(DEVICES) in capsys.readouterr().err
    assert main(["run", str(recipe), "--device", "l4"]) == 2


def test_without_a_device_this_machine_is_measured(
    study_file: StudyFile, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tracedistill.forecast.calibration import this_machine

    found = Measurement({"float32": Speed(4e9, 3e9, 2e9, 1e9), "bfloat16": Speed(2e9, 1e9, 1e9, 1e9)})
    monkeypatch.setattr("tracedistill.forecast.calibration.measured", lambda: found)
    monkeypatch.setattr("tracedistill.engines.dtypes.measured", lambda: found)

    this_machine.cache_clear()
    recipe = study_file(students={"tiny": {"model": str(folder)}}, arms=ARMS, comparisons=[])
    (device,) = dry_run(recipe, device=None).devices
    this_machine.cache_clear()
    assert "3 GFLOP/s a core in float32 in training" in device.source
    assert "times bfloat16; measured" in device.source


def test_of_a_script_no_speed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from tracedistill.forecast.calibration import this_machine

    monkeypatch.setattr("tracedistill.forecast.calibration.measured", lambda: Measurement({}, ""))
    this_machine.cache_clear()
    device = this_machine("auto")
    this_machine.cache_clear()
    assert device.source == "speed not known"


def test_a_speed_that_is_not_known_gives_no_times(
    study_file: StudyFile, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tracedistill.forecast.calibration import this_machine

    monkeypatch.setattr("tracedistill.forecast.calibration.measured", lambda: Measurement({}, "no such operation"))
    monkeypatch.setattr("tracedistill.engines.dtypes.measured", lambda: Measurement({}, "no such operation"))
    this_machine.cache_clear()
    recipe = study_file(students={"tiny": {"model": str(folder)}}, arms=ARMS, comparisons=[])
    found = dry_run(recipe, device=None)
    this_machine.cache_clear()
    assert any("speed not known (no such operation)" in line for line in found.assumptions)
    assert (found.tuning_seconds, found.evaluation_seconds) == (0.0, 0.0)
    assert all(each.lengths is not None and each.need is None for each in found.tunings)


def test_a_run_folder_of_another_study_is_left_alone(study_file: StudyFile) -> None:
    dry_run(study_file(students={"llama": LLAMA}))
    with pytest.raises(InputError, match="holds the run of study 'small'"):
        dry_run(study_file(students={"llama": LLAMA}, study="other"))


# ---- the meter


def example(words: int) -> Example:
    return Example("p", "arm", (Message("user", "where is Mary " * words),), "Answer: kitchen")


def test_the_meter_samples_many_rows(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [example(words) for words in range(1, 101)]
    whole = TokenCounter(StudentConfig(str(folder)), "plain")
    exact = whole.rows(rows)
    assert not whole.sampled
    monkeypatch.setattr("tracedistill.forecast.tokens.COUNTED", 25)
    some = TokenCounter(StudentConfig(str(folder)), "plain")
    guessed = some.rows(rows)
    assert some.sampled
    assert "25 rows" in some.said
    assert sum(length for length, _ in guessed) == pytest.approx(sum(length for length, _ in exact), rel=0.05)
    assert guessed[0] == exact[0]


def test_the_meter_without_a_tokenizer() -> None:
    meter = TokenCounter(StudentConfig("meta-llama/Llama-3.2-1B-Instruct"), "plain")
    (length, learnt) = meter.rows([example(10)])[0]
    assert length == pytest.approx((140 + 15) / 4 + 20, abs=1)
    assert learnt == 5
