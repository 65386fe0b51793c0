"""The report in the terminal: narrow tables, readable in 80 columns."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tracedistill.errors import InputError
from tracedistill.files import read_json
from tracedistill.report.findings import VOTED, arm_label, counted_label, labels_of
from tracedistill.report.format import cell_text, p_value, percent, points
from tracedistill.report.markdown import candidates
from tracedistill.report.records import is_flagged
from tracedistill.shown import narrow_table, wide_console

ALWAYS = ("against", "runs", "ways")
"""Sections that a reader is after where there are any: the terminal shows them too."""
JOINT_KEY = "joint: trace right & answer right, right & wrong, wrong & right, wrong & wrong; unparsed counts as wrong"


def print_report(folder: Path, console: Console | None = None, sections: Collection[str] = ()) -> None:
    """Print findings, arms, comparisons and costs out of report.json, and the sections named (`all`: all of them).

    Of other sections only tables with flagged cells are printed: what must not be overlooked.
    """
    report = read_json(folder / "report.json")
    console = console or wide_console()
    known = [section["key"] for section in report["sections"]]
    unknown = [key for key in sections if key not in known and key != "all"]
    if unknown:
        raise InputError(f"no section '{unknown[0]}' in this report; it has: {', '.join(known)}")
    arms = report["arms"]
    console.print(_answers(report["study"], arms))
    if any(arm["vote"] for arm in arms):
        console.print(VOTED, style="dim")
    if any(arm["judges_traces"] for arm in arms):
        console.print(_traces([arm for arm in arms if arm["judges_traces"]]))
        console.print(JOINT_KEY, style="dim")
    console.print(_costs(arms))
    if report["comparisons"]:
        console.print(_comparisons(report["comparisons"], labels_of(report)))
    for section in report["sections"]:
        whole = section["key"] in sections or "all" in sections or section["key"] in ALWAYS
        print_section(section, console, whole=whole)
    for line in report.get("decision", []):
        console.print(escape(line), style="bold")
    for line in report["findings"]:
        console.print(escape(line), style="bold")
    for line in report["limits"]:
        console.print(escape(f"- {line}"), style="dim")
    memory = report["peak_memory_bytes"] / 1e9
    worked = f"{report['seconds']:.0f} s of work, peak memory {memory:.2f} GB; page: {folder / 'report.html'}"
    console.print(escape(worked), soft_wrap=True)


def print_section(section: Mapping[str, Any], console: Console, *, whole: bool = True) -> None:
    """One section, whatever it holds; flagged cells in red. `whole` False: only the rows with such cells."""
    tables = [table for table in section["tables"] if whole or table["flagged"]]
    if not tables and not whole:
        return
    if whole:
        console.print(escape(section["title"]), style="bold")
        for note in section["notes"]:
            console.print(escape(note), style="dim")
    for table in tables:
        title = table["title"] if whole else f"{section['title']}: {table['title']}".removesuffix(": ")
        flagged = {row for row, _ in table["flagged"]}
        rows = [
            [(cell_text(cell), is_flagged(table, number, place)) for place, cell in enumerate(row)]
            for number, row in enumerate(table["rows"])
            if whole or number in flagged
        ]
        console.print(narrow_table(title, table["heads"], rows))
        if table["note"] and whole:
            console.print(escape(table["note"]), style="dim")


def _answers(study: str, arms: Sequence[dict[str, Any]]) -> Table:
    heads = ("arm", "n", "answer right", "95% interval", "candidate", "missing", "ungradable", "cut off")
    rows = []
    for arm in arms:
        share = arm["accuracy"]["raw"]
        interval = f"{percent(share['low'])} - {percent(share['high'])}"
        right = f"{arm['correct']}  {percent(share['value'])}"
        counts = (arm[key] for key in ("missing", "ungradable", "cut_off"))
        rows.append((counted_label(arm), arm["n"], right, interval, candidates(arm), *counts))
    return narrow_table(f"{study}: answers (final statement; beside it the candidate reading)", heads, rows)


def _traces(arms: Sequence[dict[str, Any]]) -> Table:
    heads = ("arm", "trace right", "unparsed", "joint", "P(a|t right)", "P(a|t wrong)")
    rows = []
    for arm in arms:
        given = arm["association"]
        rows.append(
            (
                arm_label(arm),
                arm["trace_correct"],
                arm["trace_unparsed"],
                " ".join(map(str, arm["joint"])),
                percent(given["answer_if_trace_ok"]["value"]),
                percent(given["answer_if_trace_wrong"]["value"]),
            )
        )
    return narrow_table("the students' own traces", heads, rows)


def _costs(arms: Sequence[dict[str, Any]]) -> Table:
    heads = ("arm", "tokens in", "tokens out", "seconds", "training s")
    rows = []
    for arm in arms:
        training = "-" if arm["training_seconds"] is None else f"{arm['training_seconds']:.0f}"
        rows.append((arm_label(arm), arm["tokens_in"], arm["tokens_out"], f"{arm['seconds']:.1f}", training))
    return narrow_table("cost", heads, rows)


def _comparisons(comparisons: Sequence[dict[str, Any]], labels: Mapping[str, str]) -> Table:
    heads = ("first - second", "points", "95% interval", "only 1st/2nd", "p", "p (Holm)")
    rows = [
        (
            f"{labels[entry['first']]} - {labels[entry['second']]}",
            points(entry["difference"]),
            f"{points(entry['low'])} to {points(entry['high'])}",
            f"{entry['only_first']} / {entry['only_second']}",
            p_value(entry["p"]),
            p_value(entry["p_holm"]),
        )
        for entry in comparisons
    ]
    return narrow_table("paired by problem; Holm over this family", heads, rows)
