"""The report's figures, computed from `attempts/*.jsonl`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tracedistill import stats
from tracedistill.errors import InputError
from tracedistill.files import read_json
from tracedistill.recipes import arm_of_run, choose_on
from tracedistill.records import Problem, split_node_name
from tracedistill.report.attempts import ANSWERS, FINISHES, TRACES, AttemptColumns, Codes, read_columns
from tracedistill.report.reader import record_of
from tracedistill.report.records import ArmFigures, Assembly, Baseline, Report, Sizes
from tracedistill.report.runs import ArmFacts, RunView, imitates, method_of
from tracedistill.report.sections.comparisons import compare, not_compared
from tracedistill.report.sections.scores import as_share, right_share, scores_of, share_of
from tracedistill.report.teachers import teacher_figures, without_leaks

CONFIDENCE = 0.95


def build(view: RunView, out: Path | None = None) -> Report:
    """Return the report on a run without decision, findings, limits and sections. `out`: its target folder."""
    problems = view.problems()
    _check_problems(view, problems)
    manifests = list(view.manifests.values())
    stages = {node: manifest["seconds"] for node, manifest in view.manifests.items()}
    strata = {problem_id: problem.category or "all" for problem_id, problem in problems.items()}
    assembly = None
    if view.assembly is not None:
        assembly = record_of(Assembly, view.assembly, str(view.folder / "assembly.json"))
    return Report(
        study=view.name,
        task=view.task,
        problems=_sizes(view, problems),
        baseline=_majority(problems, strata),
        arms=tuple(_arm(view, arm, assembly or Assembly(), stages, out or view.folder) for arm in view.arms),
        comparisons=tuple(compare(view)),
        not_compared=tuple(not_compared(view)),
        teachers=tuple(teacher_figures(view.recipe, view.folder, name) for name in view.teachers if view.recipe),
        by_category=_by_category(view, strata),
        seeds=max((len(set(view.attempts(arm.name).seed.tolist())) for arm in view.arms), default=1),
        seconds=round(sum(stages.values()), 1),
        peak_memory_bytes=max((manifest["peak_memory_bytes"] for manifest in manifests), default=0),
        stages=stages,
        libraries=manifests[0]["libraries"] if manifests else {},
        assembly=assembly,
        recipe=view.recipe,
        runs=view.runs,
        against=view.against,
        waiting=view.waiting,
    )


def _check_problems(view: RunView, problems: Mapping[str, Problem]) -> None:
    """Check that the run has every problem of an arm's attempts. Raises InputError if one is missing."""
    checked: set[int] = set()  # arms mostly share their ids
    for arm in view.arms:
        ids = view.attempts(arm.name).ids
        unknown = None if id(ids) in checked else next((key for key in ids if key not in problems), None)
        checked.add(id(ids))
        if unknown is not None:
            raise InputError(
                f"{arm.path}: attempts at problem '{unknown}', which {arm.folder / 'problems.jsonl'} does not have; "
                "restore the whole file, or run or import the arm again"
            )


def counts_of(codes: Codes, names: tuple[str, ...]) -> dict[str, int]:
    """Count how often each code occurs in a column."""
    counts = np.bincount(codes.astype(np.intp), minlength=len(names))
    return {name: int(counts[place]) for place, name in enumerate(names)}


def training_seconds(arm: ArmFacts, stages: Mapping[str, float]) -> float | None:
    """Return the seconds of tuning the arm's own adapters, summed over seeds; None if none was tuned."""
    nodes = {split_node_name(node): seconds for node, seconds in stages.items()}
    spent = [seconds for (kind, run), seconds in nodes.items() if kind == "train" and arm_of_run(run) == arm.name]
    return sum(spent) if spent else None


def _arm(view: RunView, arm: ArmFacts, assembly: Assembly, stages: Mapping[str, float], out: Path) -> ArmFigures:
    rows = view.attempts(arm.name)
    answers, traces = counts_of(rows.answer, ANSWERS), counts_of(rows.trace, TRACES)
    finishes = counts_of(rows.finish, FINISHES)
    joint = joint_of(rows)
    n, correct = rows.n, answers["correct"]
    if arm.vote:
        votes = scores_of(rows, vote=True).values
        votes = votes[~np.isnan(votes)]
        n, correct = len(votes), int(votes.sum())
    tuned_on, plan = assembly.arms.get(arm.name), assembly.plans.get(arm.name)
    leaks = plan is not None and arm.plans.exists()
    return ArmFigures(
        name=arm.name,
        kind=arm.kind,
        n=n,
        attempts=rows.n,
        correct=correct,
        accuracy=_accuracy(rows, vote=arm.vote),
        association=joint,
        joint=joint.counts,
        file=Path(os.path.relpath(arm.path, out)).as_posix(),
        student=arm.student,
        teacher=arm.teacher,
        prompt=arm.prompt,
        tune=arm.tune,
        mix=arm.settings.get("mix") or {},
        method=method_of(arm),
        starts_from=arm.settings.get("from"),
        adapter=arm.adapter,
        forced=arm.forced,
        vote=arm.vote,
        seeds=len(set(rows.seed.tolist())),
        candidate=_candidates(rows),
        derived=int((rows.derived == 0).sum()),
        missing=answers["missing"],
        ungradable=answers["ungradable"],
        cut_off=finishes["length"],
        too_long=finishes["too-long"],
        errors=finishes["error"],
        no_plan=finishes["no-plan"],
        trace_correct=traces["correct"],
        trace_unparsed=traces["unparsed"],
        trace_none=traces["none"],
        trace_not_judged=traces["not judged"],
        writes_traces=traces["none"] < rows.n,
        judges_traces=rows.n > traces["none"] + traces["not judged"],
        traces_judged=traces["correct"] + traces["incorrect"],
        answer_in_trace=int((rows.copied == 1).sum()),
        tokens_in=int(rows.tokens_in.sum(dtype=np.int64)),
        tokens_out=int(rows.tokens_out.sum(dtype=np.int64)),
        seconds=round(float(rows.seconds.sum(dtype=np.float64)), 2),
        training_seconds=training_seconds(arm, stages),
        validation=_on_validation(view, arm),
        # methods that imitate no row: their traces do not say what was learnt
        data=tuned_on if tuned_on is not None and tuned_on.traces and imitates(arm) else None,
        plan=plan,
        forced_trace=assembly.forced.get(arm.name),
        without_leaks=without_leaks(arm.plans, rows, view.problems()) if leaks else None,
        source=arm.settings if arm.kind == "imported" else None,
    )


