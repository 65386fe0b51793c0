"""The report's tables as a W&B or trackio run, beside the training runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tracedistill.report.arms_table import arm_row, comparison_row
from tracedistill.report.format import cell_text
from tracedistill.report.records import Report
from tracedistill.training.tracking import Table, open_run


def log_report(report: Report, study: str, tracker: str = "wandb") -> None:
    """Write the arms table, the comparisons and every section's tables into a run named `<study>/report`.

    Settings, mode and key come from the environment (WANDB_MODE=offline works without a network; trackio needs none).
    Raises InputError if the tracker gives no run.
    """
    tables = {"arms": _table(map(arm_row, report.arms))}
    if report.comparisons:
        tables["comparisons"] = _table(map(comparison_row, report.comparisons))
    for section in report.sections:
        for number, table in enumerate(section.tables):
            # these tables need one type per column: text, as on the page
            rows = [[cell_text(cell) for cell in row] for row in table.rows]
            tables[f"{section.key}/{number}"] = (_distinct(table.heads), rows)
    summary = {f"accuracy/{arm.name}": arm.accuracy.raw.value for arm in report.arms}
    config = {"task": report.task, "findings": list(report.findings), "limits": list(report.limits)}
    run = open_run(tracker, f"{study}/report", config, kind="report")
    failed = True
    try:
        run.tables(tables)
        run.summarise(summary)
        failed = False
    finally:
        run.close(failed=failed)


def _table(rows: Iterable[Mapping[str, Any]]) -> Table:
    every = list(rows)
    columns = list(dict.fromkeys(key for row in every for key in row))
    return columns, [[row.get(name) for name in columns] for row in every]


def _distinct(heads: Iterable[str]) -> list[str]:
    """Make heads distinct: `n`, `n (2)`."""
    seen: dict[str, int] = {}
    out = []
    for head in heads:
        seen[head] = seen.get(head, 0) + 1
        out.append(head if seen[head] == 1 else f"{head} ({seen[head]})")
    return out
