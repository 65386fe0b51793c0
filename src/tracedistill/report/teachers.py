"""Teachers' activity and cost, what validation rejected, and the effect of leaking plans on an arm."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tracedistill import stats
from tracedistill.files import read_json, read_jsonl, read_lines
from tracedistill.records import Problem, Trace
from tracedistill.report.attempts import AttemptColumns, kept
from tracedistill.report.reader import record_of
from tracedistill.report.records import KeptAccuracy, TeacherFigures, WithoutLeaks
from tracedistill.report.sections.scores import as_share
from tracedistill.validation.leaks import judge_leak
from tracedistill.validation.traces import is_plan

CAUSES = 12
"""Most causes of failures that are named; the rest is summed."""


def teacher_figures(recipe: Mapping[str, Any], folder: Path, name: str) -> TeacherFigures:
    """Collect one teacher's requests, failures by cause, tokens, money, and accepted traces by difficulty and length.

    Counts of calls are None for teachers that call no model, and for traces from before usage was recorded.
    """
    config = recipe["teachers"][name]
    usage = _usage(folder / "traces" / f"{name}.usage.json")
    causes = Counter[str]()
    for _, row in read_lines(folder / "traces" / f"{name}.failures.jsonl"):
        finish, cause = str(row.get("finish")), str(row.get("cause"))
        causes["cut off" if finish == "length" else finish if cause == finish else cause.partition(":")[0][:80]] += 1
    named = dict(causes.most_common(CAUSES))
    if causes.total() > sum(named.values()):
        named["other causes"] = causes.total() - sum(named.values())
    path = folder / "validation" / f"{name}.report.json"
    accepted = read_json(path)
    judged = _usage(folder / "validation" / f"{name}.usage.json") if accepted.get("judge") else None
    keys = ("requests", "bought", "tokens_in", "tokens_out", "usd", "models")
    figures: dict[str, Any] = {
        **accepted,
        **{key: usage[key] for key in keys if key in usage},
        "name": name,
        "kind": config["kind"],
        "model": config["model"],
        "prompt": config["prompt"] if config["kind"] in ("model", "student") else None,
        "failed": causes.total(),
        "failures": named,
        "judge_usage": judged or None,
    }
    return record_of(TeacherFigures, figures, str(path))


def without_leaks(path: Path, rows: AttemptColumns, problems: Mapping[str, Problem]) -> WithoutLeaks | None:
    """Return an arm's accuracy without problems whose shown plan gives away the solution; None if it shows no plans.

    `path`: the plans shown, as assembled.
    """
    genuine: set[str] = set()
    matched: set[str] = set()
    plans = 0
    for trace in read_jsonl(path, Trace):
        problem = problems.get(trace.problem_id)
        if problem is None or not is_plan(trace):
            continue
        plans += 1
        leak = judge_leak(problem, trace)
        if leak.genuine:
            genuine.add(trace.problem_id)
        if leak.eligible and "answer" in leak.found:
            matched.add(trace.problem_id)
    if not plans:
        return None
    return WithoutLeaks(*_kept(rows, genuine), plans, KeptAccuracy(*_kept(rows, matched)))


def _kept(rows: AttemptColumns, out: set[str]) -> tuple[int, int, int, stats.Share]:
    """Return the fields of KeptAccuracy; samples of one problem are clustered."""
    rows = kept(rows, set(rows.ids) - out)
    correct = int(np.count_nonzero(rows.right))
    if len(rows.ids) == rows.n:
        return len(out), rows.n, correct, stats.share(correct, rows.n)
    mean = stats.clustered_mean(rows.right.astype(float).tolist(), rows.problem.tolist())
    return len(out), rows.n, correct, as_share(mean)


def _usage(path: Path) -> dict[str, Any]:
    usage: dict[str, Any] = read_json(path) if path.exists() else {}
    return usage
