"""Sample failures, and render them for a reader: question, plan with verdicts, gold, output and label."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tracedistill.evaluation.attribution.alignment import Adherence
from tracedistill.evaluation.attribution.labels import Attributed
from tracedistill.evaluation.attribution.propagation import Propagation
from tracedistill.output import markdown_block, markdown_line
from tracedistill.records import Problem, Step, Verdict

MAX_OUTPUT = 6_000
"""Most characters shown of an output; longer ones are marked as cut."""


@dataclass(frozen=True, slots=True)
class Case:
    """All that a reader needs to judge one item."""

    attributed: Attributed
    problem: Problem
    plan_steps: tuple[Step, ...]
    verdict: Verdict
    """Verdict on the plan, step by step."""
    output: str
    """One output of the student under this plan, a failed one if there is one."""
    answer: str | None = None
    """Answer extracted from that output."""
    teacher: str = ""
    student: str = ""
    adherence: Adherence | None = None
    """The student's treatment of each step."""
    propagation: Propagation | None = None
    """Use of the plan's wrong numbers."""


def failures_to_read(cases: Iterable[Case], n: int = 50, seed: int = 0) -> list[Case]:
    """Draw a seeded random sample of at most `n` failures.

    It does not depend on the order of the cases, and a larger `n` only adds cases. Every failure has the same chance,
    so shares found by reading estimate shares of all failures.
    """
    failures = [case for case in cases if case.attributed.failed]
    return sorted(failures, key=lambda case: _lot(case, seed))[:n]


def _lot(case: Case, seed: int) -> bytes:
    name = "\0".join((str(seed), case.teacher, case.student, case.problem.problem_id))
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()


def render_cases(cases: Sequence[Case]) -> str:
    """Render the cases as one Markdown text, each with a line for the reader's own verdict."""
    return "\n".join(render_case(case, f"{at} of {len(cases)}: ") for at, case in enumerate(cases, start=1))


def render_case(case: Case, before: str = "") -> str:
    """Render one case as Markdown. Model texts are in fences that they cannot close."""
    attributed, answer = case.attributed, f"Answer: {', '.join(case.problem.answers)}"
    names = ", ".join(filter(None, (case.teacher and f"teacher {case.teacher}", case.student)))
    parts = [
        f"## {before}{markdown_line(case.problem.problem_id)}" + (f" ({markdown_line(names)})" if names else ""),
        f"Program: **{attributed.label}**. {markdown_line(attributed.why)}.",
        f"Successes: {_counts(attributed)}. Plan judged {attributed.outcome}"
        + (
            f"; first wrong step {attributed.first_wrong_step} ({attributed.kind})"
            if attributed.first_wrong_step
            else ""
        )
        + (f": {markdown_line(case.verdict.reason)}" if case.verdict.reason else "")
        + ".",
        "### Question",
        markdown_block("\n".join([*case.problem.context, case.problem.question])),
        "### Plan",
        markdown_block("\n".join(_plan_lines(case)) or "(no steps)"),
        "### Gold",
        markdown_block("\n".join([*(step.text for step in case.problem.gold_steps), answer])),
        "### Output" + (f" (answer read: {markdown_line(case.answer)})" if case.answer is not None else ""),
        markdown_block(_cut(case.output)),
    ]
    if case.propagation is not None and case.propagation.wrong_numbers:
        parts.append(_propagation_line(case.propagation))
    parts.append("Reader: teacher / student / both / undecided; first wrong step:\n")
    return "\n\n".join(parts)


def _plan_lines(case: Case) -> list[str]:
    """Render each step with its verdict and the student's treatment of it."""
    verdicts = {step.index: step for step in case.verdict.steps}
    fates = {step.index: step for step in case.adherence.per_step} if case.adherence else {}
    lines = []
    for index, step in enumerate(case.plan_steps):
        notes = []
        if index in verdicts:
            verdict = verdicts[index]
            notes.append(f"{verdict.outcome}: {verdict.reason}" if verdict.reason else verdict.outcome)
        if index in fates:
            notes.append(f"student: {fates[index].fate}")
        lines.append(f"{index + 1}. {step.text}" + (f"\n      [{'; '.join(notes)}]" if notes else ""))
    return lines


def _counts(attributed: Attributed) -> str:
    parts = [
        f"{attributed.plan[0]} of {attributed.plan[1]} with the plan",
        f"{attributed.gold[0]} of {attributed.gold[1]} with the gold plan",
    ]
    if attributed.again is not None:
        parts.append(f"{attributed.again[0]} of {attributed.again[1]} with another sample of the plan")
    return ", ".join(parts)


def _propagation_line(propagation: Propagation) -> str:
    where = (
        ("written", propagation.reappear_in_trace),
        ("calculated with", propagation.calculated_with),
        ("the answer", propagation.reappear_in_answer),
    )
    line = "; ".join(f"{name}: {', '.join(numbers)}" for name, numbers in where if numbers) or "not used by the student"
    line += "; the answer is calculated from them" if propagation.carried else ""
    return f"Wrong numbers of the plan: {', '.join(propagation.wrong_numbers)} ({line})."


def _cut(text: str) -> str:
    return text if len(text) <= MAX_OUTPUT else f"{text[:MAX_OUTPUT]}\n[cut: {len(text)} characters]"
