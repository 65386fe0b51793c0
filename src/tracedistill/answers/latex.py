"""LaTeX answers in one spelling."""

from __future__ import annotations

import re

_SIMPLE = (
    (re.compile(r"\\(?:left|right|displaystyle|bigl?|bigr?|Bigl?|Bigr?|limits)(?![a-z])"), ""),
    (re.compile(r"(?<=\d)(?:\{,\}|,\\!|\\,)\s*(?=\d{3}(?!\d))"), ","),
    (re.compile(r"(?<!\\)\\[!,;:> ]|~|\\q?quad(?![a-z])"), " "),
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
    (re.compile(r"\\varnothing(?![a-z])|[∅⌀]|\A\\\{\s*\\\}\Z"), r"\\emptyset "),
    (re.compile(r"√\s*(\d+)"), r"\\sqrt{\1}"),
    (re.compile(r"\\?\$"), ""),
    (re.compile(r"\\%"), "%"),
    (re.compile(r"\\(?:cdot|times)(?![a-z])|·|×"), "*"),
    (re.compile(r"_\s*\{\s*(\w)\s*\}"), r"_\1"),
)
_SPACE = re.compile(r"\s+")
_CLOSER = {"(": ")", "[": "]", "{": "}"}


def spelled(latex: str) -> str:
    """Return one spelling for what LaTeX can write in several ways; not a normal form of mathematics."""
    text = unwrapped(single_escaped(latex))
    if "\\" in text or not text.isascii() or "<" in text or ">" in text or "$" in text or "!" in text:
        for pattern, replacement in _SIMPLE:
            text = pattern.sub(replacement, text)
    return _SPACE.sub(" ", text).strip().rstrip(".").strip()


def single_escaped(latex: str) -> str:
    r"""Return commands that were escaped twice (`\\le`) with one backslash; matrices keep their row ends."""
    return latex.replace("\\\\", "\\") if "\\\\" in latex and "\\begin" not in latex else latex


def unwrapped(latex: str) -> str:
    """Return the answer without the delimiters or the box around all of it."""
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
    """Return the position of the bracket that closes the one at `start`; -1 if none does within `limit` characters."""
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
