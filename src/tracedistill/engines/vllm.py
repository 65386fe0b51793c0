"""A vLLM server that this program starts, waits for and ends: its command, its adapters, its health.

Written for vLLM 0.32.0. An adapter is served as a LoRA module of the base model if vLLM supports it; `lora_obstacle`
returns why not.
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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tracedistill.engines import supervisor
from tracedistill.engines.error_messages import one_line
from tracedistill.errors import InputError
from tracedistill.files import read_json

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""Values that vLLM accepts as `--max-lora-rank`."""
START_SECONDS = 1800.0
"""Longest time until a server is healthy: weights of 70 billion parameters take minutes to load."""
SPEED_ONLY = frozenset(
    {
        "--data-parallel-size", "-dp", "--tensor-parallel-size", "-tp", "--pipeline-parallel-size", "-pp",
        "--gpu-memory-utilization", "--max-num-seqs", "--max-num-batched-tokens", "--enforce-eager", "--swap-space",
        "--cpu-offload-gb", "--disable-log-stats", "--max-model-len", "--api-server-count",
    }
)  # fmt: skip
"""Flags that change the speed of answers, not their content."""
NOT_INSTALLED = (
    "engine: vllm, but vLLM is not installed here. Install it (best in its own environment, named by vllm_command: "
    "/path/to/env/bin/vllm), set engine: transformers, or get the answers elsewhere: tracedistill requests"
)
_TAIL = 40
"""Last lines of the log that are searched for the cause of an end."""


@dataclass(frozen=True, slots=True)
class VllmSettings:
    """Settings that a server is started with."""

    model: str
    """A folder or a hub id."""
    dtype: str
    """float32, bfloat16 or auto."""
    revision: str | None = None
    """Revision of a hub id."""
    adapters: Mapping[str, Path] = field(default_factory=dict)
    """Name -> LoRA adapter."""
    max_length: int | None = None
    """Tokens of the longest prompt with its answer; None: the model's own limit."""
    command: str = ""
    """Command that runs vLLM; empty: `vllm` on the path or beside this Python."""
    args: tuple[str, ...] = ()
    """Further flags."""

    def arguments(self) -> list[str]:
        """Return the flags that decide what is served, for `vllm serve` and `vllm run-batch` alike."""
        # else it samples as the model's generation_config.json says
        flags = ["--dtype", self.dtype, "--generation-config", "vllm"]
        if self.revision:
            flags += ["--revision", self.revision]
        if self.max_length is not None and not any(item.partition("=")[0] == "--max-model-len" for item in self.args):
            flags += ["--max-model-len", str(self.max_length)]
        if self.adapters:
            modules = [f"{name}={path}" for name, path in self.adapters.items()]
            flags += ["--enable-lora", "--max-loras", "1", "--max-lora-rank", str(self.max_rank())]
            flags += ["--max-cpu-loras", str(len(modules)), "--lora-modules", *modules]
        return [*flags, *self.args]

    def max_rank(self) -> int:
        """Return the smallest rank that vLLM accepts and that holds all adapters."""
        largest = max(rank_of(path) for path in self.adapters.values())
        return next(rank for rank in RANKS if rank >= largest)

    def covers(self, other: VllmSettings) -> bool:
        """Return whether a server started with these settings also serves the other ones."""
        same = replace(self, adapters={}, max_length=None) == replace(other, adapters={}, max_length=None)
        fits = self.max_length is None or (other.max_length is not None and self.max_length >= other.max_length)
        return same and fits and all(self.adapters.get(name) == path for name, path in other.adapters.items())


def output_flags(args: Sequence[str]) -> list[str]:
    """Return the flags that may change what is answered, without the flags of speed and their values."""
    kept: list[str] = []
    skipping = False
    for item in args:
        if item.startswith("-"):
            skipping = item.partition("=")[0] in SPEED_ONLY
        if not skipping:
            kept.append(item)
    return kept


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
        return "fully trained modules are not served"
    if config.get("bias", "none") != "none" or config.get("lora_bias"):
        return "trained biases are not served"
    rank = rank_of(adapter)
    return f"its rank {rank} is above the limit of {RANKS[-1]}" if rank > RANKS[-1] else ""


def vllm_program(command: str = "") -> list[str]:
    """Return the words of the command that runs vLLM on this machine. Raises InputError if it is missing."""
    if command:
        try:
            words = shlex.split(command)
        except ValueError as error:
            raise InputError(f"vllm_command: {error}") from error
        if not words or shutil.which(words[0]) is None:
            raise InputError(f"vllm_command: {words[0] if words else 'empty'}: no such program")
        return words
    beside = Path(sys.executable).with_name("vllm")
    program = shutil.which("vllm") or (str(beside) if beside.is_file() else None)
    if program is None:
        raise InputError(NOT_INSTALLED)
    return [program]


