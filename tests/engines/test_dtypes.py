"""What `dtype: auto` comes to, how it is measured and remembered, and what a run folder keeps."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tests import tiny
from tests.tuned_study import recipe_of, tune
from tracedistill import pipeline
from tracedistill.cli import main
from tracedistill.engines import dtypes, processor
from tracedistill.engines.dtypes import choose, settled, slowness
from tracedistill.engines.processor import DTYPES, Measurement, Speed, measure_anew, measured, this_processor
from tracedistill.pipeline import worker
from tracedistill.pipeline.graph import LOCK_HELD, Node
from tracedistill.pipeline.screen import Screen
from tracedistill.pipeline.study_run import StudyRun
from tracedistill.recipes import StudentConfig

pytestmark = [
    pytest.mark.filterwarnings("ignore:`gradient_checkpointing` is deprecated:FutureWarning"),  # TRL's own default
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning"),  # read by PEFT
]

FAST, SLOW = Speed(500e9, 210e9, 340e9, 210e9), Speed(13e9, 11e9, 9e9, 9e9)
PLAIN = Speed(61e9, 48e9, 55e9, 40e9)
WITH = Measurement({"float32": PLAIN, "bfloat16": FAST})
WITHOUT = Measurement({"float32": PLAIN, "bfloat16": SLOW})
NEAR = Measurement({"float32": PLAIN, "bfloat16": PLAIN})
BROKEN = Measurement({}, "RuntimeError: no such operation")


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setenv("TRACEDISTILL_CACHE", str(tmp_path / "cache"))
    measured.cache_clear()
    yield
    measured.cache_clear()


def on(monkeypatch: pytest.MonkeyPatch, found: Measurement) -> None:
    """A machine whose measurement comes out so."""
    monkeypatch.setattr(dtypes, "measured", lambda: found)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)


# ---- the measurement


def test_this_cpu_is_measured_and_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "DISTURBED", 1e9)  # whatever else runs here
    state = torch.get_rng_state()
    found = measured()
    assert not found.trouble
    assert set(found.speeds) == set(DTYPES)
    for speed in found.speeds.values():
        assert all(1e7 < getattr(speed, name) < 1e15 for name in Speed.__slots__)
    assert found.factor("float32", "bfloat16") == pytest.approx(1 / found.factor("bfloat16", "float32"))
    assert torch.equal(torch.get_rng_state(), state), "what is drawn afterwards is what would have been drawn"
    monkeypatch.setattr(processor, "_measure", lambda: pytest.fail("measured again"))
    measured.cache_clear()
    assert measured() == found


@pytest.mark.parametrize("cap", processor.CAPS)
def test_figures_are_of_one_processor_version_and_environment(cap: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "_measure", lambda: WITH)
    measure_anew()
    monkeypatch.setattr(processor, "_measure", lambda: WITHOUT)
    assert measured() == WITH
    measured.cache_clear()
    monkeypatch.setenv(cap, "AVX2")
    assert measured() == WITHOUT
    assert f"{cap}=AVX2" in str(this_processor())


@pytest.mark.parametrize("kept", ["", "[]", "{", '{"KEY": {"float32": {}}}', '{"KEY": {"float32": 3, "bfloat16": 4}}'])
def test_damaged_memory_is_measured_over(kept: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "_measure", lambda: WITH)
    processor._file().parent.mkdir(parents=True)
    processor._file().write_text(kept.replace("KEY", processor._key()))
    assert measured() == WITH
    assert processor._key() in json.loads(processor._file().read_text())


def test_a_cache_that_cannot_be_written_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(processor, "_measure", lambda: WITH)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TRACEDISTILL_CACHE", str(tmp_path / "file"))
    assert measured() == WITH


def test_what_is_disturbed_is_tried_again_and_never_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = [Measurement(WITH.speeds, "disturbed"), WITH]
    monkeypatch.setattr(processor, "_measure", lambda: tries.pop(0))
    assert measure_anew() == WITH
    assert processor._file().exists()
    processor._file().unlink()
    monkeypatch.setattr(processor, "_measure", lambda: Measurement(WITH.speeds, "disturbed"))
    assert measure_anew().trouble == "disturbed"
    assert not processor._file().exists()


def test_scattered_times_are_disturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processor, "DISTURBED", 0.5)
    assert "times as long as its fastest run" in measure_anew().trouble


def test_a_measurement_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(torch: Any, dtype: str) -> None:
        raise RuntimeError("no such\n operation")

    monkeypatch.setattr(processor, "_speed", broken)
    threads = torch.get_num_threads()
    assert measure_anew().trouble == "RuntimeError: no such operation"
    assert torch.get_num_threads() == threads


def test_the_processor_tells_its_name() -> None:
    told = this_processor()
    assert told.name
    assert told.cores >= 1


# ---- the choice


@pytest.mark.parametrize(
    ("found", "dtype", "why"),
    [
        (WITH, "bfloat16", r"bfloat16: \d\.\d times float32 here"),
        (WITHOUT, "float32", r"float32: \d\.\d times bfloat16 here"),
        (NEAR, "float32", r"float32: 1\.0 times bfloat16 here"),
        (BROKEN, "float32", r"could not be measured \(RuntimeError: no such operation\)"),
    ],
)
def test_a_cpu_gets_what_is_faster_there(
    found: Measurement, dtype: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    on(monkeypatch, found)
    assert choose().dtype == dtype
    assert re.search(why, choose().why)


@pytest.mark.parametrize(("bf16", "dtype"), [(True, "bfloat16"), (False, "float32")])
def test_a_gpu_is_asked_and_not_measured(bf16: bool, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, BROKEN)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "T4")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16 or including_emulation)
    assert choose().dtype == dtype
    assert "T4" in choose().why


def test_another_accelerator_is_not_chosen_for_blindly(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, WITH)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("mps"))
    assert (choose().dtype, slowness("bfloat16")) == ("float32", 1.0)
    assert "mps" in choose().why


def test_what_a_recipe_names_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, WITHOUT)
    assert settled(StudentConfig("m")).dtype == "float32"
    assert settled(StudentConfig("m", dtype="bfloat16")).dtype == "bfloat16"
    assert settled(StudentConfig("m", base_url="http://x/v1")).dtype == "auto"
    assert (slowness("bfloat16") > 4, slowness("float32") < 1) == (True, True)
    on(monkeypatch, BROKEN)
    assert slowness("bfloat16") == 1.0


# ---- the run folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture
def study(tmp_path: Path, model: Path) -> Callable[..., Path]:
    """A study of random adapters, attempted for real; keyword arguments are the student's."""

    def write(**student: Any) -> Path:
        students = {"tiny": {"model": str(model), **student}}
        return recipe_of(tmp_path, model, students=students, arms={"standard": {}, "correct": {"tune": "correct"}})

    return write


