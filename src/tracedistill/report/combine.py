"""Combine several runs into one: arms named `<run>/<arm>`, over their common problems."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tracedistill.errors import InputError
from tracedistill.records import Problem, node_name, split_node_name
from tracedistill.report.records import RunFacts
from tracedistill.report.runs import ArmFacts, Pair, RunView


def combine(views: Sequence[RunView], against: RunView | None = None) -> RunView:
    """Combine several runs into one view, with each arm's attempts at the common problems.

    A problem is common if every run has it with the same question, context and gold. Compared are arms of the same name
    between runs, and each run's own pairs; with `against` only the former, each with that run. Raises InputError for
    different tasks, duplicate runs or no common problem.
    """
    every = [*views, *([against] if against is not None else [])]
    _check(every)
    labels = _labels(every)
    wanted, runs = _common(every, labels)
    arms = tuple(
        replace(arm, name=f"{label}/{arm.name}", adapter=f"{label}/{arm.adapter}" if arm.adapter else None)
        for label, view in zip(labels, every, strict=True)
        for arm in view.arms
    )
    combined = RunView(
        folder=every[0].folder,
        name=", ".join(labels) if against is None else f"{', '.join(labels[:-1])} against {labels[-1]}",
        task=every[0].task,
        seed=every[0].seed,
        arms=arms,
        comparisons=_pairs(every, labels, against is not None),
        assembly=_assembly(every, labels),
        manifests=_manifests(every, labels),
        waiting=tuple(f"{label}/{name}" for label, view in zip(labels, every, strict=True) for name in view.waiting),
        runs=runs,
        against=None if against is None else labels[-1],
        wanted=wanted,
    )
    for label, view in zip(labels, every, strict=True):
        for arm in view.arms:
            combined.keep(f"{label}/{arm.name}", view.attempts(arm.name))
    return combined


def same_arms(view: RunView) -> list[tuple[ArmFacts, ArmFacts]]:
    """Return (arm, the arm of the same name in the other run) of a view with `against`."""
    others = {arm.own: arm for arm in view.arms if arm.name == f"{view.against}/{arm.own}"}
    return [(arm, others[arm.own]) for arm in view.arms if arm.own in others and arm is not others[arm.own]]


def _check(views: Sequence[RunView]) -> None:
    tasks = {view.task for view in views}
    if len(tasks) > 1:
        names = ", ".join(f"{view.folder} is of task {view.task}" for view in views)
        raise InputError(f"runs of different tasks have no problem in common: {names}")
    places = Counter(view.folder.resolve() for view in views)
    twice = next((view.folder for view in views if places[view.folder.resolve()] > 1), None)
    if twice is not None:
        raise InputError(f"{twice}: given twice; give different runs")


def _labels(views: Sequence[RunView]) -> list[str]:
    """Choose the shortest labels that distinguish the runs: study name, folder name or whole path."""
    for names in (
        [view.name for view in views],
        [view.folder.resolve().name for view in views],
        ["/".join(view.folder.resolve().parts[-2:]) for view in views],
    ):
        if len(set(names)) == len(names):
            return names
    return [str(view.folder.resolve()) for view in views]


def _common(views: Sequence[RunView], labels: Sequence[str]) -> tuple[frozenset[str], tuple[RunFacts, ...]]:
    attempted = [_attempted(view) for view in views]
    shared = set(attempted[0]).intersection(*attempted[1:])
    same = frozenset(key for key in shared if len({_content(problems[key]) for problems in attempted}) == 1)
    if not same:
        why = f"{len(shared)} ids are shared, but with different questions or golds" if shared else "no id is shared"
        raise InputError(f"no problem in common between {' and '.join(str(view.folder) for view in views)}: {why}")
    runs = tuple(
        RunFacts(label, str(view.folder), len(problems), len(problems) - len(same), len(shared) - len(same))
        for label, view, problems in zip(labels, views, attempted, strict=True)
    )
    return same, runs


def _attempted(view: RunView) -> dict[str, Problem]:
    """Return the problems that every arm of the run has attempted; the others cannot be paired."""
    tried = [set(view.attempts(arm.name).ids) for arm in view.arms]
    return {key: problem for key, problem in view.problems().items() if all(key in ids for ids in tried)}


def _content(problem: Problem) -> tuple[object, ...]:
    return problem.question, problem.answers, problem.context, problem.choices


def _pairs(views: Sequence[RunView], labels: Sequence[str], against: bool) -> tuple[Pair, ...]:
    """Pair arms of the same name: with the last run (`against`), else with the first run that has one."""
    pairs: list[Pair] = []
    if not against:
        for label, view in zip(labels, views, strict=True):
            pairs += [(f"{label}/{first}", f"{label}/{second}") for first, second in view.comparisons]
    place = len(views) - 1 if against else 0
    base = {arm.name for arm in views[place].arms}
    for number, (label, view) in enumerate(zip(labels, views, strict=True)):
        if number != place:
            pairs += [(f"{label}/{arm.name}", f"{labels[place]}/{arm.name}") for arm in view.arms if arm.name in base]
    if against and not pairs:
        raise InputError(
            f"--against {views[place].folder}: no arm of the same name; it has {', '.join(sorted(base))}, "
            f"the others {', '.join(sorted({arm.name for view in views[:-1] for arm in view.arms}))}"
        )
    return tuple(pairs)


def _assembly(views: Sequence[RunView], labels: Sequence[str]) -> Mapping[str, Any] | None:
    """Return what arms were tuned on and shown, under their combined names."""
    known = [(label, view.assembly) for label, view in zip(labels, views, strict=True) if view.assembly is not None]
    if not known:
        return None
    merged: dict[str, Any] = {}
    for part in {key: None for _, assembly in known for key in assembly}:  # distinct, in order
        labelled = [(label, assembly[part]) for label, assembly in known if part in assembly]
        if all(isinstance(facts, dict) for _, facts in labelled):
            merged[part] = {f"{label}/{name}": value for label, facts in labelled for name, value in facts.items()}
        else:
            merged[part] = labelled[0][1] if all(facts == labelled[0][1] for _, facts in labelled) else None
    return merged


def _manifests(views: Sequence[RunView], labels: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    manifests = {}
    for label, view in zip(labels, views, strict=True):
        for node, manifest in view.manifests.items():
            kind, of = split_node_name(node)
            manifests[node_name(kind, f"{label}/{of}") if of else f"{label}/{node}"] = manifest
    return manifests
