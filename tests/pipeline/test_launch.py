"""How stages are launched: nothing of the working folder is imported in a library's place; failures are told truly."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tracedistill import pipeline
from tracedistill.errors import InputError
from tracedistill.pipeline import launch
from tracedistill.plugins import import_object
from tracedistill.tasks import get_task

StudyFile = Callable[..., Path]


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the pipeline would launch: keyword arguments of each launch, which ends with exit code 1."""
    calls: list[dict[str, Any]] = []

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
        calls.append({"command": command, **options})
        return subprocess.CompletedProcess(command, 1)

    monkeypatch.setattr(launch.subprocess, "run", run)
    monkeypatch.setattr(
        launch, "_watched", lambda command, env, screen: run(command, env=env, screen=screen).returncode
    )
    return calls


def test_a_file_of_the_working_folder_is_not_imported_for_a_library(
    study_file: StudyFile, tmp_path: Path, launched: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = pipeline.load(study_file(evaluation={"accelerate_config": "cpu"}))
    with pytest.raises(InputError, match=r"did not finish \(exit code 1\)"):
        pipeline.run(loaded, quiet=True)
    monkeypatch.undo()
    for name in ("yaml", "torch", "accelerate"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('executed')")
    code = "import sys, yaml; print(yaml.__file__)"
    for way in (["-c", code], ["-m", "json.tool", "--help"]):
        done = subprocess.run(
            [sys.executable, *way], cwd=tmp_path, env=launched[0]["env"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "executed" not in done.stdout + done.stderr
    # without the setting the same file is executed: the test can fail
    plain = {key: value for key, value in launched[0]["env"].items() if key != "PYTHONSAFEPATH"}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=plain, capture_output=True, check=False)
    assert done.returncode == 1


@pytest.mark.parametrize(("kills", "told"), [((3, 3), False), ((3, 4), True), ((0, 0), False)])
def test_memory_is_blamed_only_if_it_ran_out(
    study_file: StudyFile,
    launched: list[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    kills: tuple[int, int],
    told: bool,
) -> None:
    counts = iter(kills)
    monkeypatch.setattr(launch, "out_of_memory_kills", lambda: next(counts))
    with pytest.raises(InputError) as caught:
        pipeline.run(pipeline.load(study_file(evaluation={"accelerate_config": "cpu"})), quiet=True)
    assert ("out of memory" in str(caught.value)) is told
    assert "Run the same command to continue." in str(caught.value)


def test_other_programs_are_told_before_a_training(
    tmp_path: Path, launched: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests import tiny
    from tests.tuned_study import recipe_of

    model = tiny.build(tmp_path / "model")
    recipe = recipe_of(tmp_path, model, arms={"answer-only": {"tune": "none"}})
    for busy, told in ((0.1, False), (1.7, True)):
        monkeypatch.setattr(launch, "busy_cores", lambda busy=busy: busy)
        with pytest.raises(InputError, match="did not finish"):
            pipeline.run(pipeline.load(recipe), "train")
        assert ("other programs keep about 1.7" in capsys.readouterr().out) is told


def test_busy_cores_are_seen() -> None:
    """A process that spins is seen by one that sleeps."""
    spinning = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        if Path("/proc/stat").exists():
            assert max(launch.busy_cores(0.3) for _ in range(5)) > 0.2
    finally:
        spinning.kill()
        spinning.wait()


def test_own_modules_come_from_the_working_folder_and_after_the_libraries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("loads = 'not the library'")
    (tmp_path / "own_task_of_mine.py").write_text(
        "from tracedistill.tasks.babi.task import Babi\nclass Mine(Babi):\n    name = 'mine'\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(Path.cwd()))])
    monkeypatch.delitem(sys.modules, "json")
    assert get_task("own_task_of_mine:Mine").name == "mine"
    assert callable(import_object("json:loads"))


def test_threads_are_as_many_as_usable_cores(
    study_file: StudyFile, launched: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = pipeline.load(study_file(evaluation={"accelerate_config": "cpu"}))
    monkeypatch.setattr(launch, "usable_cores", lambda: 3)  # of taskset, Slurm or a container
    with pytest.raises(InputError, match="did not finish"):
        pipeline.run(loaded, quiet=True)
    command = launched[0]["command"]
    assert command[command.index("--num_cpu_threads_per_process") + 1] == "3"
