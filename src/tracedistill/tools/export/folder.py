"""A folder that appears whole or not at all, and replaces only an earlier export."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tracedistill import __version__
from tracedistill.errors import InputError
from tracedistill.files import disk_error, file_hash, read_json, unlinked, write_json

MANIFEST = "manifest.json"
"""Maker, sources and hashes of the files."""
CARD = "README.md"
"""File that hubs display."""


def check_place(out: Path, kind: str) -> None:
    """Check that `out` is new or an earlier export of this kind. Raises InputError otherwise."""
    if not out.exists():
        return
    if not out.is_dir():
        raise InputError(f"{out}: is a file; --out must be a folder")
    there = {path.relative_to(out).as_posix() for path in out.rglob("*") if not path.is_dir()}
    if not there:
        return
    manifest = read_json(out / MANIFEST) if MANIFEST in there else {}
    if not isinstance(manifest, dict) or manifest.get("made_by") != _maker(kind):
        raise InputError(f"{out}: is not empty and not an earlier export of this kind; choose another --out")
    foreign = sorted(there - {MANIFEST, *manifest.get("files", {})})
    if foreign:
        raise InputError(f"{out}: contains {foreign[0]}, which no export wrote; move it away or choose another --out")


@contextmanager
def new_folder(out: Path, kind: str) -> Iterator[Path]:
    """Yield a folder to fill, which is moved to `out` at the end of the `with` block.

    If the block fails, `out` is unchanged.
    """
    check_place(out, kind)
    target = out.resolve()
    place, old = target.with_name(f".{target.name}.partial"), target.with_name(f".{target.name}.old")
    try:
        shutil.rmtree(unlinked(place), ignore_errors=True)
        shutil.rmtree(unlinked(old), ignore_errors=True)
        place.mkdir(parents=True)
        yield place
        if target.exists():
            target.rename(old)
        place.rename(target)
    except OSError as error:
        raise disk_error(out, error) from error
    finally:
        shutil.rmtree(place, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def seal(place: Path, kind: str, facts: Mapping[str, Any]) -> None:
    """Write the manifest: these facts, and the hash of every file in the folder, the card included."""
    files = sorted(path for path in place.rglob("*") if path.is_file())
    readable = (place / CARD).stat().st_mode
    for path in files:
        path.chmod(readable)  # safetensors makes files unreadable for others
    hashes = {path.relative_to(place).as_posix(): file_hash(path) for path in files}
    write_json(place / MANIFEST, {"made_by": _maker(kind), "version": __version__, **facts, "files": hashes})


def _maker(kind: str) -> str:
    return f"tracedistill, export of a {kind}"