def run(recipe: Path) -> None:
    loaded = tune(recipe)
    pipeline.run(loaded, "evaluate")


def dtypes_in(folder: Path) -> set[str]:
    """What manifests and engines of a run folder say."""
    manifests = [json.loads(path.read_text()) for path in folder.rglob("*.manifest.json")]
    computed = [each for each in manifests if each["node"].partition(":")[0] in ("preflight", "train", "generate")]
    said = {each["recipe"]["students"]["tiny"]["dtype"] for each in computed}
    return said | {each["engine"]["dtype"] for each in manifests if "engine" in each}


def test_a_run_folder_keeps_what_it_began_with(
    study: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, folder = study(), tmp_path / "run"
    on(monkeypatch, WITH)
    begun = pipeline.load(recipe)
    work = StudyRun(begun, Screen())
    work.run.claim()
    work.settle()
    assert re.search(r"tiny: dtype auto is bfloat16: \d\.\d times float32 here", capsys.readouterr().out)
    run(recipe)
    assert "dtype auto" not in capsys.readouterr().out, "it is settled"
    assert dtypes_in(folder) == {"bfloat16"}
    on(monkeypatch, WITHOUT)
    loaded = pipeline.load(recipe)
    assert all(state.kind == "complete" for node, state in pipeline.status(loaded) if node.stage == "evaluate")
    assert pipeline.run(loaded, "evaluate") == []
    assert "warning" not in capsys.readouterr().out, "nothing is computed"
    (folder / "generations" / "standard.jsonl").unlink()
    assert "generate:standard" in pipeline.run(loaded, "evaluate")
    told = capsys.readouterr().out
    assert told.count("warning") == 1
    assert "This run folder was started in bfloat16 and keeps it; a new run_dir gets float32" in told
    assert dtypes_in(folder) == {"bfloat16"}


def test_an_explicit_slow_dtype_is_warned_of_once(
    study: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    on(monkeypatch, WITHOUT)
    run(study(dtype="bfloat16"))
    told = capsys.readouterr().out
    (line,) = [line for line in told.splitlines() if "warning" in line]
    assert re.search(r"float32 is \d\.\d times as fast on this machine", line)
    assert line.endswith("Set students.tiny.dtype: float32 (or auto).")


def test_stages_without_a_student_settle_nothing(
    study: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traces may be made on one machine and trained on where another has a GPU."""
    on(monkeypatch, WITHOUT)
    loaded = pipeline.load(study())
    pipeline.run(loaded, "assemble", quiet=True)
    pipeline.dry_run(loaded)
    assert "dtypes" not in json.loads((tmp_path / "run" / "study.json").read_text())
    on(monkeypatch, WITH)
    tune(study())
    pipeline.run(loaded, "evaluate", quiet=True)
    assert dtypes_in(tmp_path / "run") == {"bfloat16"}


def test_a_dtype_that_is_none_is_refused(study: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(study(dtype="float8"))]) == 2
    assert "dtype" in capsys.readouterr().err


def test_a_teacher_that_runs_here_keeps_its_dtype_too(
    study: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = pipeline.load(study())
    work = StudyRun(loaded, Screen(quiet=True))
    work.run.claim()
    for found in (WITHOUT, WITH):
        on(monkeypatch, found)
        assert work.teacher_dtype("large") == "float32"
    assert json.loads((tmp_path / "run" / "study.json").read_text())["dtypes"] == {"teacher:large": "float32"}


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_whole_pipeline_in_either_dtype(
    dtype: str,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Trained, attempted and reported, whichever dtype this machine would take by itself; launched in this process."""
    monkeypatch.setattr("tracedistill.pipeline.dtypes.choose", lambda: pytest.fail("the dtype is forced"))

    def launch(workshop: StudyRun, module: str, nodes: Sequence[Node]) -> list[str]:
        monkeypatch.setenv(LOCK_HELD, str(workshop.run.folder.resolve()))
        return worker.train(loaded, [], (0, 1), lambda: None)

    monkeypatch.setattr("tracedistill.pipeline.execution.launch_nodes", launch)
    students = {"tiny": {"model": str(model), "dtype": dtype}}
    training = {"lora_r": 4, "max_length": 512, "batch_size": 4, "learning_rate": 1e-2}
    arms = {"standard": {}, "answer-only": {"tune": "none"}, "correct": {"tune": "correct"}}
    evaluation = {"batch_size": 4, "merge": "never"}
    changes = {"students": students, "training": training, "arms": arms, "evaluation": evaluation}
    recipe = recipe_of(tmp_path, model, base={"max_tokens": 64}, **changes)
    loaded = pipeline.load(recipe)
    pipeline.run(loaded)
    assert re.search(r"about .+ for 2 adapters, then about .+ for 3 arms' attempts", capsys.readouterr().out)
    folder = tmp_path / "run"
    assert dtypes_in(folder) == {dtype}
    log = json.loads((folder / "adapters" / "correct" / "training.json").read_text())["log"]
    losses = [entry["loss"] for entry in log if "loss" in entry]
    assert losses[-1] < losses[0]
    assert (folder / "report.html").exists()
