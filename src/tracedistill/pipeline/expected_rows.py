"""Expected rows of an arm, before datasets are assembled or while traces are missing."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from tracedistill.interventions import NO_TRACE, find_intervention, intervene
from tracedistill.pipeline.study_run import StudyRun
from tracedistill.pipeline.trace_selection import places, select_traces
from tracedistill.records import Example, Problem
from tracedistill.sft.examples import assign_mix, examples_for

Lengths = dict[str, list[tuple[int, int]]]
"""Problem -> (tokens, supervised tokens) of each of its rows (two rows if an arm has two targets)."""


def foreseen_rows(
    work: StudyRun, complete: Collection[str], name: str, train: Sequence[Problem]
) -> tuple[list[Example], int]:
    """Return (expected rows of a tuned arm, most tokens of its missing traces); 0: none are missing.

    `complete`: names of the complete nodes.
    """
    mix, rows = work.study.arms[name].mix, {}
    made = {lender: _own_rows(work, complete, lender, train) for lender in work.study.lenders_of(name)}
    if not mix:
        return made[name]
    for lender, (examples, _) in made.items():
        rows[lender] = {row.problem_id: row for row in examples}
    common = [key for key in rows[name] if all(key in lengths for lengths in rows.values())]
    whose = assign_mix(common, name, mix, work.study.seed)
    return [rows[whose[key]][key] for key in common], max(extra for _, extra in made.values())


def _own_rows(
    work: StudyRun, complete: Collection[str], name: str, train: Sequence[Problem]
) -> tuple[list[Example], int]:
    study, arm = work.study, work.study.arms[name]
    teacher, traces, extra = study.teacher_of(arm), {}, 0
    if arm.tune not in (None, NO_TRACE):
        if f"validate:{teacher}" in complete and arm.traces == "teacher":
            by_id = {problem.problem_id: problem for problem in train}
            known = list(select_traces(work, teacher, places(by_id), accepted=True).values())
            changed = intervene(arm.tune or "correct", work.task, by_id, known, study.seed)
            traces = {trace.problem_id: trace for trace in changed}
            train = [problem for problem in train if problem.problem_id in traces]
        else:
            extra = study.teachers[teacher].max_tokens
    change = find_intervention(arm.tune)
    answers = change is not None and change.answers
    return examples_for(work.prompt_spec(arm), name, train, traces, own_answers=answers), extra


def by_problem(examples: Iterable[Example], lengths: Iterable[tuple[int, int]]) -> Lengths:
    """Return the lengths of these rows, problem by problem."""
    lengths_of: Lengths = {}
    for row, length in zip(examples, lengths, strict=True):
        lengths_of.setdefault(row.problem_id, []).append(length)
    return lengths_of
