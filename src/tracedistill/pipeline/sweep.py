"""A sweep: train every tuned arm at several settings, and choose between them on the validation split.

Each setting has a run folder below <run folder>/sweep/, in which validation problems take the place of test problems;
the test problems are not in it. All arms are tried at the same settings.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from tracedistill import pipeline
from tracedistill.errors import InputError
from tracedistill.files import content_id, read_json, read_jsonl, read_lines, to_json, write_json, write_jsonl
from tracedistill.pipeline.graph import Clock, discard
from tracedistill.pipeline.nodes import Graph
from tracedistill.pipeline.review import REVIEW_STORE
from tracedistill.pipeline.screen import Screen
from tracedistill.pipeline.study_run import StudyRun
from tracedistill.recipes import Arm, Study, TrainingConfig, arm_of_run, resolved
from tracedistill.recipes.safe_yaml import YamlError, parse
from tracedistill.records import Problem
from tracedistill.report.sweeps import ARMS, PREFIX, Sweep, SweptSetting, of_arms_alone, sweeps_in, typed
from tracedistill.stats import wilson

FOLDER = "sweep"
"""Folder below the run folder with one run folder per setting."""
RESULT = "sweep.json"
"""File of the run folder with the results."""
MOST = 12
"""Most trainings of a sweep without `--yes`."""
OF_ARM = (
    "learning_rate", "epochs", "max_steps", "beta", "epsilon", "num_iterations", "num_generations", "rounds",
    "rollout_temperature", "trace_weight", "format_weight",
)  # fmt: skip
"""Arm keys that can be swept."""
OF_RUNS = ("train", "parity", "generate", "score")
"""Kinds of nodes that belong to one arm."""
LONGEST_NAME = 120
"""Most characters of a setting's folder name; longer ones are cut and get a hash."""
NOT_SWEPT = ("lora_targets", "seeds", "accelerate_config", "launcher", "save_steps")
"""Training keys that cannot be chosen by validation, or whose values contain commas."""


def sweep(recipe: str | Path, items: Sequence[str], *, yes: bool = False, quiet: bool = False) -> Sweep:
    """Make what is missing of every setting's run, and write sweep.json.

    `items`: `training.<key>=value,value` and `arms.<arm>.<key>=value,value` are tried in the combinations of
    `combined`, other `key=value` override the recipe; if only arms' own keys vary, only these arms are tuned.
    sweep.json keeps earlier results for other keys. Raises InputError if there is nothing to vary, no tuned arm, no
    validation problem, or too many trainings.
    """
    varied, overrides = swept_of(items)
    loaded = pipeline.load(recipe, overrides)
    study = loaded.study
    names = swept_arms(study, tuple(varied))
    settings = combined(varied)
    variants = _variants(loaded, overrides, settings, names)  # all are read before the first is made
    trained_once = len(variants[0].study.tuned_arms()) - len(names)
    trainings = (len(variants) * len(names) + trained_once) * variants[0].study.training.seeds
    screen = Screen(quiet=quiet)
    if trainings > MOST and not yes:
        raise InputError(
            f"{trainings} trainings ({len(variants)} settings of {len(names)} arms"
            f"{f', {trained_once} arms that they start from' if trained_once else ''}, "
            f"{variants[0].study.training.seeds} seeds each), more than {MOST}: use fewer, or add --yes"
        )
    pipeline.run(loaded, "problems", quiet=quiet)
    work = StudyRun(loaded, screen)
    with work.run.lock():
        with screen.overall():
            screen.doing("validation problems")
            problems = _validation_problems(work)
        arms: dict[str, list[SweptSetting]] = {name: [] for name in names}
        for number, variant in enumerate(variants, start=1):
            screen.say(f"sweep {number} of {len(variants)}: {typed(settings[number - 1])}")
            with screen.overall():
                screen.doing("validation problems")
                _put_problems(variant, problems, work)
                _copy_equal_arms(variant, variants[0], names, work)
            pipeline.run(variant, "evaluate", quiet=quiet)
            for name, tried in arms.items():
                tried.append(_tried(variant.study.folder / "attempts" / f"{name}.jsonl"))
        swept = _found(study, loaded.recipe, problems, settings, variants, arms)
        _keep(work.run.path(RESULT), swept)
    return swept


def _keep(path: Path, swept: Sweep) -> None:
    """Write sweep.json: new results replace those of the same keys and keep those of others."""
    before = sweeps_in(path) if path.exists() else []
    others = [sweep for sweep in before if set(sweep.keys) != set(swept.keys)]
    write_json(path, {"sweeps": [to_json(sweep, defaults=True) for sweep in (*others, swept)]})


def _value(item: str, text: str) -> Any:
    try:
        return parse(text)
    except YamlError as error:
        raise InputError(f"{item}: {text!r} is not a YAML value: {error}") from error


