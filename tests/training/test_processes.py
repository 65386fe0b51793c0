"""Two processes train what one trains: same steps, same losses, same adapter."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

ROOT = Path(__file__).parents[2]
# MULTI_GPU with use_cpu in the script is what makes two CPU processes; MULTI_CPU silently runs one
CONFIG = """\
compute_environment: LOCAL_MACHINE
distributed_type: MULTI_GPU
num_machines: 1
num_processes: 2
machine_rank: 0
mixed_precision: "no"
main_process_port: {port}
"""


def launch(folder: Path, processes: int, *more: str) -> tuple[list[float], dict[str, torch.Tensor]]:
    folder.mkdir(exist_ok=True)
    command = [sys.executable]
    if processes == 2:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        config = folder / "two.yaml"
        config.write_text(CONFIG.format(port=port))
        command += ["-m", "accelerate.commands.launch", "--config_file", str(config)]
    command += [str(Path(__file__).with_name("two_processes.py")), str(folder), str(processes), *more]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "losses.json").read_text()), load_file(folder / "adapter.safetensors")


@pytest.mark.slow
def test_two_processes_train_what_one_trains_and_resume(tmp_path: Path) -> None:
    one, adapter_of_one = launch(tmp_path / "one", 1)
    two, adapter_of_two = launch(tmp_path / "two", 2)
    assert len(one) == 6
    assert two == pytest.approx(one, rel=1e-4)
    torch.testing.assert_close(adapter_of_two, adapter_of_one, rtol=1e-3, atol=3e-4)
    # checkpoint 4 lies in the middle of the second epoch
    resumed, adapter_resumed = launch(tmp_path / "two", 2, "resume")
    assert resumed == pytest.approx(two, rel=1e-6)
    torch.testing.assert_close(adapter_resumed, adapter_of_two, rtol=1e-6, atol=1e-7)
