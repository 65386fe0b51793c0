"""Form of traces: marks and fixed words, lines, length, and how two sets of traces differ in it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tracedistill.report.sections.provenance import ArmText

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
"""Marks of a format, independent of content."""

SPACING: Mapping[str, re.Pattern[str]] = {
    "two blanks in a row": re.compile(r"\S {2,}\S"),
    "blanks at a line's end": re.compile(r"[ \t]+$", re.MULTILINE),
    "blanks at a line's start": re.compile(r"^[ \t]+\S", re.MULTILINE),
    "a newline at an end": re.compile(r"\A\s*\n|\n\s*\Z"),
    "tabs": re.compile(r"\t"),
    "carriage returns": re.compile(r"\r"),
    "blanks of other kinds": re.compile(r"[\u00a0\u1680\u2000-\u200b\u2028\u2029\u202f\u205f\u3000\ufeff\v\f\x85]"),
    "a blank before a mark": re.compile(r"\w [,.;:!?](?:\s|\Z)"),
    "no blank after a mark": re.compile(r"\w[,;:](?=\w)(?!\d)"),
}
"""White space that a tokenizer sees and a reader of the page does not."""

_LABEL = re.compile(r"^[^:\n]{1,200}:", re.MULTILINE)
FIXED = 0.5
"""Share of texts in which words before a colon count as part of the format."""
APART = 0.02
"""Difference in the share of texts with a mark from which formats count as different."""
SPACED = 0.1
"""Difference in the share of texts with the same spacing that the content cannot explain."""
TRACE, ANSWER = "{trace}", "{answer}"
"""Placeholders for trace and answer in a frame."""
_SEEN = str.maketrans({" ": "␣", "\n": "↵", "\r": "␍", "\t": "⇥"})
_MARKED = re.compile(r"<answer>|^[^\S\n]*answer:", re.IGNORECASE | re.MULTILINE)
TENTH = 0.1
"""Relative difference up to which two traces' lengths count as alike."""


@dataclass(frozen=True, slots=True)
class TextForm:
    """Form of a set of traces."""

    n: int
    marks: Mapping[str, float]
    """Mark or fixed words -> share of the texts that have it."""
    spacing: Mapping[str, float]
    """Kind of white space -> share of the texts that have it."""
    lines: float
    """Mean lines per text."""
    characters: float
    """Mean characters per text."""


def form_of(texts: Iterable[str]) -> TextForm:
    """Measure the form of these texts."""
    marks: Counter[str] = Counter()
    spaces: Counter[str] = Counter()
    labels: Counter[str] = Counter()
    n = lines = characters = 0
    for text in texts:
        n, lines, characters = n + 1, lines + text.count("\n") + 1, characters + len(text)
        marks.update(name for name, pattern in MARKS.items() if pattern.search(text))
        spaces.update(name for name, pattern in SPACING.items() if pattern.search(text))
        labels.update({match.group().strip() for match in _LABEL.finditer(text)})
    fixed = {f"`{label}`": count for label, count in labels.items() if count >= FIXED * n}
    share = {name: count / n for name, count in {**marks, **fixed}.items()}
    spacing = {name: count / n for name, count in spaces.items()}
    return TextForm(n, share, spacing, lines / n if n else 0.0, characters / n if n else 0.0)


def other_marks(first: TextForm, second: TextForm) -> list[tuple[str, float, float]]:
    """Return (mark, share in the first, in the second) of marks that distinguish two forms, the widest gap first."""
    return _apart(first.marks, second.marks, APART)


def other_spacing(first: TextForm, second: TextForm) -> list[tuple[str, float, float]]:
    """Return (white space, share in the first, in the second) of spacing that distinguishes two forms."""
    return _apart(first.spacing, second.spacing, SPACED)


def other_frames(first: Sequence[str], second: Sequence[str]) -> list[tuple[str, float, float]]:
    """Return (frame, share in the first, in the second) of frames found in only one of two sets of rows."""
    shares = [{frame: count / len(frames) for frame, count in Counter(frames).items()} for frames in (first, second)]
    return _apart(shares[0], shares[1], SPACED)


def _apart(first: Mapping[str, float], second: Mapping[str, float], least: float) -> list[tuple[str, float, float]]:
    apart = [(name, first.get(name, 0.0), second.get(name, 0.0)) for name in {**first, **second}]
    differing = [share for share in apart if abs(share[1] - share[2]) > least]
    return sorted(differing, key=lambda share: (-abs(share[1] - share[2]), share[0]))


def frame_of(completion: str, trace: str | None, answer: str | None) -> str:
    """Return a completion without its trace and answer, blanks made visible: `{trace}↵Answer:␣{answer}`."""
    head, rest = "", completion
    if trace is not None and trace in completion:
        before, rest = completion.split(trace, 1)
        head = before + TRACE
    if answer is not None:
        marks = list(_MARKED.finditer(rest))
        place = rest.find(answer, marks[-1].end() if marks else 0)
        if place >= 0:
            rest = rest[:place] + ANSWER + rest[place + len(answer) :]
    return (head + rest).translate(_SEEN)


def around_answer(frame: str) -> str:
    """Return the part of a frame shared by rows with and without a trace."""
    marks = list(_MARKED.finditer(frame.replace("↵", "\n")))
    return frame[marks[-1].start() :] if marks else frame


def alike_in_length(first: Mapping[str, ArmText], second: Mapping[str, ArmText]) -> tuple[int, int]:
    """Return (problems whose traces differ by at most a tenth in length, problems with both traces)."""
    pairs = [(row.trace, second[key].trace) for key, row in first.items() if key in second]
    both = [(len(one), len(other)) for one, other in pairs if one is not None and other is not None]
    return sum(abs(one - other) <= TENTH * one for one, other in both), len(both)
