"""Files of finished parts, joined in order.

    .parts/validate.gold.<key>/0000017.part     {"bytes": 423104, "summary": {...}}, then the lines of that part

A part's file exists only when it is complete, so a kill or the loss of a machine costs only the parts in progress. The
key of the folder identifies the inputs and settings of the parts.
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracedistill.compute.jobs import Compute, Job
from tracedistill.compute.parts import Part, cut
from tracedistill.files import atomic, disk_error, dumps

Summary = Mapping[str, Any]
Take = Callable[[Summary], object]
"""Receives the summary of a part."""
Progress = Callable[[int, int], object]
"""Receives (rows done, total)."""


def ignore(*_: object) -> None:
    """Do nothing: the default of callbacks."""


@dataclass(frozen=True, slots=True)
class PartOutput:
    """Output of a part."""

    records: Iterable[Any]
    """Output records, one per line: dataclasses or JSON values."""
    summary: Callable[[], Summary] = dict
    """Returns further facts on the part, as JSON; called after the records are consumed."""


def write_by_parts(
    compute: Compute,
    job: Job[Part, PartOutput],
    sources: Sequence[Path],
    output: Path,
    folder: Path,
    *,
    take: Take = ignore,
    progress: Progress = ignore,
) -> None:
    """Write `output`, completely or not at all, from a job's results for each part of `sources`.

    `folder`: temporary folder of the parts; those of an earlier run are reused. `take` receives every part's summary in
    order. The caller removes the folder once the stage is complete.
    """
    parts = _make(compute, job, sources, folder, progress)
    with atomic(output) as stream:
        stream.flush()
        for part in parts:
            with _file(folder, part).open("rb") as ready:
                take(json.loads(ready.readline())["summary"])
                shutil.copyfileobj(ready, stream.buffer)


def sum_parts(
    compute: Compute,
    job: Job[Part, PartOutput],
    sources: Sequence[Path],
    folder: Path,
    *,
    take: Take,
    progress: Progress,
) -> None:
    """Pass the summary of each part of `sources` to `take` in order, like `write_by_parts` but without an output."""
    for part in _make(compute, job, sources, folder, progress):
        with _file(folder, part).open("rb") as ready:
            take(json.loads(ready.readline())["summary"])


def _make(
    compute: Compute, job: Job[Part, PartOutput], sources: Sequence[Path], folder: Path, progress: Progress
) -> list[Part]:
    """Make the missing parts; return all parts."""
    parts = cut(*sources)
    total = sum(part.rows for part in parts)
    missing = [part for part in parts if not _ready(folder, part)]
    done = total - sum(part.rows for part in missing)
    progress(done, total)
    for part, _ in zip(missing, compute.map(_FileJob(job, folder), missing), strict=True):
        done += part.rows
        progress(done, total)
    return parts


@dataclass(frozen=True, slots=True)
class _FileJob:
    """A job that writes its records to a file and returns only the part's number."""

    job: Job[Part, PartOutput]
    folder: Path

    def open(self) -> Callable[[Part], int]:
        work = self.job.open()

        def write(part: Part) -> int:
            output = work(part)
            lines = [dumps(record) + "\n" for record in output.records]
            _write(_file(self.folder, part), lines, output.summary())
            return part.number

        return write


def _file(folder: Path, part: Part) -> Path:
    return folder / f"{part.number:07}.part"


def _ready(folder: Path, part: Part) -> bool:
    path = _file(folder, part)
    try:
        with path.open("rb") as stream:
            head = stream.readline()
            return bool(json.loads(head)["bytes"] == path.stat().st_size - len(head))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _write(path: Path, lines: Sequence[str], summary: Summary) -> None:
    """Write one part under a temporary unique name, since two processes may write the same part at once."""
    body = "".join(lines).encode()
    head = json.dumps({"bytes": len(body), "summary": summary}).encode() + b"\n"
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as stream:
            stream.write(head + body)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise disk_error(path, error) from error
