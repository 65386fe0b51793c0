"""Tables of a page about a study that was run again, counted from its lines (replication_rows.py)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from replication_rows import Line

from tracedistill import stats
from tracedistill.report.format import p_value

RESAMPLES = 10_000
CHANCE = 0.05


@dataclass(frozen=True, slots=True)
class Compared:
    """Two arms on the problems that both attempted."""

    first: str
    """Arm."""
    second: str
    """Arm."""
    asks: str
    """The question."""
    found: stats.Difference
    """First minus second, with its 95% interval."""
    p: float
    """Two-sided, of no difference."""
    seeds: int
    """Adapters of each arm."""


def row(*cells: object) -> str:
    """Return a line of a Markdown table."""
    return "| " + " | ".join(map(str, cells)) + " |"


def head(*names: str) -> str:
    """Its first two lines."""
    return row(*names) + "\n" + "|---" * len(names) + "|"


def codes(lines: Iterable[Line], arm: str) -> list[str]:
    """All attempts of an arm."""
    return [code for line in lines for code in line.arms.get(arm, ())]


def scores(lines: Sequence[Line], arm: str, place: int = 0, letters: str = "c") -> np.ndarray:
    """Right (1) or not, shape (problems, seeds): problems with the arm's usual number of attempts."""
    most = min(len(line.arms[arm]) for line in lines if arm in line.arms)
    rows = [[code[place] in letters for code in line.arms[arm][:most]] for line in lines if arm in line.arms]
    return np.array(rows, dtype=np.float64)


def compared(lines: Sequence[Line], pairs: Iterable[tuple[str, str, str]]) -> list[Compared]:
    """Those pairs whose arms are there."""
    arms = {arm for line in lines for arm in line.arms}
    found = []
    for first, second, asks in pairs:
        if not {first, second} <= arms:
            continue
        both = [line for line in lines if {first, second} <= line.arms.keys()]
        one, other = scores(both, first), scores(both, second)
        if one.shape[1] == 1:
            rng = np.random.default_rng(0)
            gap = stats.paired_bootstrap(one[:, 0], other[:, 0], rng, RESAMPLES)
            counted = stats.discordance(list(one[:, 0] > 0), list(other[:, 0] > 0))
            p = stats.mcnemar_exact(counted.only_a, counted.only_b)
        else:
            gap = stats.crossed_bootstrap(one, other, np.random.default_rng(0), RESAMPLES)
            p = stats.crossed_test(one, other).p
        found.append(Compared(first, second, asks, gap, p, one.shape[1]))
    return found


def percent(value: float | None) -> str:
    """Write a share as 12.3."""
    return "-" if value is None else f"{100 * value:.1f}"


def points(gap: stats.Difference) -> str:
    """Write a difference in points with its interval, signed."""
    return f"{100 * gap.estimate:+.1f} ({100 * gap.low:+.1f} to {100 * gap.high:+.1f})"


def interval(lines: Sequence[Line], arm: str) -> str:
    """Share of right answers with its 95% interval over problems (Wilson's, for one adapter)."""
    right = scores(lines, arm)
    problems, adapters = right.shape
    if adapters == 1:
        found = stats.wilson(int(right.sum()), problems)
        return f"{percent(float(right.mean()))} [{percent(found.low)}, {percent(found.high)}]"
    mean = stats.clustered_mean(list(right.ravel()), list(np.repeat(np.arange(problems), adapters)))
    low, high = (None if end is None else min(1.0, max(0.0, end)) for end in (mean.low, mean.high))
    return f"{percent(mean.value)} [{percent(low)}, {percent(high)}]"


STEPS = (("class, %", "bk"), ("facts exact, %", "bf"), ("full trace, %", "b"))
"""Heads of what is judged in a class + retrieval trace, and the letters that count as right."""
CALCULATIONS = (("calculations right, %", "b"),)
"""The same of a trace of calculations."""


