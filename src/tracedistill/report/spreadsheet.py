"""The arms table and the comparisons as CSV, every figure in a column of its own."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula."""

AS_IS = (
    "name", "kind", "student", "teacher", "prompt", "tune", "adapter", "forced", "vote", "n", "attempts", "correct",
)  # fmt: skip
COUNTS = (
    "candidate", "derived", "missing", "ungradable", "cut_off", "too_long", "errors", "no_plan", "trace_correct",
    "trace_unparsed", "trace_none", "trace_not_judged", "traces_judged", "answer_in_trace", "tokens_in", "tokens_out",
    "seconds", "training_seconds", "file",
)  # fmt: skip
JOINT = ("both", "trace_only", "answer_only", "neither")


def arm_row(arm: Mapping[str, Any]) -> dict[str, Any]:
    """All figures of one arm, flat."""
    row = {name: arm[name] for name in AS_IS}
    for name, prefix in (("raw", "accuracy"), ("completed", "completed"), ("if_cut_off_wrong", "if_cut_off_wrong"),
                         ("if_cut_off_right", "if_cut_off_right")):  # fmt: skip
        row |= _share(prefix, arm["accuracy"][name])
    row |= {name: arm[name] for name in COUNTS[:-1]}
    found = arm["association"]
    row |= dict(zip(JOINT, arm["joint"], strict=True))
    row |= {name: found[name] for name in ("unparsed_answer_ok", "unparsed_answer_wrong")}
    row |= _share("p_answer_given_trace_ok", found["answer_if_trace_ok"])
    row |= _share("p_answer_given_trace_wrong", found["answer_if_trace_wrong"])
    interval = found["odds_ratio_interval"] or {"low": None, "high": None}
    row |= {"odds_ratio": found["odds_ratio"], "odds_ratio_low": interval["low"], "odds_ratio_high": interval["high"]}
    return {**row, "phi": found["phi"], "fisher_p": found["fisher_p"], "file": arm["file"]}


def comparison_row(entry: Mapping[str, Any]) -> dict[str, Any]:
    """All figures of one comparison that are one figure each."""
    return {key: value for key, value in entry.items() if not isinstance(value, list | dict)}


def csv_text(rows: Iterable[Mapping[str, Any]], heads: Sequence[str] = ()) -> str:
    """Rows as CSV under their own keys (`heads` where there is no row); names that look like formulas are text."""
    every = [dict(row) for row in rows]
    columns = list(dict.fromkeys(key for row in every for key in row)) or list(heads)
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _safe(value) for key, value in row.items()} for row in every)
    return stream.getvalue()


def _share(prefix: str, share: Mapping[str, Any]) -> dict[str, Any]:
    value = {prefix: share["value"], f"{prefix}_low": share["low"], f"{prefix}_high": share["high"]}
    return {**value, f"{prefix}_n": share["n"]}


def _safe(value: Any) -> Any:
    """Text that begins like a formula gets the apostrophe with which a spreadsheet marks text; figures stay figures."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
