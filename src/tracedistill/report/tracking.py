"""The report's tables as a W&B run, beside the runs that training made."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from tracedistill.report.cells import cell_text
from tracedistill.report.spreadsheet import arm_row, comparison_row

PROJECT = "tracedistill"
"""Unless WANDB_PROJECT says otherwise, as in training."""


def log_report(report: Mapping[str, Any], study: str) -> None:
    """Write the arms table, the comparisons and every section's tables into a run named `<study>/report`.

    Settings, mode and key are the environment's (WANDB_MODE=offline works without a network).
    """
    import wandb

    tables = {"arms": _table(wandb, map(arm_row, report["arms"]))}
    if report["comparisons"]:
        tables["comparisons"] = _table(wandb, map(comparison_row, report["comparisons"]))
    for section in report["sections"]:
        for number, table in enumerate(section["tables"]):
            # one type per column is what a table there wants: text, as the page has it
            rows = [[cell_text(cell) for cell in row] for row in table["rows"]]
            tables[f"{section['key']}/{number}"] = wandb.Table(columns=_distinct(table["heads"]), data=rows)
    summary = {f"accuracy/{arm['name']}": arm["accuracy"]["raw"]["value"] for arm in report["arms"]}
    with wandb.init(
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        name=f"{study}/report",
        job_type="report",
        config={"task": report["task"], "findings": list(report["findings"]), "limits": list(report["limits"])},
    ) as run:
        run.log(tables)
        run.summary.update(summary)


def _table(wandb: Any, rows: Iterable[Mapping[str, Any]]) -> Any:
    every = list(rows)
    columns = list(dict.fromkeys(key for row in every for key in row))
    return wandb.Table(columns=columns, data=[[row.get(name) for name in columns] for row in every])


def _distinct(heads: Iterable[str]) -> list[str]:
    """Heads of which none stands twice: `n`, `n (2)`."""
    seen: dict[str, int] = {}
    out = []
    for head in heads:
        seen[head] = seen.get(head, 0) + 1
        out.append(head if seen[head] == 1 else f"{head} ({seen[head]})")
    return out