def arms_table(lines: Sequence[Line], arms: Sequence[str], judged: Sequence[tuple[str, str]] = STEPS) -> str:
    """Answers and traces of each arm."""
    names = ("arm", "adapters", "n", "answers right, %", "of each adapter, %", *(name for name, _ in judged))
    rows = [head(*names, "unparsed, none", "answer missing", "cut off", "no plan, not attempted")]
    for arm in arms:
        every = codes(lines, arm)
        n, right = len(every), scores(lines, arm)
        traced = any(code[1] != "n" for code in every)
        apart = ", ".join(percent(float(value)) for value in right.mean(axis=0)) if right.shape[1] > 1 else "-"
        steps = [percent(sum(code[1] in letters for code in every) / n) if traced else "-" for _, letters in judged]
        counts = [sum(code[place] in letters for code in every) for place, letters in COUNTED]
        rows.append(row(arm, right.shape[1], n, interval(lines, arm), apart, *steps, *counts))
    return "\n".join(rows)


COUNTED = ((1, "un"), (0, "m"), (2, "x"), (2, "p"))
"""Place and letters of the table's last columns."""


def joint_table(lines: Sequence[Line], arms: Sequence[str]) -> str:
    """Trace against answer, for arms that write traces; unparsed and absent ones count as wrong."""
    rows = [
        head(
            "arm",
            "both right",
            "trace only",
            "answer only",
            "neither",
            "answers right if the trace is, %",
            "if it is not, %",
            "phi",
            "right answers that occur in the cited facts",
        )
    ]
    for arm in arms:
        every = codes(lines, arm)
        if not any(code[1] != "n" for code in every):
            continue
        table = stats.joint_table([code[1] == "b" for code in every], [code[0] == "c" for code in every])
        right = [code for code in every if code[0] == "c"]
        both, trace, answer, neither = table.counts
        cells = [
            *(arm, both, trace, answer, neither),
            f"{percent(both / (both + trace))} (n {both + trace})" if both + trace else "- (n 0)",
            f"{percent(answer / (answer + neither))} (n {answer + neither})" if answer + neither else "- (n 0)",
            "-" if table.phi is None else f"{table.phi:.2f}",
            f"{sum(code[3] == 'v' for code in right)} of {len(right)}",
        ]
        rows.append(row(*cells))
    return "\n".join(rows)


def pairs_table(found: Sequence[Compared]) -> str:
    """Differences, with Holm's p over those of one table."""
    rows = [head("question", "first - second", "adapters of each", "points, 95% interval", "p", "p, Holm")]
    for each, adjusted in zip(found, stats.holm([each.p for each in found]), strict=True):
        pair = f"{each.first} - {each.second}"
        rows.append(row(each.asks, pair, each.seeds, points(each.found), p_value(each.p), p_value(adjusted)))
    return "\n".join(rows)


def categories_table(lines: Sequence[Line], arms: Sequence[str]) -> str:
    """Right answers by question type."""
    names = sorted({line.category for line in lines}, key=lambda name: (-sum(x.category == name for x in lines), name))
    rows = [head("question type", "problems", *arms)]
    for name in names:
        own = [line for line in lines if line.category == name]
        shares = [np.mean([code[0] == "c" for code in codes(own, arm)]) for arm in arms]
        rows.append(row(name, len(own), *(percent(float(share)) for share in shares)))
    return "\n".join(rows)


def sentence(each: Compared, adjusted: float, about: str = "") -> str:
    """Say what a difference supports, as far as its interval carries; `about`: whom it is about, if not adapters."""
    name = f"**{each.first} - {each.second}**, {points(each.found)} points, p {p_value(adjusted)} after Holm"
    if not about:
        about = f"adapters trained so ({each.seeds} seeds)" if each.seeds > 1 else "these adapters (one seed each)"
    if adjusted < CHANCE and each.found.low * each.found.high > 0:
        way = "more" if each.found.estimate > 0 else "fewer"
        return f"- {name}: {each.first} answers {way} problems right than {each.second}; this is about {about}."
    most = 100 * max(abs(each.found.low), abs(each.found.high))
    return f"- {name}: no difference is shown; one of up to {most:.0f} points is not excluded."
