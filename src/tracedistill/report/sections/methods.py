"""Training methods: accuracy and cost of arms by method, and how much of a prompt's gain they keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tracedistill.files import read_json
from tracedistill.report.attempts import TRACES, AttemptColumns
from tracedistill.report.format import between, dollars, number, of_estimate, percent
from tracedistill.report.runs import ArmFacts, RunView, method_of
from tracedistill.report.sections.provenance import manifests_of_arm, named_arm, recipe_of
from tracedistill.report.sections.scores import scores_of, share_of
from tracedistill.report.tables import Plot, Point, Row, Section, Table, section
from tracedistill.stats import share_kept

PROMPTED = "in context"
"""Method label of untuned arms."""
COUNTED = ("drawn", "read", "trained", "scored", "flops")
"""Counters of a training in `training.json`."""
PART = 0.2
"""Share of the steps at either end of a training whose rewards are compared."""


def methods(view: RunView) -> Section | None:
    """Tabulate arms by method; None if all tuned arms share one method and none starts from another."""
    tuned = [arm for arm in view.arms if arm.tune is not None and arm.kind == "tuned"]
    if len({method_of(arm) for arm in tuned}) < 2 and not any(arm.settings.get("from") for arm in tuned):
        return None
    arms = [arm for arm in view.arms if arm.kind in (PROMPTED, "tuned") and view.attempts(arm.name).n]
    spent = {arm.name: _spent(view, arm) for arm in arms}
    tables = (
        _outcomes(view, arms), _costs(view, arms, spent), _kept(view, arms), _curves(view, tuned),
        _rounds(view, tuned), _rewards(view, tuned), _pairs(view, tuned),
    )  # fmt: skip
    seeds = max((len(np.unique(view.attempts(arm.name).seed)) for arm in tuned), default=1)
    about = "these adapters" if seeds < 2 else f"{seeds} adapters per arm"
    note = (
        f"Training methods and their results on the test problems. The figures are about {about}, this student and "
        "this task. Comparisons with corrected p values are below."
    )
    return section("ways", "Training methods", (note,), tables, _plot(view, arms, spent))


def _method_text(arm: ArmFacts) -> str:
    """Return the method with the settings that distinguish it from others of its kind."""
    method = method_of(arm)
    if method is None:
        return PROMPTED
    by = {
        "sft": "answers" if arm.tune == "none" else arm.tune,
        "self-imitation": f"accepted by {arm.settings.get('reward')}",
        "on-policy": f"from {arm.settings.get('teacher_model') or 'itself shown ' + str(arm.settings.get('context'))}",
        "grpo": f"reward {arm.settings.get('reward')}",
        "dpo": f"over {arm.settings.get('rejected')}",
    }
    return f"{method}: {by[method]}"


def _outcomes(view: RunView, arms: Sequence[ArmFacts]) -> Table:
    rows: list[Row] = []
    for arm in arms:
        columns = view.attempts(arm.name)
        share = share_of(columns.right, columns.problem)
        interval = of_estimate(share)[1]
        rows.append((
            arm.name, _method_text(arm), arm.settings.get("from"), f"{int(columns.right.sum())} of {columns.n}",
            percent(share.value), interval, *_joint(columns), int(np.median(columns.tokens_out)),
        ))  # fmt: skip
    return Table(
        "results",
        (
            "arm", "method", "from", "right", "answers right", "95% interval", "traces right", "both", "trace alone",
            "answer alone", "median tokens",
        ),
        tuple(rows),
        note="From: the arm whose adapter it starts from. Both: trace and answer right. Answer alone: the trace is "
        "wrong or cannot be parsed. A dash: the arm writes no trace that is judged.",
    )  # fmt: skip


def _joint(columns: AttemptColumns) -> Row:
    """Return right traces; both right, trace only, answer only; dashes if no trace is judged."""
    silent = np.isin(columns.trace, [TRACES.index("none"), TRACES.index("not judged")])
    if silent.all():
        return (None,) * 4
    trace, answer = np.equal(columns.trace, 0), columns.right
    cells = (trace & answer, trace & ~answer, ~trace & answer)
    return (int(trace.sum()), *(int(cell.sum()) for cell in cells))


# ---- cost


def _facts(view: RunView, arm: ArmFacts) -> list[Mapping[str, Any]]:
    """Return the `training.json` of each of an arm's trainings, in order of seeds."""
    facts: list[Mapping[str, Any]] = []
    for seed in range(1 + max((int(index) for index in np.unique(view.attempts(arm.name).seed)), default=0)):
        name = arm.own if seed == 0 else f"{arm.own}.seed{seed}"
        path = arm.folder / "adapters" / name / "training.json"
        if path.exists():
            facts.append(read_json(path))
    return facts


