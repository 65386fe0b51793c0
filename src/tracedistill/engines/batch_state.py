"""The state file of batches in progress, which survives any interruption.

It holds ids, names and amounts of submitted batches, no prompts and no key. A batch is recorded before it is created,
so that a run killed at any moment finds it again instead of paying twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tracedistill.engines.ledger import NOTHING, Spending
from tracedistill.engines.replies import json_object
from tracedistill.errors import InputError
from tracedistill.files import to_json, write_jsonl

ROWS = 50_000
"""The API's limit of rows in one batch."""
_BYTES = 100_000_000


@dataclass
class SubmittedBatch:
    """A batch whose results are not all merged yet."""

    input_file_id: str
    """The uploaded file; recorded before the batch is created."""
    ids: list[str]
    """custom_id of each of its rows that is not merged yet."""
    batch_id: str = ""
    """Empty if the run ended between the upload and the record of its creation."""
    calls: int = 0
    """Rows submitted."""
    tokens: int = 0
    """Worst-case tokens of these rows."""
    usd: float = 0.0
    """Worst-case US dollars of these rows."""

    @property
    def worst(self) -> Spending:
        """The most that it may cost."""
        return Spending(self.calls, self.tokens, self.usd)


@dataclass
class BatchState:
    """Content of the state file."""

    open: list[SubmittedBatch] = field(default_factory=list)
    """Batches whose results are not all merged."""
    rounds: dict[str, int] = field(default_factory=dict)
    """Number of submissions of rows that came back without an answer."""
    paid: dict[str, float] = field(default_factory=dict)
    """US dollars billed for rows that came back without an answer."""

    @property
    def worst(self) -> Spending:
        """The most that all open batches may cost."""
        return sum((batch.worst for batch in self.open), NOTHING)


def load_state(path: Path) -> BatchState:
    """Read the state file; empty if it is missing. Raises InputError if it is not a state file."""
    if not path.exists():
        return BatchState()
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return BatchState(
            [SubmittedBatch(**batch) for batch in raw["open"]], dict(raw["rounds"]), dict(raw.get("paid", {}))
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: not a batch state file ({error}). Restore it; if you delete it, batches still running on the "
            "server can no longer be tracked"
        ) from error


def save_state(path: Path, state: BatchState) -> None:
    """Write the state file, completely or not at all."""
    write_jsonl(path, [to_json(state, defaults=True)])


def parts_of(rows: Iterable[tuple[str, bytes]], most: int = ROWS) -> Iterator[tuple[list[str], bytes]]:
    """Split rows (name, line) into (names, file) within the API's limits for one batch."""
    names: list[str] = []
    lines: list[bytes] = []
    size = 0
    for name, line in rows:
        if names and (len(names) == most or size + len(line) > _BYTES):
            yield names, b"\n".join(lines)
            names, lines, size = [], [], 0
        names.append(name)
        lines.append(line)
        size += len(line) + 1
    if names:
        yield names, b"\n".join(lines)


def lines_of(content: bytes) -> list[dict[str, Any]]:
    """Parse the JSON objects of a result file; skip invalid lines, whose rows are then submitted again."""
    return [row for line in content.splitlines() if (row := json_object(line)) is not None]
