"""Hyperparameters tried on the validation split, the same for every arm, from sweep.json."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracedistill.files import read_json
from tracedistill.report.records import Section, Table

if TYPE_CHECKING:
    from tracedistill.report.runs import RunView


def sweep(view: RunView) -> Section | None:
    """Tabulate right answers of every arm under every setting; None without a sweep."""
    path = view.folder / "sweep.json"
    if not path.exists():
        return None
    swept = read_json(path)
    settings = [", ".join(f"{key.removeprefix('training.')} {value}" for key, value in setting.items())
                for setting in swept["settings"]]  # fmt: skip
    rows = []
    for arm, cells in swept["arms"].items():
        shown = [f"{cell['right']} [{100 * cell['low']:.0f}, {100 * cell['high']:.0f}]" for cell in cells]
        rows.append((arm, cells[0]["n"] if cells else 0, *shown, settings[swept["best"][arm]]))
    common = settings[swept["best_common"]]
    note = (
        f"Tuned at each of {len(settings)} settings, with the same budget for every arm, and asked {swept['problems']} "
        f"validation problems; no test problem was used. Best for all arms together: {common}. The best of several "
        "settings looks better than it is: what counts is the test split at one setting."
    )
    table = Table(
        "Right answers on the validation split, with 95% intervals in percent",
        ("arm", "n", *settings, "its best"),
        tuple(rows),
    )
    return Section("sweep", "Settings tried", (note,), (table,))
