"""What the teachers did and cost, what validation refused of it, and what leaking plans were worth to an arm."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tracedistill import stats
from tracedistill.files import read_json, read_jsonl, read_lines, to_json
from tracedistill.records import Problem, Trace
from tracedistill.report.columns import Columns, kept
from tracedistill.validation.leaks import judge_leak
from tracedistill.validation.traces import is_plan

CAUSES = 12
"""Causes of failures named; the rest is summed up."""


def teacher_figures(recipe: Mapping[str, Any], folder: Path, name: str) -> dict[str, Any]:
    """One teacher: requests, failures by cause, tokens, money, and what was accepted by difficulty and length.

    Counts of calls are None for teachers that call no model, as for traces made before usage was written down.
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
    found = read_json(folder / "validation" / f"{name}.report.json")
    found |= {key: found[key] for key in ("traces", "accepted", "oracle", "leaks")}  # told by name where one is missing
    return {
        "name": name,
        "kind": config["kind"],
        "model": config["model"],
        "prompt": config["prompt"] if config["kind"] in ("model", "student") else None,
        "requests": usage.get("requests"),
        "bought": usage.get("bought"),
        "failed": causes.total(),
        "failures": named,
        "tokens_in": usage.get("tokens_in"),
        "tokens_out": usage.get("tokens_out"),
        "usd": usage.get("usd"),
        "models": usage.get("models") or {},
        **found,
        "judge_usage": _usage(folder / "validation" / f"{name}.usage.json") or None if found.get("judge") else None,
    }


def without_leaks(path: Path, rows: Columns, problems: Mapping[str, Problem]) -> dict[str, Any] | None:
    """An arm's accuracy without the problems whose shown plan gives the solution away; None where it shows no plans.

    `path`: the plans shown, as assembled. `matched`: the same for plans in which string matching finds the gold,
    innocent or not.
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
    return {
        "plans": plans,
        "leaking": len(genuine),
        **_kept(rows, genuine),
        "matched": {"leaking": len(matched), **_kept(rows, matched)},
    }


def _kept(rows: Columns, out: set[str]) -> dict[str, Any]:
    rows = kept(rows, set(rows.ids) - out)
    correct = int(np.count_nonzero(rows.right))
    figures = to_json(stats.share(correct, rows.n), defaults=True)
    if len(rows.ids) < rows.n:  # samples of one problem are not independent rows
        mean = stats.clustered_mean(rows.right.astype(float).tolist(), rows.problem.tolist())
        figures |= {"low": max(0.0, mean.low or 0.0), "high": min(1.0, 1.0 if mean.high is None else mean.high)}
    return {"n": rows.n, "correct": correct, "accuracy": figures}


def _usage(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_json(path) if path.exists() else {}
    return found
