"""Counts of rejected traces by difficulty and length: rejection makes a training set easier and shorter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tracedistill.records import Problem, Trace
from tracedistill.validation.distinct import Distinct
from tracedistill.validation.judge_verdicts import JudgeReport, JudgeTally
from tracedistill.validation.leaks import LeakCounts, LeakTally
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
    """Trace verdicts by outcome, by rules."""
    answers: Mapping[str, int]
    """Answer verdicts by outcome."""
    by_difficulty: Mapping[str, tuple[int, int]]
    """Difficulty -> (accepted, judged)."""
    by_length: Mapping[str, tuple[int, int]]
    """Third of the traces by characters -> (accepted, judged)."""
    median_length_accepted: float | None
    """Characters; None if nothing was accepted."""
    median_length_rejected: float | None
    """Characters; None if nothing was rejected."""
    reasons: Mapping[str, int]
    """The most frequent reasons of rejection."""
    oracle: int
    """Traces whose maker saw the gold."""
    leaks: LeakCounts | None
    """Leaks of the plans; None if there are none."""
    judge: JudgeReport | None = None
    """Work of the model judge; None if the recipe names none."""


class RejectionTally:
    """Running counts of traces and their verdicts, whole or by parts; memory: 16 bytes a problem, and the lengths."""

    def __init__(self, problems: Mapping[str, Problem], judge: str = "none") -> None:
        self.problems = problems
        self._outcomes, self._answers, self._reasons = Counter[str](), Counter[str](), Counter[str]()
        self._difficulty: dict[str, list[int]] = {}
        self._lengths: dict[bool, Counter[int]] = {True: Counter(), False: Counter()}
        self._seen, self._kept = Distinct(), Distinct()
        self._leaks = LeakTally()
        self._judge = None if judge == "none" else JudgeTally(judge)
        self._oracle = 0

    def add(self, trace: Trace, verdict: Validation) -> None:
        """Count one trace."""
        self._outcomes[verdict.trace.outcome] += 1
        self._answers[verdict.answer.outcome] += 1
        level = self.problems[trace.problem_id].difficulty
        cell = self._difficulty.setdefault("unknown" if level is None else str(level), [0, 0])
        cell[0] += verdict.accepted
        cell[1] += 1
        self._lengths[verdict.accepted][len(trace.text)] += 1
        self._seen.add(trace.problem_id)
        self._oracle += trace.oracle
        if verdict.accepted:
            self._kept.add(trace.problem_id)
        else:
            self._reasons[verdict.reason.split(":")[0]] += 1
        if verdict.leak is not None:
            self._leaks.add(verdict.leak)
        if self._judge is not None and verdict.judged is not None:
            refused = not verdict.accepted and verdict.reason.startswith("model judge ")
            self._judge.add(trace.trace_id, verdict.trace, verdict.judged, refused=refused)

    def counts(self) -> dict[str, Any]:
        """Return the counts as JSON, for `add_counts`; without those of a model judge, which judges all at once."""
        assert self._judge is None
        return {
            "outcomes": self._outcomes,
            "answers": self._answers,
            "reasons": self._reasons,
            "difficulty": self._difficulty,
            "lengths": [list(self._lengths[ok].items()) for ok in (True, False)],
            "problems": [self._seen.numbers(), self._kept.numbers()],
            "leaks": self._leaks.sums(),
            "oracle": self._oracle,
        }

    def add_counts(self, counts: Mapping[str, Any]) -> None:
        """Add the counts of another tally, whose traces follow these."""
        for own, name in ((self._outcomes, "outcomes"), (self._answers, "answers"), (self._reasons, "reasons")):
            own.update(counts[name])
        for level, cell in counts["difficulty"].items():
            mine = self._difficulty.setdefault(level, [0, 0])
            mine[0] += cell[0]
            mine[1] += cell[1]
        for ok, lengths in zip((True, False), counts["lengths"], strict=True):
            self._lengths[ok].update(dict(lengths))
        for distinct, numbers in zip((self._seen, self._kept), counts["problems"], strict=True):
            distinct.add_numbers(numbers)
        self._leaks.add_sums(counts["leaks"])
        self._oracle += counts["oracle"]

    def report(self) -> RejectionReport:
        """Return the counts so far."""
        accepted, rejected = self._lengths[True], self._lengths[False]
        return RejectionReport(
            traces=accepted.total() + rejected.total(),
            accepted=accepted.total(),
            problems=self._seen.count(),
            problems_accepted=self._kept.count(),
            outcomes=dict(self._outcomes),
            answers=dict(self._answers),
            by_difficulty={level: (cell[0], cell[1]) for level, cell in sorted(self._difficulty.items(), key=_level)},
            by_length=_thirds(accepted, rejected),
            median_length_accepted=_median(accepted),
            median_length_rejected=_median(rejected),
            reasons=dict(self._reasons.most_common(8)),
            oracle=self._oracle,
            leaks=self._leaks.counts() if self._leaks.n else None,
            judge=None if self._judge is None else self._judge.report(),
        )


def _level(item: tuple[str, list[int]]) -> tuple[bool, int]:
    return (not item[0].isdigit(), int(item[0]) if item[0].isdigit() else 0)


def _median(lengths: Counter[int]) -> float | None:
    """Return the median of counted numbers, exactly."""
    n = lengths.total()
    if not n:
        return None
    low = high = -1
    passed = 0
    for length in sorted(lengths):
        passed += lengths[length]
        if low < 0 and passed > (n - 1) // 2:
            low = length
        if passed > n // 2:
            high = length
            break
    return low if low == high else (low + high) / 2


def _thirds(accepted: Counter[int], rejected: Counter[int]) -> dict[str, tuple[int, int]]:
    """Return (accepted, judged) of the shortest, middle and longest third.

    Of equal lengths, rejected ones come first.
    """
    n = accepted.total() + rejected.total()
    if n < 3:
        return {}
    ends = (n // 3, 2 * n // 3, n)
    cells = [[0, 0], [0, 0], [0, 0]]
    at = third = 0
    for length in sorted({*accepted, *rejected}):
        for counts, ok in ((rejected, False), (accepted, True)):
            left = counts[length]
            while left:
                some = min(left, ends[third] - at)
                cells[third][0] += some * ok
                cells[third][1] += some
                at, left = at + some, left - some
                if at == ends[third] and third < 2:
                    third += 1
    return {name: (cell[0], cell[1]) for name, cell in zip(("short", "middle", "long"), cells, strict=True)}
