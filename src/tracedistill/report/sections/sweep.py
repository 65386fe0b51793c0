"""Hyperparameters tried on the validation split, with equal budgets for all arms of a sweep, from sweep.json."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracedistill.report.records import Cell, Section, Table
from tracedistill.report.sweeps import Sweep, of_arms_alone, said, sweeps_in

if TYPE_CHECKING:
    from tracedistill.report.runs import RunView


def sweep(view: RunView) -> Section | None:
    """Build the tables of right answers of every arm under every setting; None if nothing was swept."""
    path = view.folder / "sweep.json"
    if not path.exists():
        return None
    swept = sweeps_in(path)
    note = (
        "Tuned at each of the settings, each arm of a table at as many, and asked validation problems; no test problem "
        "was used. The best of several settings looks better than it is: what counts is the test split at one setting."
    )
    return Section("sweep", "Settings tried", (note,), tuple(map(_table, swept)))


def _table(swept: Sweep) -> Table:
    own = of_arms_alone(swept.keys)
    rows: list[tuple[Cell, ...]] = []
    for arm, cells in swept.arms.items():
        settings = [said(setting, arm if own else None) for setting in swept.settings]
        shown = [f"{cell.right} [{100 * cell.low:.0f}, {100 * cell.high:.0f}]" for cell in cells]
        if own:
            shown = [f"{setting}: {one}" for setting, one in zip(settings, shown, strict=True)]
        rows.append((arm, cells[0].n if cells else 0, *shown, settings[swept.best[arm]]))
    numbers = (f"setting {number}" for number in range(1, len(swept.settings) + 1))
    common = "" if own else f"Best for all arms together: {said(swept.settings[swept.best_common])}."
    return Table(
        "Right answers on the validation split, with 95% intervals in percent",
        ("arm", "n", *(numbers if own else map(said, swept.settings)), "its best"),
        tuple(rows),
        note=common,
    )