def _spent(view: RunView, arm: ArmFacts) -> dict[str, float] | None:
    """Return the cost of one adapter, including arms it starts from; None: unknown."""
    if arm.tune is None:
        return dict.fromkeys((*COUNTED, "seconds", "usd"), 0.0)
    facts = _facts(view, arm)
    if not facts or "work" not in facts[0]:
        return None
    total = {key: float(np.mean([seed["work"][key] for seed in facts])) for key in COUNTED}
    manifests = manifests_of_arm(view, "train", arm.name)
    total["seconds"] = float(np.mean([manifest["seconds"] for manifest in manifests])) if manifests else 0.0
    students = recipe_of(view, arm).get("students") or {}
    hourly = float((students.get(arm.student) or {}).get("usd_per_hour") or 0.0)
    total["usd"] = total["seconds"] / 3600 * hourly
    source = named_arm(view, arm, arm.settings.get("from"))
    if source is not None:
        before = _spent(view, source)
        if before is None:
            return None
        total = {key: value + before[key] for key, value in total.items()}
    return total


def _costs(view: RunView, arms: Sequence[ArmFacts], spent: Mapping[str, Mapping[str, float] | None]) -> Table:
    """Tabulate accuracy against cost, the cheapest first."""
    known = [arm for arm in arms if spent[arm.name] is not None]
    shares = {arm.name: float(view.attempts(arm.name).right.mean()) for arm in known}
    known.sort(key=lambda arm: (spent[arm.name]["flops"], shares[arm.name]))  # type: ignore[index]
    rows: list[Row] = []
    best = -1.0
    priced = any(cost["usd"] for cost in spent.values() if cost is not None)
    for arm in known:
        cost = spent[arm.name]
        assert cost is not None
        leads = arm.tune is not None and shares[arm.name] > best
        best = max(best, shares[arm.name]) if arm.tune is not None else best
        rows.append((
            arm.name, percent(shares[arm.name]), "yes" if leads else "", number(cost["flops"] / 1e12),
            *(number(cost[key]) for key in ("drawn", "read", "trained", "scored", "seconds")),
            *((dollars(cost["usd"]),) if priced else ()),
        ))  # fmt: skip
    return Table(
        "accuracy against the cost of training",
        (
            "arm", "answers right", "best so far", "10^12 operations", "tokens drawn", "prompts read", "trained on",
            "by a frozen model", "seconds", *(("dollars",) if priced else ()),
        ),
        tuple(rows),
        note="Of one adapter, with the adapters it starts from; the cheapest first. Best so far: no cheaper adapter "
        "has as many right answers (not a significance test). Operations: 2 per weight and token forward, 2 more for "
        "the gradient of earlier layers; those of the adapter itself and of attention are left out. Seconds: wall time "
        "on a possibly shared machine; of a resumed training, those of its last launch. In context, every query costs: "
        "see Cost.",
    )  # fmt: skip


