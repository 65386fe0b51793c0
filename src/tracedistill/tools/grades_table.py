"""Print a grading's figures in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape

from tracedistill.output import narrow_table, wide_console
from tracedistill.report.arms_table import JOINT_KEY
from tracedistill.report.format import percent
from tracedistill.tools.grade import Tally

NOT_OWN = ("task", "policy", "file", "groups", "second", "troubles")
"""Entries of a summary that are no figures."""
QUEUE_SHOWN = 10


def print_grades(figures: Mapping[str, Any]) -> None:
    """Print the totals, then the groups, the task's own figures, the second checker and ungradable rows."""
    console = wide_console()
    groups = figures.get("groups", [])
    names = [name for name in groups[0] if name not in figures] if groups else []
    labelled = [(" ".join(str(group[name]) for name in names), group) for group in groups] + [("all", figures)]
    title = f"{figures['file']}, task {figures['task']}, policy {figures['policy']}: answers"
    heads = ("rows", "n", "correct", "95% interval", "incorrect", "missing", "ungradable")
    console.print(narrow_table(title, heads, [(label, *_answers(group)) for label, group in labelled]))
    trace_heads = ("rows", "derived", "trace right", "wrong", "unparsed", "none", "not judged", "joint")
    console.print(narrow_table("body and traces", trace_heads, [(label, *_traces(group)) for label, group in labelled]))
    console.print(JOINT_KEY, style="dim")
    common = {*Tally().summary(), *NOT_OWN}
    own = {name: value for name, value in figures.items() if name not in common}
    if own:
        console.print(", ".join(f"{name} {value:g}" for name, value in own.items()))
    if figures["trace_correct"] + figures["trace_incorrect"]:
        given = percent(figures["p_answer_given_trace_ok"]), percent(figures["p_answer_given_trace_wrong"])
        phi = "-" if figures["phi"] is None else f"{figures['phi']:.3f}"
        console.print(f"P(answer right | trace right) {given[0]}, P(answer right | trace wrong) {given[1]}, phi {phi}")
    if "second" in figures:
        _print_second(figures["second"], console)
    for trouble in figures.get("troubles", []):
        console.print(f"ungradable: {escape(trouble)}", style="yellow")


def _answers(group: Mapping[str, Any]) -> tuple[object, ...]:
    right = f"{group['correct']}  {percent(group['accuracy'])}"
    interval = f"{percent(group['accuracy_low'])} - {percent(group['accuracy_high'])}"
    return group["n"], right, interval, group["incorrect"], group["missing"], group["ungradable"]


def _traces(group: Mapping[str, Any]) -> tuple[object, ...]:
    counts = (group[f"trace_{name}"] for name in ("correct", "incorrect", "unparsed", "none", "not_judged"))
    return group["derived_correct"], *counts, " ".join(map(str, group["joint"]))


def _print_second(second: Mapping[str, Any], console: Console) -> None:
    console.print(
        f"second checker: both right {second['both']}, only ours {second['only_ours']}, "
        f"only theirs {second['only_theirs']}, neither {second['neither']}; it found no answer in "
        f"{second['second_found_nothing']} rows"
    )
    queue = second["disagreements"]
    if queue:
        more = f" and {len(queue) - QUEUE_SHOWN} more (summary file)" if len(queue) > QUEUE_SHOWN else ""
        console.print(f"to look at: {escape(', '.join(queue[:QUEUE_SHOWN]))}{more}")
