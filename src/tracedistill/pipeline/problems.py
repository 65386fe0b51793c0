"""The problems stage: draw the study's problems, and report what its splits wrongly share."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tracedistill.compute import chunks
from tracedistill.errors import InputError, MissingSplitError
from tracedistill.files import to_json, write_json, write_jsonl
from tracedistill.pipeline.graph import stamped
from tracedistill.pipeline.study_run import StudyRun
from tracedistill.records import Problem
from tracedistill.tasks import Source, get_task
from tracedistill.tasks._gold_audit import allowed_faults, audit_golds, too_many_faults
from tracedistill.tasks._overlap import duplicates, overlap, sample
from tracedistill.tasks._rows import files_read
from tracedistill.validation.contamination import ContaminationJob, find_contamination

NEAR_LISTED = 200
"""Pairs of near duplicates listed in problems.report.json; all are counted."""


def make_problems(work: StudyRun) -> dict[str, Any]:
    """Draw the study's problems; report overlaps, near copies, duplicates and golds that fail their own judge.

    Source files are inputs, identified by content.
    """
    with files_read() as files:
        _draw(work)
    return {"sources": stamped(files, sources_below(work))}


def sources_below(work: StudyRun) -> Path | None:
    """Return the folder of the study's data files; None if its problems come from elsewhere."""
    config = work.study.task
    if config.data_dir is not None:
        return Path(work.beside_recipe(config.data_dir))
    return None if config.path is None else Path(work.beside_recipe(config.path)).parent


def _draw(work: StudyRun) -> None:
    study = work.study
    config, seed = study.task, study.seed
    source = Source.of(config, seed, work.beside_recipe)
    train = _load(work, "train", config.train_split, source, config.train)
    test = _load(work, "test", config.test_split, source, config.test)
    validation: list[Problem] = []
    if config.validation != 0:
        validation = _load_validation(work, source)
    if config.validation != 0 and not validation:
        # the source has no such split: hold out a seeded part of train, so that the rest is still a sample of it
        size = min(config.validation or len(train) // 10, len(train) // 2)
        held = {problem.problem_id for problem in sample(train, size, seed + 1)}
        validation = [replace(problem, split="validation") for problem in train if problem.problem_id in held]
        train = [problem for problem in train if problem.problem_id not in held]
    shared = {"train/test": overlap(test, train), "train/validation": overlap(validation, train),
              "validation/test": overlap(test, validation)}  # fmt: skip
    near = _near(work, train, validation, test)
    repeated = {"train": duplicates(train), "validation": duplicates(validation), "test": duplicates(test)}
    seen = {i for name in ("train/test", "train/validation") for repeat in shared[name].repeats for i in repeat.others}
    if study.validation.overlap == "drop":
        train = [problem for problem in train if problem.problem_id not in seen]
    problems = [*train, *validation, *test]
    _check_ids(problems)
    if not test:
        raise InputError(f"task {config.name}: split '{config.test_split}' has no problems")
    for line in work.task.about(source):
        work.screen.say(f"  {line}")
    golds = audit_golds(work.task, problems, seed)
    for line in golds.lines():
        work.screen.say(f"  {line}")
    limit = allowed_faults(config.name, config.failing_golds)
    if golds.share > limit:
        raise InputError(too_many_faults(golds, limit))
    # a training row without a gold teaches nothing; a test row stays, and counts as ungradable
    blank = {problem.problem_id for problem in (*train, *validation) if not problem.answers}
    if work.task.name == "file" and blank:
        work.screen.say(f"  {len(blank)} rows without a gold answer are left out of training and validation")
        problems = [problem for problem in problems if problem.problem_id not in blank]
    audited = work.compute.map(AuditJob(config.name), chunks(problems))
    write_json(
        work.run.path("problems.report.json"),
        {
            "sizes": {
                role: sum(problem.split == role for problem in problems) for role in ("train", "validation", "test")
            },
            "overlap": shared,
            "dropped_from_train": sorted(seen) if study.validation.overlap == "drop" else [],
            "near": near,
            "duplicates": repeated,
            "golds": to_json(golds, defaults=True),
            "blank_left_out": sorted(blank),
            "audit": {key: fault for some in audited for key, fault in some},
        },
    )
    write_jsonl(work.run.path("problems.jsonl"), problems)


@dataclass(frozen=True, slots=True)
class AuditJob:
    """A task's audit of its own problems, for any process."""

    task: str

    def open(self) -> Callable[[Sequence[Problem]], list[tuple[str, list[str]]]]:
        """Load the task."""
        task = get_task(self.task)
        return lambda problems: [(problem.problem_id, fault) for problem in problems if (fault := task.audit(problem))]


def _near(
    work: StudyRun, train: Sequence[Problem], validation: Sequence[Problem], test: Sequence[Problem]
) -> dict[str, Any]:
    """Return training problems that nearly equal evaluation problems; they are listed, never dropped automatically."""
    job = ContaminationJob((*validation, *test))
    compared = work.compute.map(job, chunks(train))
    contamination = find_contamination(train, job.evaluation, compare=lambda _: itertools.chain.from_iterable(compared))
    pairs = [pair for pair in contamination.pairs if pair.tier in ("overlap", "similar")]
    return {
        "by_tier": contamination.by_tier,
        "train_problems": len({pair.train_id for pair in pairs}),
        "evaluation_problems": len({pair.eval_id for pair in pairs}),
        "same_numbers": sum(pair.same_numbers for pair in pairs),
        "templates": contamination.templates,
        # pairs with the same numbers first: the others may be different problems from one template
        "pairs": sorted(pairs, key=lambda pair: not pair.same_numbers)[:NEAR_LISTED],
        "left_off": max(0, len(pairs) - NEAR_LISTED) + contamination.left_off,
    }


def _load_validation(work: StudyRun, source: Source) -> list[Problem]:
    """Load the source's own validation split; empty if it has none."""
    config = work.study.task
    if config.validation_split not in work.task.splits:
        return []
    try:
        return _load(work, "validation", config.validation_split, source, config.validation)
    except MissingSplitError:
        return []


def _load(work: StudyRun, role: str, split: str, source: Source, size: int | None) -> list[Problem]:
    """Load and sample the problems of a source's split, under their role in the study."""
    problems = list(work.task.load(split, replace(source, size=size)))
    chosen = problems if size is None else sample(problems, size, work.study.seed)
    return [replace(problem, split=role) for problem in chosen]


def _check_ids(problems: Sequence[Problem]) -> None:
    seen: dict[str, str] = {}
    for problem in problems:
        if problem.problem_id in seen:
            raise InputError(
                f"problem id '{problem.problem_id}' is a duplicate ({seen[problem.problem_id]}, {problem.split})"
            )
        seen[problem.problem_id] = problem.split
