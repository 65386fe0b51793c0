"""The report's figures, recounted from `attempts/*.jsonl`; nothing is taken from memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tracedistill import stats
from tracedistill.interventions import NO_TRACE
from tracedistill.recipes import Arm, Study, resolved
from tracedistill.records import Problem
from tracedistill.report.teachers import teacher_figures, without_leaks
from tracedistill.store import read_json, read_lines, to_json

RESAMPLES = 10_000
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Judged:
    """One line of attempts/<arm>.jsonl, as far as the figures need it."""

    problem_id: str
    """The problem."""
    answer: str
    """Outcome of the final statement."""
    candidate: str
    """Outcome of the candidate reading."""
    trace: str
    """Outcome of the trace."""
    cut_off: bool
    """Whether the generation was cut off."""
    finish: str
    """Why it ended."""
    tokens_in: int
    """Prompt tokens."""
    tokens_out: int
    """Generated tokens."""
    seconds: float
    """Its share of the batch's seconds."""
    copied: bool | None
    """Whether the gold answer stands in its cited facts."""


def read_attempts(path: Path) -> list[Judged]:
    """All attempts of one arm; InputError names file and line."""
    out = []
    for _, row in read_lines(path):
        out.append(
            Judged(
                problem_id=row["problem_id"],
                answer=row["answer"]["outcome"],
                candidate=row["candidate"]["outcome"],
                trace=row["trace"]["outcome"],
                cut_off=row["cut_off"],
                finish=row["finish"],
                tokens_in=row["tokens_in"],
                tokens_out=row["tokens_out"],
                seconds=row["seconds"],
                copied=row["answer_in_trace"],
            )
        )
    return out


def build(study: Study, folder: Path, problems: Mapping[str, Problem], teachers: Sequence[str] = ()) -> dict[str, Any]:
    """The whole report as JSON values (the contract of report.json); `teachers`: whose traces the arms use."""
    attempts = {name: read_attempts(folder / "attempts" / f"{name}.jsonl") for name in study.arms}
    assembly = read_json(folder / "assembly.json")
    manifests = [read_json(path) for path in sorted(folder.rglob("*.manifest.json")) if ".checkpoints" not in str(path)]
    seconds = {manifest["node"]: manifest["seconds"] for manifest in manifests}
    arms = [_arm(name, study.arms[name], attempts[name], assembly, seconds.get(f"train:{name}")) for name in study.arms]
    for arm in arms:
        path = folder / "plans" / f"{arm['name']}.jsonl"
        shown = arm["plan"] is not None and path.exists()
        arm["without_leaks"] = without_leaks(path, attempts[arm["name"]], problems) if shown else None
    strata = {problem_id: problem.category or "all" for problem_id, problem in problems.items()}
    return {
        "study": study.study,
        "task": study.task.name,
        "problems": read_json(folder / "problems.report.json")["sizes"],
        "baseline": _majority(problems, strata),
        "arms": arms,
        "teachers": [teacher_figures(study, folder, name) for name in teachers],
        "comparisons": _comparisons(study, attempts),
        "by_category": _by_category(attempts, strata),
        "seconds": round(sum(value for node, value in seconds.items() if node != "report"), 1),
        "peak_memory_bytes": max((manifest["peak_memory_bytes"] for manifest in manifests), default=0),
        "stages": seconds,
        "libraries": manifests[0]["libraries"] if manifests else {},
        "assembly": assembly,
        "recipe": resolved(study),
    }


