"""Scripted students for arithmetic arms: what they do with a plan, a forced trace, or neither."""

from __future__ import annotations

import re

from tracedistill.engines import Request

_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def _last_number(text: str) -> str:
    found = _NUMBER.findall(text.replace(",", ""))
    return found[-1] if found else "0"


def follower(request: Request) -> str:
    """Answers with the last number of a forced trace, else of what it is shown."""
    if request.prefill:
        return f" {_last_number(request.prefill)}"
    return f"1. So it is.\nAnswer: {_last_number(request.messages[-1].content)}"


def stubborn(request: Request) -> str:
    """Answers 7, whatever is put into its mouth."""
    return " 7" if request.prefill else "Answer: 7"


def by_sample(request: Request) -> str:
    """Copies the last number of the plan, but says 1 in its third sample."""
    said = "1" if request.sample == 2 else _last_number(request.messages[-1].content)
    return f"Answer: {said}"


def planner(request: Request) -> str:
    """A teacher whose plans end in the sample's number: 5, 5, 9."""
    return f"1. Take the right numbers.\n2. Say {(5, 5, 9)[request.sample % 3]}."


_ASKED = re.compile(r"buys (\d+) boxes of (\d+) pens each and gives (\d+) pens away")


def _asked(request: Request) -> tuple[int, int, int]:
    found = _ASKED.search(request.messages[-1].content)
    assert found is not None
    boxes, pens, given = map(int, found.groups())
    return boxes, pens, given


def flawed_planner(request: Request) -> str:
    """A teacher that puts one wrong operand into its plan wherever the number of pens is even."""
    boxes, pens, given = _asked(request)
    taken = given if pens % 2 else given + 13
    return f"1. Multiply {boxes} by {pens}.\n2. Subtract {taken} from the result of step 1."


def flawed_executor(request: Request) -> str:
    """A student that carries out what it is told to the letter, but multiplies wrongly where there are 5 boxes."""
    boxes, _, _ = _asked(request)
    first, second = re.findall(r"(?:Multiply|Subtract) (\d+)(?: by (\d+))?", request.messages[-1].content)
    total = int(first[0]) * int(first[1]) + (3 if boxes == 5 else 0)
    left = total - int(second[0])
    return f"1. {first[0]} * {first[1]} = {total}\n2. {total} - {second[0]} = {left}\nAnswer: {left}"


def silent_on_even_pens(request: Request) -> str:
    """A teacher that writes nothing wherever the number of pens is even, and a right plan elsewhere."""
    boxes, pens, given = _asked(request)
    return f"1. Multiply {boxes} by {pens}.\n2. Subtract {given} from the result of step 1." if pens % 2 else ""
