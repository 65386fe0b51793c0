"""Hyperparameters tried on the validation split, with equal budgets for all arms of a sweep, from sweep.json."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracedistill.report.sweeps import Sweep, of_arms_alone, setting_text, sweeps_in
from tracedistill.report.tables import Row, Section, Table, section

if TYPE_CHECKING:
    from tracedistill.report.runs import RunView


def sweep(view: RunView) -> Section | None:
    """Build the tables of right answers of every arm under every setting; None if nothing was swept."""
    path = view.folder / "sweep.json"
    if not path.exists():
        return None
    swept = sweeps_in(path)
    note = (
        "Each arm was tuned at each setting of its table and evaluated on validation problems; no test problem was "
        "used. The best of several settings looks better than it is; what counts is the test split at one setting."
    )
    return section("sweep", "Settings tried", (note,), map(_table, swept))


def _table(swept: Sweep) -> Table:
    own = of_arms_alone(swept.keys)
    rows: list[Row] = []
    for arm, cells in swept.arms.items():
        settings = [setting_text(setting, arm if own else None) for setting in swept.settings]
        shown = [f"{cell.right} [{100 * cell.low:.0f}, {100 * cell.high:.0f}]" for cell in cells]
        if own:
            shown = [f"{setting}: {cell}" for setting, cell in zip(settings, shown, strict=True)]
        rows.append((arm, cells[0].n if cells else 0, *shown, settings[swept.best[arm]]))
    numbers = (f"setting {number}" for number in range(1, len(swept.settings) + 1))
    common = "" if own else f"Best for all arms together: {setting_text(swept.settings[swept.best_common])}."
    return Table(
        "Right answers on the validation split, with 95% intervals in percent",
        ("arm", "n", *(numbers if own else map(setting_text, swept.settings)), "its best"),
        tuple(rows),
        note=common,
    )