def _arm(
    name: str, arm: Arm, rows: Sequence[Judged], assembly: Mapping[str, Any], training: float | None
) -> dict[str, Any]:
    answers = Counter(row.answer for row in rows)
    traces = Counter(row.trace for row in rows)
    n = len(rows)
    correct = [row.answer == "correct" for row in rows]
    share = stats.accuracy(correct, [row.cut_off for row in rows], CONFIDENCE)
    raw = to_json(share.raw, defaults=True)
    if len({row.problem_id for row in rows}) < n:  # samples of one problem are not independent rows
        mean = stats.clustered_mean([float(ok) for ok in correct], [row.problem_id for row in rows], CONFIDENCE)
        raw |= {"low": max(0.0, mean.low or 0.0), "high": min(1.0, 1.0 if mean.high is None else mean.high)}
    trace_ok = [None if row.trace in ("unparsed", "none") else row.trace == "correct" for row in rows]
    joint = stats.joint_table(trace_ok, correct, CONFIDENCE)
    judged = traces["correct"] + traces["incorrect"]
    return {
        "name": name,
        "kind": "in context" if arm.tune is None else "tuned",
        "prompt": arm.prompt,
        "tune": arm.tune,
        "n": n,
        "correct": answers["correct"],
        "accuracy": {**to_json(share, defaults=True), "raw": raw},
        "candidate": sum(row.candidate == "correct" for row in rows),
        "missing": answers["missing"],
        "ungradable": answers["ungradable"],
        "cut_off": sum(row.cut_off for row in rows),
        "too_long": sum(row.finish == "too-long" for row in rows),
        "errors": sum(row.finish == "error" for row in rows),
        "no_plan": sum(row.finish == "no-plan" for row in rows),
        "trace_correct": traces["correct"],
        "trace_unparsed": traces["unparsed"],
        "trace_none": traces["none"],
        "writes_traces": traces["none"] < n,
        "joint": list(joint.counts),
        "association": to_json(joint, defaults=True),
        "answer_in_trace": sum(bool(row.copied) for row in rows),
        "traces_judged": judged,
        "tokens_in": sum(row.tokens_in for row in rows),
        "tokens_out": sum(row.tokens_out for row in rows),
        "seconds": round(sum(row.seconds for row in rows), 2),
        "training_seconds": training,
        "data": assembly["arms"].get(name) if arm.tune not in (None, NO_TRACE) else None,
        "plan": assembly["plans"].get(name),
    }


def _comparisons(study: Study, attempts: Mapping[str, Sequence[Judged]]) -> list[dict[str, Any]]:
    """Paired by problem; Holm over the family that the recipe declares (all pairs of tuned arms by default)."""
    tuned = study.tuned_arms()
    pairs = study.comparisons or tuple(
        (first, second) for place, second in enumerate(tuned) for first in tuned[place + 1 :]
    )
    rng = np.random.default_rng(study.seed)
    out: list[dict[str, Any]] = []
    for first, second in pairs:
        a, b = _per_problem(attempts[first]), _per_problem(attempts[second])
        ids = [problem_id for problem_id in a if problem_id in b]
        left, right = [a[key] for key in ids], [b[key] for key in ids]
        difference = stats.paired_bootstrap(left, right, rng, RESAMPLES, CONFIDENCE)
        single = study.evaluation.samples == 1
        only_first = sum(x > y for x, y in zip(left, right, strict=True))
        only_second = sum(x < y for x, y in zip(left, right, strict=True))
        out.append(
            {
                "first": first,
                "second": second,
                "n": len(ids),
                "difference": difference.estimate,
                "low": difference.low,
                "high": difference.high,
                "only_first": only_first,
                "only_second": only_second,
                "test": "exact McNemar" if single else "exact sign test on per-problem means",
                "p": stats.mcnemar_exact(only_first, only_second),
            }
        )
    for entry, adjusted in zip(out, stats.holm([entry["p"] for entry in out]), strict=True):
        entry["p_holm"] = adjusted
    return out


def _per_problem(rows: Sequence[Judged]) -> dict[str, float]:
    """Share of right answers for each problem (0 or 1 with one attempt each)."""
    totals: dict[str, list[bool]] = {}
    for row in rows:
        totals.setdefault(row.problem_id, []).append(row.answer == "correct")
    return {problem_id: sum(verdicts) / len(verdicts) for problem_id, verdicts in totals.items()}


def _by_category(attempts: Mapping[str, Sequence[Judged]], strata: Mapping[str, str]) -> dict[str, Any]:
    """Per stratum and arm: n, right answers, right traces."""
    out: dict[str, dict[str, list[int]]] = {}
    for name, rows in attempts.items():
        for row in rows:
            cell = out.setdefault(strata[row.problem_id], {}).setdefault(name, [0, 0, 0])
            cell[0] += 1
            cell[1] += row.answer == "correct"
            cell[2] += row.trace == "correct"
    return {stratum: out[stratum] for stratum in sorted(out)}


def _majority(problems: Mapping[str, Problem], strata: Mapping[str, str]) -> dict[str, Any]:
    """What guessing the most frequent answer and class would get on these problems."""
    answers = Counter(", ".join(sorted(problem.answers)) for problem in problems.values())
    classes = Counter(strata.values())
    n = max(1, len(problems))
    answer, answered = answers.most_common(1)[0] if answers else ("", 0)
    label, labelled = classes.most_common(1)[0] if classes else ("", 0)
    return {"answer": answer, "answer_share": answered / n, "class": label, "class_share": labelled / n}
