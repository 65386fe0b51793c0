"""The report in the terminal: tables that fit 80 columns."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from tracedistill.errors import InputError
from tracedistill.output import narrow_table, wide_console
from tracedistill.report.arms_table import ANSWERS, COST, JOINT_KEY, TRACES, arms_table, comparisons_table
from tracedistill.report.format import cell_text
from tracedistill.report.reader import read_report
from tracedistill.report.tables import Section, Table

ALWAYS = ("against", "runs", "ways")
"""Sections that the terminal always shows if present."""


def print_report(folder: Path, console: Console | None = None, sections: Collection[str] = ()) -> None:
    """Print findings, arms, comparisons and costs from report.json, and the named sections (`all`: all of them).

    Of other sections only tables with flagged cells are printed.
    """
    report = read_report(folder)
    console = console or wide_console()
    known = [section.key for section in report.sections]
    unknown = [key for key in sections if key not in known and key != "all"]
    if unknown:
        raise InputError(f"no section '{unknown[0]}' in this report; it has: {', '.join(known)}")
    answers = arms_table(report, ANSWERS)
    title = f"{report.study}: answers (final statement; beside it the candidate reading)"
    print_table(replace(answers, title=title), console)
    judging = replace(report, arms=tuple(arm for arm in report.arms if arm.judges_traces))
    if judging.arms:
        print_table(replace(arms_table(judging, TRACES), note=JOINT_KEY), console)
    print_table(replace(arms_table(report, COST), note=""), console)
    if report.comparisons:
        print_table(comparisons_table(report), console)
    for section in report.sections:
        print_section(section, console, whole=bool({section.key, "all"} & {*sections}) or section.key in ALWAYS)
    for line in (*report.decision, *report.findings):
        console.print(escape(line), style="bold")
    for line in report.limits:
        console.print(escape(f"- {line}"), style="dim")
    memory = report.peak_memory_bytes / 1e9
    worked = f"{report.seconds:.0f} s of work, peak memory {memory:.2f} GB; page: {folder / 'report.html'}"
    console.print(escape(worked), soft_wrap=True)


def print_section(section: Section, console: Console, *, whole: bool = True) -> None:
    """Print one section with flagged cells in red. `whole` False: only rows with flagged cells."""
    if whole:
        console.print(escape(section.title), style="bold")
        for note in section.notes:
            console.print(escape(note), style="dim")
        for table in section.tables:
            print_table(table, console)
        return
    for table in section.tables:
        if table.flagged:
            title = f"{section.title}: {table.title}".removesuffix(": ")
            print_table(replace(table, title=title, note=""), console, {row for row, _ in table.flagged})


def print_table(table: Table, console: Console, only: Collection[int] | None = None) -> None:
    """Print one table, flagged cells in red. `only`: rows to print."""
    rows = [
        [(cell_text(cell), (number, place) in table.flagged) for place, cell in enumerate(row)]
        for number, row in enumerate(table.rows)
        if only is None or number in only
    ]
    console.print(narrow_table(table.title, table.heads, rows))
    if table.note:
        console.print(escape(table.note), style="dim")
