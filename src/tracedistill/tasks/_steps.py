r"""Steps as text and back: `1. Janet sells 16 - 3 - 4 = 9 eggs.\n2. She makes 9 * 2 = $18.` is two steps.

Steps made by rules are written as a numbered list, a line each. Parsed are numbered lists (`1.`, `2)`, `Step 3:`, also
bold), bullets, lines and sentences. A closing statement of the answer is not a step. Each parsed step has its spans.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from tracedistill.arithmetic.calculations import find_calculations
from tracedistill.arithmetic.columns import column_groups, is_rule
from tracedistill.arithmetic.grounding import unknowns
from tracedistill.arithmetic.notation import in_points
from tracedistill.arithmetic.traces import spell
from tracedistill.records import Step, StepKind
from tracedistill.tasks._base import ParsedTrace
from tracedistill.tasks._spans import Flat, flat_lines, one_line

__all__ = ["cut_steps", "make_steps", "one_line", "read_plan", "read_steps", "render_steps", "split_steps"]

MAX_CHARS = 200_000
"""Longer traces are not parsed."""
MAX_STEPS = 2_000
"""Traces of more steps are not parsed."""

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


_SEQUENCE = r"(?:(?:first|second|third|next|then|now|finally|lastly|start by|begin by|after that)[,:]?\s++)"
_INSTRUCTION = re.compile(
    # at most one purpose (`to find the total, add ...`): several would be tried in every division
    rf"[*_\s]*+{_SEQUENCE}*+(?:to \w[^,.]{{0,80}}?[,:]?\s{{1,3}})?{_SEQUENCE}*+"
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
    """Write steps as a numbered list, one line each."""
    return "\n".join(f"{number}. {step.text}" for number, step in enumerate(steps, start=1))


def read_steps(text: str) -> ParsedTrace:
    """Parse steps in any of the styles, or say why there are none."""
    if len(text) > MAX_CHARS:
        return ParsedTrace((), f"too long to read: {len(text)} characters")
    cut = cut_steps(text)
    if not cut:
        return ParsedTrace((), "empty" if not text.strip() else "only a statement of the answer, no steps")
    if len(cut) > MAX_STEPS:
        return ParsedTrace((), f"more than {MAX_STEPS} steps")
    steps = make_steps([flat.text for flat in cut])
    spans = [flat.spans(text) for flat in cut]
    return ParsedTrace(tuple(replace(step, spans=own) for step, own in zip(steps, spans, strict=True)))


def read_plan(text: str) -> tuple[Step, ...]:
    """Parse the steps of a text that was requested as a plan; all are steps of a plan."""
    return tuple(Step("plan", step.text, spans=step.spans) for step in read_steps(text).steps)


def all_plan(steps: Sequence[Step]) -> bool:
    """Return whether these are the steps of a plan: at least one, and none of another kind."""
    return bool(steps) and all(step.kind == "plan" for step in steps)


def make_steps(texts: Sequence[str]) -> tuple[Step, ...]:
    """Make steps of texts, with the result if they calculate; all are `plan` if none calculates and most instruct."""
    steps = []
    calculates = False
    for text, read in zip(texts, in_points(texts), strict=True):
        calculations = find_calculations(read)
        result = calculations[-1].result if calculations else None
        calculates = calculates or bool(calculations)
        kind: StepKind = "calculation" if calculations else "text"
        steps.append(Step(kind, text, None if result is None else spell(result)))
    if (
        not calculates
        and not any(map(unknowns, texts))
        and 2 * sum(bool(_INSTRUCTION.match(text)) for text in texts) >= len(texts)
    ):
        return tuple(Step("plan", step.text) for step in steps)
    return tuple(steps)


def split_steps(text: str) -> list[str]:
    """Return the texts of the steps, markers removed."""
    return [step.text for step in cut_steps(text)]


def cut_steps(text: str) -> list[Flat]:
    """Return the steps without markers, each with the places of its characters in the text."""
    # single spaces first, so that the patterns below need no guards against runs of them
    lines = _whole(flat_lines(text.replace("\r", "\n")))
    numbered = _numbered(lines)
    if numbered:
        return numbered
    steps: list[Flat] = []
    held: list[Flat] = []  # a heading waits for its content
    for line in lines:
        if _ANSWER.match(line.text):
            continue
        body = _without_bullet(line)
        if not body.text:
            continue
        held.append(body)
        if not body.text.endswith(":"):
            steps.append(Flat.join(held))
            held = []
    if held:
        steps.append(Flat.join(held))
    if len(steps) > 1 and len(lines) > 1:
        return steps
    return [
        sentence
        for step in steps
        for sentence in _sentences(step)
        if sentence.text and not _ANSWER.match(sentence.text)
    ]


def _without_bullet(line: Flat) -> Flat:
    mark = _BULLET.match(line.text)
    return line.cut(mark.end()) if mark else line


def _sentences(step: Flat) -> Iterator[Flat]:
    start = 0
    for boundary in _SENTENCE.finditer(step.text):
        yield step.cut(start, boundary.start())
        start = boundary.end()
    yield step.cut(start)


_CONTINUES = re.compile(r"&?\s?(?:==?|≈|\\approx)(?![A-Za-z])")
"""Start of a line that continues the calculation of the line before."""
_OPEN_END = re.compile(r"(?:[=≈+×÷·/*]|\\(?:times|cdot|div))(?:\s?\\\\)?$")
_ENTRY = re.compile(r"[-+−–×÷*] ?[$£€]?\d")
"""A line of a vertically written sum: `- 3`."""
_OPERAND = re.compile(r"[$£€(]{0,4}\d")


def _whole(lines: list[Flat]) -> list[Flat]:
    """Join calculations that were broken over several lines: `9 × 2`, `= 18`."""
    whole: list[Flat] = []
    for line in _columns(lines):
        above = whole[-1].text if whole else ""
        if _CONTINUES.match(line.text) and _has_digit(above):
            while len(whole) > 1 and _ENTRY.match(whole[-1].text) and _has_digit(whole[-2].text):
                whole[-2:] = [Flat.join(whole[-2:])]
            whole[-1] = Flat.join((whole[-1], line))
        elif _OPEN_END.search(above) and _OPERAND.match(line.text) and not _MARKER.match(line.text):
            whole[-1] = Flat.join((whole[-1], line))
        else:
            whole.append(line)
    return whole


def _columns(lines: list[Flat]) -> list[Flat]:
    """Join the lines of each written column."""
    groups = column_groups([line.text for line in lines]) if any(is_rule(line.text) for line in lines) else []
    for start, end in reversed(groups):
        lines = [*lines[:start], Flat.join(lines[start:end]), *lines[end:]]
    return lines


def _has_digit(text: str) -> bool:
    return any(map(str.isdigit, text))


def _numbered(lines: list[Flat]) -> list[Flat]:
    """Return the steps of a numbered list; empty if it is none. Lines between two numbers belong to the first."""
    steps: list[list[Flat]] = []
    preamble: list[Flat] = []
    count = 0
    styles = [_MARKER.match(line.text) for line in lines]
    # `Step 1:` headings contain lists of their own: then only they count
    stepped = sum(1 for match in styles if match and match[1]) > 1
    for line, match in zip(lines, styles, strict=True):
        number = int(match[1] or match[2]) if match and (match[1] or not stepped) else 0
        if match and number and (number == count + 1 or (not steps and number <= 1) or (number == 1 and count > 0)):
            count = number
            steps.append([line.cut(match.end())])
        elif steps:
            if not _ANSWER.match(line.text):
                steps[-1].append(_without_bullet(line))
        else:
            preamble.append(line)
    if not steps:
        return []
    leading = [line for line in preamble if find_calculations(line.text)]
    return [step for step in (*leading, *map(Flat.join, steps)) if step.text.strip("*_ ")]
