"""Read and write records as JSON Lines, atomically; content ids, hashes, locks."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import functools
import hashlib
import itertools
import json
import os
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from tracedistill.errors import InputError

T = TypeVar("T")

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG)
"""Errors of a failed write. Other OSErrors come from what makes the records, such as a lost connection."""


# ---- records as JSON


def to_json(record: Any, *, defaults: bool = False) -> Any:
    """Convert a frozen record (or a container of them) to JSON values; default fields only if `defaults` is set."""
    kind = type(record)
    if kind in _SCALARS:
        return record
    if kind is dict:
        return {str(key): to_json(value, defaults=defaults) for key, value in record.items()}
    if dataclasses.is_dataclass(kind):
        pairs = ((field, getattr(record, field.name)) for field in _fields(kind))
        return {
            field.name: to_json(value, defaults=defaults)
            for field, value in pairs
            if defaults or not _is_default(field, value)
        }
    if isinstance(record, Mapping):
        return {str(key): to_json(value, defaults=defaults) for key, value in record.items()}
    if isinstance(record, tuple | list):
        return [to_json(value, defaults=defaults) for value in record]
    if isinstance(record, set | frozenset):
        return [to_json(value, defaults=defaults) for value in sorted(record)]
    return record


_SCALARS = frozenset((str, int, float, bool, type(None)))


@functools.cache
def _fields(kind: type[Any]) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(kind)


def _is_default(field: dataclasses.Field[Any], value: Any) -> bool:
    if field.default is not dataclasses.MISSING:
        return bool(value == field.default)
    return field.default_factory is not dataclasses.MISSING and not value


def from_json(cls: type[T], value: Mapping[str, Any]) -> T:
    """Build a record of this class. Raises ValueError if the value does not fit or has an unknown key."""
    unknown = value.keys() - _field_names(typing.cast(Any, cls))
    if unknown:
        raise ValueError(f"unknown key '{min(unknown)}'")
    return msgspec.convert(value, cls)


@functools.cache
def _field_names(kind: Any) -> frozenset[str]:
    return frozenset(field.name for field in dataclasses.fields(kind))


def content_id(*parts: Any) -> str:
    """Hash JSON values to 16 hexadecimal digits of SHA-256: equal content, equal id."""
    return hashlib.sha256(canonical(parts)).hexdigest()[:16]


class ListId:
    """The `content_id` of a list of strings that are added one by one, so that the list need not be in memory."""

    def __init__(self) -> None:
        self._digest, self.n = hashlib.sha256(b"[["), 0

    def add(self, text: str) -> None:
        """Add the next string of the list."""
        self._digest.update((b"" if self.n == 0 else b",") + json.dumps(text).encode("ascii"))
        self.n += 1

    def id(self) -> str:
        """Return the content id of the strings added so far."""
        whole = self._digest.copy()
        whole.update(b"]]")
        return whole.hexdigest()[:16]


def canonical(value: Any) -> bytes:
    """Serialise as JSON bytes with sorted keys and no spaces; lone surrogates survive."""
    text = json.dumps(to_json(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return text.encode("ascii")


# ---- files


def write_jsonl(path: Path, records: Iterable[Any]) -> int:
    """Write records (dataclasses or JSON values), one a line, atomically; returns their number."""
    count = 0
    with atomic(path) as stream:
        for record in records:
            stream.write(dumps(record) + "\n")
            count += 1
    return count


def dumps(record: Any, indent: int | None = None) -> str:
    """Serialise one record as a line of JSON (indented: several), readable where UTF-8 allows."""
    text = json.dumps(to_json(record), ensure_ascii=False, indent=indent)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # lone surrogates out of a model's bytes
        return json.dumps(to_json(record), ensure_ascii=True, indent=indent)
    return text


def read_jsonl(path: Path, cls: type[T], *, skip: int = 0, start: int = 0, count: int | None = None) -> Iterator[T]:
    """Yield records of one class after the first `skip`. Raises InputError naming file and line if one does not fit."""
    for number, value in read_lines(path, skip=skip, start=start, count=count):
        try:
            yield from_json(cls, value)
        except ValueError as error:
            raise InputError(
                f"{path}, line {number}: not a {cls.__name__} ({error}); delete the file to make it again"
            ) from error


def _any(_: object) -> bool:
    return True


@dataclasses.dataclass(frozen=True, slots=True)
class Records(Generic[T]):
    """The records of a file, read again on each iteration, one in memory at a time."""

    path: Path
    kind: type[T]
    keep: Callable[[T], bool] = _any
    """Which of them to yield."""

    def __iter__(self) -> Iterator[T]:
        return filter(self.keep, read_jsonl(self.path, self.kind))


def read_lines(
    path: Path, *, skip: int = 0, start: int = 0, count: int | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, JSON object) pairs after the first `skip` lines. Raises InputError naming file and line.

    `start`: byte offset of the first line to read, if known, which saves reading the lines before it.
    """
    try:
        with path.open("rb") as stream:
            stream.seek(start)
            lines = itertools.islice(stream, 0 if start else skip, None)
            for number, line in enumerate(itertools.islice(lines, count), start=skip + 1):
                text = line.decode("utf-8")
                try:
                    row = json.loads(text)
                except (ValueError, RecursionError) as error:  # ValueError: also a number of 5,000 digits
                    raise InputError(
                        f"{path}, line {number}: not valid JSON; delete the file to make it again"
                    ) from error
                if not isinstance(row, dict):
                    raise InputError(f"{path}, line {number}: not a JSON object; delete the file to make it again")
                yield number, row
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not valid UTF-8 ({error.reason})") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


