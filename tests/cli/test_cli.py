from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tracedistill import __version__
from tracedistill.cli import main
from tracedistill.cli.stages import STAGES

StudyFile = Callable[..., Path]
COMMAND = [sys.executable, "-m", "tracedistill.cli"]


def fails(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """The one message on stderr of a command that exits with 2."""
    assert main(argv) == 2
    told = capsys.readouterr()
    assert told.err.startswith("tracedistill: ")
    assert "Traceback" not in told.err
    assert told.out == ""
    return told.err


# ---- help


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for name in (*STAGES, "report", "status"):
        assert f"    {name} " in shown


@pytest.mark.parametrize("command", [*STAGES, "report", "status"])
def test_help_of_each_command(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "recipe" in shown
    assert "key=value" in shown


def test_nothing_asked_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "usage: tracedistill" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"tracedistill {__version__}\n"


@pytest.mark.parametrize(
    "argv", [["nope"], ["run"], ["run", "a.yaml", "--nope"], ["run", "a.yaml", "seed"], ["--seed=1"]]
)
def test_commands_that_are_none(argv: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = [str(tmp_path / word) if word == "a.yaml" else word for word in argv]
    try:
        code = main(argv)
    except SystemExit as ended:
        code = int(ended.code or 0)
    assert code == 2
    told = capsys.readouterr().err
    assert "tracedistill" in told
    assert "Traceback" not in told


# ---- what the user can mend


@pytest.mark.parametrize("command", [*STAGES, "report", "status"])
def test_a_recipe_that_is_not_there(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert fails(capsys, command, "nowhere.yaml") == "tracedistill: nowhere.yaml: no such recipe\n"


def test_a_bad_recipe_lists_every_error(study_file: StudyFile, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = study_file(sede=1, format="xml")
    told = fails(capsys, "run", str(recipe))
    assert f"{recipe}: 2 errors in the recipe" in told
    assert "did you mean 'seed'?" in told


def test_what_is_not_yaml(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.yaml").write_text("study: [")
    assert "not valid YAML" in fails(capsys, "run", str(tmp_path / "x.yaml"))
    assert "cannot be read" in fails(capsys, "run", str(tmp_path))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.max_step=5", "did you mean 'max_steps'?"),
        ("training.max_steps=five", "must be a whole number, got 'five'"),
        ("task.name=babl", "unknown name 'babl'; did you mean 'babi'?"),
        ("=5", "an override is key=value"),
    ],
)
def test_bad_overrides(study_file: StudyFile, override: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert message in fails(capsys, "teach", str(study_file()), override)


@pytest.mark.parametrize(
    ("name", "message"),
    [("no.such.module:Task", "No module named"), ("tracedistill.records:Nope", "has no attribute"),
     ("tracedistill.records:Step", "is not a subclass")],
)  # fmt: skip
def test_a_task_that_cannot_be_had(
    study_file: StudyFile, name: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in fails(capsys, "teach", str(study_file()), f"task.name={name}")


@pytest.mark.parametrize("name", [":Task", ".x:Task"])
def test_a_dotted_path_that_is_none(study_file: StudyFile, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "task" in fails(capsys, "teach", str(study_file()), f"task.name={name}")


def test_a_missing_model_folder(study_file: StudyFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = study_file(
        students={"s": {"model": str(tmp_path / "none" / "at" / "all")}}, arms={"standard": {}}, comparisons=[]
    )
    assert "no such folder" in fails(capsys, "run", str(recipe), "--quiet")
    (tmp_path / "empty").mkdir()
    told = fails(capsys, "run", str(recipe), "--quiet", f"students.s.model={tmp_path / 'empty'}")
    assert "config.json is missing" in told


def test_a_script_that_is_not_there(study_file: StudyFile, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = study_file()
    for path in ("tests.scripts:nope", "no.such:function", "nothing"):
        assert "cannot import it" in fails(
            capsys, "run", str(recipe), "--quiet", f"students.solver.model=scripted:{path}"
        )


def test_a_run_folder_that_cannot_be_written(
    study_file: StudyFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    assert "run_dir" in fails(capsys, "teach", str(study_file()), f"run_dir={tmp_path / 'file'}")
    assert "cannot write" in fails(capsys, "teach", str(study_file()), f"run_dir={tmp_path / 'file' / 'below'}")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_run_folder_of_another_study(study_file: StudyFile, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = str(study_file())
    assert main(["teach", recipe, "--quiet"]) == 0
    assert "holds the run of study 'small', not of 'other'" in fails(capsys, "teach", recipe, "study=other")


# ---- what it does


def test_overrides_before_and_behind_options(
    study_file: StudyFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = str(study_file())
    assert main(["teach", recipe, "task.train=7", "--quiet", "task.test=3", "seed=4"]) == 0
    assert capsys.readouterr().out == ""
    assert len((tmp_path / "run" / "traces" / "rules.jsonl").read_text().splitlines()) == 7 + 5 + 3
    assert main(["teach", "--quiet", recipe, "task.train=7", "task.test=3", "seed=4"]) == 0
    assert main(["teach", recipe, "task.train=7", "task.test=3", "seed=4"]) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_status_tells_complete_stale_and_missing(study_file: StudyFile, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = str(study_file())
    assert main(["status", recipe]) == 0
    assert {line.split()[2].rstrip(":") for line in capsys.readouterr().out.splitlines()} == {"missing"}
    assert main(["validate", recipe, "--quiet"]) == 0
    assert main(["status", recipe, "validation.keep=all"]) == 0
    told = {line.split()[1]: line for line in capsys.readouterr().out.splitlines()}
    assert told["teach:rules"].endswith("complete")
    assert "keep was correct, is all" in told["validate:rules"]
    assert "missing: no attempts/standard.jsonl" in told["score:standard"]


def test_status_of_a_run_folder(study_file: StudyFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = study_file()
    assert main(["validate", str(recipe), "--quiet"]) == 0
    assert main(["status", str(recipe)]) == 0
    told = capsys.readouterr().out
    assert main(["status", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().out == told
    assert main(["status", str(tmp_path)]) == 2
    assert "not a study's run folder" in capsys.readouterr().err


def test_status_of_a_report_with_other_comparisons(
    study_file: StudyFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = str(study_file())
    assert main(["run", recipe, "--quiet"]) == 0
    assert main(["report", str(tmp_path / "run"), "--compare", "standard,trace-of-thought", "--quiet"]) == 0
    capsys.readouterr()
    assert main(["status", recipe]) == 0
    told = capsys.readouterr().out.splitlines()[-1]
    assert told.endswith("missing: report.json is incomplete, or was written by another command")


def test_status_writes_nothing(study_file: StudyFile, tmp_path: Path) -> None:
    assert main(["status", str(study_file())]) == 0
    assert not (tmp_path / "run").exists()


def test_a_run_says_what_it_did(study_file: StudyFile, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = str(study_file())
    assert main(["run", recipe]) == 0
    told = capsys.readouterr().out
    assert "run: made problems, teach:rules, validate:rules" in told
    assert "trace-of-thought" in told
    assert main(["run", recipe]) == 0
    assert "nothing to do" in capsys.readouterr().out


# ---- signals and pipes


def test_interrupt(study_file: StudyFile, tmp_path: Path) -> None:
    """Ctrl-C in the middle of a generation: one line, 130, and the same command goes on."""
    (tmp_path / "slowly.py").write_text(
        "import time\ndef write(request):\n    print('asked', flush=True)\n    time.sleep(60)\n"
    )
    recipe = study_file(students={"s": {"model": "scripted:slowly:write"}})
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    process = subprocess.Popen(
        [*COMMAND, "run", str(recipe), "--quiet"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    watchdog = threading.Timer(240, process.kill)
    watchdog.start()
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "asked\n"
        process.send_signal(signal.SIGINT)
        _, told = process.communicate()
    finally:
        watchdog.cancel()
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert told == "tracedistill: interrupted; run the same command again to continue\n"
    assert not list((tmp_path / "run").rglob("standard.jsonl"))


def test_a_message_that_the_terminal_cannot_write(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    done = subprocess.run(
        [*COMMAND, "run", str(tmp_path / "größe.yaml")],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "no such recipe" in done.stderr


def test_a_reader_that_goes_away(study_file: StudyFile) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    reader, writer = os.pipe()
    os.close(reader)
    command = [*COMMAND, "status", str(study_file())]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_installed_command() -> None:
    script = Path(sys.executable).with_name("tracedistill")
    if not script.exists():
        pytest.skip("the package is not installed with its command")
    done = subprocess.run([str(script), "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"tracedistill {__version__}"
