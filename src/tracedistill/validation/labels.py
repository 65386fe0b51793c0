"""Labelled rows for measuring a model judge; JSON Lines, CSV or Parquet.

{"problem": "There are 3 boxes of 4 pens ...", "kind": "plan", "text": "1. Multiply ...", "label": "correct"}

problem  the problem as a student reads it
kind     plan, or step (one step of a plan)
text     the plan, or the step
label    correct or incorrect, by a person or by construction
plan     optional, kind step: the whole plan that contains it (else the step alone is shown)
problem_id, id   optional: sound and unsound plans are paired within a problem; a name for the row
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tracedistill.errors import InputError
from tracedistill.tasks._rows import read_rows
from tracedistill.validation.judge_audit import LabelledItem
from tracedistill.validation.model_judge import JudgeItem

REQUIRED = ("problem", "kind", "text", "label")
"""Columns that every row must have."""


def read_labels(path: Path) -> Iterator[LabelledItem]:
    """Yield labelled rows in file order. Raises InputError naming file and row if one is invalid."""
    seen: set[str] = set()
    for number, row in read_rows(path):
        missing = [name for name in REQUIRED if not str(row.get(name) or "").strip()]
        if missing:
            raise InputError(f"{path}, row {number}: no {missing[0]}; every row needs {', '.join(REQUIRED)}")
        kind, label = _word(row, "kind"), _word(row, "label")
        if kind not in ("plan", "step"):
            raise InputError(f"{path}, row {number}: kind is '{kind}', not plan or step")
        if label not in ("correct", "incorrect"):
            raise InputError(f"{path}, row {number}: label is '{label}', not correct or incorrect")
        text, item_id = str(row["text"]), str(row.get("id") or f"row {number}")
        if item_id in seen:
            raise InputError(f"{path}, row {number}: duplicate id '{item_id}'")
        seen.add(item_id)
        plan = str(row.get("plan") or text)
        item = JudgeItem(item_id, str(row["problem"]), plan, step=text if kind == "step" else "")
        yield LabelledItem(item, label == "correct", str(row.get("problem_id") or ""))


def _word(row: Mapping[str, Any], name: str) -> str:
    return str(row[name]).strip().lower()
