"""Costs of an arm: tokens of teacher and student, latency, money, and when tuning pays off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from tracedistill.files import read_json
from tracedistill.report.attempts import FINISHES
from tracedistill.report.format import dollars, number, percent
from tracedistill.report.runs import ArmFacts, RunView, imitates
from tracedistill.report.sections.provenance import (
    adapter_of,
    facts_of,
    lenders_of,
    manifests_of_arm,
    named_arm,
    recipe_of,
)
from tracedistill.report.tables import Cell, Row, Section, Table, section

QUERIES = (1, 100, 10_000, 1_000_000)
UNITS = ("money", "tokens", "seconds")
FREE = ("rules", "gold", "recorded")
"""Teachers that call no model."""

Amounts = tuple[float | None, float | None, float | None]
"""(money, tokens, seconds); None: unknown or unpriced."""


@dataclass(frozen=True, slots=True)
class Cost:
    """An arm's costs per query, and its one-time costs."""

    queries: int
    """Problems times seeds."""
    student: tuple[float, float]
    """The student's prompt and generated tokens per query."""
    teacher: tuple[float, float] | None
    """The teacher's prompt and generated tokens per query, for the plans shown; None: unknown."""
    each: Amounts
    """Student and teacher together, per query."""
    once: Amounts
    """One-time costs: making the training rows' traces, and training one adapter."""


def costs(view: RunView) -> Section | None:
    """Build the section on every arm's tokens, latency and money, and on when tuning pays off."""
    arms = [arm for arm in view.arms if view.attempts(arm.name).n]
    by_arm = {arm.name: cost_of(view, arm) for arm in arms}
    priced = any(_prices(recipe_of(view, arm)) for arm in arms)
    units = [place for place, unit in enumerate(UNITS) if unit != "money" or priced]
    spread = [_spread(by_arm, place) for place in units]
    tables = [_tokens(view, arms, by_arm), _latency(view, arms), *spread, _break_evens(view, arms, by_arm, units)]
    note = (
        "Per query: one problem, with all samples and plans that the arm uses for it. A teacher's tokens are its mean "
        "per request, whether bought now or found in the cache; rules, gold plans and recorded traces cost nothing "
        "here. Judging traces is not counted."
    )
    no_price = (
        "The recipe has no prices. To see money, set usd_per_million_in, usd_per_million_out or usd_per_hour of "
        "students and teachers."
    )
    return section("costs", "Cost", (note, "" if priced else no_price), tables)


def cost_of(view: RunView, arm: ArmFacts) -> Cost:
    """Compute an arm's costs from its attempts, manifests and the teacher's usage."""
    recipe, columns = recipe_of(view, arm), view.attempts(arm.name)
    seeds = max(1, len(np.unique(columns.seed)))
    attempted = ~np.isin(columns.finish, [FINISHES.index("no-plan"), FINISHES.index("too-long")])
    queries = max(1, len(np.unique(columns.problem[attempted])) * seeds)
    tokens = float(columns.tokens_in.sum()) / queries, float(columns.tokens_out.sum()) / queries
    seconds = float(columns.seconds.sum(dtype=float)) / queries
    priced = _priced(recipe, "students", arm.student)
    money = _student_money(priced, tokens, seconds)
    teacher: tuple[float, float] | None = (0.0, 0.0)
    teacher_money: float | None = 0.0
    teacher_seconds: float | None = 0.0
    if arm.plans.exists():
        per, per_money, per_seconds = _teacher(arm, recipe)
        plans = arm.settings.get("plans") or 1
        teacher = None if per is None else (per[0] * plans, per[1] * plans)
        teacher_money = None if per_money is None else per_money * plans
        teacher_seconds = None if per_seconds is None else per_seconds * plans
    amounts = (
        _add(money, teacher_money),
        None if teacher is None else sum(tokens) + sum(teacher),
        _add(seconds, teacher_seconds),
    )
    return Cost(queries, tokens, teacher, amounts, _once(view, arm, recipe))


def break_even(once_a: float | None, each_a: float | None, once_b: float | None, each_b: float | None) -> str:
    """Describe the number of queries from which `a` costs less than `b`: a number, `at once`, `never`, ..."""
    if once_a is None or each_a is None or once_b is None or each_b is None:
        return "unknown"
    ahead, saved = once_a - once_b, each_b - each_a
    if ahead <= 0 and saved >= 0:
        return "no difference" if ahead == 0 == saved else "at once"
    if ahead < 0:
        return f"up to {_whole(ahead / saved)}"
    return "never" if saved <= 0 else f"from {_whole(ahead / saved)}"


