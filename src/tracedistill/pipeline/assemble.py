"""The assemble stage: SFT datasets, the plans that arms show and the traces that arms force, with proof of each."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tracedistill.compute import chunks
from tracedistill.errors import InputError
from tracedistill.evaluation.requests import shots_for
from tracedistill.files import content_id, read_json, read_jsonl, to_json, write_json, write_jsonl
from tracedistill.interventions import NO_TRACE, broken, find_intervention, get_intervention, intervene, measure
from tracedistill.interventions.measuring import MeasuredRow
from tracedistill.pipeline.review import reviewed_traces
from tracedistill.pipeline.study_run import StudyRun
from tracedistill.pipeline.terms import OWN
from tracedistill.pipeline.trace_jobs import ChangeJob, CompareJob, JudgedJob
from tracedistill.records import Example, Problem, Trace
from tracedistill.sft.examples import assign_mix, examples_for, two_targets
from tracedistill.sft.messages import messages_for
from tracedistill.validation import Validation


def make_datasets(work: StudyRun) -> None:
    """Write one SFT dataset per tuned arm, all with the same rows, and the plans and forced traces of arms."""
    study = work.study
    train, test = work.problems("train"), work.problems("test")
    facts: dict[str, Any] = {"train_problems": len(train), "arms": {}, "plans": {}, "forced": {}}
    kept = _tuning_data(work, train, facts)
    facts["rows"] = len(kept)
    facts["categories_lost"] = (
        sorted({problem.category for problem in train} - {problem.category for problem in kept}) if kept else []
    )
    if study.training.eval_steps:
        facts["validation_rows"] = _heldout_rows(work)
    for name, arm in study.arms.items():
        if work.shows_plan(arm):
            _plans(work, name, test, facts["plans"])
        if arm.forced not in (None, OWN):
            teacher = study.teacher_of(arm)
            before = one_trace(work, teacher, test, accepted=False, reviewed=arm.traces == "reviewed")
            changed = _changed(work, arm.forced or "", before, test)
            if not changed:
                raise InputError(
                    f"arm {name}: {teacher} gave no trace of a test problem that '{arm.forced}' applies to"
                )
            write_jsonl(work.run.path(f"forced/{name}.jsonl"), changed.values())
            facts["forced"][name] = _facts(work, test, arm.forced or "", before, changed)
    write_json(work.run.path("assembly.json"), facts)


def _tuning_data(work: StudyRun, train: Sequence[Problem], facts: dict[str, Any]) -> list[Problem]:
    """Write sft/<arm>.jsonl for every tuned arm; returns the problems that each has a row of."""
    shared = shared_traces(work, train)
    tuned = work.study.tuned_arms()
    if tuned and not shared.kept:
        raise InputError(
            f"no training rows: none of the {len(train)} training problems has an accepted trace in every tuned arm\n"
            f"{_why_refused(work)}"
        )
    for name in tuned:
        write_jsonl(work.run.path(f"sft/{name}.jsonl"), rows_of(work, name, shared.kept, shared.traces))
        facts["arms"][name] = _tuned_facts(work, name, shared)
        if work.study.arms[name].context is not None:
            write_jsonl(work.run.path(context_file(name)), context_rows(work, name, shared.kept))
        if work.study.arms[name].rejected not in (None, OWN):
            facts.setdefault("rejected", {})[name] = _rejected_rows(work, name, shared)
    return shared.kept


def _rejected_rows(work: StudyRun, name: str, shared: Shared) -> dict[str, Any]:
    """Write the rows whose completions an arm learns to avoid; returns what their intervention kept and broke.

    A problem whose trace the intervention does not apply to has none, and is in no pair.
    """
    arm = work.study.arms[name]
    before = shared.before[name]
    if not before:  # the chosen rows have no trace; the rejected ones may
        every = one_trace(work, work.study.teacher_of(arm), shared.kept, accepted=True)
        before = {
            problem.problem_id: every[problem.problem_id] for problem in shared.kept if problem.problem_id in every
        }
    own = {problem.problem_id: before[problem.problem_id] for problem in shared.kept if problem.problem_id in before}
    changed = _changed(work, arm.rejected or "", own, shared.kept)
    problems = [problem for problem in shared.kept if problem.problem_id in changed]
    if not problems:
        raise InputError(f"arm {name}: rejected: '{arm.rejected}' applies to none of its traces")
    rows = _own_rows(work, name, problems, changed, arm.rejected)
    write_jsonl(work.run.path(rejected_file(name)), rows)
    return _facts(work, problems, arm.rejected or "", own, changed)


def context_file(name: str) -> str:
    """Return the prompts that whoever an arm learns from is shown, below the run folder."""
    return f"sft/{name}.context.jsonl"


def rejected_file(name: str) -> str:
    """Return the rows whose completions an arm learns to avoid, below the run folder."""
    return f"sft/{name}.rejected.jsonl"


def beside_rows(work: StudyRun, name: str) -> list[str]:
    """Return the files beside a tuned arm's rows that its method learns from."""
    arm = work.study.arms[name]
    files = [context_file(name)] if arm.context is not None else []
    return [*files, *([rejected_file(name)] if arm.rejected not in (None, OWN) else [])]


