"""`engine: vllm`: the server that the program starts itself, against a stand-in; test_real_vllm.py has the real one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import tiny
from tests.conftest import ROOT
from tests.pipeline.test_offline import answered
from tests.tuned_study import tune
from tracedistill import pipeline
from tracedistill.engines import vllm
from tracedistill.errors import InputError
from tracedistill.files import read_json, read_lines
from tracedistill.pipeline.offline import take_answers, write_requests

DEPRECATED = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")
ARMS: dict[str, dict[str, Any]] = {
    "standard": {},
    "correct": {"tune": "correct"},
    "forced": {"adapter": "correct", "forced": "correct"},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model without weights: tokenizer and configuration are all that a server's client reads."""
    folder = tmp_path_factory.mktemp("model")
    tiny.tokenizer().save_pretrained(str(folder))
    words = {"vocab_size": len(tiny.tokenizer()), "eos_token_id": tiny.tokenizer().eos_token_id}
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "max_position_embeddings": 1024}
    (folder / "config.json").write_text(json.dumps(config | words | {"hidden_size": 32, "num_attention_heads": 4}))
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that can be tuned."""
    return tiny.build(tmp_path_factory.mktemp("weights"), window=1024)


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the stand-in is called."""
    monkeypatch.setenv("STAND_IN_LOG", str(tmp_path / "calls"))
    paths = f"PYTHONPATH={ROOT}{os.pathsep}{ROOT / 'src'}"
    return f"env {paths} {sys.executable} -m tests.vllm_stand_in"


def study(place: Path, model: Path, command: str, **changes: Any) -> Path:
    """A recipe whose student the stand-in serves."""
    student = {"model": str(model), "dtype": "float32", "engine": "vllm", "vllm_command": command, "concurrency": 4}
    recipe: dict[str, Any] = {
        "study": "served",
        "run_dir": str(place / "run"),
        "cache": str(place / "cache.sqlite"),
        "task": {"name": "babi", "train": 8, "validation": 4, "test": 10},
        "students": {"tiny": student | changes.pop("student", {})},
        "training": {"lora_r": 4, **changes.pop("training", {})},
        "evaluation": {"batch_size": 4, "cut_off": "allow", "parity": 4},
        "base": {"max_tokens": 60},
        "arms": ARMS,
        **changes,
    }
    path = place / "study.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False))
    return path


def calls(place: Path) -> list[str]:
    path = place / "calls"
    return path.read_text().splitlines() if path.exists() else []


def texts(loaded: pipeline.LoadedStudy, arm: str) -> list[str]:
    return [row["text"] for _, row in read_lines(loaded.study.folder / "generations" / f"{arm}.jsonl")]


