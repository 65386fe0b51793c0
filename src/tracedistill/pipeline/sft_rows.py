"""The rows of tuned arms: the same problems in each, with what every arm learns of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from tracedistill.errors import InputError
from tracedistill.evaluation.requests import shots_for
from tracedistill.interventions import NO_TRACE, find_intervention, get_intervention
from tracedistill.pipeline.chosen import changed, one_trace, places
from tracedistill.pipeline.shelf import Rows, Shelf
from tracedistill.pipeline.study_run import StudyRun
from tracedistill.pipeline.terms import OWN
from tracedistill.records import Example, Trace
from tracedistill.sft.examples import assign_mix, examples_for, two_targets
from tracedistill.sft.messages import messages_for


@dataclass(frozen=True, slots=True)
class Shared:
    """The problems common to all tuned arms, with each arm's traces of them."""

    kept: list[str]
    """Ids of the problems, in their order."""
    before: dict[str, Shelf]
    """Arm -> the teacher's traces; empty for an arm that trains on answers alone."""
    traces: dict[str, Shelf]
    """The same after the arm's intervention; there may be further problems."""


def shared_traces(work: StudyRun, problem_ids: Sequence[str], *, context: bool = True) -> Shared:
    """Return each tuned arm's traces of the problems for which every tuned arm has one.

    `context`: whether plans to show are required as well. Interventions are applied to the common problems, and again
    if that leaves fewer: labels or traces redistributed over more problems than are kept would not keep their
    frequencies.
    """
    study, kept, order = work.study, list(problem_ids), places(problem_ids)
    arms = {name: study.arms[name] for name in study.tuned_arms()}
    chosen: dict[tuple[str, bool], Shelf] = {}  # several arms have the same
    before: dict[str, Shelf] = {}
    for name, arm in arms.items():
        which = (study.teacher_of(arm), arm.traces == "reviewed")
        if arm.tune == NO_TRACE:
            before[name] = Shelf(order)
            continue
        if which not in chosen:
            chosen[which] = one_trace(work, which[0], order, accepted=True, reviewed=which[1])
        before[name] = chosen[which]
    traces = {name: Shelf(order) for name in arms}
    tracing = [name for name, arm in arms.items() if arm.tune != NO_TRACE]
    again = set(tracing)
    while True:
        for name in again:
            traces[name] = changed(work, arms[name].tune or "correct", before[name], kept)
        needed = [traces[name] for name in tracing]
        if context:  # the teaching model needs its plan
            needed += [
                context_plans(work, name, kept)
                for name, arm in arms.items()
                if arm.context is not None and work.shows_plan(study.arms[arm.context])
            ]
        left = [problem_id for problem_id in kept if all(problem_id in shelf for shelf in needed)]
        if len(left) == len(kept) or not left:
            return Shared(left, before, traces)
        kept = left
        again = {name for name in tracing if not get_intervention(arms[name].tune or "correct").alone}


def rows_of(
    work: StudyRun, name: str, problem_ids: Sequence[str], traces: Mapping[str, Mapping[str, Trace]]
) -> Iterator[Example]:
    """Yield the training rows of a tuned arm from every tuned arm's traces of these problems.

    Where it mixes other arms in, a row of theirs is as they have it, prompt and all, but for the name of the arm.
    """
    if not work.study.arms[name].mix:
        yield from own_rows(work, name, problem_ids, traces[name])
        return
    whose = whose_rows(work, name, problem_ids)
    for problem_id in problem_ids:
        lender = whose[problem_id]
        for row in own_rows(work, lender, [problem_id], traces[lender]):
            yield replace(row, arm=name)


def whose_rows(work: StudyRun, name: str, problem_ids: Sequence[str]) -> dict[str, str]:
    """Return problem id -> the arm whose row an arm uses."""
    return assign_mix(problem_ids, name, work.study.arms[name].mix, work.study.seed)


def own_rows(
    work: StudyRun,
    name: str,
    problem_ids: Sequence[str],
    traces: Mapping[str, Trace],
    intervention: str | None = None,
) -> Iterator[Example]:
    """Yield the rows of an arm with these traces, which its `tune` has made, or another intervention.

    Raises InputError for a problem whose gold answer is empty.
    """
    study, arm, problems, prompt = work.study, work.study.arms[name], work.known(), work.prompt(work.study.arms[name])
    student, change = study.student_config(arm), find_intervention(intervention or arm.tune)
    two = arm.rationale_weight is not None
    for problem_id in problem_ids:
        problem, trace = problems[problem_id], traces.get(problem_id)
        own = {} if trace is None else {problem_id: trace}
        answers = {}
        if change is not None and change.answers and trace is not None and trace.answer is not None:
            answers = {problem_id: trace.answer}
        if not (answers.get(problem_id) or work.task.render_answer(problem)).strip():
            raise InputError(
                f"arm {name}, {problem_id}: its gold answer is empty, so there is nothing to learn; fill it "
                "in or remove the row from the task's data"
            )
        rows = examples_for(
            work.task,
            name,
            arm,
            prompt,
            [problem],
            {} if two else own,
            student.system,
            study.format,
            answers,
            student.system_role,
        )
        yield from two_targets(rows, own) if two else rows


def context_rows(work: StudyRun, name: str, problem_ids: Sequence[str]) -> Iterator[Example]:
    """Yield each problem as the arm in context asks about it: its plan, its examples.

    A problem is no example for itself.
    """
    study, problems = work.study, work.known()
    other = study.arms[study.arms[name].context or ""]
    student = study.student_config(other)
    plans = context_plans(work, name, problem_ids)
    train = work.ids("train")
    shown = shots_for(other, Rows(train, problems.__getitem__), study.seed)
    traces = Shelf({})
    if other.shots_with_traces and shown:
        reviewed = other.traces == "reviewed"
        traces = one_trace(work, study.teacher_of(other), places(train), accepted=True, reviewed=reviewed)
    for problem_id in problem_ids:
        shots = [(shot, traces.get(shot.problem_id)) for shot in shown if shot.problem_id != problem_id]
        prompt = messages_for(
            work.task,
            problems[problem_id],
            other,
            work.prompt(other),
            student.system,
            study.format,
            plans.get(problem_id),
            shots,
            student.system_role,
        )
        yield Example(problem_id, name, prompt, "")


def context_plans(work: StudyRun, name: str, problem_ids: Sequence[str]) -> Shelf:
    """Return the plans of training problems that the arm in context shows; empty if it shows none."""
    other = work.study.arms[work.study.arms[name].context or ""]
    order = places(problem_ids)
    if not work.shows_plan(other):
        return Shelf(order)
    teacher, reviewed = work.study.teacher_of(other), other.traces == "reviewed"
    before = one_trace(work, teacher, order, accepted=False, reviewed=reviewed, number=other.plan_sample)
    return changed(work, other.plan, before, problem_ids)


def context_file(name: str) -> str:
    """Return the path, below the run folder, of the prompts shown to an arm's teaching model."""
    return f"sft/{name}.context.jsonl"


def rejected_file(name: str) -> str:
    """Return the path, below the run folder, of the rows whose completions an arm learns to avoid."""
    return f"sft/{name}.rejected.jsonl"


def beside_rows(work: StudyRun, name: str) -> list[str]:
    """Return the further files that a tuned arm's method learns from."""
    arm = work.study.arms[name]
    files = [context_file(name)] if arm.context is not None else []
    return [*files, *([rejected_file(name)] if arm.rejected not in (None, OWN) else [])]


def heldout_file(name: str) -> str:
    """Return the path of a tuned arm's validation rows below the run folder."""
    return f"sft/{name}.validation.jsonl"