def context_rows(work: StudyRun, name: str, problems: Sequence[Problem]) -> list[Example]:
    """Return each problem as the arm in context asks about it: its plan, its examples.

    A problem is no example for itself.
    """
    study = work.study
    other = study.arms[study.arms[name].context or ""]
    student = study.student_config(other)
    plans = _context_plans(work, name, problems)
    train = work.problems("train")
    shown = shots_for(other, train, study.seed)
    traces: dict[str, Trace] = {}
    if other.shots_with_traces and shown:
        reviewed = other.traces == "reviewed"
        traces = one_trace(work, study.teacher_of(other), train, accepted=True, reviewed=reviewed)
    rows = []
    for problem in problems:
        shots = [(shot, traces.get(shot.problem_id)) for shot in shown if shot.problem_id != problem.problem_id]
        prompt = messages_for(
            work.task,
            problem,
            other,
            work.prompt(other),
            student.system,
            study.format,
            plans.get(problem.problem_id),
            shots,
            student.system_role,
        )
        rows.append(Example(problem.problem_id, name, prompt, ""))
    return rows


def _context_plans(work: StudyRun, name: str, problems: Sequence[Problem]) -> dict[str, Trace]:
    """Return the plans that the arm in context shows, of training problems; empty if it shows none."""
    other = work.study.arms[work.study.arms[name].context or ""]
    if not work.shows_plan(other):
        return {}
    every = samples_of(
        work, work.study.teacher_of(other), problems, accepted=False, reviewed=other.traces == "reviewed"
    )
    before = {key: traces[other.plan_sample] for key, traces in every.items() if other.plan_sample < len(traces)}
    return _changed(work, other.plan, before, problems)


def _why_refused(work: StudyRun) -> str:
    """Count the reasons for unused traces by teacher, and name the one key to change."""
    study, lines = work.study, list[str]()
    tuned = [arm for name in study.tuned_arms() if (arm := study.arms[name]).tune != NO_TRACE]
    for teacher in dict.fromkeys(study.teacher_of(arm) for arm in tuned):
        report = read_json(work.run.path(f"validation/{teacher}.report.json"))
        reasons = Counter(report["reasons"])
        counted = ", ".join(f"{count} x {reason}" for reason, count in reasons.most_common())
        lines.append(
            f"  {teacher}: {report['accepted']} of {report['traces']} traces accepted{counted and f'; {counted}'}"
        )
        by_trace = sum(count for reason, count in reasons.items() if reason.startswith("trace"))
        right = report["answers"].get("correct", 0)
        if not report["traces"]:
            lines.append(f"    it made no traces; see {work.run.path(f'traces/{teacher}.failures.jsonl')}")
        elif 2 * by_trace >= reasons.total() > 0:
            lines.append(f"    validation.keep=answer would accept the {right} traces whose answer is right")
        elif reasons:
            lines.append("    most of its answers are wrong; validation.keep=parsed would accept them too")
    return "\n".join(lines)


