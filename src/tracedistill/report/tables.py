"""The report's figures, recounted from `attempts/*.jsonl`; nothing is taken from memory."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from tracedistill import stats
from tracedistill.errors import InputError
from tracedistill.files import read_json, to_json
from tracedistill.recipes import arm_of_run
from tracedistill.records import Problem, split_node_name
from tracedistill.report.columns import ANSWERS, FINISHES, TRACES, Codes, Columns
from tracedistill.report.runs import ArmFacts, RunView, imitates, method_of
from tracedistill.report.sections.comparisons import compare, not_compared
from tracedistill.report.sections.scores import right_share, scores_of, share_of
from tracedistill.report.teachers import teacher_figures, without_leaks

CONFIDENCE = 0.95


def build(view: RunView) -> dict[str, Any]:
    """The report's figures as JSON values (the contract of report.json, but for findings and sections)."""
    problems = view.problems()
    _check_problems(view, problems)
    manifests = list(view.manifests.values())
    seconds = {node: manifest["seconds"] for node, manifest in view.manifests.items()}
    strata = {problem_id: problem.category or "all" for problem_id, problem in problems.items()}
    arms = [_arm(view, arm, seconds) for arm in view.arms]
    return {
        "study": view.name,
        "task": view.task,
        "problems": _sizes(view, problems),
        "runs": [dict(run) for run in view.runs],
        "against": view.against,
        "waiting": list(view.waiting),
        "seeds": max((len(set(view.attempts(arm.name).seed.tolist())) for arm in view.arms), default=1),
        "baseline": _majority(problems, strata),
        "arms": arms,
        "teachers": [teacher_figures(view.recipe, view.folder, name) for name in view.teachers if view.recipe],
        "comparisons": compare(view),
        "not_compared": [list(pair) for pair in not_compared(view)],
        "by_category": _by_category(view, strata),
        "seconds": round(sum(seconds.values()), 1),
        "peak_memory_bytes": max((manifest["peak_memory_bytes"] for manifest in manifests), default=0),
        "stages": seconds,
        "libraries": manifests[0]["libraries"] if manifests else {},
        "assembly": view.assembly,
        "recipe": view.recipe,
    }


def _check_problems(view: RunView, problems: Mapping[str, Problem]) -> None:
    """InputError where an arm has attempts at a problem that the run does not have: a file was cut or exchanged."""
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
    """How often each code stands in a column."""
    counted = np.bincount(codes.astype(np.intp), minlength=len(names))
    return {name: int(counted[place]) for place, name in enumerate(names)}


def training_seconds(arm: ArmFacts, stages: Mapping[str, float]) -> float | None:
    """Seconds of tuning the arm's own adapters, all seeds together; None where none was tuned."""
    nodes = {split_node_name(node): seconds for node, seconds in stages.items()}
    found = [seconds for (kind, run), seconds in nodes.items() if kind == "train" and arm_of_run(run) == arm.name]
    return sum(found) if found else None


def _arm(view: RunView, arm: ArmFacts, stages: Mapping[str, float]) -> dict[str, Any]:
    rows = view.attempts(arm.name)
    answers, traces = counts_of(rows.answer, ANSWERS), counts_of(rows.trace, TRACES)
    finishes = counts_of(rows.finish, FINISHES)
    joint = joint_of(rows)
    n, correct = rows.n, answers["correct"]
    if arm.vote:
        votes = scores_of(rows, vote=True).values
        votes = votes[~np.isnan(votes)]
        n, correct = len(votes), int(votes.sum())
    assembly = view.assembly or {}
    tuned_on = assembly.get("arms", {}).get(arm.name)
    facts = {
        "name": arm.name,
        "kind": arm.kind,
        "student": arm.student,
        "teacher": arm.teacher,
        "prompt": arm.prompt,
        "tune": arm.tune,
        "mix": dict(arm.settings.get("mix") or {}),
        "method": method_of(arm),
        "from": arm.settings.get("from"),
        "adapter": arm.adapter,
        "forced": arm.forced,
        "vote": arm.vote,
        "seeds": len(set(rows.seed.tolist())),
        "n": n,
        "attempts": rows.n,
        "correct": correct,
        "accuracy": _accuracy(rows, vote=arm.vote),
        "candidate": _candidates(rows),
        "derived": int((rows.derived == 0).sum()),
        "missing": answers["missing"],
        "ungradable": answers["ungradable"],
        "cut_off": finishes["length"],
        "too_long": finishes["too-long"],
        "errors": finishes["error"],
        "no_plan": finishes["no-plan"],
        "trace_correct": traces["correct"],
        "trace_unparsed": traces["unparsed"],
        "trace_none": traces["none"],
        "trace_not_judged": traces["not judged"],
        "writes_traces": traces["none"] < rows.n,
        "joint": list(joint.counts),
        "association": to_json(joint, defaults=True),
        "answer_in_trace": int((rows.copied == 1).sum()),
        "judges_traces": rows.n > traces["none"] + traces["not judged"],
        "traces_judged": traces["correct"] + traces["incorrect"],
        "tokens_in": int(rows.tokens_in.sum(dtype=np.int64)),
        "tokens_out": int(rows.tokens_out.sum(dtype=np.int64)),
        "seconds": round(float(rows.seconds.sum(dtype=np.float64)), 2),
        "training_seconds": training_seconds(arm, stages),
        # of methods that imitate no row, its traces say nothing of what was learnt
        "data": tuned_on if (tuned_on or {}).get("traces") and imitates(arm) else None,
        "plan": assembly.get("plans", {}).get(arm.name),
        "forced_trace": assembly.get("forced", {}).get(arm.name),
        "without_leaks": None,
        "file": os.path.relpath(arm.path, view.folder),
    }
    if facts["plan"] is not None and arm.plans.exists():
        facts["without_leaks"] = without_leaks(arm.plans, rows, view.problems())
    if arm.kind == "imported":
        facts["source"] = dict(arm.settings)
    return facts


