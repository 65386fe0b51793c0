r"""Answers that list statements or options by their labels: `\text{II and III}`, `I only`, `A and C`."""

from __future__ import annotations

import re

from tracedistill.answers.asides import aside
from tracedistill.answers.expressions import last_box
from tracedistill.answers.latex import spelled
from tracedistill.answers.marks import denied, last_mark
from tracedistill.answers.statements import backwards

_LABEL = r"(?:(?:VIII|VII|VI|IV|IX|III|II|I|V|X)|[A-H])(?![\w'’])"
_JOIN = r"(?:\s?,\s?and\s|\s?,\s?|\sand\s|\s?&\s?)"
_LIST = re.compile(rf"(?<![\w'’]){_LABEL}(?:{_JOIN}{_LABEL})*")
_WHOLE = re.compile(
    rf"(?:(?:only|just|both|statements?|options?)\s)*(?P<list>{_LABEL}(?:{_JOIN}{_LABEL})*)(?P<only>\sonly)?",
    re.IGNORECASE,
)
_PART = re.compile(_LABEL)
_VOUCHED_BEFORE = re.compile(r"\b(?:only|just|statements?|options?|both|is|are)[\s*:]{1,4}\Z", re.IGNORECASE)
_VOUCHED_AFTER = re.compile(r"[\s*]{1,4}(?:only|alone)\b", re.IGNORECASE)
_DENIED_BEFORE = re.compile(
    r"\b(?:not|false|wrong|incorrect|except|neither|nor|without)\b[^.;,]{0,30}\Z", re.IGNORECASE
)
_DENIED_AFTER = re.compile(
    r"[\s*]{0,4}(?:is|are|must be|can be)?\s?(?:both |all )?(?:false|wrong|incorrect|not|fails?)\b|\s?(?:or|/)\s",
    re.IGNORECASE,
)
_OR_BEFORE = re.compile(r"\bor\s[\s*]{0,3}\Z", re.IGNORECASE)
_LOOK_BACK = 4


def label_list(answer: str) -> frozenset[str] | None:
    r"""Return the labels of an answer that is nothing else; None for others, and for one label without `only`."""
    match = _WHOLE.fullmatch(spelled(answer))
    if match is None or re.search(r"\b[a-h]\b", match["list"]):
        return None
    labels = frozenset(_PART.findall(match["list"]))
    return labels if len(labels) > 1 or "only" in match.group().lower() else None


def stated_labels(text: str) -> tuple[frozenset[str], str] | None:
    """Return the labels that a text states last, and the words that state them; None if it states none."""
    box = last_box(text)
    if box is not None:
        match = _WHOLE.fullmatch(spelled(box.text))
        return (frozenset(_PART.findall(match["list"])), box.text) if match else None
    seen = 0
    for statement in backwards(text, len(text)):
        if seen >= _LOOK_BACK:
            break
        begin = last_mark(text, statement.start, statement.end) or statement.start
        said = text[begin : statement.end].strip(" *\n.\"'$")
        if not said or aside(text, statement.start, statement.end) or denied(text, statement.start, statement.end):
            continue
        seen += 1
        whole = _WHOLE.fullmatch(spelled(said))
        if whole and not re.search(r"\b[a-h]\b", whole["list"]):
            return frozenset(_PART.findall(whole["list"])), said
        for match in reversed(list(_LIST.finditer(said))):
            before, after = said[: match.start()], said[match.end() :]
            labels = frozenset(_PART.findall(match.group()))
            vouched = len(labels) > 1 or _VOUCHED_BEFORE.search(before) or _VOUCHED_AFTER.match(after)
            refused = _DENIED_BEFORE.search(before) or _DENIED_AFTER.match(after) or _OR_BEFORE.search(before)
            if vouched and not refused:
                return labels, said
    return None
