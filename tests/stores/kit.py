"""A store in memory that counts its requests and fails when told to; machines; a student that dies at a moment."""

from __future__ import annotations

import hashlib
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from tests.scripts import solver
from tracedistill.engines import Request
from tracedistill.stores import COPIES, Mirror, lease, objects
from tracedistill.stores.listing import INDEX

URL = "counted://bucket/study"


class CountedStore(MemoryFileSystem):  # type: ignore[misc]
    """Objects in memory, requests counted."""

    protocol = "counted"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    requests: ClassVar[list[tuple[str, str]]] = []
    """(kind, path) of every request."""
    sent: ClassVar[int] = 0
    """Bytes written."""
    fails: ClassVar[Callable[[int, str, str], bool]] = staticmethod(lambda number, kind, path: False)
    """(number of the request, kind, path) -> whether it fails."""

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return MemoryFileSystem._strip_protocol(path.replace("counted://", "memory://"))

    @classmethod
    def clear(cls) -> None:
        cls.store.clear()
        cls.pseudo_dirs[:] = [""]
        cls.requests.clear()
        cls.sent, cls.fails = 0, staticmethod(lambda number, kind, path: False)  # type: ignore[assignment]

    def _count(self, kind: str, path: str) -> None:
        type(self).requests.append((kind, path))
        if type(self).fails(len(self.requests), kind, path):
            raise ConnectionError(f"https://user:secret@host/{path}?token=abc: connection lost")

    def cat_file(self, path: str, *args: Any, **options: Any) -> Any:
        self._count("GET", path)
        return super().cat_file(path, *args, **options)

    def pipe_file(self, path: str, value: bytes, *args: Any, **options: Any) -> Any:
        self._count("PUT", path)
        type(self).sent += len(value)
        return super().pipe_file(path, value, *args, **options)

    def get_file(self, rpath: str, lpath: str, *args: Any, **options: Any) -> Any:
        self._count("GET", rpath)
        return super().get_file(rpath, lpath, *args, **options)

    def put_file(self, lpath: str, rpath: str, *args: Any, **options: Any) -> Any:
        self._count("PUT", rpath)
        type(self).sent += Path(lpath).stat().st_size
        return super().put_file(lpath, rpath, *args, **options)

    def rm_file(self, path: str) -> None:
        self._count("DELETE", path)
        super().rm_file(path)

    def ls(self, path: str, detail: bool = True, **options: Any) -> Any:
        self._count("LIST", path)
        return super().ls(path, detail=detail, **options)

    def open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        if "x" in mode:
            self._count("PUT", path)
        return super().open(path, mode, **options)


fsspec.register_implementation("counted", CountedStore, clobber=True)


def kinds() -> Counter[str]:
    """The requests made so far, by kind."""
    return Counter(kind for kind, _ in CountedStore.requests)


def stored(name: str) -> bytes | None:
    """An object of the counted store."""
    found = CountedStore.store.get(f"/bucket/study/{name}")
    return None if found is None else bytes(found.getvalue())


def put(name: str, content: bytes) -> None:
    """Change an object behind the program's back."""
    fsspec.filesystem("counted").pipe_file(f"/bucket/study/{name}", content)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty counted store, without pauses."""
    CountedStore.clear()
    monkeypatch.setattr(objects, "PAUSES", (0.0,) * 4)
    monkeypatch.setattr(lease, "SETTLE", 0.0)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Continue on the machine of this name: another place for working copies."""

    def change(name: str) -> None:
        monkeypatch.setenv(COPIES, str(tmp_path / "machines" / name))

    change("first")
    return change


def mirror(url: str = URL) -> Mirror:
    """The run folder on the current machine."""
    return Mirror(url, lambda text: None)


def dies_once_sent(request: Request) -> str:
    """Right answers; ends the process with kill -9 when the store has a partial file with two whole batches."""
    marks = Path(os.environ["DIES_ONCE_SENT"])
    if len(list(marks.glob("call*"))) == 10 and not (marks / "dead").exists():
        partial = Path(os.environ["PARTIAL"])
        index = partial.parents[1] / INDEX
        for _ in range(600):
            content = partial.read_bytes() if partial.exists() else b""
            if content.count(b"\n") == 3 and hashlib.sha256(content).hexdigest() in index.read_text():
                (marks / "dead").touch()
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(0.05)
        raise AssertionError("nothing was sent")
    (marks / f"call{time.monotonic_ns()}").touch()
    return solver(request)