def _tuned_facts(work: StudyRun, name: str, shared: Shared) -> dict[str, Any]:
    """Collect the facts of a tuned arm's traces, measured on the arm's own rows."""
    tune, ids = work.study.arms[name].tune or "correct", [problem.problem_id for problem in shared.kept]
    if not work.study.arms[name].mix:
        return _facts(work, shared.kept, tune, shared.before[name], shared.traces[name])
    whose = _whose(work, name, ids)
    before, traces = (
        {key: part[whose[key]][key] for key in ids if key in part[whose[key]]}
        for part in (shared.before, shared.traces)
    )
    own, counts = {key for key in ids if whose[key] == name}, Counter(whose.values())
    shares = {lender: counts[lender] for lender in work.study.lenders_of(name)}
    return _facts(work, shared.kept, tune, before, traces, own) | {"mix": shares}


def heldout_file(name: str) -> str:
    """Return the path of a tuned arm's validation rows below the run folder."""
    return f"sft/{name}.validation.jsonl"


def _heldout_rows(work: StudyRun) -> int:
    """Write every tuned arm's rows of validation problems, the same problems in each; returns how many problems."""
    tuned, validation = work.study.tuned_arms(), work.problems("validation")
    shared = shared_traces(work, validation, context=False)
    kept = shared.kept[: work.study.training.eval_rows]
    for name in tuned:
        write_jsonl(work.run.path(heldout_file(name)), rows_of(work, name, kept, shared.traces))
    if tuned and not kept:
        work.screen.say(
            f"  training.eval_steps: nothing to evaluate on: none of the {len(validation)} validation problems has "
            "an accepted trace in every tuned arm (a model teacher only gets problems that arms need)"
        )
    return len(kept)


@dataclass(frozen=True, slots=True)
class Shared:
    """The problems that all tuned arms have in common, with each arm's traces of them."""

    kept: list[Problem]
    """The problems, in their order."""
    before: dict[str, dict[str, Trace]]
    """Arm -> problem id -> the teacher's trace; empty for an arm that trains on answers alone."""
    traces: dict[str, dict[str, Trace]]
    """The same after the arm's intervention."""


def shared_traces(work: StudyRun, problems: Sequence[Problem], *, context: bool = True) -> Shared:
    """Return each tuned arm's traces of the problems for which every tuned arm has one.

    `context`: whether a plan to show counts as well. A problem that one arm has no trace for is in none.
    Interventions are made on what is left, again where that made it less: a deal of labels or traces among more
    problems than are kept would not keep their frequencies.
    """
    study, kept = work.study, list(problems)
    arms = {name: study.arms[name] for name in study.tuned_arms()}
    before = {
        name: {}
        if arm.tune == NO_TRACE
        else one_trace(work, study.teacher_of(arm), problems, accepted=True, reviewed=arm.traces == "reviewed")
        for name, arm in arms.items()
    }
    while True:
        traces: dict[str, dict[str, Trace]] = {name: {} for name in arms}
        for name, arm in arms.items():
            if arm.tune != NO_TRACE:
                own = {p.problem_id: before[name][p.problem_id] for p in kept if p.problem_id in before[name]}
                traces[name] = _changed(work, arm.tune or "correct", own, kept)
        tracing = [of_arm for name, of_arm in traces.items() if arms[name].tune != NO_TRACE]
        if context:  # whoever is learnt from needs its plan
            tracing += [
                _context_plans(work, name, kept)
                for name, arm in arms.items()
                if arm.context is not None and work.shows_plan(study.arms[arm.context])
            ]
        left = [problem for problem in kept if all(problem.problem_id in of_arm for of_arm in tracing)]
        if len(left) == len(kept) or not left:
            return Shared(left, before, traces)
        kept = left


