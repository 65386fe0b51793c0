"""Attribute errors from three arms' attempts: a table, a line per problem, a sample of failures to read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tracedistill.chat.formats import parse_completion
from tracedistill.evaluation.attribution import (
    Adherence,
    Attributed,
    Case,
    PlanSamples,
    Propagation,
    adherence,
    attribute,
    failures_to_read,
    propagated,
    render_cases,
    summarise,
)
from tracedistill.files import atomic, read_jsonl, read_lines, to_json, write_json, write_jsonl
from tracedistill.pipeline.study_run import StudyRun
from tracedistill.recipes import AttributionConfig
from tracedistill.records import Problem, Trace, Verdict
from tracedistill.validation import Validation, validate

TO_READ = 50
"""Failures rendered for manual reading."""


def make_attribution(work: StudyRun, entry: AttributionConfig) -> None:
    """Write attribution/<arm>.json (the table), .jsonl (a line per problem) and .failures.md (a sample to read)."""
    study, arm = work.study, work.study.arms[entry.plan]
    problems = {problem.problem_id: problem for problem in work.problems("test")}
    plans: dict[str, Trace] = {}
    for trace in read_jsonl(work.run.path(f"plans/{entry.plan}.jsonl"), Trace):
        plans.setdefault(trace.problem_id, trace)
    attempts = {name: _by_problem(work, name) for name in (entry.plan, entry.gold, entry.again) if name is not None}
    attributed: list[Attributed] = []
    adherences: dict[str, Adherence] = {}
    propagations: dict[str, Propagation] = {}
    cases: list[Case] = []
    teacher, student = study.teacher_of(arm), study.student_of(arm)
    verdicts = _verdicts(work, teacher, plans, problems)
    for problem_id, plan in plans.items():
        problem, rows = problems[problem_id], attempts[entry.plan].get(problem_id, [])
        verdict = verdicts[plan.trace_id]
        trial = PlanSamples(
            problem_id,
            _count(rows),
            _count(attempts[entry.gold].get(problem_id, [])),
            _count(attempts[entry.again].get(problem_id, [])) if entry.again is not None else None,
            verdict,
        )
        attributions = attribute(trial)
        attributed.append(attributions)
        # a failed output represents the problem if there is one
        row = next((row for row in rows if row["answer"]["outcome"] != "correct"), rows[0] if rows else None)
        if row is None:
            continue
        ok, extracted = row["answer"]["outcome"] == "correct", row["answer"]["extracted"]
        body = parse_completion(row["text"]).trace or row["text"]
        adherences[problem_id] = adherence(problem, plan.steps, body, answer_ok=ok)
        propagations[problem_id] = propagated(plan.steps, problem, row["text"], extracted)
        cases.append(
            Case(
                attributions, problem, plan.steps, verdict, row["text"], extracted, teacher, student,
                adherences[problem_id], propagations[problem_id],
            )
        )  # fmt: skip
    table = summarise(attributed, teacher, student, adherences, propagations)
    without = [problem_id for problem_id in problems if problem_id not in plans]
    write_json(
        work.run.path(f"attribution/{entry.plan}.json"),
        {"arms": to_json(entry), "without_plan": without, **to_json(table, defaults=True)},
    )
    lines = [
        {
            **to_json(item, defaults=True),
            "adherence": to_json(adherences[item.problem_id]) if item.problem_id in adherences else None,
            "propagation": to_json(propagations[item.problem_id]) if item.problem_id in propagations else None,
        }
        for item in attributed
    ]
    write_jsonl(work.run.path(f"attribution/{entry.plan}.jsonl"), lines)
    with atomic(work.run.path(f"attribution/{entry.plan}.failures.md")) as stream:
        text = render_cases(failures_to_read(cases, TO_READ, study.seed))
        stream.write(text.encode("utf-8", "replace").decode("utf-8"))


def _by_problem(work: StudyRun, arm: str) -> dict[str, list[Mapping[str, Any]]]:
    """Return an arm's attempts by problem, without problems that were skipped."""
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for _, row in read_lines(work.run.path(f"attempts/{arm}.jsonl")):
        if row["finish"] != "no-plan":
            rows.setdefault(row["problem_id"], []).append(row)
    return rows


def _count(rows: list[Mapping[str, Any]]) -> tuple[int, int]:
    return sum(row["answer"]["outcome"] == "correct" for row in rows), len(rows)


def _verdicts(
    work: StudyRun, teacher: str, plans: Mapping[str, Trace], problems: Mapping[str, Problem]
) -> dict[str, Verdict]:
    """Return trace id -> verdict on the plan shown: by rules or, if they are undecided, by a model judge."""
    verdicts = {
        validation.trace_id: validation.trace for validation in validate(work.task, problems, plans.values(), "all")
    }
    for validation in read_jsonl(work.run.path(f"validation/{teacher}.jsonl"), Validation):
        if (
            validation.trace_id in verdicts
            and validation.judged is not None
            and verdicts[validation.trace_id].outcome == "undecided"
        ):
            verdicts[validation.trace_id] = replace(verdicts[validation.trace_id], outcome=validation.judged.outcome)
    return verdicts