class atomic:  # noqa: N801 - reads as a verb where it is used
    """`with atomic(path) as stream`: the file gets its name only when it is complete and on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # the same name each time, so that the next attempt replaces what a killed process left
        self.partial = path.with_name(f".{path.name}.partial")

    def __enter__(self) -> typing.TextIO:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.stream = unlinked(self.partial).open("w", encoding="utf-8", newline="\n")
        except OSError as error:
            raise disk_error(self.path, error) from error
        return self.stream

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            with self.stream:
                if kind is None:
                    self.stream.flush()
                    os.fsync(self.stream.fileno())
            if kind is None:
                self.partial.replace(self.path)
                return
        except OSError as failure:
            self.partial.unlink(missing_ok=True)
            raise disk_error(self.path, failure) from failure
        self.partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            raise disk_error(self.path, error) from error


class BusyError(InputError):
    """Another process holds a lock."""


@contextlib.contextmanager
def locked(path: Path, busy: str = "", on_wait: Callable[[], object] | None = None) -> Iterator[None]:
    """Hold a lock file. The system releases the lock of a killed process.

    If another process holds it: call `on_wait` and wait or, without one, raise BusyError with the text `busy`.
    """
    import filelock

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(unlinked(path))
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout as error:
            if on_wait is None:
                raise BusyError(busy) from error
            on_wait()
            lock.acquire()
    except OSError as error:
        raise disk_error(path, error) from error
    try:
        yield
    finally:
        lock.release()


def unlinked(path: Path) -> Path:
    """Return the path of a file to write, after removing a symbolic link of that name.

    A run folder may come from another user; a link in it must not redirect writes to a file elsewhere.
    """
    if path.is_symlink():
        path.unlink()
    return path


def check_output(out: Path, *inputs: Path) -> None:
    """Raise InputError if the output file is one of the input files."""
    for source in inputs:
        if out.resolve() == source.resolve() or (out.exists() and source.exists() and out.samefile(source)):
            raise InputError(f"{out}: is an input file, and writing would replace it; choose another name")


def disk_error(path: Path, error: OSError) -> InputError:
    """Return the message for a full disk or an unwritable folder."""
    return InputError(f"cannot write {path}: {error.strerror or error}; earlier complete files are kept")


def write_json(path: Path, value: Any) -> None:
    """Write one indented JSON document atomically."""
    with atomic(path) as stream:
        stream.write(dumps(value, indent=1) + "\n")


class Document(dict[str, Any]):
    """A JSON object from a file. Looking up a missing key raises InputError that names the file."""

    def __init__(self, path: Path, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.path = path

    def __missing__(self, key: str) -> Any:
        raise InputError(f"{self.path}: has no '{key}', so this version did not write it; delete the file")

    def part(self, key: str) -> dict[str, Any]:
        """Return the object at a key. Raises InputError if it is missing or not an object."""
        value = self[key]
        if not isinstance(value, dict):
            raise InputError(
                f"{self.path}: '{key}' is not an object, so this version did not write it; delete the file"
            )
        return value


def read_json(path: Path) -> Document:
    """Read a JSON object. Raises InputError that names the file if it cannot be read."""
    value = read_value(path)
    if not isinstance(value, dict):
        raise InputError(f"{path}: not a JSON object, so this version did not write it; delete it to make it again")
    return Document(path, value)


def read_value(path: Path) -> Any:
    """Read a JSON value. Raises InputError that names the file if it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON ({error}); delete it to make it again") from error


def file_hash(path: Path) -> str:
    """Hash a file, or the names and contents of all files in a folder, with SHA-256, in hexadecimal."""
    if path.is_dir():
        digest = hashlib.sha256()
        for child in sorted(path.rglob("*")):
            if child.is_file():
                digest.update(f"{child.relative_to(path).as_posix()}\0{file_hash(child)}\n".encode())
        return digest.hexdigest()
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