def rows_of(
    work: StudyRun, name: str, problems: Sequence[Problem], traces: Mapping[str, Mapping[str, Trace]]
) -> list[Example]:
    """Build the training rows of a tuned arm from every tuned arm's traces of these problems.

    Where it mixes other arms in, a row of theirs is as they have it, prompt and all, but for the name of the arm.
    """
    if not work.study.arms[name].mix:
        return _own_rows(work, name, problems, traces[name])
    whose = _whose(work, name, [problem.problem_id for problem in problems])
    rows = {}
    for lender in work.study.lenders_of(name):
        mine = [problem for problem in problems if whose[problem.problem_id] == lender]
        rows.update({row.problem_id: replace(row, arm=name) for row in _own_rows(work, lender, mine, traces[lender])})
    return [rows[problem.problem_id] for problem in problems]


def _whose(work: StudyRun, name: str, problem_ids: Sequence[str]) -> dict[str, str]:
    return assign_mix(problem_ids, name, work.study.arms[name].mix, work.study.seed)


def _own_rows(
    work: StudyRun,
    name: str,
    problems: Sequence[Problem],
    traces: Mapping[str, Trace],
    intervention: str | None = None,
) -> list[Example]:
    """Return the rows of an arm with these traces, which its `tune` has made, or another intervention."""
    study, arm = work.study, work.study.arms[name]
    student, change = study.student_config(arm), find_intervention(intervention or arm.tune)
    answers = {}
    if change is not None and change.answers:
        answers = {key: trace.answer for key, trace in traces.items() if trace.answer is not None}
    for problem in problems:
        if not (answers.get(problem.problem_id) or work.task.render_answer(problem)).strip():
            raise InputError(
                f"arm {name}, {problem.problem_id}: its gold answer is empty, so there is nothing to learn; fill it "
                "in or remove the row from the task's data"
            )
    two = arm.rationale_weight is not None
    rows = examples_for(
        work.task,
        name,
        arm,
        work.prompt(arm),
        problems,
        {} if two else traces,
        student.system,
        study.format,
        answers,
        student.system_role,
    )
    return two_targets(rows, traces) if two else rows


def _plans(work: StudyRun, name: str, test: Sequence[Problem], facts: dict[str, Any]) -> None:
    """Write plans/<arm>.jsonl: for each problem the arm's plans, in the order of the teacher's samples."""
    arm, teacher = work.study.arms[name], work.study.teacher_of(name)
    every = samples_of(work, teacher, test, accepted=False, reviewed=arm.traces == "reviewed")
    plans: list[Trace] = []
    first: dict[str, Trace] = {}
    originals: dict[str, Trace] = {}
    for place in range(arm.plan_sample, arm.plan_sample + arm.plans):
        before = {key: traces[place] for key, traces in every.items() if place < len(traces)}
        changed = _changed(work, arm.plan, before, test)
        plans += changed.values()
        for key, trace in changed.items():
            if key not in first:
                first[key], originals[key] = trace, before[key]
    if not plans:
        which = f" number {arm.plan_sample}" if arm.plan_sample else ""
        raise InputError(f"arm {name}: {teacher} made no plan{which} for any test problem that '{arm.plan}' applies to")
    order = {problem.problem_id: place for place, problem in enumerate(test)}
    plans.sort(key=lambda trace: order[trace.problem_id])  # stable: a problem's plans stay in the samples' order
    write_jsonl(work.run.path(f"plans/{name}.jsonl"), plans)
    facts[name] = _facts(work, test, arm.plan, originals, first)


