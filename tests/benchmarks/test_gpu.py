"""The GPU hour: what its driver does with steps that fail, hang or lack something; and the whole of it, rehearsed."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def hour(monkeypatch):
    """The modules gpu and gpu_steps, found as a run of the script finds them."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import gpu
    import gpu_steps

    return gpu, gpu_steps


def step(gpu_steps, code: str, **changes):
    """A step that runs this Python code."""
    made = gpu_steps.Step("one", "?", 60, lambda _: [sys.executable, "-c", code], gpu_steps.last_json("one"))
    return replace(made, **changes)


def test_the_last_json_line_of_a_step_is_what_it_found(hour, tmp_path):
    gpu, gpu_steps = hour
    code = "print('loading'); print('{\"speed\": 3, \"settings\": {\"rows\": 1}}'); print('bye')"
    found = gpu.run_step(step(gpu_steps, code), gpu_steps.Place(tmp_path, True, "x"), 60)
    assert (found.status, found.figures) == ("done", {"speed": 3})
    assert "loading" in (tmp_path / "one.log").read_text()


CASES = {
    "raises": ("print('{\"speed\": 3}'); raise SystemExit('out of memory')", "failed", "out of memory"),
    "finds nothing": ("print('done')", "failed", "its log ends in no line of JSON"),
    "finds nothing and raises": ("raise SystemExit('no such GPU')", "failed", "no such GPU"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_failed_step_says_why(hour, tmp_path, name):
    gpu, gpu_steps = hour
    code, status, why = CASES[name]
    found = gpu.run_step(step(gpu_steps, code), gpu_steps.Place(tmp_path, True, "x"), 60)
    assert found.status == status
    assert why in found.why


def test_a_step_that_hangs_is_ended_with_the_processes_that_it_began(hour, tmp_path, monkeypatch):
    gpu, gpu_steps = hour
    monkeypatch.setattr(gpu, "SPARE", 0.0)
    noted = tmp_path / "child"
    code = (
        "import subprocess, sys, time, pathlib\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"pathlib.Path({str(noted)!r}).write_text(str(child.pid)); print('began', flush=True); time.sleep(600)"
    )
    hanging = step(gpu_steps, code)
    seconds = 1.0
    while not noted.exists():  # a busy machine may need more than a second to begin
        found = gpu.run_step(hanging, gpu_steps.Place(tmp_path, True, "x"), seconds)
        seconds *= 2
    assert (found.status, found.why) == ("out of time", "began")
    for _ in range(600):  # whoever inherits the child buries it, soon
        if not alive(int(noted.read_text())):
            return
        time.sleep(0.1)
    pytest.fail("the child lives")


def alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be buried does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


SKIPPED = {
    "package": ({"package": "no_such_package"}, 60, "no_such_package is not installed"),
    "recipe": ({"recipe": "no-such-recipe"}, 60, "recipes/no-such-recipe is not there"),
    "gpu": ({"gpu_alone": True}, 60, "cannot be rehearsed without a GPU"),
    "time": ({}, 1, "no time was left"),
}


@pytest.mark.parametrize("name", SKIPPED)
def test_a_step_that_cannot_run_is_skipped_with_the_reason(hour, tmp_path, name):
    gpu, gpu_steps = hour
    changes, seconds, why = SKIPPED[name]
    found = gpu.run_step(step(gpu_steps, "print('{}')", **changes), gpu_steps.Place(tmp_path, True, "x"), seconds)
    assert (found.status, found.why) == ("skipped", why)


def test_a_second_call_goes_on_behind_what_is_done(hour, tmp_path, monkeypatch, capsys):
    gpu, gpu_steps = hour
    (tmp_path / "broken").touch()
    good = step(gpu_steps, "print('{\"speed\": 3}')")
    code = f"import pathlib; assert not pathlib.Path({str(tmp_path / 'broken')!r}).exists(); print('{{\"memory\": 4}}')"
    second = replace(step(gpu_steps, code), name="two", read=gpu_steps.last_json("two"))
    monkeypatch.setattr(gpu, "HOUR", (good, second))
    monkeypatch.setattr(gpu, "random_student", lambda _, folder: str(folder))
    monkeypatch.setattr(sys, "argv", ["gpu.py", str(tmp_path), "--rehearse"])
    assert gpu.main() == 1
    (tmp_path / "broken").unlink()
    assert gpu.main() == 0
    lines = [json.loads(line) for line in (tmp_path / "steps.jsonl").read_text().splitlines()]
    assert [(line["step"], line["status"]) for line in lines] == [("one", "done"), ("two", "failed"), ("two", "done")]
    table = (tmp_path / "table.md").read_text()
    assert "| speed | 3 |" in table
    assert "| memory | 4 |" in table
    assert "no figure here means anything" in table
    assert table.strip() in capsys.readouterr().out


def test_the_hour_fits_its_25_minutes(hour):
    _, gpu_steps = hour
    assert sum(each.limit for each in gpu_steps.HOUR) <= 25 * 60
    assert len({each.name for each in gpu_steps.HOUR}) == len(gpu_steps.HOUR)


NAMES = ["seen", "study", "training-135m", "training-1b", "generation", "one-gpu", "fsdp2", "zero3", "ways"]


def test_every_step_is_rehearsed(hour):
    _, gpu_steps = hour
    assert [each.name for each in gpu_steps.HOUR] == NAMES


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("hour")


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_step_rehearsed(out, name):
    """Its command on tiny students; all of them take two minutes on two idle cores."""
    command = [sys.executable, str(BENCHMARKS / "gpu.py"), str(out), "--rehearse", "--steps", name]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    line = json.loads(finished.stdout.splitlines()[0])
    assert finished.returncode == 0, f"{line}\n{finished.stderr[-2000:]}"
    if line["status"] == "skipped":
        assert name in ("zero3", "ways"), line["why"]
    else:
        assert line["figures"]
    if name.startswith("training"):
        assert line["figures"]["best_tokens_per_second"] > 0
    if name == "fsdp2":
        assert line["figures"]["largest difference of a step's loss from one-gpu"] == 0
