"""`tracedistill report RUN...`: report on run folders, alone, together, or against another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tracedistill.errors import InputError
from tracedistill.files import file_hash, read_json
from tracedistill.report import FILES, write_view
from tracedistill.report.combine import combine
from tracedistill.report.runs import RunView, view_of_folder

COMPARED = "compared"
"""Folder below the first run's folder for a report over several runs."""


def report_folders(
    folders: Sequence[Path], against: Path | None = None, out: Path | None = None, pairs: Sequence[str] = ()
) -> Path:
    """Write the report over run folders and return its folder.

    Default folder: a single run's own, <first>/compared for several; `out` overrides it. `pairs`: `FIRST,SECOND` names
    of arms to compare instead of the declared pairs. Raises InputError if a folder is not a run.
    """
    views = [view_of_folder(folder) for folder in folders]
    other = None if against is None else view_of_folder(against)
    if len(views) == 1 and other is None:
        view, place = views[0], out or folders[0]
    else:
        view, place = combine(views, other), out or folders[0] / COMPARED
    write_view(with_pairs(view, pairs), place)
    if place.resolve() == folders[0].resolve():
        _mark_stale(place)
    return place


def with_pairs(view: RunView, pairs: Sequence[str]) -> RunView:
    """Return the view with these comparisons (`FIRST,SECOND` each); unchanged if `pairs` is empty."""
    if not pairs:
        return view
    chosen = []
    names = [arm.name for arm in view.arms]
    for pair in pairs:
        first, comma, second = pair.partition(",")
        unknown = next((name for name in (first, second) if name not in names), None)
        if not comma or first == second or unknown is not None:
            raise InputError(f"--compare {pair}: give two arms as FIRST,SECOND, from {', '.join(names)}")
        chosen.append((first, second))
    return replace(view, comparisons=tuple(chosen))


def _mark_stale(folder: Path) -> None:
    """Mark a study's own report as stale after an import or an upgrade, so that the next run rebuilds it.

    Otherwise the run would report it as damaged.
    """
    manifest = folder / "report.json.manifest.json"
    if not manifest.exists():
        return
    outputs = read_json(manifest).get("outputs", {})
    if any(name in outputs and file_hash(folder / name) != outputs[name]["sha256"] for name in FILES):
        manifest.unlink()