class VllmServer:
    """One server, started by a supervisor process that ends it when this process ends."""

    def __init__(self, settings: VllmSettings, log: Path) -> None:
        """Start the server. Raises InputError if vLLM is not installed."""
        self.settings, self.log = settings, log
        self.version = ""
        """Version that the server reports."""
        self.seconds = 0.0
        """Seconds from its start until it was healthy."""
        self._cancelled = threading.Event()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = int(free.getsockname()[1])
        address = ["--host", "127.0.0.1", "--port", str(self._port)]
        self.command = [*vllm_program(settings.command), "serve", settings.model, *address, *settings.arguments()]
        log.parent.mkdir(parents=True, exist_ok=True)
        # no teacher's key may reach the log, and with VLLM_API_KEY the server would require one
        environment = {
            name: value
            for name, value in os.environ.items()
            if name not in ("PYTHONPATH", "PYTHONHOME") and not name.upper().endswith("API_KEY")
        }
        environment.setdefault("VLLM_NO_USAGE_STATS", "1")
        supervised = [sys.executable, "-I", supervisor.__file__, *self.command]
        with log.open("wb") as stream:
            self._process = subprocess.Popen(  # noqa: S603 - the user's own vLLM
                supervised, stdin=subprocess.PIPE, stdout=stream, stderr=stream, start_new_session=True, env=environment
            )
        self._started = time.monotonic()

    def wait(self) -> None:
        """Wait until it is healthy. Raises InputError if it ends before, takes too long, or lacks a model."""
        while True:
            if fault := self.fault():
                raise InputError(fault)
            try:
                self._get("/health")
                break
            except (OSError, ValueError):
                if time.monotonic() > self._started + START_SECONDS:
                    raise InputError(f"vLLM was not healthy after {START_SECONDS:.0f} s; see {self.log}") from None
                if self._cancelled.wait(0.2):
                    raise InputError("the start of vLLM was interrupted") from None
        served = {str(model.get("id")) for model in self._get("/v1/models").get("data", [])}
        if missing := sorted({self.settings.model, *self.settings.adapters} - served):
            raise InputError(f"vLLM is running but does not serve {', '.join(missing)}; see {self.log}")
        self.version = str(self._get("/version").get("version", "unknown"))
        self.seconds = time.monotonic() - self._started

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self._port}/v1"

    def fault(self) -> str:
        """Return how and why it ended; empty while it runs."""
        code = self._process.poll()
        if code is None:
            return ""
        how = f"with exit code {code}" if 0 <= code <= 128 else f"by signal {code - 128 if code > 128 else -code}"
        cause = self._last_error()
        return (
            f"vLLM ended {how}{f' ({cause})' if cause else ''}; its log is {self.log}. Answers so far are kept: run "
            "the same command to continue"
        )

    def cancel(self) -> None:
        """Stop waiting for its start."""
        self._cancelled.set()

    def stop(self) -> None:
        """End it and all its children."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def facts(self) -> dict[str, Any]:
        """Return the manifest's facts on the server."""
        return {"version": self.version, "command": self.command, "start_seconds": round(self.seconds, 1)}

    def _get(self, path: str) -> dict[str, Any]:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy for loopback
        with opener.open(f"http://127.0.0.1:{self._port}{path}", timeout=10) as reply:
            text = reply.read(1 << 20)
        body = json.loads(text) if text else {}
        return body if isinstance(body, dict) else {}

    def _last_error(self) -> str:
        """Return the last line of the log that names an error."""
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL:]
        except OSError:
            return ""
        errors = [line for line in lines if "Error" in line or "error:" in line]
        return one_line((errors or lines or [""])[-1], 300)


class VllmHost:
    """Runs at most one server at a time, since each takes all free memory of the device."""

    def __init__(self, logs: Path, say: Callable[[str], None], make_room: Callable[[], None]) -> None:
        """Prepare to serve. `logs`: folder of the logs; `make_room` frees this process's memory on the device."""
        self._logs, self._say, self._make_room = logs, say, make_room
        self._server: VllmServer | None = None
        self._weights: Path | None = None

    def ensure(self, name: str, settings: VllmSettings, prepare: Callable[[], Path | None]) -> VllmServer:
        """Return a healthy server with these settings: the running one if it covers them, else a new one.

        `name`: name of the log. `prepare` is called before a new server starts and may return a folder to delete when
        that server ends. Raises InputError if the server cannot be started.
        """
        if self._server is not None and (self._server.fault() or not self._server.settings.covers(settings)):
            self.stop()
        if self._server is None:
            self._make_room()
            self._weights = prepare()
            self._server = VllmServer(settings, self._logs / f"{name}.vllm.log")
            self._say(f"  {shlex.join(self._server.command)} (log: {self._server.log})")
            try:
                self._server.wait()
            except BaseException:
                self.stop()
                raise
            self._say(f"  vLLM {self._server.version} is up after {self._server.seconds:.0f} s")
        return self._server

    def fault(self) -> str:
        """Return how and why the server ended; empty while it runs or if none was started."""
        return "" if self._server is None else self._server.fault()

    def cancel(self) -> None:
        """Stop waiting for a server's start."""
        if self._server is not None:
            self._server.cancel()

    def stop(self) -> None:
        """End the running server, if any."""
        if self._server is not None:
            server, self._server = self._server, None
            server.stop()
        if self._weights is not None:
            shutil.rmtree(self._weights, ignore_errors=True)
            self._weights = None


@dataclass
class ServedModel:
    """One model of a host: the settings to serve it with, and its address once it is served."""

    name: str
    """Name of its log."""
    host: VllmHost
    """Runs its server."""
    settings: Callable[[], VllmSettings]
    """Returns the settings at the time of the start."""
    prepare: Callable[[], Path | None] = lambda: None
    """See `VllmHost.ensure`."""
    max_length: int | None = None
    """Tokens of the longest prompt with its answer; None: unknown."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Version and command of the server, for the manifest; empty if all answers were in the cache."""

    def url(self) -> str:
        """Return the server's base URL; start it first if it does not run. Raises InputError if that fails."""
        server = self.host.ensure(self.name, self._settings(), self.prepare)
        self.facts = server.facts()
        return server.url

    def arguments(self) -> tuple[str, list[str]]:
        """Return the model and the flags that `vllm run-batch` needs for the same answers."""
        settings = self._settings()
        return settings.model, settings.arguments()

    def _settings(self) -> VllmSettings:
        return replace(self.settings(), max_length=self.max_length)
