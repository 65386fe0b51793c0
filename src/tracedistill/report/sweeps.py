"""Results of a sweep (sweep.json), and their output in the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tracedistill.files import read_json
from tracedistill.output import narrow_table, wide_console
from tracedistill.report.reader import record_of

PREFIX, ARMS = "training.", "arms."
"""Prefixes of keys of all arms, and of keys of one arm."""


@dataclass(frozen=True, slots=True)
class SweptSetting:
    """One arm at one setting."""

    right: int
    """Right answers (the final statement), over all seeds and samples."""
    n: int
    """Number of answers."""
    low: float
    """Lower end of the 95% interval of the share (Wilson); with several seeds or samples too narrow."""
    high: float
    """Upper end."""
    missing: int
    """Attempts without an answer."""
    cut_off: int
    """Answers that reached their token limit."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """The settings of a sweep and their results."""

    study: str
    recipe: str
    """Its file, as given."""
    problems: int
    """Validation problems."""
    keys: tuple[str, ...]
    """The varied settings, as dotted keys."""
    settings: tuple[dict[str, Any], ...]
    """Dotted key -> value, one for each setting."""
    folders: tuple[str, ...]
    """The setting's run folder, below the study's."""
    arms: dict[str, tuple[SweptSetting, ...]]
    """Tuned arm -> its results at each setting, in order."""
    best: dict[str, int]
    """Tuned arm -> number of the setting with most right answers; the first of equals."""
    best_common: int
    """Number of the setting with most right answers over all arms; the first of equals."""
    best_of_student: dict[str, int]
    """Student -> the same over its arms; empty for a study with one."""


def sweeps_in(path: Path) -> list[Sweep]:
    """Read sweep.json, the oldest sweep first. Raises InputError if it has another format."""
    content = read_json(path)
    kept = content.get("sweeps", [content])  # earlier versions kept only the last one
    return [record_of(Sweep, entry, str(path)) for entry in kept]


def print_sweep(swept: Sweep) -> None:
    """Print the table, the best settings and how to use them."""
    console = wide_console()
    own = of_arms_alone(swept.keys)
    heads = ["arm", *([""] * len(swept.settings) if own else map(setting_text, swept.settings)), "best"]
    rows = []
    for name, tried in swept.arms.items():
        settings = [setting_text(setting, name if own else None) for setting in swept.settings]
        cells = [f"{cell.right} ({100 * cell.low:.0f}-{100 * cell.high:.0f}%)" for cell in tried]
        if own:
            cells = [f"{setting}: {cell}" for setting, cell in zip(settings, cells, strict=True)]
        rows.append([name, *cells, settings[swept.best[name]]])
    if not own:
        totals = [sum(tried[place].right for tried in swept.arms.values()) for place in range(len(swept.settings))]
        rows.append(["all arms", *map(str, totals), setting_text(swept.settings[swept.best_common])])
    n = next(iter(swept.arms.values()))[0].n
    console.print(narrow_table(f"right answers of {n} on the validation split (95% interval)", heads, rows))
    for line in advice(swept):
        console.print(line, markup=False, soft_wrap=True)


def of_arms_alone(keys: Iterable[str]) -> bool:
    """Return whether all varied keys are arms' own, so that each arm has settings of its own."""
    return all(key.startswith(ARMS) for key in keys)


def advice(swept: Sweep) -> list[str]:
    """Return the conclusions of a sweep, and what to type next."""
    lines = []
    unsure = [name for name, tried in swept.arms.items() if _overlap(tried, swept.best[name])]
    if unsure:
        lines.append(
            f"the two best settings have overlapping intervals in {len(unsure)} of {len(swept.arms)} arms "
            f"({', '.join(unsure)}): {swept.problems} problems are too few to tell them apart"
        )
    if of_arms_alone(swept.keys):
        best = [(name, swept.settings[place]) for name, place in swept.best.items()]
        chosen = {key: value for name, setting in best for key, value in setting.items() if _is_of(key, name)}
        lines.append(f"best of each arm: {typed(chosen)}; {_use(swept, chosen)}")
        return lines
    for student, place in swept.best_of_student.items():
        lines.append(f"best for the arms of {student}: {setting_text(swept.settings[place])}")
    common = swept.settings[swept.best_common]
    lines.append(f"best common setting: {typed(common)}; {_use(swept, common)}")
    if len(set(swept.best.values())) > 1:
        lines.append(
            "the arms have different best settings; with one common setting they differ only in their traces, and the "
            "table shows which arms it suits"
        )
    return lines


def typed(setting: Mapping[str, Any]) -> str:
    """Return a setting as it is typed after a command."""
    return " ".join(f"{key}={value}" for key, value in setting.items())


def _use(swept: Sweep, setting: Mapping[str, Any]) -> str:
    return f"put it into the recipe, or add it to every command: tracedistill run {swept.recipe} {typed(setting)}"


def _overlap(tried: Sequence[SweptSetting], best: int) -> bool:
    others = [cell for place, cell in enumerate(tried) if place != best]
    return any(cell.high >= tried[best].low for cell in others)


def _is_of(key: str, arm: str) -> bool:
    return key.removeprefix(ARMS).rpartition(".")[0] == arm


def setting_text(setting: Mapping[str, Any], arm: str | None = None) -> str:
    """Return a setting for a table; `arm`: only the keys that are its own, without its name."""
    if arm is not None:
        return " ".join(f"{key.rpartition('.')[2]}={value}" for key, value in setting.items() if _is_of(key, arm))
    return " ".join(f"{key.removeprefix(PREFIX)}={value}" for key, value in setting.items())