def _plot(view: RunView, arms: Sequence[ArmFacts], spent: Mapping[str, Mapping[str, float] | None]) -> Plot | None:
    """Return accuracy against operations; None unless two adapters' are known."""
    points = []
    for arm in arms:
        columns, cost = view.attempts(arm.name), spent[arm.name]
        share = share_of(columns.right, columns.problem)
        if cost is not None and share.value is not None and share.low is not None and share.high is not None:
            flops = cost["flops"] / 1e12 if arm.tune is not None else None
            points.append(Point(arm.name, flops, share.value, share.low, share.high))
    if sum(bool(point.x) for point in points) < 2:
        return None
    return Plot(
        "answers right against the cost of training",
        "10^12 operations of one adapter, with the adapters it starts from",
        tuple(points),
        note="Bars: 95% intervals. Dashed lines: arms in context, which need no training.",
    )


# ---- the gain of a prompt


def _kept(view: RunView, arms: Sequence[ArmFacts]) -> Table:
    """Tabulate the share of an arm's gain in context that tuned arms keep without its prompt."""
    rng = np.random.default_rng(view.seed)
    rows: list[Row] = []
    for arm in arms:
        context = named_arm(view, arm, arm.settings.get("context"))
        plain = _plain(arms, arm)
        if context is None or plain is None or not view.attempts(context.name).n:
            continue
        scores = [scores_of(view.attempts(name)) for name in (arm.name, context.name, plain.name)]
        common = [problem_id for problem_id in scores[0].ids if all(problem_id in other.ids for other in scores[1:])]
        places = [[of_arm.ids.index(problem_id) for problem_id in common] for of_arm in scores]
        means = [np.nanmean(of_arm.values[at], axis=1) for of_arm, at in zip(scores, places, strict=True)]
        if not common or any(np.isnan(mean).any() for mean in means):
            continue
        gain_kept = share_kept(means[0], means[1], means[2], rng)
        gain = f"{100 * gain_kept.gain:+.1f} ({100 * gain_kept.gain_low:.1f} to {100 * gain_kept.gain_high:.1f})"
        share = None if gain_kept.share is None else percent(gain_kept.share)
        interval = None if gain_kept.low is None or gain_kept.high is None else between(gain_kept.low, gain_kept.high)
        rows.append((
            arm.name, plain.name, percent(float(means[2].mean())), context.name, percent(float(means[1].mean())), gain,
            percent(float(means[0].mean())), share, interval, gain_kept.n,
        ))  # fmt: skip
    return Table(
        "share of the prompt's gain that is kept without the prompt",
        (
            "arm", "without", "right", "in context", "right", "gain in points", "tuned, without the prompt: right",
            "share kept", "95% interval", "n",
        ),
        tuple(rows),
        note="Bootstrap over problems. A dash: the gain in context may be zero, so a share of it is meaningless. Above "
        "100%: the arm also learnt something that the prompt alone does not give, such as the form of an answer.",
    )  # fmt: skip


def _plain(arms: Sequence[ArmFacts], arm: ArmFacts) -> ArmFacts | None:
    """Return the untuned arm with the tuned one's prompt."""
    for other in arms:
        same = other.student == arm.student and other.prompt == arm.prompt and other.folder == arm.folder
        if same and other.kind == PROMPTED and not other.forced and other.tune is None:
            return other
    return None


# ---- over the course of training


def _curves(view: RunView, tuned: Sequence[ArmFacts]) -> Table:
    """Tabulate right answers and traces on validation problems by step."""
    curves = {arm.name: facts[0]["curve"] for arm in tuned if (facts := _facts(view, arm)) and "curve" in facts[0]}
    steps = sorted({point["step"] for curve in curves.values() for point in curve})
    rows: list[Row] = []
    for name, curve in curves.items():
        at = {point["step"]: f"{point['answers_right']} / {point['traces_right']}" for point in curve}
        rows.append((name, curve[0]["attempts"], *(at.get(step) for step in steps)))
    return Table(
        "learning curves on validation problems: right answers / right traces",
        ("arm", "n", *(f"step {step}" for step in steps)),
        tuple(rows),
        note="Greedy decoding after each number of steps; step 0 is before training. No test problems. First seed.",
    )


