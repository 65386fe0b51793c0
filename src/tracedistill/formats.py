"""How a trace and an answer stand together in one completion, and how they are taken apart again."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

FormatName = Literal["plain", "tags"]

_THINK = re.compile(r"<think>(.*?)(?:</think>|(?=<answer>)|\Z)", re.DOTALL | re.IGNORECASE)
_ANSWER = re.compile(r"<answer>(.*?)(?:</answer>|\Z)", re.DOTALL | re.IGNORECASE)
_MARKER = re.compile(r"^[ \t]*(?:final[ \t]+)?answer[ \t]*:[ \t]*", re.IGNORECASE | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Parts:
    """A completion taken apart."""

    trace: str | None
    """What stands before the answer; None where nothing does."""
    answer: str | None
    """What the format marks as the answer; None where nothing is marked."""
    reason: str
    """Why trace or answer is None or had to be guessed; empty where the format was kept."""
    tagged: bool = False
    """Whether a think tag marks the trace: then there is one, readable or not."""


def join(trace: str | None, answer: str, style: FormatName = "plain") -> str:
    """One completion from a trace (None: answer only) and an answer."""
    if style == "tags":
        head = "" if trace is None else f"<think>{trace}</think> "
        return f"{head}<answer>{answer}</answer>"
    head = "" if trace is None else f"{trace}\n"
    return f"{head}Answer: {answer}"


def split(text: str) -> Parts:
    """Take a completion apart, whichever format it keeps; tags win over an `Answer:` line, the last marker wins.

    `split(join(trace, answer, style))` gives back both for any trace and answer that hold no marker themselves.
    """
    answers = list(_ANSWER.finditer(text))
    think = _THINK.search(text)
    if answers or think:
        trace = think.group(1).strip() if think else text[: answers[-1].start()].strip()
        if answers:
            closed = text[answers[-1].start() :].lower().find("</answer>") >= 0
            reason = "" if closed and (think is None or "</think>" in text.lower()) else "a tag is not closed"
            return Parts(trace or None, answers[-1].group(1).strip(), reason, think is not None)
        tail = text[think.end() :].strip() if think else ""
        return Parts(trace or None, None if not tail else _after_marker(tail), "no <answer> tag", tagged=True)
    markers = list(_MARKER.finditer(text))
    if not markers:
        return Parts(text.strip() or None, None, "no answer marker")
    last = markers[-1]
    answer = text[last.end() :].strip()
    trace = text[: last.start()].strip()
    return Parts(trace or None, answer.split("\n", 1)[0].strip() if answer else None, "" if answer else "empty answer")


def _after_marker(text: str) -> str:
    markers = list(_MARKER.finditer(text))
    return text[markers[-1].end() :].strip() if markers else text
