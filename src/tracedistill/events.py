r"""How a launched process tells the one that launched it how far it is: lines of its output that no text can imitate.

    \x1e{"label": "correct-trace", "done": 12, "total": 72, "note": "loss 1.234"}

What people and models write goes through `shown.say`, which lets no such character pass.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass

from tracedistill.shown import tell_process

LISTENING = "TRACEDISTILL_EVENTS"
"""Set for launched processes whose parent shows their progress: LIVE or LINES."""
LIVE, LINES = "live", "lines"
"""The parent has a terminal with moving lines; it writes a line a minute, beside those of the process itself."""
_MARK = "\x1e"


@dataclass(frozen=True, slots=True)
class ProgressEvent:
    """How far a process is."""

    label: str = ""
    """Label of the current work; empty if there is none."""
    done: int = 0
    """Of the label's work."""
    total: int | None = None
    """Of how much; None: not known."""
    note: str = ""
    """Figures beside it, such as the loss."""
    begun: str = ""
    """The piece of the study that begins here."""
    ended: str = ""
    """The piece that is complete."""


def listening() -> bool:
    """Tell whether the parent of this process shows its progress."""
    return os.environ.get(LISTENING) in (LIVE, LINES)


def live() -> bool:
    """Tell whether the parent shows it in moving lines, which leave no lines of this process to be read."""
    return os.environ.get(LISTENING) == LIVE


def tell(event: ProgressEvent) -> None:
    """Write an event for the parent."""
    tell_process(f"{_MARK}{json.dumps(asdict(event))}")


def read(line: str) -> ProgressEvent | None:
    """Return the event of a line; None for a line that is for people."""
    if not line.startswith(_MARK):
        return None
    try:
        return ProgressEvent(**json.loads(line[1:]))
    except (ValueError, TypeError):
        return None