def _rounds(view: RunView, tuned: Sequence[ArmFacts]) -> Table:
    """Return what each round drew, and what of it was imitated."""
    rows: list[Row] = []
    for arm in tuned:
        facts = _facts(view, arm)
        for place, made in enumerate(facts[0].get("rounds", ()) if facts else (), start=1):
            counts = (made["answers_right"], made["traces_right"], made.get("cut_off"), made["accepted"])
            rows.append((arm.name, place, made["drawn"], *counts, made["kept"], made.get("kept_traces_right")))
    return Table(
        "completions drawn and imitated",
        (
            "arm", "round", "drawn", "answers right", "traces right", "cut off", "accepted", "rows imitated",
            "of these with a right trace",
        ),
        tuple(rows),
        note="Completions of training problems; a problem gives one row, its first accepted one. First seed.",
    )  # fmt: skip


def _rewards(view: RunView, tuned: Sequence[ArmFacts]) -> Table:
    """Tabulate draws of the first and last part of training by reward, which would show reward hacking."""
    rows: list[Row] = []
    for arm in tuned:
        facts = _facts(view, arm) if method_of(arm) == "grpo" else []
        log = [entry for entry in facts[0]["log"] if "reward" in entry] if facts else []
        if not log:
            continue
        count = max(1, round(PART * len(log)))
        for label, part in ((f"first {count}", log[:count]), (f"last {count}", log[-count:])):
            mean = {key: float(np.mean([entry[key] for entry in part if key in entry])) for key in part[0]}
            cells = [percent(mean[key]) for key in ("both", "answer_alone", "trace_alone", "neither", "copied")]
            length, cut = mean["completions/mean_length"], mean["completions/clipped_ratio"]
            rows.append((arm.name, label, f"{mean['reward']:.2f}", *cells, f"{length:.1f}", percent(cut)))
    return Table(
        "completions and rewards over training",
        (
            "arm", "steps", "reward", "trace & answer", "answer alone", "trace alone", "neither",
            "trace holds the answer", "mean tokens", "cut off",
        ),
        tuple(rows),
        note="Shares of the completions drawn for training problems. The first and the last steps draw different "
        "problems, so with few steps the shares differ by chance. If the reward rises but right traces do not (answers "
        "alone, copying traces, longer completions), it is reward hacking. First seed.",
    )  # fmt: skip


def _pairs(view: RunView, tuned: Sequence[ArmFacts]) -> Table:
    """Tabulate how alike the two completions of a pair are, and what became of both."""
    rows: list[Row] = []
    for arm in tuned:
        facts = _facts(view, arm) if method_of(arm) == "dpo" else []
        if not facts or "pairs" not in facts[0] or not facts[0]["log"]:
            continue
        pairs, first, last = facts[0]["pairs"], facts[0]["log"][0], facts[0]["log"][-1]
        moved = (f"{first[key]:.1f} to {last[key]:.1f}" for key in ("logps/chosen", "logps/rejected"))
        rows.append((
            arm.name, f"{pairs['n']} of {facts[0]['rows']}", number(pairs["chosen_tokens"]),
            number(pairs["rejected_tokens"]), pairs["alike"], percent(last["rewards/accuracies"]),
            f"{last['rewards/margins']:.2f}", *moved,
        ))  # fmt: skip
    return Table(
        "preference pairs",
        (
            "arm", "problems with a pair", "chosen: tokens", "rejected: tokens", "similar length", "chosen preferred",
            "margin", "chosen: log-probability", "rejected: log-probability",
        ),
        tuple(rows),
        note="Similar length: their tokens differ by at most a tenth. If few are, the student may learn to prefer a "
        "length. Log-probabilities are of the pairs of the first and of the last step; a margin can also grow while "
        "both fall. First seed.",
    )  # fmt: skip
