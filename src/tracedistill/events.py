r"""Progress events from a launched process to its parent, as lines of its output that no other text can imitate.

    \x1e{"label": "correct-trace", "done": 12, "total": 72, "note": "loss 1.234"}

All other text goes through `output.say`, which escapes the first character.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass

from tracedistill.output import send_to_parent

LISTENING = "TRACEDISTILL_EVENTS"
"""Set for launched processes whose parent shows their progress: LIVE or LINES."""
LIVE, LINES = "live", "lines"
"""The parent has a terminal with moving lines; it writes a line a minute, beside those of the process itself."""
_MARK = "\x1e"


@dataclass(frozen=True, slots=True)
class ProgressEvent:
    """Progress of a process."""

    label: str = ""
    """Label of the current work; empty if there is none."""
    done: int = 0
    """Amount of that work done."""
    total: int | None = None
    """Total amount; None: unknown."""
    note: str = ""
    """Figures beside it, such as the loss."""
    begun: str = ""
    """Node of the study that begins."""
    ended: str = ""
    """Node that is complete."""


def parent_listens() -> bool:
    """Return whether the parent of this process shows its progress."""
    return os.environ.get(LISTENING) in (LIVE, LINES)


def live() -> bool:
    """Return whether the parent shows it in live lines, which this process must not print between."""
    return os.environ.get(LISTENING) == LIVE


def send(event: ProgressEvent) -> None:
    """Send an event to the parent."""
    send_to_parent(f"{_MARK}{json.dumps(asdict(event))}")


def parse(line: str) -> ProgressEvent | None:
    """Return the event in a line of output; None if the line is ordinary text."""
    if not line.startswith(_MARK):
        return None
    try:
        return ProgressEvent(**json.loads(line[1:]))
    except (ValueError, TypeError):
        return None
