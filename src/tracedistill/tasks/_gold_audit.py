"""Golds judged by their own judge before anything is spent: which fail, are blank or contradict each other.

golds: 17 of 340 fail their own judge (label): 17 x the gold is none of the labels (file-train-8: 'refnd', ...)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tracedistill.records import Problem
from tracedistill.tasks._base import Task
from tracedistill.tasks._overlap import agree, normal_text, sample_ids

LOOKED_AT = 10_000
"""Golds that are judged; of more, a seeded sample."""
FAULTS_ALLOWED = 0.05
"""Share of the golds of a user's data that may fail before a study stops."""
SHOWN = 3
"""Examples of each fault."""
SHOWN_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class GoldFault:
    """One kind of error in golds."""

    what: str
    """Description, the same for all of its golds."""
    n: int
    examples: tuple[str, ...]
    """The first few, each an id and its gold."""


@dataclass(frozen=True, slots=True)
class GoldAudit:
    """Audit of the golds of a set of problems."""

    n: int
    """Problems."""
    checked: int
    """Of these, those whose gold was judged."""
    failing: tuple[GoldFault, ...]
    """Golds that fail their own judge, blank ones included; the most frequent fault first."""
    contradictory: GoldFault
    """Problems that occur more than once, with different golds."""
    repeated: GoldFault
    """Problems that occur more than once, with the same gold."""

    @property
    def n_failing(self) -> int:
        """Number of failing golds."""
        return sum(fault.n for fault in self.failing)

    @property
    def share(self) -> float:
        """The larger of two shares: golds that fail, and problems whose golds contradict each other."""
        if not self.n:
            return 0.0
        return max(self.n_failing / max(1, self.checked), self.contradictory.n / self.n)

    def lines(self) -> list[str]:
        """Return the findings, a line each; empty if every gold is good."""
        lines = []
        if self.n_failing:
            lines.append(f"golds: {self.n_failing} of {self.checked} do not pass their own judge")
            lines += [f"  {fault.n} x {fault.what}: {'; '.join(fault.examples)}" for fault in self.failing]
        for fault in (self.contradictory, self.repeated):
            if fault.n:
                lines.append(f"golds: {fault.n} of {self.n} {fault.what}, for example {'; '.join(fault.examples)}")
        return lines


@dataclass(frozen=True, slots=True)
class AuditRows:
    """Problems as the audit needs them: of a large file only few are created."""

    ids: Sequence[str]
    first_equal: Sequence[int]
    """For each problem the index of the first one with the same text, possibly its own."""
    problem: Callable[[int], Problem]


def audit_golds(task: Task, problems: Sequence[Problem], seed: int = 0) -> GoldAudit:
    """Judge the gold answer of each problem, of more than 10,000 a seeded sample; repetitions are counted over all."""
    ids = [problem.problem_id for problem in problems]
    first: dict[str, int] = {}
    first_equal = [first.setdefault(normal_text(problem), place) for place, problem in enumerate(problems)]
    return audit_rows(task, AuditRows(ids, first_equal, problems.__getitem__), seed)


def audit_rows(task: Task, rows: AuditRows, seed: int = 0) -> GoldAudit:
    """Audit the golds of problems that are created on demand; see `audit_golds`."""
    judged = sample_ids(rows.ids, LOOKED_AT, seed)
    faults = [(problem, fault) for problem in map(rows.problem, judged) if (fault := task.gold_fault(problem))]
    counts = Counter(fault for _, fault in faults)
    failing = []
    for fault, count in counts.most_common():
        examples = [_shown(problem) for problem, other in faults if other == fault][:SHOWN]
        failing.append(GoldFault(fault, count, tuple(examples)))
    alike: dict[int, list[int]] = {}
    for place, earliest in enumerate(rows.first_equal):
        if earliest != place:
            alike.setdefault(earliest, [earliest]).append(place)
    groups = [list(map(rows.problem, alike[place])) for place in sorted(alike)]
    torn = [group for group in groups if not agree(group)]
    same = [group for group in groups if agree(group)]
    return GoldAudit(
        len(rows.ids),
        len(judged),
        tuple(failing),
        GoldFault("have another gold than the same question elsewhere", sum(map(len, torn)), _pairs(torn)),
        GoldFault("repeat a question and its gold", sum(len(group) - 1 for group in same), _pairs(same)),
    )


def allowed_faults(task: str, chosen: float | None) -> float:
    """Return the share of golds that may fail: the user's setting, else 5% of user data, all of the package's tasks."""
    if chosen is not None:
        return chosen
    return FAULTS_ALLOWED if task == "file" or ":" in task else 1.0


def too_many_faults(golds: GoldAudit, limit: float, remedy: str = "set task.failing_golds to continue") -> str:
    """Explain why such golds stop a study, and what to do."""
    lines = "\n".join(f"  {line}" for line in golds.lines())
    return (
        f"{golds.share:.0%} of the golds fail their own judge or contradict each other, more than {limit:.0%}; correct "
        f"the file, set task.judge, or {remedy}\n{lines}"
    )


def _pairs(groups: Sequence[Sequence[Problem]]) -> tuple[str, ...]:
    return tuple(" and ".join(map(_shown, group[:2])) for group in groups[:SHOWN])


def _shown(problem: Problem) -> str:
    gold = " | ".join(problem.answers)
    short = gold if len(gold) <= SHOWN_CHARACTERS else f"{gold[:SHOWN_CHARACTERS]}..."
    return f"{problem.problem_id} {short!r}"