def _candidates(rows: AttemptColumns) -> int | None:
    """Count the attempts whose candidate reading is right; None if the answer set is open."""
    if (rows.candidate == ANSWERS.index("missing")).all():
        return None
    return int((rows.candidate == ANSWERS.index("correct")).sum())


def _on_validation(view: RunView, arm: ArmFacts) -> stats.Share | None:
    """Return an arm's share of right answers to the problems that arms are chosen on; None if it was not asked any.

    The recipe decides, not a file that an earlier one has left.
    """
    recipe = view.recipe or {}
    if not recipe or not arm.held.exists():
        return None
    if not choose_on(view.task, recipe["evaluation"].get("choose_on")) or recipe["task"].get("validation") == 0:
        return None
    rows = read_columns(arm.held)
    if not rows.n or (rows.finish == FINISHES.index("no-plan")).all():
        return None
    return as_share(right_share(rows, vote=arm.vote))


def _accuracy(rows: AttemptColumns, *, vote: bool) -> stats.Accuracy:
    """Return the shares of right answers with intervals, clustered if problems have several attempts."""
    ended = ~rows.cut_off
    return stats.Accuracy(
        raw=as_share(right_share(rows, vote=vote)),
        completed=as_share(share_of(rows.right[ended], rows.problem[ended])),
        if_cut_off_wrong=as_share(share_of(rows.right & ended, rows.problem)),
        if_cut_off_right=as_share(share_of(rows.right | ~ended, rows.problem)),
        cut_off=int(rows.cut_off.sum()),
    )


def joint_of(rows: AttemptColumns) -> stats.JointTable:
    """Cross trace with answer. Unparsed and missing traces count as wrong, and are also reported apart.

    Traces without a judging rule are left out.
    """
    judged = rows.trace != TRACES.index("not judged")
    ok, wrong, right = (rows.trace == 0) & judged, (rows.trace != 0) & judged, rows.right
    unread = (rows.trace == TRACES.index("unparsed")) | (rows.trace == TRACES.index("none"))
    cells = (int((ok & right).sum()), int((ok & ~right).sum()), int((wrong & right).sum()), int((wrong & ~right).sum()))
    return stats.joint_table_of_counts(cells, (int((unread & right).sum()), int((unread & ~right).sum())), CONFIDENCE)


def _sizes(view: RunView, problems: Mapping[str, Problem]) -> Sizes:
    path = view.folder / "problems.report.json"
    if view.recipe is not None and path.exists():
        return record_of(Sizes, read_json(path).part("sizes"), str(path))
    return Sizes(test=len(problems))


def _by_category(view: RunView, strata: Mapping[str, str]) -> dict[str, dict[str, tuple[int, int, int]]]:
    """Return n, right answers and right traces per stratum and arm."""
    names = sorted(set(strata.values()))
    place = {name: number for number, name in enumerate(names)}
    out: dict[str, dict[str, tuple[int, int, int]]] = {}
    codes: dict[int, npt.NDArray[np.intp]] = {}  # arms mostly share their ids
    for arm in view.arms:
        rows = view.attempts(arm.name)
        if id(rows.ids) not in codes:
            codes[id(rows.ids)] = np.array([place[strata[problem_id]] for problem_id in rows.ids], dtype=np.intp)
        at = codes[id(rows.ids)][rows.problem]
        every = np.bincount(at, minlength=len(names))
        right = np.bincount(at[rows.right], minlength=len(names))
        traces = np.bincount(at[rows.trace == 0], minlength=len(names))
        for number, name in enumerate(names):
            if every[number]:
                out.setdefault(name, {})[arm.name] = (int(every[number]), int(right[number]), int(traces[number]))
    return {name: out[name] for name in names if name in out}


def _majority(problems: Mapping[str, Problem], strata: Mapping[str, str]) -> Baseline:
    """Return the accuracy of always guessing the most frequent answer, and the most frequent category."""
    answers = Counter(", ".join(sorted(problem.answers)) for problem in problems.values())
    n = max(1, len(problems))
    (answer, answer_count), (category, category_count) = (
        next(iter(counts.most_common(1)), ("", 0)) for counts in (answers, Counter(strata.values()))
    )
    return Baseline(answer, answer_count / n, category, category_count / n)
