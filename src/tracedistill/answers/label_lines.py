"""Answers written on lines: `City: Berlin` among other labels, or a list of names, an item a line."""

from __future__ import annotations

import re

from tracedistill.answers.asked import stems

_LINE = re.compile(
    r"[\s*_•>#-]{0,8}(?P<label>[A-Za-z][\w '/()-]{0,30}?)[*_]{0,2}\s?[:=][*_]{0,2}\s{0,4}(?P<value>[^\s][^\n]{0,200})"
)
_ITEM = re.compile(r"\s{0,6}(?:[-*•+]|\(?\d{1,2}[.)])\s{1,3}(?P<item>[^\s:=][^\n:=]{0,40})")
_MOST = 30


def labelled_value(text: str, question: str) -> tuple[int, int] | None:
    """Return the span of the value whose label the question names, if a text is nothing but lines with labels."""
    if not question or "\n" not in text or (":" not in text and "=" not in text):
        return None
    asked = stems(question)
    found, at = [], 0
    for line in text.split("\n"):
        match = _LINE.fullmatch(line.rstrip())
        if match is None and line.strip():
            return None
        if match is not None:
            label = stems(match["label"])
            share = len(label & asked) / len(label) if label else 0.0
            found.append((share, at + match.start("value"), at + match.end("value")))
        at += len(line) + 1
    best = sorted(found, reverse=True)[:2]
    if not 1 < len(found) <= _MOST or best[0][0] == 0 or best[0][0] == best[1][0]:
        return None
    return best[0][1:]


def listed_items(text: str) -> str:
    """Return the items of a text that is nothing but a list, one a line, side by side; else nothing."""
    if "\n" not in text or len(text) > 2000:
        return ""
    items = [_ITEM.fullmatch(line.rstrip(" .,;")) for line in text.split("\n") if line.strip()]
    names = [match["item"].strip(" *_") for match in items if match is not None]
    short = all(len(name.split()) < 5 for name in names)
    return ", ".join(names) if short and 1 < len(names) == len(items) <= _MOST else ""
