"""The report as Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from tracedistill.output import markdown_cell, markdown_line
from tracedistill.report.arms_table import arms_table, comparisons_table
from tracedistill.report.format import cell_text
from tracedistill.report.records import Report
from tracedistill.report.tables import Section, Table


def markdown(report: Report) -> str:
    """Write the findings, the arms table, the comparisons and every section."""
    decided = [text for line in report.decision for text in (f"**{markdown_line(line)}**", "")]
    lines = [f"# {markdown_line(report.study)}", "", *decided, *map(markdown_line, report.findings), ""]
    lines += [f"> {markdown_line(line)}" for line in report.limits]
    lines += table_lines(arms_table(report))
    if report.comparisons:
        lines += table_lines(comparisons_table(report))
    for section in report.sections:
        lines += ["", *section_lines(section)]
    lines += ["", f"{report.seconds:.0f} s of work, peak memory {report.peak_memory_bytes / 1e9:.2f} GB.", ""]
    return "\n".join(lines)


def section_lines(section: Section) -> Iterator[str]:
    """Yield the lines of a section; flagged cells are bold."""
    yield f"## {markdown_line(section.title)}"
    for note in section.notes:
        yield ""
        yield markdown_line(note)
    for table in section.tables:
        yield from table_lines(table)


def table_lines(table: Table) -> Iterator[str]:
    """Yield the lines of a table; flagged cells are bold."""
    yield ""
    if table.title:
        yield f"**{markdown_line(table.title)}**"
        yield ""
    yield f"| {' | '.join(markdown_line(head) or ' ' for head in table.heads)} |"
    yield "|---" + "|---:" * (len(table.heads) - 1) + "|"
    for number, row in enumerate(table.rows):
        cells = [markdown_cell(cell_text(cell)) for cell in row]
        shown = (f"**{cell}**" if (number, place) in table.flagged else cell for place, cell in enumerate(cells))
        yield f"| {' | '.join(shown)} |"
    if table.note:
        yield ""
        yield markdown_line(table.note)
