"""Scripted teachers for tests."""

from __future__ import annotations

from tests.scripts import solver
from tracedistill.engines import Generation, Request

PLAN = "1. Find out where the person went last.\n2. Say that place."


def planner(request: Request) -> str | Generation:
    """A plan for every problem; every fifth is cut off, every seventh is refused (by seed)."""
    number = request.seed
    if number % 5 == 0:
        return Generation(request.request_id, "1. Find", "length", 10, 5)
    if number % 7 == 0:
        return Generation(request.request_id, "", "refusal", 10, 0)
    return PLAN


def good(request: Request) -> str:
    """The right trace and answer, out of the problem that the prompt holds."""
    content = request.messages[-1].content
    story = content.split("\n\n")[0]
    clean = Request(request.request_id, (type(request.messages[0])("user", story),))
    return solver(clean)


def echo(request: Request) -> str:
    """Says whether the prompt holds a trace and a gold answer."""
    return f"1. Read: {request.messages[-1].content!r}."


def structured(request: Request) -> str:
    """JSON as asked for, with text around it."""
    assert request.schema is not None
    return 'Here it is: {"steps": [{"kind": "plan", "text": "Look for the place."}], "answer": "garden"} Done.'


def thinker(request: Request) -> Generation:
    """Thinking apart from the answer."""
    return Generation(request.request_id, "garden", "stop", 5, 9, reasoning="She went to the garden. So it is there.")
