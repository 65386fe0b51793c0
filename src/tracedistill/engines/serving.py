"""The vLLM server at work: one at a time, started when an answer is lacking, ended when another's turn comes."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tracedistill.engines.vllm import Load, Server


class Serving:
    """The server at work, of which there is one at most: each takes what memory the device has."""

    def __init__(self, logs: Path, say: Callable[[str], None], make_room: Callable[[], None]) -> None:
        """Prepare to serve. `logs`: the folder of logs. `make_room` frees what this process has on the device."""
        self._logs, self._say, self._make_room = logs, say, make_room
        self._server: Server | None = None
        self._weights: Path | None = None

    def ensure(self, name: str, load: Load, prepare: Callable[[], Path | None]) -> Server:
        """Return a server with this load: the one at work if it covers it, else a new one. Raises InputError.

        `prepare` is called before a new one is started; a folder that it returns is removed when that one ends.
        """
        if self._server is not None and not (self._server.load.covers(load) and not self._server.fault()):
            self.stop()
        if self._server is None:
            self._make_room()
            self._weights = prepare()
            self._server = Server(load, self._logs / f"{name}.vllm.log")
            self._say(f"  {shlex.join(self._server.command)} (log: {self._server.log})")
            try:
                self._server.wait()
            except BaseException:
                self.stop()
                raise
            self._say(f"  vLLM {self._server.version} is up after {self._server.seconds:.0f} s")
        return self._server

    def fault(self) -> str:
        """Return why the server is no longer there; empty while it runs or none was started."""
        return "" if self._server is None else self._server.fault()

    def cancel(self) -> None:
        """Give up a start that is under way."""
        if self._server is not None:
            self._server.cancel()

    def stop(self) -> None:
        """End the server at work, if there is one."""
        if self._server is not None:
            server, self._server = self._server, None
            server.stop()
        if self._weights is not None:
            shutil.rmtree(self._weights, ignore_errors=True)
            self._weights = None


@dataclass
class Served:
    """One model for one engine: knows what its server is to be started with, and starts it when it is asked for."""

    name: str
    """For the log's name."""
    serving: Serving
    """Where it runs."""
    load: Callable[[], Load]
    """What it is started with."""
    prepare: Callable[[], Path | None] = lambda: None
    """What has to be done before that."""
    max_length: int | None = None
    """Tokens of the longest prompt and answer to come; None: not known."""
    facts: dict[str, Any] = field(default_factory=dict)
    """For the manifest: version and command of the server; empty if all answers were in the cache."""

    def url(self) -> str:
        """Start the server where it does not run, and return its base URL."""
        server = self.serving.ensure(self.name, replace(self.load(), max_length=self.max_length), self.prepare)
        self.facts = server.facts()
        return server.url

    def expect(self, tokens: int) -> None:
        """Say how long prompt and answer will be at most."""
        self.max_length = tokens

    def arguments(self) -> tuple[str, list[str]]:
        """Return the model and the flags that `vllm run-batch` needs for the same answers."""
        load = replace(self.load(), max_length=self.max_length)
        return load.model, load.arguments()

    def fault(self) -> str:
        """Return why the server is no longer there; empty while it runs."""
        return self.serving.fault()

    def cancel(self) -> None:
        """Give up a start that is under way."""
        self.serving.cancel()
