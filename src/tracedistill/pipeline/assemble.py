"""The assemble stage: write SFT datasets, and the plans and forced traces of arms, with facts about each."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from tracedistill.compute import chunks
from tracedistill.errors import InputError
from tracedistill.files import content_id, read_json, to_json, write_json, write_jsonl
from tracedistill.interventions import NO_TRACE, broken, get_intervention, measure_rows
from tracedistill.interventions.invariants import Compared, MeasuredRow
from tracedistill.pipeline.sft_rows import (
    Shared,
    context_file,
    context_rows,
    heldout_file,
    own_rows,
    rejected_file,
    rows_of,
    shared_traces,
    whose_rows,
)
from tracedistill.pipeline.study_run import StudyRun
from tracedistill.pipeline.trace_jobs import CompareJob, CountJob, Counts
from tracedistill.pipeline.trace_selection import apply_intervention, places, select_traces
from tracedistill.pipeline.trace_store import LazyRows, TraceStore
from tracedistill.recipes import OWN, arm_of, candidates, on_validation


def make_datasets(work: StudyRun) -> None:
    """Write one SFT dataset per tuned arm, all with the same problems, and the plans and forced traces of arms."""
    study, problems = work.study, work.known()
    train, test = work.ids("train"), work.ids("test")
    facts: dict[str, Any] = {"train_problems": len(train), "arms": {}, "plans": {}, "forced": {}}
    kept = _tuning_data(work, train, facts)
    facts["rows"] = len(kept)
    facts["categories_lost"] = []
    if kept:
        drawn, left = ({problems[problem_id].category for problem_id in ids} for ids in (train, kept))
        facts["categories_lost"] = sorted(drawn - left)
    if study.training.eval_steps:
        facts["validation_rows"] = _heldout_rows(work)
    chosen = candidates(study)
    for name, arm in study.arms.items():
        if work.shows_plan(arm):
            _plans(work, name, test, facts["plans"])
            if name in chosen:
                _plans(work, on_validation(name), work.ids("validation"), None)
        if arm.forced not in (None, OWN):
            teacher = study.teacher_of(arm)
            before = select_traces(work, teacher, places(test), accepted=False, reviewed=arm.traces == "reviewed")
            made = apply_intervention(work, arm.forced or "", before, test)
            if not made:
                raise InputError(
                    f"arm {name}: {teacher} gave no trace of a test problem that '{arm.forced}' applies to"
                )
            write_jsonl(work.run.path(f"forced/{name}.jsonl"), made.values())
            facts["forced"][name] = _facts(work, test, arm.forced or "", before, made)
    write_json(work.run.path("assembly.json"), facts)


def _tuning_data(work: StudyRun, train: Sequence[str], facts: dict[str, Any]) -> list[str]:
    """Write sft/<arm>.jsonl for every tuned arm; return the ids of the problems in every arm's rows."""
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
    """Write the rows whose completions an arm learns to avoid; return what their intervention kept and broke.

    Problems whose trace the intervention does not apply to are left out.
    """
    arm, order = work.study.arms[name], places(shared.kept)
    if shared.before[name]:
        before = shared.before[name]
    else:  # the chosen rows have no trace; the rejected ones may
        before = select_traces(work, work.study.teacher_of(arm), order, accepted=True)
    own = TraceStore(order, (before[problem_id] for problem_id in shared.kept if problem_id in before), work.run.folder)
    made = apply_intervention(work, arm.rejected or "", own, shared.kept)
    if not made:
        raise InputError(f"arm {name}: rejected: '{arm.rejected}' applies to none of its traces")
    problem_ids = list(made)
    rows = own_rows(work, name, problem_ids, made, arm.rejected)
    write_jsonl(work.run.path(rejected_file(name)), rows)
    return _facts(work, problem_ids, arm.rejected or "", own, made)


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
    tune, kept = work.study.arms[name].tune or "correct", shared.kept
    if not work.study.arms[name].mix:
        return _facts(work, kept, tune, shared.before[name], shared.traces[name])
    whose, order = whose_rows(work, name, kept), places(kept)
    before, traces = (
        TraceStore(order, (shelf[key] for key in kept if key in (shelf := part[whose[key]])), work.run.folder)
        for part in (shared.before, shared.traces)
    )
    own, counts = {key for key in kept if whose[key] == name}, Counter(whose.values())
    shares = {lender: counts[lender] for lender in work.study.lenders_of(name)}
    return _facts(work, kept, tune, before, traces, own) | {"mix": shares}


