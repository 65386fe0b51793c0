"""Scripted teachers for tests."""

from __future__ import annotations

import json

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


def judge(request: Request) -> str:
    """A model judge: plans that say "went last" are correct, steps too; every seventh item gets no real quote."""
    content = request.messages[-1].content
    step = "STEP TO CHECK" in content
    quote = "Find out where the person went last" if not step else content.split("STEP TO CHECK\n")[1].split("\n")[0]
    if "sabotage" in content:
        return json.dumps({"quote": "nothing of the kind", "reason": "made up", "verdict": "incorrect"})
    verdict = "correct" if "went last" in content else "incorrect"
    return json.dumps({"quote": quote, "reason": "<b>it says so</b>", "verdict": verdict})


def strict_judge(request: Request) -> str:
    """A model judge that finds every plan wrong."""
    plan = request.messages[-1].content.split(" PLAN\n")[1].split("\n")[0]
    return json.dumps({"quote": plan, "reason": "I never like it", "verdict": "incorrect"})


def hinted(request: Request) -> str:
    """A plan that gives the gold away, where the prompt shows it."""
    answer = request.messages[-1].content.split("the answer is ")[1].split(";")[0]
    return f"1. Find out where the person went last.\n2. The answer is {answer}."


def hostile(request: Request) -> str | Generation:
    """Fails with a cause that would be a script, but for every third problem."""
    if request.seed % 3 == 0:
        return PLAN
    return Generation(request.request_id, "", "error", error="<script>alert(1)</script>: so it is")
