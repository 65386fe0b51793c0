"""The Trace-of-Thought study's own figures, labelled so: unpaired z-tests, relative changes, ranges of methods."""

from __future__ import annotations

import numpy as np

from tracedistill import stats
from tracedistill.report.attempts import ANSWERS
from tracedistill.report.format import number, p_value, percent
from tracedistill.report.runs import RunView
from tracedistill.report.sections.comparisons import tested_by
from tracedistill.report.sections.scores import paired, scores_of
from tracedistill.report.tables import Cell, Row, Section, Table, section

TRACE_OF_THOUGHT = "trace-of-thought"
STUDY = "McDonald & Emami, Trace-of-Thought prompting (arXiv 2504.20946)"


def trace_of_thought(view: RunView) -> Section | None:
    """Build that study's statistics for this run; None if nothing is compared, or no arm is of that study's kind."""
    if view.recipe is not None and not any(str(arm.prompt).startswith(TRACE_OF_THOUGHT) for arm in view.arms):
        return None
    note = (
        f"The tests and tables of {STUDY}, for comparison with its figures. Its z-test treats the arms as samples of "
        "unrelated problems; here they are the same problems, so trust the paired test beside it."
    )
    rounded = (
        "Most of that study's published p values were computed from a z rounded to two decimals (z 2.7007: .00694 "
        "published, .00692 exact); those here are exact."
    )
    tables = (_z_tests(view), *_methods(view), _outcomes(view))
    return section("extras", "As the Trace-of-Thought study reports", (note, rounded), tables)


def _z_tests(view: RunView) -> Table:
    rows: list[Row] = []
    known = {arm.name: arm for arm in view.arms}
    for first, second in view.comparisons:
        if first in known and second in known:
            scores = [scores_of(view.attempts(name), vote=known[name].vote) for name in (first, second)]
            pair = paired(*scores)
            test, tested = tested_by(pair)
            cells = (test, p_value(tested.p)) if len(pair.first) else ("no common problems", None)
            rows.append((f"{first} - {second}", *_z_cells(view, (first, second)), *cells))
    return Table(
        "two-sample z-test for proportions (unpaired, pooled, two-sided)",
        ("first - second", "first right", "n", "second right", "n", "z", "p of z", "paired test", "p, paired"),
        tuple(rows),
        note="Uncorrected, as in that study. No z-test if problems have several attempts: rows are not independent.",
    )


def _z_cells(view: RunView, names: tuple[str, str]) -> tuple[Cell, ...]:
    arms = [view.attempts(name) for name in names]
    counts = [(int(columns.right.sum()), columns.n) for columns in arms]
    flat = [value for pair in counts for value in pair]
    if any(len(columns.ids) < columns.n for columns in arms):
        return (*flat, None, None)
    z, p = stats.two_proportion_z(*counts[0], *counts[1])
    return (*flat, f"{z:.4f}", f"{p:.5f}")


def _methods(view: RunView) -> list[Table]:
    """Tabulate students by prompting method, for untuned arms."""
    scores: dict[str, dict[str, float]] = {}
    sizes: dict[str, dict[str, int]] = {}
    for arm in view.arms:
        if arm.kind == "in context" and arm.prompt and arm.student and not arm.forced:
            columns = view.attempts(arm.name)
            alone = len(_named(view, arm.student, arm.prompt)) == 1
            method = arm.prompt if alone else f"{arm.prompt} ({arm.name})"
            if columns.n:
                scores.setdefault(arm.student, {})[method] = float(100 * columns.right.mean())
                sizes.setdefault(arm.student, {})[method] = columns.n
    own = {method for by in scores.values() for method in by if method.startswith(TRACE_OF_THOUGHT)}
    rows: list[Row] = []
    for method in sorted(own):
        # other variants of the same method are no alternatives to it
        others = {
            student: {name: value for name, value in by.items() if name == method or name not in own}
            for student, by in scores.items()
        }
        for change in stats.relative_changes(others, method):
            n = sizes[change.row][method]
            relative = "-" if change.relative is None else f"{change.relative:+.1f}%"
            cells = (f"{change.before:.1f}%", f"{change.after:.1f}%", f"{change.points:+.1f}", relative, n)
            rows.append((change.row, method, change.alternative, *cells))
    tables = [
        Table(
            "best alternative against trace-of-thought",
            ("student", "method", "best alternative", "before", "after", "points", "relative change", "n"),
            tuple(rows),
            note="Relative change = (after - before) / before, which is large if `before` is small.",
        )
    ]
    ranges = stats.method_ranges(scores)
    if any(numbers.n > 1 for numbers in ranges) or len(ranges) > 1:
        tables.append(
            Table(
                "lowest, highest and mean accuracy of each method over students",
                ("method", "students", "min", "max", "mean"),
                tuple((f.method, f.n, f"{f.low:.1f}%", f"{f.high:.1f}%", f"{f.mean:.1f}%") for f in ranges),
            )
        )
    return tables


def _named(view: RunView, student: str, prompt: str) -> list[str]:
    return [
        arm.name
        for arm in view.arms
        if (arm.kind, arm.student, arm.prompt) == ("in context", student, prompt) and not arm.forced
    ]


def _outcomes(view: RunView) -> Table:
    """Test whether the kinds of outcome differ between arms, on counts, not percentages."""
    single = [arm.name for arm in view.arms if len(view.attempts(arm.name).ids) == view.attempts(arm.name).n]
    if len(single) < 2:
        return Table("kinds of answers by arm", (), ())
    counts = {name: np.bincount(view.attempts(name).answer, minlength=len(ANSWERS)).tolist() for name in single}
    test = stats.chi_square(list(counts.values()))
    rows = tuple(
        (name, sum(row), *row, percent(row[0] / sum(row)) if sum(row) else None) for name, row in counts.items()
    )
    poor = " Some expected counts are below 5, so the approximation is poor." if test.least_expected < 5 else ""
    return Table(
        "kinds of answers by arm",
        ("arm", "n", *ANSWERS, "correct of n"),
        rows,
        note=f"Chi-square on these counts: {number(test.statistic)}, {test.df} degrees of freedom, p {p_value(test.p)} "
        f"(arms treated as unrelated samples; least expected count {number(test.least_expected)}).{poor}",
    )