def samples_of(
    work: StudyRun, teacher: str, problems: Sequence[Problem], *, accepted: bool, reviewed: bool = False
) -> dict[str, list[Trace]]:
    """Return all of a teacher's traces of these problems, in the problems' order.

    `accepted`: what validation lets pass, or a person approved. `reviewed`: as a person left them.
    """
    samples: dict[str, list[Trace]] = {problem.problem_id: [] for problem in problems}
    person = reviewed_traces(work, teacher) if reviewed else {}
    verdicts = read_jsonl(work.run.path(f"validation/{teacher}.jsonl"), Validation)
    for trace, verdict in zip(read_jsonl(work.run.path(f"traces/{teacher}.jsonl"), Trace), verdicts, strict=True):
        assert trace.trace_id == verdict.trace_id, "verdicts are in the order of the traces"
        reviewed_trace = person.get(trace.trace_id)
        if trace.problem_id not in samples or (reviewed_trace is not None and reviewed_trace.status == "rejected"):
            continue
        if reviewed_trace is not None and reviewed_trace.status in ("approved", "edited"):
            samples[trace.problem_id].append(reviewed_trace.trace or trace)
        elif verdict.accepted or not accepted:
            samples[trace.problem_id].append(trace)
    return {problem_id: traces for problem_id, traces in samples.items() if traces}


def one_trace(
    work: StudyRun, teacher: str, problems: Sequence[Problem], *, accepted: bool, reviewed: bool = False
) -> dict[str, Trace]:
    """Return the first such trace of each problem."""
    every = samples_of(work, teacher, problems, accepted=accepted, reviewed=reviewed)
    return {problem_id: traces[0] for problem_id, traces in every.items()}


def _changed(
    work: StudyRun, intervention: str, traces: Mapping[str, Trace], problems: Sequence[Problem]
) -> dict[str, Trace]:
    by_id = {problem.problem_id: problem for problem in problems}
    if not get_intervention(intervention).alone:
        changed = intervene(intervention, work.task, by_id, list(traces.values()), work.study.seed)
        return {trace.problem_id: trace for trace in changed}
    pairs = [(by_id[trace.problem_id], trace) for trace in traces.values()]
    job = ChangeJob(work.study.task.name, intervention, work.study.seed)
    return {trace.problem_id: trace for some in work.compute.map(job, chunks(pairs)) for trace in some}


def _facts(
    work: StudyRun,
    problems: Sequence[Problem],
    intervention: str,
    before: Mapping[str, Trace],
    after: Mapping[str, Trace],
    changed: Collection[str] | None = None,
) -> dict[str, Any]:
    """Collect what the report says of an arm's traces: number, maker, length, what the intervention kept and broke.

    `changed`: the problems whose traces the intervention has made, where these are not all.
    """
    by_id = {problem.problem_id: problem for problem in problems}
    traces = list(after.values())
    pairs = [(by_id[trace.problem_id], trace) for trace in traces]
    judged = list(work.compute.map(JudgedJob(work.study.task.name), chunks(pairs)))
    facts: dict[str, Any] = {
        "rows": len(problems),
        "traces": len(traces),
        "characters": sum(len(trace.text) for trace in traces),
        "steps": sum(len(trace.steps) for trace in traces),
        "holding_answer": sum(holding for holding, _ in judged),
        "oracle": sum(trace.oracle for trace in traces),
        "judged_correct": sum(correct for _, correct in judged),
        "edited": sum(trace.parent_id is not None and "reviewer" in trace.meta for trace in before.values()),
        "ids": content_id([problem.problem_id for problem in problems]),
    }
    made = [key for key in after if changed is None or key in changed]
    if intervention != NO_TRACE and (made or changed is None):
        old, new = [before[key] for key in made], [after[key] for key in made]
        measured = measure(work.task, by_id, old, new, functools.partial(_compared, work))
        facts["measured"] = to_json(measured, defaults=True)
        facts["broken"] = broken(get_intervention(intervention), measured)
    return facts


def _compared(work: StudyRun, rows: Sequence[tuple[Problem, Trace, Trace]]) -> list[MeasuredRow]:
    """Compare traces with what they were, on all cores."""
    return [row for some in work.compute.map(CompareJob(work.study.task.name), chunks(rows)) for row in some]
