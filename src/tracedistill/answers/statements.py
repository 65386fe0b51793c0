"""The statements of a text from its end backwards: sentences, what marks them as final, and what is only a check."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

from tracedistill.answers.marks import heading, last_mark
from tracedistill.answers.words import holds_any

TAIL = 8000
"""Characters at the end of a text that are searched first for the final statement."""

Mark = Literal["", "conclusion", "answer"]


class Statement(NamedTuple):
    """One sentence, or one line that holds an equation."""

    start: int
    """First character."""
    end: int
    """One past its last character."""
    mark: Mark = ""
    """answer: it is marked as the answer; conclusion: therefore, so, in total."""


_CONCLUSION = re.compile(
    r"\b(?:therefore|thus|hence|so|consequently|in total|in conclusion|altogether|as a result|"
    r"finally|in summary|this means|we find)\b",
    re.IGNORECASE,
)
_CONCLUSION_PARTS = (
    "so", "consequently", "thus", "therefore", "hence", "in ", "altogether", "as a result", "finally", "this means",
    "we find",
)  # fmt: skip
"""Parts of every word above, `so` of `also` too."""
_CHECK = re.compile(
    r"\W*+(?:(?:step|part)?\s*+\d*+[:.)]*+\W*+)?(?:\w++\s++){0,2}"
    r"(?:check|checking|verify|verifying|verification|double[- ]check|proof|confirm|sanity)\b",
    re.IGNORECASE,
)
_CHECK_PARTS = ("check", "verif", "proof", "confirm", "sanity")
_HEADING = re.compile(r"\W{0,12}+(?:step|part)\s{0,9}+\d{1,4}", re.IGNORECASE)
_BREAK = re.compile(
    r"[.!?。！？](?:(?<=[.!?])[*\"')\]$]{0,6}\s++"
    r"(?=[\"'(*\[$\\]{0,6}[A-Z0-9$\\(*À-ÞА-Я\u0900-\u097f\u0600-\u06ff\u3040-\u9fff])"
    r"|(?<=[。！？])\s*+(?=\S))"
)
"""A stop and what separates it from the next sentence; a pattern that begins with a set of characters is fast."""
_SUPPOSES = re.compile(r"(?:Even if|What if|If|Had|Suppose) ")
"""`The answer is B. If ...`: no initial of a name."""
_INITIAL = re.compile(
    r"(?:\b(?:[A-Z]|Mr|Mrs|Ms|Dr|St|vs|approx|a\.m|p\.m|e\.g|i\.e)|\A\W*(?:step\s*)?\d+)\.\Z", re.IGNORECASE
)


def backwards(text: str, stop: int) -> Iterator[Statement]:
    """Yield statements before a position, last first; a line that ends in a colon belongs to the next."""
    floor = max(0, stop - TAIL)
    while stop > floor:
        begin = max(text.rfind("\n", floor, stop) + 1, floor)
        if not text[begin:stop].strip():
            stop = begin - 1
            continue
        pieces = _sentences(text, begin, stop)
        previous = text[max(floor, begin - 200) : begin].rstrip(" *\n")
        if previous.endswith((":", "=")) or heading(previous.rpartition("\n")[2]):
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
    if text.find("\\boxed", start, end) >= 0 or last_mark(text, start, end) is not None:
        return Statement(start, end, "answer")
    if _concluded(text, start, min(end, start + 60)):
        mark = "conclusion"
    return Statement(start, end, mark)


def _concluded(text: str, start: int, end: int) -> bool:
    """Return whether therefore, so and the like stand in a part of a text."""
    return holds_any(text[start:end].lower(), _CONCLUSION_PARTS) and _CONCLUSION.search(text, start, end) is not None


_CONCLUDES = re.compile(
    r"[\W_]{0,12}(?:and |but )?(?:therefore|thus|hence|so|consequently|in conclusion|as a result|finally|in summary"
    r"|altogether|in total)\b",
    re.IGNORECASE,
)


def concluding(text: str, start: int, end: int) -> bool:
    """Return whether a statement opens with therefore, so and the like."""
    return _CONCLUDES.match(text, start, end) is not None


def in_check(text: str, start: int) -> bool:
    """Return whether a statement is under a heading such as `Step 7: Check your work`, before the next step."""
    end = text.find("\n", start)
    end = len(text) if end < 0 else end
    window = text[max(0, start - 1500) : end].lower()
    if not holds_any(window, _CHECK_PARTS):
        return False
    for _ in range(14):
        begin = text.rfind("\n", 0, end) + 1
        if begin < start - 1500:
            return False
        if _CHECK.match(text, begin, min(end, begin + 80)):
            # a heading covers what follows it, a check on the heading's line its own paragraph
            return "=" not in text[begin:end] or "\n\n" not in text[end:start]
        if _HEADING.match(text, begin, end) or begin == 0:
            return False
        end = begin - 1
    return False


def _sentences(text: str, start: int, end: int) -> list[tuple[int, int]]:
    sentences = []
    begin = start
    for match in _BREAK.finditer(text, max(0, start - 1), end):
        stop = match.start() + 1
        initial = _INITIAL.search(text[max(begin, stop - 12) : stop])
        if not initial or _SUPPOSES.match(text, match.end(), end):
            sentences.append((begin, stop))
            begin = match.end()
    sentences.append((begin, end))
    return sentences
