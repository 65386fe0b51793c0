"""Two arms under comparison: what is known of each, and one thing in which they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tracedistill.report.runs import ArmFacts, RunView
from tracedistill.report.sections.provenance import ArmText, adapter_of, forced_of, plans_of, rows_of
from tracedistill.report.sections.text_form import TextForm, form_of
from tracedistill.report.tables import Cell

WIDTH = 90
"""Most characters shown of a value."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """One difference between two arms, or one defect of an arm."""

    what: str
    first: Cell
    """Value in the first arm."""
    second: Cell
    why: str
    """`declared`, the factor it follows from, or what is wrong about it."""
    flagged: bool
    """Whether the difference is undeclared."""


@dataclass(slots=True)
class ComparedArm:
    """What is known of how an arm was made; every part is read once."""

    arm: ArmFacts
    view: RunView
    _kept: dict[str, Any] = field(default_factory=dict)

    def texts(self, kind: str) -> Mapping[str, ArmText]:
        """Return what it was tuned on, is shown or has forced on it, by problem and index among the problem's texts."""
        if kind not in self._kept:
            by_problem: dict[str, ArmText] = {}
            tuned = adapter_of(self.view, self.arm)
            source = {
                "tuned on": () if tuned is None else rows_of(tuned),
                "shown": plans_of(self.arm),
                "forced": forced_of(self.arm),
            }[kind]
            times: dict[str, int] = {}
            for row in source:
                place = times[row.problem_id] = times.get(row.problem_id, -1) + 1
                by_problem[f"{row.problem_id}/{place}" if place else row.problem_id] = row
            self._kept[kind] = by_problem
        texts: Mapping[str, ArmText] = self._kept[kind]
        return texts

    def form(self, kind: str) -> TextForm:
        """Return the form of these traces."""
        if f"form of {kind}" not in self._kept:
            self._kept[f"form of {kind}"] = form_of(
                row.trace for row in self.texts(kind).values() if row.trace is not None
            )
        form: TextForm = self._kept[f"form of {kind}"]
        return form


def start_of(ids: Sequence[str]) -> str:
    """Return the first ids in order."""
    return short(", ".join(ids[:2]) + ", ...")


def short(value: Any) -> str:
    """Format a value on one line."""
    if isinstance(value, Mapping):
        value = ", ".join(f"{key} {share}" for key, share in value.items()) or None
    text = "-" if value is None else " ".join(str(value).split())
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 3]}..."