def _whole(queries: float) -> str:
    return f"{ceil(round(queries, 9)):,}"


def _once(view: RunView, arm: ArmFacts, recipe: Mapping[str, Any]) -> Amounts:
    """Compute the one-time costs: making the training traces, and training one adapter."""
    tuned = adapter_of(view, arm)
    if tuned is None:
        # the cost of an adapter made elsewhere is unknown
        return (None, None, None) if arm.kind in ("served", "tuned") else (0.0, 0.0, 0.0)
    manifests = manifests_of_arm(view, "train", tuned.name)
    seconds = sum(manifest["seconds"] for manifest in manifests) / len(manifests) if manifests else None
    hourly = float(_priced(recipe, "students", tuned.student).get("usd_per_hour") or 0)
    money = None if seconds is None else seconds / 3600 * hourly
    tokens = _tokens_trained(tuned, recipe)
    for lender, share in _taught_by(view, tuned):
        problems = (view.assembly or {}).get("train_problems") or facts_of(view, tuned, "arms").get("rows") or 0
        requested = round(share * problems)
        samples = int(_priced(recipe, "teachers", lender.teacher).get("samples") or 1)
        per, per_money, per_seconds = _teacher(lender, recipe)
        money = _add(money, None if per_money is None else per_money * requested * samples)
        tokens = _add(tokens, None if per is None else sum(per) * requested * samples)
        seconds = _add(seconds, None if per_seconds is None else per_seconds * requested * samples)
    source = named_arm(view, tuned, tuned.settings.get("from"))
    if source is not None:
        before = _once(view, source, recipe)
        money, tokens, seconds = _add(money, before[0]), _add(tokens, before[1]), _add(seconds, before[2])
    return money, tokens, seconds


def _taught_by(view: RunView, tuned: ArmFacts) -> list[tuple[ArmFacts, float]]:
    """Return (arm whose teacher made traces for this adapter, share of problems): for its rows, or for a shown plan."""
    shares = [(lender, share) for lender, share in lenders_of(view, tuned) if lender.tune != "none"]
    context = named_arm(view, tuned, tuned.settings.get("context"))
    shown = [(context, 1.0)] if context is not None and context.plans.exists() else []
    return (shares if imitates(tuned) else []) + shown


def _tokens_trained(arm: ArmFacts, recipe: Mapping[str, Any]) -> float | None:
    made = arm.folder / "adapters" / arm.own / "training.json"
    work = read_json(made).get("work") if made.exists() else None
    if work is not None:  # counted tokens: drawn, read, passed with a gradient, and read by a frozen model
        return float(sum(work[key] for key in ("drawn", "read", "trained", "scored")))
    checked = arm.folder / "sft" / f"{arm.student}.preflight.json"
    if not checked.exists():
        return None
    counts = read_json(checked)["arms"].get(arm.own)
    return None if counts is None else float(counts["tokens"] * (recipe.get("training") or {}).get("epochs", 1))


def _teacher(arm: ArmFacts, recipe: Mapping[str, Any]) -> tuple[tuple[float, float] | None, float | None, float | None]:
    """Return a teacher's tokens, money and seconds per request; None if unknown."""
    config = _priced(recipe, "teachers", arm.teacher)
    if config.get("kind") in FREE:
        return (0.0, 0.0), 0.0, 0.0
    path = arm.folder / "traces" / f"{arm.teacher}.usage.json"
    usage: Mapping[str, Any] = read_json(path) if path.exists() else {}
    requests = usage.get("requests") or 0
    if not requests:
        return None, None, None
    # batch answers, and those of versions without timing, have no seconds
    seconds = usage["seconds"] / requests if usage.get("seconds") else None
    tokens = usage["tokens_in"] / requests, usage["tokens_out"] / requests
    return tokens, float(usage.get("usd") or 0.0) / requests, seconds


def _student_money(config: Mapping[str, Any], tokens: tuple[float, float], seconds: float) -> float:
    per_in, per_out = config.get("usd_per_million_in") or 0, config.get("usd_per_million_out") or 0
    if per_in or per_out:
        return float(tokens[0] * per_in + tokens[1] * per_out) / 1e6
    return float(seconds / 3600 * (config.get("usd_per_hour") or 0))


def _priced(recipe: Mapping[str, Any], part: str, name: str | None) -> Mapping[str, Any]:
    config: Mapping[str, Any] = (recipe.get(part) or {}).get(name or "") or {}
    return config


