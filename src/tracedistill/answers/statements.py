"""The statements of a text from its end backwards: sentences, what marks them as final, and what is only a check."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

TAIL = 8000
"""Characters at the end of a text in which the final statement is looked for first."""

Mark = Literal["", "conclusion", "answer"]


@dataclass(frozen=True, slots=True)
class Statement:
    """One sentence, or one line that holds an equation."""

    start: int
    """First character."""
    end: int
    """One past its last character."""
    mark: Mark = ""
    """answer: says that it is the answer; conclusion: therefore, so, in total."""


ANSWER_MARK = re.compile(
    r"(?:\b(?:the|my|our|your|final|correct|full|written|this)\s+(?:\w+\s+)?(?:answers?|(?<=final )result)\b"
    r"(?:\s+to\s+[^.:\n]{1,60}?)?\s*(?:is|are|would be|will be|should be|=|:)"
    r"|\banswer\b\s*(?::|=|is\b)|(?:(?<=\n)|\A)[\s*]*(?:A|Result):(?=[\s*])|####)[\s:*]*",
    re.IGNORECASE,
)
_NOT_A_VALUE = re.compile(
    r"[\s*]*(?:correct|right|wrong|reasonable|accurate|consistent|valid|incorrect|in terms|given by|round|express|"
    r"to\b|not\b)",
    re.IGNORECASE,
)
_CHECKED = re.compile(r"\b(?:check|checking|verify|verifying|confirm|round|rounding|write|express)\s*\Z", re.IGNORECASE)
_DENIAL = re.compile(r"[\s*]*not\b(?! only)", re.IGNORECASE)
_HINTS = ("nswer", "esult", "A:", "####", "NSWER")
_CONCLUSION = re.compile(
    r"\b(?:therefore|thus|hence|so|consequently|in total|in conclusion|altogether|as a result|"
    r"finally|in summary|this means|we find)\b",
    re.IGNORECASE,
)
_CHECK = re.compile(
    r"\W*(?:(?:step|part)?\s*\d*[:.)]*\W*)?(?:\w+\s+){0,2}"
    r"(?:check|checking|verify|verifying|verification|double[- ]check|proof|confirm|sanity)\b",
    re.IGNORECASE,
)
_HEADING = re.compile(r"\W*(?:step|part)\s*\d+", re.IGNORECASE)
_BREAK = re.compile(r"(?<=[.!?])[*\"')\]$]*\s+(?=[\"'(*\[$\\]*[A-Z0-9$\\(*])")
_INITIAL = re.compile(
    r"(?:\b(?:[A-Z]|Mr|Mrs|Ms|Dr|St|vs|approx|a\.m|p\.m|e\.g|i\.e)|\A\W*(?:step\s*)?\d+)\.\Z", re.IGNORECASE
)


def marked(text: str, start: int, end: int) -> int | None:
    """Where the value begins after the last `answer is` of a sentence; None where there is no such mark."""
    if not any(text.find(hint, start, end) >= 0 for hint in _HINTS):
        return None
    at = None
    for match in ANSWER_MARK.finditer(text, start, end):
        if not _NOT_A_VALUE.match(text, match.end(), end) and not _CHECKED.search(
            text[max(start, match.start() - 16) : match.start()]
        ):
            at = match.end()
    return at


def denied(text: str, start: int, end: int) -> bool:
    """Whether a sentence only says what the answer is not."""
    match = ANSWER_MARK.search(text, start, end)
    return match is not None and _DENIAL.match(text, match.end(), end) is not None


def backwards(text: str, stop: int) -> Iterator[Statement]:
    """Statements before a position, last first; a line that ends in a colon belongs to the next."""
    floor = max(0, stop - TAIL)
    while stop > floor:
        begin = max(text.rfind("\n", floor, stop) + 1, floor)
        if not text[begin:stop].strip():
            stop = begin - 1
            continue
        pieces = _sentences(text, begin, stop)
        previous = text[max(floor, begin - 200) : begin].rstrip(" *\n")
        if previous.endswith((":", "=")):
            # `The answer is:` and the value on the next line are one statement
            for left, right in reversed(pieces[1:]):
                yield _statement(text, left, right)
            head = floor + len(text[floor:begin].rstrip())
            begin = max(text.rfind("\n", floor, head) + 1, floor)
            pieces = _sentences(text, begin, pieces[0][1])
        for left, right in reversed(pieces):
            yield _statement(text, left, right)
        stop = begin - 1


def _statement(text: str, start: int, end: int) -> Statement:
    mark: Mark = ""
    if text.find("\\boxed", start, end) >= 0 or marked(text, start, end) is not None:
        mark = "answer"
    elif _CONCLUSION.search(text, start, min(end, start + 60)):
        mark = "conclusion"
    return Statement(start, end, mark)


def in_check(text: str, start: int) -> bool:
    """Whether a statement stands under a heading such as `Step 7: Check your work`, before the next step."""
    end = text.find("\n", start)
    end = len(text) if end < 0 else end
    window = text[max(0, start - 1500) : end].lower()
    if not any(hint in window for hint in ("check", "verif", "proof", "confirm", "sanity")):
        return False
    for _ in range(14):
        begin = text.rfind("\n", 0, end) + 1
        if begin < start - 1500:
            return False
        if _CHECK.match(text, begin, min(end, begin + 80)):
            return True
        if _HEADING.match(text, begin, end) or begin == 0:
            return False
        end = begin - 1
    return False


def _sentences(text: str, start: int, end: int) -> list[tuple[int, int]]:
    found = []
    begin = start
    for match in _BREAK.finditer(text, start, end):
        if not _INITIAL.search(text[max(begin, match.start() - 12) : match.start()]):
            found.append((begin, match.start()))
            begin = match.end()
    found.append((begin, end))
    return found
