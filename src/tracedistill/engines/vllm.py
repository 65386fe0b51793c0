"""A vLLM server that this program starts, waits for and ends: its command, its adapters, its health.

Seen with vLLM 0.32.0. An adapter is served as a LoRA module beside the base model where vLLM can; `lora_obstacle` says
why it cannot.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tracedistill.engines import keeper
from tracedistill.engines.words import one_line
from tracedistill.errors import InputError
from tracedistill.files import read_json

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM takes as `--max-lora-rank`."""
START = 1800.0
"""Seconds that a server may take until it is healthy: weights of 70 billion parameters take minutes to load."""
SPEED_ONLY = frozenset(
    {
        "--data-parallel-size", "-dp", "--tensor-parallel-size", "-tp", "--pipeline-parallel-size", "-pp",
        "--gpu-memory-utilization", "--max-num-seqs", "--max-num-batched-tokens", "--enforce-eager", "--swap-space",
        "--cpu-offload-gb", "--disable-log-stats", "--max-model-len", "--api-server-count",
    }
)  # fmt: skip
"""Flags that change how fast answers come, not what they are meant to be."""
ABSENT = (
    "engine: vllm, and there is no vllm here. Install it (best in an environment of its own, named by vllm_command: "
    "/path/to/env/bin/vllm), take engine: transformers, or have the answers made elsewhere: tracedistill requests"
)
_TAIL = 40
"""Last lines of the log that are searched for the cause of an end."""


@dataclass(frozen=True, slots=True)
class Load:
    """Settings that a server is started with."""

    model: str
    """A folder or a hub id."""
    dtype: str
    """float32, bfloat16 or auto."""
    revision: str | None = None
    """Of a hub id."""
    adapters: Mapping[str, Path] = field(default_factory=dict)
    """Name -> LoRA adapter."""
    max_length: int | None = None
    """Tokens of the longest prompt and its answer; None: what the model has."""
    command: str = ""
    """How vLLM is called; empty: `vllm` on the path or beside this Python."""
    args: tuple[str, ...] = ()
    """Further flags."""

    def arguments(self) -> list[str]:
        """Return the flags that decide what is served, for `vllm serve` and `vllm run-batch` alike."""
        found = ["--dtype", self.dtype, "--generation-config", "vllm"]  # else it draws as generation_config.json says
        if self.revision:
            found += ["--revision", self.revision]
        if self.max_length is not None and not any(item.partition("=")[0] == "--max-model-len" for item in self.args):
            found += ["--max-model-len", str(self.max_length)]
        if self.adapters:
            modules = [f"{name}={path}" for name, path in self.adapters.items()]
            found += ["--enable-lora", "--max-loras", "1", "--max-lora-rank", str(self.max_rank())]
            found += ["--max-cpu-loras", str(len(modules)), "--lora-modules", *modules]
        return [*found, *self.args]

    def max_rank(self) -> int:
        """Return the smallest rank that vLLM may be told and that holds all adapters."""
        ranks = [rank_of(path) for path in self.adapters.values()]
        return next(rank for rank in RANKS if rank >= max(ranks))

    def covers(self, other: Load) -> bool:
        """Return whether a server that was started with this serves what the other wants."""
        mine = (self.model, self.dtype, self.revision, self.command, self.args)
        return (
            mine == (other.model, other.dtype, other.revision, other.command, other.args)
            and all(self.adapters.get(name) == path for name, path in other.adapters.items())
            and (self.max_length is None or (other.max_length is not None and self.max_length >= other.max_length))
        )


def shaping(args: Sequence[str]) -> list[str]:
    """Return the flags that may change what is answered; values of speed flags go with them."""
    found: list[str] = []
    skipping = False
    for item in args:
        name = item.partition("=")[0]
        if item.startswith("-"):
            skipping = name in SPEED_ONLY
        if not skipping:
            found.append(item)
    return found


def rank_of(adapter: Path) -> int:
    """Return an adapter's largest rank."""
    config = read_json(adapter / "adapter_config.json")
    patterns = config.get("rank_pattern") or {}
    return max([int(config["r"]), *(int(rank) for rank in patterns.values())])


def lora_obstacle(adapter: Path) -> str:
    """Return why vLLM does not serve an adapter as a LoRA module; empty if it does."""
    config = read_json(adapter / "adapter_config.json")
    if config.get("peft_type") != "LORA":
        return f"it is of type {config.get('peft_type')}, not LoRA"
    if config.get("use_dora"):
        return "DoRA is not served"
    if config.get("modules_to_save"):
        return "modules that were trained whole are not served"
    if config.get("bias", "none") != "none" or config.get("lora_bias"):
        return "trained biases are not served"
    rank = rank_of(adapter)
    return f"its rank {rank} is above the limit of {RANKS[-1]}" if rank > RANKS[-1] else ""


