"""What the traces were worth: report.json, one HTML page, Markdown, CSV, and the table in the terminal.

from tracedistill.report import write_view
from tracedistill.report.runs import view_of_folder
from tracedistill.report.combine import combine
write_view(view_of_folder(Path("runs/quickstart")))
write_view(combine([view_of_folder(first), view_of_folder(second)]), out=Path("compared"))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tracedistill.files import atomic, dumps, to_json
from tracedistill.recipes import Study
from tracedistill.records import Problem
from tracedistill.report.arms_table import COMPARISON_HEADS, arm_row, comparison_row
from tracedistill.report.attempt_browser import browse
from tracedistill.report.csv import csv_text
from tracedistill.report.decision import decision
from tracedistill.report.figures import build
from tracedistill.report.findings import findings, limits
from tracedistill.report.html import page
from tracedistill.report.markdown import markdown
from tracedistill.report.records import Report
from tracedistill.report.runs import RunView, view_of_study
from tracedistill.report.sections import all_sections
from tracedistill.report.sections.flips import flips
from tracedistill.report.sections.sources import about
from tracedistill.tasks import Task, get_task

FILES = ("report.json", "report.html", "report.md", "report.csv", "comparisons.csv")
"""Files of a report."""


def write_report(
    study: Study, task: Task, folder: Path, problems: Mapping[str, Problem], teachers: Sequence[str] = ()
) -> Report:
    """Write a study's report into its run folder and return it. `teachers`: teachers whose traces the arms use."""
    return write_view(view_of_study(study, folder, teachers, problems), task=task)


def write_view(view: RunView, out: Path | None = None, task: Task | None = None) -> Report:
    """Write the report on one or several runs and return it.

    `out`: target folder, by default the run folder. Unchanged files are not rewritten.
    """
    out = view.folder if out is None else out
    report = build(view, out)
    report = replace(
        report, decision=tuple(decision(view, report)), findings=tuple(findings(report)), limits=tuple(limits(report))
    )
    sections = [flips(view), *all_sections(view), *about(view, report)]
    report = replace(report, sections=tuple(section for section in sections if section is not None))
    shown = browse(view, task or get_task(view.task))
    texts = {
        "report.json": dumps(to_json(report, defaults=True), indent=1) + "\n",
        "report.html": page(report, shown, view.manifests),
        "report.md": markdown(report),
        "report.csv": csv_text(map(arm_row, report.arms)),
        "comparisons.csv": csv_text(map(comparison_row, report.comparisons), COMPARISON_HEADS),
    }
    for name, text in texts.items():
        _put(out / name, text)
    return report


def _put(path: Path, text: str) -> None:
    """Write a text unless the file already holds it, so that rebuilding a report leaves its files untouched."""
    # lone surrogates and NUL in model output must not break a reader
    text = text.encode("utf-8", "replace").decode("utf-8").replace("\x00", "\N{REPLACEMENT CHARACTER}")
    if path.is_file() and path.read_bytes() == text.encode("utf-8"):
        return
    with atomic(path) as stream:
        stream.write(text)
