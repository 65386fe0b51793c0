"""What the traces were worth: report.json, one HTML page, Markdown, and the table in the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from tracedistill.recipes import Study
from tracedistill.records import Problem
from tracedistill.report.findings import findings, limits
from tracedistill.report.markdown import markdown
from tracedistill.report.page import page
from tracedistill.report.samples import samples
from tracedistill.report.tables import build
from tracedistill.store import atomic, write_json
from tracedistill.tasks import Task


def write_report(
    study: Study, task: Task, folder: Path, problems: Mapping[str, Problem], teachers: Sequence[str] = ()
) -> None:
    """Write report.json, report.html and report.md into the run folder; `teachers`: whose traces the arms use."""
    report = build(study, folder, problems, teachers)
    report["findings"] = findings(report)
    report["limits"] = limits(report)
    shown = samples(study, task, folder, problems)
    for name, text in (("report.html", page(report, shown)), ("report.md", markdown(report))):
        with atomic(folder / name) as stream:
            # lone surrogates and NUL out of a model's mouth must not break the page
            stream.write(text.encode("utf-8", "replace").decode("utf-8").replace("\x00", "\N{REPLACEMENT CHARACTER}"))
    write_json(folder / "report.json", report)
