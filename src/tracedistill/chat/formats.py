"""Formats of a completion: write a trace and an answer, and parse them again."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Format = Literal["plain", "tags", "reasoning"]

ANSWER_TASK, RATIONALE_TASK = "[label] ", "[rationale] "
"""Prefixes of a problem if answer and trace are two tasks of one student (arXiv 2305.02301)."""

_THINK = re.compile(r"<think>(.*?)(?:</think>|(?=<answer>)|\Z)", re.DOTALL | re.IGNORECASE)
_THOUGHT = re.compile(r"</think>", re.IGNORECASE)
_ANSWER = re.compile(r"<answer>(.*?)(?:</answer>|\Z)", re.DOTALL | re.IGNORECASE)
# possessive throughout, so that a line of a hundred thousand blanks is read once
MARKER = re.compile(
    r"^[ \t]*+(?:(?P<heading>#{1,6}[ \t]*+)|[-*+>][ \t]++)?(?P<dress>[*_`]{1,3})?"
    r"(?:the[ \t]++)?(?:final[ \t]++)?answer[ \t]*+"
    r"(?:(?(dress)(?P=dress))[ \t]*+[:：]|[:：](?(dress)(?P=dress))|(?P<open>[:：])"
    r"|(?(heading)(?(dress)(?P=dress))|(?P=dress))[ \t\r]*+$)[ \t]*+",
    re.IGNORECASE | re.MULTILINE,
)
"""Mark of an answer at the start of a line: `Answer:` in any form (bold, a heading, a list item, `The final answer`, a
wide colon). A heading or a bold line needs no colon. `open`: bold or italics that end only after the answer."""
_REASONED = re.compile(r"\A<think>\n(.*?)\n</think>\n\n(.*)\Z", re.DOTALL)
_BLOCK_END = re.compile(
    r"\n(?=[^\S\n]*+(?:\n|\Z)"
    r"|[ \t]*+(?:#{1,6}[ \t]*+|\*\*)?(?:the[ \t]++)?(?:final[ \t]++)?"
    r"(?:answer[ \t]++is\b|(?:answer|question|problem|explanation|note|user|human|assistant)\b[^:：\n]{0,20}[:：]))",
    re.IGNORECASE,
)


_BLANK_LINES = re.compile(r"\A(?:[^\S\n]*+\n)++")


@dataclass(frozen=True, slots=True)
class ParsedCompletion:
    """A parsed completion."""

    trace: str | None
    """The text before the answer, without blank lines at its ends; None if it is empty."""
    answer: str | None
    """The answer as marked by the format; None if nothing is marked."""
    reason: str
    """Why trace or answer is missing or had to be guessed; empty if the format was kept."""
    tagged: bool = False
    """Whether a think tag marks the trace."""


def trimmed(text: str) -> str:
    """Strip blank lines and white space from the ends of a text; keep the first line's indentation."""
    return _BLANK_LINES.sub("", text).rstrip()


MOST_JUDGED = 400_000
"""Most characters of an output that are judged; only imported files have longer ones."""


def bounded(text: str) -> str:
    """Return the judged part of an output: all of it, or MOST_JUDGED characters, a quarter from its start.

    Most are from its end, which has the final statement.
    """
    if len(text) <= MOST_JUDGED:
        return text
    head = MOST_JUDGED // 4
    return f"{text[:head]}\n{text[head - MOST_JUDGED :]}"


def write_completion(trace: str | None, answer: str, format: Format = "plain") -> str:
    """Write one completion from a trace (None: answer only) and an answer; a multi-line answer starts on its own line.

    `reasoning` puts the trace into think tags, which `split_reasoning` parses and the chat template may replace
    (rendering.py); without a trace they are empty.
    """
    if format == "tags":
        head = "" if trace is None else f"<think>{trace}</think> "
        return f"{head}<answer>{answer}</answer>"
    below = "\n" in answer.strip()
    if format == "reasoning":
        return f"<think>\n{trace or ''}\n</think>\n\nAnswer:" + ("\n" if below else " ") + answer
    head = f"{trace}\n" if trace else ""
    return f"{head}Answer:\n{answer}" if below else f"{head}Answer: {answer}"


