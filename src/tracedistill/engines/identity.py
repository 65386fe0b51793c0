"""The identity of a student by content: a hash of its files, and the commit of a hub id."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tracedistill.engines.sizes import local_folder
from tracedistill.engines.weights import HUB_ID, brief_cause
from tracedistill.errors import InputError
from tracedistill.files import file_hash

WHOLE = 64 << 20
"""Most bytes of a file that is hashed completely."""
BLOCKS, BLOCK = 256, 64 << 10
"""Number and bytes of the blocks hashed of a larger file, spread evenly from its first byte (safetensors' index) to
its last."""
LOADED = (".json", ".jinja", ".model", ".safetensors", ".tiktoken", ".txt")
"""Suffixes of the files that a student is loaded from."""
NOT_LOADED = ("student.json", "manifest.json", "training.json")
"""Files beside them that describe their origin."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Identity of a student, as far as this machine can tell."""

    sha256: str
    """Hash of the names, sizes and contents of its files; of a file over 64 MB, 256 blocks are read."""
    commit: str | None
    """The hub's commit; None for a folder."""


def identity_of(model: str, revision: str | None = None) -> Identity | None:
    """Return the identity of a student; None if its files are not on this machine."""
    folder = local_folder(model, revision)
    if folder is None:
        return None
    commit = folder.name if folder.parent.name == "snapshots" else None
    return Identity(_hash(folder, tuple(_stamps(folder))), commit)


def pin(model: str, revision: str | None = None) -> str | None:
    """Return the commit of a hub id, downloading missing files; None for a folder or package.

    Raises InputError if the hub has no such model or revision, or cannot be reached.
    """
    if not is_hub_id(model):
        return None
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        folder = snapshot_download(model, revision=revision, allow_patterns=[f"*{suffix}" for suffix in LOADED])
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError, ValueError) as error:
        at = f" at revision '{revision}'" if revision else ""
        raise InputError(f"student '{model}'{at}: cannot be downloaded: {brief_cause(error)}") from error
    return Path(folder).name


def is_hub_id(model: str) -> bool:
    """Return whether a student's name is a hub id: not a local folder, package or function."""
    return HUB_ID.fullmatch(model) is not None and not Path(model).is_dir()


def _stamps(folder: Path) -> Iterator[tuple[str, int, int]]:
    for path in sorted(folder.rglob("*")):
        if path.suffix in LOADED and path.name not in NOT_LOADED and path.is_file():
            stat = path.stat()
            yield path.relative_to(folder).as_posix(), stat.st_size, stat.st_mtime_ns


@functools.lru_cache(maxsize=64)  # called for every node of a study
def _hash(folder: Path, stamps: tuple[tuple[str, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for name, size, _ in stamps:
        path = folder / name
        digest.update(f"{name}\0{size}\0{file_hash(path) if size <= WHOLE else _sampled(path, size)}\n".encode())
    return digest.hexdigest()


def _sampled(path: Path, size: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        for number in range(BLOCKS):
            stream.seek(number * (size - BLOCK) // (BLOCKS - 1))
            digest.update(stream.read(BLOCK))
    return digest.hexdigest()
