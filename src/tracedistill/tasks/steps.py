r"""Steps as text and back: `1. Janet sells 16 - 3 - 4 = 9 eggs.\n2. She makes 9 * 2 = $18.` is two steps.

Traces are rendered as a numbered list, one line per step. Read are numbered lists (`1.`, `2)`, `Step 3:`, with or
without bold), bullets, lines, and sentences; a closing statement of the answer is no step.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tracedistill.records import Step, StepKind
from tracedistill.tasks.arithmetic import spell
from tracedistill.tasks.base import ParsedTrace
from tracedistill.tasks.calculations import find_calculations
from tracedistill.tasks.grounding import unknowns

MAX_CHARS = 200_000
"""Longer traces are not read."""
MAX_STEPS = 2_000
"""Traces of more steps are not read."""

_MARKER = re.compile(
    r"(?:#{1,4}[ \t]*)?(?:\*\*|__)?(?:step[ \t]*(\d{1,4})[ \t]*[.:)\-–—]*|\(?(\d{1,4})[.)])(?:\*\*"
    r"|__)?(?:[ \t]+|$)",
    re.IGNORECASE,
)
_BULLET = re.compile(r"^(?:[-*+•–] |•)")
_ANSWER = re.compile(
    r"(?:\*\*)?(?:####|(?:(?:so|therefore|thus|hence),? )?(?:the |my |our )?(?:final )?answer(?: is\b| ?:)|A:)[^=]*$",
    re.IGNORECASE,
)
_SENTENCE = re.compile(
    r"(?<!\bMr\.)(?<!\bMs\.)(?<!\bDr\.)(?<!\bSt\.)(?<!\bMrs\.)(?<!\bvs\.)(?<!e\.g\.)(?<!i\.e\.)(?<!\bNo\.)(?<!\bft\.)(?<!\bsq\.)(?<!\blb\.)(?<!\bRs\.)(?<=[.!?])"
    r"(?:[ \t]+(?=[A-Z\d(\"'“‘$\\])|(?<=\d\.)(?=[A-Z][a-z]))"
)


_INSTRUCTION = re.compile(
    r"[*_\s]*(?:(?:first|second|third|next|then|now|finally|lastly|start by|begin by|after that"
    r"|to \w[^,.]{0,80})[,:]?\s+)*"
    r"(?:you (?:need|have|should|must) (?:to )?)?"
    r"(?:add|analy[sz]e|apply|ask|assign|break|calculat|check|combin|compar|comput|consider|convert|count|creat"
    r"|deduct|defin|determin"
    r"|divid|doubl|draw|establish|estimat|evaluat|express|factor|figur|find|formulat|get|giv|identif|interpret"
    r"|isolat|list|look|make|mark"
    r"|multipl|not|plug|read|recall|recogni[sz]|record|remember|repeat|replac|review|round|set|show|simplif"
    r"|solv|sort|split|start|stat"
    r"|subtract|sum|substitut|take|tak|tripl|understand|us|verif|work|writ)(?:e|y|es|s|ing|de|d|k|ply|y)?\b",
    re.IGNORECASE,
)


def render_steps(steps: Sequence[Step]) -> str:
    """Steps as a numbered list, one line each."""
    return "\n".join(f"{number}. {step.text}" for number, step in enumerate(steps, start=1))


def read_steps(text: str) -> ParsedTrace:
    """Steps out of any of the styles, or why there are none."""
    if len(text) > MAX_CHARS:
        return ParsedTrace((), f"too long to read: {len(text)} characters")
    texts = split_steps(text)
    if not texts:
        return ParsedTrace((), "empty" if not text.strip() else "only a statement of the answer, no steps")
    if len(texts) > MAX_STEPS:
        return ParsedTrace((), f"more than {MAX_STEPS} steps")
    return ParsedTrace(make_steps(texts))


def make_steps(texts: Sequence[str]) -> tuple[Step, ...]:
    """Steps of given texts: calculation with result, or text; all `plan` where none calculates and most instruct."""
    steps = []
    found = False
    for text in texts:
        calculations = find_calculations(text)
        result = calculations[-1].result if calculations else None
        found = found or bool(calculations)
        kind: StepKind = "calculation" if calculations else "text"
        steps.append(Step(kind, text, None if result is None else spell(result)))
    if (
        not found
        and not any(map(unknowns, texts))
        and 2 * sum(bool(_INSTRUCTION.match(text)) for text in texts) >= len(texts)
    ):
        return tuple(Step("plan", step.text) for step in steps)
    return tuple(steps)


def one_line(text: str) -> str:
    """A step's text as it stands in a rendered trace: whitespace runs are single spaces."""
    return " ".join(text.split())


def split_steps(text: str) -> list[str]:
    """The texts of the steps, markers removed."""
    # single spaces first: the patterns below need not be guarded against runs of them
    lines = [line for line in map(one_line, text.replace("\r", "\n").split("\n")) if line]
    numbered = _numbered(lines)
    if numbered:
        return numbered
    steps: list[str] = []
    held = ""  # a heading waits for what it is a heading of
    for line in lines:
        if _ANSWER.match(line):
            continue
        body = _BULLET.sub("", line, count=1)
        if not body:
            continue
        if body.endswith(":"):
            held = f"{held} {body}".strip()
            continue
        steps.append(f"{held} {body}".strip())
        held = ""
    if held:
        steps.append(held)
    if len(steps) > 1 and len(lines) > 1:
        return steps
    return [
        sentence.strip()
        for step in steps
        for sentence in _SENTENCE.split(step)
        if sentence.strip() and not _ANSWER.match(sentence)
    ]


def _numbered(lines: list[str]) -> list[str]:
    """Steps of a numbered list; empty where it is none. Lines between two numbers belong to the first."""
    steps: list[list[str]] = []
    preamble: list[str] = []
    count = 0
    styles = [_MARKER.match(line) for line in lines]
    # `Step 1:` headings hold lists of their own: then only they count
    stepped = sum(1 for match in styles if match and match[1]) > 1
    for line, match in zip(lines, styles, strict=True):
        number = int(match[1] or match[2]) if match and (match[1] or not stepped) else 0
        if match and number and (number == count + 1 or (not steps and number <= 1) or (number == 1 and count > 0)):
            count = number
            steps.append([line[match.end() :]])
        elif steps:
            if not _ANSWER.match(line):
                steps[-1].append(_BULLET.sub("", line, count=1))
        else:
            preamble.append(line)
    if not steps:
        return []
    texts = [one_line(" ".join(parts)) for parts in steps]
    leading = [one_line(line) for line in preamble if find_calculations(line)]
    return [text for text in (*leading, *texts) if text.strip("*_ ")]