def swept_of(items: Sequence[str]) -> tuple[dict[str, list[Any]], list[str]]:
    """Return (swept key -> its values, the other overrides).

    Raises InputError if nothing is swept or a key cannot be.
    """
    known = {item.name for item in fields(TrainingConfig)}
    varied: dict[str, list[Any]] = {}
    others: list[str] = []
    for item in items:
        key, equals, text = item.partition("=")
        name = key.removeprefix(PREFIX)
        of_arm = key.startswith(ARMS) and key.rpartition(".")[2] in OF_ARM
        if not (equals and (key.startswith(PREFIX) or of_arm) and "," in text) or name == "lora_targets":
            others.append(item)
            continue
        if name in known and name in NOT_SWEPT:
            raise InputError(f"{key}: cannot be swept. Sweep for example {_examples()}")
        values = [_value(item, part) for part in text.split(",") if part.strip()]
        if len(values) < 2 or key in varied:
            raise InputError(f"{item}: must be given once, with several values: {key}=1e-3,2e-3")
        varied[key] = values
    if not varied:
        raise InputError(f"nothing to sweep: give several values of a training setting, such as {_examples()}")
    return varied, others


def combined(varied: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Return the settings to try: every combination of the values.

    If only arms' own keys vary, the combinations of each arm are tried side by side: they do not affect other arms, so
    each run folder tries one setting of every arm. Raises InputError if arms then have unequal numbers of settings.
    """
    groups: dict[str, dict[str, Sequence[Any]]] = {}
    alone = of_arms_alone(varied)
    for key, values in varied.items():
        groups.setdefault(key.rpartition(".")[0] if alone else "", {})[key] = values
    by_group = {
        name: [dict(zip(group, values, strict=True)) for values in itertools.product(*group.values())]
        for name, group in groups.items()
    }
    if len({len(settings) for settings in by_group.values()}) > 1:
        counts = ", ".join(f"{name}: {len(settings)}" for name, settings in by_group.items())
        raise InputError(f"unequal numbers of settings ({counts}): give every arm as many, or sweep them one by one")
    return [
        {key: value for part in parts for key, value in part.items()} for parts in zip(*by_group.values(), strict=True)
    ]


def _examples() -> str:
    return "training.learning_rate=1e-3,2e-3,4e-3 or training.epochs=1,2"


def swept_arms(study: Study, keys: Sequence[str]) -> list[str]:
    """Return the arms that these keys may change: all tuned ones, or only those whose own keys vary.

    Raises InputError if a key belongs to an untuned arm, or if two varied arms depend on each other.
    """
    own = dict.fromkeys(key.removeprefix(ARMS).rpartition(".")[0] for key in keys if key.startswith(ARMS))
    for name in own:
        if name not in study.tuned_arms():
            raise InputError(f"arms.{name}: is not a tuned arm; tuned arms: {', '.join(study.tuned_arms())}")
    if not of_arms_alone(keys):
        return study.tuned_arms()
    for name in own:
        for other in _with_sources(study, [name]):
            if other != name and other in own:
                raise InputError(
                    f"arms.{name} is built on arms.{other}: sweep {other} first, then {name} with its best"
                )
    return list(own)


def _with_sources(study: Study, names: Sequence[str]) -> list[str]:
    """Return these arms with those they start from and those whose prompts teach them, in the recipe's order."""
    needed, queue = set[str](), list(names)
    while queue:
        name = queue.pop()
        needed.add(name)
        arm = study.arms[name]
        others = (arm.from_, arm.context, *arm.mix)
        queue += [other for other in others if other is not None and other not in needed]
    return [name for name in study.arms if name in needed]


def _chosen(study: Study, key: str) -> Any:
    """Return the value of a varied key as parsed by the recipe reader."""
    if key.startswith(PREFIX):
        return getattr(study.training, key.removeprefix(PREFIX))
    name, _, field = key.removeprefix(ARMS).rpartition(".")
    return getattr(study.arms[name], field)


def _variants(
    loaded: pipeline.LoadedStudy,
    overrides: Sequence[str],
    settings: Sequence[Mapping[str, Any]],
    names: Sequence[str],
) -> list[pipeline.LoadedStudy]:
    """Build the study at each setting, with its tuned arms only."""
    study = loaded.study
    if not study.tuned_arms():
        raise InputError(f"{loaded.recipe}: no arm is tuned, so there is nothing to sweep")
    plain = resolved(study)["arms"]
    same = resolved(replace(study, arms={"": Arm()}))["arms"][""]
    arms = {
        name: {key: value for key, value in plain[name].items() if value != same[key]}
        for name in _with_sources(study, names)
    }
    common = [
        *overrides,
        # spelt out, since a launched training reads the recipe again
        f"arms={json.dumps(arms)}",
        "base={}",
        "comparisons=[]",
        "attribution=[]",
        "tracking=none",
        "evaluation.merge=never",
        "evaluation.choose_on=0",  # validation problems take the place of test problems
        # the settings' folders are local ones, below the working copy of a run folder in a store
        *([f"cache={json.dumps(str(study.cache_path))}"] if study.store else []),
        *([] if any(item.startswith("training.seeds=") for item in overrides) else ["training.seeds=1"]),
    ]
    made: list[pipeline.LoadedStudy] = []
    for setting in settings:
        chosen = [f"{key}={json.dumps(value)}" for key, value in setting.items()]
        variant = pipeline.load(loaded.recipe, [*common, *chosen])
        place = study.folder / FOLDER / folder_name(variant.study, tuple(setting))
        made.append(pipeline.load(loaded.recipe, [*common, *chosen, f"run_dir={json.dumps(str(place))}"]))
    if len({variant.study.folder for variant in made}) < len(made):
        raise InputError("two of the settings are identical; give each value once")
    return made


def folder_name(study: Study, keys: Sequence[str]) -> str:
    """Name a setting's folder by its parsed values, so that 1e-3 and 0.001 share one."""
    parts = [f"{key.removeprefix(PREFIX).removeprefix(ARMS)}-{_chosen(study, key)}" for key in keys]
    name = "_".join(parts).replace("/", "-")
    return name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}-{content_id(name)[:8]}"