def _heldout_rows(work: StudyRun) -> int:
    """Write every tuned arm's rows of the same validation problems; return the number of problems."""
    tuned, validation = work.study.tuned_arms(), work.ids("validation")
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


def _plans(work: StudyRun, name: str, problem_ids: Sequence[str], facts: dict[str, Any] | None) -> None:
    """Write plans/<name>.jsonl: for each problem the arm's plans, in the order of the teacher's samples.

    `facts` None: these are plans of validation problems, of which there may be none.
    """
    arm, order = work.study.arms[arm_of(name)], places(problem_ids)
    teacher = work.study.teacher_of(arm)
    sides: list[tuple[TraceStore, TraceStore]] = []
    for number in range(arm.plan_sample, arm.plan_sample + arm.plans):
        reviewed = arm.traces == "reviewed"
        before = select_traces(work, teacher, order, accepted=False, reviewed=reviewed, number=number)
        sides.append((before, apply_intervention(work, arm.plan, before, problem_ids)))
    if facts is not None and not any(after for _, after in sides):
        which = f" number {arm.plan_sample}" if arm.plan_sample else ""
        raise InputError(f"arm {name}: {teacher} made no plan{which} for any test problem that '{arm.plan}' applies to")
    plans = (after[key] for key in problem_ids for _, after in sides if key in after)
    write_jsonl(work.run.path(f"plans/{name}.jsonl"), plans)
    if facts is None:
        return
    # facts are about the first of several plans
    firsts = [(before, after, key) for key in problem_ids for before, after in sides if key in after]
    originals = TraceStore(order, (before[key] for before, _, key in firsts), work.run.folder)
    shown = TraceStore(order, (after[key] for _, after, key in firsts), work.run.folder)
    facts[name] = _facts(work, problem_ids, arm.plan, originals, shown)


def _facts(
    work: StudyRun,
    problem_ids: Sequence[str],
    intervention: str,
    before: TraceStore,
    after: TraceStore,
    changed_ids: Collection[str] | None = None,
) -> dict[str, Any]:
    """Collect what the report says of an arm's traces: number, maker, length, what the intervention kept and broke.

    `changed_ids`: the problems whose traces the intervention made; None: all.
    """
    problems, task = work.known(), work.study.task.name
    traced = [key for key in problem_ids if key in after]
    pairs = LazyRows(traced, lambda key: (problems[key], after[key]))
    counts = sum(work.compute.map(CountJob(task), chunks(pairs)), Counts())
    facts: dict[str, Any] = {
        "rows": len(problem_ids),
        "traces": len(traced),
        "characters": counts.characters,
        "steps": counts.steps,
        "holding_answer": counts.holding_answer,
        "oracle": counts.oracle,
        "judged_correct": counts.correct,
        "edited": sum(trace.parent_id is not None and "reviewer" in trace.meta for trace in before.values()),
        "ids": content_id(list(problem_ids)),
    }
    made = [key for key in traced if changed_ids is None or key in changed_ids]
    if intervention != NO_TRACE and (made or changed_ids is None):
        rows = LazyRows(made, lambda key: (problems[key], before[key], after[key]))
        measured = measure_rows(work.task, rows, compare=functools.partial(_compared, work))
        facts["measured"] = to_json(measured, defaults=True)
        facts["broken"] = broken(get_intervention(intervention), measured)
    return facts


def _compared(work: StudyRun, rows: Sequence[Compared]) -> Iterator[MeasuredRow]:
    """Compare changed traces with the originals, on all cores."""
    return (row for some in work.compute.map(CompareJob(work.study.task.name), chunks(rows)) for row in some)
