"""Named objects below one URL, read and written whole through fsspec, with retries and errors that name the remedy."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from tracedistill.errors import InputError
from tracedistill.stores.address import masked

T = TypeVar("T")

PAUSES = (0.5, 2.0, 5.0, 10.0)
"""Seconds between the attempts of a request."""
PERMANENT = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError,
             NotImplementedError, ImportError)  # fmt: skip
"""Errors that another attempt does not mend."""
MISSING = (FileNotFoundError,)
"""The answer that there is no such object."""
WITH_FOLDERS = frozenset(("file", "local", "sftp", "ssh", "ftp", "smb", "hdfs", "arrow_hdfs", "webhdfs", "webdav"))
"""Protocols of file systems: a folder is made before its first file, and a file is renamed when it is complete."""
PACKAGES = {
    "s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "adl": "adlfs",
    "sftp": "paramiko", "ssh": "paramiko", "smb": "smbprotocol", "hf": "huggingface_hub", "oss": "ossfs",
    "oci": "ocifs",
}  # fmt: skip
"""Protocol -> the package that speaks it, where fsspec does not."""


class StoreError(InputError):
    """A store did not do what was requested, also not when it was requested again."""


class ObjectStore:
    """The objects below a URL; safe to use from several threads. Every method raises StoreError if the store fails."""

    def __init__(self, url: str) -> None:
        self.url = url
        protocol = url.partition("://")[0]
        self._has_folders = protocol in WITH_FOLDERS
        self._made: set[str] = set()
        try:
            import fsspec

            self.files, self.root = fsspec.url_to_fs(url)
        except ImportError as error:
            package = PACKAGES.get(protocol)
            how = f"pip install {package}" if package else masked(str(error))
            raise InputError(f"{url}: {protocol}:// needs another package: {how}") from error
        except Exception as error:
            raise InputError(f"{url}: cannot be opened: {masked(str(error))}") from error

    def read(self, name: str) -> bytes | None:
        """Return an object's bytes; None if there is no such object."""
        try:
            return bytes(self._try(f"read {name}", lambda: self.files.cat_file(self._path(name)), MISSING))
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Write an object, in place of an earlier one."""
        self._put(name, lambda path: self.files.pipe_file(path, content))

    def download(self, name: str, target: Path) -> bool:
        """Copy an object to a local file; return whether there is such an object."""
        try:
            self._try(f"read {name}", lambda: self.files.get_file(self._path(name), str(target)), MISSING)
        except FileNotFoundError:
            return False
        return True

    def upload(self, source: Path, name: str) -> None:
        """Copy a local file to an object, in place of an earlier one."""
        self._put(name, lambda path: self.files.put_file(str(source), path))

    def create(self, name: str, content: bytes) -> bool:
        """Write an object unless there is one; return whether it was written.

        A store that cannot do this in one step may let two writers in; the caller reads the object again.
        """

        def once() -> None:
            with self.files.open(self._path(name), "xb") as stream:
                stream.write(content)

        self._make_folder(name)
        try:
            self._try(f"create {name}", once, answers=(FileExistsError, NotImplementedError, ValueError))
        except FileExistsError:
            return self.read(name) == content  # an attempt that failed may have written it
        except (NotImplementedError, ValueError):  # the store does not know exclusive creation
            if self.read(name) is not None:
                return False
            self.write(name, content)
        return True

    def delete(self, names: Iterable[str]) -> None:
        """Delete objects; missing ones are passed over."""
        for name in names:
            try:
                self._try(f"delete {name}", functools.partial(self.files.rm_file, self._path(name)), MISSING)
            except FileNotFoundError:
                continue

    def names(self, below: str = "") -> list[str]:
        """Return the names of what lies directly in a folder; with `below` empty, in the root."""

        def listed() -> list[str]:
            self.files.invalidate_cache()
            return [str(path) for path in self.files.ls(self._path(below), detail=False)]

        try:
            return sorted(
                path.rstrip("/").rpartition("/")[2] for path in self._try("list its objects", listed, MISSING)
            )
        except FileNotFoundError:
            return []

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}" if name else str(self.root)

    def _put(self, name: str, put: Callable[[str], Any]) -> None:
        self._make_folder(name)
        path = self._path(name)

        def renamed() -> None:
            partial = f"{path}.partial"  # the same each time: the next attempt replaces what a killed one left
            put(partial)
            self.files.mv(partial, path)

        self._try(f"write {name}", renamed if self._has_folders else lambda: put(path))

    def _make_folder(self, name: str) -> None:
        folder = self._path(name).rpartition("/")[0]
        if self._has_folders and folder not in self._made:
            self._try(f"make the folder of {name}", lambda: self.files.makedirs(folder, exist_ok=True))
            self._made.add(folder)

    def _try(self, what: str, request: Callable[[], T], answers: tuple[type[Exception], ...] = ()) -> T:
        """Make a request until it succeeds. Errors of the kinds in `answers` are passed on, others are StoreErrors."""
        for pause in (*PAUSES, None):
            try:
                return request()
            except answers:
                raise
            except Exception as error:  # each library has errors of its own
                if pause is None or isinstance(error, PERMANENT):
                    raise self._failed(what, error) from error
                time.sleep(pause)
        raise AssertionError

    def _failed(self, what: str, error: Exception) -> StoreError:
        reason = masked(str(error)) or type(error).__name__
        advice = "try again later"
        if isinstance(error, PermissionError):
            advice = "check the credentials and their rights"
        elif isinstance(error, FileNotFoundError):
            advice = "create the bucket or folder first"
        return StoreError(f"{self.url}: cannot {what}: {reason}; {advice}")