def _prices(recipe: Mapping[str, Any]) -> bool:
    """Return whether the recipe names any price."""
    configs = [*(recipe.get("students") or {}).values(), *(recipe.get("teachers") or {}).values()]
    return any(config.get(key) for config in configs for key in config if key.startswith("usd_per_"))


def _add(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first + second


def _tokens(view: RunView, arms: Sequence[ArmFacts], by_arm: Mapping[str, Cost]) -> Table:
    rows: list[Row] = []
    for arm in arms:
        columns, cost = view.attempts(arm.name), by_arm[arm.name]
        teacher: tuple[Cell, Cell] = (None, None)
        if cost.teacher is not None:
            teacher = number(cost.teacher[0]), number(cost.teacher[1])
        rows.append(
            (
                arm.name,
                cost.queries,
                int(columns.tokens_in.sum()),
                int(columns.tokens_out.sum()),
                number(cost.student[0]),
                number(cost.student[1]),
                *teacher,
            )
        )
    return Table(
        "tokens",
        ("arm", "queries", "student in, all", "student out, all", "student in / query", "student out / query",
         "teacher in / query", "teacher out / query"),
        tuple(rows),
        note="Teacher: for the plans shown; a dash if its usage was not recorded.",
    )  # fmt: skip


def _latency(view: RunView, arms: Sequence[ArmFacts]) -> Table:
    rows: list[Row] = []
    for arm in arms:
        seconds = view.attempts(arm.name).seconds
        timed = seconds[seconds > 0]
        quantiles = (number(float(np.quantile(timed, q))) if len(timed) else None for q in (0.5, 0.95))
        rows.append((arm.name, len(timed), *quantiles))
    return Table(
        "seconds per attempt",
        ("arm", "n", "median", "p95"),
        tuple(rows),
        note="A local student's share of the batch's seconds, or an endpoint's latency. The median, since one runaway "
        "generation moves a mean.",
    )


def _amount(value: float | None, place: int) -> str | None:
    return dollars(value) if UNITS[place] == "money" else number(value)


def _spread(by_arm: Mapping[str, Cost], place: int) -> Table:
    rows: list[Row] = []
    known = any(cost.each[place] is not None for cost in by_arm.values())
    for name, cost in by_arm.items() if known else ():
        once, per_query = cost.once[place], cost.each[place]
        whole = None if once is None or per_query is None else [once / n + per_query for n in QUERIES]
        spread = [None] * len(QUERIES) if whole is None else [_amount(value, place) for value in whole]
        rows.append((name, _amount(per_query, place), _amount(once, place), *spread))
    notes = {
        "money": "By the recipe's prices; what has no price counts as free.",
        "tokens": "Teacher and student together. Once: tokens of the training rows times epochs, and the teacher's for "
        "them.",
        "seconds": "Sequential time. Once: the training, and the teacher's calls.",
    }
    return Table(
        f"{UNITS[place]} per query, with one-time costs spread over n queries",
        ("arm", "each query", "once", *(f"n = {n:,}" for n in QUERIES)),
        tuple(rows),
        note=notes[UNITS[place]],
    )


def _break_evens(view: RunView, arms: Sequence[ArmFacts], by_arm: Mapping[str, Cost], units: Sequence[int]) -> Table:
    """Compare tuned arms without a plan with untuned ones that show one, for the same student."""
    tuned = [arm for arm in arms if arm.kind in ("tuned", "served") and not arm.plans.exists() and not arm.forced]
    prompted = [arm for arm in arms if arm.kind == "in context" and arm.plans.exists() and not arm.forced]
    rows: list[Row] = []
    for arm in tuned:
        for other in prompted:
            if arm.student == other.student and arm.folder == other.folder:
                a, b = by_arm[arm.name], by_arm[other.name]
                even = [break_even(a.once[p], a.each[p], b.once[p], b.each[p]) for p in units]
                shares = [percent(float(view.attempts(name).right.mean())) for name in (arm.name, other.name)]
                rows.append((arm.name, other.name, *even, *shares, view.attempts(arm.name).n))
    return Table(
        "break-even: number of queries from which tuning costs less than prompting with the teacher's plan",
        ("tuned", "prompted with plan", *(f"in {UNITS[p]}" for p in units), "tuned right", "prompted right", "n"),
        tuple(rows),
        note="Costs alone; compare the accuracies too.",
    )