def trace_in(completion: str, answer: str, format: Format) -> str | None:
    """Return the trace of a completion that `write_completion` made with this answer; None if it has none."""
    head, _, tail = write_completion("\0", answer, format).partition("\0")
    if completion == write_completion(None, answer, format) or not (
        completion.startswith(head) and completion.endswith(tail)
    ):
        return None
    return completion[len(head) : len(completion) - len(tail)]


def split_reasoning(completion: str) -> tuple[str, str] | None:
    """Split a completion in the format `reasoning` into (trace, rest); None if it is in another format."""
    reasoned = _REASONED.match(completion)
    return (reasoned[1], reasoned[2]) if reasoned else None


def prefill_text(trace: str, format: Format = "plain") -> str:
    """Write the beginning of a completion up to its answer, as a prefill."""
    if format == "tags":
        return f"<think>{trace}</think> <answer>"
    if format == "reasoning":
        return f"<think>\n{trace}\n</think>\n\nAnswer:"
    return f"{trace}\nAnswer:"


def parse_completion(text: str) -> ParsedCompletion:
    """Parse a completion in any format. Tags win over an `Answer:` line, and the last marker with an answer wins.

    An answer on its marker's line ends with that line. An answer below its marker ends before a blank line, the next
    marker, or a line that starts something else (`Question:`, `Explanation:`, `The answer is`, `User:`, ...). After
    closed thinking (whose opening tag may be in the prompt), everything is the answer unless there is a marker.

    Reverses `write_completion` for every trace and answer that contain no marker, tag or such line; in the plain format
    the answer may have several lines, but no blank ones.
    """
    answers = list(_ANSWER.finditer(text))
    before = text[: answers[-1].start()] if answers else text
    opened, closed = _THINK.search(text), _THOUGHT.search(text)
    if opened and not closed and text[: opened.start()].rpartition("\n")[2].strip():
        opened = None  # mentioned in the middle of a line
    # thinking opened in the prompt is only closed in the completion
    orphan = closed if closed and not (opened and opened.start() < closed.start()) else None
    if orphan and orphan.end() <= len(before):
        trace: str | None = trimmed(text[: orphan.start()])
        tail, thought = text[orphan.end() :], True
    elif opened:
        trace, tail, thought = trimmed(opened.group(1)), text[opened.end() :], True
    else:
        trace, tail, thought = trimmed(before), "", False
    if answers:
        unclosed = "</answer>" not in text[answers[-1].start() :].lower() or (opened is not None and closed is None)
        reason = "a tag is not closed" if unclosed else ""
        return ParsedCompletion(trace or None, answers[-1].group(1).strip(), reason, thought)
    if thought:
        marked = _marked(tail)
        answer = marked[1] if marked else tail.strip()
        kept = closed is not None and marked is not None and bool(answer)  # the format `reasoning`
        return ParsedCompletion(trace or None, answer or None, "" if kept else "no <answer> tag", tagged=True)
    marked = _marked(text)
    if marked is None:
        return ParsedCompletion(trimmed(text) or None, None, "no answer marker")
    start, answer = marked
    return ParsedCompletion(trimmed(text[:start]) or None, answer or None, "" if answer else "empty answer")


def _marked(text: str) -> tuple[int, str] | None:
    """Return the start of the last marker with an answer, and that answer; None without a marker.

    If no marker has an answer, return the start of the first one, and an empty answer.
    """
    markers = list(MARKER.finditer(text))
    end = len(text)
    for marker in reversed(markers):
        answer = _answer_after(marker, text[marker.end() : end])
        if answer:
            return marker.start(), answer
        end = marker.start()
    return (markers[0].start(), "") if markers else None


def _answer_after(marker: re.Match[str], text: str) -> str:
    """Return the answer at the start of the text between a marker and the next one."""
    line, _, below = text.partition("\n")
    answer = line.strip() or _BLOCK_END.split(below.strip(), maxsplit=1)[0].strip()
    dress = marker["dress"]
    if marker["open"] and answer.endswith(dress) and not answer.startswith(dress):
        answer = answer.removesuffix(dress).rstrip()
    return answer