def processes(word: str) -> Iterator[int]:
    """Numbers of the processes whose command line holds a word."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if word.encode() in path.read_bytes():
                yield int(path.parent.name)
        except OSError:
            continue


def test_an_arm_of_a_served_student(tmp_path: Path, model: Path, command: str) -> None:
    """StudyStart once, for both arms; the manifest names version and flags; what is answered starts no server."""
    arms = {"standard": {}, "thinks": {"prompt": "chain-of-thought"}}
    loaded = pipeline.load(study(tmp_path, model, command, arms=arms))
    pipeline.run(loaded, quiet=True)
    starts = [line.split() for line in calls(tmp_path) if line.startswith("start")]
    assert len(starts) == 1
    assert 256 <= int(starts[0][-1]) <= 1024, "room for the longest prompt, in steps of 256 tokens"
    attempts = [row for _, row in read_lines(loaded.study.folder / "attempts" / "standard.jsonl")]
    assert {row["answer"]["outcome"] for row in attempts} == {"correct"}
    manifest = read_json(loaded.study.folder / "generations" / "standard.jsonl.manifest.json")
    assert manifest["server"]["version"] == "0.32.0"
    assert manifest["server"]["command"][-2:] == ["--max-model-len", starts[0][-1]]
    assert manifest["answered_by"] == {f"{model} as vllm-0.32.0-stand-in": 10}
    assert not list(processes(str(model))), "the server is ended"
    before = calls(tmp_path)
    again = pipeline.load(loaded.recipe, [f"run_dir={tmp_path}/again"])
    pipeline.run(again, quiet=True)
    assert calls(tmp_path) == before, "all answers were in the cache"
    manifest = read_json(again.study.folder / "generations" / "standard.jsonl.manifest.json")
    assert manifest["server"] == "not started: all answers were in the cache"


@DEPRECATED
@pytest.mark.slow
def test_all_arms_of_a_student_by_one_server(tmp_path: Path, weights: Path, command: str) -> None:
    """Base, LoRA module and begun answer; the manifest names version and flags; what is answered starts no server."""
    loaded = tune(study(tmp_path, weights, command), r=4)
    pipeline.run(loaded, quiet=True)
    starts = [line for line in calls(tmp_path) if line.startswith("start")]
    assert len(starts) == 1
    assert "['correct']" in starts[0]
    assert all("Supporting facts" in text and "Answer:" in text for text in texts(loaded, "standard"))
    assert all(text.startswith("Answer:") for text in texts(loaded, "correct")), "the adapter's, not the base's"
    assert all(text.count("Answer:") == 1 and text.strip()[-1] != ":" for text in texts(loaded, "forced"))
    attempts = [row for _, row in read_lines(loaded.study.folder / "attempts" / "standard.jsonl")]
    assert {row["answer"]["outcome"] for row in attempts} == {"correct"}
    manifest = read_json(loaded.study.folder / "generations" / "correct.jsonl.manifest.json")
    assert manifest["server"]["version"] == "0.32.0"
    assert "--lora-modules" in manifest["server"]["command"]
    assert manifest["answered_by"] == {"correct as vllm-0.32.0-stand-in": 10}
    assert read_json(loaded.study.folder / "adapters" / "correct.parity.json")["why"] == (
        "vLLM serves it as a LoRA module"
    )
    assert not list(processes(str(weights))), "the server is ended"
    before = calls(tmp_path)
    again = pipeline.load(loaded.recipe, [f"run_dir={tmp_path}/again", "arms={standard: {}}"])
    pipeline.run(again, quiet=True)
    assert calls(tmp_path) == before, "all answers were in the cache"
    manifest = read_json(again.study.folder / "generations" / "standard.jsonl.manifest.json")
    assert manifest["server"] == "not started: all answers were in the cache"


@DEPRECATED
@pytest.mark.slow
def test_another_adapter_is_asked_anew(tmp_path: Path, weights: Path, command: str) -> None:
    """The same name over other weights is another key of the cache."""
    arms = {"correct": {"tune": "correct"}}
    first = tune(study(tmp_path, weights, command, arms=arms), r=4)
    pipeline.run(first, quiet=True)
    other = study(tmp_path, weights, command, arms=arms, run_dir=str(tmp_path / "other"))
    second = tune(other, r=4, init_lora_weights="gaussian")
    pipeline.run(second, quiet=True)
    assert sum(line.endswith("correct") for line in calls(tmp_path)) == 20


@DEPRECATED
@pytest.mark.slow
def test_dora_is_merged_after_the_parity_check(tmp_path: Path, weights: Path, command: str) -> None:
    arms = {"standard": {}, "correct": {"tune": "correct"}}
    recipe = study(tmp_path, weights, command, arms=arms, training={"lora_dora": True})
    loaded = tune(recipe, r=4, use_dora=True)
    parity = loaded.study.folder / "adapters" / "correct.parity.json"
    pipeline.run(loaded, quiet=True)
    assert read_json(parity)["n"] == 4, "checked, though so few attempts would not pay for it"
    starts = [line for line in calls(tmp_path) if line.startswith("start")]
    merged = (loaded.study.folder / "merged" / "correct").resolve()
    assert [line.split()[1] for line in starts] == [str(weights), str(merged)]
    assert not merged.exists(), "removed with its server"
    assert len(texts(loaded, "correct")) == 10


@DEPRECATED
@pytest.mark.slow
def test_what_may_not_be_merged_is_not_served(tmp_path: Path, weights: Path, command: str) -> None:
    evaluation = {"batch_size": 4, "cut_off": "allow", "parity": 4, "merge": "never"}
    recipe = study(
        tmp_path, weights, command, arms={"correct": {"tune": "correct"}}, training={"lora_dora": True},
        evaluation=evaluation,
    )  # fmt: skip
    loaded = tune(recipe, r=4, use_dora=True)
    with pytest.raises(InputError, match=r"DoRA is not served.*merge is never.*engine: transformers"):
        pipeline.run(loaded, quiet=True)
    assert calls(tmp_path) == []


@pytest.mark.parametrize(
    ("settings", "obstacle"),
    [
        ({"r": 4}, ""),
        ({"r": 512}, ""),
        ({"r": 513}, "its rank 513 is above the limit of 512"),
        ({"r": 4, "rank_pattern": {"q_proj": 600}}, "its rank 600 is above the limit of 512"),
        ({"r": 4, "use_dora": True}, "DoRA is not served"),
        ({"r": 4, "modules_to_save": ["embed_tokens"]}, "fully trained modules are not served"),
        ({"r": 4, "bias": "all"}, "trained biases are not served"),
        ({"r": 4, "peft_type": "LOHA"}, "it is of type LOHA, not LoRA"),
    ],
)
def test_adapters_that_vllm_refuses(tmp_path: Path, settings: dict[str, Any], obstacle: str) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", **settings}))
    assert vllm.lora_obstacle(tmp_path) == obstacle


@pytest.mark.parametrize(("ranks", "told"), [((4,), 8), ((8,), 8), ((16, 9), 16), ((300,), 320), ((512, 1), 512)])
def test_the_rank_that_vllm_is_told(tmp_path: Path, ranks: tuple[int, ...], told: int) -> None:
    adapters = {}
    for number, rank in enumerate(ranks):
        adapters[str(number)] = tmp_path / str(number)
        adapters[str(number)].mkdir()
        (adapters[str(number)] / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": rank}))
    assert vllm.VllmSettings("m", "auto", adapters=adapters).max_rank() == told


def test_a_server_that_dies_is_resumed_where_it_was(
    tmp_path: Path, model: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = study(tmp_path, model, command, arms={"standard": {}}, student={"concurrency": 1})
    monkeypatch.setenv("STAND_IN_DIES_AFTER", "6")
    with pytest.raises(InputError, match=r"vLLM ended with exit code 1 \(RuntimeError: EngineCore died.*same command"):
        pipeline.run(pipeline.load(recipe), quiet=True)
    answered_before = sum("completions" in line for line in calls(tmp_path))
    assert answered_before == 6
    monkeypatch.delenv("STAND_IN_DIES_AFTER")
    loaded = pipeline.load(recipe)
    pipeline.run(loaded, quiet=True)
    assert sum("completions" in line for line in calls(tmp_path)) == 10, "what was answered is not asked again"
    assert len(texts(loaded, "standard")) == 10


@pytest.mark.parametrize(
    ("student", "message"),
    [
        ({"vllm_command": "/no/such/vllm"}, "/no/such/vllm: no such program"),
        ({"vllm_args": ["--no-such-flag"]}, "vLLM ended with exit code 2 .*unrecognized arguments: --no-such-flag"),
    ],
)
def test_a_server_that_does_not_start(
    tmp_path: Path, model: Path, command: str, student: dict[str, Any], message: str
) -> None:
    recipe = study(tmp_path, model, command, arms={"standard": {}}, student=student)
    with pytest.raises(InputError, match=message):
        pipeline.run(pipeline.load(recipe), quiet=True)


def test_its_log_cannot_hold_a_teachers_key(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-kept-out-of-logs")
    script = tmp_path / "vllm"
    script.write_text("#!/bin/sh\nenv\nexit 1\n", encoding="utf-8")
    script.chmod(0o755)
    recipe = study(tmp_path, model, str(script), arms={"standard": {}})
    with pytest.raises(InputError, match="vLLM ended with exit code 1"):
        pipeline.run(pipeline.load(recipe), quiet=True)
    (log,) = (tmp_path / "run" / "logs").iterdir()
    assert "PATH=" in log.read_text(encoding="utf-8")
    assert "sk-kept" not in log.read_text(encoding="utf-8")


def test_no_vllm_at_all(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(vllm.shutil, "which", lambda _: None)
    monkeypatch.setattr(vllm.sys, "executable", str(tmp_path / "python"))
    recipe = study(tmp_path, model, "", arms={"standard": {}})
    with pytest.raises(InputError, match=r"vLLM is not installed here.*tracedistill requests"):
        pipeline.run(pipeline.load(recipe))
    assert "note: answers that are not in the cache will be missing" in " ".join(capsys.readouterr().out.split())


def test_the_server_ends_with_a_program_that_is_killed(tmp_path: Path, model: Path, command: str) -> None:
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom tracedistill.engines.vllm import VllmServer, VllmSettings\n"
        f"settings = VllmSettings({str(model)!r}, 'float32', command={command!r})\n"
        f"server = VllmServer(settings, Path({str(tmp_path / 'log')!r}))\n"
        "server.wait()\nprint(server.url, flush=True)\ntime.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment) as program:
        assert program.stdout is not None
        assert program.stdout.readline().startswith(b"http://127.0.0.1:")
        assert list(processes(str(model)))
        program.send_signal(signal.SIGKILL)
        program.wait()
    deadline = time.monotonic() + 30
    while list(processes("tests.vllm_stand_in")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not list(processes(str(model)))


def test_a_teacher_that_vllm_serves(tmp_path: Path, model: Path, command: str) -> None:
    teachers = {
        "planner": {"kind": "model", "model": str(model), "engine": "vllm", "vllm_command": command, "max_tokens": 40}
    }
    students = {"solver": {"model": "scripted:tests.scripts:solver"}}
    recipe = study(
        tmp_path, model, command, teachers=teachers, students=students, arms={"planned": {"prompt": "trace-of-thought"}}
    )
    loaded = pipeline.load(recipe)
    pipeline.run(loaded, "teach", quiet=True)
    traces = [row for _, row in read_lines(loaded.study.folder / "traces" / "planner.jsonl")]
    assert len(traces) == 10
    assert sum(line.startswith("/v1/chat/completions") for line in calls(tmp_path)) == 10
    assert not list(processes(str(model)))


@DEPRECATED
@pytest.mark.slow
def test_a_students_requests_as_files(tmp_path: Path, weights: Path, command: str) -> None:
    """Chat completions of the same prompts, the adapter as their model, and the flags that `vllm run-batch` needs."""
    loaded = tune(study(tmp_path, weights, command), r=4)
    found = write_requests(loaded, tmp_path / "requests", 1, quiet=True)
    assert {name: group.requests for name, group in found.groups.items()} == {
        "students.tiny": 10, "students.tiny.correct": 20
    }  # fmt: skip
    group = found.groups["students.tiny.correct"]
    names = [f"students.tiny{adapter}.0.jsonl" for adapter in ("", ".correct")]
    base, lines = ([row for _, row in read_lines(tmp_path / "requests" / name)] for name in names)
    assert {line["body"]["model"] for line in base} == {str(weights)}
    assert {line["body"]["model"] for line in lines} == {"correct"}, "in files of their own"
    assert sum(line["body"].get("continue_final_message", False) for line in lines) == 10
    flags = " ".join(group.flags)
    assert "--enable-lora" in flags
    assert f"--chat-template {tmp_path / 'requests' / 'students.tiny.correct.jinja'}" in flags
    files = answered([tmp_path / "requests" / name for name in names], str(weights), "correct")
    taken = take_answers(loaded, files, quiet=True)
    assert {"generate:standard", "generate:correct", "generate:forced"} <= set(taken.made)
    pipeline.run(loaded, quiet=True)
    assert calls(tmp_path) == [], "no server was started"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"student": {"base_url": "http://127.0.0.1:9/v1"}}, "a running server is used through its base_url"),
        ({"student": {"model": "scripted:tests.scripts:solver"}}, "vllm is for a model"),
        ({"student": {"quantization": "nf4"}}, "4-bit weights"),
        ({"student": {"engine": "transformers"}}, "vllm_command and vllm_args are for engine: vllm"),
        ({"student": {"engine": "sglang"}}, "engine"),
    ],
)
def test_recipes_that_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    recipe = study(tmp_path, Path("model"), "vllm", arms={"standard": {}}, **changes)
    with pytest.raises(InputError, match=message):
        pipeline.load(recipe)


@DEPRECATED
@pytest.mark.slow
def test_flags_of_speed_make_nothing_stale(tmp_path: Path, weights: Path, command: str) -> None:
    loaded = tune(study(tmp_path, weights, command, arms={"correct": {"tune": "correct"}}), r=4)
    pipeline.run(loaded, quiet=True)
    faster = pipeline.load(loaded.recipe, ['students.tiny.vllm_args=["--data-parallel-size", "2"]'])
    assert {state.kind for node, state in pipeline.status(faster) if node.name.startswith("generate:")} == {"complete"}
    other = pipeline.load(loaded.recipe, ['students.tiny.vllm_args=["--quantization", "fp8"]'])
    kinds = {node.name: state.kind for node, state in pipeline.status(other)}
    assert (kinds["train:correct"], kinds["generate:correct"]) == ("complete", "stale")


@DEPRECATED
@pytest.mark.slow
def test_both_engines_are_compared_and_the_report_says_so(
    tmp_path: Path, weights: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The stand-in writes solutions, random weights do not: every text differs."""
    from tracedistill.cli import main

    loaded = tune(study(tmp_path, weights, command), r=4)
    pipeline.run(loaded, quiet=True)
    assert main(["evaluate", str(loaded.recipe), "--check-engine", "6"]) == 0
    assert "texts that differ" in capsys.readouterr().out
    found = read_json(loaded.study.folder / "engine_check.json")["arms"]
    assert {(arm, line["n"], line["texts_changed"]) for arm, line in found.items()} == {(arm, 6, 6) for arm in ARMS}
    assert found["standard"]["verdicts_changed"] > 0
    assert sum(line.startswith("start") for line in calls(tmp_path)) == 1, "its answers were in the cache"
    pipeline.run(loaded, quiet=True)
    page = (loaded.study.folder / "report.md").read_text()
    assert "vLLM against transformers" in page
    assert not list(processes(str(weights)))


def test_a_check_without_vllm_is_refused(tmp_path: Path, study_file: Any) -> None:
    with pytest.raises(InputError, match="no student of this study has engine: vllm"):
        pipeline.check_engine(pipeline.load(study_file()), 3, quiet=True)