def _candidates(rows: Columns) -> int | None:
    """Attempts whose candidate reading is right; None where no attempt has one: the set of answers is open."""
    if (rows.candidate == ANSWERS.index("missing")).all():
        return None
    return int((rows.candidate == ANSWERS.index("correct")).sum())


def _accuracy(rows: Columns, *, vote: bool) -> dict[str, Any]:
    """Shares of right answers with intervals; of several attempts per problem clustered, as the sections have them."""
    ended = ~rows.cut_off
    return {
        "raw": _share(right_share(rows, vote=vote)),
        "completed": _share(share_of(rows.right[ended], rows.problem[ended])),
        "if_cut_off_wrong": _share(share_of(rows.right & ended, rows.problem)),
        "if_cut_off_right": _share(share_of(rows.right | ~ended, rows.problem)),
        "cut_off": int(rows.cut_off.sum()),
    }


def _share(found: stats.Share | stats.Mean) -> dict[str, Any]:
    """A share as report.json has it; with a single problem in it nothing is known of the spread."""
    low, high = max(0.0, found.low or 0.0), min(1.0, 1.0 if found.high is None else found.high)
    successes = found.successes if isinstance(found, stats.Share) else round((found.value or 0.0) * found.n)
    return {"successes": successes, "n": found.n, "value": found.value, "low": low, "high": high}


def joint_of(rows: Columns) -> stats.JointTable:
    """Trace against answer; traces that cannot be read or are not there count as wrong, and apart.

    Traces that no rule judges are left out.
    """
    judged = rows.trace != TRACES.index("not judged")
    ok, wrong, right = (rows.trace == 0) & judged, (rows.trace != 0) & judged, rows.right
    unread = (rows.trace == TRACES.index("unparsed")) | (rows.trace == TRACES.index("none"))
    cells = (int((ok & right).sum()), int((ok & ~right).sum()), int((wrong & right).sum()), int((wrong & ~right).sum()))
    return stats.joint_table_of_counts(cells, (int((unread & right).sum()), int((unread & ~right).sum())), CONFIDENCE)


def _sizes(view: RunView, problems: Mapping[str, Problem]) -> dict[str, int]:
    report = view.folder / "problems.report.json"
    if view.recipe is not None and report.exists():
        sizes: dict[str, int] = read_json(report)["sizes"]
        return sizes
    return {"train": 0, "validation": 0, "test": len(problems)}


def _by_category(view: RunView, strata: Mapping[str, str]) -> dict[str, Any]:
    """Per stratum and arm: n, right answers, right traces."""
    names = sorted(set(strata.values()))
    place = {name: number for number, name in enumerate(names)}
    out: dict[str, dict[str, list[int]]] = {}
    codes: dict[int, Any] = {}  # arms mostly share their ids
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
                cell = [int(every[number]), int(right[number]), int(traces[number])]
                out.setdefault(name, {})[arm.name] = cell
    return {name: out[name] for name in names if name in out}


def _majority(problems: Mapping[str, Problem], strata: Mapping[str, str]) -> dict[str, Any]:
    """What guessing the most frequent answer and class would get on these problems."""
    answers = Counter(", ".join(sorted(problem.answers)) for problem in problems.values())
    classes = Counter(strata.values())
    n = max(1, len(problems))
    answer, answered = answers.most_common(1)[0] if answers else ("", 0)
    label, labelled = classes.most_common(1)[0] if classes else ("", 0)
    return {"answer": answer, "answer_share": answered / n, "class": label, "class_share": labelled / n}
