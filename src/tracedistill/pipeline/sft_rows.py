"""Training rows of tuned arms: the same problems in every arm, each with the arm's own target."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from tracedistill.errors import InputError
from tracedistill.evaluation.requests import shots_for
from tracedistill.interventions import NO_TRACE, find_intervention, get_intervention
from tracedistill.pipeline.study_run import StudyRun
from tracedistill.pipeline.trace_selection import apply_intervention, places, select_traces
from tracedistill.pipeline.trace_store import LazyRows, TraceStore
from tracedistill.recipes import OWN
from tracedistill.records import Example, Trace
from tracedistill.sft.examples import assign_mix, examples_for
from tracedistill.sft.messages import messages_for


@dataclass(frozen=True, slots=True)
class Shared:
    """The problems common to all tuned arms, with each arm's traces of them."""

    kept: list[str]
    """Ids of the problems, in their order."""
    before: dict[str, TraceStore]
    """Arm -> the teacher's traces; empty for an arm that trains on answers alone."""
    traces: dict[str, TraceStore]
    """The same after the arm's intervention; there may be further problems."""


def shared_traces(work: StudyRun, problem_ids: Sequence[str], *, context: bool = True) -> Shared:
    """Return each tuned arm's traces of the problems for which every tuned arm has one.

    `context`: whether plans to show are required as well. Interventions are applied to the common problems, and again
    if that leaves fewer problems, since redistributed labels or traces must keep their frequencies among those kept.
    """
    study, kept, order = work.study, list(problem_ids), places(problem_ids)
    arms = {name: study.arms[name] for name in study.tuned_arms()}
    chosen: dict[tuple[str, bool], TraceStore] = {}  # shared by several arms
    before: dict[str, TraceStore] = {}
    for name, arm in arms.items():
        which = (study.teacher_of(arm), arm.traces == "reviewed")
        if arm.tune == NO_TRACE:
            before[name] = TraceStore(order)
            continue
        if which not in chosen:
            chosen[which] = select_traces(work, which[0], order, accepted=True, reviewed=which[1])
        before[name] = chosen[which]
    traces = {name: TraceStore(order) for name in arms}
    tracing = [name for name, arm in arms.items() if arm.tune != NO_TRACE]
    again = set(tracing)
    while True:
        for name in again:
            traces[name] = apply_intervention(work, arms[name].tune or "correct", before[name], kept)
        needed = [traces[name] for name in tracing]
        if context:  # the model that teaches needs its plan
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

    A row mixed in from another arm is that arm's own row, prompt included, under this arm's name.
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
    """Yield the rows of an arm from these traces, made by its `tune` or by another intervention.

    Raises InputError for a problem whose gold answer is empty.
    """
    arm, problems = work.study.arms[name], work.known()
    change, spec = find_intervention(intervention or arm.tune), work.prompt_spec(arm)
    for problem_id in problem_ids:
        own = {problem_id: traces[problem_id]} if problem_id in traces else {}
        rows = examples_for(spec, name, [problems[problem_id]], own, own_answers=change is not None and change.answers)
        if not (rows[0].answer or "").strip():
            raise InputError(
                f"arm {name}, {problem_id}: its gold answer is empty, so there is nothing to learn; fill it "
                "in or remove the row from the task's data"
            )
        yield from rows


def context_rows(work: StudyRun, name: str, problem_ids: Sequence[str]) -> Iterator[Example]:
    """Yield the prompt of the arm in `context` for each problem, with its plan and its examples.

    A problem is never an example for itself.
    """
    study, problems = work.study, work.known()
    other = study.arms[study.arms[name].context or ""]
    spec, plans = work.prompt_spec(other), context_plans(work, name, problem_ids)
    train = work.ids("train")
    shown = shots_for(other, LazyRows(train, problems.__getitem__), study.seed)
    traces = TraceStore({})
    if other.shots_with_traces and shown:
        reviewed = other.traces == "reviewed"
        traces = select_traces(work, study.teacher_of(other), places(train), accepted=True, reviewed=reviewed)
    for problem_id in problem_ids:
        shots = [(shot, traces.get(shot.problem_id)) for shot in shown if shot.problem_id != problem_id]
        prompt = messages_for(replace(spec, shots=shots), problems[problem_id], plans.get(problem_id))
        yield Example(problem_id, name, prompt, "")


def context_plans(work: StudyRun, name: str, problem_ids: Sequence[str]) -> TraceStore:
    """Return the plans of training problems that the arm in context shows; empty if it shows none."""
    other = work.study.arms[work.study.arms[name].context or ""]
    order = places(problem_ids)
    if not work.shows_plan(other):
        return TraceStore(order)
    teacher, reviewed = work.study.teacher_of(other), other.traces == "reviewed"
    before = select_traces(work, teacher, order, accepted=False, reviewed=reviewed, number=other.plan_sample)
    return apply_intervention(work, other.plan, before, problem_ids)


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
