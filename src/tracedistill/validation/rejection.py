"""What validation drops, by difficulty and length: rejection makes a training set easier and shorter than its source."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tracedistill.records import Problem, Trace
from tracedistill.validation.leaks import LeakCounts, LeakVerdict, count_leaks
from tracedistill.validation.traces import Validation


@dataclass(frozen=True, slots=True)
class RejectionReport:
    """Counts over the traces of one teacher."""

    traces: int
    """Traces judged."""
    accepted: int
    """Of these, accepted."""
    problems: int
    """Problems with at least one trace."""
    problems_accepted: int
    """Problems with at least one accepted trace."""
    outcomes: Mapping[str, int]
    """Trace verdicts by outcome."""
    answers: Mapping[str, int]
    """Answer verdicts by outcome."""
    by_difficulty: Mapping[str, tuple[int, int]]
    """Difficulty -> (accepted, judged)."""
    by_length: Mapping[str, tuple[int, int]]
    """Third of the traces by characters -> (accepted, judged)."""
    median_length_accepted: float | None
    """Characters; None where nothing was accepted."""
    median_length_rejected: float | None
    """Characters; None where nothing was rejected."""
    reasons: Mapping[str, int]
    """The most frequent reasons of rejection."""
    oracle: int
    """Traces whose maker saw the gold."""
    leaks: LeakCounts | None
    """Over the plans; None where there are none."""


def report_rejection(problems: Mapping[str, Problem], judged: Iterable[tuple[Trace, Validation]]) -> RejectionReport:
    """Sum up traces and their verdicts; memory grows by a few numbers per trace."""
    outcomes, answers, reasons = Counter[str](), Counter[str](), Counter[str]()
    difficulty: dict[str, list[int]] = {}
    lengths: list[tuple[int, bool]] = []
    seen: set[str] = set()
    kept: set[str] = set()
    leaks: list[LeakVerdict] = []
    oracle = 0
    for trace, verdict in judged:
        outcomes[verdict.trace.outcome] += 1
        answers[verdict.answer.outcome] += 1
        level = problems[trace.problem_id].difficulty
        cell = difficulty.setdefault("unknown" if level is None else str(level), [0, 0])
        cell[0] += verdict.accepted
        cell[1] += 1
        lengths.append((len(trace.text), verdict.accepted))
        seen.add(trace.problem_id)
        oracle += trace.oracle
        if verdict.accepted:
            kept.add(trace.problem_id)
        else:
            reasons[verdict.reason.split(":")[0]] += 1
        if verdict.leak is not None:
            leaks.append(verdict.leak)
    accepted = [length for length, ok in lengths if ok]
    rejected = [length for length, ok in lengths if not ok]
    return RejectionReport(
        traces=len(lengths),
        accepted=len(accepted),
        problems=len(seen),
        problems_accepted=len(kept),
        outcomes=dict(outcomes),
        answers=dict(answers),
        by_difficulty={level: (cell[0], cell[1]) for level, cell in sorted(difficulty.items(), key=_level)},
        by_length=_thirds(lengths),
        median_length_accepted=statistics.median(accepted) if accepted else None,
        median_length_rejected=statistics.median(rejected) if rejected else None,
        reasons=dict(reasons.most_common(8)),
        oracle=oracle,
        leaks=count_leaks(leaks) if leaks else None,
    )


def _level(item: tuple[str, list[int]]) -> tuple[bool, int]:
    return (not item[0].isdigit(), int(item[0]) if item[0].isdigit() else 0)


def _thirds(lengths: list[tuple[int, bool]]) -> dict[str, tuple[int, int]]:
    if len(lengths) < 3:
        return {}
    ordered = sorted(lengths)
    cuts = [0, len(ordered) // 3, 2 * len(ordered) // 3, len(ordered)]
    out = {}
    for name, start, end in zip(("short", "middle", "long"), cuts, cuts[1:], strict=False):
        part = ordered[start:end]
        out[name] = (sum(ok for _, ok in part), len(part))
    return out