def find(command: str = "") -> list[str]:
    """Return how vLLM is called on this machine. Raises InputError if it is not here."""
    if command:
        try:
            words = shlex.split(command)
        except ValueError as error:
            raise InputError(f"vllm_command: {error}") from error
        if not words or shutil.which(words[0]) is None:
            raise InputError(f"vllm_command: {words[0] if words else 'empty'}: no such program")
        return words
    beside = Path(sys.executable).with_name("vllm")
    found = shutil.which("vllm") or (str(beside) if beside.is_file() else None)
    if found is None:
        raise InputError(ABSENT)
    return [found]


class Server:
    """One server, started and kept by a process that ends it with this one."""

    def __init__(self, load: Load, log: Path) -> None:
        """Start it. Raises InputError if there is no vLLM here."""
        self.load, self.log = load, log
        self.version = ""
        """As it says itself."""
        self.seconds = 0.0
        """Until it was healthy."""
        self._cancelled = threading.Event()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = int(free.getsockname()[1])
        where = ["--host", "127.0.0.1", "--port", str(self._port)]
        self.command = [*find(load.command), "serve", load.model, *where, *load.arguments()]
        log.parent.mkdir(parents=True, exist_ok=True)
        # Its log is kept: no key of a teacher belongs there, and with VLLM_API_KEY it would ask for one.
        environment = {
            name: value
            for name, value in os.environ.items()
            if name not in ("PYTHONPATH", "PYTHONHOME") and not name.upper().endswith("API_KEY")
        }
        environment.setdefault("VLLM_NO_USAGE_STATS", "1")
        kept = [sys.executable, "-I", keeper.__file__, *self.command]
        with log.open("wb") as stream:
            self._process = subprocess.Popen(  # noqa: S603 - the user's own vLLM
                kept, stdin=subprocess.PIPE, stdout=stream, stderr=stream, start_new_session=True, env=environment
            )
        self._started = time.monotonic()

    def wait(self) -> None:
        """Wait until it is healthy. Raises InputError if it ends before, takes too long, or lacks a model."""
        while True:
            code = self._process.poll()
            if code is not None:
                raise InputError(self._ended(code))
            try:
                self._get("/health")
                break
            except (OSError, ValueError):
                if time.monotonic() > self._started + START:
                    raise InputError(f"vLLM was not healthy after {START:.0f} s; its log is {self.log}") from None
                if self._cancelled.wait(0.2):
                    raise InputError("the start of vLLM was interrupted") from None
        self._check_models()
        self.version = str(self._get("/version").get("version", "unknown"))
        self.seconds = time.monotonic() - self._started

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self._port}/v1"

    def fault(self) -> str:
        """Return why it is no longer there; empty while it runs."""
        code = self._process.poll()
        return "" if code is None else self._ended(code)

    def cancel(self) -> None:
        """Give up waiting for its start."""
        self._cancelled.set()

    def stop(self) -> None:
        """End it and all that it has started."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def facts(self) -> dict[str, Any]:
        """Return what a manifest says of it."""
        return {"version": self.version, "command": self.command, "start_seconds": round(self.seconds, 1)}

    def _check_models(self) -> None:
        served = {str(model.get("id")) for model in self._get("/v1/models").get("data", [])}
        missing = sorted({self.load.model, *self.load.adapters} - served)
        if missing:
            raise InputError(f"vLLM is up and does not serve {', '.join(missing)}; its log is {self.log}")

    def _get(self, path: str) -> dict[str, Any]:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy stands before loopback
        with opener.open(f"http://127.0.0.1:{self._port}{path}", timeout=10) as reply:
            text = reply.read(1 << 20)
        found = json.loads(text) if text else {}
        return found if isinstance(found, dict) else {}

    def _ended(self, code: int) -> str:
        number = code - 128 if code > 128 else -code
        how = f"with exit code {code}" if 0 <= code <= 128 else f"by signal {number}"
        cause = self._cause()
        return (
            f"vLLM ended {how}{f' ({cause})' if cause else ''}; its log is {self.log}. Answers so far are kept: run "
            "the same command to continue"
        )

    def _cause(self) -> str:
        """Return the last line of the log that names an error."""
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL:]
        except OSError:
            return ""
        named = [line for line in lines if "Error" in line or "error:" in line]
        return one_line((named or lines or [""])[-1], 300)
