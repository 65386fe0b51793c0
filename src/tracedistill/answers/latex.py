"""LaTeX answers in one spelling, and taken apart into tuples, sets, lists and intervals."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Form = Literal["single", "list", "set", "tuple", "interval"]

_SIMPLE = (
    (re.compile(r"\\(?:left|right|displaystyle|bigl?|bigr?|Bigl?|Bigr?|limits)(?![a-z])"), ""),
    (re.compile(r"(?<=\d)(?:\{,\}|,\\!|\\,)\s*(?=\d{3}(?!\d))"), ","),
    (re.compile(r"\\[!,;:>]|\\ |~|\\q?quad(?![a-z])"), " "),
    (re.compile(r"\\[dtc]frac(?![a-z])"), r"\\frac"),
    (re.compile(r"\\frac\s*(\d)\s*(\d)"), r"\\frac{\1}{\2}"),
    (re.compile(r"\\frac\s*(\d)\s*\{"), r"\\frac{\1}{"),
    (re.compile(r"\\sqrt\s*(\w)"), r"\\sqrt{\1}"),
    (re.compile(r"\\(?:text|mbox|textbf|textit|textnormal|mathrm|mathbf|mathit|operatorname)\s*\{([^{}]*)\}"), r" \1 "),
    (re.compile(r"\^\s*\{?\s*\\circ\s*\}?|\\degree|°"), ""),
    (re.compile(r"\\le(?:q|qslant)?(?![a-z])|<=|≤"), r"\\leq "),
    (re.compile(r"\\ge(?:q|qslant)?(?![a-z])|>=|≥"), r"\\geq "),
    (re.compile(r"\\ne(?:q)?(?![a-z])|!=|≠"), r"\\neq "),
    (re.compile(r"\\lt(?![a-z])"), "<"),
    (re.compile(r"\\gt(?![a-z])"), ">"),
    (re.compile(r"∞|\binfinity\b"), r"\\infty "),
    (re.compile(r"π"), r"\\pi "),
    (re.compile(r"∪"), r"\\cup "),
    (re.compile(r"√\s*(\d+)"), r"\\sqrt{\1}"),
    (re.compile(r"\\?\$"), ""),
    (re.compile(r"\\%"), "%"),
    (re.compile(r"\\(?:cdot|times)(?![a-z])|·|×"), "*"),
)
_SPACE = re.compile(r"\s+")
_CLOSER = {"(": ")", "[": "]", "{": "}"}
_OPENERS, _CLOSERS = frozenset("([{"), frozenset(")]}")
_JOIN = re.compile(r"\s*(?:,|;)?\s*\b(?:and|or)\b\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Shape:
    """An answer taken apart at its top level."""

    form: Form
    """single: no parts; list: `a, b`; set: `{a, b}`; tuple: `(a, b)`; interval: one bracket is square."""
    parts: tuple[str, ...]
    """The parts as written."""
    brackets: str = ""
    """The opening and closing bracket of a tuple or interval."""


def spelled(latex: str) -> str:
    """One spelling for what LaTeX can write in several ways; not a normal form of mathematics."""
    text = unwrapped(single_escaped(latex))
    if "\\" in text or not text.isascii() or "<" in text or ">" in text or "$" in text or "!" in text:
        for pattern, replacement in _SIMPLE:
            text = pattern.sub(replacement, text)
    return _SPACE.sub(" ", text).strip().rstrip(".").strip()


def single_escaped(latex: str) -> str:
    r"""Commands that were escaped twice (`\\le`) with one backslash; matrices keep their row ends."""
    return latex.replace("\\\\", "\\") if "\\\\" in latex and "\\begin" not in latex else latex


def unwrapped(latex: str) -> str:
    """The answer without the delimiters or the box around all of it."""
    text = latex.strip()
    for _ in range(6):
        before = text
        for left, right in (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"), ("**", "**"), ("`", "`")):
            inner = text[len(left) : len(text) - len(right)]
            if (
                len(text) > len(left) + len(right)
                and text.startswith(left)
                and text.endswith(right)
                and left not in inner
            ):
                text = inner.strip()
        for box in ("\\boxed{", "\\fbox{"):
            if text.startswith(box) and closing(text, len(box) - 1) == len(text) - 1:
                text = text[len(box) : -1].strip()
        if text == before:
            break
    return text


def closing(text: str, start: int, limit: int = 4000) -> int:
    """Position of the bracket that closes the one at `start`; -1 where none does within `limit` characters."""
    opener = text[start]
    closer = _CLOSER[opener]
    depth = 0
    for index in range(start, min(len(text), start + limit)):
        char = text[index]
        if char == opener:
            depth += 1
        elif char == closer:
            depth -= 1
            if depth == 0:
                return index
    return -1


def split_top(text: str, separators: str = ",;") -> list[str]:
    """Parts between separators that stand in no bracket; thousands separators do not separate."""
    parts, depth, start = [], 0, 0
    for index, char in enumerate(text):
        if char in _OPENERS:
            depth += 1
        elif char in _CLOSERS:
            depth -= 1
        elif char in separators and depth == 0 and not _thousands(text, index):
            parts.append(text[start:index])
            start = index + 1
    parts.append(text[start:])
    return [part.strip() for part in parts if part.strip()]


_GROUPED = re.compile(r"(?<![\d.])\d{1,3}(?:,\d{3})+(?![\d])")


def _thousands(text: str, index: int) -> bool:
    """Whether a comma groups digits: `1,234` does, `1,2` and `12, 345` do not."""
    if text[index] != "," or not text[index + 1 : index + 2].isdigit() or not text[index - 1 : index].isdigit():
        return False
    return any(match.start() < index < match.end() for match in _GROUPED.finditer(text, max(0, index - 24), index + 24))


def shape(spelling: str) -> Shape:
    """Take a `spelled` answer apart; what has no parts is `single`."""
    text = spelling
    if text.startswith("\\{") and text.endswith("\\}"):
        return Shape("set", tuple(split_top(text[2:-2])))
    if text[:1] in _OPENERS and text[-1:] in _CLOSERS:
        inner = text[1:-1]
        if _spans(text):
            parts = split_top(inner)
            if text[0] == "{" and text[-1] == "}" and len(parts) > 1:
                return Shape("set", tuple(parts))
            if len(parts) > 1 and text[0] != "{":
                square = len(parts) == 2 and text[0] + text[-1] in {"[]", "(]", "[)"}
                return Shape("interval" if square else "tuple", tuple(parts), text[0] + text[-1])
    if "\\begin" in text or "\\cup" in text:
        return Shape("single", (text,))
    joined = _JOIN.sub(",", text)
    parts = split_top(joined, ";")
    if len(parts) < 2:
        parts = split_top(joined, ",")
    return Shape("list", tuple(parts)) if len(parts) > 1 else Shape("single", (text,))


def _spans(text: str) -> bool:
    """Whether the first bracket is closed by the last one, whatever kind each is."""
    depth = 0
    for index, char in enumerate(text):
        if char in _OPENERS:
            depth += 1
        elif char in _CLOSERS:
            depth -= 1
            if depth == 0:
                return index == len(text) - 1
    return False
