"""The outward form of traces: marks and fixed words, lines, length; and how two sets of them differ in it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tracedistill.report.sections.making import Shown

MARKS: Mapping[str, re.Pattern[str]] = {
    "a list in brackets": re.compile(r"\["),
    "braces": re.compile(r"\{"),
    "tags": re.compile(r"</?[A-Za-z]\w*>"),
    "<<...>>": re.compile(r"<<.*?>>"),
    "an equation": re.compile(r"=\s*[-$\d]"),
    "`|` between facts": re.compile(r"\S \| \S"),
    "numbered lines": re.compile(r"^\s*\d+[.)]\s", re.MULTILINE),
    "bullets": re.compile(r"^\s*[-*•]\s", re.MULTILINE),
    "blank lines": re.compile(r"\n[ \t]*\n"),
}
"""What makes a form, whatever is said in it."""

_LABEL = re.compile(r"^[^:\n]{1,200}:", re.MULTILINE)
FIXED = 0.5
"""Words before a colon that stand in this share of the texts belong to the form."""
APART = 0.02
"""Shares of texts with a mark that lie this far apart are another form."""
TENTH = 0.1
"""Lengths of the same problem's traces that are alike."""


@dataclass(frozen=True, slots=True)
class Form:
    """What a set of traces looks like."""

    n: int
    """Texts."""
    marks: Mapping[str, float]
    """Mark or fixed words -> share of the texts that have it."""
    lines: float
    """Mean lines of a text."""
    characters: float
    """Mean characters of a text."""


def form_of(texts: Iterable[str]) -> Form:
    """The form of these texts."""
    marks: Counter[str] = Counter()
    labels: Counter[str] = Counter()
    n = lines = characters = 0
    for text in texts:
        n, lines, characters = n + 1, lines + text.count("\n") + 1, characters + len(text)
        marks.update(name for name, pattern in MARKS.items() if pattern.search(text))
        labels.update({found.group().strip() for found in _LABEL.finditer(text)})
    fixed = {f"`{label}`": count for label, count in labels.items() if count >= FIXED * n}
    every = {**marks, **fixed}
    share = {name: count / n for name, count in every.items()}
    return Form(n, share, lines / n if n else 0.0, characters / n if n else 0.0)


def other_marks(first: Form, second: Form) -> list[tuple[str, float, float]]:
    """(mark, share in the first, in the second) of marks that tell two forms apart, the widest gap first."""
    names = {**first.marks, **second.marks}
    apart = [(name, first.marks.get(name, 0.0), second.marks.get(name, 0.0)) for name in names]
    found = [each for each in apart if abs(each[1] - each[2]) > APART]
    return sorted(found, key=lambda each: (-abs(each[1] - each[2]), each[0]))


def alike_in_length(first: Mapping[str, Shown], second: Mapping[str, Shown]) -> tuple[int, int]:
    """(problems whose two traces differ by at most a tenth in length, problems that have both)."""
    pairs = [(row.trace, second[key].trace) for key, row in first.items() if key in second]
    both = [(len(one), len(other)) for one, other in pairs if one is not None and other is not None]
    return sum(abs(one - other) <= TENTH * one for one, other in both), len(both)