def _validation_problems(work: StudyRun) -> list[Problem]:
    """Return the study's training and validation problems, the latter in the role of test problems."""
    held = work.problems("validation")
    if not held:
        raise InputError("the study has no validation problems to choose by; set task.validation, for example to 100")
    return [*work.problems("train"), *(replace(problem, split="test") for problem in held)]


def _put_problems(variant: pipeline.LoadedStudy, problems: Sequence[Problem], parent: StudyRun) -> None:
    """Copy these problems into a setting's run folder, unless they are there already, and the review outcomes."""
    work = StudyRun(variant, parent.screen)
    work.run.claim()
    with work.run.lock():
        (node,) = [node for node in Graph(work).nodes() if node.kind == "problems"]
        path = work.run.path("problems.jsonl")
        there = path.exists() and content_id(list(read_jsonl(path, Problem))) == content_id(list(problems))
        if not there or work.run.state(node).kind != "complete":
            clock = Clock()
            discard(work.run.path(node.manifest))
            report = read_json(parent.run.path("problems.report.json"))
            sizes = {"train": sum(problem.split == "train" for problem in problems), "validation": 0}
            sizes["test"] = len(problems) - sizes["train"]
            write_json(work.run.path("problems.report.json"), {**report, "sizes": sizes, "sweep": True})
            write_jsonl(path, problems)
            work.run.record(node, clock.seconds(), work.facts())
        if parent.run.path(REVIEW_STORE).exists():
            work.run.path(REVIEW_STORE).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(parent.run.path(REVIEW_STORE), work.run.path(REVIEW_STORE))


def _copy_equal_arms(
    variant: pipeline.LoadedStudy, first: pipeline.LoadedStudy, swept: Sequence[str], parent: StudyRun
) -> None:
    """Copy what the first setting made of arms that no swept key changes, such as one that swept arms start from.

    Manifests come last and decide as everywhere: what is not equal after all is stale in the copy, and made again.
    """
    if variant is first:
        return
    work = StudyRun(variant, parent.screen)
    with work.run.lock():
        for node in Graph(work).nodes():
            manifest, made = work.run.path(node.manifest), first.study.folder / node.manifest
            if node.kind not in OF_RUNS or arm_of_run(node.of) in swept or manifest.exists() or not made.exists():
                continue
            manifest.parent.mkdir(parents=True, exist_ok=True)
            for output in node.outputs:
                source, target = first.study.folder / output, work.run.path(output)
                discard(target)
                if source.is_dir():
                    shutil.copytree(source, target)
                else:
                    shutil.copy2(source, target)
            shutil.copy2(made, manifest)


def _tried(attempts: Path) -> SweptSetting:
    right = n = missing = cut_off = 0
    for _, line in read_lines(attempts):
        outcome = line["answer"]["outcome"]
        n += 1
        right += outcome == "correct"
        missing += outcome == "missing"
        cut_off += bool(line["cut_off"])
    interval = wilson(right, n)
    return SweptSetting(right, n, interval.low, interval.high, missing, cut_off)


def _found(
    study: Study,
    recipe: Path,
    problems: Sequence[Problem],
    settings: Sequence[dict[str, Any]],
    variants: Sequence[pipeline.LoadedStudy],
    arms: Mapping[str, Sequence[SweptSetting]],
) -> Sweep:
    students = dict.fromkeys(study.student_of(name) for name in arms)
    of_student = {
        student: _most([tried for name, tried in arms.items() if study.student_of(name) == student])
        for student in students
    }
    return Sweep(
        study=study.study,
        recipe=str(recipe),
        problems=sum(problem.split == "test" for problem in problems),
        keys=tuple(settings[0]),
        settings=tuple(
            {key: _chosen(variant.study, key) for key in setting}
            for setting, variant in zip(settings, variants, strict=True)
        ),
        folders=tuple(f"{FOLDER}/{variant.study.folder.name}" for variant in variants),
        arms={name: tuple(tried) for name, tried in arms.items()},
        best={name: _most([tried]) for name, tried in arms.items()},
        best_common=_most(list(arms.values())),
        best_of_student=of_student if len(students) > 1 else {},
    )


def _most(arms: Iterable[Sequence[SweptSetting]]) -> int:
    """Return the setting with the most right answers over these arms; the first on ties."""
    totals = [sum(tried.right for tried in column) for column in zip(*arms, strict=True)]
    return totals.index(max(totals))
