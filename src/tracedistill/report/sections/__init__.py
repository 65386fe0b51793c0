"""The sections of a report, one file each."""

from __future__ import annotations

from tracedistill.report.runs import RunView
from tracedistill.report.sections.accuracy import accuracy
from tracedistill.report.sections.association import association
from tracedistill.report.sections.attribution import attribution
from tracedistill.report.sections.comparisons import comparisons
from tracedistill.report.sections.context import context
from tracedistill.report.sections.costs import costs
from tracedistill.report.sections.differences import differences
from tracedistill.report.sections.engines import engines
from tracedistill.report.sections.forced import forced
from tracedistill.report.sections.grid import grid
from tracedistill.report.sections.labels import labels
from tracedistill.report.sections.methods import methods
from tracedistill.report.sections.sweep import sweep
from tracedistill.report.sections.trace_of_thought import trace_of_thought
from tracedistill.report.tables import Section


def all_sections(view: RunView) -> list[Section]:
    """Build every section with content for this run, in reading order."""
    builders = (
        methods, accuracy, labels, comparisons, association, forced, attribution, grid, costs, context, differences,
        engines, sweep, trace_of_thought,
    )  # fmt: skip
    return [section for build in builders if (section := build(view)) is not None]
