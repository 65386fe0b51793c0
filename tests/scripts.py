"""Scripted students for tests: functions from a request to what the 'model' writes."""

from __future__ import annotations

from tracedistill.engines import Request
from tracedistill.tasks.babi.rules import read_story


def _asked(request: Request) -> tuple[list[str], str]:
    lines = request.messages[-1].content.split("\n")
    at = next(index for index, line in enumerate(lines) if line.startswith("Question: "))
    story = [line.removeprefix("We are given the following problem: ") for line in lines[:at]]
    return story, lines[at].removeprefix("Question: ")


def solver(request: Request) -> str:
    """Always right, with the trace before the answer."""
    reading = read_story(*_asked(request))
    assert reading is not None
    facts = " | ".join(reading.facts)
    return f"Question type: {reading.type}.\nSupporting facts: {facts}\nAnswer: {', '.join(reading.answers)}"


def half(request: Request) -> str:
    """Right where the seed is even; says nothing of use elsewhere."""
    return solver(request) if request.seed % 2 == 0 else "I do not know."


def rambler(request: Request) -> str:
    """Never ends, and is hostile."""
    return "<script>alert(1)</script> </style> \x00 \u202e " + "so " * 500


def killer(request: Request) -> str:
    """Ends the process in the middle of the third batch of a run, once: the mark says that it has done so."""
    import os
    import signal
    from pathlib import Path

    mark = Path(os.environ["KILL_MARK"])
    counted = Path(os.environ["KILL_COUNT"])
    calls = int(counted.read_text()) if counted.exists() else 0
    counted.write_text(str(calls + 1))
    if calls == 11 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return solver(request)
