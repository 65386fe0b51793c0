"""Trace against answer: how strongly right traces go with right answers, by stratum and kind of step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from tracedistill import stats
from tracedistill.records import Problem
from tracedistill.report.attempts import TRACES, AttemptColumns
from tracedistill.report.format import number, of_estimate, p_value, percent, ratio
from tracedistill.report.runs import RunView
from tracedistill.report.sections.scores import Bools, share_of
from tracedistill.report.sections.steps import read_kinds
from tracedistill.report.sections.strata import by_category, by_difficulty, places_of
from tracedistill.report.tables import Cell, Row, Section, Table, section
from tracedistill.stats import Counts

RIGHT, WRONG, UNPARSED, NONE, UNDECIDED, NOT_JUDGED = range(len(TRACES))
ROWS = ("right", "wrong", "unparsed", "none written", "undecided", "not judged")
"""Labels of TRACES in tables, in the same order."""

SELDOM = 0.05
"""Share of attempts with a trace below which the arm is left out."""

JOINT_NOTE = (
    "Joint counts: trace right & answer right / right & wrong / wrong & right / wrong & wrong. An unparsed or missing "
    "trace counts as wrong there and has its own row above; undecided traces and those not judged are left out."
)


def association(view: RunView) -> Section | None:
    """Cross traces with answers for every arm that writes traces; None if none does."""
    # a forced trace is not the student's own
    arms = [(arm.name, view.attempts(arm.name)) for arm in view.arms if not arm.forced]
    written = {
        name: float(((columns.trace != NONE) & (columns.trace != NOT_JUDGED)).sum()) / max(1, columns.n)
        for name, columns in arms
    }
    silent = [name for name, share in written.items() if 0 < share < SELDOM]
    arms = [(name, columns) for name, columns in arms if written[name] >= SELDOM]
    if not arms:
        return None
    problems = view.problems()
    tables = [_outcomes(arms), _measures(arms), _conditionals(arms), _copied(arms), _baseline(arms, problems)]
    for word, strata in (("difficulty", by_difficulty(problems)), ("question type", by_category(problems))):
        if strata:
            tables += _stratified(arms, word, strata)
    tables.append(_kinds(view, [name for name, _ in arms]))
    note = (
        "Trace and answer are judged separately: the trace step by step against its own gold, the answer against the "
        "gold answer. Association is not causation: hard problems spoil both (see the strata), and a trace that "
        "contains the answer makes it easy to copy (see the share of copies). Forced traces test the causal effect."
    )
    silent_note = f"Left out, since fewer than {SELDOM:.0%} of their attempts have a trace: {', '.join(silent)}."
    return section("association", "Trace and answer", (note, silent_note if silent else ""), tables)


def joint_counts(columns: AttemptColumns, rows: Bools | None = None) -> Counts:
    """Count the four combinations. Unparsed and missing traces count as wrong, undecided ones are left out."""
    kept = _decided(columns)
    if rows is not None:
        kept &= rows
    trace, answer = columns.trace[kept] == RIGHT, columns.right[kept]
    both, total = int((trace & answer).sum()), len(trace)
    trace_only, answer_only = int(trace.sum()) - both, int(answer.sum()) - both
    return both, trace_only, answer_only, total - both - trace_only - answer_only


def _decided(columns: AttemptColumns) -> Bools:
    """Return the attempts whose trace a rule could judge."""
    decided: Bools = (columns.trace != UNDECIDED) & (columns.trace != NOT_JUDGED)
    return decided


def _outcomes(arms: Sequence[tuple[str, AttemptColumns]]) -> Table:
    rows: list[Row] = []
    for name, columns in arms:
        for code, word in enumerate(ROWS):
            here = columns.trace == code
            n, right = int(here.sum()), int(columns.right[here].sum())
            if n or code <= UNPARSED:
                rows.append((name, word, n, right, n - right, percent(right / n) if n else None))
    return Table(
        "traces and answers",
        ("arm", "trace", "n", "answer right", "answer not right", "right of n"),
        tuple(rows),
    )


def _measures(arms: Sequence[tuple[str, AttemptColumns]]) -> Table:
    rows: list[Row] = []
    several = False
    for name, columns in arms:
        counts = joint_counts(columns)
        unparsed = (columns.trace == UNPARSED) | (columns.trace == NONE)
        lost = int((unparsed & columns.right).sum()), int((unparsed & ~columns.right).sum())
        measures = stats.joint_table_of_counts(counts, lost)
        again = len(columns.ids) < columns.n
        several |= again
        rows.append(
            (
                name,
                measures.n,
                " / ".join(map(str, counts)),
                ratio(measures.odds_ratio, None if again else measures.odds_ratio_interval),
                None if measures.phi is None else f"{measures.phi:.3f}",
                None if again else p_value(measures.fisher_p),
                "0.5 added" if measures.haldane else "",
            )
        )
    note = JOINT_NOTE + " Odds ratio with Woolf's interval; exact p by Fisher's test. If a cell is 0, 0.5 is added."
    if several:
        note += " Several attempts at a problem are not independent, so those arms have no interval and no test."
    return Table(
        "association of trace and answer",
        ("arm", "n", "joint", "odds ratio", "phi", "exact p", "empty cell"),
        tuple(rows),
        note=note,
    )


def _conditionals(arms: Sequence[tuple[str, AttemptColumns]]) -> Table:
    rows: list[Row] = []
    for name, columns in arms:
        known = _decided(columns)
        groups = (
            ("right", columns.trace == RIGHT),
            ("wrong or unparsed", known & (columns.trace != RIGHT)),
            ("wrong, parsed", columns.trace == WRONG),
        )
        rows += [
            (name, word, *of_estimate(share_of(columns.right[here], columns.problem[here]))) for word, here in groups
        ]
    return Table(
        "P(answer right | trace)",
        ("arm", "trace", "answer right", "95% interval", "n"),
        tuple(rows),
        note="Intervals: Wilson; clustered by problem if a problem has several attempts.",
    )


def _copied(arms: Sequence[tuple[str, AttemptColumns]]) -> Table:
    rows: list[Row] = []
    for name, columns in arms:
        judged = columns.copied >= 0
        cells: list[Cell] = []
        for here in (judged, judged & (columns.trace == RIGHT), judged & (columns.trace == WRONG)):
            n = int(here.sum())
            cells += [percent(float((columns.copied[here] == 1).mean())) if n else None, n]
        rows.append((name, *cells))
    return Table(
        "traces that contain the gold answer verbatim",
        ("arm", "of all judged traces", "n", "of right traces", "n", "of wrong traces", "n"),
        tuple(rows),
        note="If the trace contains the gold answer, copying explains a right answer as well as reasoning does.",
    )


def _baseline(arms: Sequence[tuple[str, AttemptColumns]], problems: Mapping[str, Problem]) -> Table:
    answers = Counter(", ".join(sorted(problem.answers)) for problem in problems.values())
    classes = Counter(problem.category for problem in problems.values() if problem.category)
    rows: list[Row] = []
    for word, frequencies in (("most frequent answer", answers), ("most frequent question type", classes)):
        if frequencies:
            value, count = frequencies.most_common(1)[0]
            rows.append((f"{word}: {value[:60]}", count, len(problems), percent(count / len(problems))))
    for name, columns in arms:
        right = int((columns.trace == RIGHT).sum())
        rows.append((f"traces right, {name}", right, columns.n, percent(right / columns.n) if columns.n else None))
    return Table(
        "baseline: a constant guess",
        ("what", "count", "n", "share"),
        tuple(rows),
        note="The score of always giving the most frequent answer or type, beside the arms' shares of right traces.",
    )


def _stratified(arms: Sequence[tuple[str, AttemptColumns]], word: str, strata: Mapping[str, str]) -> list[Table]:
    rows: list[Row] = []
    pooled: list[Row] = []
    several = any(len(columns.ids) < columns.n for _, columns in arms)
    for name, columns in arms:
        names, places = places_of(columns.ids, strata)
        place = places[columns.problem]
        tables = {stratum: joint_counts(columns, place == code) for code, stratum in enumerate(names)}
        for stratum, counts in tables.items():
            a, b, c, d = counts
            cells = (percent(a / (a + b)) if a + b else None, a + b, percent(c / (c + d)) if c + d else None, c + d)
            rows.append((name, stratum, sum(counts), " / ".join(map(str, counts)), *cells))
        crude = stats.joint_table_of_counts(joint_counts(columns))
        common = stats.mantel_haenszel(tables)
        again = len(columns.ids) < columns.n
        pooled.append(
            (
                name,
                sum(map(sum, tables.values())),
                number(crude.odds_ratio),
                ratio(common.odds_ratio, None if again else common.interval),
                None if again or common.odds_ratio is None else p_value(common.p),
                None if again or common.homogeneity_p is None else p_value(common.homogeneity_p),
                f"{len(common.informative)} of {len(names)}",
            )
        )
    return [
        Table(
            f"by {word}",
            ("arm", word, "n", "joint", "P(answer | trace right)", "n", "P(answer | trace wrong)", "n"),
            tuple(rows),
            note=JOINT_NOTE,
        ),
        Table(
            f"with {word} held fixed",
            ("arm", "n", "odds ratio, crude", "odds ratio, Mantel-Haenszel", "p", "one ratio fits all: p",
             "informative strata"),
            tuple(pooled),
            note=f"The association among problems of the same {word}. p: Cochran-Mantel-Haenszel test of no "
            "association; next column: Breslow-Day test that one odds ratio fits all strata."
            + (" Arms with several attempts at a problem have no interval and no test." if several else ""),
        ),
    ]  # fmt: skip


def _kinds(view: RunView, names: Sequence[str]) -> Table:
    rows: list[Row] = []
    for name in names:
        for kinds in read_kinds(view.arm(name).path, view.wanted):
            a, b, c, d = kinds.counts
            whole = stats.joint_table_of_counts(kinds.counts)
            rows.append(
                (
                    name,
                    kinds.kind,
                    f"{kinds.steps_right} of {kinds.steps}",
                    a + b + c + d,
                    " / ".join(map(str, kinds.counts)),
                    percent(a / (a + b)) if a + b else None,
                    percent(c / (c + d)) if c + d else None,
                    None if whole.phi is None else f"{whole.phi:.3f}",
                    kinds.undecided,
                )
            )
    return Table(
        "by kind of step",
        ("arm", "kind", "steps right", "traces", "joint", "P(answer | all right)", "P(answer | one wrong)", "phi",
         "undecided"),
        tuple(rows),
        note="Traces with such a step. Right: all its steps of this kind are right. Undecided: the rules left a step "
        "undecided and found none wrong; these traces are not in the joint counts.",
    )  # fmt: skip
