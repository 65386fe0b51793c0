"""Two arms as they were made: what is known of each, read once, and one thing in which they differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tracedistill.report.records import Cell
from tracedistill.report.runs import ArmFacts, RunView
from tracedistill.report.sections.provenance import ArmText, adapter_of, forced_of, plans_of, rows_of
from tracedistill.report.sections.text_form import TextForm, form_of

WIDTH = 90
"""Characters of a value that are shown."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """One thing in which two arms differ, or that is wrong with one of them."""

    what: str
    """What differs."""
    first: Cell
    """In the first arm."""
    second: Cell
    """In the second arm."""
    why: str
    """`declared`, what it comes with, or what is wrong about it."""
    flagged: bool
    """Whether nothing declares it."""


@dataclass(slots=True)
class ComparedArm:
    """What is known of how an arm was made, each thing read once."""

    arm: ArmFacts
    """The arm."""
    view: RunView
    """Its run."""
    _kept: dict[str, Any] = field(default_factory=dict)

    def texts(self, kind: str) -> Mapping[str, ArmText]:
        """Return what it was tuned on, is shown or has forced on it, by problem and place among a problem's several."""
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
    """Return the first ids of an order."""
    return short(", ".join(ids[:2]) + ", ...")


def short(value: Any) -> str:
    """Format a value in one line."""
    if isinstance(value, Mapping):
        value = ", ".join(f"{key} {share}" for key, share in value.items()) or None
    text = "-" if value is None else " ".join(str(value).split())
    return text if len(text) <= WIDTH else f"{text[: WIDTH - 3]}..."
