"""The report as Markdown, for a colleague's editor or a pull request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tracedistill.report.findings import VOTED, counted_label, labels_of
from tracedistill.report.format import cell_text, p_value, percent, points
from tracedistill.report.records import is_flagged
from tracedistill.shown import markdown_cell, markdown_line

HEAD = (
    "| arm | n | answer right | 95% interval | candidate | missing | cut off | trace right | unparsed | joint "
    "| tokens in / out | s |"
)


def markdown(report: Mapping[str, Any]) -> str:
    """The findings, the arms table, the comparisons, and every section."""
    decided = [text for line in report["decision"] for text in (f"**{markdown_line(line)}**", "")]
    lines = [f"# {markdown_line(report['study'])}", "", *decided, *map(markdown_line, report["findings"]), ""]
    lines += [f"> {markdown_line(line)}" for line in report["limits"]]
    lines += ["", HEAD, "|---" * (HEAD.count("|") - 1) + "|"]
    for arm in report["arms"]:
        share = arm["accuracy"]["raw"]
        shown = [arm["trace_correct"], arm["trace_unparsed"], " / ".join(map(str, arm["joint"]))]
        traces = " | ".join(map(str, shown)) if arm["judges_traces"] else f"{unjudged(arm)} | - | -"
        lines.append(
            f"| {markdown_cell(counted_label(arm))} | {arm['n']} | {arm['correct']} ({percent(share['value'])}) | "
            f"{percent(share['low'])} to {percent(share['high'])} | {candidates(arm)} | {arm['missing']} | "
            f"{arm['cut_off']} | {traces} | {arm['tokens_in']} / {arm['tokens_out']} | {arm['seconds']:.0f} |"
        )
    if any(arm["vote"] for arm in report["arms"]):
        lines += ["", VOTED]
    lines += ["", "joint: trace right & answer right / right & wrong / wrong & right / wrong & wrong.", ""]
    if report["comparisons"]:
        lines += ["| compared | difference in points | 95% interval | only first / only second right | p | p (Holm) |"]
        lines += ["|---" * 6 + "|"]
    labels = labels_of(report)
    lines += [
        f"| {markdown_cell(labels[entry['first']])} - {markdown_cell(labels[entry['second']])} | "
        f"{points(entry['difference'])} | {points(entry['low'])} to {points(entry['high'])} | "
        f"{entry['only_first']} / {entry['only_second']} | "
        f"{p_value(entry['p'])} | {p_value(entry['p_holm'])} |"
        for entry in report["comparisons"]
    ]
    for section in report["sections"]:
        lines += ["", *section_lines(section)]
    lines += ["", f"{report['seconds']:.0f} s of work, peak memory {report['peak_memory_bytes'] / 1e9:.2f} GB.", ""]
    return "\n".join(lines)


def unjudged(arm: Mapping[str, Any], dash: str = "-") -> str:
    """What stands in place of a count of right traces where none is judged."""
    return "not judged" if arm["trace_not_judged"] else dash


def candidates(arm: Mapping[str, Any], dash: str = "-") -> str:
    """How many candidate readings are right; a dash where the set of answers is open, so that there are none."""
    return dash if arm["candidate"] is None else str(arm["candidate"])


def section_lines(section: Mapping[str, Any]) -> Iterator[str]:
    """One section, whatever it holds; flagged cells in bold."""
    yield f"## {markdown_line(section['title'])}"
    for note in section["notes"]:
        yield ""
        yield markdown_line(note)
    for table in section["tables"]:
        yield ""
        if table["title"]:
            yield f"**{markdown_line(table['title'])}**"
            yield ""
        yield f"| {' | '.join(markdown_line(head) or ' ' for head in table['heads'])} |"
        yield "|---" + "|---:" * (len(table["heads"]) - 1) + "|"
        for number, row in enumerate(table["rows"]):
            cells = [markdown_cell(cell_text(cell)) for cell in row]
            shown = (f"**{cell}**" if is_flagged(table, number, place) else cell for place, cell in enumerate(cells))
            yield f"| {' | '.join(shown)} |"
        if table["note"]:
            yield ""
            yield markdown_line(table["note"])
